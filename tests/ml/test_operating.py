"""Whether a machine idles, told by its load where nothing declares it."""

import numpy as np
import pytest

from ml.detectors.operating import infer_states, two_groups
from ml.detectors.windows import IDLE, RUNNING, SCORED, SETTLING, STOPPED, TOO_FEW, taken
from ml.plant import Machine, RunningWhen, Sensor
from tests.ml.test_members import windows_of

RNG = np.random.default_rng(2)
SENSORS = (Sensor(sensor_id="T", type="temperature", unit="°C"), Sensor(sensor_id="I", type="current", unit="A"))
UNDECLARED = Machine(machine_id="M1", machine_class="fan", sensors=SENSORS)
DECLARED = UNDECLARED.model_copy(update={"running_when": RunningWhen(sensor_id="I", above=5)})


def _current(idle: slice, n: int = 1000) -> np.ndarray:
    current = 40 + 3 * RNG.standard_normal(n)
    current[idle] = 2 + 0.3 * RNG.standard_normal(len(range(*idle.indices(n))))
    return current


def _windows(current: np.ndarray, std: np.ndarray | None = None):
    n = len(current)
    spread = np.zeros(n) if std is None else std
    return windows_of(np.column_stack([50 + RNG.standard_normal(n), current]), np.column_stack([np.ones(n), spread]))


def test_two_groups_are_seen_only_where_they_are_clear() -> None:
    assert two_groups(_current(slice(100, 300))) == pytest.approx((2, 40), abs=0.5)
    assert two_groups(40 + 3 * RNG.standard_normal(1000)) is None
    assert two_groups(_current(slice(100, 120))) is None  # too few to be a state
    two_products = np.concatenate([30 + RNG.standard_normal(500), 50 + RNG.standard_normal(500)])
    assert two_groups(two_products) is None  # both are running
    ramp = np.linspace(0, 40, 1000)
    assert two_groups(ramp) is None


def test_a_declared_machine_is_not_guessed_about() -> None:
    windows = _windows(_current(slice(100, 300)))
    assert infer_states(UNDECLARED, windows, min_idle=100).place == 1
    assert infer_states(DECLARED, windows, min_idle=100).place == -1


def test_starts_and_stops_settle_and_idle_windows_have_a_regime_of_their_own() -> None:
    current = _current(slice(100, 300))
    std = np.zeros(1000)
    current[300], std[300] = 25.0, 16.0  # the machine starts within this window
    windows = _windows(current, std)
    states = infer_states(UNDECLARED, windows, min_idle=100)
    told = states.apply(windows, settle_windows=4)
    assert told.regime[[99, 100, 299, 301]].tolist() == [RUNNING, IDLE, IDLE, RUNNING]
    assert told.state[[99, 100, 103, 104, 299, 300, 303, 304]].tolist() == [
        SCORED, SETTLING, SETTLING, SCORED, SCORED, SETTLING, SETTLING, SCORED,
    ]  # fmt: skip
    assert len(set(told.spell[[99, 104, 304]])) == 3


def test_an_idle_machine_whose_idling_is_not_known_counts_as_stopped() -> None:
    windows = _windows(_current(slice(100, 300)))
    told = infer_states(UNDECLARED, windows, min_idle=500).apply(windows, settle_windows=4)
    assert set(told.state[100:300]) == {STOPPED}


def test_a_load_not_read_for_a_day_tells_no_state_however_many_days_are_looked_at() -> None:
    current = _current(slice(400, 700))
    states = infer_states(UNDECLARED, _windows(current), min_idle=100)
    current[500:750] = np.nan  # goes dead while the machine idles, and comes back while it runs
    whole = states.apply(_windows(current), settle_windows=4)
    assert whole.state[[499, 500, 643, 644, 749, 750]].tolist() == [SCORED, SCORED, SCORED, TOO_FEW, TOO_FEW, SCORED]
    assert set(whole.regime[404:644]) == {IDLE}
    day_and_the_one_before = taken(_windows(current), (np.arange(1000) >= 4 * 144) & (np.arange(1000) < 6 * 144))
    alone = states.apply(day_and_the_one_before, settle_windows=4)
    assert alone.state[144:].tolist() == whole.state[5 * 144 : 6 * 144].tolist()
    assert whole.spell[750] != whole.spell[643]
