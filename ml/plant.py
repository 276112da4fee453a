"""The plant as values: sites, machines, sensors, technicians, parts, drop formats and policies.

These are the words everything else is computed with. Reading them from YAML files, and saying which file and
field is wrong, is the work of `resources.plant`.
"""

import math
from datetime import date, time
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from ml.drop_format import DropFormat
from ml.findings import FindingLists
from ml.receivers import NotificationPolicy, Receiver
from ml.units import conversion

SensorType = Literal["temperature", "vibration", "pressure", "current", "flow", "voltage", "rotation_speed", "level", "power", "other"]
Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEKDAYS: tuple[Weekday, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
Criticality = Literal["low", "medium", "high", "critical"]

Identifier = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]{0,63}$")]
SiteId = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_\-]{0,39}$")]
Share = Annotated[float, Field(ge=0, le=1)]
MAX_HISTORY_DAYS = 10  # a prediction's partition depends on so many days, whatever a site's policy says


class _Value(BaseModel):
    """Immutable, and strict about names: a misspelt field is an error, never silently ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Band(_Value):
    """A lower and an upper bound in the sensor's unit; either side may be open."""

    low: float | None = None
    high: float | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError(f"low ({self.low}) must be below high ({self.high})")
        return self


class Sensor(_Value):
    """A measured quantity on a machine."""

    sensor_id: Identifier
    type: SensorType
    unit: str = Field(min_length=1)
    interval_s: float = Field(default=60, gt=0, description="seconds between two readings")
    source_name: str | None = Field(
        default=None, description="name of the sensor in the drops (long) or of its column (wide); the sensor_id if left out"
    )
    source_unit: str | None = Field(
        default=None, min_length=1, description="unit of its values in the drops, if it is another one; they are converted to `unit`"
    )
    physical: Band = Field(default=Band(), description="what the sensor can measure; a reading outside is refused")
    clamp_within: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="a reading outside the physical band by no more than this is set on its edge"
    )
    alarm: Band = Field(default=Band(), description="alarm limits")
    trip: Band = Field(default=Band(), description="trip limits: the machine must stop; a failure, for prognosis")

    @property
    def name_in_drops(self) -> str:
        return self.source_name if self.source_name is not None else self.sensor_id

    def share_due(self, minutes: float) -> float:
        """In how many of the windows of so many minutes it is to be read: of one that is read hourly a sixth, of 10 minutes."""
        return min(1.0, 60 * minutes / self.interval_s)

    def kept_minutes(self, window_minutes: int) -> float:
        """How long a reading stands for windows without one: until the next is due, a day at most; 0 if each window should have one."""
        minutes = self.interval_s / 60
        return 0.0 if minutes <= window_minutes else min(minutes, 1440.0)

    @field_validator("source_unit")
    @classmethod
    def _convertible(cls, source_unit: str | None, info: ValidationInfo) -> str | None:
        if source_unit is not None and {"unit", "type"} <= info.data.keys():
            conversion(source_unit, info.data["unit"], sensor_type=info.data["type"])
        return source_unit

    @model_validator(mode="after")
    def _clamped_to_something(self) -> Self:
        if self.clamp_within is not None and self.physical.low is None and self.physical.high is None:
            raise ValueError("clamp_within needs a physical band, on whose edge readings can be set")
        return self

    @model_validator(mode="after")
    def _nested(self) -> Self:
        for inner, outer, words in (
            (self.alarm, self.trip, "alarm within trip"),
            (self.trip, self.physical, "trip within physical"),
            (self.alarm, self.physical, "alarm within physical"),
        ):
            if inner.low is not None and outer.low is not None and inner.low < outer.low:
                raise ValueError(f"limits must be nested ({words}): low {inner.low} is below {outer.low}")
            if inner.high is not None and outer.high is not None and inner.high > outer.high:
                raise ValueError(f"limits must be nested ({words}): high {inner.high} is above {outer.high}")
        return self


class RunningWhen(_Value):
    """The machine runs while this sensor reads above a value."""

    sensor_id: Identifier
    above: float


class _Hours(_Value):
    """From and to on the site's wall clock. An end not after its start is on the next day."""

    start: time
    end: time

    @field_validator("start", "end", mode="before")
    @classmethod
    def _quoted(cls, value: object) -> object:
        if isinstance(value, int | float):  # YAML 1.1 reads 14:00 as the number 840
            raise ValueError('write a time in quotes, such as "14:00"')  # noqa: TRY004 - pydantic reports ValueErrors
        return value


