"""The maintenance schedule: work orders onto technicians' shifts, with reasons for all that finds no place.

Objective: the least sum over the orders of weight x (start + lateness + being moved + being left out), in slots, as `ml.scheduling` says
it in numbers; an order's weight is its priority and its risk. Hard: everybody has all the skills of the role, nobody and no machine is
in two jobs at once, all of a crew work at the same time, within a shift of each (breaks interrupt the work) and within a stop window of
the machine, with the time to travel between areas, not before the order is ready and its parts are there. Soft: the deadline, and the
plan before. Times are UTC; shifts, breaks, stop windows, holidays and absences are the site's wall clock.

Who does what: `ml.workload` makes jobs of the orders, `ml.timetable` places them in turn, which is the first plan. Up to 8 are then
solved as a whole by CP-SAT (`ml.scheduling`). Beyond that `ml.pricing` finds a cost that no plan can go below and `ml.reinsertion` a
better plan; up to 100 in this process, with CP-SAT on ten jobs at a time at the end, more in two processes (`ml.halves`). Urgent orders
that no shift holds in time are called out (`ml.callouts`), what finds no place is explained (`ml.shortfalls`).
"""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import pandas as pd

from ml.calendars import calendar_of
from ml.callouts import call_outs
from ml.halves import search
from ml.plant import Site
from ml.pricing import bound as price
from ml.pricing import place_by_price
from ml.reinsertion import reinsert
from ml.scheduling import WHOLE, Problem, improve
from ml.shortfalls import Missing, Shortfall
from ml.timetable import Booking, Grid, Job, Place, Timetable, place_in_turn
from ml.workload import Assignment, Order, jobs_of, places_of, read_orders, read_previous

LOOK_BEYOND_DAYS = 60  # how far after the horizon (or what is waited for) an earliest alternative is looked for
MANY = 100  # orders; of more a second process helps in the search, and CP-SAT no more: 25 s of it gained 0.01 % on 500
SMALL_STEPS_PER_JOB, SMALL_STRETCH = 100, (0.3, 1.0)
GAP_ENOUGH = 0.01  # the search ends at this gap
Status = Literal["empty", "optimal", "feasible"]
_Row = tuple[str, str, pd.Timestamp, pd.Timestamp, bool, bool]


