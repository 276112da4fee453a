"""Statistics become tail probabilities on held-out healthy windows, the members' probabilities one surprise, and that a score.

p         share of healthy windows at least as extreme: empirical up to the 90th percentile of the held-out windows,
          beyond it a generalised Pareto tail, so that p can be far below one over the number of windows
surprise  -log10 of the members' p together, by the Cauchy combination (Liu and Xie 2020), which holds for members that agree by nature
score     what `alarm_rate` makes of the surprise: it counts the alarms that healthy machines raise
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

TAIL_SHARE = 0.1
MIN_P = 1e-30
# below 0 a tail would end, and the first value beyond the end would be impossible rather than rare
SHAPE_RANGE = (0.0, 0.5)
_BODY = np.linspace(0.0, 1.0 - TAIL_SHARE, 91)


@dataclass(frozen=True)
class Tail:
    """The healthy distribution of one statistic: quantiles of the body, then a generalised Pareto tail above the last one."""

    body: Floats
    shape: float
    scale: float

    def p(self, statistic: Floats) -> Floats:
        """Probability that a healthy window is at least this extreme; NaN stays NaN."""
        return pooled_p([[self]], [statistic[:, None]])[:, 0]


def pooled_p(tails: Sequence[Sequence[Tail]], statistics: Sequence[Floats]) -> Floats:
    """`Tail.p` of several machines, each with m tails and a statistic (n, m), one below the other: (sum of n, m).

    What lies beyond a body is looked at for all together: machine by machine it took half as long as the members.
    """
    lengths = [len(s) for s in statistics]
    p = np.empty((sum(lengths), len(tails[0])))
    at = 0
    for of_machine, statistic, n in zip(tails, statistics, lengths, strict=True):
        for j, tail in enumerate(of_machine):
            p[at : at + n, j] = np.interp(statistic[:, j], tail.body, _BODY)
        at += n
    p = 1.0 - p
    numbers = np.array([[(tail.body[-1], tail.scale, tail.shape) for tail in of_machine] for of_machine in tails])
    threshold, scale, shape = np.moveaxis(np.repeat(numbers, lengths, axis=0), 2, 0)
    excess = (np.concatenate(statistics) - threshold) / scale
    is_out = excess > 0
    p[is_out] = TAIL_SHARE * _survival(excess[is_out], shape=shape[is_out])
    return np.asarray(np.maximum(p, MIN_P), dtype=np.float64)


def _survival(excess: Floats, *, shape: Floats) -> Floats:
    """Of a generalised Pareto of scale 1; exponential where the shape is 0."""
    is_heavy = shape >= 1e-6
    survival = np.exp(-excess)
    with np.errstate(over="ignore"):
        survival[is_heavy] = (1.0 + shape[is_heavy] * excess[is_heavy]) ** (-1.0 / shape[is_heavy])
    return survival


def tail_excesses(statistic: Floats) -> Floats:
    """What the most extreme tenth exceeds the 90th percentile by, ascending."""
    threshold = np.quantile(statistic, 1.0 - TAIL_SHARE)
    return np.sort(statistic[statistic > threshold]) - threshold


def pareto_shape(excesses: Floats) -> float:
    """Shape of a generalised Pareto by probability-weighted moments (Hosking and Wallis 1987), xi > 0 is heavy; kept in SHAPE_RANGE.

    `excesses` ascending. Below 10 values, or without spread, the shape cannot be told and 0 (exponential) is returned.
    """
    n = len(excesses)
    if n < 10:
        return 0.0
    a0 = float(excesses.mean())
    a1 = float((excesses * (1.0 - (np.arange(1, n + 1) - 0.35) / n)).mean())
    if a0 <= 2 * a1:
        return SHAPE_RANGE[0]
    return float(np.clip(2.0 - a0 / (a0 - 2.0 * a1), *SHAPE_RANGE))


def pooled_shape(statistics: Sequence[Floats]) -> float:
    """One shape for all machines of a site: a machine's own few days cannot tell it, the scale they can."""
    relative = [e / e.mean() for e in map(tail_excesses, statistics) if len(e) and e.mean() > 0]
    return pareto_shape(np.sort(np.concatenate(relative))) if relative else 0.0


def fit_tail(statistic: Floats, *, shape: float) -> Tail:
    """From held-out healthy windows; `shape` from `pooled_shape` or `pareto_shape`. Raises ValueError without windows."""
    if not len(statistic):
        raise ValueError("no held-out windows to calibrate on; hold out healthy days")
    excesses = tail_excesses(statistic)
    mean = float(excesses.mean()) if len(excesses) else 0.0
    body = np.quantile(statistic, _BODY)
    # a statistic without spread above its threshold still needs a finite scale
    scale = max(mean * (1.0 - shape), 1e-6 * max(abs(float(body[-1])), 1e-6))
    return Tail(body=body, shape=shape, scale=scale)


def combined_surprise(p: Floats) -> Floats:
    """-log10 of the Cauchy combination over the members; p is (n, members), NaN where a member cannot score."""
    bounded = np.clip(p, MIN_P, 0.99)
    # tan((1/2 - p) pi) loses its digits below 1e-10, where it equals 1 / (p pi)
    transformed = np.where(bounded < 1e-10, 1.0 / (bounded * np.pi), np.tan((0.5 - bounded) * np.pi))
    mean = np.nanmean(transformed, axis=1)
    together = np.where(mean > 1e10, 1.0 / (np.maximum(mean, 1.0) * np.pi), 0.5 - np.arctan(mean) / np.pi)
    return np.asarray(-np.log10(np.maximum(together, MIN_P)), dtype=np.float64)
