"""The maintenance schedule: work orders onto technicians' shifts, with reasons for all that finds no place.

Times are UTC. A job lies within one shift of one technician who has all its skills; a machine has one job at a time. Where skills,
parts and shifts come from is the plant's; how the cost of a plan is made up stands in `ml.scheduling`.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

import pandas as pd

from ml.plant import Site
from ml.rosters import absences, working_intervals
from ml.scheduling import Problem, improve
from ml.timetable import Grid, Job, Slot, Span, Timetable, place_in_turn
from ml.workload import Assignment, Order, jobs_of, read_orders, read_previous

LOOK_BEYOND_DAYS = 60  # how far after the horizon an earliest alternative is looked for
Status = Literal["empty", "optimal", "feasible"]
_Row = tuple[str, str, pd.Timestamp, pd.Timestamp, bool, bool]


@dataclass(frozen=True)
class Plan:
    """assignments: order_id, technician_id, start_at, end_at, is_overtime, is_late; unplanned: order_id, reason, earliest_alternative.

    objective: cost of the plan within shifts, see ml.scheduling, over the orders that a shift could hold (before call-outs);
    gap: the share of it that a better plan could save at most. The bound behind it is each job alone in an empty timetable, so
    a busy plan shows a wide gap without being bad.
    """

    assignments: pd.DataFrame
    unplanned: pd.DataFrame
    objective: float
    gap: float
    status: Status
    n_orders: int


def plan(
    orders: pd.DataFrame,
    *,
    site: Site,
    start: pd.Timestamp,
    seed: int,
    previous: pd.DataFrame | None = None,
    locked: Collection[str] = (),
    time_limit_s: float = 10,
) -> Plan:
    """Schedule `orders` (workload.ORDER_COLUMNS; parts_ordered_at is optional) from `start` over the site's planning horizon.

    Parts: the stock goes to the orders by priority, then risk; a part out of stock arrives its lead time after parts_ordered_at (after
    `start` without one). `previous` holds the plan to stay near to. `locked` orders have begun: they keep their previous
    assignment, also where its end has passed (nobody has reported the work yet), and their parts are taken as withdrawn already.
    An urgent order that no shift can finish by its due_at becomes an overtime call-out, if that ends sooner: by a
    technician with the skills, at any hour but on no absence, from `start` plus the response time on. Rests are not counted. Who was
    called out in `previous` (is_overtime) is on the way: the call-out stays, unless one can be had sooner.
    """
    known = read_orders(orders)
    before = read_previous(previous, locked=locked)
    if start.tzinfo is None:
        raise ValueError("start must be an aware timestamp in UTC")
    minutes = site.policy.planning.slot_minutes
    grid = Grid(start.tz_convert("UTC").ceil(f"{minutes}min"), minutes, site.policy.planning.horizon_days * 1440 // minutes)
    kept = [a for a in before if a.order_id in set(locked)]
    open_orders = [o for o in known if o.order_id not in set(locked)]
    if not open_orders:
        return Plan(_assignments_table(_kept_rows(kept, orders=known)), _unplanned_table([]), 0.0, 0.0, "empty", len(known))
    jobs, arrivals = jobs_of(open_orders, site=site, grid=grid, start=start)
    table = _table(kept, orders=known, site=site, grid=grid, days=site.policy.planning.horizon_days)
    stood = {
        a.order_id: Slot(a.technician_id, grid.floor(a.start_at))
        for a in before
        if a.start_at >= grid.origin and a.start_at == grid.at(grid.floor(a.start_at)) and not a.is_overtime
    }
    called = {
        a.order_id: Slot(a.technician_id, grid.floor(a.start_at))
        for a in before
        if a.start_at >= grid.origin and a.start_at == grid.at(grid.floor(a.start_at)) and a.is_overtime
    }
    placed, objective, gap, status = _place(jobs, table=table, previous=stood, grid=grid, seed=seed, time_limit_s=time_limit_s)
    table.book_all(jobs, placed=placed)
    calls = (
        _call_outs(jobs, placed=placed, called=called, table=table, site=site, grid=grid, start=start)
        if site.policy.planning.overtime_for_urgent
        else {}
    )
    rows = _kept_rows(kept, orders=known)
    unplanned = []
    for order, job in zip(open_orders, jobs, strict=True):
        found = calls.get(order.order_id) or placed.get(order.order_id)
        if found is not None:
            rows.append(_row(order, found, grid=grid, is_overtime=order.order_id in calls))
        else:
            unplanned.append(_why_not(order, job=job, arrives=arrivals.get(order.order_id), site=site, grid=grid))
    return Plan(_assignments_table(rows), _unplanned_table(unplanned), float(objective), gap, status, len(known))


def _place(
    jobs: list[Job], *, table: Timetable, previous: dict[str, Slot], grid: Grid, seed: int, time_limit_s: float
) -> tuple[dict[str, Slot], int, float, Status]:
    """Places for the jobs that a shift within the horizon may hold: in turn first, improved by the solver, the gaps filled."""
    possible = [j for j in jobs if any(table.openings(j, t) for t in j.technicians)]
    problem = Problem(
        possible, table, {j.order_id: previous[j.order_id] for j in possible if j.order_id in previous}, grid.horizon, grid.day
    )
    placed = place_in_turn(possible, table=table.copy(), previous=problem.previous)
    bound: float = problem.bound()
    if problem.cost(placed) > bound:
        placed, proven = improve(problem, placed=placed, seed=seed, time_limit_s=time_limit_s)
        bound = max(bound, proven)
        left = [j for j in possible if j.order_id not in placed]
        placed = {**placed, **place_in_turn(left, table=table.copy().book_all(possible, placed=placed), previous={})}
    objective = problem.cost(placed)
    gap = max(0.0, (objective - bound) / objective) if objective else 0.0
    return placed, objective, gap, "feasible" if gap > 0 else "optimal"


def _call_outs(
    jobs: list[Job], *, placed: dict[str, Slot], called: dict[str, Slot], table: Timetable, site: Site, grid: Grid, start: pd.Timestamp
) -> dict[str, Slot]:
    """Overtime for the urgent jobs that have no place or a late one; `table` holds the regular plan and takes the call-outs.

    `called` are the call-outs of the plan before.
    """
    away = {
        t.technician_id: [(grid.floor(pd.Timestamp(a)), grid.ceil(pd.Timestamp(b))) for a, b in absences(t, site=site)]
        for t in site.technicians
    }
    soonest = grid.ceil(start + pd.Timedelta(hours=site.policy.planning.overtime_response_h))
    calls: dict[str, Slot] = {}
    for job in jobs:
        slot = placed.get(job.order_id)
        is_late = slot is not None and job.due is not None and slot.start + job.length > job.due
        if not job.is_urgent or not job.technicians or (slot is not None and not is_late):
            continue
        span = (slot.start, slot.start + job.length) if slot else None
        if slot and span:
            table.by_technician[slot.technician_id].remove(span)
            table.by_machine[job.machine_id].remove(span)
        gaps = [
            (table.gap_at_any_hour(job, t, not_before=max(soonest, job.earliest), blocked=away[t]), i, t)
            for i, t in enumerate(job.technicians)
        ]
        begins, _, technician_id = min(gaps)
        stood = called.get(job.order_id)
        if stood and job.earliest <= stood.start <= begins and stood.technician_id in job.technicians:
            free = table.gap_at_any_hour(job, stood.technician_id, not_before=stood.start, blocked=away[stood.technician_id])
            begins, technician_id = (free, stood.technician_id) if free == stood.start else (begins, technician_id)
        if slot and slot.start <= begins:
            begins, technician_id = slot.start, slot.technician_id
        else:
            calls[job.order_id] = Slot(technician_id, begins)
        table.book((begins, begins + job.length), technician_id=technician_id, machine_id=job.machine_id)
    return calls


def _table(kept: list[Assignment], *, orders: list[Order], site: Site, grid: Grid, days: int) -> Timetable:
    """The technicians' windows, with the locked work booked."""
    end = grid.origin + pd.Timedelta(days=days)
    windows: dict[str, list[Span]] = {}
    for technician in site.technicians:
        shifts = working_intervals(technician, site=site, start=grid.origin.to_pydatetime(), end=end.to_pydatetime())
        spans = [(grid.ceil(pd.Timestamp(a)), grid.floor(pd.Timestamp(b))) for a, b in shifts]
        windows[technician.technician_id] = [(a, b) for a, b in spans if a < b]
    table = Timetable(windows)
    machines = {o.order_id: o.machine_id for o in orders}
    for row in kept:
        span = (max(0, grid.floor(row.start_at)), max(0, grid.ceil(row.end_at)))
        table.book(span, technician_id=row.technician_id, machine_id=machines.get(row.order_id))
    return table


