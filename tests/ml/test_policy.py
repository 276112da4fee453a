"""Work-order states, risk, proposals and who decides, against tables and numbers made by hand."""

from itertools import product

import pandas as pd
import pytest

from ml.plant import ApprovalPolicy, Machine, Part, Policy, RepairPlan, Sensor, Site
from ml.policy import (
    MOVES,
    OPEN_STATES,
    SCHEDULABLE,
    STATES,
    TERMINAL_STATES,
    UNDECIDED,
    ClosedOrder,
    IllegalMove,
    OrderProposal,
    check_move,
    due_by,
    follow_up,
    initial_state,
    is_expired,
    is_urgent,
    priority_of,
    probability_within,
    propose,
    risk,
    why_again,
)

AS_OF = pd.Timestamp("2026-03-11T00:00Z")

# One row per state; columns in the order of the header.
ALLOWED = """
                  proposed awaiting approved scheduled in_progress completed rejected deferred cancelled
proposed          -        x        x        -         -           -         -        -        x
awaiting_decision -        -        x        -         -           -         x        x        x
approved          -        -        -        x         x           -         -        x        x
scheduled         -        -        x        -         x           x         -        x        x
in_progress       -        -        x        -         -           x         -        -        x
completed         -        -        -        -         -           -         -        -        -
rejected          -        -        -        -         -           -         -        -        -
deferred          -        x        x        -         -           -         x        -        x
cancelled         -        -        -        -         -           -         -        -        -
"""


def a_site(**approval: float) -> Site:
    machines = tuple(
        Machine(machine_id=name, machine_class="pump", criticality=criticality, downtime_cost_per_hour=cost, sensors=(sensor,))
        for name, criticality, cost, sensor in (
            ("p1", "critical", 1000, Sensor(sensor_id="s1", type="vibration", unit="mm/s")),
            ("p2", "low", 200, Sensor(sensor_id="s2", type="vibration", unit="mm/s")),
        )
    )
    repair = RepairPlan(skills=("mechanical",), duration_h=4, parts=("bearing",), actions=("Replace the bearing",), unplanned_downtime_h=16)
    return Site(
        site="a", name="A", first_day="2026-01-01", machines=machines, parts=(Part(part_id="bearing", name="Bearing"),),
        repairs={"VIB": repair}, policy=Policy(approval=ApprovalPolicy(**approval)),
    )  # fmt: skip


def incidents(*rows: tuple[str, str, str, str, float]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["incident_id", "machine_id", "failure_mode", "verdict", "confidence"])
    return frame.assign(peak_score=0.9, onset_at=AS_OF)


def predictions(*rows: tuple[str, str, float | None, float | None, float | None]) -> pd.DataFrame:
    names = ["machine_id", "failure_mode", "probability_7d", "probability_30d", "ttf_p10_days"]
    return pd.DataFrame(rows, columns=names).astype(dict.fromkeys(names[2:], "float64"))


def only(proposals: list[OrderProposal]) -> OrderProposal:
    assert len(proposals) == 1
    return proposals[0]


def test_every_move_is_allowed_or_refused_as_the_table_says():
    lines = [line.split() for line in ALLOWED.strip().splitlines()]
    columns = ["awaiting_decision" if c == "awaiting" else c for c in lines[0]]
    assert columns == [line[0] for line in lines[1:]] == list(STATES)
    allowed = {(line[0], new) for line in lines[1:] for new, mark in zip(columns, line[1:], strict=True) if mark == "x"}
    for old, new in product(STATES, STATES):
        if (old, new) in allowed:
            check_move(old, new)
        else:
            with pytest.raises(IllegalMove):
                check_move(old, new)


def test_a_refused_move_names_the_allowed_ones():
    with pytest.raises(
        IllegalMove, match="awaiting_decision cannot become completed; allowed from here: approved, rejected, deferred, cancelled"
    ):
        check_move("awaiting_decision", "completed")
    with pytest.raises(IllegalMove, match="closed for good"):
        check_move("completed", "approved")
    with pytest.raises(IllegalMove, match="'done' is no state"):
        check_move("done", "approved")


def test_the_sets_of_states():
    assert {"completed", "rejected", "cancelled"} == TERMINAL_STATES
    assert set(MOVES) - {"completed", "rejected", "cancelled"} == OPEN_STATES
    assert {"approved", "scheduled"} == SCHEDULABLE
    assert {"proposed", "awaiting_decision"} == UNDECIDED


def test_risk_is_probability_times_criticality_times_outage_times_cost():
    site = a_site()
    assert risk(0.5, machine=site.machine("p1"), repair=site.repair("VIB")) == pytest.approx(0.5 * 2 * 16 * 1000)
    assert risk(0.5, machine=site.machine("p2"), repair=site.repair("VIB")) == pytest.approx(0.5 * 0.5 * 16 * 200)


