"""Real machines that wear out, stop and fail are not taken for instruments with noise, another unit or a drifting clock.

A bearing that wears out (IMS, one snapshot of four accelerometers per 10 minutes, 7 days to its failure), an industrial machine's
temperature (NAB, 80 days of five minutes), ten machines' telemetry (Azure, 91 days of hours: too few readings for noise and clocks).
"""

from datetime import date
from pathlib import Path

import pandas as pd
import pytest

from ml.features import build_features
from ml.plant import Machine, Sensor, SensorType, Site
from ml.quality import assess_sensors
from ml.recent_windows import HISTORY_DAYS

pytestmark = pytest.mark.shared_data


def site_of(machines: dict[str, list[tuple[str, SensorType, str]]], *, interval_s: float) -> Site:
    made = tuple(
        Machine(
            machine_id=name,
            machine_class="real",
            sensors=tuple(Sensor(sensor_id=s, type=kind, unit=unit, interval_s=interval_s) for s, kind, unit in sensors),
        )
        for name, sensors in machines.items()
    )
    return Site(site="real", name="Real", first_day=date(2000, 1, 1), machines=made)


def graded(wide: pd.DataFrame, *, site: Site) -> pd.DataFrame:
    """`wide` has a column per sensor; its index is naive and read as UTC."""
    wide.index = pd.DatetimeIndex(wide.index, name="timestamp").tz_localize("UTC").as_unit("us")
    long = wide[~wide.index.duplicated(keep="last")].melt(ignore_index=False, var_name="sensor_id").dropna().reset_index()
    long["sensor_id"] = long["sensor_id"].astype("str")
    features: list[pd.DataFrame] = []
    tables = []
    for day, readings in long.groupby(long["timestamp"].dt.date):
        features.append(build_features(readings, site=site, day=day))
        recent = pd.concat(features[-HISTORY_DAYS - 1 :], ignore_index=True)
        tables.append(assess_sensors(readings, site=site, day=day, refused={}, features=recent).assign(day=day))
    return pd.concat(tables, ignore_index=True)


def named(table: pd.DataFrame) -> set[str]:
    return {code for text in table["faults"] for code in text.split()}


def test_a_bearing_that_wears_out_gets_louder_and_higher_and_is_no_noisy_sensor(shared_data: Path) -> None:
    raw = pd.read_csv(shared_data / "ims_bearing" / "test2.csv", index_col="Datetime").drop(columns="Unnamed: 0")
    raw.index = pd.to_datetime(raw.index, format="%Y.%m.%d.%H.%M.%S")
    raw.columns = [f"bearing-{n}" for n in range(1, 5)]
    table = graded(raw, site=site_of({"rig": [(name, "vibration", "g") for name in raw.columns]}, interval_s=600))
    last = table[(table["day"] == date(2004, 2, 19)) & (table["sensor_id"] == "bearing-1")].iloc[0]
    assert last["noise_ratio"] > 5
    assert last["level"] > 2 * last["usual_level"]
    assert named(table) == set()


def test_a_machine_temperature_that_falls_at_a_shutdown_is_in_no_other_unit(shared_data: Path) -> None:
    raw = pd.read_csv(shared_data / "nab" / "realKnownCause" / "machine_temperature_system_failure.csv", index_col="timestamp")
    raw.columns = ["temperature"]
    table = graded(raw, site=site_of({"machine": [("temperature", "temperature", "°F")]}, interval_s=300))
    assert len(table) == 80
    assert table["level"].min() < 0.6 * table["usual_level"].median()
    assert named(table) == set()


def test_ten_machines_with_failures_have_no_instrument_fault_in_three_months(shared_data: Path) -> None:
    raw = pd.read_csv(shared_data / "azure_pdm" / "telemetry_m1-10.csv")
    kinds: dict[str, tuple[SensorType, str]] = {
        "volt": ("voltage", "V"), "rotate": ("rotation_speed", "rpm"), "pressure": ("pressure", "bar"), "vibration": ("vibration", "mm/s"),
    }  # fmt: skip
    by_machine = {f"m{n}": raw[raw["machineID"] == n].set_index("datetime") for n in range(1, 11)}
    wide = pd.DataFrame({f"{m}.{kind}": rows[kind] for m, rows in by_machine.items() for kind in kinds})
    machines = {m: [(f"{m}.{kind}", *of) for kind, of in kinds.items()] for m in by_machine}
    table = graded(wide, site=site_of(machines, interval_s=3600))
    assert len(table) == 40 * 91
    assert named(table) == set()
