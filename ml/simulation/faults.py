"""Eleven faults, each with the mark it leaves in a machine's signals, and the truth about when it began and ended.

Machine faults (bearing wear, seal leak, clogged filter) grow until the leading sensor reaches its trip limit at
`failure_at`; the machine then stands still until it is repaired. Instrument faults never stop a machine. Some change what the
sensor reads (`mark`), some how that is shown and stamped (ml.simulation.display). The demonstration has those of DEMONSTRATED_KINDS.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Literal, get_args

import numpy as np
import pandas as pd

from ml.plant import Machine, Sensor, SensorType, Site
from ml.simulation.machines import DAY_S, THERMAL_MINUTES, Bools, Duty, Floats, Grid, OperatingPoint, first_order, stream, wander
from ml.unit_changes import Conversion, conversions

FaultKind = Literal[
    "bearing_wear", "seal_leak", "clogged_filter", "sensor_drift", "stuck_sensor", "spike_bursts",
    "noisy_sensor", "dead_sensor", "silent_sensor", "clock_drift", "wrong_unit",
]  # fmt: skip
FAULT_KINDS: tuple[FaultKind, ...] = get_args(FaultKind)
DEMONSTRATED_KINDS = FAULT_KINDS[:6]
MACHINE_FAULTS: frozenset[FaultKind] = frozenset({"bearing_wear", "seal_leak", "clogged_filter"})
# ISO 14224 codes, as in ml.plant.
FAILURE_MODE_OF_FAULT: dict[FaultKind, str] = {
    "bearing_wear": "VIB", "seal_leak": "ELP", "clogged_filter": "PLU",
    "sensor_drift": "AIR", "stuck_sensor": "AIR", "spike_bursts": "AIR",
    "noisy_sensor": "AIR", "dead_sensor": "AIR", "silent_sensor": "AIR", "clock_drift": "AIR", "wrong_unit": "AIR",
}  # fmt: skip
HEALTHY_DAYS = 15
MIN_DAYS_WITH_FAULTS = 20

# The sensor that tells, in order of preference; for machine faults also the side of the limit that it reaches.
_LEADING: dict[FaultKind, tuple[tuple[SensorType, int], ...]] = {
    "bearing_wear": (("vibration", +1),),
    "seal_leak": (("pressure", -1),),
    "clogged_filter": (("flow", -1),),
}
_INSTRUMENTS: dict[FaultKind, tuple[SensorType, ...]] = {
    "sensor_drift": ("temperature", "pressure"),
    "stuck_sensor": ("pressure", "temperature"),
    "spike_bursts": ("temperature", "pressure"),
    "noisy_sensor": ("temperature", "pressure"),
    "dead_sensor": ("pressure", "vibration"),
    "silent_sensor": ("pressure", "temperature"),
    "clock_drift": ("temperature", "pressure"),
    "wrong_unit": ("temperature", "vibration"),
}
_GROWTH_EXPONENT: dict[FaultKind, float] = {"bearing_wear": 3.0, "seal_leak": 1.2, "clogged_filter": 2.0}
_OUTAGE: dict[FaultKind, timedelta] = {
    "bearing_wear": timedelta(hours=16), "seal_leak": timedelta(hours=11), "clogged_filter": timedelta(hours=6),
}  # fmt: skip
_INSTRUMENT_FAULT_LASTS: dict[FaultKind, timedelta] = {
    "sensor_drift": timedelta(days=5), "stuck_sensor": timedelta(days=2), "spike_bursts": timedelta(days=4),
    "noisy_sensor": timedelta(days=3), "dead_sensor": timedelta(days=2), "silent_sensor": timedelta(days=2),
    "clock_drift": timedelta(days=5), "wrong_unit": timedelta(days=3),
}  # fmt: skip
NOISE_SHARE = 0.15  # standard deviation of a noisy sensor at severity 1, as a share of the room to the alarm limit
# A failure is seen only on a running machine, so nobody plans a stop in the hours before it.
RUNS_BEFORE_FAILURE = timedelta(hours=12)


@dataclass(frozen=True)
class Fault:
    """One fault of one machine. `severity` 1 reaches the trip limit (machine) or the alarm limit (drift, spikes).

    A noisy sensor's noise and a clock's gain grow with the severity as well; stuck, dead, silent and wrong unit know no degrees.
    Without `sensor_id` the kind chooses the sensor; without `repaired_at` the kind's usual time to repair holds. `shown_as` is for
    a wrong unit alone: the unit or scale (°F, psi, x10: a name in ml.unit_changes) in which the sensor's readings arrive; without it
    the first that its own unit is mistaken for.
    """

    site_id: str
    machine_id: str
    kind: FaultKind
    onset_at: datetime
    failure_at: datetime | None = None
    severity: float = 1.0
    sensor_id: str | None = None
    repaired_at: datetime | None = None
    shown_as: str | None = None

    def __post_init__(self) -> None:
        where = f"fault {self.kind!r} on {self.site_id}/{self.machine_id}"
        if self.kind not in FAULT_KINDS:
            raise ValueError(f"{where}: unknown kind; known: {', '.join(FAULT_KINDS)}")
        if any(t is not None and t.tzinfo is None for t in (self.onset_at, self.failure_at, self.repaired_at)):
            raise ValueError(f"{where}: onset_at, failure_at and repaired_at need a time zone")
        if (self.failure_at is not None) != (self.kind in MACHINE_FAULTS):
            raise ValueError(f"{where}: failure_at is needed for {', '.join(sorted(MACHINE_FAULTS))} and must be None for the others")
        if self.failure_at is not None and self.failure_at <= self.onset_at:
            raise ValueError(f"{where}: failure_at must be after onset_at")
        if self.ends_at <= (self.failure_at or self.onset_at):
            raise ValueError(f"{where}: repaired_at must be after the failure, or after the onset of an instrument fault")
        if self.severity <= 0:
            raise ValueError(f"{where}: severity must be above 0")
        if self.shown_as is not None and self.kind != "wrong_unit":
            raise ValueError(f"{where}: shown_as is for wrong_unit only")

    @property
    def ends_at(self) -> datetime:
        """When the machine or the instrument is as good as new."""
        if self.repaired_at is not None:
            return self.repaired_at
        return self.failure_at + _OUTAGE[self.kind] if self.failure_at else self.onset_at + _INSTRUMENT_FAULT_LASTS[self.kind]


def leading_sensor(machine: Machine, kind: FaultKind) -> Sensor | None:
    """The sensor on which the fault shows first; None if the machine has none that could show it."""
    if kind in MACHINE_FAULTS:
        return next((s for wanted, _ in _LEADING[kind] for s in machine.sensors if s.type == wanted), None)
    # A fault in the sensor that says whether the machine runs would hide the machine, not show the fault.
    running = machine.running_when.sensor_id if machine.running_when else None
    others = [s for s in machine.sensors if s.sensor_id != running] or list(machine.sensors)
    return next((s for wanted in _INSTRUMENTS[kind] for s in others if s.type == wanted), others[0])


def resolve_faults(faults: Sequence[Fault], sites: Sequence[Site]) -> tuple[Fault, ...]:
    """The faults with sensor and end filled in, by onset. ValueError for a target that does not exist."""
    by_id = {site.site: site for site in sites}
    resolved = []
    for fault in faults:
        where = f"fault {fault.kind!r} on {fault.site_id}/{fault.machine_id}"
        if fault.site_id not in by_id:
            raise ValueError(f"{where}: unknown site; simulated are: {', '.join(sorted(by_id))}")
        machine = next((m for m in by_id[fault.site_id].machines if m.machine_id == fault.machine_id), None)
        if machine is None:
            raise ValueError(f"{where}: unknown machine; the site has: {', '.join(m.machine_id for m in by_id[fault.site_id].machines)}")
        sensor = leading_sensor(machine, fault.kind)
        if fault.sensor_id is not None:
            sensor = next((s for s in machine.sensors if s.sensor_id == fault.sensor_id), None)
            if sensor is None:
                raise ValueError(
                    f"{where}: unknown sensor {fault.sensor_id!r}; the machine has: {', '.join(s.sensor_id for s in machine.sensors)}"
                )
        wanted = [t for t, _ in _LEADING.get(fault.kind, ())]
        if sensor is None or (wanted and sensor.type not in wanted):
            raise ValueError(f"{where}: shows on a sensor of type {' or '.join(wanted)}; choose a machine and sensor of that type")
        shown_as = shown_conversion(sensor, fault).name if fault.kind == "wrong_unit" else None
        resolved.append(replace(fault, sensor_id=sensor.sensor_id, repaired_at=fault.ends_at, shown_as=shown_as))
    return tuple(sorted(resolved, key=lambda f: (f.onset_at, f.site_id, f.machine_id, f.kind)))


def shown_conversion(sensor: Sensor, fault: Fault) -> Conversion:
    """What a wrong unit shows instead of the sensor's own."""
    known = conversions(sensor.unit)
    found = known[0] if fault.shown_as is None else next((c for c in known if c.name == fault.shown_as), None)
    if found is None:
        names = ", ".join(c.name for c in known)
        raise ValueError(f"fault 'wrong_unit' on {sensor.sensor_id}: {sensor.unit} is not shown as {fault.shown_as!r}; known: {names}")
    return found