class StopWindow(_Hours):
    """When production lets a machine stand still: every week, or between two days (inclusive) only."""

    days: tuple[Weekday, ...] = WEEKDAYS
    first_day: date | None = None
    last_day: date | None = None

    @model_validator(mode="after")
    def _days_in_order(self) -> Self:
        if self.first_day is not None and self.last_day is not None and self.first_day > self.last_day:
            raise ValueError(f"first_day ({self.first_day}) must not be after last_day ({self.last_day})")
        return self


class Machine(_Value):
    machine_id: Identifier
    name: str | None = None
    machine_class: str = Field(min_length=1, description="pump, motor, compressor, fan, ...")
    area: str = "main"
    criticality: Criticality = "medium"
    downtime_cost_per_hour: float = Field(default=500, ge=0, description="in the site's currency")
    in_service_since: date | None = Field(default=None, description="its age is a feature of the learned failure model")
    source_name: str | None = Field(default=None, description="the machine's name in wide drops that have a machine column")
    running_when: RunningWhen | None = Field(default=None, description="without it the machine is taken to run always")
    stop_windows: tuple[StopWindow, ...] = Field(
        default=(), description="planned work on the machine lies within one of them; none: it may be stopped at any time"
    )
    sensors: tuple[Sensor, ...] = Field(min_length=1)

    @property
    def name_in_drops(self) -> str:
        return self.source_name if self.source_name is not None else self.machine_id

    @model_validator(mode="after")
    def _own_running_sensor(self) -> Self:
        if self.running_when and self.running_when.sensor_id not in {s.sensor_id for s in self.sensors}:
            raise ValueError(f"running_when names {self.running_when.sensor_id}, which is no sensor of {self.machine_id}")
        return self


class Break(_Hours):
    """A pause within a shift; work that lies across it takes that much longer."""


class Shift(_Hours):
    """Working hours of a technician."""

    days: tuple[Weekday, ...] = ("mon", "tue", "wed", "thu", "fri")
    breaks: tuple[Break, ...] = ()

    @model_validator(mode="after")
    def _breaks_lie_within(self) -> Self:
        length = _minutes_after(self.start, self.end) or 1440
        for pause in self.breaks:
            begins, lasts = _minutes_after(self.start, pause.start), _minutes_after(pause.start, pause.end)
            if not lasts or begins + lasts > length:
                raise ValueError(f"the break from {pause.start:%H:%M} to {pause.end:%H:%M} does not lie within the shift")
        return self


def _minutes_after(start: time, end: time) -> int:
    return (60 * (end.hour - start.hour) + end.minute - start.minute) % 1440


class Technician(_Value):
    technician_id: Identifier
    name: str
    skills: tuple[str, ...] = Field(min_length=1)
    shifts: tuple[Shift, ...] = Field(min_length=1)
    absent_on: tuple[date, ...] = ()


class Delivery(_Value):
    """Parts on their way."""

    quantity: int = Field(ge=1)
    expected_on: date = Field(description="at hand from the local midnight after this day on, as if in stock")


class Part(_Value):
    part_id: Identifier
    name: str
    in_stock: int = Field(default=0, ge=0)
    on_order: tuple[Delivery, ...] = Field(default=(), description="what has been ordered already; beyond it the lead time holds")
    lead_time_days: int = Field(default=7, ge=0)


class Role(_Value):
    """One technician of a crew, who must have ALL these skills."""

    skills: tuple[str, ...] = Field(min_length=1)


class RepairPlan(_Value):
    """What it takes to put a failure mode right."""

    crew: tuple[Role, ...] = Field(
        min_length=1, max_length=4, description="who it takes, at the same time; a single technician may be given as `skills`"
    )
    duration_h: float = Field(gt=0)
    parts: tuple[str, ...] = ()
    actions: tuple[str, ...] = Field(min_length=1)
    unplanned_downtime_h: float = Field(default=12, gt=0, description="outage expected when the failure is not prevented")

    @model_validator(mode="before")
    @classmethod
    def _of_equals(cls, given: Any) -> Any:
        """`skills` and `technicians: n` are short for a crew of n who all have the same skills."""
        if not isinstance(given, dict) or "skills" not in given or "crew" in given:
            return given
        n = given.get("technicians", 1)
        if not isinstance(n, int) or isinstance(n, bool) or n < 1:
            raise ValueError("technicians must be a whole number from 1 on")
        rest = {name: value for name, value in given.items() if name not in ("skills", "technicians")}
        return {**rest, "crew": [{"skills": given["skills"]}] * n}


