"""A machine's signals follow its load: it rises by day, steps, stops and starts, and every sensor answers in its own way.

Nothing here knows the sensor's true design: the operating point is taken from its limits, so that any plant
file can be simulated. Every random quantity has a generator of its own, named by what it is, and every filter
looks back only: a day is the same whatever follows it and in whichever order machines are computed.
"""

import hashlib
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np
import numpy.typing as npt
import pandas as pd

from ml.plant import Machine, Sensor, SensorType, Site

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

GRID_S = 60.0
DAY_S = 86_400

# What a sensor reads at rated load, as a share of the way to its upper alarm limit (from ambient for a temperature).
_SHARE_OF_HIGH = {"vibration": 0.42, "temperature": 0.6, "pressure": 0.65, "current": 0.68, "flow": 0.65}
_TYPICAL = {
    "temperature": 55.0, "vibration": 2.0, "pressure": 6.0, "current": 50.0, "flow": 100.0,
    "voltage": 400.0, "rotation_speed": 1480.0, "level": 50.0, "power": 30.0, "other": 10.0,
}  # fmt: skip
# How strongly a sensor answers the load; 1 takes half of the room between operating point and alarm limit.
_GENERIC_GAIN = {
    "temperature": 0.5, "vibration": 0.3, "pressure": 0.4, "current": 0.8, "flow": 0.8,
    "voltage": -0.1, "rotation_speed": 0.4, "level": 0.2, "power": 0.8, "other": 0.4,
}  # fmt: skip
_CLASS_GAIN: dict[str, dict[str, float]] = {
    "pump": {"flow": 0.9, "pressure": -0.35, "current": 0.8},  # along the pump curve, head falls as flow grows
    "motor": {"current": 0.9, "temperature": 0.7, "vibration": 0.25},
    "compressor": {"pressure": 0.5, "current": 0.9, "temperature": 0.6},
    "fan": {"flow": 0.9, "pressure": 0.6, "current": 0.85, "vibration": 0.35},
}
_ZERO_AT_REST = frozenset({"current", "flow", "rotation_speed", "power"})
_INDIFFERENT_TO_REST = frozenset({"voltage", "level", "other"})
THERMAL_MINUTES = 40.0
# Time constants with which a machine that stops runs down, by sensor type.
RUN_DOWN_MINUTES = {"vibration": 0.7, "pressure": 4.0}


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """A generator that depends on the seed and its own name only."""
    words = [int.from_bytes(hashlib.sha256(str(name).encode()).digest()[:4], "big") for name in names]
    return np.random.default_rng(np.random.SeedSequence([seed, *words]))


def first_order(x: Floats, *, steps: float) -> Floats:
    """First-order lag with a time constant in grid steps, starting settled."""
    from scipy.signal import lfilter

    keep = float(np.exp(-1.0 / steps))
    y, _ = lfilter([1 - keep], [1, -keep], x, zi=[keep * x[0]])
    return np.asarray(y, dtype=np.float64)


def wander(rng: np.random.Generator, n: int, *, steps: float) -> Floats:
    """Stationary AR(1) noise of unit variance with a correlation time in grid steps."""
    from scipy.signal import lfilter

    keep = float(np.exp(-1.0 / steps))
    before = rng.standard_normal()
    y, _ = lfilter([np.sqrt(1 - keep**2)], [1, -keep], rng.standard_normal(n), zi=[keep * before])
    return np.asarray(y, dtype=np.float64)


@dataclass(frozen=True)
class OperatingPoint:
    """Value at rated load, distance to the nearest alarm limit, and decimals the instrument shows."""

    nominal: float
    room: float
    decimals: int


def operating_point(sensor: Sensor, *, ambient: float, shift: float = 0.0) -> OperatingPoint:
    """From the alarm limits; else the trip limits; else what is typical of the sensor's type.

    `shift` moves it by a share of the room, because no two machines are alike.
    """
    band = next((b for b in (sensor.alarm, sensor.trip) if b.low is not None or b.high is not None), None)
    low, high = (band.low, band.high) if band else (None, None)
    if low is not None and high is not None:
        nominal, room = (low + high) / 2, (high - low) / 2
    elif high is not None:
        base = ambient if sensor.type == "temperature" else 0.0
        nominal = base + _SHARE_OF_HIGH.get(sensor.type, 0.6) * (high - base) if high > base else high - max(5.0, 0.3 * abs(high))
        room = high - nominal
    elif low is not None:
        nominal = low / 0.6 if low > 0 else low + max(5.0, 0.3 * abs(low))
        room = nominal - low
    else:
        nominal = _TYPICAL[sensor.type]
        room = 0.3 * abs(nominal)
    bottom, top = sensor.physical.low, sensor.physical.high
    if bottom is not None and nominal <= bottom:
        nominal = bottom + room if top is None else (bottom + top) / 2
    elif top is not None and nominal >= top:
        nominal = top - room if bottom is None else (bottom + top) / 2
    room = min(room, *(abs(nominal - edge) for edge in (bottom, top) if edge is not None), room)
    return OperatingPoint(nominal + shift * room, room, int(np.clip(np.ceil(-np.log10(room / 1000)), 0, 6)))


