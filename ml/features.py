"""The readings of a day become features: one row per machine, window and sensor that has a reading in it.

Numbers are computed on values centred on their window's mean, so a small movement on a large level keeps its digits.
"""

from datetime import date

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.columns import US_PER_DAY, Floats, Ints
from ml.plant import Machine, Site
from ml.site_day import SiteDay, site_day

_US_PER_H = 3_600e6


def build_features(readings: pd.DataFrame, *, site: Site, day: date) -> pd.DataFrame:
    """The columns of `machine_features`, sorted by machine_id, window_start and sensor_id.

    `readings` [sensor_id, timestamp, value] are those of the day. coverage is readings over those due in a window (at
    least 1), at most 1. kurtosis is the excess of the population, crest factor the largest absolute value over the RMS; they
    and the RMS are for vibration only. running_share is the share of the running sensor's readings in the window that are
    above its limit; without such a reading its last state of the day, and before the first one 1.
    """
    found = site_day(readings, site=site, day=day)
    window_us = site.window_minutes * 60_000_000
    window = found.at_us // window_us
    is_first = np.ones(len(window), bool)
    is_first[1:] = (window[1:] != window[:-1]) | (found.code[1:] != found.code[:-1])
    starts = np.flatnonzero(is_first)
    code, window = found.code[starts], window[starts]
    columns = _moments(found, starts, is_vibration=np.array([s.type == "vibration" for s in found.sensors])[code])
    due = np.maximum(1.0, np.floor(window_us / found.interval_us + 1e-9))
    machines = sorted(site.machines, key=lambda m: m.machine_id)
    row_of = {m.machine_id: i for i, m in enumerate(machines)}
    machine = np.array([row_of[m.machine_id] for m in found.machines])[code]
    running = _running_share(found, machines, window_us=window_us)[machine, window]
    order = np.lexsort((code, window, machine))
    n = np.diff(starts, append=len(found.at_us))
    table = pd.DataFrame(
        {
            "machine_id": _text([m.machine_id for m in machines], machine),
            "window_start": found.start + pd.to_timedelta(window * window_us, unit="us").as_unit("us"),
            "sensor_id": _text([s.sensor_id for s in found.sensors], code),
            "n_readings": n.astype(np.int32),
            "coverage": np.minimum(1.0, n / due[code]),
            **columns,
            "running_share": running,
        }
    )
    return table.iloc[order].reset_index(drop=True)


def _text(names: list[str], at: Ints) -> pd.api.extensions.ExtensionArray:
    return pd.array(np.array(names, dtype=object)[at], dtype="str")


def _moments(found: SiteDay, starts: Ints, *, is_vibration: NDArray[np.bool_]) -> dict[str, Floats]:
    """Statistics of each group of rows; a group begins at each of `starts`."""
    value, names = found.value, ("mean", "std", "min", "max", "last", "slope_per_h", "rms", "kurtosis", "crest_factor")
    if not len(starts):
        return {name: np.empty(0) for name in names}
    n = np.diff(starts, append=len(value))
    group = np.repeat(np.arange(len(starts)), n)
    low, high = np.minimum.reduceat(value, starts), np.maximum.reduceat(value, starts)
    mean = np.add.reduceat(value, starts) / n
    # The bounds make the mean of equal values that value, so that they have no spread at all.
    mean = np.clip(mean + np.add.reduceat(value - mean[group], starts) / n, low, high)
    centred = value - mean[group]
    has_spread = high > low
    variance = np.add.reduceat(centred**2, starts) / n
    hours = (found.at_us - found.at_us[starts][group]) / _US_PER_H
    hours -= (np.add.reduceat(hours, starts) / n)[group]
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = np.add.reduceat(hours * centred, starts) / np.add.reduceat(hours**2, starts)
        rms = np.sqrt(np.add.reduceat(value**2, starts) / n)
        kurtosis = np.add.reduceat((centred / np.sqrt(variance)[group]) ** 4, starts) / n - 3
        crest = np.maximum(np.abs(low), np.abs(high)) / rms
    columns = (
        mean,
        np.sqrt(variance * n / np.maximum(n - 1, 1)),
        low,
        high,
        value[starts + n - 1],
        np.where(has_spread, slope, 0.0),
        np.where(is_vibration, rms, np.nan),
        np.where(is_vibration & has_spread & (n >= 4), kurtosis, np.nan),
        np.where(is_vibration & (rms > 0), crest, np.nan),
    )
    return dict(zip(names, columns, strict=True))


def _running_share(found: SiteDay, machines: list[Machine], *, window_us: int) -> Floats:
    """By machine and window of the day."""
    n_windows = US_PER_DAY // window_us
    shares = np.ones((len(machines), n_windows))
    position = {s.sensor_id: i for i, s in enumerate(found.sensors)}
    for share, machine in zip(shares, machines, strict=True):
        if machine.running_when is None:
            continue
        i = position[machine.running_when.sensor_id]
        rows = slice(found.starts[i], found.starts[i + 1])
        window, runs = found.at_us[rows] // window_us, found.value[rows] > machine.running_when.above
        n = np.bincount(window, minlength=n_windows)
        np.divide(np.bincount(window, weights=runs, minlength=n_windows), n, out=share, where=n > 0)
        latest = np.searchsorted(window, np.arange(n_windows)) - 1  # last reading before the window
        is_carried = (n == 0) & (latest >= 0)
        share[is_carried] = runs[latest[is_carried]]
    return shares
