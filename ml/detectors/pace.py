"""Windows that follow each other at a machine's own pace, so that so many of them are so much time.

A machine has a row for each window in which one of its sensors was read. Where readings are rarer than windows, or windows are missing,
the rows are not as many as the time between them asks for; members count rows. Here the windows that are not there become rows in which
nothing was read: charts count them as ordinary, and a level holds over them.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.detectors.windows import A_DAY, MIN_COVERAGE, SCORED, MachineWindows, taken
from ml.plant import Machine, Site

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MAX_GAP_IN_SPELL = 6  # paces
MOST_REMEMBERED = 128


def pace_of(machine: Machine, *, window_minutes: int) -> float:
    """Windows from one to the next in which enough of the machine's sensors are read to score it, by their intervals; at least 1."""
    intervals = sorted(sensor.interval_s for sensor in machine.sensors)
    n_needed = int(np.ceil(MIN_COVERAGE * sum(sensor.share_due(window_minutes) for sensor in machine.sensors) - 1e-9))
    return max(1.0, intervals[n_needed - 1] / (60 * window_minutes))


def machine_days(scores: pd.DataFrame, *, site: Site) -> float:
    """Time scored, summed over the machines: a scored window stands for the time to the machine's next one. `scores`: machine_id, state."""
    n_scored = scores.loc[scores["state"] == SCORED, "machine_id"].value_counts()
    paces = {machine.machine_id: pace_of(machine, window_minutes=site.window_minutes) for machine in site.machines}
    windows = sum(n * paces.get(str(machine_id), 1.0) for machine_id, n in n_scored.items())
    return float(windows) * site.window_minutes / A_DAY


def memory_of(minutes: float) -> int:
    """How many rows, `minutes` apart, a chart remembers: the largest power of two within a day, at most MOST_REMEMBERED."""
    return int(2 ** int(np.log2(max(1.0, min(MOST_REMEMBERED, A_DAY / minutes)))))


@dataclass(frozen=True)
class Paced:
    """`windows` one pace after the other; those that are there stand at `rows`, and `latest` (n,) is the place of the last such one."""

    windows: MachineWindows
    rows: slice | Ints
    latest: Ints | None

    def held(self, levels: Floats) -> Floats:
        """(n, d) in which a window that is not there has the levels of the last one that is."""
        return levels if self.latest is None else levels[self.latest]


def paced(windows: MachineWindows, *, pace: float) -> Paced:
    """A row for each pace of a spell; a gap of more than MAX_GAP_IN_SPELL paces ends a spell."""
    steps = np.maximum(1, np.rint(np.diff(windows.index) / pace)).astype(np.int64)
    is_far = steps > MAX_GAP_IN_SPELL
    goes_on = (np.diff(windows.spell) == 0) & ~is_far
    repeats = np.append(np.where(goes_on, steps, 1), 1)[: len(windows.index)]
    if is_far.any():
        windows = replace(windows, spell=windows.spell + np.append(0, np.cumsum(is_far)))
    if (repeats == 1).all():
        return Paced(windows, slice(None), None)
    rows = np.cumsum(repeats) - repeats
    latest = np.repeat(rows, repeats)
    every = taken(windows, np.repeat(np.arange(len(repeats)), repeats))
    is_unread = (latest != np.arange(len(latest)))[:, None]
    mean, std, slope = (np.where(is_unread, np.nan, matrix) for matrix in (every.mean, every.std, every.slope))
    return Paced(replace(every, mean=mean, std=std, slope=slope), rows, latest)
