"""Ruin and recreate: jobs are taken out of a plan and put back where each costs least, and what comes of it is kept if it is worth it.

Taken out are strings of neighbouring jobs of a few technicians about one moment, as in the slack induction by string removals of
Christiaens and Vanden Berghe (2020, Transportation Science 54); they come back in the turn of the weight per slot, of the starts that
they had, of the size of the crew or in any, now and then past the best place. A dearer plan is accepted with simulated annealing. Many
cheap steps are what makes this work: see `ml.board`.
"""

import math
import time
from collections.abc import Mapping
from random import Random
from typing import NamedTuple

from ml.board import Board
from ml.scheduling import Problem
from ml.timetable import Place

CHECKED_EVERY = 64  # steps between looks at the clock
MOST_TECHNICIANS, LONGEST_STRING = 4, 6  # taken out at once
HOTTEST, COLDEST = 32.0, 0.05  # temperatures, in slots of a job of mean weight


class Searched(NamedTuple):
    """best: the cheapest plan that was found, at most as costly as the one begun with; last: the plan that the search ended at."""

    best: dict[str, Place]
    last: dict[str, Place]


def reinsert(
    problem: Problem,
    *,
    placed: Mapping[str, Place],
    enough: float,
    seed: int,
    time_limit_s: float,
    steps_per_job: int,
    stretch: tuple[float, float] = (0.0, 1.0),
) -> Searched:
    """Goes on from `placed`; what of that are not jobs of the problem is left out.

    `enough` is a cost to be content with; `steps_per_job` are those of the whole cooling; `stretch` is the part of it to go through, 0 the
    hottest, 1 the coldest. The same input gives the same plan: only a limit in seconds could end it elsewhere.
    """
    deadline = time.monotonic() + time_limit_s
    steps = round(steps_per_job * len(problem.jobs) * (stretch[1] - stretch[0]))
    mean_weight = sum(job.weight for job in problem.jobs) / max(1, len(problem.jobs))
    hottest = HOTTEST * mean_weight * (COLDEST / HOTTEST) ** stretch[0]
    cooling = (COLDEST / HOTTEST) ** ((stretch[1] - stretch[0]) / max(1, steps))
    rng = Random(seed)  # noqa: S311 - a search, no secret
    board = Board(problem, placed=placed)
    cost = lowest = problem.cost(placed)
    best = board.plan()
    for step in range(steps):
        if lowest <= enough or (step % CHECKED_EVERY == 0 and time.monotonic() >= deadline):
            break
        taken = _string_of(board, rng=rng)
        turn = _in_turn(board, taken, rng=rng)
        before = [board.standing(n) for n in taken]
        for n in taken:
            board.release(n)
        for n in turn:
            board.insert(n, rng=rng)
        change = sum([board.costs[n] for n in taken]) - sum([standing[-1] for standing in before])
        if not is_accepted(change, temperature=hottest * cooling**step, rng=rng):
            board.put_back(before)
            continue
        cost += change
        if cost < lowest:
            lowest, best = cost, board.plan()
    return Searched(best, board.plan())


def is_accepted(change: float, *, temperature: float, rng: Random) -> bool:
    """Whether a plan so much dearer is gone on with: by exp(-change / temperature), a cheaper one always (Metropolis 1953)."""
    return change <= -temperature * math.log(1 - rng.random())


def _string_of(board: Board, *, rng: Random) -> list[int]:
    """Jobs to take out: those that have no place, and strings about one job's start, of it and of others who could do it."""
    jobs, starts = board.jobs, board.starts
    first = rng.randrange(len(jobs))
    place, moment, able = board.places[first], starts[first], board.able[first]
    taken = dict.fromkeys(n for n in board.left_out if rng.random() < 0.5)
    taken[first] = None
    many = rng.randint(1, MOST_TECHNICIANS)
    people = [*(place.technicians if place else ()), *rng.sample(able, min(many, len(able)))][:many]
    for technician_id in people:
        theirs = sorted([(abs(starts[n] - moment), n) for n in board.of_technician[technician_id]])
        taken.update(dict.fromkeys([n for _, n in theirs[: rng.randint(1, LONGEST_STRING)]]))
    rivals = board.of_machine[jobs[first].machine_id]
    taken.update(dict.fromkeys([n for n in rivals if rng.random() < 0.5]))
    return list(taken)


def _in_turn(board: Board, taken: list[int], *, rng: Random) -> list[int]:
    jobs, rule = board.jobs, rng.randrange(4)
    if rule == 0:
        return rng.sample(taken, len(taken))
    if rule == 1:
        return sorted(taken, key=lambda n: (board.starts[n], n))
    if rule == 2:
        return sorted(taken, key=lambda n: (-len(jobs[n].roles), -jobs[n].weight / jobs[n].length, n))
    noise = {n: rng.uniform(0.7, 1.4) for n in taken}
    return sorted(taken, key=lambda n: (-noise[n] * jobs[n].weight / jobs[n].length, n))
