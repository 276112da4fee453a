"""The scale of the score: how often healthy machines raise an alarm that reaches so high.

An alarm is what opens an incident: so many windows in a row at or above a level, and nothing of the kind nearer than the merge gap.
Windows of one machine are not independent, so that the share of windows above a level says little about the number of alarms; they are
counted instead, as clusters of exceedances (peaks over threshold, Davison and Smith 1990; the clusters are those of the incident, not
estimated by an extremal index). Their peaks fall off exponentially, surprise being a logarithm of a probability.

score     ALARM_SCORE at the level that healthy machines reach once a machine-month (30 days of scored windows); each sixth above is
          ten times rarer; below, proportional to the surprise
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ml.plant import DetectionPolicy

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

ALARM_SCORE = 0.6
SCORE_PER_DECADE = 1 / 6
MINUTES_PER_MONTH = 30 * 1440
MIN_LEVEL = 1.0
WANTED_CLUSTERS = 20
_LEVELS = np.arange(0.5, 8.0, 0.1)
_PRIOR_CLUSTERS = 5  # so much does what is expected of p, a decade of rarity per decade, count beside the clusters seen


@dataclass(frozen=True)
class AlarmRate:
    """Alarms per machine-month that reach `level`: exp((once - level) / fall)."""

    once: float
    fall: float

    def score(self, surprise: Floats) -> Floats:
        """0 (ordinary) to 1 (an alarm as high once in 20 years, or rarer); NaN stays NaN."""
        rarity = (surprise - self.once) / (self.fall * np.log(10.0))
        score = np.where(rarity > 0, ALARM_SCORE + SCORE_PER_DECADE * rarity, ALARM_SCORE * surprise / self.once)
        return np.asarray(np.clip(score, 0.0, 1.0), dtype=np.float64)


@dataclass(frozen=True)
class Healthy:
    """The surprise of one machine's held-out windows, in order of time; `index` counts windows since the epoch, `minutes` from one on."""

    index: Ints
    surprise: Floats
    minutes: float


def fit_alarm_rate(machines: Sequence[Healthy], *, policy: DetectionPolicy) -> AlarmRate:
    """Machines are pooled: one machine's held-out days hold too few alarms to count."""
    sustained = [_sustained(m, policy=policy) for m in machines]
    months = sum(len(m.index) * m.minutes for m in machines) / MINUTES_PER_MONTH
    counts = np.array([sum(len(_peaks(s, above=level, gap=policy.merge_gap_windows)) for s in sustained) for level in _LEVELS])
    enough = np.flatnonzero(counts >= WANTED_CLUSTERS)
    at = int(enough[-1]) if len(enough) else int(np.flatnonzero(counts == counts.max())[-1])
    threshold = float(_LEVELS[at])
    peaks = np.concatenate([_peaks(s, above=threshold, gap=policy.merge_gap_windows) for s in sustained])
    prior = _PRIOR_CLUSTERS / np.log(10.0)
    fall = float((np.sum(peaks - threshold) + prior) / (len(peaks) + _PRIOR_CLUSTERS))
    per_month = max(len(peaks), 0.5) / months
    return AlarmRate(once=max(threshold + fall * float(np.log(per_month)), MIN_LEVEL), fall=fall)


def _sustained(machine: Healthy, *, policy: DetectionPolicy) -> Healthy:
    """What each window and those before it, as many as the on-delay asks for, all reach."""
    reached = machine.surprise.copy()
    for by in range(1, policy.on_delay_windows):
        reached[by:] = np.minimum(reached[by:], machine.surprise[:-by])
        reached[:by] = -np.inf
    return replace(machine, surprise=reached)


def _peaks(sustained: Healthy, *, above: float, gap: int) -> Floats:
    """The highest value of each cluster of exceedances; those nearer than the gap are one."""
    at = np.flatnonzero(sustained.surprise >= above)
    if not len(at):
        return np.empty(0)
    starts = np.flatnonzero(np.diff(sustained.index[at], prepend=-(10**12)) > gap + 1)
    return np.maximum.reduceat(sustained.surprise[at], starts)
