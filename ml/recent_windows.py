"""A site's windows of a day and of the week before it, as matrices: each sensor's level and scatter while its machine ran.

They come from `machine_features` alone, that is from each day's own readings: what is usual for a sensor does not depend on the
order in which days are processed, nor on what was found before.
"""

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pandas as pd

from ml.columns import Bools, Floats, Ints
from ml.frames import UTC_TIME
from ml.plant import Machine, Sensor, Site
from ml.site_day import sensor_codes, sensors_in_order
from ml.unit_changes import UsualBand

HISTORY_DAYS = 7  # before the day itself
# what is looked at of `machine_features`
FEATURES: dict[str, str] = {"sensor_id": "str", "window_start": UTC_TIME} | dict.fromkeys(
    ("n_readings", "mean", "std", "slope_per_h", "running_share"), "float64"
)
MIN_OTHERS, MIN_USUAL_WINDOWS, USUAL_SHARE = 2, 36, 0.8  # to see a machine run by its other sensors
_INDIFFERENT_TO_REST = frozenset({"level", "voltage", "other"})
_FALLS_AT_REST = frozenset({"vibration", "flow", "current", "power", "rotation_speed", "pressure"})
MIN_READINGS = 4  # in a window, for a scatter around its own straight line
_MAD_TO_STD = 1.4826  # of a normal distribution


@dataclass(frozen=True)
class RecentWindows:
    """(sensors, windows), sensors in the order of their ids; NaN where the machine did not run settled, or without readings.

    `mean` is the level, `noise` the scatter around the window's own straight line, both in the sensor's unit. Windows from `today`
    on are the day's, those before it are of the days before. `ran_unseen` marks the sensors of machines that ran on the day although
    the sensor that should say so never did.
    """

    owners: tuple[tuple[Sensor, Machine], ...]
    start: pd.Timestamp
    minutes: int
    today: int
    mean: Floats
    noise: Floats
    ran_unseen: Bools

    def starts_at(self, window: int) -> pd.Timestamp:
        return self.start + pd.Timedelta(minutes=window * self.minutes)


def recent_windows(features: pd.DataFrame, *, site: Site, day: date) -> RecentWindows:
    """`features` [FEATURES] are those of the day and the seven days before it; rows of other days and sensors are left out."""
    owners = sensors_in_order(site)
    start = day - timedelta(days=HISTORY_DAYS)
    per_day = 1440 // site.window_minutes
    code = sensor_codes(features["sensor_id"], {s.sensor_id: i for i, (s, _) in enumerate(owners)})
    stamps = features["window_start"].astype("datetime64[us, UTC]").to_numpy(dtype="datetime64[us]")
    window = (stamps - np.datetime64(start, "us")) // np.timedelta64(site.window_minutes, "m")
    shape = (len(owners), (HISTORY_DAYS + 1) * per_day)
    rows = np.flatnonzero((code >= 0) & (window >= 0) & (window < shape[1]))
    at = (code[rows], window[rows])

    def matrix(name: str) -> Floats:
        filled = np.full(shape, np.nan)
        filled[at] = features[name].to_numpy(dtype=np.float64)[rows]
        return filled

    mean = matrix("mean")
    noise = _noise(mean, n=matrix("n_readings"), std=matrix("std"), slope=matrix("slope_per_h"), owners=owners, minutes=site.window_minutes)
    is_settled = _settled(matrix("running_share"), owners, site=site)
    ran_unseen = _ran_unseen(mean, is_settled, owners, per_day=per_day)
    is_settled |= ran_unseen
    return RecentWindows(
        owners=owners,
        start=pd.Timestamp(start, tz="UTC"),
        minutes=site.window_minutes,
        today=HISTORY_DAYS * per_day,
        mean=np.where(is_settled, mean, np.nan),
        noise=np.where(is_settled, noise, np.nan),
        ran_unseen=ran_unseen[:, -1],
    )