def test_probability_within_days_runs_through_both_known_points():
    def at(days: float) -> float:
        return probability_within(days, probability_7d=0.36, probability_30d=0.75)

    assert [at(0), at(7), at(30), at(60)] == pytest.approx([0, 0.36, 0.75, 0.75])
    assert at(3.5) == pytest.approx(0.2)  # survival 0.64 in 7 days is 0.8 in half of them
    assert at(18.5) == pytest.approx(0.6)  # halfway: survival sqrt(0.64 x 0.25) = 0.4
    assert probability_within(20, probability_7d=1, probability_30d=1) == 1


def test_urgent_looks_as_far_ahead_as_the_policy_says():
    week, day = ApprovalPolicy(auto_approve_probability=0.7), ApprovalPolicy(auto_approve_probability=0.7, urgent_within_days=1)
    assert is_urgent(0.7, 0.9, policy=week)
    assert not is_urgent(0.69, 0.9, policy=week)
    assert not is_urgent(0.7, 0.9, policy=day)  # 1 - 0.3 ** (1 / 7) = 16 %


@pytest.mark.parametrize(
    ("p7", "p30", "p10", "risk_cost", "is_credible", "expected"),
    [
        (0.7, 0.7, 3, 0, False, "urgent"),
        (0.1, 0.2, 7, 0, False, "high"),  # p10 within 7 days
        (0.0, 0.7, 20, 0, False, "high"),
        (0.0, 0.1, None, 4800, False, "high"),  # 8 h at the site's mean of 600 an hour
        (0.0, 0.3, None, 0, False, "medium"),
        (0.0, 0.1, None, 1200, False, "medium"),  # 2 h
        (0.0, 0.0, None, 0, True, "medium"),
        (0.0, 0.29, 28, 1199, False, "low"),
    ],
)
def test_priority(p7: float, p30: float, p10: float | None, risk_cost: float, is_credible: bool, expected: str):
    got = priority_of(probability_7d=p7, probability_30d=p30, ttf_p10_days=p10, risk_cost=risk_cost, is_credible=is_credible, site=a_site())
    assert got == expected


def test_work_is_due_before_p10_else_by_priority_and_never_before_it_can_be_done():
    def due(priority: str, p10: float | None) -> pd.Timestamp:
        return due_by(as_of=AS_OF, priority=priority, ttf_p10_days=p10, duration_h=4, site=a_site())

    assert due("high", 3.5) == AS_OF + pd.Timedelta(days=3.5)
    assert [(due(p, None) - AS_OF).days for p in ("urgent", "high", "medium", "low")] == [2, 7, 14, 30]
    assert due("urgent", 0.0) == AS_OF + pd.Timedelta(hours=8)  # 4 h to come, 4 h of work


def test_a_likely_failure_with_a_credible_incident_is_a_repair():
    order = only(
        propose(incidents(("i1", "p1", "VIB", "credible", 0.9)), predictions(("p1", "VIB", 0.8, 0.95, 2.0)), site=a_site(), as_of=AS_OF)
    )
    assert (order.priority, order.is_urgent, order.confidence, order.incident_ids) == ("urgent", True, 0.9, ("i1",))
    assert order.risk_cost == pytest.approx(0.95 * 2 * 16 * 1000)
    assert order.due_at == AS_OF + pd.Timedelta(days=2)
    assert order.title == "Repair p1: vibration (bearing wear)"
    assert (order.actions, order.crew, order.duration_h, order.parts) == (("Replace the bearing",), (("mechanical",),), 4, ("bearing",))
    assert order.reason == (
        "1 incident, confidence 90%, peak score 0.90; failure within 30 days with probability 95%, one chance in ten within 2.0 days."
    )


def test_several_incidents_join_one_order_per_machine_and_failure_mode():
    rows = incidents(("i1", "p1", "VIB", "credible", 0.8), ("i2", "p1", "VIB", "credible", 0.9), ("i3", "p1", "OHE", "credible", 0.75))
    orders = propose(rows, predictions(), site=a_site(), as_of=AS_OF)
    assert [(o.failure_mode, o.incident_ids, o.confidence) for o in orders] == [("OHE", ("i3",), 0.75), ("VIB", ("i1", "i2"), 0.9)]


def test_a_credible_incident_without_a_forecast_is_worth_an_inspection():
    order = only(
        propose(incidents(("i1", "p2", "VIB", "credible", 0.7)), predictions(("p2", "VIB", None, None, None)), site=a_site(), as_of=AS_OF)
    )
    assert (order.title.split()[0], order.actions[0], order.priority) == ("Inspect", "Inspect for vibration (bearing wear)", "medium")
    assert (order.probability_7d, order.probability_30d, order.risk_cost, order.is_urgent) == (None, None, 0.0, False)


