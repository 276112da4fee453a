"""Times to failure put right by failures that came: per failure mode, how far the truth lay from the forecast.

A forecast follows the trend of the last days; most faults grow ever faster, so its median comes late and its interval is too narrow.
Split conformal prediction (Vovk, Gammerman and Shafer 2005; Lei et al., JASA 113, 2018, section 2.2 and 5.2 for residuals that are
normalised) asks failures that the forecast was not fitted to. With h = log(p50 / p10), the forecast's own spread, the residual of one is
    z = log(true time / p50) / h,
and the interval is p50 exp(h z_low) .. p50 exp(h z_high), z_low and z_high being the floor(0.1 (n + 1))-th and the ceil(0.9 (n + 1))-th
smallest of n: 8 of 10 further failures of the same kind then lie within it, whatever the distribution. It speaks of machines that do fail:
it does not say whether one will. A forecast whose median lies beyond the horizon has no h, and stays as it is.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from ml.passage import Passage

Floats = npt.NDArray[np.float64]

MIN_SPREAD = 0.05  # of h: a forecast is never more certain than 5 %
MIN_FAILURES = 9  # floor(0.1 (9 + 1)) = 1: with fewer there is no such residual
_Z90 = 1.2815515655446004  # of the normal distribution


@dataclass(frozen=True)
class Stretch:
    """Residuals of one failure mode: low, middle and high (10, 50 and 90 %), from `n` failures."""

    n: int
    low: float
    middle: float
    high: float

    def quantile(self, share: float, *, p50_days: float, spread: float) -> float:
        """Days by which a share of such machines has failed; the residual is linear in the normal score, with a knee at 50 %."""
        from scipy.special import ndtri

        score = float(ndtri(share))
        arm = (self.middle - self.low) if score < 0 else (self.high - self.middle)
        return p50_days * math.exp(spread * (self.middle + arm * score / _Z90))

    def probability(self, days: float, *, p50_days: float, spread: float) -> float:
        """The share of such machines that has failed by then; the inverse of `quantile`."""
        from scipy.special import ndtr

        beyond = math.log(days / p50_days) / spread - self.middle
        arm = (self.middle - self.low) if beyond < 0 else (self.high - self.middle)
        return float(ndtr(_Z90 * beyond / arm)) if arm > 0 else float(beyond >= 0)


Calibration = Mapping[str, Stretch]  # by failure mode


def residuals(days_left: Floats, *, p10_days: Floats, p50_days: Floats) -> Floats:
    """NaN where the forecast has no median within its horizon."""
    spread = np.maximum(np.log(p50_days / p10_days), MIN_SPREAD)
    return np.asarray(np.log(days_left / p50_days) / spread, dtype=np.float64)


def calibrate(failures: pd.DataFrame) -> dict[str, Stretch]:
    """failures: failure_mode, days_left (the truth), p10_days, p50_days (the forecast). Modes with fewer than MIN_FAILURES are left out."""
    found = {}
    for mode, rows in failures.groupby("failure_mode", sort=True):
        days = {name: rows[name].to_numpy(dtype=np.float64) for name in ("days_left", "p10_days", "p50_days")}
        z = np.sort(residuals(days["days_left"], p10_days=days["p10_days"], p50_days=days["p50_days"]))
        z = z[np.isfinite(z)]
        n = len(z)
        if n >= MIN_FAILURES:
            low, high = math.floor(0.1 * (n + 1)), math.ceil(0.9 * (n + 1))
            found[str(mode)] = Stretch(n, float(z[low - 1]), float(np.median(z)), float(z[high - 1]))
    return found


def calibrated(passage: Passage, stretch: Stretch, *, horizon_days: float) -> Passage:
    """The passage with its probabilities and times put right; unchanged if its median lies beyond the horizon, or it has happened."""
    p10, p50 = passage.ttf_p10_days, passage.ttf_p50_days
    if p10 is None or p50 is None or p10 <= 0:
        return passage
    spread = max(math.log(p50 / p10), MIN_SPREAD)
    days = [stretch.quantile(share, p50_days=p50, spread=spread) for share in (0.1, 0.5, 0.9)]
    first, middle, last = (d if d <= horizon_days else None for d in days)
    within = [stretch.probability(d, p50_days=p50, spread=spread) for d in (7.0, 30.0)]
    return replace(passage, probability_7d=within[0], probability_30d=within[1], ttf_p10_days=first, ttf_p50_days=middle, ttf_p90_days=last)


def is_inside(days_left: float, *, p10_days: float | None, p90_days: float | None) -> bool:
    """Whether the truth lies in the 80 % interval; a quantile beyond the horizon is later than any time."""
    return p10_days is not None and p10_days <= days_left and (p90_days is None or days_left <= p90_days)
