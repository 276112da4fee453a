"""The members' tails on held-out healthy windows, and the blocks of time by which what they promise is counted."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ml.detectors.fusion import Tail, fit_tail, pooled_shape
from ml.detectors.scoring import MEMBERS
from ml.detectors.windows import Flags, MachineWindows, taken

Floats = NDArray[np.float64]

N_BLOCKS = 8
# measured in spreads of the machine's own, so that machines may be pooled: a few days of one machine hold a handful of independent
# values of a chart that remembers a day
POOLED = frozenset({"robust_z", "ewma", "cusum", "forecast"})


@dataclass(frozen=True)
class Held:
    """The held-out windows of one machine and the members' statistics of them (n, members)."""

    windows: MachineWindows
    statistics: Floats

    def inside(self, block: int) -> "Held":
        return self._of(self._block == block)

    def outside(self, block: int) -> "Held":
        return self._of(self._block != block)

    @property
    def _block(self) -> NDArray[np.int64]:
        """In order of time, N_BLOCKS as equal as can be; of at least N_BLOCKS windows none is empty."""
        n = len(self.windows.starts)
        return np.arange(n) * N_BLOCKS // n

    def _of(self, which: Flags) -> "Held":
        return Held(taken(self.windows, which), self.statistics[which])


def fit_tails(held: Sequence[Held]) -> list[tuple[Tail, ...]]:
    """Of each machine, in the order of MEMBERS; the tails' shapes are shared by all."""
    columns = []
    for place, name in enumerate(MEMBERS):
        own = [np.nan_to_num(h.statistics[:, place]) for h in held]
        shape = pooled_shape([h.statistics[:, place] for h in held if np.isfinite(h.statistics[:, place]).all()])
        if name in POOLED:
            columns.append([fit_tail(np.concatenate(own), shape=shape)] * len(held))
        else:
            columns.append([fit_tail(values, shape=shape) for values in own])
    return list(zip(*columns, strict=True))
