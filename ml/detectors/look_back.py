"""How far back the scores of a day look: a day scored with so many days before it, and the same day within a month, come to the same."""

import math

from ml.detectors.forecast import windows_remembered
from ml.detectors.pace import memory_of, pace_of
from ml.detectors.windows import A_DAY
from ml.plant import Machine, Site

MOST_REMEMBERED_DAYS = 7
LEAST_REMEMBERED = 0.15  # of a day; so much at the far end of the memory moves no score by 0.01


def remembered_days(site: Site) -> int:
    """Whole days before a day that its scores rest on: the members' memory of the slowest machine, or a stop after which it settles.

    What was read before that and still stood then counts, too.

    With windows of 10 minutes 2 days, of an hour 3, of two hours 5. At most MOST_REMEMBERED_DAYS: a machine that is read every 4 hours or
    more rarely would remember longer, and is scored as after a start a week ago.
    """
    remembered = max((_minutes(machine, window_minutes=site.window_minutes) for machine in site.machines), default=0.0)
    settles = A_DAY + site.policy.detection.settle_windows * site.window_minutes
    return min(math.ceil(max(remembered / A_DAY - LEAST_REMEMBERED, settles / A_DAY)), MOST_REMEMBERED_DAYS)


def _minutes(machine: Machine, *, window_minutes: int) -> float:
    pace = pace_of(machine, window_minutes=window_minutes) * window_minutes
    kept = max(sensor.kept_minutes(window_minutes) for sensor in machine.sensors)
    return windows_remembered(memory_of(pace)) * pace + kept
