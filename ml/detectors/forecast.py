"""Forecast residual: each sensor's level foretold from its own past of an hour ago, the other sensors now and the time of the day.

What the load does to all sensors alike is foretold and does not count; what one sensor does on its own does. A daily pattern is known
from the second day on, and a shift that does not begin is as much of a surprise as one that does. The residual is
measured from its own running level and spread, so that the member adapts to a machine that has changed for good. Limits: it finds
changes, not states; it foretells nothing for three hours after a start (windows of 10 minutes); the slow drift of a machine's only
sensor is foretold from that sensor's own past and left to the control charts.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from ml.detectors.baseline import MEAN, Flags, Ints, View, tail_aware_scale
from ml.detectors.robust_z import SMOOTHED_WINDOWS, larger_of, scale_of_smoothed
from ml.detectors.running import ewma, lagged, smoothed
from ml.detectors.slow_drift import WINSOR

Floats = NDArray[np.float64]

HORIZON_WINDOWS = 6  # a step that stays is a surprise for so long, longer than the delay with which an incident opens
N_LAGS = 3
MIN_DAYS = 2  # of a half hour, for what is usual at it
MIN_FIT_ROWS = 50
CLIP = 20.0
RIDGE = 0.02  # penalty per window fitted on, in units of a standardised level's variance
RUNNING_WEIGHT = 0.03
MIN_AGE_WINDOWS = (
    HORIZON_WINDOWS + SMOOTHED_WINDOWS
)  # a machine that warms up is not foretold by an hour ago: two thirds of all false alarms


def windows_remembered(memory: int) -> int:
    """How many windows before a window move it: those of a running spread about a running level, of residuals in a spell that is old."""
    return 2 * (memory + SMOOTHED_WINDOWS) + MIN_AGE_WINDOWS


@dataclass(frozen=True)
class Forecast:
    """Ridge regression of m levels: `weights` (5 m + 3, m) on lags, levels of now, `usual` (48, m) by half hour of the day, and hour.

    `scale` and `smooth_scale` (m,) are those of the residual.
    """

    names: ClassVar[tuple[str, ...]] = ("forecast",)
    memory: int
    weights: Floats
    usual: Floats
    scale: Floats
    smooth_scale: Floats

    @classmethod
    def fit(cls, view: View, complete: Floats, *, memory: int) -> Self:
        """`complete` is the z of the view with what is missing imputed."""
        levels, _ = _levels(view, complete)
        usual, of_others = usual_by_half_hour(levels, view=view)
        weights = _ridge(_design(levels, usual=of_others, view=view), levels, view=view)
        silent = cls(memory, weights=weights, usual=usual, scale=np.ones(levels.shape[1]), smooth_scale=np.ones(levels.shape[1]))
        residual = silent.residual_of(levels, view=view)
        if np.isfinite(residual).sum(axis=0).min(initial=MIN_FIT_ROWS) < MIN_FIT_ROWS:
            return replace(silent, scale=np.full(levels.shape[1], np.inf))
        scaled = replace(silent, scale=np.maximum(tail_aware_scale(residual), 1e-3))
        own, _ = scaled.adapted(levels, view=view)
        return replace(scaled, smooth_scale=scale_of_smoothed(own, view=view))

    def deviations(self, view: View, complete: Floats) -> Floats:
        """The residual in its running spreads, or that of the last SMOOTHED_WINDOWS if larger, signed, (n, d).

        0 where the spell is younger than MIN_AGE_WINDOWS, where the level is missing, and but for the levels.
        """
        levels, columns = _levels(view, complete)
        own, spread = self.adapted(levels, view=view)
        smooth = smoothed(own, spell=view.spell, width=SMOOTHED_WINDOWS) / self.smooth_scale
        out = np.zeros(view.hourly.shape)
        out[:, columns] = np.nan_to_num(larger_of(own, smooth) / spread)
        return out

    def residual_of(self, levels: Floats, *, view: View) -> Floats:
        residual = (levels - _design(levels, usual=self.usual[view.halves], view=view) @ self.weights) / self.scale
        residual[~_is_old(view)[:, None] | ~np.isfinite(view.z[:, view.columns(MEAN)])] = np.nan
        return residual

    def adapted(self, levels: Floats, *, view: View) -> tuple[Floats, Floats]:
        """(residual from its running level, running spread, at least 1): both of what was before the windows now looked at."""
        residual = self.residual_of(levels, view=view)
        pulled_in, by = np.clip(np.nan_to_num(residual), -WINSOR, WINSOR), SMOOTHED_WINDOWS
        level = lagged(ewma(pulled_in, spell=view.spell, weight=RUNNING_WEIGHT, memory=self.memory), spell=view.spell, by=by, fill=0.0)
        square = ewma((pulled_in - level) ** 2, spell=view.spell, weight=RUNNING_WEIGHT, memory=self.memory)
        return residual - level, np.sqrt(np.maximum(lagged(square, spell=view.spell, by=by, fill=0.0), 1.0))


def usual_by_half_hour(levels: Floats, *, view: View) -> tuple[Floats, Floats]:
    """(mean level by half hour of the day (48, m), that of the other days for each window (n, m)); 0 where fewer than two days tell.

    A window is foretold from other days than its own also while fitting: else chance would pass for a daily pattern.
    """
    m, pulled_in = levels.shape[1], np.clip(levels, -WINSOR, WINSOR)
    days, day = np.unique(view.days, return_inverse=True)
    total, count = np.zeros((48, len(days), m)), np.zeros((48, len(days), 1))
    there = view.is_there
    np.add.at(total, (view.halves[there], day[there]), pulled_in[there])
    np.add.at(count, (view.halves[there], day[there]), 1.0)
    is_told = ((count > 0).sum(axis=1) >= MIN_DAYS)[:, 0]
    usual = np.where(is_told[:, None], total.sum(axis=1) / np.maximum(count.sum(axis=1), 1.0), 0.0)
    others = (total.sum(axis=1, keepdims=True) - total) / np.maximum(count.sum(axis=1, keepdims=True) - count, 1.0)
    return usual, np.where(is_told[view.halves][:, None], others[view.halves, day], 0.0)


def _ridge(design: Floats, levels: Floats, *, view: View) -> Floats:
    """Each level on its own lags, the other levels of now, what is usual for it at that time of the day, and the hour."""
    told, m = _is_old(view) & view.is_there, levels.shape[1]
    design, target = design[told], levels[told]
    gram, toward = design.T @ design, design.T @ target
    weights = np.zeros((design.shape[1], m))
    for j in range(m):
        own_lags, others = range(j, N_LAGS * m, m), [N_LAGS * m + i for i in range(m) if i != j]
        used = np.array([*own_lags, *others, (N_LAGS + 1) * m + j, *range(design.shape[1] - 3, design.shape[1])])
        penalty = max(RIDGE * len(target), 1e-9) * np.eye(len(used))
        weights[used, j] = np.linalg.solve(gram[np.ix_(used, used)] + penalty, toward[used, j])
    return weights


def _is_old(view: View) -> Flags:
    return lagged(np.ones((len(view.spell), 1)), spell=view.spell, by=MIN_AGE_WINDOWS, fill=0.0)[:, 0] > 0


def _levels(view: View, complete: Floats) -> tuple[Floats, Ints]:
    """From z with what is missing imputed: a sensor that fails must not spoil what is foretold of the others."""
    columns = view.columns(MEAN)
    return np.clip(complete[:, columns], -CLIP, CLIP), columns


def _design(levels: Floats, *, usual: Floats, view: View) -> Floats:
    past = [lagged(levels, spell=view.spell, by=HORIZON_WINDOWS + i, fill=0.0) for i in range(N_LAGS)]
    angle = 2 * np.pi * view.hours / 24
    return np.column_stack([*past, levels, usual, np.cos(angle), np.sin(angle), np.ones(len(levels))])
