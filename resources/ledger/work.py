"""Work orders from proposal to completion, in the ledger: every change of state is one audited row."""

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import pandas as pd
from sqlalchemy import Connection, and_, delete, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from ml.plant import FAILURE_MODE_NAMES
from ml.policy import OrderProposal, check_move
from resources.ledger.findings import label_incidents
from resources.ledger.rows import read_frame, records
from resources.ledger.tables import (
    OPEN_STATES,
    assignments,
    decisions,
    maintenance_log,
    plans,
    unplanned_orders,
    work_order_events,
    work_order_incidents,
    work_orders,
)

POLICY = "policy"
PLANNER = "planner"
NO_FAULT_FOUND = "no_fault_found"
FINDINGS = (*FAILURE_MODE_NAMES, NO_FAULT_FOUND)
OUTCOME_OF = {"approve": "approved", "reject": "rejected", "defer": "deferred", "cancel": "cancelled"}


class UnknownOrder(Exception):
    """No work order bears this id; the message names it."""


@dataclass(frozen=True)
class Decision:
    """What a person decided about an order; `request_id` makes a repeated request harmless."""

    order_id: str
    decision: str
    operator: str
    reason: str
    decided_at: datetime
    defer_until: datetime | None = None
    request_id: str = ""

    def __post_init__(self) -> None:
        if self.decision not in OUTCOME_OF:
            raise ValueError(f"decision is {self.decision!r}; it must be one of {', '.join(OUTCOME_OF)}.")
        if not self.operator.strip() or not self.reason.strip():
            raise ValueError("operator and reason must be given: a decision without them cannot be audited.")
        if (self.decision == "defer") != (self.defer_until is not None):
            raise ValueError("defer_until belongs to the decision defer, and to no other.")


@dataclass(frozen=True)
class Completion:
    """Finished work, as the technician reports it."""

    order_id: str
    technician: str
    started_at: datetime
    ended_at: datetime
    finding: str
    note: str = ""
    request_id: str = ""

    def __post_init__(self) -> None:
        if not self.technician.strip():
            raise ValueError("technician must be given: work that nobody did cannot be audited.")
        if self.ended_at < self.started_at:
            raise ValueError(f"the work ended before it started: {self.ended_at.isoformat()} against {self.started_at.isoformat()}.")
        if self.finding not in FINDINGS:
            raise ValueError(f"finding is {self.finding!r}; it must be one of {', '.join(FINDINGS)}.")

    @property
    def label(self) -> str:
        return "false_alarm" if self.finding == NO_FAULT_FOUND else "confirmed"


def order_row(connection: Connection, order_id: str, *, lock: bool = False) -> dict[str, Any]:
    """Raises UnknownOrder."""
    query = select(work_orders).where(work_orders.c.order_id == order_id)
    row = connection.execute(query.with_for_update() if lock else query).mappings().first()
    if row is None:
        raise UnknownOrder(f"There is no work order {order_id!r}.")
    return dict(row)


def move(
    connection: Connection,
    order_id: str,
    to_state: str,
    *,
    at: datetime,
    who: str,
    why: str,
    request_id: str | None = None,
) -> None:
    """Change an order's state and say so in the audit log. Raises ml.policy.IllegalMove, UnknownOrder."""
    order = order_row(connection, order_id, lock=True)
    check_move(order["state"], to_state)
    connection.execute(update(work_orders).where(work_orders.c.order_id == order_id).values(state=to_state))
    _audit(connection, order_id, order["state"], to_state, at=at, who=who, why=why, request_id=request_id)