def _settled(running_share: Floats, owners: tuple[tuple[Sensor, Machine], ...], *, site: Site) -> Bools:
    """By sensor and window: the machine ran, and has done so for as long as the site lets it settle after a stop."""
    row_of = {m.machine_id: i for i, m in enumerate(site.machines)}
    machine = np.array([row_of[m.machine_id] for _, m in owners])
    sensor, window = np.nonzero(running_share < 1 - 1e-9)
    stopped = np.zeros((len(site.machines), running_share.shape[1]), bool)
    stopped[machine[sensor], window] = True
    index = np.arange(running_share.shape[1])
    latest_stop = np.maximum.accumulate(np.where(stopped, index, -len(index) - 1), axis=1)
    settled: Bools = (index - latest_stop > site.policy.detection.settle_windows)[machine]
    return settled


def _ran_unseen(mean: Floats, is_settled: Bools, owners: tuple[tuple[Sensor, Machine], ...], *, per_day: int) -> Bools:
    """Windows of whole days on which a machine never ran by the sensor that says so, but all its other sensors were as when it runs.

    So the failure of that one sensor is not taken for a standstill. Two others at least must say so, one of them of a kind that falls
    when a machine stops.
    """
    found = np.zeros(is_settled.shape, bool)
    day = np.arange(mean.shape[1]) // per_day
    members: dict[str, list[int]] = {}
    for i, (_, machine) in enumerate(owners):
        members.setdefault(machine.machine_id, []).append(i)
    for rows in members.values():
        running_when, ran = owners[rows[0]][1].running_when, is_settled[rows[0]]
        resting_days = np.setdiff1d(day[~np.isnan(mean[rows]).all(axis=0)], day[ran])
        if running_when is None or not len(resting_days):
            continue
        usual = {
            i: UsualBand.of(seen)
            for i in rows
            if owners[i][0].sensor_id != running_when.sensor_id
            and owners[i][0].type not in _INDIFFERENT_TO_REST
            and len(seen := mean[i, ran & ~np.isnan(mean[i])]) >= MIN_USUAL_WINDOWS
        }
        if len(usual) < MIN_OTHERS or not any(owners[i][0].type in _FALLS_AT_REST for i in usual):
            continue
        for d in resting_days:
            held = [band.holds(mean[i, (day == d) & ~np.isnan(mean[i])]) for i, band in usual.items()]
            if all(len(h) and h.mean() >= USUAL_SHARE for h in held):
                found[np.ix_(rows, day == d)] = True
    return found


def _noise(mean: Floats, *, n: Floats, std: Floats, slope: Floats, owners: tuple[tuple[Sensor, Machine], ...], minutes: int) -> Floats:
    """Scatter of a window around its straight line; for sensors with fewer than 4 readings in a window, from three windows on end."""
    interval_s = np.array([s.interval_s for s, _ in owners])
    with np.errstate(invalid="ignore", divide="ignore"):
        time_squares = n * (n**2 - 1) / 12 * (interval_s[:, None] / 3600) ** 2  # of n regular readings around their middle
        noise = np.sqrt(np.maximum(0.0, (n - 1) * std**2 - slope**2 * time_squares) / (n - 2))
    noise[~(n >= MIN_READINGS)] = np.nan
    is_slow = interval_s * MIN_READINGS > minutes * 60 * (1 + 1e-9)
    step: Ints = np.maximum(1, np.rint(interval_s / (minutes * 60))).astype(np.int64)
    for size in np.unique(step[is_slow]):
        rows = np.flatnonzero(is_slow & (step == size))
        level = mean[rows]
        second = np.full(level.shape, np.nan)
        second[:, size:-size] = level[:, : -2 * size] - 2 * level[:, size:-size] + level[:, 2 * size :]
        noise[rows] = np.abs(second) * _MAD_TO_STD / np.sqrt(6)  # so that its median is the level's standard deviation
    return noise
