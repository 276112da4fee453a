"""Faults of instruments, told from faults of machines: another unit, noise, a flat line at the edge of the range, a running clock.

What needs a usual level or a usual noise takes it from the week before (`ml.recent_windows`); without it nothing is found.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ml.columns import US_PER_DAY, Bools, Floats, Ints
from ml.plant import Sensor
from ml.recent_windows import RecentWindows
from ml.site_day import SiteDay
from ml.unit_changes import UnitChange, UsualBand, conversions, find_unit_change

LEVEL_WINDOWS = 12  # with the machine running, for a level
NOISE_WINDOWS = 36  # for a noise: of the 24 of an hourly sensor, one day in 3,500 seemed three times as noisy by chance
MIN_DAYS = 2  # with so many, for what noise is usual
USUAL_NOISE = 1 / 6  # of the days before, as a quantile: the second least of seven
NOISY_FROM = 3.0
ALSO_NOISIER = 2.0  # another sensor of the machine this much noisier than usual: then it is the machine
_LEAST_NOISE_OF_LEVEL, _LEAST_NOISE_OF_RANGE = 1e-3, 1e-2  # less than this share is the instrument's resolution
_BESIDE = 36  # windows on either side of a jump in which the machine's other sensors are looked at

FLAT_SHARE = 0.95  # of the readings while the machine ran
FLAT_WIDTH = 1e-3  # of the sensor's range
FLAT_READINGS, FLAT_US = 30, 3_600_000_000
_ZERO_IS_NOTHING = frozenset({"vibration", "current", "flow", "rotation_speed", "power"})

CLOCK_READINGS = 100
CLOCK_FROM, CLOCK_TO = 10.0, 864.0  # s per day; above 1 % it is another interval, not a clock
CLOCK_STRAIGHTNESS = 10.0  # what it ran away by, over its scatter around a straight line


@dataclass(frozen=True)
class Behaviour:
    """The day beside the days before, by sensor: NaN, None and False where there is no telling. Levels are in the sensor's unit."""

    level: Floats
    usual_level: Floats
    noise_ratio: Floats
    is_noisy: Bools
    unit_changes: tuple[UnitChange | None, ...]


@dataclass(frozen=True)
class Clocks:
    """By sensor: how fast timestamps run away from the sensor's own grid, positive where they gain; NaN for too few readings."""

    drift_s_per_day: Floats
    is_drifting: Bools


def compare_with_usual(windows: RecentWindows) -> Behaviour:
    """What the day's windows say beside those of the days before, while the machine ran.

    noise_ratio is the median noise of the day's windows over the second least of the seven days before, of those at about the day's
    level: another unit has another noise. A sensor is noisy from a ratio of 3 while its level is usual and no other sensor of the
    machine is twice as noisy as usual: a machine that gets rougher is heard by its other sensors too, or rises. Vibration scatters in
    proportion to its level, so its ratio is that of the shares.
    """
    past, day = windows.mean[:, : windows.today], windows.mean[:, windows.today :]
    lowest, level, highest = _quantiles(day, (0.02, 0.5, 0.98), least=LEVEL_WINDOWS)
    low, usual, high = _quantiles(past, (0.02, 0.5, 0.98), least=LEVEL_WINDOWS)
    noise, levels = (_by_day(matrix, n_windows=day.shape[1], least=NOISE_WINDOWS) for matrix in (windows.noise, windows.mean))
    at_this_level = np.abs(levels - level[:, None]) <= np.fmax(np.abs(level) / 2, highest - lowest)[:, None]
    before = np.where(at_this_level & (noise > 0), noise, np.nan)[:, :-1]
    (usual_noise,) = _quantiles(before, (USUAL_NOISE,), least=MIN_DAYS)
    least = np.maximum(_LEAST_NOISE_OF_LEVEL * np.abs(usual), _LEAST_NOISE_OF_RANGE * (high - low))
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = noise[:, -1] / np.maximum(usual_noise, least)
        rise = np.where([s.type == "vibration" for s, _ in windows.owners], np.abs(level / usual), 1.0)
    ratio /= np.fmax(rise, 1.0)
    margin = (high - low) / 2
    is_at_usual_level = (level >= low - margin) & (level <= high + margin)
    return Behaviour(level, usual, ratio, is_at_usual_level & _alone(ratio, windows), _unit_changes(windows))


