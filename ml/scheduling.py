"""What a plan costs, and CP-SAT over a timetable: which crew does which job when, at the least cost.

Cost, in slots times the job's weight (priority and risk), summed over the jobs:
    start slot                                  early is better
    one day, and 4 per slot, when late          on time is better still
    one day, when moved from its previous place stable, unless moving gains more
    8 horizons, when left out                   more than all of the former together for the same job

Up to 8 jobs are solved as one model, whose bound is the solver's. More are improved by large neighbourhood search: 10 jobs at a time
are taken out and put back at the least cost while the others stay: a job and its rivals in time, and neighbours on one technician. It
comes after `ml.reinsertion`, whose steps are cheaper, and for up to 100 jobs only: on 500 that were improved so already, 150 models in
25 s gained 0.01 %. The bound of such plans is that of `ml.pricing`.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from ml.timetable import Job, Place, Slots, Timetable

LATE_PER_SLOT = 4
LEFT_OUT_HORIZONS = 8
WHOLE = 8  # jobs that are one model
NEIGHBOURS = 10
CHOICES = 24  # crews of one job in a model; of more, those that could begin first
DETERMINISTIC_TIME = 0.05  # per model, in the solver's own unit
MAX_MODELS = 150  # so that the limit in seconds is not what ends an ordinary search


@dataclass(frozen=True)
class Problem:
    """Jobs to be placed around what `table` holds already; `previous` are the places to stay near to."""

    jobs: Sequence[Job]
    table: Timetable
    previous: Mapping[str, Place]
    horizon: int
    day: int

    def cost(self, placed: Mapping[str, Place]) -> int:
        return sum(self.cost_of(job, placed.get(job.order_id)) for job in self.jobs)

    def bound(self) -> int:
        """No plan costs less: every job at its soonest, as if alone, and none moved."""
        alone = ((job, self.table.soonest(job)) for job in self.jobs)
        return sum(self.cost_of(job, place) - self._moving(job, place) for job, place in alone)

    def cost_of(self, job: Job, place: Place | None) -> int:
        start, end = (place.start, place.end) if place else (job.earliest, job.earliest + job.length)
        late = max(0, end - job.due) if job.due is not None else 0
        left_out = 0 if place else LEFT_OUT_HORIZONS * self.horizon
        return job.weight * (start + LATE_PER_SLOT * late + self.day * (late > 0) + left_out) + self._moving(job, place)

    def _moving(self, job: Job, place: Place | None) -> int:
        is_moved = job.order_id in self.previous and place != self.previous[job.order_id]
        return job.weight * self.day * is_moved


class Choice(NamedTuple):
    """A crew that does the job in so many slots, and where it could begin: from, to (inclusive), from, to, ..."""

    technicians: tuple[str, ...]
    elapsed: int
    starts: list[list[int]]


def improve(problem: Problem, *, placed: dict[str, Place], enough: float, seed: int, time_limit_s: float) -> tuple[dict[str, Place], float]:
    """A plan at most as costly as `placed`, and a cost below which none can be (0 where nothing was proven).

    `enough` is a cost to be content with. The same input gives the same plan: one worker, a fixed seed, limits in the solver's
    deterministic time and in models. A group is not tried twice as it stood. `time_limit_s` is a safety net: only a search that it
    ends could end elsewhere another time.
    """
    deadline = time.monotonic() + time_limit_s
    table = problem.table.copy().book_all(problem.jobs, placed=placed)
    if len(problem.jobs) <= WHOLE:
        return _resettle(problem, problem.jobs, placed=placed, table=table, seed=seed, time_limit_s=time_limit_s)
    alone = {job.order_id: problem.cost_of(job, problem.table.soonest(job)) for job in problem.jobs}
    cost = problem.cost(placed)
    tried: set[frozenset[tuple[str, Place | None]]] = set()
    while True:
        before = len(tried)
        for group in _neighbourhoods(problem, placed=placed, alone=alone):
            state = frozenset((job.order_id, placed.get(job.order_id)) for job in group)
            if state in tried:
                continue
            tried.add(state)
            left = deadline - time.monotonic()
            if len(tried) > MAX_MODELS or left <= 0 or cost <= enough:
                return placed, 0.0
            placed, _ = _resettle(problem, group, placed=placed, table=table, seed=seed, time_limit_s=left)
            cost = problem.cost(placed)
        if len(tried) == before:
            return placed, 0.0


def _neighbourhoods(problem: Problem, *, placed: Mapping[str, Place], alone: Mapping[str, int]) -> Iterator[list[Job]]:
    """For each job that waits, the dearest wait first, those beside it in time that somebody who could do it, too, is busy with; and
    each technician's jobs in a row. What has no place stands at its earliest start. `alone`: what each job costs by itself."""
    jobs = list(problem.jobs)
    starts = {j.order_id: placed[j.order_id].start if j.order_id in placed else j.earliest for j in jobs}
    able = {j.order_id: {t for role in j.roles for t in role} for j in jobs}
    busy = {j.order_id: set(placed[j.order_id].technicians) if j.order_id in placed else able[j.order_id] for j in jobs}
    waits = {j.order_id: problem.cost_of(j, placed.get(j.order_id)) - alone[j.order_id] for j in jobs}
    for job in sorted((j for j in jobs if waits[j.order_id] > 0), key=lambda j: (-waits[j.order_id], j.order_id)):
        rivals = [j for j in jobs if j is not job and (busy[j.order_id] & able[job.order_id] or j.machine_id == job.machine_id)]
        rivals.sort(key=lambda j: (abs(starts[j.order_id] - starts[job.order_id]), j.order_id))
        yield [job, *rivals[: NEIGHBOURS - 1]]
    in_person = sorted(jobs, key=lambda j: (sorted(busy[j.order_id]), starts[j.order_id], j.order_id))
    for first in range(0, max(1, len(jobs) - NEIGHBOURS // 2), NEIGHBOURS // 2):
        yield in_person[first : first + NEIGHBOURS]


def _resettle(
    problem: Problem, group: Sequence[Job], *, placed: dict[str, Place], table: Timetable, seed: int, time_limit_s: float
) -> tuple[dict[str, Place], float]:
    """`placed` with the group's jobs put anew at the least cost, the others staying; `table` holds the plan, before and after."""
    now = {job.order_id: placed[job.order_id] for job in group if job.order_id in placed}
    for job in group:
        if job.order_id in now:
            table.release(job, now[job.order_id])
    local = Problem(group, table, problem.previous, problem.horizon, problem.day)
    best, bound = now, 0.0
    if local.cost(now) > local.bound():
        found, bound = _Model(local, hint=now).solve(seed=seed, time_limit_s=time_limit_s)
        if found is not None and local.cost(found) < local.cost(now):
            best = found
    table.book_all(group, placed=best)
    if best is now:
        return placed, bound
    members = {job.order_id for job in group}
    return {**{order_id: place for order_id, place in placed.items() if order_id not in members}, **best}, bound


class _Model:
    """The jobs' starts, and one optional interval per job, crew and time it takes; nobody and no machine in two of them at once."""

    def __init__(self, problem: Problem, *, hint: Mapping[str, Place]) -> None:
        from ortools.sat.python import cp_model

        self.problem, self.hint, self.cp = problem, hint, cp_model
        self.model = cp_model.CpModel()
        self.starts: dict[str, Any] = {}
        self.picks: dict[str, list[tuple[Choice, Any]]] = {}
        self.ends: dict[str, Any] = {}
        self.terms: list[Any] = []
        self.is_whole = True  # every crew of every job is in it
        for job in problem.jobs:
            self._add(job)
        self._keep_apart()
        for one, other in combinations(problem.jobs, 2):
            self._let_travel(one, other)
        self.model.minimize(sum(self.terms))

    def solve(self, *, seed: int, time_limit_s: float) -> tuple[dict[str, Place] | None, float]:
        solver = self.cp.CpSolver()
        solver.parameters.num_workers = 1
        solver.parameters.interleave_search = False
        solver.parameters.random_seed = seed % 2**31
        solver.parameters.cp_model_presolve = False  # costs more than the search on models of this size
        solver.parameters.max_deterministic_time = DETERMINISTIC_TIME
        solver.parameters.max_time_in_seconds = time_limit_s
        if solver.solve(self.model) not in (self.cp.OPTIMAL, self.cp.FEASIBLE):
            return None, 0.0
        found = {}
        for order_id, picks in self.picks.items():
            for choice, pick in picks:
                if solver.boolean_value(pick):
                    start = int(solver.value(self.starts[order_id]))
                    found[order_id] = Place(choice.technicians, start, start + choice.elapsed)
        return found, float(solver.best_objective_bound) if self.is_whole else 0.0

    def _add(self, job: Job) -> None:
        model, at = self.model, self.hint.get(job.order_id)
        choices, is_whole = _choices(job, table=self.problem.table, keep=(at, self.problem.previous.get(job.order_id)))
        self.is_whole &= is_whole and not job.is_narrowed
        latest = max([job.earliest, *(choice.starts[-1][1] for choice in choices)])
        start, is_out = model.new_int_var(job.earliest, latest, ""), model.new_bool_var("")
        picks = [(choice, model.new_bool_var("")) for choice in choices]
        model.add_exactly_one([*(pick for _, pick in picks), is_out])
        for choice, pick in picks:
            model.add_linear_expression_in_domain(start, self.cp.Domain.from_intervals(choice.starts)).only_enforce_if(pick)
            is_hinted = at is not None and (at.technicians, at.end - at.start) == (choice.technicians, choice.elapsed)
            model.add_hint(pick, is_hinted)
        model.add_hint(start, at.start if at else job.earliest)
        model.add_hint(is_out, at is None)
        end = start + sum(choice.elapsed * pick for choice, pick in picks) + job.length * is_out
        self.starts[job.order_id], self.picks[job.order_id], self.ends[job.order_id] = start, picks, end
        self.terms.append(job.weight * (start + LEFT_OUT_HORIZONS * self.problem.horizon * is_out))
        self._cost_lateness(job, at=at)
        self._cost_moving(job, at=at)

    def _keep_apart(self) -> None:
        together: dict[tuple[str, str], list[Any]] = {}
        for job in self.problem.jobs:
            for choice, pick in self.picks[job.order_id]:
                interval = self.model.new_optional_fixed_size_interval_var(self.starts[job.order_id], choice.elapsed, pick, "")
                for key in (("machine", job.machine_id), *(("technician", t) for t in choice.technicians)):
                    together.setdefault(key, []).append(interval)
        for intervals in together.values():
            if len(intervals) > 1:
                self.model.add_no_overlap(intervals)

    def _let_travel(self, one: Job, other: Job) -> None:
        """Time to travel between the two jobs, whoever of the same people does both."""
        table, model = self.problem.table, self.model
        minutes = table.travel_minutes(one.area, other.area)
        after_one, after_other = table.slots(minutes, one.spare_min), table.slots(minutes, other.spare_min)
        shared = sorted(self._people(one) & self._people(other))
        if not (after_one or after_other) or not shared:
            return
        is_shared, is_first = model.new_bool_var(""), model.new_bool_var("")
        at, then = self.hint.get(one.order_id), self.hint.get(other.order_id)
        model.add_hint(is_shared, bool(at and then and set(at.technicians) & set(then.technicians)))
        model.add_hint(is_first, not then or (at is not None and at.start < then.start))
        for t in shared:
            both = [pick for job in (one, other) for choice, pick in self.picks[job.order_id] if t in choice.technicians]
            model.add(sum(both) <= 1 + is_shared)
        model.add(self.starts[other.order_id] >= self.ends[one.order_id] + after_one).only_enforce_if(is_shared, is_first)
        model.add(self.starts[one.order_id] >= self.ends[other.order_id] + after_other).only_enforce_if(is_shared, is_first.negated())

    def _people(self, job: Job) -> set[str]:
        return {t for choice, _ in self.picks[job.order_id] for t in choice.technicians}

    def _cost_lateness(self, job: Job, *, at: Place | None) -> None:
        if job.due is None or job.due >= self.problem.horizon:
            return
        slots = self.model.new_int_var(0, max(self.problem.horizon, job.earliest + job.length) - min(job.due, 0), "")
        is_late = self.model.new_bool_var("")
        end = self.ends[job.order_id]
        self.model.add(slots >= end - job.due)
        self.model.add(end <= job.due).only_enforce_if(is_late.negated())
        late = max(0, (at.end if at else job.earliest + job.length) - job.due)
        self.model.add_hint(slots, late)
        self.model.add_hint(is_late, late > 0)
        self.terms += [job.weight * LATE_PER_SLOT * slots, job.weight * self.problem.day * is_late]

    def _cost_moving(self, job: Job, *, at: Place | None) -> None:
        previous = self.problem.previous.get(job.order_id)
        if previous is None:
            return
        stays = [
            pick
            for choice, pick in self.picks[job.order_id]
            if (choice.technicians, choice.elapsed) == (previous.technicians, previous.end - previous.start)
        ]
        if not stays:
            self.terms.append(job.weight * self.problem.day)
            return
        is_moved = self.model.new_bool_var("")
        self.model.add_implication(is_moved.negated(), stays[0])
        self.model.add(self.starts[job.order_id] == previous.start).only_enforce_if(is_moved.negated())
        self.model.add_hint(is_moved, at != previous)
        self.terms.append(job.weight * self.problem.day * is_moved)


def _choices(job: Job, *, table: Timetable, keep: tuple[Place | None, ...]) -> tuple[list[Choice], bool]:
    """The crews that have room for the job; all of them, or the CHOICES that could begin first and those of `keep`."""
    kept = {place.technicians for place in keep if place}
    free: list[tuple[tuple[str, ...], Slots, Slots]] = []
    hopeful = table.hopeful(job)
    if len(job.roles) > 1:
        hopeful.sort(key=lambda found: (job.crews[found[1]] not in kept, *found))
    for _, n in hopeful:
        starts, ends = table.places(job, job.crews[n])
        if len(starts):
            free.append((job.crews[n], starts, ends))
        if len(free) > CHOICES and len(job.roles) > 1:
            break
    is_whole = len(free) <= CHOICES
    if not is_whole:
        soonest = sorted(range(len(free)), key=lambda n: (free[n][0] not in kept, int(free[n][1][0]), n))
        free = [free[n] for n in sorted(soonest[:CHOICES])]
    choices = []
    for technicians, starts, ends in free:
        elapsed = ends - starts
        choices += [Choice(technicians, int(n), _runs(starts[elapsed == n])) for n in np.unique(elapsed)]
    return choices, is_whole


def _runs(slots: Slots) -> list[list[int]]:
    """First and last of each run of neighbouring slots."""
    cuts = np.flatnonzero(np.diff(slots) > 1) + 1
    return [[int(run[0]), int(run[-1])] for run in np.split(slots, cuts)]