@dataclass(frozen=True, eq=False)
class Grid:
    """Equidistant instants of the whole simulated span, and what the site's clock and weather do at them."""

    start: datetime
    days: int
    step_s: float
    seconds: Floats  # since start
    local_hour: Floats
    local_weekday: npt.NDArray[np.int64]
    ambient: Floats  # degrees Celsius
    ambient_mean: float

    @property
    def per_minute(self) -> float:
        return 60.0 / self.step_s

    def since(self, instant: datetime) -> Floats:
        """Seconds since an instant, negative before it."""
        return self.seconds - (instant - self.start).total_seconds()


def build_grid(site: Site, machine: Machine, *, start: date, days: int, seed: int) -> Grid:
    """One-minute steps, finer where the machine has a faster sensor."""
    step_s = min(GRID_S, *(s.interval_s for s in machine.sensors))
    begin = datetime(start.year, start.month, start.day, tzinfo=UTC)
    seconds = np.asarray(np.arange(int(np.ceil(days * DAY_S / step_s))) * step_s, dtype=np.float64)
    local = pd.DatetimeIndex(pd.Timestamp(begin) + pd.to_timedelta(seconds, unit="s")).tz_convert(site.zone)
    hour = np.asarray(local.hour, dtype=np.float64) + np.asarray(local.minute, dtype=np.float64) / 60
    rng = stream(seed, site.site, "ambient")
    mean, phases = float(rng.uniform(17, 26)), rng.uniform(0, 2 * np.pi, 2)
    elapsed_days = begin.timestamp() / DAY_S + seconds / DAY_S
    weather = 1.6 * np.sin(2 * np.pi * elapsed_days / 4.3 + phases[0]) + 1.4 * np.sin(2 * np.pi * elapsed_days / 9.7 + phases[1])
    ambient = np.asarray(mean + 4.5 * np.cos(2 * np.pi * (hour - 15) / 24) + weather, dtype=np.float64)
    return Grid(begin, days, step_s, seconds, hour, np.asarray(local.day_of_week, dtype=np.int64), ambient, mean)


@dataclass(frozen=True, eq=False)
class Duty:
    """What the machine is asked to do: load (0 is rated, about -1 to 1) and whether it runs."""

    load: Floats
    running: Bools
    minutes_on: Floats  # since the last start
    minutes_off: Floats  # since the last stop

    def run_down(self, sensor_type: SensorType) -> Floats:
        """What is left, while the machine stands, of the way from running to rest: from near 1 to 0."""
        if sensor_type not in RUN_DOWN_MINUTES:
            return np.zeros(len(self.running))
        return np.asarray(np.exp(-(self.minutes_off + 1) / RUN_DOWN_MINUTES[sensor_type]), dtype=np.float64)


def _load(site: Site, machine: Machine, grid: Grid, *, seed: int) -> Floats:
    n, per_minute = len(grid.seconds), grid.per_minute
    name = (site.site, machine.machine_id)
    rhythm = 0.3 * np.cos(2 * np.pi * (grid.local_hour - 14) / 24) - 0.15 * (grid.local_weekday >= 5)
    times, levels = [-1.0], [0.0]
    for day in range(grid.days):
        rng = stream(seed, *name, "load steps", (grid.start + timedelta(days=day)).toordinal())
        at = np.sort(rng.uniform(0, DAY_S, int(rng.integers(2, 6)))) + day * DAY_S
        times.extend(at.tolist())
        levels.extend(rng.uniform(-0.4, 0.4, len(at)).tolist())
    steps = np.asarray(levels)[np.searchsorted(times, grid.seconds, side="right") - 1]
    slow = 0.1 * wander(stream(seed, *name, "slow load"), n, steps=240 * per_minute)
    fast = 0.06 * wander(stream(seed, *name, "fast load"), n, steps=3 * per_minute)
    return np.clip(rhythm + first_order(steps, steps=6 * per_minute) + slow + fast, -1.1, 1.1)


