"""The schedule: what holds on any plant, and each rule on a plant small enough to plan by hand."""

import subprocess
import sys
from dataclasses import replace
from datetime import date, time, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml import planning, pricing, scheduling
from ml.planning import Plan, plan
from ml.plant import (
    Break,
    Delivery,
    Machine,
    Part,
    PlanningPolicy,
    Policy,
    RepairPlan,
    Sensor,
    Shift,
    Site,
    StopWindow,
    Technician,
    Travel,
)
from ml.workload import standing
from tests.ml.plan_rules import broken_rules

MONDAY = pd.Timestamp("2026-11-02T05:00Z")  # 06:00 in Berlin
EARLY, LATE = Shift(start=time(6), end=time(14)), Shift(start=time(14), end=time(22))
HOUR = pd.Timedelta(hours=1)


def a_technician(
    technician_id: str = "ann", *, skills: tuple[str, ...] = ("mechanical",), shifts: tuple[Shift, ...] = (EARLY,), **more: Any
) -> Technician:
    return Technician(technician_id=technician_id, name=technician_id, skills=skills, shifts=shifts, **more)


def a_site(*technicians: Technician, parts: tuple[Part, ...] = (), country: str | None = "DE", **planning: Any) -> Site:
    machines = tuple(
        Machine(machine_id=f"m{i}", machine_class="pump", sensors=(Sensor(sensor_id=f"s{i}", type="flow", unit="m3/h"),)) for i in range(6)
    )
    policy = Policy(planning=PlanningPolicy(**planning))
    return Site(
        site="a", name="A", time_zone="Europe/Berlin", country=country, first_day=date(2026, 1, 1),
        machines=machines, technicians=technicians, parts=parts, policy=policy,
    )  # fmt: skip


def orders(*rows: dict[str, Any]) -> pd.DataFrame:
    base = {
        "machine_id": "m0", "failure_mode": "VIB", "priority": "medium", "risk_cost": 1000.0, "due_at": pd.NaT, "crew": (("mechanical",),),
        "duration_h": 2.0, "parts": (), "is_urgent": False, "ready_at": pd.NaT,
    }  # fmt: skip
    return pd.DataFrame(
        [{"order_id": f"o{i}", **base, "machine_id": f"m{i % 6}", **row} for i, row in enumerate(rows)], columns=["order_id", *base]
    )


def planned(found: Plan) -> dict[str, tuple[str, pd.Timestamp]]:
    return {a.order_id: (a.technician_id, a.start_at) for a in found.assignments.itertuples()}


def only_unplanned(found: Plan) -> tuple[str, pd.Timestamp]:
    assert len(found.unplanned) == 1
    return found.unplanned["reason"].iloc[0], found.unplanned["earliest_alternative"].iloc[0]


SKILLS = ("mechanical", "electrical", "instrumentation")
NIGHT = Shift(start=time(22), end=time(6), breaks=(Break(start=time(2), end=time(2, 30)),))
PAUSED = Shift(start=time(6), end=time(14), breaks=(Break(start=time(10), end=time(10, 30)),))


@st.composite
def technicians(draw: st.DrawFn, technician_id: str) -> Technician:
    skills = tuple(sorted(draw(st.sets(st.sampled_from(SKILLS), min_size=1))))
    shifts = tuple(draw(st.lists(st.sampled_from([PAUSED, LATE, NIGHT]), min_size=1, max_size=2, unique=True)))
    absent = tuple(date(2026, 10, 20) + timedelta(days=d) for d in draw(st.sets(st.integers(0, 8), max_size=2)))
    return a_technician(technician_id, skills=skills, shifts=shifts, absent_on=absent)


