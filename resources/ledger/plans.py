"""Plans in the ledger: which orders await a place, which places they were given, and what calls for a new plan."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, NamedTuple

import pandas as pd
from sqlalchemy import Connection, Select, and_, delete, func, insert, literal, or_, select
from sqlalchemy.dialects.postgresql import aggregate_order_by

from ml.policy import IN_PLANS
from resources.ledger.rows import read_frame, records
from resources.ledger.tables import assignments, plans, unplanned_orders, work_order_events, work_orders
from resources.ledger.work import lock_site, move

PLANNER = "planner"
# What people do that changes a plan: decisions carry a request id, finished work does not.
_BY_PEOPLE = or_(work_order_events.c.request_id.is_not(None), work_order_events.c.to_state == "completed")


class Change(NamedTuple):
    """A decision or finished work, and the day whose plan it changes."""

    event_id: int
    site: str
    day: date
    run_key: str


def orders_to_plan(connection: Connection, *, site: str, before: datetime) -> pd.DataFrame:
    """Approved and scheduled orders whose approval took effect before the given time, and those of them that are under way.

    The states are the present ones, also for a day long past: work that was rejected, deferred or finished since must appear in no
    plan. Orders approved after that day's end stay out of its plan.
    """
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
        .where(work_orders.c.site == site, work_orders.c.state.in_(IN_PLANS))
        .order_by(work_orders.c.order_id),
    )


def newest_plan(connection: Connection, *, site: str) -> date | None:
    """The day of the site's newest plan."""
    day: date | None = connection.scalar(_newest(site))
    return day


def assignments_of_plan(connection: Connection, *, site: str, before: date | None = None) -> pd.DataFrame:
    """The site's newest plan, or the newest before a day."""
    newest = _newest(site) if before is None else _newest(site).where(plans.c.day < before)
    return _assignments(connection, site=site, day=connection.scalar(newest))


def assignments_in_force(connection: Connection, *, site: str, technician_id: str | None = None) -> pd.DataFrame:
    """The site's newest plan, a row per order and technician, with what the work is.

    Beside the columns of assignments: `machine_id`, `title`, `priority`, `due_at`, `actions`, `parts`, `planned_at` (nothing was planned
    before) and `others` (who else is in the crew).
    """
    a, o, others = assignments, work_orders, assignments.alias("others")
    with_whom = (
        select(func.coalesce(func.string_agg(others.c.technician_id, aggregate_order_by(literal(", "), others.c.technician_id)), ""))
        .where(others.c.site == a.c.site, others.c.day == a.c.day, others.c.order_id == a.c.order_id)
        .where(others.c.technician_id != a.c.technician_id)
        .correlate(a)
        .scalar_subquery()
    )
    query = (
        select(
            a,
            *(o.c[name] for name in ("machine_id", "title", "priority", "due_at", "actions", "parts")),
            plans.c.start_at.label("planned_at"),
            with_whom.label("others"),
        )
        .join(o, o.c.order_id == a.c.order_id)
        .join(plans, and_(plans.c.site == a.c.site, plans.c.day == a.c.day))
        .where(a.c.site == site, a.c.day == _newest(site).scalar_subquery())
        .order_by(a.c.start_at, a.c.technician_id, a.c.order_id)
    )
    return read_frame(connection, query if technician_id is None else query.where(a.c.technician_id == technician_id))


def assignments_on(connection: Connection, *, site: str, day: date) -> pd.DataFrame | None:
    """The day's plan; None where the day has none."""
    if connection.scalar(select(plans.c.day).where(plans.c.site == site, plans.c.day == day)) is None:
        return None
    return _assignments(connection, site=site, day=day)


