"""Columns that are no measurement of their own are named; measurements that resemble each other are not."""

from datetime import date

import numpy as np
import pandas as pd
import pytest

from ml.features import build_features
from ml.leakage import constant_sensors, leaks, residual_share
from ml.plant import Machine, RunningWhen, Sensor, Site
from ml.simulator import simulate
from resources.plant_files import read_plant
from tests.conftest import CHECKOUT

N = 1440  # ten days of windows
START = pd.Timestamp("2026-09-01", tz="UTC")
RUNNING = "P1-CURR"


def site(*sensors: str) -> Site:
    made = tuple(Sensor(sensor_id=s, type="other", unit="u") for s in (RUNNING, *sensors))
    machine = Machine(machine_id="P1", machine_class="pump", sensors=made, running_when=RunningWhen(sensor_id=RUNNING, above=5))
    return Site(site="s", name="S", first_day=date(2026, 8, 1), machines=(machine,))


def features(**columns: np.ndarray) -> pd.DataFrame:
    """`columns` are window means of P1's sensors; the current says whether it runs, but for two days of stops it does."""
    rng = np.random.default_rng(1)
    runs = np.ones(N)
    runs[300:330] = runs[900:960] = 0.0
    columns = {RUNNING.replace("-", "_"): np.where(runs > 0, 30 + rng.normal(size=N), 0.01 * rng.random(N)), **columns}
    starts = START + pd.to_timedelta(np.arange(N) * 10, unit="min")
    parts = [
        pd.DataFrame({"machine_id": "P1", "sensor_id": name.replace("_", "-"), "window_start": starts, "mean": mean, "running_share": runs})
        for name, mean in columns.items()
    ]
    return pd.concat(parts, ignore_index=True)


def spans(*hours: tuple[float, float]) -> pd.DataFrame:
    rows = [{"machine_id": "P1", "start": START + pd.Timedelta(hours=a), "end": START + pd.Timedelta(hours=b)} for a, b in hours]
    return pd.DataFrame(rows, columns=["machine_id", "start", "end"])


def temperature() -> np.ndarray:
    rng = np.random.default_rng(2)
    return 60 + 5 * np.sin(np.arange(N) / 23) + rng.normal(size=N)


def test_a_copy_in_another_unit_is_named_though_it_was_rounded() -> None:
    celsius = temperature()
    fahrenheit = np.round(1.8 * celsius + 32, 1)
    found = leaks(features(P1_T=celsius, P1_TF=fahrenheit), spans={}, site=site("P1-T", "P1-TF"))
    assert found.keys() == {"P1"}
    assert found["P1"].keys() == {"P1-TF"}
    assert found["P1"]["P1-TF"].startswith("is a linear function of P1-T (all but ")


def test_a_copy_of_the_running_sensor_is_named_and_not_the_running_sensor() -> None:
    table = features(P1_T=temperature())
    current = table.loc[table["sensor_id"] == RUNNING, "mean"].to_numpy()
    found = leaks(features(P1_T=temperature(), P1_C2=2 * current), spans={}, site=site("P1-T", "P1-C2"))
    assert found["P1"].keys() == {"P1-C2"}
    assert "of P1-CURR, by which the machine runs" in found["P1"]["P1-C2"]


def test_a_flag_that_says_whether_the_machine_runs_is_named() -> None:
    runs = features().drop_duplicates("window_start")["running_share"].to_numpy()
    found = leaks(features(P1_ON=10.0 * runs), spans={}, site=site("P1-ON"))
    assert "is a linear function of the share of time in which the machine runs" in found["P1"]["P1-ON"]


def test_two_instruments_on_the_same_thing_are_not_copies() -> None:
    celsius = temperature()
    second = celsius + 0.02 * celsius.std() * np.random.default_rng(3).normal(size=N)
    assert leaks(features(P1_T=celsius, P1_T2=second), spans={}, site=site("P1-T", "P1-T2")) == {}
    assert residual_share(second, celsius) == pytest.approx(0.02, rel=0.1)


def status(*hours: tuple[float, float], late_h: float = 0.0) -> np.ndarray:
    at = np.arange(N) / 6
    inside = np.zeros(N, dtype=bool)
    for a, b in hours:
        inside |= (at >= a + late_h) & (at < b + late_h)
    return np.where(inside, 2.0, 0.0)


WORK = ((20.0, 24.0), (110.0, 115.0))


def test_a_flag_of_maintenance_is_named_though_clocks_and_log_differ_a_little() -> None:
    table = features(P1_T=temperature(), P1_WO=status(*WORK, late_h=0.4))
    found = leaks(table, spans={"incidents": spans(), "maintenance": spans(*WORK)}, site=site("P1-T", "P1-WO"))
    assert found == {"P1": {"P1-WO": "is 2 in maintenance and 0 otherwise, in 2 of 2 spans"}}


@pytest.mark.parametrize(
    "hours",
    [
        (WORK[0],),  # one span is chance
        (*WORK, (180.0, 184.0)),  # the flag did not stand in the third
    ],
)
def test_a_flag_that_stands_by_chance_or_not_always_is_no_leak(hours: tuple[tuple[float, float], ...]) -> None:
    table = features(P1_T=temperature(), P1_WO=status(*hours[:2]))
    assert leaks(table, spans={"maintenance": spans(*hours)}, site=site("P1-T", "P1-WO")) == {}


def test_a_flag_that_also_stands_elsewhere_is_no_leak() -> None:
    table = features(P1_WO=status(*WORK, (180.0, 184.0)))
    assert leaks(table, spans={"maintenance": spans(*WORK)}, site=site("P1-WO")) == {}


def test_a_measurement_that_every_fault_moves_far_is_a_good_sensor_and_no_leak() -> None:
    far = temperature() + 50 * (status(*WORK) > 0)
    assert leaks(features(P1_T=far), spans={"incidents": spans(*WORK)}, site=site("P1-T")) == {}


def test_the_sensors_of_the_demonstration_plant_are_measurements() -> None:
    hamburg = next(s for s in read_plant(CHECKOUT / "plant") if s.site == "hamburg")
    days = simulate([hamburg], start=date(2026, 9, 1), days=8, seed=5, faults=[])
    table = pd.concat([build_features(day.readings, site=hamburg, day=day.day) for day in days], ignore_index=True)
    assert leaks(table, spans={}, site=hamburg) == {}
    assert constant_sensors(table, site=hamburg) == {}


def test_a_sensor_is_constant_where_its_mean_never_moves_while_the_machine_runs() -> None:
    runs = features().drop_duplicates("window_start")["running_share"].to_numpy()
    table = features(P1_T=temperature(), P1_SET=np.where(runs > 0, 0.1 + 0.2, 0.0))
    assert constant_sensors(table, site=site("P1-T", "P1-SET")) == {"P1": {"P1-SET"}}
