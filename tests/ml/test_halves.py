"""The search of a large plan in two processes: its halves share nothing, what comes of them is legal, no worse and the same each time."""

import math
from collections import Counter
from dataclasses import replace
from random import Random

import numpy as np
import pytest

from ml import halves
from ml.beside import Beside
from ml.halves import search, together
from ml.scheduling import Problem
from ml.timetable import Calendar, Job, Place, Timetable, place_in_turn
from tests.ml.plan_rules import broken_rules
from tests.ml.test_reinsertion import a_busy_plant, as_plan, stated


def test_the_search_is_legal_cheaper_and_the_same_each_time(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(halves, "STEPS_PER_JOB", 20)
    monkeypatch.setattr(halves, "ROUNDS", 3)
    site, work, start = a_busy_plant()
    problem, grid = stated((site, work, start))
    begun = place_in_turn(problem.jobs, table=problem.table.copy(), previous={})
    found, bound = search(problem, placed=begun, seed=1, time_limit_s=600)
    plan = as_plan(found, work, jobs={j.order_id: j for j in problem.jobs}, grid=grid)
    assert broken_rules(plan, work, site=site, start=start) == []
    assert bound <= problem.cost(found) < problem.cost(begun)
    assert search(problem, placed=begun, seed=1, time_limit_s=600) == (found, bound)


def test_the_halves_share_neither_people_nor_jobs_and_keep_the_work_of_both():
    problem, _ = stated(a_busy_plant())
    placed = place_in_turn(problem.jobs, table=problem.table.copy(), previous={})
    one, other = halves.halves(problem, placed=placed, rng=Random(3))
    people = [{t for job in half.jobs for crew in job.crews for t in crew} for half in (one, other)]
    assert people[0]
    assert people[1]
    assert not people[0] & people[1]
    seen = Counter(job.order_id for half in (one, other) for job in half.jobs)
    assert set(seen.values()) == {1}
    for half in (one, other):
        own = {job.order_id for job in half.jobs}
        booked = sum(len(bookings) for bookings in half.table.by_technician.values())
        assert booked == sum(len(placed[j.order_id].technicians) for j in problem.jobs if j.order_id in placed and j.order_id not in own)
    across = [j for j in problem.jobs if j.order_id not in seen]
    assert across
    for job in across:
        sides = {n for n, side in enumerate(people) for t in placed[job.order_id].technicians if t in side}
        assert sides == {0, 1}, "people of both"


def test_two_jobs_that_have_come_to_overlap_on_a_machine_are_put_apart():
    people = ("ann", "bob")
    jobs = [Job(f"o{n}", "m", "main", 10, 4, 0.0, 0, None, ((who,),), ((who,),), False) for n, who in enumerate(people)]
    calendar = Calendar(48, dict.fromkeys(people, np.ones(48, dtype=bool)), dict.fromkeys(people, np.zeros(48, dtype=np.int64)), {})
    problem = Problem(jobs, Timetable(calendar, 30, lambda _a, _b: 0), {}, 48, 48)
    changed = [
        (replace(problem, jobs=[job]), {job.order_id: Place(job.crews[0], start, start + 4)})
        for job, start in zip(jobs, (2, 4), strict=True)
    ]
    found = together(problem, placed={}, changed=changed)
    assert found == {"o0": Place(("ann",), 2, 6), "o1": Place(("bob",), 6, 10)}


def test_a_function_computed_beside_gives_its_result_and_its_failure(capfd: pytest.CaptureFixture[str]):
    with Beside() as beside:
        for number in (9, 16):
            beside.ask(_root, of=number)
            assert beside.result() == math.sqrt(number)
        beside.ask(_root, of=-1)
        with pytest.raises(ChildProcessError, match="ended with code 1"):
            beside.result()
    assert "ValueError: math domain error" in capfd.readouterr().err
    assert beside.process.poll() is not None


def _root(*, of: float) -> float:
    return math.sqrt(of)
