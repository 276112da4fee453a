"""Two control charts for drift that no single window shows: EWMA and CUSUM of the levels and spreads.

Both are two-sided and run on robust z by hour and operating state, pulled in at WINSOR so that a single wild window does not
raise them. Their textbook limits hold for independent windows; those of machines are not, so that the limits come from held-out healthy
windows as for all members. Their memory is a day at most: drift that takes a week is seen once a day of it stands out, and a chart
recovers within its memory. They start anew after a stop.
"""

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from ml.detectors.baseline import MEAN, STD, View, tail_aware_scale
from ml.detectors.running import cusum, ewma

Floats = NDArray[np.float64]

WINSOR = 4.0
EWMA_WEIGHT = 0.05  # within the 0.05 to 0.25 of Lucas and Saccucci (1990); the smaller, the smaller the drift it finds
CUSUM_ALLOWANCE = 0.5  # half of the shift to be found, in spreads (Page 1954; Montgomery, Statistical Quality Control, 9.1)


def _input(view: View) -> tuple[Floats, NDArray[np.int64]]:
    columns = view.columns(MEAN, STD)
    return np.clip(np.nan_to_num(view.hourly[:, columns]), -WINSOR, WINSOR), columns


def _in_columns(values: Floats, columns: NDArray[np.int64], *, view: View) -> Floats:
    out = np.zeros(view.hourly.shape)
    out[:, columns] = values
    return out


@dataclass(frozen=True)
class Ewma:
    """`scale` is the healthy spread of the chart, per column of levels and spreads."""

    names: ClassVar[tuple[str, ...]] = ("ewma",)
    memory: int
    scale: Floats

    @classmethod
    def fit(cls, view: View, *, memory: int) -> Self:
        chart = ewma(_input(view)[0], spell=view.spell, weight=EWMA_WEIGHT, memory=memory)
        return cls(memory=memory, scale=np.maximum(tail_aware_scale(chart), 1e-3))

    def deviations(self, view: View) -> Floats:
        """The chart in its healthy spreads, signed, (n, d); 0 in the columns that it does not follow."""
        values, columns = _input(view)
        return _in_columns(ewma(values, spell=view.spell, weight=EWMA_WEIGHT, memory=self.memory) / self.scale, columns, view=view)


@dataclass(frozen=True)
class Cusum:
    """`scale` is the healthy spread of the chart, per column of levels and spreads."""

    names: ClassVar[tuple[str, ...]] = ("cusum",)
    memory: int
    scale: Floats

    @classmethod
    def fit(cls, view: View, *, memory: int) -> Self:
        unscaled = cls(memory=memory, scale=np.ones(len(view.columns(MEAN, STD))))
        chart = unscaled.deviations(view)[:, view.columns(MEAN, STD)]
        return cls(memory=unscaled.memory, scale=np.maximum(tail_aware_scale(chart), 1.0))

    def deviations(self, view: View) -> Floats:
        """The larger of the upper and the lower sum in its healthy spreads, at least 0, (n, d)."""
        values, columns = _input(view)
        upper = cusum(values, spell=view.spell, allowance=CUSUM_ALLOWANCE, memory=self.memory)
        lower = cusum(-values, spell=view.spell, allowance=CUSUM_ALLOWANCE, memory=self.memory)
        return _in_columns(np.maximum(upper, lower) / self.scale, columns, view=view)
