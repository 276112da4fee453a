"""How proposals become work orders: joined to an open one, opened anew, or left where people closed the matter.

One open order per machine and failure mode. Whatever is decided here follows from the proposal and from what the ledger holds, so a
site-day that is processed again finds the orders that it made before.
"""

from collections.abc import Collection
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, func, insert, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from ml.plant import ApprovalPolicy
from ml.policy import OPEN_STATES, TERMINAL_STATES, UNDECIDED, ClosedOrder, OrderProposal, why_again
from resources.ledger.tables import incident_assessments, incidents, work_order_events, work_order_incidents, work_orders
from resources.ledger.work import POLICY, audit, lock_site, move, order_row

AGAIN, BESIDE = "again after ", "beside "  # how an order's first audit row begins where another one went before


def open_or_join(
    connection: Connection,
    proposal: OrderProposal,
    *,
    site: str,
    day: date,
    state: tuple[str, str],
    as_of: datetime,
    policy: ApprovalPolicy,
) -> str | None:
    """The order that the proposal belongs to; None where people closed the matter and nothing new is there.

    `state` is the state a new order begins in, and why. The first that holds:
    1. The machine has an open order of this failure mode: it is joined, whichever incidents it has.
    2. An open order of another mode has one of the incidents, so the incident's mode has changed. Where later days have assessed the
       order, it stays what they made of it. Where nobody has decided on it yet and no incident of its own mode is left on the day, its
       work becomes the new mode's. Else it keeps its work, and the new mode goes on to 3.
    3. People closed orders of this machine and mode, or orders of these incidents. None if one of them was closed at or after `as_of`
       and there already on `day` (the day is past and done), or if nothing new is there (ml.policy.why_again).
    4. A new order; its reason says which order went before.
    Incidents keep the order that they were linked to first. What a person set (priority, window, skills) stays as it was set, and the
    policy does not approve what a person has called less than urgent.
    """
    lock_site(connection, site)
    unlinked = _unlinked(connection, proposal.incident_ids)
    order_id = _open_order(connection, proposal, day=day)
    if order_id is None:
        closed = _closed_orders(connection, proposal)
        past = [row for row in closed if row["closed_at"] >= as_of]
        if any(row["opened_on"] <= day for row in past) or (past and not unlinked):
            return None
        origin = _went_before(connection, proposal, closed=closed, unlinked=unlinked, policy=policy)
        if closed and origin is None:
            return None
        order_id = _open(connection, proposal, site=site, day=day, as_of=as_of, origin=origin)
    order = order_row(connection, order_id, lock=True)
    if order["assessed_on"] <= day:
        _assess(connection, order, proposal, day=day, as_of=as_of)
    if unlinked:
        rows = [{"incident_id": incident_id, "order_id": order_id} for incident_id in unlinked]
        connection.execute(upsert(work_order_incidents).on_conflict_do_nothing(), rows)
    to_state, why = state
    is_lowered = "is_urgent" in (order["set_by_people"] or ()) and not order["is_urgent"]
    if order["state"] == "proposed" or (order["state"] == "awaiting_decision" and to_state == "approved" and not is_lowered):
        move(connection, order_id, to_state, at=as_of, who=POLICY, why=why)
    return order_id


def _open_order(connection: Connection, proposal: OrderProposal, *, day: date) -> str | None:
    """Rules 1 and 2."""
    twin: str | None = connection.scalar(
        select(work_orders.c.order_id).where(
            work_orders.c.machine_id == proposal.machine_id,
            work_orders.c.failure_mode == proposal.failure_mode,
            work_orders.c.state.in_(OPEN_STATES),
        )
    )
    if twin is not None:
        return twin
    for order in _linked_open(connection, proposal):
        may_change = order["state"] in UNDECIDED and not _is_mode_left(connection, order, day=day)
        if order["assessed_on"] > day or may_change:
            return str(order["order_id"])
    return None


def _linked_open(connection: Connection, proposal: OrderProposal) -> list[dict[str, Any]]:
    linked = select(work_order_incidents.c.order_id).where(work_order_incidents.c.incident_id.in_(proposal.incident_ids))
    query = select(work_orders).where(work_orders.c.order_id.in_(linked), work_orders.c.state.in_(OPEN_STATES))
    return [dict(row) for row in connection.execute(query.order_by(work_orders.c.order_id)).mappings()]


def _is_mode_left(connection: Connection, order: dict[str, Any], *, day: date) -> bool:
    """Whether an incident of the order still has the order's failure mode on the day."""
    a = incident_assessments
    query = (
        select(a.c.incident_id)
        .join(work_order_incidents, work_order_incidents.c.incident_id == a.c.incident_id)
        .where(work_order_incidents.c.order_id == order["order_id"], a.c.day == day, a.c.failure_mode == order["failure_mode"])
    )
    return connection.scalar(query.limit(1)) is not None


