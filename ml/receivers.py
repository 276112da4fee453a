"""Who is told of what, as a plant file says it: receivers with a role, a severity from which on, quiet hours."""

from datetime import time
from typing import Annotated, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

EventKind = Literal[
    "critical_incident",
    "decision_wanted",
    "decision_reminder",
    "decision_escalated",
    "scheduled",
    "overdue",
    "drift",
    "run_failed",
    "check_failed",
]
Severity = Literal["info", "warning", "critical"]
Role = Literal["planner", "manager", "technician", "operator", "data_engineer", "ml_engineer"]
EVENT_KINDS: tuple[EventKind, ...] = get_args(EventKind)
SEVERITIES: tuple[Severity, ...] = get_args(Severity)

# What a role is told of unless its receiver lists events of its own.
EVENTS_OF: dict[Role, tuple[EventKind, ...]] = {
    "planner": ("critical_incident", "decision_wanted", "decision_reminder", "decision_escalated", "scheduled", "overdue"),
    "manager": ("critical_incident", "decision_escalated", "overdue"),
    "technician": ("scheduled",),
    "operator": ("critical_incident",),
    "data_engineer": ("run_failed", "check_failed"),
    "ml_engineer": ("drift", "check_failed"),
}


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class QuietHours(_Value):
    """Hours of each day, in the site's time zone, in which only critical messages are sent. An end before its start is on the next day."""

    start: time
    end: time

    @field_validator("start", "end", mode="before")
    @classmethod
    def _quoted(cls, value: object) -> object:
        if isinstance(value, int | float):  # YAML 1.1 reads 22:00 as the number 1320
            raise ValueError('write a time in quotes, such as "22:00"')  # noqa: TRY004 - pydantic reports ValueErrors
        return value

    @model_validator(mode="after")
    def _some(self) -> Self:
        if self.start == self.end:
            raise ValueError(f"quiet hours begin and end at {self.start:%H:%M}; leave them out where there are none")
        return self


class Receiver(_Value):
    """A person or a channel. It is told what concerns its site, and what concerns no single site."""

    receiver_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]{0,63}$")]
    role: Role
    url_variable: str = Field(
        pattern=r"^[A-Z][A-Z0-9_]*$", description="NAME of the environment variable that holds the apprise URL; the URL itself is a secret"
    )
    sites: tuple[str, ...] = Field(default=(), description="further sites of which it is told")
    events: tuple[EventKind, ...] | None = Field(default=None, min_length=1, description="left out: what its role is told of")
    min_severity: Severity = "info"
    technician_id: str | None = Field(default=None, description="only of work that this technician of the site is to do")
    quiet_hours: QuietHours | None = None

    @field_validator("url_variable", mode="before")
    @classmethod
    def _no_secret(cls, value: object) -> object:
        if isinstance(value, str) and "://" in value:
            raise ValueError("put the URL into an environment variable and name that variable here: a plant file holds no secret")
        return value

    @property
    def kinds(self) -> tuple[EventKind, ...]:
        return self.events if self.events is not None else EVENTS_OF[self.role]


class NotificationPolicy(_Value):
    """From when on messages become one summary."""

    flood_limit: int = Field(default=5, ge=1, description="messages to one receiver within flood_minutes; more become one summary")
    flood_minutes: int = Field(default=15, ge=1, le=1440)
