"""What the suites on orders and plans look at: the rows as they stand in the ledger, with what their rules compare them to."""

from datetime import date

import pandas as pd
from sqlalchemy import ColumnElement, Connection, ScalarSelect, cast, func, or_, select

from ml.policy import OPEN_STATES
from resources.ledger.rows import read_frame
from resources.ledger.tables import TIME, assignments, unplanned_orders, work_order_events, work_orders


def orders_to_check(connection: Connection, *, site: str, day: date) -> pd.DataFrame:
    """The site's open orders, and those that the day opened or assessed.

    Beside the columns of work_orders: `opened_at`, the midnight (UTC) that began the day that opened it, and `logged_state`, the
    audit log's last word on it.
    """
    o, e = work_orders, work_order_events
    last = select(e.c.to_state).where(e.c.order_id == o.c.order_id).order_by(e.c.event_id.desc()).limit(1).scalar_subquery()
    query = select(o, cast(o.c.opened_on, TIME).label("opened_at"), func.coalesce(last, "not in the log").label("logged_state"))
    concerned = or_(o.c.state.in_(OPEN_STATES), o.c.opened_on == day, o.c.assessed_on == day)
    return read_frame(connection, query.where(o.c.site == site, concerned).order_by(o.c.order_id))


def plan_to_check(connection: Connection, *, site: str, day: date) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The day's assignments and the orders it has no place for, without site and day.

    Of an assignment also its order's `state` and `machine_id`, and how many assignments of the plan to other orders it overlaps:
    `overlaps_of_technician`, `overlaps_of_machine`.
    """
    a, o = assignments, work_orders
    others, their_orders = assignments.alias("others"), work_orders.alias("their_orders")

    def overlaps(is_same: ColumnElement[bool]) -> ScalarSelect[int]:
        return (
            select(func.count())
            .select_from(others.join(their_orders, their_orders.c.order_id == others.c.order_id))
            .where(others.c.site == a.c.site, others.c.day == a.c.day, others.c.order_id != a.c.order_id, is_same)
            .where(others.c.start_at < a.c.end_at, others.c.end_at > a.c.start_at)
            .correlate(a, o)
            .scalar_subquery()
        )

    planned = (
        select(
            *(c for c in a.columns if c.name not in ("site", "day")),
            o.c.state,
            o.c.machine_id,
            overlaps(others.c.technician_id == a.c.technician_id).label("overlaps_of_technician"),
            overlaps(their_orders.c.machine_id == o.c.machine_id).label("overlaps_of_machine"),
        )
        .join(o, o.c.order_id == a.c.order_id)
        .where(a.c.site == site, a.c.day == day)
        .order_by(a.c.start_at, a.c.order_id, a.c.technician_id)
    )
    u = unplanned_orders
    left_over = (
        select(*(c for c in u.columns if c.name not in ("site", "day"))).where(u.c.site == site, u.c.day == day).order_by(u.c.order_id)
    )
    return read_frame(connection, planned), read_frame(connection, left_over)