def _why_not(order: Order, *, job: Job, arrives: pd.Timestamp | None, site: Site, grid: Grid) -> tuple[str, str, pd.Timestamp | None]:
    """The binding reason, and the first shift after the horizon (or after what is waited for) that the job fits into."""
    unknown = sorted(set(order.parts) - {p.part_id for p in site.parts})
    if unknown:
        return order.order_id, f"not among the site's parts: {', '.join(unknown)}", None
    if not job.technicians:
        return order.order_id, f"no technician has all the skills {', '.join(order.skills)}", None
    days = site.policy.planning.horizon_days
    waits_to = pd.Timedelta(minutes=max(0, job.earliest - grid.horizon) * grid.minutes)
    reach = timedelta(days=days + LOOK_BEYOND_DAYS) + waits_to.to_pytimedelta()
    able = [t for t in site.technicians if t.technician_id in job.technicians]
    origin = grid.origin.to_pydatetime()
    shifts = [i for t in able for i in working_intervals(t, site=site, start=origin, end=origin + reach)]
    spans = sorted((grid.ceil(pd.Timestamp(a)), grid.floor(pd.Timestamp(b))) for a, b in shifts)
    if spans and max(b - a for a, b in spans) < job.length:
        return order.order_id, f"longer than any shift: {order.duration_h:g} h", None
    from_slot = max(job.earliest, grid.horizon)
    later = next((max(a, from_slot) for a, b in spans if max(a, from_slot) + job.length <= b), None)
    alternative = grid.at(later) if later is not None else None
    is_waiting = job.earliest + job.length > grid.horizon
    if arrives is not None and grid.ceil(arrives) == job.earliest and (is_waiting or not _has_room(spans, job=job, grid=grid)):
        return order.order_id, f"parts missing until {arrives:%Y-%m-%d}: {', '.join(order.parts)}", alternative
    if order.ready_at is not None and is_waiting:
        return order.order_id, f"not to be done before {order.ready_at:%Y-%m-%d}", alternative
    return order.order_id, f"no free shift within {days} days", alternative


