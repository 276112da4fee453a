"""Single machines that fail, as a forecast sees them: hourly means of the leading sensor up to the moment of asking, and what came.

The signals and the fault's shape are the simulator's own (`ml.simulation.machines`, `ml.simulation.faults`); only the plant around
them is left out, so that hundreds of failures cost seconds.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pandas as pd

from ml.plant import Band, Machine, Sensor, SensorType, Site
from ml.simulation.faults import FAILURE_MODE_OF_FAULT, Fault, FaultKind, leading_sensor, mark, resolve_faults
from ml.simulation.machines import Duty, build_grid, duty_of, healthy_signal, operating_point, stream

KINDS: tuple[FaultKind, ...] = ("bearing_wear", "seal_leak", "clogged_filter")
HEALTHY_DAYS = 8
GROWS_DAYS = (4.0, 14.0)
ASKED_AT = (0.4, 0.95)  # share of the way from onset to failure: before, nothing shows; after, nothing is left to plan
_SHOWN_BY: dict[FaultKind, tuple[SensorType, str, Band, Band]] = {
    "bearing_wear": ("vibration", "mm/s", Band(high=4.5), Band(high=7.1)),
    "seal_leak": ("pressure", "bar", Band(low=4.0, high=8.0), Band(low=3.0, high=9.0)),
    "clogged_filter": ("flow", "m3/h", Band(low=60, high=140), Band(low=45, high=155)),
}


@dataclass(frozen=True)
class RunToFailure:
    """`history` holds timestamp and value, hourly means while the machine ran, up to `as_of`; the machine failed `days_left` later."""

    failure_mode: str
    sensor: Sensor
    history: pd.DataFrame
    as_of: pd.Timestamp
    days_left: float


def simulate_failures(n: int, *, seed: int) -> list[RunToFailure]:
    """n failures, the three kinds in turn; each depends on the seed and its own number alone."""
    return [_simulate(KINDS[number % len(KINDS)], number=number, seed=seed) for number in range(n)]


def _simulate(kind: FaultKind, *, number: int, seed: int) -> RunToFailure:
    rng = stream(seed, "run to failure", number)
    sensor_type, unit, alarm, trip = _SHOWN_BY[kind]
    sensor = Sensor(sensor_id="leading", type=sensor_type, unit=unit, interval_s=60, alarm=alarm, trip=trip)
    machine = Machine(machine_id=f"pump-{number}", machine_class="pump", sensors=(sensor,))
    start = date(2026, 1, 1) + timedelta(days=int(rng.integers(0, 300)))
    site = Site(site="runs", name="Runs to failure", first_day=start, machines=(machine,))
    grows = float(np.exp(rng.uniform(*np.log(GROWS_DAYS))))
    onset = datetime(start.year, start.month, start.day, tzinfo=UTC) + timedelta(days=HEALTHY_DAYS + float(rng.uniform(0, 1)))
    fault = Fault("runs", machine.machine_id, kind, onset, onset + timedelta(days=grows))
    assert leading_sensor(machine, kind) == sensor
    [fault] = resolve_faults([fault], [site])
    grid = build_grid(site, machine, start=start, days=int(np.ceil(HEALTHY_DAYS + 1 + grows)), seed=seed)
    always = np.ones(len(grid.seconds), dtype=np.bool_)
    duty: Duty = duty_of(site, machine, grid, seed=seed, must_run=always, must_stop=~always)
    point = operating_point(sensor, ambient=grid.ambient_mean, shift=float(rng.uniform(-0.15, 0.15)))
    signals = {sensor.sensor_id: healthy_signal(site, machine, sensor, grid=grid, duty=duty, point=point, seed=seed)}
    mark(signals, fault, machine=machine, points={sensor.sensor_id: point}, grid=grid, duty=duty, seed=seed)
    as_of = pd.Timestamp(onset + timedelta(days=grows * float(rng.uniform(*ASKED_AT)))).floor("h")
    minutes = pd.Series(signals[sensor.sensor_id], index=pd.Timestamp(grid.start) + pd.to_timedelta(grid.seconds, unit="s"))
    hours = minutes[minutes.index < as_of].resample("h").mean()
    history = pd.DataFrame({"timestamp": pd.Series(hours.index).astype("datetime64[us, UTC]"), "value": hours.to_numpy()})
    assert fault.failure_at is not None
    days_left = (pd.Timestamp(fault.failure_at) - as_of) / pd.Timedelta(days=1)
    return RunToFailure(FAILURE_MODE_OF_FAULT[kind], sensor, history, as_of, float(days_left))
