"""A machine's windows as a matrix: which windows may be scored, and the numbers its members look at.

The stored features are in long form (machine, window, sensor); members want one row per window. A column is a pair
of a role and a quantity. A role is the sensor's type and its place among the machine's sensors of that type
(`temperature#0`), so that machines of one class can share a model although their sensors have other names.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.plant import Machine, Site

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

SCORED, STOPPED, SETTLING, TOO_FEW = "scored", "stopped", "settling", "too_few_readings"
MIN_COVERAGE = 0.5
MAX_GAP_IN_SPELL = 6
_NEEDED = ("machine_id", "window_start", "sensor_id", "coverage", "mean", "std", "slope_per_h", "running_share")


@dataclass(frozen=True)
class MachineWindows:
    """One machine's windows in time order; n windows, s sensors of the machine in the plant file's order.

    `mean`, `std` and `slope` are (n, s) with NaN where the sensor has no row; `state` and `spell` are (n,). Windows of
    one spell follow each other without a stop or a long gap: only those may be averaged.
    """

    machine_id: str
    starts: NDArray[np.datetime64]
    hours: Ints
    state: NDArray[np.str_]
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
    missing = [c for c in _NEEDED if c not in features.columns]
    if missing:
        raise ValueError(f"features lack the columns {', '.join(missing)}; pass a table of the machine_features contract")
    ids = features["machine_id"].to_numpy(dtype=object)
    for machine in site.machines:
        rows = features[ids == machine.machine_id]
        rows = rows[rows["sensor_id"].isin([s.sensor_id for s in machine.sensors])]
        if len(rows):
            yield _windows_of(rows, machine=machine, site=site)


def _windows_of(rows: pd.DataFrame, *, machine: Machine, site: Site) -> MachineWindows:
    starts, row_of = np.unique(rows["window_start"].to_numpy(dtype="datetime64[us]"), return_inverse=True)
    place = {s.sensor_id: i for i, s in enumerate(machine.sensors)}
    column_of = rows["sensor_id"].map(place).to_numpy(dtype=np.int64)

    def matrix(name: str, empty: float) -> Floats:
        filled = np.full((len(starts), len(machine.sensors)), empty)
        filled[row_of, column_of] = rows[name].to_numpy(dtype=np.float64)
        return filled

    running = np.ones(len(starts))
    np.minimum.at(running, row_of, rows["running_share"].to_numpy(dtype=np.float64))
    index, runs = starts.astype(np.int64) // (site.window_minutes * 60_000_000), running >= 1 - 1e-9
    state = _states(
        index,
        runs=runs,
        coverage=matrix("coverage", 0.0).mean(axis=1),
        settle_windows=site.policy.detection.settle_windows,
    )
    hours = pd.DatetimeIndex(starts).tz_localize("UTC").tz_convert(site.zone).hour.to_numpy(dtype=np.int64)
    return MachineWindows(
        machine.machine_id,
        starts=starts,
        hours=hours,
        state=state,
        spell=np.cumsum(~runs | (np.diff(index, prepend=index[:1]) > MAX_GAP_IN_SPELL)),
        mean=matrix("mean", np.nan),
        std=matrix("std", np.nan),
        slope=matrix("slope_per_h", np.nan),
    )


def _states(index: Ints, *, runs: Flags, coverage: Floats, settle_windows: int) -> NDArray[np.str_]:
    """Why each window is scored or not; `index` counts windows since the epoch, ascending.

    A machine settles for some windows after a stop. Missing windows are no stop by themselves: after a gap the
    machine settles only if the last window seen before it was stopped.
    """
    after_stop = np.zeros(len(index), dtype=np.bool_)
    after_stop[1:] = runs[1:] & ~runs[:-1]
    started = np.maximum.accumulate(np.where(after_stop, index, np.iinfo(np.int64).min // 2))
    settling = runs & (index - started < settle_windows)
    return np.select([~runs, settling, coverage < MIN_COVERAGE], [STOPPED, SETTLING, TOO_FEW], default=SCORED)


def taken(windows: MachineWindows, which: Flags) -> MachineWindows:
    return replace(
        windows,
        starts=windows.starts[which],
        hours=windows.hours[which],
        state=windows.state[which],
        spell=windows.spell[which],
        mean=windows.mean[which],
        std=windows.std[which],
        slope=windows.slope[which],
    )


def with_sensors(windows: MachineWindows, places: Sequence[int | None]) -> MachineWindows:
    """The sensors at `places`, in that order; NaN for a sensor the windows do not have."""

    def chosen(matrix: Floats) -> Floats:
        columns = [np.full(len(matrix), np.nan) if place is None else matrix[:, place] for place in places]
        return np.column_stack(columns)

    return replace(windows, mean=chosen(windows.mean), std=chosen(windows.std), slope=chosen(windows.slope))
