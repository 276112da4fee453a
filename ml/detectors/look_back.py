"""How far back the scores of a day look: a day scored with so many days before it, and the same day within a month, come to the same."""

import math

from ml.detectors.forecast import windows_remembered
from ml.detectors.pace import memory_of, pace_of
from ml.detectors.windows import A_DAY
from ml.plant import Site

MOST_REMEMBERED_DAYS = 7
LEAST_REMEMBERED = 0.1  # of a day; so much at the far end of the memory moves no score by 0.01


def remembered_days(site: Site) -> int:
    """Whole days before a day that its scores rest on: the members' memory of the slowest machine, or a stop after which it settles.

    With windows of 10 minutes 2 days, of an hour 3, of two hours 5. At most MOST_REMEMBERED_DAYS: a machine that is read every 4 hours or
    more rarely would remember longer, and is scored as after a start a week ago.
    """
    paces = {pace_of(machine, window_minutes=site.window_minutes) * site.window_minutes for machine in site.machines}
    remembered = max((windows_remembered(memory_of(minutes)) * minutes for minutes in paces), default=0.0)
    settles = A_DAY + site.policy.detection.settle_windows * site.window_minutes
    return min(math.ceil(max(remembered / A_DAY - LEAST_REMEMBERED, settles / A_DAY)), MOST_REMEMBERED_DAYS)