def _closed_orders(connection: Connection, proposal: OrderProposal) -> list[dict[str, Any]]:
    """Closed orders of the proposal's machine and mode, or of its incidents, the one closed last at the end; with `closed_at`."""
    e = work_order_events
    closing = (
        select(e.c.order_id, func.max(e.c.at).label("closed_at"), func.max(e.c.event_id).label("event_id"))
        .where(e.c.to_state.in_(TERMINAL_STATES))
        .group_by(e.c.order_id)
        .subquery()
    )
    linked = select(work_order_incidents.c.order_id).where(work_order_incidents.c.incident_id.in_(proposal.incident_ids))
    is_twin = (work_orders.c.machine_id == proposal.machine_id) & (work_orders.c.failure_mode == proposal.failure_mode)
    query = (
        select(work_orders, closing.c.closed_at)
        .join(closing, closing.c.order_id == work_orders.c.order_id)
        .where(work_orders.c.state.in_(TERMINAL_STATES), or_(is_twin, work_orders.c.order_id.in_(linked)))
        .order_by(closing.c.event_id)
    )
    return [dict(row) for row in connection.execute(query).mappings()]


def _went_before(
    connection: Connection, proposal: OrderProposal, *, closed: list[dict[str, Any]], unlinked: Collection[str], policy: ApprovalPolicy
) -> str | None:
    """Which order went before a new one, and what is new since; None where there is neither."""
    others = _linked_open(connection, proposal)
    if closed:
        last = closed[-1]
        before = ClosedOrder(last["order_id"], last["failure_mode"], last["state"], last["probability_30d"])
        since = _began_since(connection, proposal, others=others, closed_at=last["closed_at"])
        return why_again(proposal, closed=before, new_incidents=[*unlinked, *since], policy=policy)
    for order in others:
        words = str(order["state"]).replace("_", " ")
        return f"{BESIDE}{order['order_id']}, which is {words}: failure mode {order['failure_mode']} became {proposal.failure_mode}"
    return None


def _began_since(connection: Connection, proposal: OrderProposal, *, others: list[dict[str, Any]], closed_at: datetime) -> list[str]:
    """Incidents of open orders of another mode that had not begun when the last order of this mode was closed."""
    query = (
        select(incidents.c.incident_id)
        .join(work_order_incidents, work_order_incidents.c.incident_id == incidents.c.incident_id)
        .where(
            incidents.c.incident_id.in_(proposal.incident_ids),
            incidents.c.onset_at >= closed_at,
            work_order_incidents.c.order_id.in_([order["order_id"] for order in others]),
        )
    )
    return list(connection.scalars(query))


def _open(connection: Connection, proposal: OrderProposal, *, site: str, day: date, as_of: datetime, origin: str | None) -> str:
    base = f"WO-{proposal.machine_id}-{proposal.failure_mode}-{day:%Y%m%d}"
    same = work_orders.c.order_id.startswith(base, autoescape=True)
    taken = set(connection.scalars(select(work_orders.c.order_id).where(same)))
    order_id = next(name for n in range(1, len(taken) + 2) if (name := base if n == 1 else f"{base}-{n}") not in taken)
    connection.execute(
        insert(work_orders).values(
            order_id=order_id,
            site=site,
            machine_id=proposal.machine_id,
            opened_on=day,
            state="proposed",
            **_work(proposal),
            **_figures(proposal, day=day, origin=origin),
        )
    )
    audit(connection, order_id, None, "proposed", at=as_of, who=POLICY, why=origin or proposal.reason)
    return order_id


def _assess(connection: Connection, order: dict[str, Any], proposal: OrderProposal, *, day: date, as_of: datetime) -> None:
    """Bring the order up to the day: its figures, and its work as long as nobody has decided on it."""
    order_id, old = order["order_id"], order["failure_mode"]
    first: str = connection.scalars(
        select(work_order_events.c.why).where(work_order_events.c.order_id == order_id, work_order_events.c.from_state.is_(None))
    ).one()
    values = _figures(proposal, day=day, origin=first if first.startswith((AGAIN, BESIDE)) else None)
    if order["state"] in UNDECIDED:
        values |= _work(proposal)
        if old != proposal.failure_mode:
            words = f"failure mode {old} became {proposal.failure_mode}"
            audit(connection, order_id, order["state"], order["state"], at=as_of, who=POLICY, why=words)
    by_people = order["set_by_people"] or ()
    values = {name: value for name, value in values.items() if name not in by_people}
    connection.execute(update(work_orders).where(work_orders.c.order_id == order_id).values(**values))


def _work(proposal: OrderProposal) -> dict[str, Any]:
    return {
        "failure_mode": proposal.failure_mode,
        "title": proposal.title,
        "actions": list(proposal.actions),
        "crew": [list(skills) for skills in proposal.crew],
        "parts": list(proposal.parts),
        "duration_h": proposal.duration_h,
    }


def _figures(proposal: OrderProposal, *, day: date, origin: str | None) -> dict[str, Any]:
    return {
        "assessed_on": day,
        "priority": proposal.priority,
        "is_urgent": proposal.is_urgent,
        "risk_cost": proposal.risk_cost,
        "probability_7d": proposal.probability_7d,
        "probability_30d": proposal.probability_30d,
        "confidence": proposal.confidence,
        "due_at": proposal.due_at,
        "reason": f"{origin}; {proposal.reason}" if origin else proposal.reason,
    }


def _unlinked(connection: Connection, incident_ids: Collection[str]) -> list[str]:
    linked = set(connection.scalars(select(work_order_incidents.c.incident_id).where(work_order_incidents.c.incident_id.in_(incident_ids))))
    return [incident_id for incident_id in incident_ids if incident_id not in linked]