@st.composite
def problems(draw: st.DrawFn) -> tuple[Site, pd.DataFrame, pd.Timestamp]:
    """Plants with breaks, crews, areas, stop windows and parts on order, around the end of summer time."""
    people = tuple(draw(technicians(f"t{i}")) for i in range(draw(st.integers(1, 4))))
    coming = (Delivery(quantity=1, expected_on=date(2026, 10, draw(st.integers(22, 26)))),) if draw(st.booleans()) else ()
    parts = (Part(part_id="seal", name="Seal", in_stock=draw(st.integers(0, 2)), on_order=coming, lead_time_days=draw(st.integers(1, 6))),)
    start = pd.Timestamp("2026-10-22T00:00Z") + draw(st.integers(0, 72)) * HOUR  # the clock changes on the 25th
    base = {"risk_cost": st.floats(0, 1e5), "duration_h": st.sampled_from([0.4, 1.0, 3.25, 7.5, 9.0])}
    rows = [
        {
            "machine_id": f"m{draw(st.integers(0, 2))}",
            "priority": (priority := draw(st.sampled_from(["urgent", "high", "medium", "low"]))),
            "is_urgent": priority == "urgent",
            **{name: draw(values) for name, values in base.items()},
            "due_at": start + draw(st.integers(1, 200)) * HOUR if draw(st.booleans()) else pd.NaT,
            "crew": tuple(
                tuple(sorted(draw(st.sets(st.sampled_from(SKILLS), min_size=1, max_size=2))))
                for _ in range(draw(st.sampled_from([1, 1, 2])))
            ),
            "parts": ("seal",) * draw(st.integers(0, 2)),
            "ready_at": start + draw(st.integers(-5, 100)) * HOUR if draw(st.booleans()) else pd.NaT,
        }
        for _ in range(draw(st.integers(1, 12)))
    ]
    afternoon = StopWindow(start=time(12), end=time(draw(st.sampled_from([20, 2]))))
    site = a_site(*people, parts=parts, horizon_days=7, travel_minutes=draw(st.sampled_from([0, 20, 45])))
    machines = [m.model_copy(update={"area": f"area {i % 2}"}) for i, m in enumerate(site.machines)]
    machines[1] = machines[1].model_copy(update={"stop_windows": (afternoon,) if draw(st.booleans()) else ()})
    return site.model_copy(update={"country": None, "machines": tuple(machines)}), orders(*rows), start


@settings(max_examples=40, deadline=None)
@given(problems())
def test_whatever_the_plant_a_plan_keeps_the_rules(problem: tuple[Site, pd.DataFrame, pd.Timestamp]):
    site, work, start = problem
    found = plan(work, site=site, start=start, seed=1)
    assert broken_rules(found, work, site=site, start=start) == []
    assert found.unplanned["reason"].str.len().gt(0).all()
    assert 0 <= found.gap <= 1
    left = found.unplanned.merge(work, on="order_id")
    assert left.loc[left["is_urgent"], "reason"].str.contains("^no technician has all the skills|^it takes 2 technicians").all()
    again = plan(work, site=site, start=start, seed=1)
    assert again.assignments.equals(found.assignments)
    assert again.unplanned.equals(found.unplanned)
    assert (again.objective, again.gap, again.status) == (found.objective, found.gap, found.status)


@settings(max_examples=25, deadline=None)
@given(problems())
def test_the_bound_of_the_prices_is_below_what_the_solver_proves_to_be_the_best(problem: tuple[Site, pd.DataFrame, pd.Timestamp]):
    site, work, start = problem
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(planning, "WHOLE", 12)
        patched.setattr(scheduling, "WHOLE", 12)
        patched.setattr(scheduling, "DETERMINISTIC_TIME", 0.5)
        seen = []
        real = planning.improve

        def improve(problem, **more):
            seen.append((replace(problem, table=problem.table.copy()), dict(more["placed"])))
            return real(problem, **more)

        patched.setattr(planning, "improve", improve)
        first = plan(work, site=site, start=start, seed=1)
        n_first = len(seen)
        again = plan(work.iloc[1:], site=site, start=start, seed=1, previous=first.assignments)
    for best, found in ((first, seen[:n_first]), (again, seen[n_first:])):
        for stated, placed in found:
            if best.status == "optimal":
                priced = pricing.bound(stated, best=stated.cost(placed))
                assert max(stated.bound(), priced.cost) <= best.objective, "the plan's gap is against the higher of the two"


