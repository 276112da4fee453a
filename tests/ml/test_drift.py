from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ml.drift import (
    benjamini_hochberg,
    days_explained,
    drift,
    effective_number,
    is_cooling_down,
    ks_distance,
    ks_p_value,
    reference_sample,
    stability_index,
    sustained,
    windows_per_day,
)
from ml.features import build_features
from ml.plant import DriftPolicy, Machine, Sensor, Site
from ml.simulation.faults import Fault
from ml.simulator import simulate
from resources.plant_files import read_plant
from tests.conftest import CHECKOUT

SITE = Site(
    site="plant",
    name="Plant",
    first_day=date(2026, 1, 1),
    machines=(
        Machine(machine_id="A", machine_class="pump", sensors=tuple(Sensor(sensor_id=f"S{i}", type="flow", unit="u") for i in range(6))),
    ),
)
GRID = np.linspace(0, 1, 201)


def _features(values: dict[str, np.ndarray], *, running: float = 1.0) -> pd.DataFrame:
    parts = []
    for sensor_id, means in values.items():
        times = pd.Timestamp("2026-03-01", tz="UTC") + pd.to_timedelta(np.arange(len(means)) * 10, unit="min")
        noise = np.random.default_rng(len(means)).chisquare(9, len(means))  # the spread has not changed
        parts.append(pd.DataFrame({"sensor_id": sensor_id, "window_start": times, "mean": means, "std": noise, "running_share": running}))
    return pd.concat(parts)