class DetectionPolicy(_Value):
    """Thresholds on the score in [0, 1]; delays in windows."""

    on_threshold: Share = Field(default=0.6, description="an incident opens at or above this score; 0.6 is one false alarm a machine-month")
    off_threshold: Share = Field(default=0.45, description="and closes below this one")
    on_delay_windows: int = Field(default=3, ge=1)
    off_delay_windows: int = Field(default=6, ge=1)
    merge_gap_windows: int = Field(default=36, ge=0, description="runs nearer than this are one incident")
    settle_windows: int = Field(default=6, ge=0, description="windows after a start that are not scored")

    @model_validator(mode="after")
    def _hysteresis(self) -> Self:
        if self.off_threshold > self.on_threshold:
            raise ValueError("off_threshold must not exceed on_threshold")
        return self


DEFAULT_ADJUSTMENTS: dict[str, float] = {
    "members_agree": -0.2,
    "peak_is_high": -0.15,
    "lasts_long_enough": -0.2,
    "is_sustained": -0.15,
    "sensors_moved": -0.2,
    "sensors_are_trustworthy": -0.35,
    "no_sensor_fault_explains_it": -0.35,
    "readings_are_complete": -0.15,
    "machine_was_running": -0.4,
    "machine_had_settled": -0.15,
    "machine_was_not_in_maintenance": -0.6,
    "machine_rarely_cries_wolf": -0.15,
    "site_did_not_move_at_once": -0.3,
}


class VerdictPolicy(_Value):
    """Thresholds of the evidence rules, what each failed rule takes off the confidence, and the verdict's bands."""

    base_confidence: Share = 0.9
    credible_from: Share = Field(default=0.7, description="confidence at or above: credible")
    investigate_from: Share = Field(default=0.4, description="confidence at or above: investigate; below: false_positive_suspected")
    min_members_agreeing: int = Field(default=2, ge=1)
    min_peak_score: Share = 0.7
    min_duration_windows: int = Field(default=6, ge=1)
    min_anomalous_share: Share = Field(default=0.25, description="of its scored windows, at or above the on-threshold")
    min_sensors_moved: int = Field(default=1, ge=1)
    worst_grade_allowed: Literal["A", "B", "C"] = "C"
    max_faulty_share: Share = Field(default=0.5, description="of the movement, from sensors with a fault of their own")
    min_coverage: Share = Field(default=0.7, description="readings of the sensors it rests on, over those due in its scored windows")
    min_running_share: Share = Field(default=0.5, description="share of the incident in which the machine ran")
    min_hours_since_start: float = Field(
        default=2, ge=0, description="from the machine's last start to the middle of its anomalous windows"
    )
    max_false_alarms_30d: int = Field(default=3, ge=0)
    max_site_share: Share = Field(default=0.6, description="share of the site's machines anomalous at the same time")
    adjustments: dict[str, Annotated[float, Field(ge=-1, le=0)]] = Field(
        default=DEFAULT_ADJUSTMENTS, description="rule -> what its failure adds to the confidence; rules left out keep their default"
    )

    @field_validator("adjustments")
    @classmethod
    def _of_known_rules(cls, given: dict[str, float]) -> dict[str, float]:
        unknown = [name for name in given if name not in DEFAULT_ADJUSTMENTS]
        if unknown:
            raise ValueError(f"there is no rule {', '.join(unknown)}; the rules are {', '.join(DEFAULT_ADJUSTMENTS)}")
        return {**DEFAULT_ADJUSTMENTS, **given}

    @model_validator(mode="after")
    def _bands_in_order(self) -> Self:
        if self.investigate_from > self.credible_from:
            raise ValueError(f"investigate_from ({self.investigate_from}) must not exceed credible_from ({self.credible_from})")
        return self


class AlarmPolicy(_Value):
    """Who hears the site's alarms, what is one event of the whole site, and for how long alarms may be shelved."""

    operators: int = Field(default=1, ge=1, description="people who share the site's alarms at one time")
    site_event_minutes: int = Field(default=30, ge=0, description="onsets no further apart than this can be one event of the site")
    site_event_share: float = Field(default=0.6, gt=0.5, le=1, description="share of the machines then scored, from which it is one event")
    site_event_machines: int = Field(default=3, ge=2, description="and at least so many machines")
    max_shelved_h: float = Field(default=168, gt=0, le=720, description="a machine or incident may be shelved for no longer than this")