def test_no_orders_are_planned_at_once_without_the_solver():
    found = plan(orders(), site=a_site(a_technician()), start=MONDAY, seed=1)
    assert (len(found.assignments), len(found.unplanned), found.status, found.n_orders) == (0, 0, "empty", 0)
    code = (
        "import sys, pandas as pd; from ml.planning import plan; from ml.plant import Machine, Sensor, Site;"
        "from ml.workload import ORDER_COLUMNS;"
        "machine = Machine(machine_id='m', machine_class='pump', sensors=(Sensor(sensor_id='s', type='flow', unit='x'),));"
        "site = Site(site='a', name='A', first_day='2026-01-01', machines=(machine,));"
        "plan(pd.DataFrame(columns=list(ORDER_COLUMNS)), site=site, start=pd.Timestamp('2026-11-02T05:00Z'), seed=1);"
        "assert 'ortools' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


def test_the_higher_risk_goes_first_and_both_in_the_first_shift():
    found = plan(orders({"risk_cost": 10.0}, {"risk_cost": 9000.0}), site=a_site(a_technician()), start=MONDAY, seed=1)
    assert planned(found) == {"o1": ("ann", MONDAY), "o0": ("ann", MONDAY + 2 * HOUR)}
    # Weights 10 + 0 and 10 + 20; the first waits 4 slots of half an hour.
    assert (found.objective, found.status, found.gap) == (10 * 4, "optimal", 0.0)


def test_a_deadline_outweighs_a_somewhat_higher_risk():
    work = orders({"risk_cost": 1000.0}, {"risk_cost": 900.0, "due_at": MONDAY + 2 * HOUR})
    found = plan(work, site=a_site(a_technician()), start=MONDAY, seed=1)
    assert planned(found) == {"o1": ("ann", MONDAY), "o0": ("ann", MONDAY + 2 * HOUR)}
    assert not found.assignments["is_late"].any()


def test_a_late_job_is_planned_all_the_same_and_marked():
    found = plan(orders({"due_at": MONDAY + HOUR}), site=a_site(a_technician()), start=MONDAY, seed=1)
    assert found.assignments["is_late"].tolist() == [True]
    assert found.assignments["is_overtime"].tolist() == [False]


def test_all_skills_must_be_in_one_person():
    people = (a_technician("ann"), a_technician("bob", skills=("electrical",)))
    work = orders({"crew": (("mechanical", "electrical"),)})
    reason, alternative = only_unplanned(plan(work, site=a_site(*people), start=MONDAY, seed=1))
    assert reason == "no technician has all the skills mechanical, electrical"
    assert pd.isna(alternative)
    both = a_technician("cem", skills=("mechanical", "electrical"))
    assert planned(plan(work, site=a_site(*people, both), start=MONDAY, seed=1))["o0"][0] == "cem"


def test_nobody_works_at_christmas():
    start = pd.Timestamp("2026-12-24T13:00Z")  # Thursday, after the shift; Friday 25 is a holiday, then the weekend
    found = plan(orders({}), site=a_site(a_technician()), start=start, seed=1)
    assert planned(found)["o0"][1] == pd.Timestamp("2026-12-28T05:00Z")
    assert planned(plan(orders({}), site=a_site(a_technician(), country=None), start=start, seed=1))["o0"][1] == pd.Timestamp(
        "2026-12-25T05:00Z"
    )


def test_the_first_shift_after_the_clock_change_begins_at_local_six():
    start = pd.Timestamp("2026-10-23T03:00Z")
    found = plan(orders({}, {"ready_at": pd.Timestamp("2026-10-24T00:00Z")}), site=a_site(a_technician()), start=start, seed=1)
    assert planned(found)["o0"][1] == pd.Timestamp("2026-10-23T04:00Z")  # Friday, UTC+2
    assert planned(found)["o1"][1] == pd.Timestamp("2026-10-26T05:00Z")  # Monday, UTC+1


def test_an_urgent_job_that_fits_no_shift_in_time_is_an_overtime_call_out_even_on_a_holiday():
    start = pd.Timestamp("2026-12-24T18:00Z")
    urgent = {"priority": "urgent", "is_urgent": True, "due_at": start + 8 * HOUR}
    work = orders(urgent, {**urgent, "due_at": start + 12 * HOUR})
    found = plan(work, site=a_site(a_technician()), start=start, seed=1)
    assert planned(found) == {"o0": ("ann", start + 4 * HOUR), "o1": ("ann", start + 6 * HOUR)}
    assert found.assignments["is_overtime"].all()
    assert not found.assignments["is_late"].any()
    without = plan(work, site=a_site(a_technician(), overtime_for_urgent=False), start=start, seed=1)
    assert planned(without)["o0"][1] == pd.Timestamp("2026-12-28T05:00Z")
    assert without.assignments["is_late"].all()


def test_an_urgent_job_longer_than_any_shift_is_called_out_around_the_regular_work():
    work = orders({"priority": "urgent", "is_urgent": True, "duration_h": 10.0}, {"duration_h": 8.0})
    found = plan(work, site=a_site(a_technician()), start=MONDAY, seed=1)
    assert planned(found) == {"o1": ("ann", MONDAY), "o0": ("ann", MONDAY + 8 * HOUR)}


def test_a_call_out_may_take_the_time_of_the_late_shift_work_that_it_replaces():
    midnight = MONDAY - 5 * HOUR  # the shift begins in 5 hours, a technician called out is there in 4
    work = orders({"priority": "urgent", "is_urgent": True, "due_at": midnight + 6.5 * HOUR})
    found = plan(work, site=a_site(a_technician()), start=midnight, seed=1)
    assert planned(found) == {"o0": ("ann", midnight + 4 * HOUR)}


def test_nobody_is_called_out_of_an_absence():
    start = pd.Timestamp("2026-12-24T18:00Z")
    work = orders({"priority": "urgent", "is_urgent": True, "due_at": start + 8 * HOUR})
    away = a_technician("ann", absent_on=(date(2026, 12, 24), date(2026, 12, 25)))
    assert planned(plan(work, site=a_site(away, a_technician("bob", skills=("mechanical", "x"))), start=start, seed=1))["o0"][0] == "bob"
    assert planned(plan(work, site=a_site(away), start=start, seed=1))["o0"] == ("ann", pd.Timestamp("2026-12-25T23:00Z"))  # local midnight


def test_a_job_longer_than_any_shift_says_so():
    reason, alternative = only_unplanned(plan(orders({"duration_h": 8.5}), site=a_site(a_technician()), start=MONDAY, seed=1))
    assert reason == "longer than any shift: 8.5 h"
    assert pd.isna(alternative)


def test_parts_go_to_the_higher_priority_and_the_other_waits_for_the_delivery():
    seal = Part(part_id="seal", name="Seal", in_stock=1, lead_time_days=3)
    work = orders({"parts": ("seal",), "priority": "low"}, {"parts": ("seal",), "priority": "high"})
    found = plan(work, site=a_site(a_technician(), parts=(seal,)), start=MONDAY, seed=1)
    assert planned(found) == {"o1": ("ann", MONDAY), "o0": ("ann", MONDAY + pd.Timedelta(days=3))}
    ordered = work.assign(parts_ordered_at=MONDAY - pd.Timedelta(days=2))
    assert planned(plan(ordered, site=a_site(a_technician(), parts=(seal,)), start=MONDAY, seed=1))["o0"][1] == MONDAY + pd.Timedelta(
        days=1
    )


def test_parts_that_come_after_the_horizon_are_the_reason():
    seal = Part(part_id="seal", name="Seal", in_stock=0, lead_time_days=20)
    work = orders({"parts": ("seal",)})
    reason, alternative = only_unplanned(plan(work, site=a_site(a_technician(), parts=(seal,)), start=MONDAY, seed=1))
    assert reason == "parts missing until 2026-11-22: seal"  # a Sunday
    assert alternative == pd.Timestamp("2026-11-23T05:00Z")
    assert only_unplanned(plan(work, site=a_site(a_technician()), start=MONDAY, seed=1))[0] == "not among the site's parts: seal"


def test_a_full_horizon_leaves_the_lowest_out_and_says_when_there_is_room():
    work = orders(*({"duration_h": 8.0, "priority": p} for p in ("low", "high", "high")))
    found = plan(work, site=a_site(a_technician(), horizon_days=2), start=MONDAY, seed=1)
    assert set(planned(found)) == {"o1", "o2"}
    assert only_unplanned(found) == ("no free shift within 2 days", pd.Timestamp("2026-11-04T05:00Z"))
    # 48 slots a day: one job of weight 20 + 20 a day later, one of weight 5 + 20 left out at 8 horizons of 96 slots.
    assert (found.objective, found.status) == (40 * 48 + 25 * 8 * 96, "optimal")


def test_work_that_is_not_ready_within_the_horizon_says_so():
    reason, alternative = only_unplanned(
        plan(orders({"ready_at": pd.Timestamp("2026-12-01T00:00Z")}), site=a_site(a_technician()), start=MONDAY, seed=1)
    )
    assert reason == "not to be done before 2026-12-01"
    assert alternative == pd.Timestamp("2026-12-01T05:00Z")


def test_a_machine_has_one_job_at_a_time():
    work = orders({"machine_id": "m0"}, {"machine_id": "m0"})
    found = plan(work, site=a_site(a_technician("ann"), a_technician("bob")), start=MONDAY, seed=1)
    assert sorted(found.assignments["start_at"]) == [MONDAY, MONDAY + 2 * HOUR]


def test_a_plan_stays_as_it_is_unless_moving_gains_more_than_a_day():
    site = a_site(a_technician("ann"), a_technician("bob"))
    work = orders({}, {}, {"priority": "low"})
    stood = pd.DataFrame({
        "order_id": ["o0", "o1"], "technician_id": ["bob", "bob"],
        "start_at": [MONDAY + 3 * HOUR, MONDAY + 72 * HOUR], "end_at": [MONDAY + 5 * HOUR, MONDAY + 74 * HOUR],
    })  # fmt: skip
    found = planned(plan(work, site=site, start=MONDAY, seed=1, previous=stood))
    assert found["o0"] == ("bob", MONDAY + 3 * HOUR)  # three hours are not worth the disturbance
    assert found["o1"][1] == MONDAY  # three days are


def test_replanning_the_same_work_moves_nothing():
    site = a_site(a_technician("ann"), a_technician("bob", shifts=(LATE,)))
    work = orders(*({"duration_h": 1.0 + i % 4, "risk_cost": 100.0 * i, "due_at": MONDAY + (10 + 9 * i) * HOUR} for i in range(12)))
    first = plan(work, site=site, start=MONDAY, seed=1)
    assert plan(work, site=site, start=MONDAY, seed=1, previous=first.assignments).assignments.equals(first.assignments)


def test_work_in_progress_keeps_its_place_and_its_technician_and_machine_are_taken():
    stood = pd.DataFrame({"order_id": ["o0"], "technician_id": ["ann"], "start_at": [MONDAY - HOUR], "end_at": [MONDAY + 3 * HOUR]})
    work = orders({"machine_id": "m0"}, {"machine_id": "m0"}, {"machine_id": "m1"})
    found = plan(work, site=a_site(a_technician("ann"), a_technician("bob")), start=MONDAY, seed=1, previous=stood, locked=["o0"])
    assert planned(found)["o0"] == ("ann", MONDAY - HOUR)
    assert planned(found)["o1"][1] == MONDAY + 3 * HOUR
    assert planned(found)["o2"] == ("bob", MONDAY)
    assert found.n_orders == 3
    with pytest.raises(ValueError, match="locked orders without a previous assignment: o1"):
        plan(work, site=a_site(a_technician()), start=MONDAY, seed=1, previous=stood, locked=["o1"])


def replanned(found: Plan, work: pd.DataFrame, *, site: Site, start: pd.Timestamp, own: Plan | None = None) -> Plan:
    """The next plan after `found`; `own` is what the next plan's day has already."""
    stood, begun = standing(found.assignments, own=None if own is None else own.assignments, order_ids=list(work["order_id"]), start=start)
    return plan(work, site=site, start=start, seed=1, previous=stood, locked=begun)


@settings(max_examples=15, deadline=None)
@given(problems(), st.integers(1, 30))
def test_work_that_has_begun_never_moves_and_a_day_planned_again_is_the_same(problem: tuple[Site, pd.DataFrame, pd.Timestamp], hours: int):
    site, work, start = problem
    now = plan(work, site=site, start=start, seed=1)
    for n in range(1, 5):
        at = start + n * hours * HOUR
        following = replanned(now, work, site=site, start=at)
        again = replanned(now, work, site=site, start=at, own=following)
        assert again.assignments.equals(following.assignments)
        assert again.unplanned.equals(following.unplanned)
        assert (again.objective, again.gap, again.status) == (following.objective, following.gap, following.status)
        begun = now.assignments[now.assignments["start_at"] < at].reset_index(drop=True)
        kept = following.assignments[following.assignments["order_id"].isin(begun["order_id"])].reset_index(drop=True)
        assert kept.equals(begun)
        now = following


def test_over_consecutive_days_every_order_has_one_start():
    site = a_site(a_technician("ann"), a_technician("bob", shifts=(LATE,)))
    work = orders(*({"duration_h": 1.0 + i % 7, "risk_cost": 100.0 * i} for i in range(20)))
    now = plan(work, site=site, start=MONDAY, seed=1)
    first = planned(now)
    assert len(first) == 20
    assert max(start for _, start in first.values()) > MONDAY + 72 * HOUR
    for day in range(1, 8):
        now = replanned(now, work, site=site, start=MONDAY + pd.Timedelta(days=day))
        assert planned(now) == first
    assert len(replanned(now, work.iloc[1:], site=site, start=MONDAY + pd.Timedelta(days=9)).assignments) == 19, "what is done is gone"


def test_a_call_out_stays_while_the_clock_runs_and_remains_one_once_begun():
    start = pd.Timestamp("2026-12-24T18:00Z")
    work = orders({"priority": "urgent", "is_urgent": True, "due_at": start + 8 * HOUR})
    site = a_site(a_technician("ann"), a_technician("bob"))
    first = plan(work, site=site, start=start, seed=1)
    assert planned(first) == {"o0": ("ann", start + 4 * HOUR)}
    own = None
    for minutes in range(0, 12 * 60, 50):
        own = replanned(first, work, site=site, start=start + pd.Timedelta(minutes=minutes), own=own)
        assert own.assignments.equals(first.assignments), minutes


def test_a_call_out_is_brought_forward_when_somebody_can_come_sooner():
    start = pd.Timestamp("2026-12-24T18:00Z")
    work = orders({"priority": "urgent", "is_urgent": True, "due_at": start + 8 * HOUR})
    called = pd.DataFrame({
        "order_id": ["o0"], "technician_id": ["ann"], "start_at": [start + 6 * HOUR], "end_at": [start + 8 * HOUR], "is_overtime": [True],
    })  # fmt: skip
    found = plan(work, site=a_site(a_technician()), start=start, seed=1, previous=called)
    assert planned(found) == {"o0": ("ann", start + 4 * HOUR)}
    away = a_technician("ann", absent_on=(date(2026, 12, 24), date(2026, 12, 25)))
    found = plan(work, site=a_site(away, a_technician("bob")), start=start + 3 * HOUR, seed=1, previous=called)
    assert planned(found) == {"o0": ("bob", start + 7 * HOUR)}, "who has fallen ill is not on the way"


def test_the_days_own_plan_is_the_later_word_on_what_has_begun():
    def table(*rows: tuple[str, int]) -> pd.DataFrame:
        frame = pd.DataFrame([{"order_id": o, "technician_id": "ann", "start_at": MONDAY + h * HOUR} for o, h in rows])
        return frame.assign(end_at=frame["start_at"] + HOUR, is_overtime=False)

    earlier, own = table(("moved", 1), ("begun", 0), ("ahead", 9)), table(("moved", 5), ("begun", 0), ("ahead", 8), ("closed", 1))
    known = ["moved", "begun", "ahead"]
    stood, begun = standing(earlier, own=own, order_ids=known, start=MONDAY + 3 * HOUR)
    assert begun == ["begun"]
    assert dict(zip(stood["order_id"], stood["start_at"], strict=True))["ahead"] == MONDAY + 9 * HOUR
    assert standing(earlier, own=None, order_ids=known, start=MONDAY + 3 * HOUR)[1] == ["begun", "moved"]
    assert standing(earlier, own=own, order_ids=known, start=MONDAY + 6 * HOUR)[1] == ["begun", "moved"]
    called = own.assign(is_overtime=own["order_id"] == "ahead")
    stood, _ = standing(earlier, own=called, order_ids=known, start=MONDAY + 3 * HOUR)
    both = stood.loc[stood["order_id"] == "ahead", ["start_at", "is_overtime"]].to_numpy().tolist()
    assert both == [[MONDAY + 8 * HOUR, True], [MONDAY + 9 * HOUR, False]], "who was called out, and the shift that it would have"


def test_the_tables_have_their_types_also_when_empty():
    for found in (plan(orders(), site=a_site(), start=MONDAY, seed=1), plan(orders({}), site=a_site(a_technician()), start=MONDAY, seed=1)):
        kinds = {c: str(t) for c, t in {**found.assignments.dtypes, **found.unplanned.dtypes}.items()}
        assert kinds == {
            "order_id": "str", "technician_id": "str", "start_at": "datetime64[us, UTC]", "end_at": "datetime64[us, UTC]",
            "is_overtime": "bool", "is_late": "bool", "reason": "str", "earliest_alternative": "datetime64[us, UTC]",
            "smallest_change": "str",
        }  # fmt: skip


def test_bad_orders_are_named():
    site = a_site(a_technician())
    with pytest.raises(ValueError, match="orders lack the columns crew"):
        plan(orders({}).drop(columns="crew"), site=site, start=MONDAY, seed=1)
    with pytest.raises(ValueError, match="order o0: priority"):
        plan(orders({"duration_h": 0.0}), site=site, start=MONDAY, seed=1)
    with pytest.raises(ValueError, match="twice"):
        plan(orders({"order_id": "x"}, {"order_id": "x"}), site=site, start=MONDAY, seed=1)
    with pytest.raises(ValueError, match="aware"):
        plan(orders({}), site=site, start=MONDAY.tz_localize(None), seed=1)


def changed(site: Site, machine: dict[str, Any] | None = None, **planning: Any) -> Site:
    """The site with machine m0 as told, and its policy."""
    machines = (site.machines[0].model_copy(update=machine or {}), *site.machines[1:])
    policy = site.policy.model_copy(update={"planning": site.policy.planning.model_copy(update=planning)})
    return site.model_copy(update={"machines": machines, "policy": policy})


def the_change(found: Plan) -> str:
    assert len(found.unplanned) == 1
    return str(found.unplanned["smallest_change"].iloc[0])


PAIR = (("mechanical",), ("electrical",))


def test_a_crew_works_at_the_same_time_when_both_are_on_shift():
    late = Shift(start=time(12), end=time(20))
    people = (a_technician("ann"), a_technician("bob", skills=("electrical",), shifts=(late,)))
    found = plan(orders({"crew": PAIR}), site=a_site(*people), start=MONDAY, seed=1)
    both = found.assignments[["technician_id", "start_at", "end_at"]].to_numpy().tolist()
    assert both == [["ann", MONDAY + 6 * HOUR, MONDAY + 8 * HOUR], ["bob", MONDAY + 6 * HOUR, MONDAY + 8 * HOUR]]  # 12:00 to 14:00
    longer = plan(orders({"crew": PAIR, "duration_h": 2.5}), site=a_site(*people), start=MONDAY, seed=1)
    assert only_unplanned(longer)[0] == "longer than any time that such a crew is on shift together: 2.5 h"
    assert the_change(longer) == "1 h of overtime by ann on Mon 2026-11-02"


def test_two_of_the_same_skills_are_two_people():
    repair = RepairPlan(skills=("mechanical",), technicians=2, duration_h=2, actions=("Lift",))
    crew = tuple(role.skills for role in repair.crew)
    assert crew == (("mechanical",), ("mechanical",))
    alone = plan(orders({"crew": crew}), site=a_site(a_technician("ann")), start=MONDAY, seed=1)
    assert only_unplanned(alone)[0] == "it takes 2 technicians at the same time (mechanical; mechanical), and there are not so many"
    assert the_change(alone) == "a second technician with mechanical on Mon 2026-11-02 06:00 to 08:00"
    two = plan(orders({"crew": crew}), site=a_site(a_technician("ann"), a_technician("bob")), start=MONDAY, seed=1)
    assert two.assignments["technician_id"].tolist() == ["ann", "bob"]


def test_a_break_interrupts_the_work():
    found = plan(orders({"duration_h": 5.0}), site=a_site(a_technician(shifts=(PAUSED,))), start=MONDAY, seed=1)
    assert found.assignments["end_at"].tolist() == [MONDAY + 5.5 * HOUR]
    short = plan(orders({"duration_h": 4.0}), site=a_site(a_technician(shifts=(PAUSED,))), start=MONDAY, seed=1)
    assert short.assignments["end_at"].tolist() == [MONDAY + 4 * HOUR], "which ends as the break begins"


def test_the_night_of_the_clock_change_is_an_hour_longer_in_autumn_and_shorter_in_spring():
    days = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
    site = a_site(a_technician(shifts=(Shift(days=days, start=time(22), end=time(6)),)))
    autumn = plan(orders({"duration_h": 9.0}), site=site, start=pd.Timestamp("2026-10-20T12:00Z"), seed=1)
    assert planned(autumn)["o0"] == ("ann", pd.Timestamp("2026-10-24T20:00Z")), "the only night of nine hours"
    spring = plan(orders({"duration_h": 8.0}), site=site, start=pd.Timestamp("2026-03-28T12:00Z"), seed=1)
    assert planned(spring)["o0"] == ("ann", pd.Timestamp("2026-03-29T20:00Z")), "the first night of eight hours"


def test_parts_on_order_come_sooner_than_the_lead_time():
    seal = Part(part_id="seal", name="Seal", lead_time_days=20, on_order=(Delivery(quantity=1, expected_on=date(2026, 11, 3)),))
    work = orders({"parts": ("seal",), "priority": "low"}, {"parts": ("seal",), "priority": "high"})
    found = plan(work, site=a_site(a_technician(), parts=(seal,)), start=MONDAY, seed=1)
    assert planned(found) == {"o1": ("ann", MONDAY + pd.Timedelta(days=2))}, "Wednesday, after the day on which it is expected"
    assert only_unplanned(found)[0] == "parts missing until 2026-11-22: seal"
    assert the_change(found) == "seal at hand by Fri 2026-11-13 12:00"
    nearer = seal.model_copy(update={"on_order": (Delivery(quantity=2, expected_on=date(2026, 11, 12)),)})
    assert set(planned(plan(work, site=a_site(a_technician(), parts=(nearer,)), start=MONDAY, seed=1))) == {"o0", "o1"}


def test_work_lies_in_the_machines_stop_windows():
    window = StopWindow(days=("wed",), start=time(8), end=time(10))
    site = changed(a_site(a_technician()), {"stop_windows": (window,)})
    assert planned(plan(orders({}), site=site, start=MONDAY, seed=1))["o0"][1] == pd.Timestamp("2026-11-04T07:00Z")
    found = plan(orders({"duration_h": 3.0}), site=site, start=MONDAY, seed=1)
    assert only_unplanned(found)[0] == "m0 may not stop for 3 h of any shift within 14 days"
    assert the_change(found) == "a stop of m0 on Mon 2026-11-02 06:00 to 09:00"
    granted = StopWindow(start=time(6), end=time(9), first_day=date(2026, 11, 2), last_day=date(2026, 11, 2))
    site = changed(site, {"stop_windows": (window, granted)})
    assert planned(plan(orders({"duration_h": 3.0}), site=site, start=MONDAY, seed=1)) == {"o0": ("ann", MONDAY)}


def test_a_call_out_keeps_to_the_stop_windows_unless_it_would_be_late():
    window = StopWindow(start=time(20), end=time(23))
    site = changed(a_site(a_technician(), country=None), {"stop_windows": (window,)})
    saturday = pd.Timestamp("2026-11-07T05:00Z")
    urgent = {"priority": "urgent", "is_urgent": True}
    found = plan(orders({**urgent, "due_at": saturday + 18 * HOUR}), site=site, start=saturday, seed=1)
    assert planned(found) == {"o0": ("ann", saturday + 14 * HOUR)}
    found = plan(orders({**urgent, "due_at": saturday + 8 * HOUR}), site=site, start=saturday, seed=1)
    assert planned(found) == {"o0": ("ann", saturday + 4 * HOUR)}


def test_who_has_rested_is_called_out_first():
    start = MONDAY + 9 * HOUR  # after the early shift
    urgent = {"priority": "urgent", "is_urgent": True, "due_at": start + 12 * HOUR}
    work = orders({"duration_h": 8.0, "crew": (("welding",),)}, urgent)
    people = (a_technician("ann", skills=("mechanical", "welding")), a_technician("bob", skills=("mechanical", "electrical", "hydraulic")))
    found = plan(work, site=a_site(*people), start=start, seed=1)
    assert planned(found)["o0"] == ("ann", MONDAY + 24 * HOUR)
    assert planned(found)["o1"] == ("bob", start + 4 * HOUR), "ann begins nine hours after it ends"
    unrested = plan(work, site=a_site(*people, overtime_rest_h=9), start=start, seed=1)
    assert planned(unrested)["o1"] == ("ann", start + 4 * HOUR)


def test_nobody_is_in_two_areas_without_the_time_to_travel():
    site = a_site(a_technician())
    apart = changed(site, {"area": "yard"}).model_copy(update={"travel": (Travel(between=("yard", "main"), minutes=40),)})
    work = orders({}, {"duration_h": 1.75})
    assert planned(plan(work, site=site, start=MONDAY, seed=1))["o0"] == ("ann", MONDAY)
    starts = sorted(start for _, start in planned(plan(work, site=apart, start=MONDAY, seed=1)).values())
    # The 1.75 h first: 15 of the 40 minutes are left of its last half hour, another half hour for the rest.
    assert starts == [MONDAY, MONDAY + 2.5 * HOUR]


def test_a_full_plan_says_who_is_wanted():
    work = orders(*({"duration_h": 8.0, "priority": p} for p in ("low", "high", "high")))
    site = a_site(a_technician("ann"), horizon_days=2)
    found = plan(work, site=site, start=MONDAY, seed=1)
    assert only_unplanned(found)[0] == "no free shift within 2 days"
    assert the_change(found) == "a second technician with mechanical on Mon 2026-11-02 06:00 to 14:00"
    monday_only = a_technician("eve", absent_on=(date(2026, 11, 3),))
    assert plan(work, site=a_site(a_technician("ann"), monday_only, horizon_days=2), start=MONDAY, seed=1).unplanned.empty
    assert the_change(plan(orders({"crew": (("welding",),)}), site=site, start=MONDAY, seed=1)) == (
        "a technician with welding on Mon 2026-11-02 06:00 to 08:00"
    )
    short = plan(orders({"duration_h": 9.5}), site=site, start=MONDAY, seed=1)
    assert the_change(short) == "2 h of overtime by ann on Mon 2026-11-02"


def test_many_orders_are_within_a_few_percent_of_the_best():
    """Forty orders on four alike technicians: so that a bound of each job alone would say nothing."""
    people = [a_technician(f"t{i}") for i in range(4)]
    work = orders(*({"machine_id": f"m{i % 6}", "duration_h": 1.0 + i % 5, "risk_cost": 100.0 * (i % 7)} for i in range(40)))
    site = a_site(*people)
    machines = tuple(site.machines[0].model_copy(update={"machine_id": f"m{i}"}) for i in range(40))
    work["machine_id"] = [m.machine_id for m in machines]
    found = plan(work, site=site.model_copy(update={"machines": machines}), start=MONDAY, seed=1)
    assert broken_rules(found, work, site=site.model_copy(update={"machines": machines, "country": None}), start=MONDAY) == []
    assert found.gap < 0.05
