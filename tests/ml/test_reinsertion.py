"""Ruin and recreate: never worse than its start, legal to an independent judge, the same each time; and the best where that is known."""

from collections.abc import Mapping
from dataclasses import replace
from random import Random

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cli.benches.planning import START, a_site, orders_of
from ml import board
from ml.board import Board
from ml.calendars import calendar_of
from ml.planning import Plan
from ml.plant import Site
from ml.reinsertion import COLDEST, HOTTEST, is_accepted, reinsert
from ml.scheduling import Problem
from ml.timetable import Calendar, Grid, Job, Place, Timetable, place_in_turn
from ml.workload import jobs_of, read_orders
from tests.ml.plan_rules import broken_rules
from tests.ml.test_planning import problems

Stated = tuple[Site, pd.DataFrame, pd.Timestamp]


def stated(given: Stated) -> tuple[Problem, Grid]:
    """The jobs of a plant that a shift could hold, in an empty timetable."""
    site, work, start = given
    minutes = site.policy.planning.slot_minutes
    grid = Grid(start.ceil(f"{minutes}min"), minutes, site.policy.planning.horizon_days * 1440 // minutes)
    jobs, _ = jobs_of(read_orders(work), site=site, grid=grid, start=start)
    table = Timetable(calendar_of(site, grid=grid), minutes, site.travel_minutes)
    return Problem([j for j in jobs if table.soonest(j)], table, {}, grid.horizon, grid.day), grid


def a_busy_plant() -> Stated:
    """Twelve technicians with more to do than they can at once: crews, breaks, stop windows, travel and nights."""
    site = a_site(1)
    site = site.model_copy(update={"technicians": site.technicians[:12], "country": None})
    work = orders_of(site, seed=1).iloc[:130].reset_index(drop=True)
    return site, work.assign(ready_at=pd.NaT), START


def as_plan(placed: Mapping[str, Place], work: pd.DataFrame, *, jobs: Mapping[str, Job], grid: Grid) -> Plan:
    due = dict(zip(work["order_id"], work["due_at"], strict=True))
    rows = []
    for order_id, place in placed.items():
        ends = grid.at(place.end) - pd.Timedelta(minutes=jobs[order_id].spare_min)
        is_late = not pd.isna(due[order_id]) and ends > due[order_id]
        rows += [(order_id, t, grid.at(place.start), ends, False, is_late) for t in place.technicians]
    names = ["order_id", "technician_id", "start_at", "end_at", "is_overtime", "is_late"]
    left = pd.DataFrame({"order_id": [o for o in work["order_id"] if o not in placed]})
    return Plan(pd.DataFrame(rows, columns=names), left, 0.0, 0.0, "feasible", len(work))


def cost_by_hand(job: Job, place: Place | None, *, horizon: int, day: int) -> int:
    """As the head of ml.scheduling says it, for a job that had no place before."""
    if place is None:
        soonest = job.earliest + job.length
        late = 0 if job.due is None or soonest <= job.due else day + 4 * (soonest - job.due)
        return job.weight * (job.earliest + late + 8 * horizon)
    late = 0 if job.due is None or place.end <= job.due else day + 4 * (place.end - job.due)
    return job.weight * (place.start + late)


@settings(max_examples=40, deadline=None)
@given(problems(), st.integers(0, 4), st.integers(0, 2**31))
def test_whatever_the_plant_the_search_is_legal_no_worse_and_the_same_each_time(given: Stated, n_held: int, seed: int):
    whole, grid = stated(given)
    jobs = {j.order_id: j for j in whole.jobs}
    begun = place_in_turn(whole.jobs, table=whole.table.copy(), previous={})
    held = {j.order_id: begun[j.order_id] for j in whole.jobs[:n_held] if j.order_id in begun}
    free = [j for j in whole.jobs if j.order_id not in held]
    problem = replace(whole, jobs=free, table=whole.table.copy().book_all(whole.jobs, placed=held))
    found = reinsert(problem, placed=begun, enough=0, seed=seed, time_limit_s=600, steps_per_job=20)
    for places in found:
        whole_plan = as_plan({**held, **places}, given[1], jobs=jobs, grid=grid)
        assert broken_rules(whole_plan, given[1], site=given[0], start=given[2]) == []
    costs = [
        sum(cost_by_hand(j, places.get(j.order_id), horizon=grid.horizon, day=grid.day) for j in free) for places in (found.best, begun)
    ]
    assert costs[0] <= costs[1]
    assert reinsert(problem, placed=begun, enough=0, seed=seed, time_limit_s=600, steps_per_job=20) == found


def test_on_a_busy_plant_all_stays_legal_and_a_search_that_ends_hot_gives_the_best_that_it_saw():
    site, work, start = a_busy_plant()
    problem, grid = stated((site, work, start))
    begun = place_in_turn(problem.jobs, table=problem.table.copy(), previous={})
    jobs = {j.order_id: j for j in problem.jobs}
    for stretch in ((0.7, 1.0), (0.0, 0.05)):  # the second from a plan that the heat only makes dearer
        found = reinsert(problem, placed=begun, enough=0, seed=1, time_limit_s=600, steps_per_job=20, stretch=stretch)
        costs = []
        for places in (begun, *found):
            assert broken_rules(as_plan(places, work, jobs=jobs, grid=grid), work, site=site, start=start) == []
            costs.append(sum(cost_by_hand(j, places.get(j.order_id), horizon=grid.horizon, day=grid.day) for j in problem.jobs))
        assert costs[1] <= costs[0]
        assert costs[1] <= costs[2]
        begun = found.best
    assert costs[2] > costs[0]


@pytest.mark.parametrize(
    ("change", "temperature", "share"), [(-5, 2.0, 1), (0, 2.0, 1), (1, 2.0, 0.6065), (2, 2.0, 0.3679), (2, 0.5, 0.0183), (60, 2.0, 0)]
)
def test_a_dearer_plan_is_gone_on_with_by_metropolis(change: float, temperature: float, share: float):
    rng, n = Random(3), 40_000
    accepted = sum(is_accepted(change, temperature=temperature, rng=rng) for _ in range(n)) / n
    assert accepted == pytest.approx(share, abs=4 * (share * (1 - share) / n) ** 0.5)


def test_the_search_asks_at_a_temperature_that_falls_from_the_hottest_to_the_coldest(monkeypatch: pytest.MonkeyPatch):
    asked: list[float] = []

    def noted(change: float, *, temperature: float, rng: Random) -> bool:
        asked.append(temperature)
        return is_accepted(change, temperature=temperature, rng=rng)

    monkeypatch.setattr("ml.reinsertion.is_accepted", noted)
    jobs = [Job(f"o{n}", f"m{n}", "main", 3 + n, 2, 0.0, 0, None, (("ann",),), (("ann",),), False) for n in range(5)]
    problem = around_the_clock(jobs, horizon=48)
    begun = place_in_turn(jobs, table=problem.table.copy(), previous={})
    for stretch in ((0.0, 0.5), (0.5, 1.0)):
        reinsert(problem, placed=begun, enough=0, seed=1, time_limit_s=600, steps_per_job=100, stretch=stretch)
    mean_weight = 5
    assert asked == pytest.approx(mean_weight * np.geomspace(HOTTEST, COLDEST, 501)[:-1])


@settings(max_examples=40, deadline=None)
@given(problems())
def test_a_job_put_back_begins_when_the_timetable_says_it_could_first(given: Stated):
    problem, _ = stated(given)
    placed = place_in_turn(problem.jobs, table=problem.table.copy(), previous={})
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(board, "BLINKS", 1e-12)
        changing = Board(problem, placed=placed)
        for n, job in enumerate(problem.jobs):
            others = {order_id: place for order_id, place in placed.items() if order_id != job.order_id}
            soonest = problem.table.copy().book_all(problem.jobs, placed=others).soonest(job)
            before = changing.standing(n)
            changing.release(n)
            changing.insert(n, rng=Random(1))
            after = changing.places[n]
            assert (after and after.start) == (soonest and soonest.start)
            changing.put_back([before])
        assert changing.plan() == placed


@settings(max_examples=25, deadline=None)
@given(problems(), st.integers(0, 2**31))
def test_what_is_moved_from_the_plan_before_gains_more_than_it_costs(given: Stated, seed: int):
    problem, grid = stated(given)
    before = place_in_turn(problem.jobs, table=problem.table.copy(), previous={})
    found = reinsert(replace(problem, previous=before), placed=before, enough=0, seed=seed, time_limit_s=600, steps_per_job=20).best
    saved = sum(
        cost_by_hand(j, before.get(j.order_id), horizon=grid.horizon, day=grid.day)
        - cost_by_hand(j, found.get(j.order_id), horizon=grid.horizon, day=grid.day)
        for j in problem.jobs
    )
    moved = [j for j in problem.jobs if j.order_id in before and found.get(j.order_id) != before[j.order_id]]
    assert saved >= sum(j.weight * grid.day for j in moved)


def around_the_clock(jobs: list[Job], *, horizon: int) -> Problem:
    """One technician who never rests."""
    calendar = Calendar(horizon, {"ann": np.ones(horizon, dtype=bool)}, {"ann": np.zeros(horizon, dtype=np.int64)}, {})
    return Problem(jobs, Timetable(calendar, 30, lambda _a, _b: 0), {}, horizon, 48)


def test_a_job_stays_where_it_stood_unless_that_is_taken_or_a_day_is_to_be_gained():
    jobs = [Job(f"o{n}", f"m{n}", "main", 1, 2, 0.0, 0, None, (("ann",),), (("ann",),), False) for n in range(2)]
    for stood, other, stays in ((5, None, True), (60, None, False), (5, 6, False)):
        previous = {"o0": Place(("ann",), stood, stood + 2)}
        problem = replace(around_the_clock(jobs, horizon=96), previous=previous)
        changing = Board(problem, placed={"o1": Place(("ann",), other, other + 2)} if other is not None else {})
        while changing.places[0] is None:  # a blink overlooks the only technician
            changing.insert(0, rng=Random(1))
        assert changing.places[0] == (previous["o0"] if stays else Place(("ann",), 0, 2))


def test_one_technicians_work_comes_into_the_turn_of_smiths_rule():
    """Smith (1956): on one machine, sum of weight x start is least in the turn of weight / length."""
    rng = np.random.default_rng(5)
    jobs = [
        Job(f"o{n}", f"m{n}", "main", int(rng.integers(1, 60)), int(rng.integers(1, 9)), 0.0, 0, None, (("ann",),), (("ann",),), False)
        for n in range(14)
    ]
    problem = around_the_clock(jobs, horizon=200)
    begun = place_in_turn(sorted(jobs, key=lambda j: j.weight / j.length), table=problem.table.copy(), previous={})
    found = reinsert(problem, placed=begun, enough=0, seed=1, time_limit_s=600, steps_per_job=300)
    at, least = 0, 0
    for job in sorted(jobs, key=lambda j: -j.weight / j.length):
        at, least = at + job.length, least + job.weight * at
    assert sum(j.weight * found.best[j.order_id].start for j in jobs) == least


def test_a_limit_of_no_time_leaves_the_plan_as_it_is_and_a_cost_to_be_content_with_too():
    jobs = [Job(f"o{n}", f"m{n}", "main", 1 + n, 2, 0.0, 0, None, (("ann",),), (("ann",),), False) for n in range(5)]
    problem = around_the_clock(jobs, horizon=48)
    begun = place_in_turn(jobs, table=problem.table.copy(), previous={})
    assert reinsert(problem, placed=begun, enough=0, seed=1, time_limit_s=0, steps_per_job=50).best == begun
    assert reinsert(problem, placed=begun, enough=problem.cost(begun), seed=1, time_limit_s=60, steps_per_job=50).best == begun
    assert reinsert(problem, placed=begun, enough=0, seed=1, time_limit_s=60, steps_per_job=50).best != begun