class ApprovalPolicy(_Value):
    auto_approve_probability: Share = Field(default=0.7, description="of failure within urgent_within_days")
    auto_approve_confidence: Share = Field(default=0.85, description="of the incident's verdict")
    urgent_within_days: int = Field(default=7, ge=1)
    propose_probability: Share = Field(default=0.3, description="of failure within 30 days, from which work is proposed")
    propose_confidence: Share = Field(default=0.7, description="an incident this credible is worth an inspection in any case")
    reopen_probability_rise: Share = Field(
        default=0.2, description="how much more probable a failure must be than when an order was closed, to propose the same work again"
    )
    remind_after_h: float = Field(default=24, gt=0)
    escalate_after_h: float = Field(default=72, gt=0)
    expire_after_h: float | None = Field(
        default=None, gt=0, description="an order that nobody has answered for so long is cancelled; left out: never"
    )

    @model_validator(mode="after")
    def _expires_last(self) -> Self:
        if self.expire_after_h is not None and self.expire_after_h < max(self.remind_after_h, self.escalate_after_h):
            raise ValueError(
                "expire_after_h must not be less than remind_after_h and escalate_after_h: people must have heard of it before"
            )
        return self


class PrognosisPolicy(_Value):
    """When a machine's time to failure is asked for, and from how much of its past."""

    history_days: int = Field(default=10, ge=2, le=MAX_HISTORY_DAYS)
    horizon_days: int = Field(default=30, ge=30, le=90, description="the 30-day probability needs 30")
    health_below: float = Field(default=60, ge=0, le=100, description="asked for at a health below this")
    health_drop: float = Field(default=20, gt=0, le=100, description="or after a fall this deep within three days")
    budget_s: float = Field(default=60, gt=0, description="per site-day; fits beyond it fall back to a linear trend")


class FailureModelPolicy(_Value):
    """What the learned failure model foresees, and from when on it is put to work."""

    horizon_h: int = Field(default=24, ge=1, le=720, description="the probability is that of a failure within so many hours")
    min_margin: float = Field(
        default=0.1, gt=0, lt=1, description="by how much its PR-AUC on machines held out must exceed the share of hours before a failure"
    )


class PlanningPolicy(_Value):
    horizon_days: int = Field(default=14, ge=1, le=60)
    slot_minutes: int = Field(default=30, ge=5, le=120)
    overtime_for_urgent: bool = True
    overtime_response_h: float = Field(default=4, ge=0, description="time to get a called-out technician on site")
    overtime_rest_h: float = Field(default=11, ge=0, description="rest between a call-out and other work that is kept where possible")
    travel_minutes: int = Field(default=0, ge=0, le=240, description="between two areas of the site that `travel` does not name")


class TrainingPolicy(_Value):
    min_healthy_days: int = Field(default=14, ge=2)
    max_days: int = Field(default=60, ge=2)
    held_out_share: float = Field(
        default=0.3, gt=0, lt=0.9, description="of the days, latest first: calibration, and comparison with a champion"
    )
    seed: int = 7
    worst_grade_allowed: Literal["A", "B", "C"] = Field(
        default="C", description="a machine's day is out where one of its sensors has a worse grade"
    )
    min_machine_days: int | None = Field(
        default=None, ge=2, description="healthy days of a machine, for a model of its own; left out: half of min_healthy_days"
    )

    @property
    def days_per_machine(self) -> int:
        return self.min_machine_days or max(2, math.ceil(self.min_healthy_days / 2))


class DriftPolicy(_Value):
    """When a sensor has drifted on a day, and from when on that asks for a new training."""

    false_discovery_rate: float = Field(default=0.05, gt=0, lt=1, description="of a site-day's tests (Benjamini-Hochberg)")
    min_psi: float = Field(default=0.25, ge=0, description="population stability index below which a shift is too small to matter")
    p_alone: float = Field(
        default=0.001, gt=0, lt=1, description="of a sensor's own test, up to which a day counts towards sustained drift"
    )
    sustained_days: int = Field(default=3, ge=1, description="days off, of the last within_days, that ask for retraining")
    within_days: int = Field(default=5, ge=1)
    cooldown_days: float = Field(default=7, ge=0, description="no request sooner after a training, or after another request")

    @model_validator(mode="after")
    def _attainable(self) -> Self:
        if self.sustained_days > self.within_days:
            raise ValueError(f"sustained_days ({self.sustained_days}) must not exceed within_days ({self.within_days})")
        return self


