"""What people's words about incidents are worth: measured precision with its uncertainty, and a confidence that has learned from it.

A label says of an incident that it was confirmed, or that it was a false alarm. Limits: labels are not a random sample, since people
look at what was put before them, so precision is that of the incidents that somebody judged. Below MIN_LABELS of them nothing is
claimed and nothing is changed.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.shares import CountedShare

Floats = NDArray[np.float64]

MIN_LABELS = 20
PRIOR_SD_INTERCEPT = 1.0
PRIOR_SD_SLOPE = 0.5
BANDS = (0.0, 0.4, 0.7, 0.85, 1.0)
_EDGE = 0.01
_DECIMALS = 6
_NEWTON_STEPS = 50


@dataclass(frozen=True)
class Precision(CountedShare):
    """Of `n` labelled incidents `n_true` were confirmed."""

    what = "labelled incidents"
    needed = MIN_LABELS

    @property
    def counted(self) -> str:
        return f"{self.n_true / self.n:.0%} of n = {self.n} {self.what}"


def precision_of(labels: "pd.Series[str]") -> Precision:
    """Of labels `confirmed` and `false_alarm`; missing ones do not count."""
    known = labels.dropna()
    return Precision(len(known), int((known == "confirmed").sum()))


def precision_by_band(labelled: pd.DataFrame) -> dict[tuple[float, float], Precision]:
    """Of incidents (confidence, label), by the band of their confidence; a band holds its lower end, the last one both."""
    band = np.clip(np.searchsorted(BANDS, labelled["confidence"].to_numpy(dtype=np.float64), side="right") - 1, 0, len(BANDS) - 2)
    return {(BANDS[i], BANDS[i + 1]): precision_of(labelled.loc[band == i, "label"]) for i in range(len(BANDS) - 1)}


@dataclass(frozen=True)
class Calibration:
    """Logistic recalibration: the log odds of the confidence, times `slope`, plus `intercept`. 0 and 1 change nothing."""

    n_labels: int = 0
    intercept: float = 0.0
    slope: float = 1.0

    @property
    def is_measured(self) -> bool:
        return self.n_labels >= MIN_LABELS

    @property
    def words(self) -> str:
        if not self.is_measured:
            return f"not calibrated: {self.n_labels} of the {MIN_LABELS} labelled incidents needed"
        return f"calibrated by {self.n_labels} labelled incidents"

    def apply(self, confidence: float) -> float:
        """In [0, 1], rising with `confidence` (or flat, where people's words do not go with it); unchanged below MIN_LABELS."""
        if not self.is_measured:
            return confidence
        return round(float(_sigmoid(self.intercept + self.slope * _logit(np.array([confidence])))[0]), _DECIMALS)


def fit_calibration(labelled: pd.DataFrame) -> Calibration:
    """From incidents (confidence_by_rules, label): the most probable intercept and slope (Cox 1958; Platt 1999).

    Priors N(0, 1) on the intercept and N(1, 0.5) on the slope hold them near to no change until the labels say otherwise: of
    20 labels a third or so of the way. A slope below 0 would turn the order of incidents round and is held at 0. Confidences are taken as
    within 0.01 and 0.99. Labels other than `confirmed` and `false_alarm` do not count.
    """
    known = labelled[labelled["label"].notna()]
    if len(known) < MIN_LABELS:
        return Calibration(n_labels=len(known))
    x = _logit(known["confidence_by_rules"].to_numpy(dtype=np.float64))
    y = np.where(known["label"] == "confirmed", 1.0, 0.0)
    intercept, slope = _most_probable(x, y, is_slope_free=True)
    if slope < 0:
        intercept, slope = _most_probable(x, y, is_slope_free=False)
    return Calibration(len(known), intercept, slope)


def _most_probable(x: Floats, y: Floats, *, is_slope_free: bool) -> tuple[float, float]:
    """Newton's method on the posterior's logarithm, which is strictly concave; with a step halved where it would not rise."""
    design = np.column_stack([np.ones_like(x), x])[:, : 2 if is_slope_free else 1]
    centre = np.array([0.0, 1.0])[: design.shape[1]]
    weight = np.array([PRIOR_SD_INTERCEPT, PRIOR_SD_SLOPE])[: design.shape[1]] ** -2.0

    def value(at: Floats) -> float:
        z = design @ at
        return float(np.sum(y * z - np.logaddexp(0.0, z)) - 0.5 * np.sum(weight * (at - centre) ** 2))

    at = centre.copy()
    for _ in range(_NEWTON_STEPS):
        p = _sigmoid(design @ at)
        gradient = design.T @ (y - p) - weight * (at - centre)
        step = np.linalg.solve(design.T @ (design * (p * (1 - p))[:, None]) + np.diag(weight), gradient)
        while value(at + step) < value(at) and np.abs(step).max() > 1e-12:
            step = step / 2
        at = at + step
        if np.abs(step).max() < 1e-10:
            break
    return float(at[0]), float(at[1]) if is_slope_free else 0.0


def _logit(p: Floats) -> Floats:
    clipped = np.clip(p, _EDGE, 1 - _EDGE)
    return np.log(clipped / (1 - clipped))


def _sigmoid(x: Floats) -> Floats:
    return 1.0 / (1.0 + np.exp(-x))
