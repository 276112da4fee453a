"""What people say of a work order, as values that are refused with a sentence where they make no sense.

What comes of them stands in `work`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ml.findings import NO_FAULT_FOUND
from ml.policy import PRIORITIES

OUTCOME_OF = {"approve": "approved", "reject": "rejected", "defer": "deferred", "cancel": "cancelled"}
MODIFY = "modify"
DECISIONS = (*OUTCOME_OF, MODIFY)
CHANGES = ("priority", "not_before", "not_after", "skills")


@dataclass(frozen=True)
class Decision:
    """What a person decided about an order; `request_id` makes a repeated request harmless.

    `is_false_alarm`: rejected because there is no fault, which labels the order's incidents; other rejections say nothing of them.
    `confidence`: how sure the operator is, 0 to 1. The last four belong to `modify`, which changes the work and not the order's state;
    None leaves as it is. `not_after`: the work should have ended by then; it becomes the order's due date.
    """

    order_id: str
    decision: str
    operator: str
    reason: str
    decided_at: datetime
    defer_until: datetime | None = None
    request_id: str = ""
    is_false_alarm: bool = False
    confidence: float | None = None
    priority: str | None = None
    not_before: datetime | None = None
    not_after: datetime | None = None
    skills: Sequence[str] | None = None

    def __post_init__(self) -> None:
        if self.decision not in DECISIONS:
            raise ValueError(f"decision is {self.decision!r}; it must be one of {', '.join(DECISIONS)}.")
        if not self.operator.strip() or not self.reason.strip():
            raise ValueError("operator and reason must be given: a decision without them cannot be audited.")
        if (self.decision == "defer") != (self.defer_until is not None):
            raise ValueError("defer_until belongs to the decision defer, and to no other.")
        if self.is_false_alarm and self.decision != "reject":
            raise ValueError("only a rejection can say that there was a false alarm.")
        if self.confidence is not None and not 0 <= self.confidence <= 1:
            raise ValueError(f"confidence is {self.confidence}; it must be a number from 0 to 1.")
        if (self.decision == MODIFY) != bool(self.changes):
            raise ValueError("priority, window and skills belong to the decision modify, which needs at least one of them.")
        self._demand_possible_work()

    def _demand_possible_work(self) -> None:
        if self.priority is not None and self.priority not in PRIORITIES:
            raise ValueError(f"priority is {self.priority!r}; it must be one of {', '.join(PRIORITIES)}.")
        if any(at is not None and at.tzinfo is None for at in (self.not_before, self.not_after)):
            raise ValueError("not_before and not_after must be aware: a window without its offset from UTC is ambiguous.")
        if self.skills is not None and (not self.skills or not all(skill.strip() for skill in self.skills)):
            raise ValueError("skills must name at least one skill: work that asks for none can be given to nobody.")

    @property
    def changes(self) -> dict[str, object]:
        """What a modification sets, by name."""
        return {name: value for name in CHANGES if (value := getattr(self, name)) is not None}


@dataclass(frozen=True)
class Start:
    """Somebody has begun to work on an order."""

    order_id: str
    technician: str
    started_at: datetime

    def __post_init__(self) -> None:
        _demand_somebody(self.technician)
        if self.started_at.tzinfo is None:
            raise ValueError("started_at must be aware: a time of work without its offset from UTC is ambiguous.")


@dataclass(frozen=True)
class Completion:
    """Finished work, as the technician reports it.

    finding: the failure mode that was found, or no_fault_found; with failure_mechanism and failure_cause as the plant file lists them
    (ml.findings). parts_used: part ids, one for each piece. hours_worked: hands on the machine, without waiting and ways.
    """

    order_id: str
    technician: str
    started_at: datetime
    ended_at: datetime
    finding: str
    note: str = ""
    request_id: str = ""
    failure_mechanism: str | None = None
    failure_cause: str | None = None
    parts_used: Sequence[str] = ()
    hours_worked: float | None = None

    def __post_init__(self) -> None:
        _demand_somebody(self.technician)
        if self.started_at.tzinfo is None or self.ended_at.tzinfo is None:
            raise ValueError("started_at and ended_at must be aware: a time of work without its offset from UTC is ambiguous.")
        if self.ended_at < self.started_at:
            raise ValueError(f"the work ended before it started: {self.ended_at.isoformat()} against {self.started_at.isoformat()}.")
        elapsed_h = (self.ended_at - self.started_at).total_seconds() / 3600
        if self.hours_worked is not None and not 0 <= self.hours_worked <= elapsed_h:
            raise ValueError(f"hours_worked is {self.hours_worked:g}; it must be from 0 to the {elapsed_h:.2f} h between start and end.")

    @property
    def label(self) -> str:
        return "false_alarm" if self.finding == NO_FAULT_FOUND else "confirmed"


def _demand_somebody(technician: str) -> None:
    if not technician.strip():
        raise ValueError("technician must be given: work that nobody did cannot be audited.")