def replace_plan(
    connection: Connection, plan: dict[str, Any], *, site: str, day: date, assigned: pd.DataFrame, unplanned: pd.DataFrame
) -> None:
    """Store the day's plan. If it is the site's newest, orders in it become scheduled, those left out approved again.

    `plan` has the columns of `plans` but site, day and the counts. Orders that are closed, deferred or undecided by now are left out.
    An assignment whose time differs from what its technician was last told of it has a `revision` one higher.
    """
    lock_site(connection, site)
    plannable = (
        select(work_orders.c.order_id, work_orders.c.state)
        .where(work_orders.c.site == site, work_orders.c.state.in_(IN_PLANS))
        .order_by(work_orders.c.order_id)
    )
    states: dict[str, str] = {row.order_id: row.state for row in connection.execute(plannable.with_for_update())}
    rows = {
        table: [row for row in records(frame) if row["order_id"] in states]
        for table, frame in ((assignments, assigned), (unplanned_orders, unplanned))
    }
    told = _last_told(connection, site=site, until=day)
    for row in rows[assignments]:
        known = told.get((row["order_id"], row["technician_id"]))
        is_changed = known is not None and (known.start_at, known.end_at) != (row["start_at"], row["end_at"])
        row["revision"] = known.revision + is_changed if known is not None else 0
    for table in (assignments, unplanned_orders, plans):
        connection.execute(delete(table).where(table.c.site == site, table.c.day == day))
    n_planned = len({row["order_id"] for row in rows[assignments]})
    counts = {"n_orders": n_planned + len(rows[unplanned_orders]), "n_planned": n_planned}
    connection.execute(insert(plans).values(**plan, **counts, site=site, day=day))
    for table, found in rows.items():
        if found:
            connection.execute(insert(table), [{**row, "site": site, "day": day} for row in found])
    if newest_plan(connection, site=site) != day:
        return
    in_plan = {row["order_id"] for row in rows[assignments]}
    for order_id, state in states.items():
        if order_id in in_plan and state == "approved":
            move(connection, order_id, "scheduled", at=plan["start_at"], who=PLANNER, why=f"in the plan of {day}")
        elif order_id not in in_plan and state == "scheduled":
            move(connection, order_id, "approved", at=plan["start_at"], who=PLANNER, why=f"no place in the plan of {day}")


def last_change_on(connection: Connection, *, site: str, start: datetime, end: datetime) -> datetime | None:
    """When people last decided on an order of the site, or finished one, from `start` on and before `end`."""
    at = func.least(work_order_events.c.at, work_order_events.c.recorded_at)  # an end of work may be told ahead of time
    latest: datetime | None = connection.scalar(
        select(func.max(at))
        .join(work_orders, work_orders.c.order_id == work_order_events.c.order_id)
        .where(work_orders.c.site == site, _BY_PEOPLE, at >= start, at < end)
    )
    return latest


def changes_after(connection: Connection, *, after: int) -> Sequence[Change]:
    """Decisions and finished work with a higher event id, in order.

    The day is that of the change, but never before the site's newest plan: earlier plans are history.
    """
    e, newest = work_order_events, select(plans.c.site, func.max(plans.c.day).label("day")).group_by(plans.c.site).subquery()
    at = func.least(e.c.at, e.c.recorded_at)
    query = (
        select(e.c.event_id, work_orders.c.site, at, work_orders.c.opened_on, newest.c.day, e.c.request_id)
        .join(work_orders, work_orders.c.order_id == e.c.order_id)
        .outerjoin(newest, newest.c.site == work_orders.c.site)
        .where(_BY_PEOPLE, e.c.event_id > after)
        .order_by(e.c.event_id)
    )
    return [
        Change(event_id, site, max(when.date(), opened_on, planned or opened_on), request_id or f"event-{event_id}")
        for event_id, site, when, opened_on, planned, request_id in connection.execute(query)
    ]


def _last_told(connection: Connection, *, site: str, until: date) -> dict[tuple[str, str], Any]:
    """By order and technician the latest assignment, of the plans up to a day."""
    a = assignments
    query = (
        select(a.c.order_id, a.c.technician_id, a.c.start_at, a.c.end_at, a.c.revision)
        .where(a.c.site == site, a.c.day <= until)
        .distinct(a.c.order_id, a.c.technician_id)
        .order_by(a.c.order_id, a.c.technician_id, a.c.day.desc())
    )
    return {(row.order_id, row.technician_id): row for row in connection.execute(query)}


def _newest(site: str) -> Select[Any]:
    return select(func.max(plans.c.day)).where(plans.c.site == site)


def _assignments(connection: Connection, *, site: str, day: date | None) -> pd.DataFrame:
    return read_frame(
        connection,
        select(assignments)
        .where(assignments.c.site == site, assignments.c.day == day)
        .order_by(assignments.c.start_at, assignments.c.order_id, assignments.c.technician_id),
    )