@dataclass(frozen=True)
class Plan:
    """assignments: order_id, technician_id, start_at, end_at, is_overtime, is_late, a row per order and technician;
    unplanned: order_id, reason, earliest_alternative, smallest_change.

    objective: cost of the plan within shifts, see ml.scheduling, over the orders that a shift could hold (before call-outs);
    gap: the share of it that a better plan could save at most: no plan costs less than objective x (1 - gap). The bound is proven by
    CP-SAT for up to 8 orders, by the prices of `ml.pricing` beyond.
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
    time_limit_s: float = 55,
) -> Plan:
    """Schedule `orders` (workload.ORDER_COLUMNS; parts_ordered_at is optional) from `start` over the site's planning horizon.

    Parts: stock, then what is on order, goes to the orders by priority, then risk; a part beyond both arrives its lead time after
    parts_ordered_at (after `start` without one). `previous` holds the plan to stay near to. `locked` orders have begun: they keep their
    previous assignment, also where its end has passed (nobody has reported the work yet), and their parts are taken as withdrawn already.
    An urgent order that no shift can finish by its due_at becomes an overtime call-out, if that ends sooner: see `ml.callouts`. Who was
    called out in `previous` (is_overtime) is on the way: the call-out stays, unless one can be had sooner.
    The same input gives the same plan, unless `time_limit_s` ends the search: its ordinary limits are counted, not timed.
    """
    known = read_orders(orders)
    before = read_previous(previous, locked=locked)
    if start.tzinfo is None:
        raise ValueError("start must be an aware timestamp in UTC")
    planning = site.policy.planning
    grid = Grid(
        start.tz_convert("UTC").ceil(f"{planning.slot_minutes}min"),
        planning.slot_minutes,
        planning.horizon_days * 1440 // planning.slot_minutes,
    )
    kept = [a for a in before if a.order_id in set(locked)]
    open_orders = [o for o in known if o.order_id not in set(locked)]
    if not open_orders:
        return Plan(_assignments_table(_kept_rows(kept, orders=known)), _unplanned_table([]), 0.0, 0.0, "empty", len(known))
    jobs, waits = jobs_of(open_orders, site=site, grid=grid, start=start)
    by_id = {job.order_id: job for job in jobs}
    table = _table(kept, orders=known, site=site, grid=grid)
    stood = places_of([a for a in before if not a.is_overtime], grid=grid, jobs=by_id)
    called = places_of([a for a in before if a.is_overtime], grid=grid, jobs=by_id)
    placed, objective, gap, status = _place(jobs, table=table, previous=stood, grid=grid, seed=seed, time_limit_s=time_limit_s)
    table.book_all(jobs, placed=placed)
    calls = {}
    if planning.overtime_for_urgent:
        calls = call_outs(jobs, placed=placed, called=called, table=table, site=site, grid=grid, start=start)
    rows = _kept_rows(kept, orders=known)
    left: list[tuple[Order, Job]] = []
    for order, job in zip(open_orders, jobs, strict=True):
        found = calls.get(order.order_id) or placed.get(order.order_id)
        if found is not None:
            rows += _rows(order, found, job=job, grid=grid, is_overtime=order.order_id in calls)
        else:
            left.append((order, job))
    unplanned = []
    if left:
        beyond = _beyond([job for _, job in left], site=site, grid=grid)
        missing = Missing(site, grid, table, beyond)
        unplanned = [missing.explain(order, job=job, wait=waits.get(order.order_id)) for order, job in left]
    return Plan(_assignments_table(rows), _unplanned_table(unplanned), float(objective), gap, status, len(known))


def _place(
    jobs: list[Job], *, table: Timetable, previous: dict[str, Place], grid: Grid, seed: int, time_limit_s: float
) -> tuple[dict[str, Place], int, float, Status]:
    """Places for the jobs that a shift within the horizon may hold: in turn first, then improved as said above, the gaps filled."""
    deadline = time.monotonic() + time_limit_s
    possible = [j for j in jobs if table.soonest(j)]
    stood = {j.order_id: previous[j.order_id] for j in possible if j.order_id in previous}
    problem = Problem(possible, table, stood, grid.horizon, grid.day)
    placed = _best_of_turns(problem, [possible, sorted(possible, key=lambda j: (-j.weight / j.length, j.order_id))])
    bound: float = problem.bound()
    if len(possible) > WHOLE and problem.cost(placed) > bound and time_limit_s > 0:
        searched = search if len(possible) > MANY else _search_small
        placed, priced = searched(problem, placed=placed, seed=seed, time_limit_s=deadline - time.monotonic())
        bound = max(bound, priced)
    if len(possible) <= MANY and problem.cost(placed) > bound:
        enough = bound / (1 - GAP_ENOUGH)
        placed, proven = improve(problem, placed=placed, enough=enough, seed=seed, time_limit_s=deadline - time.monotonic())
        bound = max(bound, proven)
    left = [j for j in possible if j.order_id not in placed]
    placed = {**placed, **place_in_turn(left, table=table.copy().book_all(possible, placed=placed), previous={})}
    objective = problem.cost(placed)
    if len(possible) <= WHOLE and objective > bound:
        bound = max(bound, price(problem, best=objective).cost)
    gap = max(0.0, (objective - bound) / objective) if objective else 0.0
    return placed, objective, gap, "feasible" if gap > 0 else "optimal"


def _search_small(problem: Problem, *, placed: Mapping[str, Place], seed: int, time_limit_s: float) -> tuple[dict[str, Place], float]:
    """As `ml.halves.search`, in this process alone, and content with GAP_ENOUGH."""
    deadline = time.monotonic() + time_limit_s
    priced = price(problem, best=problem.cost(placed), time_limit_s=time_limit_s)
    liked = sorted(problem.jobs, key=lambda j: (priced.starts[j.order_id], -j.weight, j.order_id))
    best = min((dict(placed), place_by_price(problem, priced), _best_of_turns(problem, [liked])), key=problem.cost)
    enough = max(priced.cost, problem.bound()) / (1 - GAP_ENOUGH)
    found = reinsert(
        problem,
        placed=best,
        enough=enough,
        seed=seed,
        time_limit_s=deadline - time.monotonic(),
        steps_per_job=SMALL_STEPS_PER_JOB,
        stretch=SMALL_STRETCH,
    )
    return found.best, priced.cost


def _best_of_turns(problem: Problem, turns: Sequence[Sequence[Job]]) -> dict[str, Place]:
    """The cheapest plan of those that place the jobs in these turns; among equals the first."""
    return min((place_in_turn(turn, table=problem.table.copy(), previous=problem.previous) for turn in turns), key=problem.cost)


def _table(kept: list[Assignment], *, orders: list[Order], site: Site, grid: Grid) -> Timetable:
    """The site's calendar, with the locked work booked."""
    table = Timetable(calendar_of(site, grid=grid), grid.minutes, site.travel_minutes)
    machines = {o.order_id: o.machine_id for o in orders}
    areas = {m.machine_id: m.area for m in site.machines}
    for row in kept:
        start, end = grid.floor(row.start_at), grid.ceil(row.end_at)
        machine_id = machines.get(row.order_id)
        spare_min = (grid.at(end) - row.end_at) / pd.Timedelta(minutes=1)
        for technician_id in row.technicians:
            booking = Booking(start, end, areas.get(machine_id or "", "main"), spare_min)
            table.by_technician.setdefault(technician_id, []).append(booking)
        if machine_id is not None:
            table.by_machine.setdefault(machine_id, []).append((start, end))
    return table


