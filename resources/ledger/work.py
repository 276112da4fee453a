"""Work orders between opening and closing, in the ledger: every change of state is one audited row.

Whoever changes orders or plans of a site takes the site's lock first (`lock_site`) and rows after it, so that all take turns and none
waits for another in a circle. How proposals become orders stands in `opening`, how orders get their places in `plans`.
"""

import uuid
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
from sqlalchemy import Connection, Row, delete, func, insert, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert

from ml.policy import check_modifiable, check_move
from resources.ledger.deeds import MODIFY, OUTCOME_OF, Completion, Decision, Start
from resources.ledger.findings import Label, incidents_of_order, label_incidents
from resources.ledger.rows import read_frame
from resources.ledger.tables import (
    assignments,
    decisions,
    maintenance_log,
    plans,
    unplanned_orders,
    work_order_events,
    work_orders,
)

POLICY = "policy"


class UnknownOrder(Exception):
    """No work order bears this id; the message names it."""


def lock_site(connection: Connection, site: str) -> None:
    """Wait for the turn to change the site's orders and plans; it is over with the transaction."""
    connection.execute(text("select pg_advisory_xact_lock(hashtext('smart_maintenance.plan ' || :site))"), {"site": site})


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
    audit(connection, order_id, order["state"], to_state, at=at, who=who, why=why, request_id=request_id)


def audit(
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
    """One row of the audit log; from a state to itself where something else than the state changed."""
    connection.execute(
        insert(work_order_events).values(
            order_id=order_id, from_state=from_state, to_state=to_state, at=at, who=who, why=why, request_id=request_id
        )
    )


def remind(connection: Connection, order_id: str, *, since: datetime, at: datetime, what: str) -> bool:
    """Note a reminder or an escalation of an order that has waited `since`; once each per wait. True where it is new."""
    order = _locked(connection, order_id)
    noted = select(work_order_events.c.event_id).where(
        work_order_events.c.order_id == order_id, work_order_events.c.why == what, work_order_events.c.at >= since
    )
    if connection.scalar(noted.limit(1)) is not None:
        return False
    audit(connection, order_id, order["state"], order["state"], at=at, who=POLICY, why=what)
    return True


def expire(connection: Connection, order_id: str, *, since: datetime, at: datetime) -> bool:
    """Cancel an order that nobody has answered `since`; False where somebody has by now. Raises UnknownOrder."""
    if _locked(connection, order_id)["state"] != "awaiting_decision":
        return False
    why = f"expired: nobody decided on it for {(at - since).total_seconds() / 3600:.0f} h"
    move(connection, order_id, "cancelled", at=at, who=POLICY, why=why)
    return True


def decide(connection: Connection, decision: Decision) -> bool:
    """Write the decision and carry it out; False where this request was already carried out.

    Raises UnknownOrder, ml.policy.IllegalMove; ValueError for a window that the work does not fit into.
    """
    order = _locked(connection, decision.order_id)
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
            is_false_alarm=decision.is_false_alarm,
            confidence=decision.confidence,
            priority=decision.priority,
            not_before=decision.not_before,
            not_after=decision.not_after,
            skills=list(decision.skills) if decision.skills is not None else None,
        )
        .on_conflict_do_nothing()
        .returning(decisions.c.request_id)
    ).first()
    if recorded is None:
        return False
    if decision.decision == MODIFY:
        _modify(connection, order, decision, request_id=request_id)
        return True
    to_state = OUTCOME_OF[decision.decision]
    move(connection, decision.order_id, to_state, at=decision.decided_at, who=decision.operator, why=decision.reason, request_id=request_id)
    connection.execute(update(work_orders).where(work_orders.c.order_id == decision.order_id).values(deferred_until=decision.defer_until))
    if to_state != "approved":
        _take_off_the_newest_plan(connection, site=order["site"], order_id=decision.order_id)
    if decision.is_false_alarm:
        said = Label("false_alarm", "decision", decision.operator, decision.reason, decision.decided_at, decision.order_id)
        label_incidents(connection, incidents_of_order(connection, decision.order_id), said)
    return True


def complete(connection: Connection, completion: Completion) -> bool:
    """Log finished work, close the order, take it off the newest plan and label its incidents; False where that was already done.

    Plans of earlier days keep it: they are history.

    Raises UnknownOrder, ml.policy.IllegalMove.
    """
    order = _locked(connection, completion.order_id)
    scheduled_start_at, scheduled_end_at = _place_of_an_earlier_day(connection, site=order["site"], order_id=completion.order_id)
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
            failure_mechanism=completion.failure_mechanism,
            failure_cause=completion.failure_cause,
            parts_used=list(completion.parts_used),
            hours_worked=completion.hours_worked,
            scheduled_start_at=scheduled_start_at,
            scheduled_end_at=scheduled_end_at,
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
    _take_off_the_newest_plan(connection, site=order["site"], order_id=completion.order_id)
    found = f"finding: {completion.finding}"
    said = Label(completion.label, "completion", completion.technician, found, completion.ended_at, completion.order_id)
    label_incidents(connection, incidents_of_order(connection, completion.order_id), said)
    return True