def _by_day(values: Floats, *, n_windows: int, least: int) -> Floats:
    """Medians of each row's days, (rows, days)."""
    days = np.split(values, values.shape[1] // n_windows, axis=1)
    return np.stack([_quantiles(day, (0.5,), least=least)[0] for day in days], axis=1)


def _quantiles(values: Floats, shares: Sequence[float], *, least: int) -> list[Floats]:
    """Of the present values of each row, NaN below `least` of them; between two values the mean of both."""
    ordered = np.sort(values, axis=1)  # missing ones last
    n = np.count_nonzero(~np.isnan(ordered), axis=1)
    found = []
    row = np.arange(len(n))
    for share in shares:
        place = np.maximum(n - 1, 0) * share
        below, above = (ordered[row, end.astype(np.int64)] for end in (np.floor(place), np.ceil(place)))
        found.append(np.where(n >= least, (below + above) / 2, np.nan))
    return found


def _companions(windows: RecentWindows) -> list[list[int]]:
    """By sensor: the other sensors of its machine."""
    members: dict[str, list[int]] = {}
    for i, (_, machine) in enumerate(windows.owners):
        members.setdefault(machine.machine_id, []).append(i)
    return [[j for j in members[machine.machine_id] if j != i] for i, (_, machine) in enumerate(windows.owners)]


def _alone(ratio: Floats, windows: RecentWindows) -> Bools:
    """Much noisier than usual, and no other sensor of the machine is."""
    noisy = ratio >= NOISY_FROM
    companions = _companions(windows)
    for i in np.flatnonzero(noisy):
        noisy[i] = not (ratio[companions[i]] >= ALSO_NOISIER).any()
    return noisy


def _unit_changes(windows: RecentWindows) -> tuple[UnitChange | None, ...]:
    """Those that nothing speaks against."""
    suspected: list[UnitChange | None] = []
    for (sensor, _), mean in zip(windows.owners, windows.mean, strict=True):
        at = np.flatnonzero(~np.isnan(mean))
        known = conversions(sensor.unit)
        suspected.append(find_unit_change(mean[at], at=at, since=windows.today, known=known, window_minutes=windows.minutes))
    companions = _companions(windows) if any(suspected) else []
    return tuple(
        change
        if change and not (_is_put_right(change, windows.owners[i][0]) or _is_process(i, companions[i], suspected, windows))
        else None
        for i, change in enumerate(suspected)
    )


def _is_put_right(change: UnitChange, sensor: Sensor) -> bool:
    """What was usual until then was wrong, and is as good an explanation: the sensor's limits fit the level now better than before.

    A change between °C and °F has one explanation only, but ten times more may also be a tenth put right.
    """
    product = [c.factor * change.conversion.factor for c in conversions(sensor.unit) if not c.offset]
    if change.conversion.offset or not np.isclose(product, 1).any():
        return False
    return _misfit(change.level, sensor) < _misfit(change.usual, sensor)


def _misfit(level: float, sensor: Sensor) -> float:
    """How many times the level is off the nearest limit, as a logarithm; infinite outside the limits, 0 without any."""
    band = next((b for b in (sensor.alarm, sensor.trip) if b.low is not None or b.high is not None), None)
    if band is None:
        return 0.0
    if (band.low is not None and level < band.low) or (band.high is not None and level > band.high):
        return float("inf")
    return min((abs(np.log(limit / level)) for limit in (band.low, band.high) if limit and limit * level > 0), default=0.0)


def _is_process(i: int, companions: Sequence[int], suspected: Sequence[UnitChange | None], windows: RecentWindows) -> bool:
    """Another sensor of the machine, not itself in another unit, left its usual band at the same time.

    Where no sensor says whether the machine runs, a fall may be a stop: then one of the others must be seen to have stayed.
    """
    change = suspected[i]
    assert change is not None
    stayed = False
    for j in companions:
        if suspected[j]:
            continue
        before, after = windows.mean[j, : change.first], windows.mean[j, change.first : change.end]
        before, after = before[~np.isnan(before)], after[~np.isnan(after)][:_BESIDE]
        if len(before) < _BESIDE or not len(after):
            continue
        usual = UsualBand.of(before)
        was_usual, is_usual = usual.holds(np.array([np.median(before[-_BESIDE:]), np.median(after)]))
        if was_usual and not is_usual:
            return True
        stayed |= bool(was_usual)
    return not stayed and windows.owners[i][1].running_when is None and abs(change.level) < abs(change.usual)


def find_flat(found: SiteDay, *, runs: Bools) -> Floats:
    """By sensor: the mark at which it lay flat while its machine ran, NaN for one that did not.

    Marks are the ends of the physical range and zero. Flat are 95 % of the readings within a thousandth of the range of one mark; at
    a zero that the quantity may well have, a temperature's, and where nothing says whether the machine runs, exactly on it.
    """
    low, high = (
        np.array([np.nan if bound is None else bound for bound in bounds])
        for bounds in ([s.physical.low for s in found.sensors], [s.physical.high for s in found.sensors])
    )
    width = np.where([m.running_when is None for m in found.machines], 0.0, np.nan_to_num(FLAT_WIDTH * (high - low)))
    width_at_zero = np.where([s.type in _ZERO_IS_NOTHING for s in found.sensors], width, 0.0)
    code, value = found.code[runs], found.value[runs]
    n = np.bincount(code, minlength=len(found.sensors))
    is_long = (n >= FLAT_READINGS) & (n * found.interval_us >= FLAT_US)
    flat_at = np.full(len(found.sensors), np.nan)
    for mark, near in ((low, width), (high, width), (np.zeros(len(low)), width_at_zero)):
        is_near = np.abs(value - mark[code]) <= near[code]
        share = np.bincount(code[is_near], minlength=len(n)) / np.maximum(n, 1)
        flat_at = np.where(is_long & (share >= FLAT_SHARE), mark, flat_at)
    return flat_at


def read_clocks(found: SiteDay) -> Clocks:
    """Least-squares line through how far each timestamp is from where a regular clock would have put it.

    Each step between two readings is taken as the nearest whole number of intervals, so missing readings do not matter. A clock
    drifts where it runs away by 10 to 864 s a day, and by ten times the scatter around that line: jitter, a single jump (at most six
    times) and a wandering schedule do not look like that, nor does a day within which the clock was set. Below 100 readings there is
    no telling.
    """
    n = np.diff(found.starts)
    enough = n >= CLOCK_READINGS
    drift, is_drifting = np.full(len(n), np.nan), np.zeros(len(n), bool)
    if not enough.any():
        return Clocks(drift, is_drifting)
    interval = found.interval_us[found.code]
    step = np.diff(found.at_us, prepend=0).astype(np.float64)
    step -= np.rint(step / interval) * interval
    step[found.starts[:-1][n > 0]] = 0.0
    away = np.cumsum(step)
    away -= away[found.starts[:-1].clip(max=len(away) - 1)][found.code]
    at = found.at_us / US_PER_DAY

    def mean(x: Floats) -> Floats:
        return np.bincount(found.code, weights=x, minlength=len(n)) / np.maximum(n, 1)

    at -= mean(at)[found.code]
    away -= mean(away)[found.code]
    variance = mean(at**2)
    with np.errstate(invalid="ignore", divide="ignore"):
        slope = mean(at * away) / variance
        scatter = np.sqrt(np.maximum(0.0, mean(away**2) - slope**2 * variance))
    span: Ints = found.at_us[(found.starts[1:] - 1).clip(0)] - found.at_us[found.starts[:-1].clip(max=len(away) - 1)]
    drift[enough] = slope[enough] / 1e6
    ran_away = np.abs(slope) * span / US_PER_DAY
    with np.errstate(invalid="ignore"):
        is_drifting = enough & (np.abs(drift) >= CLOCK_FROM) & (np.abs(drift) <= CLOCK_TO) & (ran_away >= CLOCK_STRAIGHTNESS * scatter)
    return Clocks(drift, is_drifting)
