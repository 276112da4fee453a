"""A cost that no plan can go below: Lagrangian relaxation of a time-indexed model.

Every slot of every technician (alike ones taken together) and of every machine with several jobs has a price. Each job then takes
its cheapest place for itself: cost plus the prices of the slots that it occupies. For any prices of at least 0,

    sum over jobs of the cheapest place - sum over slots of price x capacity

is at most the cost of the best plan (weak duality). The prices are found by subgradient steps (Polyak's length, averaged
directions as in the volume algorithm: Barahona and Anbil 2000, Mathematical Programming 87). Relaxed beside double-booking: travel
between jobs that are not yet placed, that a crew are different people, and that the breaks of one hold up the others.
The result also says where each job would like to begin, which is a good turn to place the jobs in.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ml.scheduling import LATE_PER_SLOT, Problem
from ml.timetable import Job, Place, Slots

Numbers = npt.NDArray[np.float64]
STEPS = 1500
PATIENCE = 30  # steps without a better bound before they are halved
SHORTEST = 1e-3
AVERAGING = 0.3  # weight of the newest subgradient in the direction


@dataclass(frozen=True)
class Bound:
    """No plan costs less than `cost`; prices: technician_id -> running sum of the prices behind it; starts: where each job began then."""

    cost: int
    prices: Mapping[str, Numbers]
    starts: Mapping[str, float]


@dataclass(frozen=True)
class _Role:
    """Places of one of a job's crew: `at` indexes the job's starts, ascending; from and to are positions in the running sum of prices."""

    at: Slots
    first: Slots  # of `at`, where each start's places begin, and the end
    begins: Slots
    ends: Slots


@dataclass
class _JobPlaces:
    """`reach`: so many starts are looked at, unless a later one could be cheaper."""

    starts: Slots
    floor: Numbers  # per start: what it costs at least, whatever the prices
    costs: Numbers  # per place of the first role
    roles: tuple[_Role, ...]
    of_machine: tuple[Slots, Slots] | None  # per place of the first role
    out: float
    reach: int = 64


def bound(problem: Problem, *, best: float, enough: float = 0.005, steps: int = STEPS, time_limit_s: float = math.inf) -> Bound:
    """`best` is the cost of a known plan; the steps end when the gap to it is at most the share `enough`, or at the limit in seconds."""
    deadline = time.monotonic() + time_limit_s
    relaxed = _Relaxed(problem)
    prices, centre = np.zeros(relaxed.n_slots), np.zeros(relaxed.n_slots)
    direction: Numbers | None = None
    highest, length, since = -math.inf, 1.0, 0
    liked = np.zeros(len(problem.jobs))
    for _ in range(steps):
        value, excess, starts = relaxed.at(prices)
        if value > highest + 1e-9:
            highest, centre, since, liked = value, prices, 0, starts
        else:
            since += 1
            length = length / 2 if since % PATIENCE == 0 else length
        if best - highest <= enough * best or length < SHORTEST or time.monotonic() >= deadline:
            break
        excess[(prices <= 0) & (excess < 0)] = 0  # a price of 0 cannot fall
        direction = excess if direction is None else AVERAGING * excess + (1 - AVERAGING) * direction
        norm = float(np.square(direction).sum())
        if norm == 0:
            break
        base = centre if since and since % PATIENCE == 0 else prices
        prices = np.maximum(0.0, base + length * (best - value) / norm * direction)
    running = relaxed.running(centre)
    return Bound(
        math.ceil(highest - 1e-6 - 1e-9 * abs(highest)),
        {t: running[g] for t, g in relaxed.group_of.items()},
        {job.order_id: float(at) for job, at in zip(problem.jobs, liked, strict=True)},
    )


def place_by_price(problem: Problem, priced: Bound) -> dict[str, Place]:
    """A plan: in the turn of the starts that the bound liked, each job where its cost and the prices of its slots are least."""
    table = problem.table.copy()
    placed = {}
    for job in sorted(problem.jobs, key=lambda j: (priced.starts[j.order_id], -j.weight, j.order_id)):
        best: tuple[float, int, Place] | None = None
        for at_least, n in table.hopeful(job):
            if best is not None and job.weight * at_least >= best[0]:
                break
            technicians = job.crews[n]
            starts, ends = table.places(job, technicians)
            if not len(starts):
                continue
            value = _costs(problem, job, starts, ends, technicians)
            for t in technicians:
                value += priced.prices[t][ends] - priced.prices[t][starts]
            k = int(value.argmin())
            if best is None or (float(value[k]), n) < best[:2]:
                best = float(value[k]), n, Place(technicians, int(starts[k]), int(ends[k]))
        if best is not None and best[0] < problem.cost_of(job, None):
            placed[job.order_id] = best[2]
            table.book(job, best[2])
    return placed


class _Relaxed:
    """The jobs' places as arrays over one row of slots: of each group of alike technicians, then of each machine with several jobs."""

    def __init__(self, problem: Problem) -> None:
        self.problem, width = problem, problem.horizon + 1
        groups: dict[tuple[bytes, ...], list[str]] = {}
        calendar = problem.table.calendar
        membership: dict[str, list[tuple[int, int]]] = {}
        for n, job in enumerate(problem.jobs):
            for r, able in enumerate(job.roles):
                for t in able:
                    membership.setdefault(t, []).append((n, r))
        for t, of in sorted(membership.items()):
            booked = repr(sorted(problem.table.by_technician.get(t, []))).encode()
            key = (calendar.works[t].tobytes(), calendar.shift[t].tobytes(), booked, repr(of).encode())
            groups.setdefault(key, []).append(t)
        self.groups = list(groups.values())
        self.group_of = {t: g for g, people in enumerate(self.groups) for t in people}
        machines = [job.machine_id for job in problem.jobs]
        shared = [m for m in dict.fromkeys(machines) if machines.count(m) > 1]
        self.machine_rows = {m: len(self.groups) + n for n, m in enumerate(shared)}
        self.n_rows, self.width = len(self.groups) + len(shared), width
        self.n_slots = self.n_rows * problem.horizon
        self.capacity = np.ones(self.n_rows)
        self.capacity[: len(self.groups)] = [len(people) for people in self.groups]
        self.jobs = [self._places(job) for job in problem.jobs]

    def running(self, prices: Numbers) -> Numbers:
        """Per row the sum of the prices before each slot."""
        running = np.zeros((self.n_rows, self.width))
        np.cumsum(prices.reshape(self.n_rows, -1), axis=1, out=running[:, 1:])
        return running

    def at(self, prices: Numbers) -> tuple[float, Numbers, Numbers]:
        """The bound at these prices, its subgradient, and where each job begins."""
        running = self.running(prices)
        flat = running.ravel()
        change = np.zeros(self.n_rows * self.width)
        value = -float((self.capacity * running[:, -1]).sum())
        begins = np.empty(len(self.jobs))
        for n, places in enumerate(self.jobs):
            cheapest, at, chosen = _cheapest(places, flat)
            value += cheapest
            begins[n] = self.problem.horizon if at < 0 else places.starts[at]
            for begin, end in chosen:
                change[begin] += 1
                change[end] -= 1
        used = np.cumsum(change.reshape(self.n_rows, self.width), axis=1)[:, :-1]
        return value, (used - self.capacity[:, None]).ravel(), begins

    def _places(self, job: Job) -> _JobPlaces:
        problem, table = self.problem, self.problem.table
        width = self.width
        per_role = []
        for able in job.roles:
            rows = list(dict.fromkeys(self.group_of[t] for t in able))
            found = [table.places(job, (self.groups[g][0],)) for g in rows]
            starts = np.concatenate([s for s, _ in found]) if found else np.empty(0, np.int64)
            ends = np.concatenate([e for _, e in found]) if found else np.empty(0, np.int64)
            row = np.repeat(np.array(rows, dtype=np.int64), [len(s) for s, _ in found])
            per_role.append((starts, ends, row))
        common = per_role[0][0]
        for starts, _, _ in per_role[1:]:
            common = np.intersect1d(common, starts)
        common = np.unique(common)
        roles = []
        costs, machine = np.empty(0), None
        for n, (starts, ends, row) in enumerate(per_role):
            order = np.argsort(starts, kind="stable")
            order = order[np.isin(starts[order], common)]
            begins, finishes, of_row = starts[order], ends[order], row[order] * width
            at = np.searchsorted(common, begins)
            roles.append(_Role(at, np.searchsorted(at, np.arange(len(common) + 1)), of_row + begins, of_row + finishes))
            if n == 0:
                costs = _costs(problem, job, begins, finishes, None)
                if job.machine_id in self.machine_rows:
                    of_machine = self.machine_rows[job.machine_id] * width
                    machine = of_machine + begins, of_machine + finishes
        floor = job.weight * common.astype(np.float64)
        return _JobPlaces(common, floor, costs, tuple(roles), machine, float(problem.cost_of(job, None)))


