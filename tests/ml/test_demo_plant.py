"""The demonstration plant is a valid, realistic plant, and its simulated 35 days hold what a demonstration needs."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from ml.plant import Site
from ml.simulation.faults import DEMONSTRATED_KINDS, Fault, default_faults
from ml.simulator import simulate
from ml.workload import able_of, crews_of

PLANT = Path(__file__).parents[2] / "plant"
START = date(2026, 9, 14)
SEED = 7


@pytest.fixture(scope="module")
def sites() -> tuple[Site, ...]:
    return tuple(Site.model_validate(yaml.safe_load((PLANT / f"{name}.yaml").read_text("utf-8"))) for name in ("hamburg", "houston"))


@pytest.fixture(scope="module")
def faults(sites: tuple[Site, ...]) -> tuple[Fault, ...]:
    return default_faults(sites, start=START, days=35, seed=SEED)


@pytest.fixture(scope="module")
def signals(sites: tuple[Site, ...]) -> dict[str, pd.Series]:
    """Sensor -> 35 days of values."""
    frames = [day.readings for day in simulate(sites, start=START, days=35, seed=SEED)]
    every = pd.concat(frames).sort_values(["sensor_id", "timestamp"], kind="stable").set_index("timestamp")
    return {str(name): group["value"] for name, group in every.groupby("sensor_id", sort=False)}


def _running(site: Site, machine_id: str, signals: dict[str, pd.Series], *, settled_minutes: int = 0) -> pd.Series:
    """Minutes in which the machine runs and has run for a while."""
    condition = site.machine(machine_id).running_when
    assert condition is not None
    runs = (signals[condition.sensor_id] > condition.above).astype(int)
    return runs.rolling(settled_minutes + 1, min_periods=1).min() == 1


def test_the_plant_is_large_enough(sites: tuple[Site, ...]) -> None:
    machines = [m for s in sites for m in s.machines]
    assert len(sites) >= 2 and len(machines) >= 12 and sum(len(s.sensors) for s in sites) >= 50
    assert {m.machine_class for m in machines} == {"pump", "motor", "compressor", "fan"}
    assert len({m.criticality for m in machines}) == 4 and len({m.downtime_cost_per_hour for m in machines}) > 8
    assert all(m.running_when for m in machines)
    assert len({x.sensor_id for s in sites for x in s.sensors}) == sum(len(s.sensors) for s in sites)


def test_the_two_sites_deliver_in_two_formats(sites: tuple[Site, ...]) -> None:
    hamburg, houston = sites
    assert (hamburg.drops.layout, hamburg.drop_zone.key, hamburg.drops.columns.unit) == ("long", "UTC", "unit")
    assert (houston.drops.layout, houston.drop_zone.key, houston.drops.delimiter) == ("wide", "America/Chicago", ";")
    assert all(s.source_name for s in houston.sensors)
    assert len({s.source_name for s in houston.sensors}) == len(houston.sensors)


def test_units_and_vibration_limits_are_those_of_the_trade(sites: tuple[Site, ...]) -> None:
    units = {"temperature": "°C", "vibration": "mm/s", "pressure": "bar", "current": "A", "flow": "m3/h"}
    sensors = [s for site in sites for s in site.sensors]
    assert {s.type for s in sensors} == set(units)
    assert all(s.unit == units[s.type] and s.interval_s == 60 for s in sensors)
    # ISO 20816-3, group 1, rigid: zone B/C at 4.5 and C/D at 7.1 mm/s.
    assert {(s.alarm.high, s.trip.high) for s in sensors if s.type == "vibration"} == {(4.5, 7.1)}
    assert all(s.physical.low is not None and s.physical.high is not None for s in sensors)
    assert all(s.alarm.low is not None or s.alarm.high is not None for s in sensors)


def test_every_repair_finds_hands_and_some_part_is_out_of_stock(sites: tuple[Site, ...]) -> None:
    for site in sites:
        assert len(site.technicians) in (4, 5)
        for mode in ("VIB", "ELP", "PLU", "AIR", "ELE", "OHE", "PDE"):
            assert crews_of(able_of(tuple(r.skills for r in site.repair(mode).crew), site=site), site=site)[0], (site.site, mode)
        needed = {p for repair in site.repairs.values() for p in repair.parts}
        assert any(p.in_stock == 0 and p.lead_time_days > 0 and p.part_id in needed for p in site.parts)
        hours = [(t.end.hour + t.end.minute / 60 - t.start.hour - t.start.minute / 60) % 24 for x in site.technicians for t in x.shifts]
        assert min(hours) >= 8 and max(hours) <= 12  # an unquoted 14:00 in YAML is 840 seconds after midnight
        assert any(t.start.hour >= 14 for x in site.technicians for t in x.shifts)


def test_the_faults_cover_all_kinds_after_a_healthy_fortnight(sites: tuple[Site, ...], faults: tuple[Fault, ...]) -> None:
    begin = datetime(START.year, START.month, START.day, tzinfo=UTC)
    assert len(faults) >= 9 and {f.kind for f in faults} == set(DEMONSTRATED_KINDS)
    assert {f.site_id for f in faults} == {"hamburg", "houston"}
    assert min(f.onset_at for f in faults) >= begin + timedelta(days=15)
    assert max(f.onset_at for f in faults) < begin + timedelta(days=33)
    assert len({(f.site_id, f.machine_id) for f in faults}) == len(faults) <= sum(len(s.machines) for s in sites) - 3
    growth = [f.failure_at - f.onset_at for f in faults if f.failure_at]
    assert min(growth) >= timedelta(days=4) and max(growth) <= timedelta(days=10)
    still_growing = [f for f in faults if f.failure_at and f.failure_at > begin + timedelta(days=35)]
    assert len(still_growing) == 2


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("days", [20, 35, 90])
def test_default_faults_fit_any_span_and_seed(sites: tuple[Site, ...], days: int, seed: int) -> None:
    chosen = default_faults(sites, start=START, days=days, seed=seed)
    begin = datetime(START.year, START.month, START.day, tzinfo=UTC)
    assert len(chosen) == 10 and {f.kind for f in chosen} == set(DEMONSTRATED_KINDS)
    assert all(begin + timedelta(days=15) <= f.onset_at < begin + timedelta(days=days) for f in chosen)
    assert sum(f.ends_at > begin + timedelta(days=days) for f in chosen) >= 2


def test_healthy_machines_stay_within_their_alarm_limits(sites: tuple[Site, ...], signals: dict[str, pd.Series]) -> None:
    for site in sites:
        for machine in site.machines:
            running = _running(site, machine.machine_id, signals)[: 14 * 1440]
            assert 0.5 < running.mean() <= 1
            for sensor in machine.sensors:
                values = signals[sensor.sensor_id][: 14 * 1440][running]
                low, high = sensor.alarm.low, sensor.alarm.high
                assert high is None or values.max() < high, sensor.sensor_id
                assert low is None or values.min() > low, sensor.sensor_id


def test_a_healthy_sensor_never_looks_stuck(sites: tuple[Site, ...], signals: dict[str, pd.Series]) -> None:
    for name, values in signals.items():
        fresh = values.iloc[: 14 * 1440]
        runs = fresh.groupby(fresh.ne(fresh.shift()).cumsum()).size()
        assert runs.max() <= 8, (name, runs.max())


def test_machines_stop_and_their_signals_fall_to_rest(sites: tuple[Site, ...], signals: dict[str, pd.Series]) -> None:
    for site in sites:
        for machine in site.machines:
            resting = _running(site, machine.machine_id, signals).astype(int).rolling(31).max() == 0
            if not resting.any():
                continue
            for sensor in machine.sensors:
                values = signals[sensor.sensor_id][resting]
                if sensor.type in ("current", "flow"):
                    assert values.max() < 0.02 * signals[sensor.sensor_id].max()
                elif sensor.type == "vibration":
                    assert values.median() == pytest.approx(0.1, abs=0.05)


def test_it_freezes_somewhere(signals: dict[str, pd.Series]) -> None:
    below = [name for name, values in signals.items() if values.median() < 0]
    assert set(below) == {"HH-C302-STEMP", "HOU-K302-STEMP"}


def test_every_failure_is_preceded_by_the_trip_limit_and_followed_by_rest(
    sites: tuple[Site, ...], faults: tuple[Fault, ...], signals: dict[str, pd.Series]
) -> None:
    end = pd.Timestamp(START, tz="UTC") + pd.Timedelta(days=35)
    failures = [f for f in faults if f.failure_at and pd.Timestamp(f.failure_at) < end]
    assert len(failures) >= 5
    for fault in failures:
        assert fault.failure_at is not None
        site = next(s for s in sites if s.site == fault.site_id)
        sensor = next(s for s in site.machine(fault.machine_id).sensors if s.sensor_id == fault.sensor_id)
        failure = pd.Timestamp(fault.failure_at)
        last = signals[sensor.sensor_id][failure - pd.Timedelta("30min") : failure - pd.Timedelta("1min")]
        trip = sensor.trip.high if fault.kind == "bearing_wear" else sensor.trip.low
        assert trip is not None
        side = 1 if fault.kind == "bearing_wear" else -1
        assert np.median(side * (last - trip)) >= 0
        running = _running(site, fault.machine_id, signals)
        assert not running[failure : pd.Timestamp(fault.ends_at) - pd.Timedelta("1min")].any()
        assert running[pd.Timestamp(fault.ends_at) :].any()