def _planned_running(site: Site, machine: Machine, grid: Grid, *, seed: int) -> Bools:
    """A machine that nothing marks as running or stopped is taken to run always."""
    running = np.ones(len(grid.seconds), dtype=np.bool_)
    if machine.running_when is None:
        return running
    name = (site.site, machine.machine_id)
    # What the plant cannot do without runs through the night.
    rests_at_night = machine.criticality in ("low", "medium") and stream(seed, *name, "duty").random() < 0.4
    if rests_at_night:
        evening = (grid.local_hour >= 22) & (grid.local_weekday <= 4)
        morning = (grid.local_hour < 5) & (grid.local_weekday >= 1) & (grid.local_weekday <= 5)
        running &= ~(evening | morning)
    for day in range(grid.days):
        rng = stream(seed, *name, "planned stop", (grid.start + timedelta(days=day)).toordinal())
        stops, begin, hours = rng.random() < (0.1 if rests_at_night else 0.25), rng.uniform(5, 18), rng.uniform(1, 4)
        if stops:
            running &= ~((grid.seconds >= day * DAY_S + begin * 3600) & (grid.seconds < day * DAY_S + (begin + hours) * 3600))
    return running


def _minutes_since(change: Bools, *, per_minute: float) -> Floats:
    """Minutes since the latest True; a very long time where there was none."""
    index = np.arange(len(change), dtype=np.float64)
    latest = np.maximum.accumulate(np.where(change, index, -1e6))
    return (index - latest) / per_minute


def duty_of(site: Site, machine: Machine, grid: Grid, *, seed: int, must_run: Bools, must_stop: Bools) -> Duty:
    """`must_run` overrides planned stops and `must_stop` overrides all."""
    running = (_planned_running(site, machine, grid, seed=seed) | must_run) & ~must_stop
    before = np.concatenate([running[:1], running[:-1]])
    per_minute = grid.per_minute
    return Duty(
        load=_load(site, machine, grid, seed=seed),
        running=running,
        minutes_on=_minutes_since(running & ~before, per_minute=per_minute),
        minutes_off=_minutes_since(~running & before, per_minute=per_minute),
    )


def healthy_signal(site: Site, machine: Machine, sensor: Sensor, *, grid: Grid, duty: Duty, point: OperatingPoint, seed: int) -> Floats:
    """What a faultless sensor on a faultless machine would read, before rounding."""
    n, room, nominal = len(grid.seconds), point.room, point.nominal
    noise_rng = stream(seed, site.site, machine.machine_id, sensor.sensor_id, "noise")
    white = noise_rng.standard_normal(n)
    drift = wander(stream(seed, site.site, machine.machine_id, sensor.sensor_id, "wander"), n, steps=480 * grid.per_minute)
    gain = _CLASS_GAIN.get(machine.machine_class, {}).get(sensor.type, _GENERIC_GAIN[sensor.type])
    answer = 0.5 * gain * room * duty.load
    if sensor.type == "temperature":
        is_cold = nominal < grid.ambient_mean
        # A cold room holds its cold for hours; everything else cools down or warms up to its surroundings.
        at_rest = np.full(n, nominal + 0.5 * room) if is_cold else grid.ambient
        weather = 0.0 if is_cold else min(0.15, 0.012 * room) * (grid.ambient - grid.ambient_mean)
        target = np.where(duty.running, nominal + (-answer if is_cold else answer) + weather, at_rest)
        return first_order(target, steps=THERMAL_MINUTES * grid.per_minute) + room * (0.03 * drift + 0.012 * white)
    if sensor.type in _INDIFFERENT_TO_REST:
        return nominal + answer + room * (0.04 * drift + 0.02 * white)
    at_work = nominal + answer + room * (0.04 * drift + 0.02 * white)
    starting = np.exp(-duty.minutes_on / 5)
    if sensor.type == "vibration":
        at_work = at_work * (1 + 0.02 * white) + 0.2 * room * starting
        at_rest = 0.1 + nominal * duty.run_down("vibration") + 0.012 * np.abs(white)
    elif sensor.type == "pressure":
        at_work = at_work - 0.15 * room * starting
        static = 0.3 * nominal
        at_rest = static + (nominal - static) * duty.run_down("pressure") + 0.02 * room * (0.5 * drift + white)
    else:
        assert sensor.type in _ZERO_AT_REST
        at_work = at_work + (0.2 if sensor.type in ("current", "power") else -0.15) * room * starting
        at_rest = 0.004 * room * np.abs(white)
    return np.where(duty.running, at_work, at_rest)