# Onset as a share of the days after the healthy ones, and days from onset to failure; None: still growing on the last day.
_PLAN: tuple[tuple[FaultKind, float | None, float], ...] = (
    ("bearing_wear", 0.03, 7.0),
    ("seal_leak", 0.10, 6.0),
    ("sensor_drift", 0.15, 0.0),
    ("clogged_filter", 0.22, 5.5),
    ("bearing_wear", 0.28, 8.5),
    ("stuck_sensor", 0.38, 0.0),
    ("seal_leak", 0.46, 6.5),
    ("spike_bursts", 0.58, 0.0),
    ("bearing_wear", None, 9.0),
    ("clogged_filter", None, 8.0),
)


def default_faults(sites: Sequence[Site], *, start: date, days: int, seed: int) -> tuple[Fault, ...]:
    """The demonstration's ten faults, at most one per machine and spread over the sites; the first 15 days are healthy.

    Two are still growing at the end, so that work is left to plan. Onsets and growth shrink with the span below
    35 days; spans of fewer than 20 days have no room beside the healthy days and get none. A fault for which no machine
    is left (each needs a sensor that shows it) is left out.
    """
    if days < MIN_DAYS_WITH_FAULTS:
        return ()
    rng = stream(seed, "default faults")
    begin = datetime(start.year, start.month, start.day, tzinfo=UTC)
    after = days - HEALTHY_DAYS
    scale = min(1.0, after / 20)
    everything = [(s, m) for s in sites for m in s.machines]
    shuffled = [everything[i] for i in rng.permutation(len(everything))]
    load = {site.site: 0 for site in sites}
    taken: set[tuple[str, str]] = set()
    chosen = []
    # The kinds that few machines can show choose first.
    for kind, share, grows in sorted(_PLAN, key=lambda p: sum(leading_sensor(m, p[0]) is not None for _, m in everything)):
        free = [(s, m) for s, m in shuffled if (s.site, m.machine_id) not in taken and leading_sensor(m, kind) is not None]
        if not free:
            continue
        site, machine = min(free, key=lambda sm: load[sm[0].site])
        onset_day = days - 0.6 * grows * scale if share is None else HEALTHY_DAYS + share * after
        onset = begin + timedelta(minutes=round(onset_day * 1440 + float(rng.uniform(0, 240)) * scale))
        failure = onset + timedelta(minutes=round(grows * scale * 1440)) if kind in MACHINE_FAULTS else None
        ends = None if failure else onset + _INSTRUMENT_FAULT_LASTS[kind] * scale
        chosen.append(Fault(site.site, machine.machine_id, kind, onset, failure, repaired_at=ends))
        taken.add((site.site, machine.machine_id))
        load[site.site] += 1
    return resolve_faults(chosen, sites)


