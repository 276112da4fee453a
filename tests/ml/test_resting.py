"""A sensor that rests at one value again and again is not stuck there; one that stays is."""

from collections.abc import Callable
from datetime import date, timedelta

import numpy as np
import pandas as pd

from ml.features import build_features
from ml.plant import Machine, RunningWhen, Sensor, Site
from ml.quality import assess_sensors
from ml.recent_windows import FEATURES, HISTORY_DAYS

START = date(2026, 3, 2)
COUNTER = Sensor(sensor_id="p.count", type="other", unit="1")
LOAD = Sensor(sensor_id="p.load", type="current", unit="A")
SITE = Site(
    site="works",
    name="Works",
    first_day=date(2026, 1, 1),
    machines=(Machine(machine_id="p", machine_class="pump", sensors=(COUNTER, LOAD)),),
)
Shown = Callable[[np.ndarray, np.ndarray], np.ndarray]


def graded(days: int, shown: Shown, *, site: Site = SITE, load: Shown | None = None) -> pd.DataFrame:
    """What the counter shows (hours since the start, noise around 20) -> what it got, a row per day."""
    features: list[pd.DataFrame] = []
    rows = []
    for n in range(days):
        day = START + timedelta(days=n)
        rng = np.random.default_rng(n)
        hours = n * 24 + np.arange(1440) / 60
        times = pd.date_range(pd.Timestamp(day, tz="UTC"), periods=1440, freq="1min", unit="us")
        values = {"p.count": shown(hours, 20 + rng.standard_normal(1440)), "p.load": 5 + rng.standard_normal(1440) / 10}
        if load:
            values["p.load"] = load(hours, values["p.load"])
        readings = pd.concat([pd.DataFrame({"sensor_id": s, "timestamp": times, "value": v}) for s, v in values.items()], ignore_index=True)
        features = [*features, build_features(readings, site=site, day=day)][-HISTORY_DAYS - 1 :]
        table = assess_sensors(readings, site=site, day=day, refused={}, features=pd.concat(features)[list(FEATURES)])
        rows.append(table.set_index("sensor_id").loc["p.count"])
    return pd.DataFrame(rows).reset_index(drop=True)


def thrice_a_day(hours: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.where(hours % 8 < 2, 0.0, values)


def test_a_sensor_that_keeps_coming_back_to_one_value_is_not_stuck() -> None:
    table = graded(3, thrice_a_day)
    assert table["faults"].tolist() == [""] * 3
    assert table["stuck_share"].tolist() == [0.0] * 3
    assert table["grade"].tolist() == ["A"] * 3


def test_it_must_have_come_back_before_it_is_believed() -> None:
    table = graded(4, lambda hours, values: np.where(hours % 24 < 6, 0.0, values))
    assert table["faults"].tolist() == ["stuck", "stuck", "", ""], "a rest a day: the third day knows three"


def test_what_stays_longer_than_it_ever_did_is_stuck() -> None:
    table = graded(4, lambda hours, values: np.where(hours > 3 * 24 + 16, 0.0, thrice_a_day(hours, values)))
    assert table["faults"].tolist() == ["", "", "", "stuck"], "for eight hours now, and four would be twice the usual"
    assert table.loc[3, "grade"] == "F"
    shorter = graded(4, lambda hours, values: np.where((hours > 3 * 24 + 16) & (hours < 3 * 24 + 19.5), 0.0, thrice_a_day(hours, values)))
    assert shorter["faults"].tolist() == [""] * 4


def test_a_coarse_sensor_that_sticks_at_one_of_its_own_values_is_stuck() -> None:
    table = graded(5, lambda hours, values: np.where(hours >= 24, 20.0, np.rint(values)))
    assert table["faults"].tolist() == [""] + ["stuck"] * 4


def test_a_contact_that_begins_to_fail_is_no_rest_until_half_of_the_days_know_it() -> None:
    table = graded(6, lambda hours, values: np.where(hours >= 4 * 24, thrice_a_day(hours, values), values))
    assert table["faults"].tolist() == [""] * 4 + ["stuck"] * 2


def test_the_stops_of_its_machine_are_no_return() -> None:
    running = RunningWhen(sensor_id="p.load", above=1.0)
    site = SITE.model_copy(update={"machines": (SITE.machines[0].model_copy(update={"running_when": running}),)})
    table = graded(4, lambda hours, values: np.where(hours >= 24, 20.0, values), site=site, load=lambda h, v: np.where(h % 6 < 2, 0.0, v))
    assert table["faults"].tolist() == [""] + ["stuck"] * 3


def test_a_day_at_zero_is_not_dead_where_such_days_are_usual() -> None:
    """Rests of 36 hours with 6 of work between."""
    table = graded(8, lambda hours, values: np.where((hours + 6) % 42 < 36, 0.0, values))
    whole_days = [n for n in range(8) if all((n * 24 + h + 6) % 42 < 36 for h in np.arange(1440) / 60)]
    assert whole_days == [0, 2, 5, 7]
    assert table["faults"].iloc[whole_days].tolist() == ["dead", "dead", "", ""]