def open_or_join(
    connection: Connection,
    proposal: OrderProposal,
    *,
    site: str,
    day: date,
    state: tuple[str, str],
    as_of: datetime,
) -> str | None:
    """The order that the proposal belongs to: the one its incidents or its open twin have, else a new one.

    `state` is the state a new order begins in, and why. None where the matter was already closed by people.
    """
    order_id = _order_of(connection, proposal)
    figures = {
        "assessed_on": day,
        "priority": proposal.priority,
        "is_urgent": proposal.is_urgent,
        "risk_cost": proposal.risk_cost,
        "probability_7d": proposal.probability_7d,
        "probability_30d": proposal.probability_30d,
        "confidence": proposal.confidence,
        "due_at": proposal.due_at,
        "reason": proposal.reason,
    }
    if order_id is None:
        order_id = f"WO-{proposal.machine_id}-{proposal.failure_mode}-{day:%Y%m%d}"
        opened = connection.execute(
            upsert(work_orders)
            .values(
                order_id=order_id,
                site=site,
                machine_id=proposal.machine_id,
                failure_mode=proposal.failure_mode,
                opened_on=day,
                state="proposed",
                title=proposal.title,
                actions=list(proposal.actions),
                skills=list(proposal.skills),
                parts=list(proposal.parts),
                duration_h=proposal.duration_h,
                **figures,
            )
            .on_conflict_do_nothing()
            .returning(work_orders.c.order_id)
        ).first()
        if opened is None:
            return None  # the day's order was closed by people, or another run opened its twin this instant
        _audit(connection, order_id, None, "proposed", at=as_of, who=POLICY, why=proposal.reason)
    order = order_row(connection, order_id, lock=True)
    if order["state"] not in OPEN_STATES:
        return None
    if order["assessed_on"] <= day:
        connection.execute(update(work_orders).where(work_orders.c.order_id == order_id).values(**figures))
    _link(connection, order_id, proposal.incident_ids)
    to_state, why = state
    if order["state"] == "proposed" or (order["state"] == "awaiting_decision" and to_state == "approved"):
        move(connection, order_id, to_state, at=as_of, who=POLICY, why=why)
    return order_id


def remind(connection: Connection, order_id: str, *, at: datetime, what: str) -> bool:
    """Note a reminder or an escalation of an order that waits; once each. True where it is new."""
    order = order_row(connection, order_id, lock=True)
    noted = select(work_order_events.c.event_id).where(work_order_events.c.order_id == order_id, work_order_events.c.why == what)
    if connection.scalar(noted.limit(1)) is not None:
        return False
    _audit(connection, order_id, order["state"], order["state"], at=at, who=POLICY, why=what)
    return True


def decide(connection: Connection, decision: Decision) -> bool:
    """Write the decision and carry it out; False where this request was already carried out.

    Raises UnknownOrder, ml.policy.IllegalMove.
    """
    order = order_row(connection, decision.order_id, lock=True)
    request_id = decision.request_id or str(uuid.uuid4())
    recorded = connection.execute(
        upsert(decisions)
        .values(
            request_id=request_id,
            order_id=decision.order_id,
            site=order["site"],
            decision=decision.decision,
            operator=decision.operator,
            reason=decision.reason,
            defer_until=decision.defer_until,
            decided_at=decision.decided_at,
        )
        .on_conflict_do_nothing()
        .returning(decisions.c.request_id)
    ).first()
    if recorded is None:
        return False
    to_state = OUTCOME_OF[decision.decision]
    move(connection, decision.order_id, to_state, at=decision.decided_at, who=decision.operator, why=decision.reason, request_id=request_id)
    connection.execute(update(work_orders).where(work_orders.c.order_id == decision.order_id).values(deferred_until=decision.defer_until))
    if to_state != "approved":
        _take_off_the_plan(connection, order["site"], decision.order_id)
    if to_state == "rejected":
        label_incidents(connection, order_id=decision.order_id, label="false_alarm")
    return True