def truth_table(faults: Sequence[Fault], sites: Sequence[Site]) -> pd.DataFrame:
    """What really happened, a row per fault, with the times of onset, failure (NaT for instrument faults) and repair."""
    rows = [
        (f.site_id, f.machine_id, f.sensor_id, f.kind, f.onset_at, f.failure_at, f.repaired_at, FAILURE_MODE_OF_FAULT[f.kind])
        for f in resolve_faults(faults, sites)
    ]
    names = ["site", "machine_id", "sensor_id", "kind", "onset_at", "failure_at", "repaired_at", "expected_failure_mode"]
    table = pd.DataFrame(rows, columns=names)
    for name in names:
        table[name] = table[name].astype("datetime64[us, UTC]" if name.endswith("_at") else "str")
    return table


def _growth(fault: Fault, progress: Floats) -> Floats:
    """0 at the onset, 1 at the failure, ever faster."""
    k = _GROWTH_EXPONENT[fault.kind]
    return np.asarray(np.expm1(k * np.clip(progress, 0, 1)) / np.expm1(k), dtype=np.float64)


def _target(sensor: Sensor, point: OperatingPoint, fault: Fault) -> float:
    """The value at failure: just past the trip limit (else the alarm limit, else half or two and a half times the usual)."""
    side = dict(_LEADING[fault.kind])[sensor.type]
    limits = [(b.high if side > 0 else b.low) for b in (sensor.trip, sensor.alarm)]
    limit = next((x for x in limits if x is not None), point.nominal * (2.5 if side > 0 else 0.5))
    return point.nominal + fault.severity * 1.02 * (limit - point.nominal)


