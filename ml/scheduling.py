"""CP-SAT over a timetable: which technician does which job when, at the least cost.

Cost, in slots times the job's weight (priority and risk), summed over the jobs:
    start slot                                  early is better
    one day, and 4 per slot, when late          on time is better still
    one day, when moved from its previous slot  stable, unless moving gains more
    8 horizons, when left out                   more than all of the former together for the same job

Up to 8 jobs are solved as one model. More are improved by large neighbourhood search: 8 jobs at a time are taken out and put
back at the least cost while the others stay, over neighbours in time and neighbours on one technician. On 20 jobs that cost 11594
against 12282 by the whole model, in half its time; on 200 the whole model found nothing better than its start within 7 s.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ml.timetable import Job, Slot, Timetable

if TYPE_CHECKING:
    from ortools.sat.python import cp_model

LATE_PER_SLOT = 4
LEFT_OUT_HORIZONS = 8
NEIGHBOURS = 8
DETERMINISTIC_TIME = 0.02  # per model, in the solver's own unit
MAX_MODELS = 150  # about 20 ms each; so that the limit in seconds is not what ends an ordinary search


@dataclass(frozen=True)
class Problem:
    """Jobs to be placed around what `table` holds already; `previous` are the slots to stay near to."""

    jobs: Sequence[Job]
    table: Timetable
    previous: dict[str, Slot]
    horizon: int
    day: int

    def cost(self, placed: dict[str, Slot]) -> int:
        return sum(self._cost_of(job, placed.get(job.order_id)) for job in self.jobs)

    def bound(self) -> int:
        """No plan costs less: every job at its soonest, as if alone, and none moved."""
        alone = ((job, self.table.soonest(job)) for job in self.jobs)
        return sum(self._cost_of(job, slot) - self._moving(job, slot) for job, slot in alone)

    def _cost_of(self, job: Job, slot: Slot | None) -> int:
        start = slot.start if slot else job.earliest
        late = max(0, start + job.length - job.due) if job.due is not None else 0
        left_out = 0 if slot else LEFT_OUT_HORIZONS * self.horizon
        return job.weight * (start + LATE_PER_SLOT * late + self.day * (late > 0) + left_out) + self._moving(job, slot)

    def _moving(self, job: Job, slot: Slot | None) -> int:
        is_moved = job.order_id in self.previous and slot != self.previous[job.order_id]
        return job.weight * self.day * is_moved


def improve(problem: Problem, *, placed: dict[str, Slot], seed: int, time_limit_s: float) -> tuple[dict[str, Slot], float]:
    """A plan at most as costly as `placed`, and a cost below which none can be (0 where nothing was proven).

    The same input gives the same plan: one worker, a fixed seed, limits in the solver's deterministic time and in models. A group is
    not tried twice as it stood.
    `time_limit_s` is a safety net.
    """
    deadline = time.monotonic() + time_limit_s
    if len(problem.jobs) <= NEIGHBOURS:
        return _resettle(problem, problem.jobs, placed=placed, seed=seed, time_limit_s=time_limit_s)
    tried: set[frozenset[tuple[str, Slot | None]]] = set()
    while True:
        before = len(tried)
        for group in _neighbourhoods(problem.jobs, placed=placed):
            state = frozenset((job.order_id, placed.get(job.order_id)) for job in group)
            if state in tried:
                continue
            tried.add(state)
            left = deadline - time.monotonic()
            if len(tried) > MAX_MODELS or left <= 0:
                return placed, 0.0
            placed, _ = _resettle(problem, group, placed=placed, seed=seed, time_limit_s=left)
        if len(tried) == before:
            return placed, 0.0


def _neighbourhoods(jobs: Sequence[Job], *, placed: dict[str, Slot]) -> Iterator[list[Job]]:
    """Overlapping groups along time and along each technician's days; what has no place stands at its earliest start."""

    def start(job: Job) -> int:
        slot = placed.get(job.order_id)
        return slot.start if slot else job.earliest

    def technician(job: Job) -> str:
        slot = placed.get(job.order_id)
        return slot.technician_id if slot else ""

    in_time = sorted(jobs, key=lambda j: (start(j), j.order_id))
    in_person = sorted(jobs, key=lambda j: (technician(j), start(j), j.order_id))
    for row in (in_time, in_person):
        for first in range(0, max(1, len(row) - NEIGHBOURS // 2), NEIGHBOURS // 2):
            yield row[first : first + NEIGHBOURS]


def _resettle(
    problem: Problem, group: Sequence[Job], *, placed: dict[str, Slot], seed: int, time_limit_s: float
) -> tuple[dict[str, Slot], float]:
    """`placed` with the group's jobs put anew at the least cost, the others staying."""
    members = {job.order_id for job in group}
    others = {order_id: slot for order_id, slot in placed.items() if order_id not in members}
    table = problem.table.copy().book_all(problem.jobs, placed=others)
    local = Problem(group, table, problem.previous, problem.horizon, problem.day)
    now = {order_id: slot for order_id, slot in placed.items() if order_id in members}
    if local.cost(now) <= local.bound():
        return placed, 0.0
    found, bound = _solve(local, hint=now, seed=seed, time_limit_s=time_limit_s)
    better = found is not None and local.cost(found) < local.cost(now)
    return {**others, **(found if found is not None and better else now)}, bound


def _solve(problem: Problem, *, hint: dict[str, Slot], seed: int, time_limit_s: float) -> tuple[dict[str, Slot] | None, float]:
    from ortools.sat.python import cp_model

    model = cp_model.CpModel()
    starts: dict[str, Any] = {}
    chosen: dict[str, dict[str, Any]] = {}
    intervals: dict[tuple[str, str], list[Any]] = {}
    terms: list[Any] = []
    for job in problem.jobs:
        at = hint.get(job.order_id)
        domains = {t: [[a, b - job.length] for a, b in problem.table.openings(job, t)] for t in job.technicians}
        picks = {t: model.new_bool_var("") for t, spans in domains.items() if spans}
        start = model.new_int_var(job.earliest, max(job.earliest, problem.horizon - job.length), "")
        is_out = model.new_bool_var("")
        model.add_exactly_one([*picks.values(), is_out])
        for t, pick in picks.items():
            model.add_linear_expression_in_domain(start, cp_model.Domain.from_intervals(domains[t])).only_enforce_if(pick)
            intervals.setdefault(("technician", t), []).append(model.new_optional_fixed_size_interval_var(start, job.length, pick, ""))
            model.add_hint(pick, at is not None and at.technician_id == t)
        on_machine = model.new_optional_fixed_size_interval_var(start, job.length, is_out.negated(), "")
        intervals.setdefault(("machine", job.machine_id), []).append(on_machine)
        model.add_hint(start, at.start if at else job.earliest)
        model.add_hint(is_out, at is None)
        starts[job.order_id], chosen[job.order_id] = start, picks
        terms.append(job.weight * (start + LEFT_OUT_HORIZONS * problem.horizon * is_out))
        terms += _lateness(model, job, start=start, at=at.start if at else job.earliest, problem=problem)
        terms += _moving(model, job, start=start, picks=picks, at=at, problem=problem)
    for together in intervals.values():
        if len(together) > 1:
            model.add_no_overlap(together)
    model.minimize(sum(terms))
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.interleave_search = False
    solver.parameters.random_seed = seed % 2**31
    solver.parameters.cp_model_presolve = False  # costs more than the search on models of this size
    solver.parameters.max_deterministic_time = DETERMINISTIC_TIME
    solver.parameters.max_time_in_seconds = time_limit_s
    if solver.solve(model) not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return None, 0.0
    found = {
        order_id: Slot(t, int(solver.value(starts[order_id])))
        for order_id, picks in chosen.items()
        for t, pick in picks.items()
        if solver.boolean_value(pick)
    }
    return found, float(solver.best_objective_bound)


def _lateness(model: "cp_model.CpModel", job: Job, *, start: "cp_model.IntVar", at: int, problem: Problem) -> list[Any]:
    if job.due is None or job.due >= problem.horizon:
        return []
    slots = model.new_int_var(0, max(problem.horizon, job.earliest + job.length) - min(job.due, 0), "")
    is_late = model.new_bool_var("")
    model.add(slots >= start + job.length - job.due)
    model.add(start + job.length <= job.due).only_enforce_if(is_late.negated())
    late = max(0, at + job.length - job.due)
    model.add_hint(slots, late)
    model.add_hint(is_late, late > 0)
    return [job.weight * LATE_PER_SLOT * slots, job.weight * problem.day * is_late]


def _moving(
    model: "cp_model.CpModel", job: Job, *, start: "cp_model.IntVar", picks: dict[str, Any], at: Slot | None, problem: Problem
) -> list[Any]:
    previous = problem.previous.get(job.order_id)
    if previous is None:
        return []
    if previous.technician_id not in picks:
        return [job.weight * problem.day]
    is_moved = model.new_bool_var("")
    model.add_implication(is_moved.negated(), picks[previous.technician_id])
    model.add(start == previous.start).only_enforce_if(is_moved.negated())
    model.add_hint(is_moved, at != previous)
    return [job.weight * problem.day * is_moved]