def complete(connection: Connection, completion: Completion) -> bool:
    """Log finished work, close the order and label its incidents; False where the request was already carried out.

    Raises UnknownOrder, ml.policy.IllegalMove.
    """
    order = order_row(connection, completion.order_id, lock=True)
    recorded = connection.execute(
        upsert(maintenance_log)
        .values(
            request_id=completion.request_id or str(uuid.uuid4()),
            order_id=completion.order_id,
            site=order["site"],
            machine_id=order["machine_id"],
            started_at=completion.started_at,
            ended_at=completion.ended_at,
            technician=completion.technician,
            finding=completion.finding,
            note=completion.note,
        )
        .on_conflict_do_nothing()
        .returning(maintenance_log.c.log_id)
    ).first()
    if recorded is None:
        return False
    if order["state"] != "in_progress":
        move(connection, completion.order_id, "in_progress", at=completion.started_at, who=completion.technician, why="work started")
    move(
        connection,
        completion.order_id,
        "completed",
        at=completion.ended_at,
        who=completion.technician,
        why=f"finding: {completion.finding}",
    )
    label_incidents(connection, order_id=completion.order_id, label=completion.label)
    return True


def resume_deferred(connection: Connection, *, site: str, until: datetime) -> list[str]:
    """Orders whose deferral has run out wait for a decision again."""
    due = list(
        connection.scalars(
            select(work_orders.c.order_id)
            .where(work_orders.c.site == site, work_orders.c.state == "deferred", work_orders.c.deferred_until <= until)
            .order_by(work_orders.c.order_id)
        )
    )
    for order_id in due:
        move(connection, order_id, "awaiting_decision", at=until, who=POLICY, why="the time it was deferred to has come")
    return due


def orders_awaiting(connection: Connection, *, site: str) -> list[tuple[str, datetime]]:
    """(order_id, since when) of the orders that wait for a decision."""
    query = (
        select(work_orders.c.order_id, func.max(work_order_events.c.at))
        .join(work_order_events, work_order_events.c.order_id == work_orders.c.order_id)
        .where(
            work_orders.c.site == site,
            work_orders.c.state == "awaiting_decision",
            work_order_events.c.to_state == "awaiting_decision",
            work_order_events.c.from_state.is_distinct_from("awaiting_decision"),
        )
        .group_by(work_orders.c.order_id)
        .order_by(work_orders.c.order_id)
    )
    return [(order_id, since) for order_id, since in connection.execute(query)]


def orders_to_plan(connection: Connection, *, site: str, before: datetime) -> pd.DataFrame:
    """Approved and scheduled orders whose approval took effect before the given time."""
    approved = (
        select(work_order_events.c.order_id, func.max(work_order_events.c.at).label("ready_at"))
        .where(work_order_events.c.to_state == "approved", work_order_events.c.from_state != "scheduled", work_order_events.c.at < before)
        .group_by(work_order_events.c.order_id)
        .subquery()
    )
    return read_frame(
        connection,
        select(work_orders, approved.c.ready_at)
        .join(approved, approved.c.order_id == work_orders.c.order_id)
        .where(work_orders.c.site == site, work_orders.c.state.in_(("approved", "scheduled")))
        .order_by(work_orders.c.order_id),
    )


def assignments_of_plan(connection: Connection, *, site: str, before: date | None = None) -> pd.DataFrame:
    """The site's newest plan, or the newest before a day."""
    newest = select(func.max(plans.c.day)).where(plans.c.site == site)
    if before:
        newest = newest.where(plans.c.day < before)
    return read_frame(
        connection,
        select(assignments)
        .where(and_(assignments.c.site == site, assignments.c.day == newest.scalar_subquery()))
        .order_by(assignments.c.start_at, assignments.c.order_id),
    )