def start(connection: Connection, start: Start) -> bool:
    """Put the order in progress; False where the same person had already started. Raises UnknownOrder, ml.policy.IllegalMove."""
    order = _locked(connection, start.order_id)
    if order["state"] == "in_progress" and _begun(connection, start.order_id).who == start.technician:
        return False
    move(connection, start.order_id, "in_progress", at=start.started_at, who=start.technician, why="work started")
    return True


def started_at(connection: Connection, order_id: str) -> datetime | None:
    """When the work that is going on began; None where none is."""
    if order_row(connection, order_id)["state"] != "in_progress":
        return None
    began: datetime = _begun(connection, order_id).at
    return began


def resume_deferred(connection: Connection, *, site: str, until: datetime) -> list[str]:
    """Orders whose deferral has run out wait for a decision again."""
    lock_site(connection, site)
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


def list_orders(connection: Connection, *, site: str | None = None, states: Collection[str] = ()) -> pd.DataFrame:
    query = select(work_orders).order_by(work_orders.c.due_at, work_orders.c.order_id)
    if site:
        query = query.where(work_orders.c.site == site)
    if states:
        query = query.where(work_orders.c.state.in_(states))
    return read_frame(connection, query)


def _locked(connection: Connection, order_id: str) -> dict[str, Any]:
    """The order's row, locked after its site. Raises UnknownOrder."""
    lock_site(connection, order_row(connection, order_id)["site"])
    return order_row(connection, order_id, lock=True)


def _begun(connection: Connection, order_id: str) -> Row[Any, Any]:
    e = work_order_events
    query = select(e.c.at, e.c.who).where(e.c.order_id == order_id, e.c.to_state == "in_progress", e.c.from_state != "in_progress")
    return connection.execute(query.order_by(e.c.event_id.desc()).limit(1)).one()


def _modify(connection: Connection, order: dict[str, Any], decision: Decision, *, request_id: str) -> None:
    """Change the work, and keep in mind what a person set. A place in the plan is given up where it may no longer do."""
    order_id, changes = decision.order_id, decision.changes
    check_modifiable(order["state"])
    values: dict[str, Any] = {name: changes[name] for name in ("priority", "not_before") if name in changes}
    if "priority" in changes:
        values["is_urgent"] = changes["priority"] == "urgent"
    if "not_after" in changes:
        values["due_at"] = changes["not_after"]
    if decision.skills is not None:
        values["crew"] = [list(decision.skills)]  # one person who has them all
    if changes.keys() & {"not_before", "not_after"}:
        _demand_room(order | values)
    by_people = sorted({*(order["set_by_people"] or ()), *values})
    changed = update(work_orders).where(work_orders.c.order_id == order_id)
    connection.execute(changed.values(**values, set_by_people=by_people))
    said = ", ".join(f"{name.replace('_', ' ')} {_words(value)}" for name, value in changes.items())
    why = f"{decision.reason} ({said})"
    noted: dict[str, Any] = {"at": decision.decided_at, "who": decision.operator, "why": why, "request_id": request_id}
    if order["state"] == "scheduled" and changes.keys() - {"priority"}:
        move(connection, order_id, "approved", **noted)
        _take_off_the_newest_plan(connection, site=order["site"], order_id=order_id)
    else:
        audit(connection, order_id, order["state"], order["state"], **noted)


def _demand_room(order: dict[str, Any]) -> None:
    """Raises ValueError where a person's window is shorter than the work."""
    if order["not_before"] is not None and order["due_at"] - order["not_before"] < timedelta(hours=order["duration_h"]):
        window = f"from {_words(order['not_before'])} to {_words(order['due_at'])}"
        raise ValueError(f"the work takes {order['duration_h']:g} h and does not fit into the window {window}; give another window.")


def _words(value: object) -> str:
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    return value if isinstance(value, str) else ", ".join(value)  # type: ignore[arg-type]


def _place_of_an_earlier_day(connection: Connection, *, site: str, order_id: str) -> tuple[datetime | None, datetime | None]:
    """The order's place in the newest plan, where that was made before the place's own day: the plan forgets it with the completion."""
    a = assignments
    newest = select(func.max(plans.c.day)).where(plans.c.site == site).scalar_subquery()
    query = select(func.min(a.c.start_at), func.max(a.c.end_at), func.max(a.c.day)).where(a.c.site == site, a.c.day == newest)
    start_at, end_at, day = connection.execute(query.where(a.c.order_id == order_id)).one()
    return (start_at, end_at) if start_at is not None and day < start_at.astimezone(UTC).date() else (None, None)


def _take_off_the_newest_plan(connection: Connection, *, site: str, order_id: str) -> None:
    newest = connection.scalar(select(func.max(plans.c.day)).where(plans.c.site == site))
    taken = {}
    for table in (assignments, unplanned_orders):
        of_order = (table.c.site == site, table.c.day == newest, table.c.order_id == order_id)
        taken[table] = min(1, connection.execute(delete(table).where(*of_order)).rowcount)  # a row for each of a crew
    connection.execute(
        update(plans)
        .where(plans.c.site == site, plans.c.day == newest)
        .values(n_orders=plans.c.n_orders - sum(taken.values()), n_planned=plans.c.n_planned - taken[assignments])
    )
