"""What is normal for a machine, and its windows told in those terms: the one view that all members look at.

Quantities per sensor: mean, log(std + eps) and slope. Each is measured from its centre in units of its spread, by operating
state and by hour of the site's day. A missing quantity is imputed and contributes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ml.detectors.windows import MachineWindows

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

QUANTITIES = ("mean", "std", "slope")
MEAN, STD, SLOPE = range(3)
MIN_DAYS_PER_HOUR = 5
MAX_Z = 1e6
_LEAST_OF_WHOLE = 0.1


@dataclass(frozen=True)
class View:
    """n windows as d columns: `z` against the regime's centre over all hours, `hourly` against the hour of the day, NaN where missing.

    `spell` and `hours` as in MachineWindows, `halves` (0..47) are the half hours of the site's day, `days` count since the epoch;
    `sensor_of` and `quantity_of` (d,) say what a column is.
    """

    z: Floats
    hourly: Floats
    spell: Ints
    hours: Ints
    halves: Ints
    days: Ints
    sensor_of: Ints
    quantity_of: Ints

    @property
    def is_there(self) -> Flags:
        """Windows in which something was read."""
        return np.asarray(np.isfinite(self.z).any(axis=1), dtype=np.bool_)

    def columns(self, *quantities: int) -> Ints:
        return np.flatnonzero(np.equal.outer(self.quantity_of, quantities).any(axis=1))


@dataclass(frozen=True)
class Baseline:
    """Centres and spreads; d columns are kept of 3 s (means, then log stds, then slopes of s sensors), R regimes.

    `centre` and `scale` (R, d) are over all hours; `hour_centre` is (R, 24, d), `hour_scale` (R, d) the spread about it.
    """

    eps: Floats
    kept: Ints
    centre: Floats
    scale: Floats
    hour_centre: Floats
    hour_scale: Floats

    @property
    def sensor_of(self) -> Ints:
        """The sensor's place for each kept column."""
        return np.asarray(self.kept % len(self.eps), dtype=np.int64)

    @property
    def quantity_of(self) -> Ints:
        """The place in QUANTITIES for each kept column."""
        return np.asarray(self.kept // len(self.eps), dtype=np.int64)

    def view(self, windows: MachineWindows) -> View:
        raw = _raw(windows, self.eps)[:, self.kept]
        if len(self.centre) == 1:
            z, hourly = raw - self.centre[0], raw - self.hour_centre[0][windows.hours]
            z /= self.scale[0]
            hourly /= self.hour_scale[0]
        else:
            regime = windows.regime
            z = (raw - self.centre[regime]) / self.scale[regime]
            hourly = (raw - self.hour_centre[regime, windows.hours]) / self.hour_scale[regime]
        return View(
            z=np.clip(z, -MAX_Z, MAX_Z, out=z),
            hourly=np.clip(hourly, -MAX_Z, MAX_Z, out=hourly),
            spell=windows.spell,
            hours=windows.hours,
            halves=2 * windows.hours + (windows.starts.astype("datetime64[m]").astype(np.int64) % 60) // 30,
            days=windows.starts.astype("datetime64[D]").astype(np.int64),
            sensor_of=self.sensor_of,
            quantity_of=self.quantity_of,
        )


def _raw(windows: MachineWindows, eps: Floats) -> Floats:
    return np.hstack([windows.mean, np.log(windows.std + eps), windows.slope])


def fit_baseline(windows: MachineWindows) -> tuple[Baseline | None, Ints]:
    """From healthy windows: the baseline, None when no column has any spread, and the sensors (places) whose mean never moves."""
    std = np.where(windows.std > 0, windows.std, np.nan)
    eps = np.array([0.05 * np.nanmedian(column) if np.isfinite(column).any() else 1.0 for column in std.T])
    raw = _raw(windows, eps)
    enough = np.isfinite(raw).sum(axis=0) >= max(20, len(raw) // 2)
    spread = np.array([np.nanmax(c) - np.nanmin(c) if ok else 0.0 for c, ok in zip(raw.T, enough, strict=True)])
    size = np.array([np.nanmax(np.abs(c)) if ok else 0.0 for c, ok in zip(raw.T, enough, strict=True)])
    # hourly readings have one value per window: std and slope are constant there and tell nothing
    moves = spread > 1e-9 * np.maximum(size, 1e-9)
    constant = np.flatnonzero((enough & ~moves)[: len(eps)])
    # a sensor that never moved has no normal spread; its scatter and slope are rounding
    kept = np.flatnonzero(enough & moves & ~np.isin(np.arange(raw.shape[1]) % len(eps), constant))
    if not len(kept):
        return None, constant
    raw = raw[:, kept]
    regimes = range(int(windows.regime.max()) + 1)
    whole = tail_aware_scale(raw - np.nanmedian(raw, axis=0))
    parts = [_of_regime(raw, windows=windows, at=windows.regime == regime, whole=whole) for regime in regimes]
    centre, scale, hour_centre, hour_scale = (np.stack(columns) for columns in zip(*parts, strict=True))
    return Baseline(eps=eps, kept=kept, centre=centre, scale=scale, hour_centre=hour_centre, hour_scale=hour_scale), constant


def _of_regime(raw: Floats, *, windows: MachineWindows, at: Flags, whole: Floats) -> Sequence[Floats]:
    """(centre, scale, hour_centre, hour_scale); a column unseen or without spread in the regime takes a tenth of its whole spread."""
    own = raw[at]
    centre = np.nan_to_num(np.nanmedian(own, axis=0)) if np.isfinite(own).any(axis=0).all() else np.nanmedian(raw, axis=0)
    days = windows.starts[at].astype("datetime64[D]").astype(np.int64)
    hour_centre = _hour_centres(own, hours=windows.hours[at], days=days, centre=centre)
    least = _LEAST_OF_WHOLE * whole if not at.all() else 0.0
    scale = np.maximum(np.nan_to_num(tail_aware_scale(own - centre)), least)
    hour_scale = np.maximum(np.nan_to_num(tail_aware_scale(own - hour_centre[windows.hours[at]])), least)
    return centre, scale, hour_centre, hour_scale


def tail_aware_scale(deviation: Floats) -> Floats:
    """MAD made consistent with the normal, but no less than the 99th percentile asks for.

    Slopes and stds of a machine whose load steps have heavy tails; scaled by the MAD alone they would drown the
    means. The last term keeps a column that hardly ever moves from a scale of zero.
    """
    size = np.abs(deviation)
    candidates = np.vstack(
        [1.4826 * np.nanmedian(size, axis=0), np.nanquantile(size, 0.99, axis=0) / 2.5758, 0.1 * np.sqrt(np.nanmean(size**2, axis=0))]
    )
    return np.asarray(candidates.max(axis=0), dtype=np.float64)


def _hour_centres(raw: Floats, *, hours: Ints, days: Ints, centre: Floats) -> Floats:
    """Median by hour of the site's day, smoothed over the neighbouring hours; an hour seen on too few days takes the overall one.

    The difference from the overall median is shrunk by days / (days + 2), because windows of one day are not independent.
    """
    offset = np.zeros((24, raw.shape[1]))
    for hour in range(24):
        at = hours == hour
        n_days = len(np.unique(days[at]))
        if n_days >= MIN_DAYS_PER_HOUR:
            median = np.median(np.where(np.isfinite(raw[at]), raw[at], centre), axis=0)
            offset[hour] = (median - centre) * n_days / (n_days + 2)
    smooth = 0.25 * np.roll(offset, 1, axis=0) + 0.5 * offset + 0.25 * np.roll(offset, -1, axis=0)
    return np.asarray(centre + smooth, dtype=np.float64)
