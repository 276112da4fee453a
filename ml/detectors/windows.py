"""A machine's windows as a matrix: which windows may be scored, and the numbers its members look at.

The stored features are in long form (machine, window, sensor); members want one row per window. A column is a pair
of a role and a quantity. A role is the sensor's type and its place among the machine's sensors of that type
(`temperature#0`), so that machines of one class can share a model although their sensors have other names.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from ml.plant import Machine, Site

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

SCORED, STOPPED, SETTLING, TOO_FEW = "scored", "stopped", "settling", "too_few_readings"
_STATES = np.array([SCORED, TOO_FEW, SETTLING, STOPPED])
RUNNING, IDLE = 0, 1
A_DAY = 1440  # minutes
MIN_COVERAGE = 0.5
STATE_KEPT = np.timedelta64(1, "D")  # whether a machine runs is not known from what was read earlier than that
# what a sensor without a row in a window of its machine counts for
_EMPTY = {"coverage": 0.0, "mean": np.nan, "std": np.nan, "slope_per_h": np.nan, "running_share": 1.0}
NEEDED = ("machine_id", "window_start", "sensor_id", *_EMPTY)


@dataclass(frozen=True)
class MachineWindows:
    """One machine's windows in time order; n windows, s sensors of the machine in the plant file's order.

    `mean`, `std` and `slope` are (n, s) with NaN where nothing is known of the sensor; the others are (n,). `index` counts windows
    since the epoch, `regime` is RUNNING or IDLE. Windows of one spell follow each other in one regime, without a stop: only those may
    be averaged.
    """

    machine_id: str
    starts: NDArray[np.datetime64]
    index: Ints
    hours: Ints
    state: NDArray[np.str_]
    regime: Ints
    spell: Ints
    mean: Floats
    std: Floats
    slope: Floats

    @property
    def is_scored(self) -> Flags:
        return np.asarray(self.state == SCORED, dtype=np.bool_)


def roles(machine: Machine) -> tuple[str, ...]:
    """The role of each sensor, in the plant file's order: `temperature#0`, `vibration#0`, `vibration#1`."""
    seen: dict[str, int] = {}
    named = []
    for sensor in machine.sensors:
        place = seen.get(sensor.type, 0)
        named.append(f"{sensor.type}#{place}")
        seen[sensor.type] = place + 1
    return tuple(named)


def each_machine(features: pd.DataFrame, *, site: Site) -> Iterator[MachineWindows]:
    """The site's machines that have rows, in the plant file's order. Rows of machines or sensors unknown to the site are left out.

    Raises ValueError when a column is missing.
    """
    missing = [c for c in NEEDED if c not in features.columns]
    if missing:
        raise ValueError(f"features lack the columns {', '.join(missing)}; pass a table of the machine_features contract")
    machine_of = _codes(features["machine_id"], [m.machine_id for m in site.machines])
    first_sensor = np.cumsum([0, *(len(m.sensors) for m in site.machines)])
    sensor = _codes(features["sensor_id"], [s.sensor_id for s in site.sensors])
    is_known = (machine_of >= 0) & (sensor >= first_sensor[machine_of]) & (sensor < first_sensor[machine_of + 1])
    rows = slice(None) if is_known.all() else np.flatnonzero(is_known)
    machine_of, step = machine_of[rows], site.window_minutes * 60_000_000
    index = features["window_start"].to_numpy(dtype="datetime64[us]").astype(np.int64)[rows] // step
    place, grid = pd.factorize(index, sort=True)
    starts = (grid * step).astype("datetime64[us]")
    hours = local_hours(starts, site=site)
    # one pass over the long table for all machines: their matrices stand one behind the other
    pair = machine_of * len(grid) + place
    is_there = np.zeros(len(site.machines) * len(grid), dtype=np.bool_)
    is_there[pair] = True
    first_window = np.cumsum([0, *is_there.reshape(len(site.machines), -1).sum(axis=1)])
    window = (np.cumsum(is_there) - 1)[pair] - first_window[machine_of]
    n_sensors = np.diff(first_sensor)
    first_cell = np.cumsum([0, *np.diff(first_window) * n_sensors])
    at = first_cell[machine_of] + window * n_sensors[machine_of] + sensor[rows] - first_sensor[machine_of]
    values = {
        name: _filled(features[name].to_numpy(dtype=np.float64)[rows], at, n=first_cell[-1], empty=empty) for name, empty in _EMPTY.items()
    }
    for number, machine in enumerate(site.machines):
        cells = slice(first_cell[number], first_cell[number + 1])
        if cells.stop > cells.start:
            seen = np.flatnonzero(is_there[number * len(grid) : (number + 1) * len(grid)])
            matrices = {name: column[cells].reshape(len(seen), -1) for name, column in values.items()}
            yield _windows_of(matrices, index=grid[seen], starts=starts[seen], hours=hours[seen], machine=machine, site=site)


