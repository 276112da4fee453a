"""A plant that never was, minute by minute: healthy machines, growing faults and the drops their gateways deliver.

The same sites, start, seed and faults give the same bytes. A day depends neither on the days after it nor on
the other machines and sites (`faults=None` excepted: the demonstration's faults are spread over the whole span).
Days are UTC days.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import reduce
from operator import add

import numpy as np
import pandas as pd
import pyarrow as pa

from ml.plant import Machine, Site
from ml.simulation.display import displayed
from ml.simulation.faults import MACHINE_FAULTS, RUNS_BEFORE_FAILURE, Fault, default_faults, mark, resolve_faults
from ml.simulation.gateway import Drop, DropCounts, Ints, as_received, check_format, cut_into_drops
from ml.simulation.machines import DAY_S, Floats, build_grid, duty_of, healthy_signal, operating_point, stream

_DROPS_PER_DAY = (1, 2, 3, 4, 6, 8, 12, 24)


@dataclass(frozen=True, eq=False)
class SimulatedDay:
    """One site-day: what was measured (`readings`: sensor_id, timestamp, value) and what was delivered (`drops`)."""

    site_id: str
    day: date
    readings: pd.DataFrame
    drops: tuple[Drop, ...]

    @property
    def counts(self) -> DropCounts:
        return reduce(add, (d.counts for d in self.drops), DropCounts())


@dataclass(frozen=True, eq=False)
class _Series:
    times: Ints  # microseconds since 1970
    values: Floats


def simulate(
    sites: Sequence[Site], *, start: date, days: int, seed: int, faults: Sequence[Fault] | None = None, drops_per_day: int = 1
) -> Iterator[SimulatedDay]:
    """Site-days in order of day, then of `sites`. Without `faults` those of `default_faults` (none below 20 days).

    Drops hold 24 / drops_per_day hours each. A drop in local time should hold both passes of the hour that the
    clock repeats in autumn, or a reader cannot tell them apart: with 1 drop a day it does.

    Raises ValueError for an unknown fault target, a start before a site's first day, a drop format that is not
    written here, sites given twice, or an impossible number of days or drops.
    """
    if days < 1:
        raise ValueError(f"days is {days}; simulate at least one")
    if drops_per_day not in _DROPS_PER_DAY:
        raise ValueError(f"drops_per_day is {drops_per_day}; a drop holds whole hours: choose one of {', '.join(map(str, _DROPS_PER_DAY))}")
    if len({s.site for s in sites}) != len(sites):
        raise ValueError("a site is given twice; give each site once")
    for site in sites:
        check_format(site)
        if start < site.first_day:
            raise ValueError(
                f"start {start} is before {site.site}'s first_day {site.first_day}: its readings would be refused; start later"
            )
    chosen = default_faults(sites, start=start, days=days, seed=seed) if faults is None else resolve_faults(faults, sites)
    return _site_days(sites, start=start, days=days, seed=seed, faults=chosen, drops_per_day=drops_per_day)


def _site_days(
    sites: Sequence[Site], *, start: date, days: int, seed: int, faults: tuple[Fault, ...], drops_per_day: int
) -> Iterator[SimulatedDay]:
    spans: dict[str, dict[str, _Series]] = {}
    for site in sites:
        spans[site.site] = {}
        for machine in site.machines:
            own = tuple(f for f in faults if (f.site_id, f.machine_id) == (site.site, machine.machine_id))
            spans[site.site] |= _machine_series(site, machine, own, start=start, days=days, seed=seed)
    for offset in range(days):
        day = start + timedelta(days=offset)
        for site in sites:
            series = {sensor_id: _of_day(whole, day) for sensor_id, whole in spans[site.site].items()}
            cells = as_received(site, day, series, seed=seed)
            drops = cut_into_drops(cells, site, day=day, seed=seed, drops_per_day=drops_per_day)
            yield SimulatedDay(site.site, day, _readings(series), drops)


def _machine_series(site: Site, machine: Machine, faults: tuple[Fault, ...], *, start: date, days: int, seed: int) -> dict[str, _Series]:
    grid = build_grid(site, machine, start=start, days=days, seed=seed)
    must_run = np.zeros(len(grid.seconds), dtype=np.bool_)
    must_stop = must_run.copy()
    for fault in faults:
        if fault.failure_at is not None:
            must_run |= (grid.since(fault.failure_at - RUNS_BEFORE_FAILURE) >= 0) & (grid.since(fault.failure_at) < 0)
            must_stop |= (grid.since(fault.failure_at) >= 0) & (grid.since(fault.ends_at) < 0)
    duty = duty_of(site, machine, grid, seed=seed, must_run=must_run, must_stop=must_stop)
    points = {
        s.sensor_id: operating_point(
            s, ambient=grid.ambient_mean, shift=float(stream(seed, site.site, machine.machine_id, s.sensor_id, "shift").uniform(-0.1, 0.1))
        )
        for s in machine.sensors
    }
    signals = {
        s.sensor_id: healthy_signal(site, machine, s, grid=grid, duty=duty, point=points[s.sensor_id], seed=seed) for s in machine.sensors
    }
    for fault in sorted(faults, key=lambda f: f.kind not in MACHINE_FAULTS):  # an instrument's fault hides what the machine does
        mark(signals, fault, machine=machine, points=points, grid=grid, duty=duty, seed=seed)
    begin = int(grid.start.timestamp()) * 1_000_000
    series = {}
    for sensor in machine.sensors:
        at_s = np.arange(int(np.ceil(days * DAY_S / sensor.interval_s))) * sensor.interval_s
        measured = signals[sensor.sensor_id][(at_s / grid.step_s).astype(np.int64)]
        own = [f for f in faults if f.sensor_id == sensor.sensor_id]
        times = begin + np.round(at_s * 1e6).astype(np.int64)
        series[sensor.sensor_id] = _Series(*displayed(times, measured, own, sensor=sensor, decimals=points[sensor.sensor_id].decimals))
    return series


def _of_day(whole: _Series, day: date) -> tuple[Ints, Floats]:
    midnight = np.datetime64(day, "us").astype(np.int64)
    first, last = np.searchsorted(whole.times, [midnight, midnight + DAY_S * 1_000_000])
    return whole.times[first:last], whole.values[first:last]


def _readings(series: dict[str, tuple[Ints, Floats]]) -> pd.DataFrame:
    order = sorted(series)
    names = pa.array(order).take(pa.array(np.repeat(np.arange(len(order)), [len(series[s][0]) for s in order])))
    times = pa.array(np.concatenate([series[s][0] for s in order])).cast(pa.timestamp("us", tz="UTC"))
    values = np.concatenate([series[s][1] for s in order])
    frame: pd.DataFrame = pa.table({"sensor_id": names, "timestamp": times, "value": values}).to_pandas()
    return frame