class Policy(_Value):
    detection: DetectionPolicy = DetectionPolicy()
    verdict: VerdictPolicy = VerdictPolicy()
    alarms: AlarmPolicy = AlarmPolicy()
    approval: ApprovalPolicy = ApprovalPolicy()
    prognosis: PrognosisPolicy = PrognosisPolicy()
    failure_model: FailureModelPolicy = FailureModelPolicy()
    planning: PlanningPolicy = PlanningPolicy()
    training: TrainingPolicy = TrainingPolicy()
    drift: DriftPolicy = DriftPolicy()
    notifications: NotificationPolicy = NotificationPolicy()


_MECHANICAL = (Role(skills=("mechanical",)),)
_ELECTRICAL = (Role(skills=("electrical",)),)
_INSTRUMENTATION = (Role(skills=("instrumentation",)),)

# Failure modes by their ISO 14224 codes (annex B): the work each calls for where the plant file says nothing else.
DEFAULT_REPAIRS: dict[str, RepairPlan] = {
    "VIB": RepairPlan(
        crew=_MECHANICAL,
        duration_h=4,
        actions=("Check alignment and lubrication", "Replace the bearing"),
        unplanned_downtime_h=16,
    ),
    "OHE": RepairPlan(crew=_MECHANICAL, duration_h=3, actions=("Check cooling and lubrication", "Clean heat exchanger surfaces")),
    "ELP": RepairPlan(crew=_MECHANICAL, duration_h=3, actions=("Inspect seals and flanges", "Replace the shaft seal")),
    "PLU": RepairPlan(
        crew=_MECHANICAL,
        duration_h=2,
        actions=("Clean or replace the filter", "Check the differential pressure"),
        unplanned_downtime_h=6,
    ),
    "AIR": RepairPlan(
        crew=_INSTRUMENTATION,
        duration_h=1,
        actions=("Compare with a reference instrument", "Recalibrate or replace the sensor"),
        unplanned_downtime_h=2,
    ),
    "ELE": RepairPlan(crew=_ELECTRICAL, duration_h=3, actions=("Measure insulation and phase currents", "Check the supply")),
    "PDE": RepairPlan(crew=_MECHANICAL, duration_h=2, actions=("Inspect the machine", "Compare with its operating point")),
}
FAILURE_MODE_NAMES: dict[str, str] = {
    "VIB": "vibration (bearing wear)",
    "OHE": "overheating",
    "ELP": "external leakage of process medium (seal leak)",
    "PLU": "plugged or choked (clogged filter)",
    "AIR": "abnormal instrument reading (sensor fault)",
    "ELE": "electrical failure",
    "PDE": "parameter deviation",
}


def _demand_zone(name: str, field: str) -> None:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"{field}: unknown time zone {name!r}") from error


class Travel(_Value):
    """How long it takes from one area of the site to another, and back."""

    between: tuple[str, str]
    minutes: int = Field(ge=0, le=240)