def _beyond(jobs: list[Job], *, site: Site, grid: Grid) -> Timetable:
    """An empty timetable that reaches far enough to look for an alternative to the horizon."""
    waits = max(0, *(job.earliest - grid.horizon for job in jobs), 0)
    longer = replace(grid, horizon=grid.horizon + waits + LOOK_BEYOND_DAYS * grid.day)
    return Timetable(calendar_of(site, grid=longer), grid.minutes, site.travel_minutes)


def _rows(order: Order, place: Place, *, job: Job, grid: Grid, is_overtime: bool) -> list[_Row]:
    begins, ends = grid.at(place.start), grid.at(place.end) - pd.Timedelta(minutes=job.spare_min)
    is_late = order.due_at is not None and ends > order.due_at
    return [(order.order_id, technician_id, begins, ends, is_overtime, is_late) for technician_id in place.technicians]


def _kept_rows(kept: list[Assignment], *, orders: list[Order]) -> list[_Row]:
    due = {o.order_id: o.due_at for o in orders}
    rows = []
    for row in kept:
        due_at = due.get(row.order_id)
        is_late = due_at is not None and row.end_at > due_at
        rows += [(row.order_id, t, row.start_at, row.end_at, row.is_overtime, is_late) for t in row.technicians]
    return rows


def _assignments_table(rows: list[_Row]) -> pd.DataFrame:
    names = ["order_id", "technician_id", "start_at", "end_at", "is_overtime", "is_late"]
    kinds = ["str", "str", "datetime64[us, UTC]", "datetime64[us, UTC]", "bool", "bool"]
    in_turn = sorted(rows, key=lambda r: (r[2], r[1], r[0]))
    return pd.DataFrame(in_turn, columns=names).astype(dict(zip(names, kinds, strict=True)))


def _unplanned_table(found: list[Shortfall]) -> pd.DataFrame:
    names = ["order_id", "reason", "earliest_alternative", "smallest_change"]
    table = pd.DataFrame([(s.order_id, s.reason, s.earliest_alternative, s.smallest_change) for s in found], columns=names)
    return table.astype({"order_id": "str", "reason": "str", "earliest_alternative": "datetime64[us, UTC]", "smallest_change": "str"})