def mark(
    signals: dict[str, Floats], fault: Fault, *, machine: Machine, points: Mapping[str, OperatingPoint], grid: Grid, duty: Duty, seed: int
) -> None:
    """Put a resolved fault's mark on the machine's signals, in place."""
    since = grid.since(fault.onset_at)
    active = (since >= 0) & (grid.since(fault.failure_at or fault.ends_at) < 0)
    if fault.kind in MACHINE_FAULTS:
        for sensor in machine.sensors:
            change = _change(sensor, fault, signal=signals[sensor.sensor_id], machine=machine, points=points, grid=grid, seed=seed)
            if change is not None:
                signals[sensor.sensor_id] += _lasting(change, sensor.type, active=active, grid=grid, duty=duty)
        return
    assert fault.sensor_id is not None
    signal, point = signals[fault.sensor_id], points[fault.sensor_id]
    if fault.kind == "sensor_drift":
        lasts = (fault.ends_at - fault.onset_at).total_seconds()
        signal[active] += fault.severity * 1.1 * point.room * since[active] / lasts
    elif fault.kind == "stuck_sensor" and active.any():
        signal[active] = signal[int(np.argmax(active))]
    elif fault.kind == "spike_bursts":
        _mark_bursts(signal, fault, point=point, grid=grid, active=active, seed=seed)
    elif fault.kind == "noisy_sensor":
        rng = stream(seed, fault.site_id, fault.machine_id, "noisy", fault.onset_at.isoformat())
        signal += np.where(active, fault.severity * NOISE_SHARE * point.room * rng.standard_normal(len(signal)), 0.0)


def _change(
    sensor: Sensor,
    fault: Fault,
    *,
    signal: Floats,
    machine: Machine,
    points: Mapping[str, OperatingPoint],
    grid: Grid,
    seed: int,
) -> Floats | None:
    """What a machine fault adds to a sensor while the machine runs and the fault grows; None if the sensor does not notice."""
    assert fault.failure_at is not None
    progress = grid.since(fault.onset_at) / (fault.failure_at - fault.onset_at).total_seconds()
    growth, point, n = _growth(fault, progress), points[sensor.sensor_id], len(signal)
    if sensor.sensor_id == fault.sensor_id:
        target = _target(sensor, point, fault)
        name = (fault.site_id, fault.machine_id, fault.kind, fault.onset_at.isoformat())
        uneven = growth * (1 + 0.08 * (1 - growth) * wander(stream(seed, *name, "uneven"), n, steps=180 * grid.per_minute))
        rough = stream(seed, *name, "rough").standard_normal(n)
        return uneven * (target - signal) + 0.015 * abs(target - point.nominal) * growth * rough
    has_pressure = any(s.type == "pressure" for s in machine.sensors)
    if fault.kind == "bearing_wear" and sensor.type == "temperature" and point.nominal > grid.ambient_mean:
        return np.asarray(fault.severity * 0.9 * point.room * np.clip((progress - 0.4) / 0.6, 0, 1) ** 2, dtype=np.float64)
    if fault.kind == "seal_leak" and sensor.type == "flow":
        return -fault.severity * 0.12 * point.nominal * growth
    if fault.kind == "clogged_filter" and sensor.type == ("pressure" if has_pressure else "current"):
        return fault.severity * 0.7 * point.room * growth
    return None


def _lasting(change: Floats, sensor_type: SensorType, *, active: Bools, grid: Grid, duty: Duty) -> Floats:
    """The change while the machine runs; when it stops, the change fades as the signal itself runs down or cools."""
    here = np.where(active & duty.running, change, 0.0)
    if sensor_type == "temperature":
        return first_order(here, steps=THERMAL_MINUTES * grid.per_minute)
    latest = np.maximum.accumulate(np.where(duty.running, np.arange(len(here)), 0))
    return np.where(duty.running, here, here[latest] * duty.run_down(sensor_type))


def _mark_bursts(signal: Floats, fault: Fault, *, point: OperatingPoint, grid: Grid, active: Bools, seed: int) -> None:
    """Bursts of 3 to 8 outliers: 6 on the first day, 6 more on each further day, up to 36 a day."""
    for day in range(grid.days):
        ordinal = (grid.start + timedelta(days=day)).toordinal()
        rng = stream(seed, fault.site_id, fault.machine_id, "bursts", fault.onset_at.isoformat(), ordinal)
        age = max(0, ordinal - fault.onset_at.astimezone(UTC).toordinal())
        for at in rng.uniform(0, DAY_S, min(36, 6 + 6 * age)):
            length = int(rng.integers(3, 9))
            first = int((day * DAY_S + at) / grid.step_s)
            jumps = fault.severity * point.room * rng.uniform(0.9, 1.8, length) * rng.choice([-1.0, 1.0], length)
            here = slice(first, min(first + length, len(signal)))
            signal[here] += np.where(active[here], jumps[: here.stop - first], 0)