def _normal(seed: int, n: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {s.sensor_id: rng.normal(10, 2, n) for s in SITE.sensors}


REFERENCE = reference_sample(_features(_normal(0, 2000)))


def test_the_reference_is_compact_and_holds_the_quantiles() -> None:
    assert len(REFERENCE) == 6 * 2 * 201
    s0 = REFERENCE[(REFERENCE["sensor_id"] == "S0") & (REFERENCE["quantity"] == "level")]
    assert s0["value"].iloc[100] == pytest.approx(np.median(_normal(0, 2000)["S0"]))


def test_a_shifted_mean_and_a_wider_spread_are_drift_and_the_rest_is_not() -> None:
    today = _normal(1, 144)
    today["S1"] = today["S1"] + 3
    today["S2"] = 10 + 3 * (today["S2"] - 10)
    table = drift(_features(today), REFERENCE, site=SITE)
    assert table.loc[table["is_drifted"], "sensor_id"].tolist() == ["S1", "S2"]
    assert table.loc[table["is_drifted"], "drifted_in"].tolist() == ["level", "level"]
    assert table.loc[~table["is_drifted"], "drifted_in"].isna().all()
    assert (table["n"] == 144).all()
    assert (table["machine_id"] == "A").all()


def test_days_like_the_reference_hardly_ever_drift() -> None:
    drifted = [drift(_features(_normal(seed, 144)), REFERENCE, site=SITE)["is_drifted"].sum() for seed in range(100, 130)]
    assert sum(drifted) <= 2


def test_wandering_windows_count_for_fewer_and_do_not_drift_by_themselves() -> None:
    def wandering(seed: int, n: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        values = np.zeros(n)
        for i in range(1, n):
            values[i] = 0.98 * values[i - 1] + rng.standard_normal()
        return values

    reference = reference_sample(_features({"S0": wandering(0, 4000)}))
    tables = [drift(_features({"S0": wandering(seed, 144)}), reference, site=SITE) for seed in range(1, 41)]
    assert sum(t["is_drifted"].sum() for t in tables) <= 4
    assert effective_number(wandering(1, 4000)) == pytest.approx(4000 * 0.02 / 1.98, rel=0.3)


def test_stopped_windows_and_silent_sensors_are_left_out() -> None:
    stopped = _features({"S0": np.zeros(144)}, running=0.0)
    few = _features({"S1": np.zeros(19)})
    table = drift(pd.concat([stopped, few]), REFERENCE, site=SITE)
    assert len(table) == 0
    assert table["is_drifted"].dtype == bool


@pytest.mark.parametrize("shift", [0.0, 0.5, 4.0])
def test_the_distance_is_the_kolmogorov_smirnov_statistic(shift: float) -> None:
    rng = np.random.default_rng(3)
    reference, sample = rng.standard_normal(50_000), rng.standard_normal(144) + shift
    expected = stats.ks_2samp(sample, reference).statistic
    assert ks_distance(sample, values=np.quantile(reference, GRID), probabilities=GRID) == pytest.approx(expected, abs=0.006)


def test_a_reference_of_few_repeated_values_is_at_no_distance_from_itself() -> None:
    reference = np.repeat([1.0, 2.0, 3.0], [500, 300, 200])
    assert ks_distance(reference, values=np.quantile(reference, GRID), probabilities=GRID) < 0.01
    assert stability_index(reference, values=np.quantile(reference, GRID), probabilities=GRID) < 0.05


@pytest.mark.parametrize(("distance", "n", "m"), [(0.1, 400, 400), (0.2, 100, 300), (0.05, 5000, 5000)])
def test_the_p_value_agrees_with_scipy(distance: float, n: int, m: int) -> None:
    expected = stats.kstwobign.sf(np.sqrt(n * m / (n + m)) * distance)
    assert ks_p_value(distance, n_effective=(n, m)) == pytest.approx(expected, rel=0.3)


def test_the_stability_index_by_hand() -> None:
    # all of 200 windows in the uppermost tenth: half a window more in each of ten bins
    values = GRID * 10
    a = np.full(10, 0.5 / 205)
    a[-1] = 200.5 / 205
    expected = np.sum((a - 0.1) * np.log(a / 0.1))
    assert stability_index(np.full(200, 9.9), values=values, probabilities=GRID) == pytest.approx(expected, rel=0.02)


def test_benjamini_and_hochberg_as_scipy_has_it() -> None:
    p = np.random.default_rng(2).random(50) ** 3
    np.testing.assert_array_equal(benjamini_hochberg(p, rate=0.05), stats.false_discovery_control(p) <= 0.05)


def test_a_day_is_worth_as_many_windows_as_the_distances_of_the_training_days_say() -> None:
    rng = np.random.default_rng(8)
    days = np.repeat(np.arange(40), 144)
    alike = rng.normal(size=40 * 144)
    assert 80 <= windows_per_day(alike, days=days) <= 144, "independent windows count each"
    # days that differ among themselves as much as windows do within them: the variance is half the day's own
    of_its_own = alike + np.repeat(rng.normal(size=40), 144)
    ks = [stats.ks_2samp(of_its_own[days == d], of_its_own[days != d]).statistic for d in range(40)]
    by_mean, by_q90 = (stats.kstwobign.mean() / np.mean(ks)) ** 2, (stats.kstwobign.ppf(0.9) / np.quantile(ks, 0.9)) ** 2
    bound = (1 - stats.norm.ppf(0.95) * stats.kstwobign.std() / stats.kstwobign.mean() / np.sqrt(40)) ** 2
    assert windows_per_day(of_its_own, days=days) == pytest.approx(min(by_mean, by_q90) * 40 / 39 * bound, rel=2e-3)
    assert windows_per_day(of_its_own, days=days) < 10


def test_few_training_days_are_worth_what_neighbouring_windows_say() -> None:
    values = np.cumsum(np.random.default_rng(1).normal(size=432))
    assert windows_per_day(values, days=np.repeat(np.arange(3), 144)) == pytest.approx(max(1.0, effective_number(values) / 3))


# --- on a simulated plant ---

TRAINING_DAYS, DAYS = 21, 33
START = date(2026, 9, 1)
HAMBURG = next(site for site in read_plant(CHECKOUT / "plant") if site.site == "hamburg")
PLANT = HAMBURG.model_copy(update={"machines": HAMBURG.machines[:4]})
SHIFTED, NOISY = "HH-P102-PRES", "HH-P101-TEMP"


def _simulated(seed: int, *, faults: Sequence[Fault] = (), shift: float = 0.0) -> list[pd.DataFrame]:
    """The features of each day; the readings of SHIFTED are that much higher after the days to train on."""
    made = []
    for day in simulate([PLANT], start=START, days=DAYS, seed=seed, faults=list(faults)):
        readings = day.readings
        if shift and day.day >= START + timedelta(days=TRAINING_DAYS):
            readings = readings.assign(value=readings["value"] + np.where(readings["sensor_id"] == SHIFTED, shift, 0.0))
        made.append(build_features(readings, site=PLANT, day=day.day))
    return made


def _compared(days: list[pd.DataFrame]) -> pd.DataFrame:
    reference = reference_sample(pd.concat(days[:TRAINING_DAYS]))
    found = [
        drift(features, reference, site=PLANT).assign(day=START + timedelta(days=TRAINING_DAYS + n), is_explained=False)
        for n, features in enumerate(days[TRAINING_DAYS:])
    ]
    return pd.concat(found, ignore_index=True)


def test_a_plant_that_does_not_change_hardly_ever_drifts_and_never_for_days() -> None:
    """Five plants, twelve days each: weather, load, weekends and stops go on as they did. In 2 % of sensor-days at most."""
    compared = [_compared(_simulated(seed)) for seed in range(11, 16)]
    n_drifted, n = (sum(int(f) for f in figures) for figures in zip(*((t["is_drifted"].sum(), len(t)) for t in compared), strict=True))
    assert n == 5 * 12 * 16
    assert n_drifted <= 0.02 * n
    for table in compared:
        for until in table["day"].unique():
            assert sustained(table[table["day"] <= until], policy=DriftPolicy()) == {}


def test_a_shifted_mean_is_drift_of_the_level_of_that_sensor_alone() -> None:
    days = _simulated(21)
    running = pd.concat(days[:TRAINING_DAYS])
    running = running[(running["sensor_id"] == SHIFTED) & (running["running_share"] == 1.0)]
    table = _compared(_simulated(21, shift=3 * float(running["mean"].std())))
    shifted = table[table["sensor_id"] == SHIFTED]
    assert shifted["is_drifted"].mean() >= 0.8
    assert set(shifted["drifted_in"].dropna()) == {"level"}
    assert set(sustained(table, policy=DriftPolicy())) == {SHIFTED}


def test_noise_that_grows_is_drift_of_the_spread_where_the_level_stays() -> None:
    from_day = datetime(2026, 9, 1, tzinfo=UTC) + timedelta(days=TRAINING_DAYS)
    noise = Fault("hamburg", "HH-P101", "noisy_sensor", from_day, severity=0.3, sensor_id=NOISY, repaired_at=from_day + timedelta(days=12))
    table = _compared(_simulated(31, faults=[noise]))
    noisy = table[table["sensor_id"] == NOISY]
    assert (noisy["drifted_in"] == "spread").mean() >= 0.9
    assert not (noisy["ks_p"] < 1e-3).any(), "the windows' means alone would not show it"
    assert set(sustained(table, policy=DriftPolicy())) == {NOISY}


# --- from days to a request ---


NOTHING_OFF = {"ks_p": 0.9, "psi": 0.0, "spread_ks_p": 0.9, "spread_psi": 0.0, "is_drifted": False}
MARKS = {
    ".": NOTHING_OFF,
    "x": NOTHING_OFF | {"ks_p": 0.02, "psi": 0.4, "is_drifted": True},  # with others of the site
    "l": NOTHING_OFF | {"ks_p": 0.001, "psi": 0.25},
    "s": NOTHING_OFF | {"spread_ks_p": 0.0004, "spread_psi": 2.0},
    "u": NOTHING_OFF | {"ks_p": 0.0011, "psi": 2.0},  # not unlikely enough
    "t": NOTHING_OFF | {"ks_p": 0.0, "psi": 0.24, "spread_ks_p": 0.9, "spread_psi": 2.0},  # too small to matter
}


def _findings(marks: dict[str, str], *, explained: dict[str, str] | None = None) -> pd.DataFrame:
    """sensor -> its days, the oldest first, as in MARKS."""
    rows = [
        MARKS[mark]
        | {"day": START + timedelta(days=n), "sensor_id": sensor, "machine_id": "A"}
        | {"is_explained": (explained or {}).get(sensor, "." * 20)[n] == "x"}
        for sensor, of_days in marks.items()
        for n, mark in enumerate(of_days)
    ]
    return pd.DataFrame(rows)


def test_drift_is_sustained_on_three_of_the_last_five_days_and_not_on_an_odd_one() -> None:
    marks = {"S0": "xxxxx....x", "S1": ".....x.x.x", "S2": ".......xx.", "S3": "....xx...x", "S4": ".......xxx"}
    assert sustained(_findings(marks), policy=DriftPolicy()) == {"S1": 3, "S4": 3}
    assert sustained(_findings(marks), policy=DriftPolicy(sustained_days=2)) == {"S1": 3, "S2": 2, "S3": 2, "S4": 3}
    assert sustained(_findings({}), policy=DriftPolicy()) == {}


def test_a_sensor_whose_own_test_stands_again_and_again_has_changed_whatever_the_site_says() -> None:
    marks = {"S0": "..lsl", "S1": "..uul", "S2": "..ttt", "S3": ".xuls", "S4": "sssss"}
    assert sustained(_findings(marks), policy=DriftPolicy()) == {"S0": 3, "S3": 3, "S4": 5}
    assert sustained(_findings(marks), policy=DriftPolicy(p_alone=0.002)) == {"S0": 3, "S1": 3, "S3": 4, "S4": 5}


def test_what_one_sensor_of_many_does_for_days_is_found_though_its_days_are_not() -> None:
    """The same four machines once and twenty times over, of which one sensor has shifted by 1.7 spreads."""
    running = pd.concat(_simulated(21)[:TRAINING_DAYS])
    running = running[(running["sensor_id"] == SHIFTED) & (running["running_share"] == 1.0)]
    days, still = _simulated(21, shift=1.7 * float(running["mean"].std())), _simulated(21)
    small = _compared(days)
    copies = [f"C{n:02}" for n in range(20)]
    site = PLANT.model_copy(update={"machines": (*PLANT.machines, *(_copied(m, copy) for copy in copies for m in PLANT.machines))})
    reference = reference_sample(pd.concat(days[:TRAINING_DAYS]))
    references = pd.concat([reference, *(reference.assign(sensor_id=copy + reference["sensor_id"]) for copy in copies)])
    of_days = []
    for n in range(TRAINING_DAYS, TRAINING_DAYS + 5):
        others = [still[n].assign(sensor_id=copy + still[n]["sensor_id"], machine_id=copy + still[n]["machine_id"]) for copy in copies]
        found = drift(pd.concat([days[n], *others]), references, site=site)
        of_days.append(found.assign(day=START + timedelta(days=n), is_explained=False))
    large = pd.concat(of_days, ignore_index=True)
    of_small, of_large = (table[(table["sensor_id"] == SHIFTED) & table["day"].isin(large["day"])] for table in (small, large))
    assert of_large["is_drifted"].sum() < 3 <= of_small["is_drifted"].sum()
    np.testing.assert_allclose(of_large["ks_p"], of_small["ks_p"])
    assert set(sustained(large, policy=DriftPolicy())) == {SHIFTED}


def _copied(machine: Machine, copy: str) -> Machine:
    sensors = tuple(s.model_copy(update={"sensor_id": copy + s.sensor_id}) for s in machine.sensors)
    return machine.model_copy(update={"machine_id": copy + machine.machine_id, "sensors": sensors, "running_when": None})


def test_days_that_a_fault_or_maintenance_explains_do_not_count() -> None:
    found = _findings({"S0": ".....xxxxx", "S1": ".....xxx.."}, explained={"S0": ".......xx.", "S1": ".......x.."})
    assert sustained(found, policy=DriftPolicy()) == {"S0": 3}
    noon = pd.Timestamp(START, tz="UTC") + pd.Timedelta(hours=12)
    spans = pd.DataFrame(
        [
            {"machine_id": "A", "start": noon + pd.Timedelta(days=1), "end": noon + pd.Timedelta(days=2)},
            {"machine_id": "B", "start": noon, "end": noon},
        ]
    )
    assert days_explained(_findings({"S0": "xxxx"}), spans=spans).tolist() == [False, True, True, False]


def test_a_training_or_request_cools_down() -> None:
    last = datetime(2026, 10, 1, 12, tzinfo=UTC)
    assert is_cooling_down(last, now=last + timedelta(days=6.9), policy=DriftPolicy())
    assert not is_cooling_down(last, now=last + timedelta(days=7), policy=DriftPolicy())
    assert not is_cooling_down(None, now=last, policy=DriftPolicy())