class Site(_Value):
    """Everything known about one site; the content of one plant file."""

    site: SiteId
    name: str
    time_zone: str = "UTC"
    country: str | None = Field(default=None, description="ISO 3166 code, for public holidays")
    subdivision: str | None = None
    currency: str = "EUR"
    first_day: date = Field(description="readings before this day are refused; the first partition")
    window_minutes: int = Field(default=10, ge=1, le=1440, description="must divide a day")
    drops: DropFormat = DropFormat()
    machines: tuple[Machine, ...] = Field(min_length=1)
    technicians: tuple[Technician, ...] = ()
    parts: tuple[Part, ...] = ()
    travel: tuple[Travel, ...] = ()
    repairs: dict[str, RepairPlan] = Field(default={}, description="failure mode -> work; overrides the defaults")
    policy: Policy = Policy()
    findings: FindingLists = FindingLists()
    receivers: tuple[Receiver, ...] = Field(default=(), description="who is told of what; without any, nothing is sent")

    @property
    def sensors(self) -> tuple[Sensor, ...]:
        return tuple(s for m in self.machines for s in m.sensors)

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.time_zone)

    @property
    def drop_zone(self) -> ZoneInfo:
        """Time zone of drop timestamps that carry no offset."""
        return self.zone if self.drops.time_zone == "site" else ZoneInfo(self.drops.time_zone)

    def machine(self, machine_id: str) -> Machine:
        """Raises KeyError for an unknown machine."""
        for machine in self.machines:
            if machine.machine_id == machine_id:
                return machine
        raise KeyError(machine_id)

    def travel_minutes(self, one: str, other: str) -> int:
        """Between two areas; none within one."""
        if one == other:
            return 0
        named = (t.minutes for t in self.travel if set(t.between) == {one, other})
        return next(named, self.policy.planning.travel_minutes)

    def repair(self, failure_mode: str) -> RepairPlan:
        return self.repairs.get(failure_mode) or DEFAULT_REPAIRS[failure_mode]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for zone, field in ((self.time_zone, "time_zone"), (self.drops.time_zone, "drops.time_zone")):
            if zone != "site":
                _demand_zone(zone, field)
        if 1440 % self.window_minutes:
            raise ValueError(f"window_minutes: {self.window_minutes} does not divide a day")
        if 60 * self.policy.failure_model.horizon_h % max(60, self.window_minutes):
            raise ValueError(f"policy.failure_model.horizon_h must be a whole number of windows of {self.window_minutes} minutes")
        for words, ids in (
            ("machine_id", [m.machine_id for m in self.machines]),
            ("sensor_id", [s.sensor_id for s in self.sensors]),
            ("technician_id", [t.technician_id for t in self.technicians]),
            ("part_id", [p.part_id for p in self.parts]),
            ("receiver_id", [r.receiver_id for r in self.receivers]),
        ):
            twice = sorted({i for i in ids if ids.count(i) > 1})
            if twice:
                raise ValueError(f"{words} used twice: {', '.join(twice)}")
        return self

    @model_validator(mode="after")
    def _drops_name_one_sensor_each(self) -> Self:
        in_drops = [(m.name_in_drops if self.drops.columns.machine else "", q.name_in_drops) for m in self.machines for q in m.sensors]
        shared = sorted({name for machine, name in in_drops if in_drops.count((machine, name)) > 1})
        if shared:
            raise ValueError(f"two sensors bear the same name in the drops: {', '.join(shared)}")
        if self.drops.layout == "long" and self.drops.columns.machine:
            raise ValueError("drops.columns.machine: only wide drops have a machine column")
        return self

    @model_validator(mode="after")
    def _travel_is_between_areas(self) -> Self:
        areas = {m.area for m in self.machines}
        for n, travel in enumerate(self.travel):
            unknown = sorted(set(travel.between) - areas)
            if unknown:
                raise ValueError(f"travel.{n}.between: no machine stands in {', '.join(unknown)}; areas: {', '.join(sorted(areas))}")
            if any(set(travel.between) == set(earlier.between) for earlier in self.travel[:n]):
                raise ValueError(f"travel.{n}.between: {' and '.join(travel.between)} are named twice")
        return self

    @model_validator(mode="after")
    def _repairs_are_known(self) -> Self:
        known_parts = {p.part_id for p in self.parts}
        for mode, repair in self.repairs.items():
            if mode not in FAILURE_MODE_NAMES:
                raise ValueError(f"repairs: unknown failure mode {mode!r}; known: {', '.join(FAILURE_MODE_NAMES)}")
            missing = sorted(set(repair.parts) - known_parts)
            if missing:
                raise ValueError(f"repairs.{mode}.parts: not among the site's parts: {', '.join(missing)}")
        return self

    @model_validator(mode="after")
    def _what_is_predicted_can_be_found(self) -> Self:
        missing = sorted(FAILURE_MODE_NAMES.keys() - self.findings.failure_modes.keys())
        if missing:
            raise ValueError(f"findings.failure_modes: lacks {', '.join(missing)}, which are predicted and must be findable")
        return self

    @model_validator(mode="after")
    def _receivers_are_of_its_people(self) -> Self:
        people = {t.technician_id for t in self.technicians}
        unknown = [r for r in self.receivers if r.technician_id is not None and r.technician_id not in people]
        if unknown:
            raise ValueError(f"receivers: {unknown[0].receiver_id} names {unknown[0].technician_id}, who is no technician of the site")
        return self
