"""The members of a machine's detector: robust z by time of day, PCA T2 and Q; the Isolation Forest stands in `forest`.

A member turns windows into one statistic each, higher is more anomalous, on a scale of its own; `fusion` makes
tail probabilities of them. Quantities per sensor: mean, log(std + eps) and slope. A missing quantity is imputed and
contributes nothing.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ml.detectors.windows import MachineWindows

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

QUANTITIES = ("mean", "std", "slope")
KEPT_VARIANCE = 0.9
MIN_DAYS_PER_HOUR = 5
SMOOTHED_WINDOWS = 12
MIN_SMOOTHED = 50
FIT_CLIP = 8.0
MAX_Z = 1e6
_IMPUTATION_STEPS = 25


@dataclass(frozen=True)
class Baseline:
    """What is normal for each column; d columns are kept of 3 s (means, then log stds, then slopes of s sensors).

    `centre` and `scale` are over all hours; `hour_centre` is (24, d), `hour_scale` the spread about it and
    `smooth_scale` the spread of the mean of SMOOTHED_WINDOWS deviations from it, in units of `hour_scale`.
    """

    eps: Floats
    kept: Ints
    centre: Floats
    scale: Floats
    hour_centre: Floats
    hour_scale: Floats
    smooth_scale: Floats

    @property
    def n_sensors(self) -> int:
        return len(self.eps)

    @property
    def sensor_of(self) -> Ints:
        """The sensor's place for each kept column."""
        return np.asarray(self.kept % self.n_sensors, dtype=np.int64)

    @property
    def quantity_of(self) -> Ints:
        """The place in QUANTITIES for each kept column."""
        return np.asarray(self.kept // self.n_sensors, dtype=np.int64)

    def standardise(self, windows: MachineWindows) -> tuple[Floats, Floats]:
        """(z against all hours, z against the hour of the day), both (n, d) with NaN where a quantity is missing.

        The second is the larger of the window's own z and of the z of the last SMOOTHED_WINDOWS windows' mean: a small
        shift that stays is as telling as a large one that passes.
        """
        raw = _raw(windows, self.eps)[:, self.kept]
        z = (raw - self.centre) / self.scale
        hourly = (raw - self.hour_centre[windows.hours]) / self.hour_scale
        smooth = smoothed(hourly, spell=windows.spell) / self.smooth_scale
        hourly = np.where(np.abs(np.nan_to_num(smooth)) > np.abs(hourly), smooth, hourly)
        return np.clip(z, -MAX_Z, MAX_Z), np.clip(hourly, -MAX_Z, MAX_Z)


def _raw(windows: MachineWindows, eps: Floats) -> Floats:
    return np.hstack([windows.mean, np.log(windows.std + eps), windows.slope])


def fit_baseline(windows: MachineWindows) -> Baseline | None:
    """From healthy windows; None when no column has any spread."""
    std = np.where(windows.std > 0, windows.std, np.nan)
    eps = np.array([0.05 * np.nanmedian(column) if np.isfinite(column).any() else 1.0 for column in std.T])
    raw = _raw(windows, eps)
    enough = np.isfinite(raw).sum(axis=0) >= max(20, len(raw) // 2)
    spread = np.array([np.nanmax(c) - np.nanmin(c) if ok else 0.0 for c, ok in zip(raw.T, enough, strict=True)])
    size = np.array([np.nanmax(np.abs(c)) if ok else 0.0 for c, ok in zip(raw.T, enough, strict=True)])
    # hourly readings have one value per window: std and slope are constant there and tell nothing
    kept = np.flatnonzero(enough & (spread > 1e-9 * np.maximum(size, 1e-9)))
    if not len(kept):
        return None
    raw = raw[:, kept]
    centre = np.nanmedian(raw, axis=0)
    hour_centre = _hour_centres(raw, windows=windows, centre=centre)
    deviation = raw - hour_centre[windows.hours]
    hour_scale = _tail_aware_scale(deviation)
    smooth = smoothed(deviation / hour_scale, spell=windows.spell)
    smooth = smooth[np.isfinite(smooth).all(axis=1)]
    return Baseline(
        eps=eps,
        kept=kept,
        centre=centre,
        scale=_tail_aware_scale(raw - centre),
        hour_centre=hour_centre,
        hour_scale=hour_scale,
        # too few to judge by: then the mean of many counts no more than a single window
        smooth_scale=np.maximum(_tail_aware_scale(smooth), 1e-3) if len(smooth) >= MIN_SMOOTHED else np.ones(len(kept)),
    )


def smoothed(deviation: Floats, *, spell: Ints) -> Floats:
    """Mean of the last SMOOTHED_WINDOWS rows of the same spell, a missing value counting 0; NaN until there are so many."""
    n, width = len(deviation), SMOOTHED_WINDOWS
    mean = np.full(deviation.shape, np.nan)
    if n < width:
        return mean
    total = np.vstack([np.zeros((1, deviation.shape[1])), np.cumsum(np.nan_to_num(deviation), axis=0)])
    mean[width - 1 :] = (total[width:] - total[:-width]) / width
    is_short = np.ones(n, dtype=np.bool_)
    is_short[width - 1 :] = spell[width - 1 :] != spell[: n - width + 1]
    mean[is_short] = np.nan
    return mean


def _tail_aware_scale(deviation: Floats) -> Floats:
    """MAD made consistent with the normal, but no less than the 99th percentile asks for.

    Slopes and stds of a machine whose load steps have heavy tails; scaled by the MAD alone they would drown the
    means. The last term keeps a column that hardly ever moves from a scale of zero.
    """
    size = np.abs(deviation)
    candidates = np.vstack(
        [1.4826 * np.nanmedian(size, axis=0), np.nanquantile(size, 0.99, axis=0) / 2.5758, 0.1 * np.sqrt(np.nanmean(size**2, axis=0))]
    )
    return np.asarray(candidates.max(axis=0), dtype=np.float64)


def _hour_centres(raw: Floats, *, windows: MachineWindows, centre: Floats) -> Floats:
    """Median by hour of the site's day, smoothed over the neighbouring hours; an hour seen on too few days takes the overall one.

    The difference from the overall median is shrunk by days / (days + 2), because windows of one day are not independent.
    """
    days = windows.starts.astype("datetime64[D]").astype(np.int64)
    offset = np.zeros((24, raw.shape[1]))
    for hour in range(24):
        at = windows.hours == hour
        n_days = len(np.unique(days[at]))
        if n_days >= MIN_DAYS_PER_HOUR:
            median = np.median(np.where(np.isfinite(raw[at]), raw[at], centre), axis=0)
            offset[hour] = (median - centre) * n_days / (n_days + 2)
    smooth = 0.25 * np.roll(offset, 1, axis=0) + 0.5 * offset + 0.25 * np.roll(offset, -1, axis=0)
    return np.asarray(centre + smooth, dtype=np.float64)


def robust_z_statistic(hourly: Floats) -> Floats:
    """The largest |z| of a window."""
    return np.asarray(np.nan_to_num(np.abs(hourly)).max(axis=1, initial=0.0), dtype=np.float64)


@dataclass(frozen=True)
class Pca:
    """Principal components of the standardised columns: `loadings` (d, k), `variances` (k,) of the kept components.

    T2 = t' diag(1/variances) t with t = P'z, and Q = |z - PP'z|^2 (Jackson and Mudholkar 1979). Contributions are
    exact: they are not negative and add up to the statistic (T2: complete decomposition, Alcala and Qin 2009).
    """

    loadings: Floats
    variances: Floats

    @property
    def has_residual(self) -> bool:
        return bool(self.loadings.shape[1] < self.loadings.shape[0])

    def impute(self, z: Floats) -> Floats:
        """Missing entries take the value the components expect from the present ones (starts at 0, the baseline)."""
        missing = ~np.isfinite(z)
        filled = np.where(missing, 0.0, z)
        rows = np.flatnonzero(missing.any(axis=1))
        for _ in range(_IMPUTATION_STEPS if len(rows) else 0):
            expected = filled[rows] @ self.loadings @ self.loadings.T
            filled[rows] = np.where(missing[rows], expected, filled[rows])
        return filled

    def contributions(self, z: Floats) -> tuple[Floats, Floats]:
        """(to T2, to Q), each (n, d); z is complete."""
        scores = z @ self.loadings
        to_t2 = ((scores / np.sqrt(self.variances)) @ self.loadings.T) ** 2
        to_q = (z - scores @ self.loadings.T) ** 2
        return to_t2, to_q


def fit_pca(z: Floats) -> Pca:
    """z is (n, d), complete. Values beyond FIT_CLIP are pulled in, so that one wild window does not bend an axis.

    The centre stays at z = 0, the baseline. Where d > 1 at least one direction is left to Q.
    """
    clipped = np.clip(z, -FIT_CLIP, FIT_CLIP)
    variances, vectors = np.linalg.eigh(clipped.T @ clipped / len(clipped))
    variances, vectors = variances[::-1], vectors[:, ::-1]
    share = np.cumsum(variances) / variances.sum()
    k = int(np.searchsorted(share, KEPT_VARIANCE - 1e-12) + 1)
    k = max(1, min(k, len(variances) - 1))
    # a sign convention, because eigenvectors have none
    loadings = vectors[:, :k] * np.where(vectors[np.abs(vectors[:, :k]).argmax(axis=0), np.arange(k)] < 0, -1.0, 1.0)
    return Pca(loadings=np.ascontiguousarray(loadings), variances=variances[:k].copy())
