"""Robust z: how far a machine is from what is usual for it at this hour and in this operating state.

Limits: each sensor is judged by itself, so that a relation that breaks within the usual ranges is not seen; what depends on the
load is judged by the spread of all loads.
"""

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from ml.detectors.baseline import View, tail_aware_scale
from ml.detectors.running import smoothed

Floats = NDArray[np.float64]

SMOOTHED_WINDOWS = 12
MIN_SMOOTHED = 50


@dataclass(frozen=True)
class RobustZ:
    """`smooth_scale` (d,) is the healthy spread of the mean of SMOOTHED_WINDOWS deviations, in units of a single one's."""

    names: ClassVar[tuple[str, ...]] = ("robust_z",)
    smooth_scale: Floats

    @classmethod
    def fit(cls, view: View) -> Self:
        return cls(smooth_scale=scale_of_smoothed(view.hourly, view=view))

    def telling(self, view: View) -> Floats:
        """Signed z (n, d), NaN where missing: the larger of the window's own and that of the mean of the last SMOOTHED_WINDOWS.

        So a small shift that stays is as telling as a large one that passes.
        """
        return larger_of(view.hourly, smoothed(view.hourly, spell=view.spell, width=SMOOTHED_WINDOWS) / self.smooth_scale)


def scale_of_smoothed(deviation: Floats, *, view: View) -> Floats:
    smooth = smoothed(deviation, spell=view.spell, width=SMOOTHED_WINDOWS)
    smooth = smooth[np.isfinite(smooth).all(axis=1)]
    # too few to judge by: then the mean of many counts no more than a single window
    return np.maximum(tail_aware_scale(smooth), 1e-3) if len(smooth) >= MIN_SMOOTHED else np.ones(deviation.shape[1])


def larger_of(own: Floats, smooth: Floats) -> Floats:
    return np.where(np.abs(np.nan_to_num(smooth)) > np.abs(own), smooth, own)


def largest(deviation: Floats) -> Floats:
    """The largest |deviation| of each window, 0 where all are missing."""
    return np.asarray(np.nan_to_num(np.abs(deviation)).max(axis=1, initial=0.0), dtype=np.float64)