def _costs(problem: Problem, job: Job, starts: Slots, ends: Slots, technicians: tuple[str, ...] | None) -> Numbers:
    """What the places cost; without technicians as if they were the previous ones."""
    late = np.maximum(0, ends - job.due) if job.due is not None else np.zeros(len(starts), np.int64)
    cost = job.weight * (starts + LATE_PER_SLOT * late + problem.day * (late > 0))
    previous = problem.previous.get(job.order_id)
    if previous is not None:
        is_same = starts == previous.start if technicians in (None, previous.technicians) else np.zeros(len(starts), dtype=bool)
        cost = cost + job.weight * problem.day * ~is_same
    return cost.astype(np.float64)


def _cheapest(places: _JobPlaces, running: Numbers) -> tuple[float, int, list[tuple[int, int]]]:
    """The cost of the cheapest place at these prices, the index of its start (-1: left out), and the slots it takes."""
    n_starts = len(places.starts)
    while True:
        reach = min(places.reach, n_starts)
        cost, at, values = _cheapest_of(places, running, reach=reach)
        if reach == n_starts or min(cost, places.out) <= places.floor[reach]:
            break
        places.reach *= 2
    if cost >= places.out:
        return places.out, -1, []
    chosen = []
    for n, (role, value) in enumerate(zip(places.roles, values, strict=True)):
        first, last = int(role.first[at]), int(role.first[at + 1])
        k = first + int(value[first:last].argmin())
        chosen.append((int(role.begins[k]), int(role.ends[k])))
        if n == 0 and places.of_machine is not None:
            chosen.append((int(places.of_machine[0][k]), int(places.of_machine[1][k])))
    return cost, at, chosen


def _cheapest_of(places: _JobPlaces, running: Numbers, *, reach: int) -> tuple[float, int, list[Numbers]]:
    """Among the first starts: the least cost, the index of its start, and per role the cost of each place."""
    if not reach:
        return math.inf, -1, []
    values = []
    for n, role in enumerate(places.roles):
        last = int(role.first[reach])
        value = running[role.ends[:last]] - running[role.begins[:last]]
        if n == 0:
            value += places.costs[:last]
            if places.of_machine is not None:
                value += running[places.of_machine[1][:last]] - running[places.of_machine[0][:last]]
        values.append(value)
    if len(values) == 1:
        k = int(values[0].argmin())
        return float(values[0][k]), int(places.roles[0].at[k]), values
    total = sum(np.minimum.reduceat(value, role.first[:reach]) for role, value in zip(places.roles, values, strict=True))
    at = int(np.argmin(total))
    return float(np.asarray(total)[at]), at, values