def replace_plan(
    connection: Connection, plan: dict[str, Any], *, site: str, day: date, assigned: pd.DataFrame, unplanned: pd.DataFrame
) -> None:
    """Store the day's plan. If it is the site's newest, orders in it become scheduled, those left out approved again."""
    for table in (assignments, unplanned_orders, plans):
        connection.execute(delete(table).where(table.c.site == site, table.c.day == day))
    connection.execute(insert(plans).values(**plan, site=site, day=day))
    for table, frame in ((assignments, assigned), (unplanned_orders, unplanned)):
        if len(frame):
            connection.execute(insert(table), [{**row, "site": site, "day": day} for row in records(frame)])
    if connection.scalar(select(func.max(plans.c.day)).where(plans.c.site == site)) != day:
        return
    plannable = (
        select(work_orders.c.order_id, work_orders.c.state)
        .where(work_orders.c.site == site, work_orders.c.state.in_(("approved", "scheduled")))
        .order_by(work_orders.c.order_id)
    )
    in_plan = set(assigned["order_id"])
    for order_id, state in connection.execute(plannable).all():
        if order_id in in_plan and state == "approved":
            move(connection, order_id, "scheduled", at=plan["start_at"], who=PLANNER, why=f"in the plan of {day}")
        elif order_id not in in_plan and state == "scheduled":
            move(connection, order_id, "approved", at=plan["start_at"], who=PLANNER, why=f"no place in the plan of {day}")


def last_decision_on(connection: Connection, *, site: str, start: datetime, end: datetime) -> datetime | None:
    latest: datetime | None = connection.scalar(
        select(func.max(decisions.c.decided_at)).where(
            decisions.c.site == site, decisions.c.decided_at >= start, decisions.c.decided_at < end
        )
    )
    return latest


def decisions_after(connection: Connection, *, after: datetime | None) -> Sequence[tuple[str, str, datetime]]:
    """(request_id, site, decided_at) of decisions since, oldest first."""
    query = select(decisions.c.request_id, decisions.c.site, decisions.c.decided_at).order_by(decisions.c.decided_at)
    if after:
        query = query.where(decisions.c.decided_at > after)
    return [(r, s, t) for r, s, t in connection.execute(query)]


def list_orders(connection: Connection, *, site: str | None = None, states: Collection[str] = ()) -> pd.DataFrame:
    query = select(work_orders).order_by(work_orders.c.due_at, work_orders.c.order_id)
    if site:
        query = query.where(work_orders.c.site == site)
    if states:
        query = query.where(work_orders.c.state.in_(states))
    return read_frame(connection, query)


def _order_of(connection: Connection, proposal: OrderProposal) -> str | None:
    linked = connection.scalar(
        select(work_order_incidents.c.order_id)
        .where(work_order_incidents.c.incident_id.in_(proposal.incident_ids))
        .order_by(work_order_incidents.c.order_id)
        .limit(1)
    )
    if linked is not None:
        return str(linked)
    twin = connection.scalar(
        select(work_orders.c.order_id).where(
            work_orders.c.machine_id == proposal.machine_id,
            work_orders.c.failure_mode == proposal.failure_mode,
            work_orders.c.state.in_(OPEN_STATES),
        )
    )
    return None if twin is None else str(twin)


def _link(connection: Connection, order_id: str, incident_ids: Collection[str]) -> None:
    if incident_ids:
        rows = [{"incident_id": incident_id, "order_id": order_id} for incident_id in incident_ids]
        connection.execute(upsert(work_order_incidents).on_conflict_do_nothing(), rows)


def _take_off_the_plan(connection: Connection, site: str, order_id: str) -> None:
    newest = select(func.max(plans.c.day)).where(plans.c.site == site).scalar_subquery()
    connection.execute(
        delete(assignments).where(assignments.c.site == site, assignments.c.day == newest, assignments.c.order_id == order_id)
    )


def _audit(
    connection: Connection,
    order_id: str,
    from_state: str | None,
    to_state: str,
    *,
    at: datetime,
    who: str,
    why: str,
    request_id: str | None = None,
) -> None:
    connection.execute(
        insert(work_order_events).values(
            order_id=order_id, from_state=from_state, to_state=to_state, at=at, who=who, why=why, request_id=request_id
        )
    )
