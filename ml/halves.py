"""The search for a large plan on two cores: one prices the bound while the other searches, then each improves half of the plan.

A half is half of the technicians, drawn anew each round, with the jobs that they do by themselves; what people of both do together
stays for that round. The machines of the others are taken where their jobs stood: two jobs that have come to overlap on one machine are
put apart when the halves come together.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any

from ml.beside import Beside
from ml.pricing import Bound
from ml.pricing import bound as price
from ml.reinsertion import Searched, reinsert
from ml.scheduling import Problem
from ml.timetable import Job, Place, place_in_turn

WHOLE_UNTIL = 0.4  # share of the cooling that one process goes through with the whole plan, while the other prices
ROUNDS = 8
STEPS_PER_JOB = 280


def search(problem: Problem, *, placed: Mapping[str, Place], seed: int, time_limit_s: float) -> tuple[dict[str, Place], float]:
    """A plan at most as costly as `placed`, and a cost below which none is.

    Only a limit in seconds could end it elsewhere: each stretch of the cooling has its share of it, so that a slow machine, too, ends cold.
    """
    deadline = time.monotonic() + time_limit_s
    at_first_s = time_limit_s * WHOLE_UNTIL / (WHOLE_UNTIL + (1 - WHOLE_UNTIL) / 2)
    rng = Random(seed)  # noqa: S311 - a search, no secret
    with Beside() as beside:
        beside.ask(price, problem=problem, best=problem.cost(placed), time_limit_s=at_first_s)
        effort: dict[str, Any] = {"enough": 0, "steps_per_job": STEPS_PER_JOB}
        found = reinsert(problem, placed=placed, seed=seed, time_limit_s=at_first_s, stretch=(0, WHOLE_UNTIL), **effort)
        priced: Bound = beside.result()
        best, last = found
        for n in range(ROUNDS):
            left = (deadline - time.monotonic()) / (ROUNDS - n)
            stretch = WHOLE_UNTIL + (1 - WHOLE_UNTIL) * n / ROUNDS, WHOLE_UNTIL + (1 - WHOLE_UNTIL) * (n + 1) / ROUNDS
            one, other = halves(problem, placed=last, rng=rng)
            seeds = rng.randrange(2**31), rng.randrange(2**31)
            beside.ask(reinsert, problem=other, placed=last, seed=seeds[1], time_limit_s=left, stretch=stretch, **effort)
            mine = reinsert(one, placed=last, seed=seeds[0], time_limit_s=left, stretch=stretch, **effort)
            theirs: Searched = beside.result()
            is_cold = n == ROUNDS - 1
            changed = [(one, mine.best if is_cold else mine.last), (other, theirs.best if is_cold else theirs.last)]
            last = together(problem, placed=last, changed=changed)
            best = min(best, last, key=problem.cost)
    return best, priced.cost


def halves(problem: Problem, *, placed: Mapping[str, Place], rng: Random) -> tuple[Problem, Problem]:
    """Two problems that share neither people nor jobs, around what neither may move; jobs without a place go to the first."""
    people = sorted({t for job in problem.jobs for able in job.roles for t in able})
    rng.shuffle(people)
    sides = [set(people[: math.ceil(len(people) / 2)]), set(people[math.ceil(len(people) / 2) :])]
    found = []
    for n, side in enumerate(sides):
        jobs = []
        for job in problem.jobs:
            place = placed.get(job.order_id)
            if side.issuperset(place.technicians) if place else n == 0:
                jobs.append(_within(job, side))
        own = {job.order_id for job in jobs}
        others = [job for job in problem.jobs if job.order_id not in own]
        table = problem.table.copy().book_all(others, placed=placed)
        found.append(Problem(jobs, table, problem.previous, problem.horizon, problem.day))
    return found[0], found[1]


def together(problem: Problem, *, placed: Mapping[str, Place], changed: Sequence[tuple[Problem, Mapping[str, Place]]]) -> dict[str, Place]:
    """The plan with each half's jobs where that half has put them; what overlaps on a machine goes to its earliest place."""
    table = problem.table.copy()
    moved = {job.order_id: places.get(job.order_id) for half, places in changed for job in half.jobs}
    stays = {job.order_id: place for job in problem.jobs if (place := moved.get(job.order_id, placed.get(job.order_id)))}
    apart: list[Job] = []
    found: dict[str, Place] = {}
    for job in problem.jobs:
        place = stays.get(job.order_id)
        if place is None or any(place.start < end and start < place.end for start, end in table.by_machine.get(job.machine_id, ())):
            apart.append(job)
        else:
            table.book(job, place)
            found[job.order_id] = place
    return {**found, **place_in_turn(apart, table=table, previous=problem.previous)}


def _within(job: Job, people: set[str]) -> Job:
    """The job, were there only these people."""
    roles = tuple(tuple(t for t in able if t in people) for able in job.roles)
    return replace(job, roles=roles, crews=tuple(crew for crew in job.crews if people.issuperset(crew)))
