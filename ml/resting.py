"""Sensors whose usual state is to stay at one value: a counter, the flow of a pump on demand, a standby's current.

A sensor that is stuck stays where it is; one that rests leaves its value and comes back to exactly the same one, again and again. A
value is one at which a sensor usually rests where, over the day and the week before, while the machine ran,

    it lay there at least MIN_RESTS times, each as long as a run that would be called stuck, with other values in between,
    it did so on at least half of the days seen,
    and no such rest of the day itself is longer than LONGER_THAN_USUAL times the longest other one.

Rests are counted in whole windows, so that the windows of a stop neither end nor lengthen one. Limits: a sensor that rests for the first
time since it was mounted is called stuck until it has come back; a loose contact that falls to one value day after day looks like a rest.
"""

import numpy as np

from ml.columns import Floats
from ml.recent_windows import RecentWindows

MIN_RESTS = 3
LONGER_THAN_USUAL = 2.0
_SAME = 1e-9  # of the value: a window's mean of equal readings


def usually_rests(windows: RecentWindows, sensor: int, *, at: float, rest_s: float) -> bool:
    """Whether `at` is a value at which the sensor (its row) usually rests; `rest_s` is what counts as a rest at least."""
    seen = np.flatnonzero(~np.isnan(windows.mean[sensor]))
    first, end = _stretches(windows.mean[sensor, seen], at=at)
    is_rest = (end - first) * windows.minutes * 60 >= rest_s
    first, end = first[is_rest], end[is_rest]
    if len(first) < MIN_RESTS:
        return False
    per_day = 1440 // windows.minutes
    days = np.unique(seen // per_day)
    rested = np.unique(np.concatenate([seen[a:b] // per_day for a, b in zip(first, end, strict=True)]))
    if 2 * len(rested) < len(days):
        return False
    length, is_today = end - first, seen[end - 1] >= windows.today
    if not is_today.any():
        return True
    longest = int(np.argmax(np.where(is_today, length, 0)))
    return bool(length[longest] <= LONGER_THAN_USUAL * np.delete(length, longest).max())


def _stretches(level: Floats, *, at: float) -> tuple[np.ndarray, np.ndarray]:
    """[first, end) of what lies at the value without a break."""
    is_there = np.abs(level - at) <= _SAME * abs(at)
    edges = np.diff(np.concatenate([[False], is_there, [False]]).astype(np.int8))
    return np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
