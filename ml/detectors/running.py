"""Sums over the last windows of a spell, whole columns at a time: the running mean, the EWMA and the CUSUM of a bounded past.

Nothing reaches across a stop, a change of operating state or a long gap, and nothing further back than so many windows: a day
scored with the days before it that are remembered, and the same day scored within a month, come to the same. So many windows are so
much time: those that are not there have been filled in (`pace`).
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def lagged(values: Floats, *, spell: Ints, by: int, fill: float) -> Floats:
    """The value of so many windows before, `fill` where the spell is younger; values are (n, d)."""
    out = np.full_like(values, fill)
    if by < len(values):
        np.copyto(out[by:], values[:-by], where=(spell[by:] == spell[:-by])[:, None])
    return out


def smoothed(deviation: Floats, *, spell: Ints, width: int) -> Floats:
    """Mean of the last `width` rows of the same spell, a missing value counting 0; NaN until there are so many."""
    n = len(deviation)
    mean = np.full(deviation.shape, np.nan)
    if n < width:
        return mean
    total = np.vstack([np.zeros((1, deviation.shape[1])), np.cumsum(np.nan_to_num(deviation), axis=0)])
    mean[width - 1 :] = (total[width:] - total[:-width]) / width
    is_short = np.ones(n, dtype=np.bool_)
    is_short[width - 1 :] = spell[width - 1 :] != spell[: n - width + 1]
    mean[is_short] = np.nan
    return mean


def ewma(values: Floats, *, spell: Ints, weight: float, memory: int) -> Floats:
    """Exponentially weighted mean of the last `memory` rows of the spell (a power of two), from 0: young spells stay near 0.

    By doubling: what m rows sum up to, and what the m rows before them do, is what 2 m rows do.
    """
    total, reach = weight * values, 1
    while reach < memory:
        total = total + (1.0 - weight) ** reach * lagged(total, spell=spell, by=reach, fill=0.0)
        reach *= 2
    return total


def cusum(values: Floats, *, spell: Ints, allowance: float, memory: int) -> Floats:
    """Upper cumulative sum max(0, C + value - allowance) over the last `memory` rows of the spell (a power of two), from 0.

    It is the largest sum of value - allowance over the last rows, however many; by doubling, as in `ewma`.
    """
    total = values - allowance
    best, reach = np.maximum(total, 0.0), 1
    while reach < memory:
        best = np.maximum(best, total + lagged(best, spell=spell, by=reach, fill=0.0))
        total = total + lagged(total, spell=spell, by=reach, fill=0.0)
        reach *= 2
    return best