def _filled(values: Floats, at: Ints, *, n: int, empty: float) -> Floats:
    filled = np.full(n, empty)
    filled[at] = values
    return filled


def _codes(ids: "pd.Series[str]", names: Sequence[str]) -> Ints:
    """The place of each id, as text or category, among `names`; -1 for a name that is not there."""
    found = pa.array(ids, from_pandas=True)
    encoded = (found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found).dictionary_encode()
    place = {name: i for i, name in enumerate(names)}
    of_entry = np.array([*(place.get(name, -1) for name in encoded.dictionary.to_pylist()), -1], dtype=np.int64)
    return np.asarray(of_entry[encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)], dtype=np.int64)


def _windows_of(
    matrices: dict[str, Floats], *, index: Ints, starts: NDArray[np.datetime64], hours: Ints, machine: Machine, site: Site
) -> MachineWindows:
    runs = matrices["running_share"].min(axis=1) >= 1 - 1e-9
    coverage = matrices["coverage"].sum(axis=1) / sum(sensor.share_due(site.window_minutes) for sensor in machine.sensors)
    if machine.running_when is not None:
        place = [s.sensor_id for s in machine.sensors].index(machine.running_when.sensor_id)
        runs, is_told = declared_states(runs, is_read=np.isfinite(matrices["mean"][:, place]), starts=starts)
        coverage = np.where(is_told, coverage, 0.0)
    spell, policy = spells(~runs), site.policy.detection
    keep_until_due(matrices, index=index, spell=spell, machine=machine, window_minutes=site.window_minutes)
    return MachineWindows(
        machine.machine_id,
        starts=starts,
        index=index,
        hours=hours,
        state=states(index, runs=runs, coverage=coverage, settle_windows=policy.settle_windows, kept=A_DAY // site.window_minutes),
        regime=np.full(len(index), RUNNING),
        spell=spell,
        mean=matrices["mean"],
        std=matrices["std"],
        slope=matrices["slope_per_h"],
    )


def keep_until_due(matrices: dict[str, Floats], *, index: Ints, spell: Ints, machine: Machine, window_minutes: int) -> None:
    """In place: a sensor that is read more rarely than each window counts as last read until it is due again, for a day at most.

    What it said before a stop, or during one, does not count after it.
    """
    for place, sensor in enumerate(machine.sensors):
        if (until := sensor.kept_minutes(window_minutes)) == 0:
            continue
        is_read = np.isfinite(matrices["mean"][:, place])
        latest = np.maximum.accumulate(np.where(is_read, np.arange(len(index)), -1))
        is_kept = (latest >= 0) & (spell == spell[latest]) & (index - index[latest] <= np.ceil(until / window_minutes))
        for name in ("mean", "std", "slope_per_h"):
            column = matrices[name][:, place]
            column[:] = np.where(is_kept, column[latest], np.nan)


def local_hours(starts: NDArray[np.datetime64], *, site: Site) -> Ints:
    return pd.DatetimeIndex(starts).tz_localize("UTC").tz_convert(site.zone).hour.to_numpy(dtype=np.int64)


def latest_read(is_read: Flags, *, starts: NDArray[np.datetime64]) -> tuple[Ints, Flags]:
    """(the place of the last window that was read, of each one, 0 if there is none; whether there is one not older than STATE_KEPT)."""
    latest = np.maximum.accumulate(np.where(is_read, np.arange(len(is_read)), -1))
    is_told = np.asarray((latest >= 0) & (starts - starts[latest] <= STATE_KEPT), dtype=np.bool_)
    return np.maximum(latest, 0), is_told


def declared_states(runs: Flags, *, is_read: Flags, starts: NDArray[np.datetime64]) -> tuple[Flags, Flags]:
    """(whether the machine runs, whether its running sensor tells); `runs` as the features have it, `is_read` where that sensor was read.

    The features know of no other day: before a day's first reading they take the machine for running. Here it is as at the end of the
    day before.
    """
    latest, is_told = latest_read(is_read, starts=starts)
    days = starts.astype("datetime64[D]")
    source = np.maximum.accumulate(np.where(is_told & (days == days[latest]), np.arange(len(runs)), 0))
    return runs[source] | ~is_told, is_told


def spells(breaks: Flags) -> Ints:
    """A number that changes at each break."""
    return np.asarray(np.cumsum(breaks), dtype=np.int64)


def states(index: Ints, *, runs: Flags, coverage: Floats, settle_windows: int, kept: int) -> NDArray[np.str_]:
    """Why each window is scored or not; `index` counts windows since the epoch, ascending.

    A machine settles for some windows after a stop. Missing windows are no stop by themselves: after a gap the
    machine settles only if the last window seen before it was stopped, and no more than `kept` windows ago.
    """
    after_stop = np.zeros(len(index), dtype=np.bool_)
    after_stop[1:] = runs[1:] & ~runs[:-1] & (np.diff(index) <= kept)
    settling = runs & settles(index, after=after_stop, settle_windows=settle_windows)
    which = np.where(runs, np.where(settling, 2, np.where(coverage < MIN_COVERAGE, 1, 0)), 3)
    return _STATES[which]


def settles(index: Ints, *, after: Flags, settle_windows: int) -> Flags:
    """Windows nearer than `settle_windows` to the latest window marked by `after`, which is one of them."""
    started = np.maximum.accumulate(np.where(after, index, np.iinfo(np.int64).min // 2))
    return np.asarray(index - started < settle_windows, dtype=np.bool_)


def taken(windows: MachineWindows, which: Flags | Ints) -> MachineWindows:
    """Those marked, or those at the places."""
    if which.dtype == np.bool_ and which.all():
        return windows
    cut: dict[str, Any] = {f.name: getattr(windows, f.name)[which] for f in fields(windows) if f.name != "machine_id"}
    return replace(windows, **cut)


def joined(pool: Sequence[MachineWindows]) -> MachineWindows:
    """The windows of several machines one below the other, in spells of their own."""
    apart = [replace(w, spell=w.spell + i * 10**9) for i, w in enumerate(pool)]
    together: dict[str, Any] = {
        f.name: np.concatenate([getattr(w, f.name) for w in apart]) for f in fields(pool[0]) if f.name != "machine_id"
    }
    return replace(pool[0], **together)


def with_sensors(windows: MachineWindows, places: Sequence[int | None]) -> MachineWindows:
    """The sensors at `places`, in that order; NaN for a sensor the windows do not have."""
    if list(places) == list(range(windows.mean.shape[1])):
        return windows

    def chosen(matrix: Floats) -> Floats:
        columns = [np.full(len(matrix), np.nan) if place is None else matrix[:, place] for place in places]
        return np.column_stack(columns)

    return replace(windows, mean=chosen(windows.mean), std=chosen(windows.std), slope=chosen(windows.slope))