def _has_room(spans: list[Span], *, job: Job, grid: Grid) -> bool:
    """Whether some shift within the horizon would do, were it free."""
    return any(max(a, job.earliest) + job.length <= min(b, grid.horizon) for a, b in spans)


def _row(order: Order, slot: Slot, *, grid: Grid, is_overtime: bool) -> _Row:
    begins = grid.at(slot.start)
    ends = begins + pd.Timedelta(hours=order.duration_h)
    return order.order_id, slot.technician_id, begins, ends, is_overtime, order.due_at is not None and ends > order.due_at


def _kept_rows(kept: list[Assignment], *, orders: list[Order]) -> list[_Row]:
    due = {o.order_id: o.due_at for o in orders}
    rows = []
    for row in kept:
        due_at = due.get(row.order_id)
        is_late = due_at is not None and row.end_at > due_at
        rows.append((row.order_id, row.technician_id, row.start_at, row.end_at, row.is_overtime, is_late))
    return rows


def _assignments_table(rows: list[_Row]) -> pd.DataFrame:
    names = ["order_id", "technician_id", "start_at", "end_at", "is_overtime", "is_late"]
    kinds = ["str", "str", "datetime64[us, UTC]", "datetime64[us, UTC]", "bool", "bool"]
    in_turn = sorted(rows, key=lambda r: (r[2], r[1], r[0]))
    return pd.DataFrame(in_turn, columns=names).astype(dict(zip(names, kinds, strict=True)))


def _unplanned_table(rows: list[tuple[str, str, pd.Timestamp | None]]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["order_id", "reason", "earliest_alternative"])
    return table.astype({"order_id": "str", "reason": "str", "earliest_alternative": "datetime64[us, UTC]"})
