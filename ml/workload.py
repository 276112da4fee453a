"""The work to be planned: orders and the plan so far as values, and the jobs they make once parts and skills are known."""

import math
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from itertools import product
from typing import NamedTuple

import pandas as pd

from ml.plant import Site
from ml.policy import PRIORITIES
from ml.rosters import midnight
from ml.timetable import Grid, Job, Place

PRIORITY_WEIGHT = {"urgent": 40, "high": 20, "medium": 10, "low": 5}
RISK_WEIGHT = 20  # of the order with the highest risk; the others in proportion
MAX_CREWS = 300  # tried for one job
ORDER_COLUMNS = ("order_id", "machine_id", "priority", "risk_cost", "due_at", "crew", "duration_h", "parts", "is_urgent", "ready_at")
PREVIOUS_COLUMNS = ("order_id", "technician_id", "start_at", "end_at")


class Order(NamedTuple):
    """crew: for each technician that it takes, the skills that this one must have."""

    order_id: str
    machine_id: str
    priority: str
    risk_cost: float
    due_at: pd.Timestamp | None
    crew: tuple[tuple[str, ...], ...]
    duration_h: float
    parts: tuple[str, ...]
    is_urgent: bool
    ready_at: pd.Timestamp | None
    parts_ordered_at: pd.Timestamp | None


