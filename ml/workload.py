"""The work to be planned: orders and the plan so far as values, and the jobs they make once parts and skills are known."""

from collections.abc import Collection
from datetime import datetime
from typing import NamedTuple

import pandas as pd

from ml.plant import Site
from ml.policy import PRIORITIES
from ml.timetable import Grid, Job

PRIORITY_WEIGHT = {"urgent": 40, "high": 20, "medium": 10, "low": 5}
RISK_WEIGHT = 20  # of the order with the highest risk; the others in proportion
ORDER_COLUMNS = ("order_id", "machine_id", "priority", "risk_cost", "due_at", "skills", "duration_h", "parts", "is_urgent", "ready_at")
PREVIOUS_COLUMNS = ("order_id", "technician_id", "start_at", "end_at")


class Order(NamedTuple):
    order_id: str
    machine_id: str
    priority: str
    risk_cost: float
    due_at: pd.Timestamp | None
    skills: tuple[str, ...]
    duration_h: float
    parts: tuple[str, ...]
    is_urgent: bool
    ready_at: pd.Timestamp | None
    parts_ordered_at: pd.Timestamp | None


class Assignment(NamedTuple):
    order_id: str
    technician_id: str
    start_at: pd.Timestamp
    end_at: pd.Timestamp
    is_overtime: bool = False


def read_orders(orders: pd.DataFrame) -> list[Order]:
    """In turn: urgent first, then by priority, risk, deadline and id."""
    missing = [c for c in ORDER_COLUMNS if c not in orders.columns]
    if missing:
        raise ValueError(f"orders lack the columns {', '.join(missing)}; give {', '.join(ORDER_COLUMNS)}")
    read = []
    for row in orders.to_dict("records"):
        if row["priority"] not in PRIORITIES or not row["duration_h"] > 0:
            raise ValueError(f"order {row['order_id']}: priority must be one of {', '.join(PRIORITIES)} and duration_h above 0")
        read.append(
            Order(
                order_id=str(row["order_id"]),
                machine_id=str(row["machine_id"]),
                priority=str(row["priority"]),
                risk_cost=float(row["risk_cost"]) if pd.notna(row["risk_cost"]) else 0.0,
                due_at=_instant(row["due_at"]),
                skills=tuple(row["skills"]),
                duration_h=float(row["duration_h"]),
                parts=tuple(row["parts"]),
                is_urgent=bool(row["is_urgent"]),
                ready_at=_instant(row["ready_at"]),
                parts_ordered_at=_instant(row.get("parts_ordered_at")),
            )
        )
    if len({o.order_id for o in read}) < len(read):
        raise ValueError("orders name an order_id twice; give each order once")
    far = pd.Timestamp.max.tz_localize("UTC")
    return sorted(read, key=lambda o: (not o.is_urgent, PRIORITIES.index(o.priority), -o.risk_cost, o.due_at or far, o.order_id))


def read_previous(previous: pd.DataFrame | None, *, locked: Collection[str]) -> list[Assignment]:
    """The plan so far, by order; every locked order must stand in it."""
    if previous is None:
        previous = pd.DataFrame(columns=list(PREVIOUS_COLUMNS))
    missing = [c for c in PREVIOUS_COLUMNS if c not in previous.columns]
    if missing:
        raise ValueError(f"previous lacks the columns {', '.join(missing)}")
    before = [
        Assignment(
            str(row["order_id"]),
            str(row["technician_id"]),
            _known_instant(row["start_at"]),
            _known_instant(row["end_at"]),
            bool(row.get("is_overtime", False)),
        )
        for row in previous.to_dict("records")
    ]
    lost = sorted(set(locked) - {a.order_id for a in before})
    if lost:
        raise ValueError(f"locked orders without a previous assignment: {', '.join(lost)}; give who works on them and until when")
    return sorted(before)


def standing(
    previous: pd.DataFrame, *, own: pd.DataFrame | None, order_ids: Collection[str], start: pd.Timestamp
) -> tuple[pd.DataFrame, list[str]]:
    """What a new plan from `start` on has to go by: the assignments that stand, and the orders among them whose slot has begun.

    previous: the assignments of the plan of an earlier day; own: those of this day's plan so far, None where there is none; order_ids:
    the orders still to be done. This day's plan is the later word on what has begun and who was called out; for all else the earlier
    day's is the one to stay near to, also for the shift of an order that has been called out since (it then stands in two rows). So
    planning a day again from the same start finds the same plan.
    """
    latest = previous if own is None else own
    latest = latest[latest["order_id"].isin(list(order_ids))]
    has_begun = latest["start_at"] < start
    begun = sorted(latest.loc[has_begun, "order_id"])
    rest = previous[~previous["order_id"].isin(begun) & ~previous["is_overtime"].astype(bool)]
    return pd.concat([latest[has_begun | latest["is_overtime"].astype(bool)], rest], ignore_index=True), begun


def _known_instant(value: datetime | str) -> pd.Timestamp:
    return pd.Timestamp(value).tz_convert("UTC")


def _instant(value: datetime | str | None) -> pd.Timestamp | None:
    return None if value is None or pd.isna(value) else _known_instant(value)


def jobs_of(orders: list[Order], *, site: Site, grid: Grid, start: pd.Timestamp) -> tuple[list[Job], dict[str, pd.Timestamp]]:
    """The jobs in the orders' turn, and when the last missing part of an order arrives."""
    stock = {p.part_id: p.in_stock for p in site.parts}
    lead = {p.part_id: p.lead_time_days for p in site.parts}
    most = max((o.risk_cost for o in orders), default=0.0)
    jobs, arrivals = [], {}
    for order in orders:
        waits = 0
        for part in order.parts:
            if stock.get(part, 0) > 0:
                stock[part] -= 1
            elif part in lead:
                waits = max(waits, lead[part])
        earliest = max(0, grid.ceil(order.ready_at)) if order.ready_at is not None else 0
        if waits:
            arrivals[order.order_id] = (order.parts_ordered_at if order.parts_ordered_at is not None else start) + pd.Timedelta(days=waits)
            earliest = max(earliest, grid.ceil(arrivals[order.order_id]))
        able = [t for t in site.technicians if set(order.skills) <= set(t.skills)] if set(order.parts) <= set(lead) else []
        # The least versatile first, so that those who can do more stay free.
        able.sort(key=lambda t: (len(t.skills), t.technician_id))
        jobs.append(
            Job(
                order.order_id,
                order.machine_id,
                weight=PRIORITY_WEIGHT[order.priority] + (round(RISK_WEIGHT * order.risk_cost / most) if most > 0 else 0),
                length=grid.length(order.duration_h),
                earliest=earliest,
                due=grid.floor(order.due_at) if order.due_at is not None else None,
                technicians=tuple(t.technician_id for t in able),
                is_urgent=order.is_urgent,
            )
        )
    return jobs, arrivals