def test_a_suspected_false_positive_never_makes_an_order():
    rows = incidents(("i1", "p1", "VIB", "false_positive_suspected", 0.95))
    assert propose(rows, predictions(("p1", "VIB", 1.0, 1.0, 0.0)), site=a_site(), as_of=AS_OF) == []


@pytest.mark.parametrize(("verdict", "confidence", "p30", "n"), [
    ("investigate", 0.6, 0.3, 1), ("investigate", 0.6, 0.29, 0), ("investigate", 0.99, None, 0),
    ("credible", 0.69, 0.0, 0), ("credible", 0.69, 0.3, 1), ("credible", 0.7, 0.0, 1),
])  # fmt: skip
def test_thresholds_of_proposing(verdict: str, confidence: float, p30: float | None, n: int):
    rows = incidents(("i1", "p1", "VIB", verdict, confidence))
    assert len(propose(rows, predictions(("p1", "VIB", 0.0, p30, None)), site=a_site(), as_of=AS_OF)) == n


def test_a_prediction_without_an_incident_is_for_a_human_to_decide():
    order = only(propose(incidents(), predictions(("p1", "VIB", 0.9, 0.9, 1.0)), site=a_site(), as_of=AS_OF))
    assert (order.confidence, order.is_urgent) == (0.0, True)
    assert initial_state(order, a_site().policy.approval)[0] == "awaiting_decision"
    assert propose(incidents(), predictions(("gone", "VIB", 0.9, 0.9, 1.0)), site=a_site(), as_of=AS_OF) == []


@pytest.mark.parametrize(
    ("p7", "confidence", "expected"), [(0.7, 0.85, "approved"), (0.69, 0.85, "awaiting_decision"), (0.7, 0.84, "awaiting_decision")]
)
def test_automatic_approval_needs_both_urgency_and_confidence(p7: float, confidence: float, expected: str):
    rows = incidents(("i1", "p1", "VIB", "credible", confidence))
    order = only(propose(rows, predictions(("p1", "VIB", p7, 0.9, 2.0)), site=a_site(), as_of=AS_OF))
    state, why = initial_state(order, a_site().policy.approval)
    assert state == expected
    assert "70%" in why
    assert "85%" in why


@pytest.mark.parametrize(("hours", "expected"), [(0, None), (23.9, None), (24, "remind"), (71.9, "remind"), (72, "escalate")])
def test_an_unanswered_order_is_reminded_then_escalated(hours: float, expected: str | None):
    assert follow_up(AS_OF, AS_OF + pd.Timedelta(hours=hours), policy=ApprovalPolicy()) == expected


@pytest.mark.parametrize(("expire_after_h", "hours", "expected"), [(None, 9999, False), (240, 239.9, False), (240, 240, True)])
def test_an_unanswered_order_expires_where_the_policy_says_so(expire_after_h: float | None, hours: float, expected: bool):
    policy = ApprovalPolicy(expire_after_h=expire_after_h)
    assert is_expired(AS_OF, AS_OF + pd.Timedelta(hours=hours), policy=policy) is expected


def test_nothing_expires_before_people_have_heard_of_it():
    with pytest.raises(ValueError, match="expire_after_h must not be less"):
        ApprovalPolicy(expire_after_h=71)


@pytest.mark.parametrize(
    ("state", "mode", "before", "now", "new", "expected"),
    [
        ("rejected", "VIB", 0.4, 0.59, (), None),
        ("rejected", "VIB", 0.4, 0.6, (), "probability 40% -> 60%"),
        ("completed", "VIB", 0.4, 0.85, (), "probability 40% -> 85%"),
        ("completed", "VIB", 0.9, 0.9, (), None),
        ("cancelled", "VIB", None, 0.2, (), "probability 0% -> 20%"),
        ("rejected", "VIB", 0.4, None, ("i",), "1 new incident"),
        ("completed", "VIB", 0.2, 0.8, ("i", "j"), "2 new incidents, probability 20% -> 80%"),
        ("completed", "PDE", 0.4, 0.4, (), "failure mode PDE became VIB"),
        ("rejected", "PDE", 0.4, 0.4, (), None),
    ],
)
def test_closed_work_comes_back_only_for_something_new(
    state: str, mode: str, before: float | None, now: float | None, new: tuple[str, ...], expected: str | None
):
    order = only(
        propose(incidents(("i", "p1", "VIB", "credible", 0.9)), predictions(("p1", "VIB", 0.0, now, None)), site=a_site(), as_of=AS_OF)
    )
    got = why_again(order, closed=ClosedOrder("WO-1", mode, state, before), new_incidents=new, policy=ApprovalPolicy())
    assert got == (expected and f"again after WO-1 was {state}: {expected}")


def test_a_missing_column_is_named():
    with pytest.raises(ValueError, match="incidents lacks the columns verdict"):
        propose(incidents().drop(columns="verdict"), predictions(), site=a_site(), as_of=AS_OF)