class Assignment(NamedTuple):
    """An order's place in a plan, with all who do it."""

    order_id: str
    technicians: tuple[str, ...]
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
        if row["priority"] not in PRIORITIES or not row["duration_h"] > 0 or not len(row["crew"]):
            raise ValueError(
                f"order {row['order_id']}: priority must be one of {', '.join(PRIORITIES)}, duration_h above 0 and crew not empty"
            )
        read.append(
            Order(
                order_id=str(row["order_id"]),
                machine_id=str(row["machine_id"]),
                priority=str(row["priority"]),
                risk_cost=float(row["risk_cost"]) if pd.notna(row["risk_cost"]) else 0.0,
                due_at=_instant(row["due_at"]),
                crew=tuple(tuple(skills) for skills in row["crew"]),
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
    """The plan so far (a row per order and technician), by order; every locked order must stand in it."""
    if previous is None:
        previous = pd.DataFrame(columns=list(PREVIOUS_COLUMNS))
    missing = [c for c in PREVIOUS_COLUMNS if c not in previous.columns]
    if missing:
        raise ValueError(f"previous lacks the columns {', '.join(missing)}")
    people: dict[tuple[str, pd.Timestamp, pd.Timestamp, bool], set[str]] = {}
    for row in previous.to_dict("records"):
        key = (str(row["order_id"]), _known(row["start_at"]), _known(row["end_at"]), bool(row.get("is_overtime", False)))
        people.setdefault(key, set()).add(str(row["technician_id"]))
    before = [Assignment(order_id, tuple(sorted(who)), a, b, extra) for (order_id, a, b, extra), who in people.items()]
    lost = sorted(set(locked) - {a.order_id for a in before})
    if lost:
        raise ValueError(f"locked orders without a previous assignment: {', '.join(lost)}; give who works on them and until when")
    return sorted(before)


def standing(
    previous: pd.DataFrame, *, own: pd.DataFrame | None, order_ids: Collection[str], start: pd.Timestamp, under_way: Collection[str] = ()
) -> tuple[pd.DataFrame, list[str]]:
    """What a new plan from `start` on has to go by: the assignments that stand, and the orders among them that have begun: their slot
    has, or people said that they are under way.

    previous: the assignments of the plan of an earlier day; own: those of this day's plan so far, None where there is none; order_ids:
    the orders still to be done. This day's plan is the later word on what has begun and who was called out; for all else the earlier
    day's is the one to stay near to, also for the shift of an order that has been called out since (it then stands there twice). So
    planning a day again from the same start finds the same plan.
    """
    latest = previous if own is None else own
    latest = latest[latest["order_id"].isin(list(order_ids))]
    has_begun = (latest["start_at"] < start) | latest["order_id"].isin(list(under_way))
    begun = sorted(set(latest.loc[has_begun, "order_id"]))
    rest = previous[~previous["order_id"].isin(begun) & ~previous["is_overtime"].astype(bool)]
    return pd.concat([latest[has_begun | latest["is_overtime"].astype(bool)], rest], ignore_index=True), begun


def jobs_of(
    orders: list[Order], *, site: Site, grid: Grid, start: pd.Timestamp
) -> tuple[list[Job], dict[str, tuple[pd.Timestamp, tuple[str, ...]]]]:
    """The jobs in the orders' turn; and of those that wait for parts, when the last arrives, and which parts they wait for."""
    supply = _supply(site)
    lead = {p.part_id: p.lead_time_days for p in site.parts}
    areas = {m.machine_id: m.area for m in site.machines}
    most = max((o.risk_cost for o in orders), default=0.0)
    jobs, waits = [], {}
    for order in orders:
        arrivals: dict[str, pd.Timestamp] = {}
        for part in order.parts:
            if part in lead and (at := _take(supply[part], order=order, start=start, lead_days=lead[part])) > start:
                arrivals[part] = max(at, arrivals.get(part, at))
        earliest = max(0, grid.ceil(order.ready_at)) if order.ready_at is not None else 0
        if arrivals:
            waits[order.order_id] = max(arrivals.values()), tuple(sorted(arrivals))
            earliest = max(earliest, grid.ceil(waits[order.order_id][0]))
        roles = able_of(order.crew, site=site) if set(order.parts) <= set(lead) else ((),) * len(order.crew)
        crews, is_narrowed = crews_of(roles, site=site)
        length = grid.length(order.duration_h)
        jobs.append(
            Job(
                order.order_id,
                order.machine_id,
                areas.get(order.machine_id, "main"),
                weight=PRIORITY_WEIGHT[order.priority] + (round(RISK_WEIGHT * order.risk_cost / most) if most > 0 else 0),
                length=length,
                spare_min=length * grid.minutes - order.duration_h * 60,
                earliest=earliest,
                due=grid.floor(order.due_at) if order.due_at is not None else None,
                roles=roles,
                crews=crews,
                is_urgent=order.is_urgent,
                is_narrowed=is_narrowed,
            )
        )
    return jobs, waits


def able_of(crew: tuple[tuple[str, ...], ...], *, site: Site) -> tuple[tuple[str, ...], ...]:
    """Per role who has all its skills, the least versatile first, so that those who can do more stay free."""
    in_turn = sorted(site.technicians, key=lambda t: (len(t.skills), t.technician_id))
    return tuple(tuple(t.technician_id for t in in_turn if set(skills) <= set(t.skills)) for skills in crew)


def crews_of(roles: tuple[tuple[str, ...], ...], *, site: Site) -> tuple[tuple[tuple[str, ...], ...], bool]:
    """Different people for the roles, each crew once, the least versatile first; and whether only MAX_CREWS, evenly spread, are listed."""
    is_vast = math.prod(len(able) for able in roles) > 1000 * MAX_CREWS
    if is_vast:
        roles = tuple(able[:: -(-len(able) // 20)] for able in roles)
    versatility = {t.technician_id: len(t.skills) for t in site.technicians}
    found = {tuple(sorted(people)) for people in product(*roles) if len(set(people)) == len(people)}
    crews = sorted(found, key=lambda people: (sum(versatility[t] for t in people), sorted((versatility[t], t) for t in people)))
    step = -(-len(crews) // MAX_CREWS)
    return tuple(crews[:: max(1, step)]), is_vast or step > 1


def places_of(assignments: Collection[Assignment], *, grid: Grid, jobs: Mapping[str, Job]) -> dict[str, Place]:
    """Where the jobs stood, if that lies ahead and on the grid."""
    return {
        a.order_id: Place(a.technicians, grid.floor(a.start_at), grid.ceil(a.end_at))
        for a in assignments
        if a.order_id in jobs and a.start_at >= grid.origin and a.start_at == grid.at(grid.floor(a.start_at))
    }


def _supply(site: Site) -> dict[str, list[datetime | None]]:
    """Per part, piece by piece when it is at hand (None: it is in stock), the soonest last."""
    supply: dict[str, list[datetime | None]] = {}
    for part in site.parts:
        coming = sorted((midnight(d.expected_on + timedelta(days=1), site=site), d.quantity) for d in part.on_order)
        pieces: list[datetime | None] = [None] * part.in_stock
        for at, quantity in coming:
            pieces += [at] * quantity
        supply[part.part_id] = pieces[::-1]
    return supply


def _take(pieces: list[datetime | None], *, order: Order, start: pd.Timestamp, lead_days: int) -> pd.Timestamp:
    """When the order's next piece is at hand: from stock, else from what is on order or ordered anew, whichever is sooner."""
    anew = (order.parts_ordered_at if order.parts_ordered_at is not None else start) + pd.Timedelta(days=lead_days)
    if not pieces:
        return anew
    at_hand = start if pieces[-1] is None else pd.Timestamp(pieces[-1])
    if at_hand > anew:
        return anew
    pieces.pop()
    return at_hand


def _known(value: datetime | str) -> pd.Timestamp:
    return pd.Timestamp(value).tz_convert("UTC")


def _instant(value: datetime | str | None) -> pd.Timestamp | None:
    return None if value is None or pd.isna(value) else _known(value)
