"""People change an order's priority, window and skills: audited, done once, and no assessment takes it back."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pandas as pd
import pytest
from sqlalchemy import select

from ml.plant import ApprovalPolicy
from ml.policy import IllegalMove, OrderProposal
from resources.ledger.deeds import Completion, Decision
from resources.ledger.ledger import LedgerResource
from resources.ledger.opening import open_or_join
from resources.ledger.plans import assignments_of_plan, changes_after, orders_to_plan, replace_plan
from resources.ledger.rewind import rewind
from resources.ledger.tables import decisions, work_order_events
from resources.ledger.work import complete, decide, order_row
from tests.ledger_states import waiting_order

DAY = date(2026, 10, 5)
NOON = datetime(2026, 10, 5, 12, tzinfo=UTC)
WINDOW = {"not_before": NOON + timedelta(days=2), "not_after": NOON + timedelta(days=3)}


def change(order_id: str, *, request_id: str = "", **changes: Any) -> Decision:
    return Decision(order_id, "modify", "ada", "production asked", NOON, request_id=request_id, **changes)


def changed(ledger: LedgerResource, order_id: str, **changes: Any) -> bool:
    with ledger.begin() as connection:
        return decide(connection, change(order_id, **changes))


def row(ledger: LedgerResource, order_id: str) -> dict[str, Any]:
    with ledger.begin() as connection:
        return order_row(connection, order_id)


def approve(ledger: LedgerResource, order_id: str) -> None:
    with ledger.begin() as connection:
        assert decide(connection, Decision(order_id, "approve", "ada", "seen it", NOON))


def assess_again(ledger: LedgerResource, order_id: str, *, state: str = "awaiting_decision", mode: str = "VIB") -> None:
    """The next day finds it urgent, due sooner, and work for another trade."""
    tomorrow = OrderProposal(
        machine_id="P1",
        failure_mode=mode,
        priority="urgent",
        risk_cost=900.0,
        probability_7d=0.8,
        probability_30d=0.9,
        confidence=0.95,
        is_urgent=True,
        due_at=pd.Timestamp(NOON + timedelta(days=4)),
        title="Repair P1 now",
        actions=("Look",),
        reason="worse",
        incident_ids=("P1@i",),
        crew=(("electrical",),),
        duration_h=2.0,
        parts=(),
    )
    with ledger.begin() as connection:
        as_of = NOON + timedelta(days=1)
        found = open_or_join(
            connection, tomorrow, site="s", day=DAY + timedelta(days=1), state=(state, "policy"), as_of=as_of, policy=ApprovalPolicy()
        )
    assert found == order_id


def planned(ledger: LedgerResource, order_id: str) -> None:
    place = {"order_id": order_id, "technician_id": "t", "start_at": NOON, "end_at": NOON + timedelta(hours=2)}
    plan = {"start_at": NOON, "status": "optimal", "objective": 0.0, "gap": 0.0}
    with ledger.begin() as connection:
        assigned = pd.DataFrame([{**place, "is_overtime": False, "is_late": False}])
        replace_plan(connection, plan, site="s", day=DAY, assigned=assigned, unplanned=pd.DataFrame())


def test_a_modification_changes_the_work_not_the_state_and_is_audited(ledger: LedgerResource) -> None:
    order = waiting_order(ledger, "s")
    assert changed(ledger, order, priority="urgent", skills=["electrical"], confidence=0.8, request_id="r", **WINDOW)
    after = row(ledger, order)
    assert (after["state"], after["priority"], after["is_urgent"], after["crew"]) == ("awaiting_decision", "urgent", True, [["electrical"]])
    assert (after["not_before"], after["due_at"]) == (WINDOW["not_before"], WINDOW["not_after"])
    with ledger.begin() as connection:
        said = connection.execute(select(decisions)).mappings().one()
        e = work_order_events
        event = connection.execute(select(e).order_by(e.c.event_id.desc()).limit(1)).mappings().one()
    assert (said["decision"], said["operator"], said["reason"], said["confidence"]) == ("modify", "ada", "production asked", 0.8)
    assert (said["priority"], said["skills"], said["not_before"]) == ("urgent", ["electrical"], WINDOW["not_before"])
    assert (event["from_state"], event["to_state"], event["who"], event["request_id"]) == (
        "awaiting_decision", "awaiting_decision", "ada", "r",
    )  # fmt: skip
    assert event["why"] == (
        "production asked (priority urgent, not before 2026-10-07 12:00 UTC, not after 2026-10-08 12:00 UTC, skills electrical)"
    )


def test_a_repeated_modification_changes_nothing(ledger: LedgerResource) -> None:
    order = waiting_order(ledger, "s")
    assert changed(ledger, order, priority="low", request_id="r")
    assert changed(ledger, order, priority="medium")
    assert not changed(ledger, order, priority="low", request_id="r")
    assert row(ledger, order)["priority"] == "medium"


def test_what_a_person_set_stays_when_the_next_day_is_assessed(ledger: LedgerResource) -> None:
    order = waiting_order(ledger, "s")
    changed(ledger, order, priority="low", skills=["mechanical", "crane"], not_after=NOON + timedelta(days=9))
    assess_again(ledger, order)
    after = row(ledger, order)
    assert (after["priority"], after["is_urgent"]) == ("low", False)
    assert (after["crew"], after["due_at"]) == ([["mechanical", "crane"]], NOON + timedelta(days=9))
    assert (after["risk_cost"], after["title"], after["reason"]) == (900.0, "Repair P1 now", "worse"), "all else follows the findings"


def test_what_nobody_set_follows_the_next_day(ledger: LedgerResource) -> None:
    order = waiting_order(ledger, "s")
    changed(ledger, order, skills=["crane"])
    assess_again(ledger, order)
    after = row(ledger, order)
    assert (after["priority"], after["is_urgent"], after["due_at"]) == ("urgent", True, NOON + timedelta(days=4))


def test_a_ledger_taken_back_forgets_what_a_person_set_since_and_keeps_what_was_set_before(ledger: LedgerResource) -> None:
    later, before = waiting_order(ledger, "s"), waiting_order(ledger, "s", machine="P2")
    for order, at in ((later, NOON + timedelta(days=2)), (before, NOON)):
        with ledger.begin() as connection:
            decide(connection, replace(change(order, skills=["crane"], not_before=NOON + timedelta(days=3)), decided_at=at))
    with ledger.begin() as connection:
        rewind(connection, site="s", start=DAY + timedelta(days=1))
    assert (row(ledger, later)["set_by_people"], row(ledger, later)["not_before"]) == (None, None)
    assert row(ledger, before)["set_by_people"] == ["crew", "not_before"]
    assert row(ledger, before)["not_before"] == NOON + timedelta(days=3)
    assess_again(ledger, later)
    assert row(ledger, later)["crew"] == [["electrical"]]


def test_the_policy_does_not_approve_what_a_person_called_less_than_urgent(ledger: LedgerResource) -> None:
    lowered, kept = waiting_order(ledger, "s"), waiting_order(ledger, "s", machine="P2")
    changed(ledger, lowered, priority="medium")
    assess_again(ledger, lowered, state="approved")
    assert row(ledger, lowered)["state"] == "awaiting_decision"
    approve(ledger, lowered)
    assert row(ledger, lowered)["state"] == "approved"
    assert row(ledger, kept)["state"] == "awaiting_decision"


def test_the_policy_approves_what_a_person_only_gave_other_skills(ledger: LedgerResource) -> None:
    order = waiting_order(ledger, "s")
    changed(ledger, order, skills=["crane"])
    assess_again(ledger, order, state="approved")
    assert row(ledger, order)["state"] == "approved"


@pytest.mark.parametrize(
    ("changes", "state", "is_planned"),
    [({"skills": ["electrical"]}, "approved", False), (WINDOW, "approved", False), ({"priority": "low"}, "scheduled", True)],
)
def test_a_place_is_given_up_where_it_may_no_longer_do(
    ledger: LedgerResource, changes: dict[str, Any], state: str, *, is_planned: bool
) -> None:
    order = waiting_order(ledger, "s")
    approve(ledger, order)
    planned(ledger, order)
    assert row(ledger, order)["state"] == "scheduled"
    with ledger.begin() as connection:
        last = changes_after(connection, after=0)[-1].event_id
    changed(ledger, order, **changes)
    with ledger.begin() as connection:
        assert len(assignments_of_plan(connection, site="s")) == int(is_planned)
        assert [c.site for c in changes_after(connection, after=last)] == ["s"], "a new plan is asked for"
        to_plan = orders_to_plan(connection, site="s", before=NOON + timedelta(days=1))
    assert row(ledger, order)["state"] == state
    assert list(to_plan["ready_at"]) == [pd.Timestamp(NOON)], "it was approved when it was approved"


def test_a_window_too_short_for_the_work_is_refused_and_leaves_no_trace(ledger: LedgerResource) -> None:
    order = waiting_order(ledger, "s")  # 2 h of work, due at noon on the 12th
    before = row(ledger, order)
    with pytest.raises(ValueError, match="takes 2 h and does not fit into the window from 2026-10-12 10:01 UTC to 2026-10-12 12:00 UTC"):
        changed(ledger, order, not_before=NOON + timedelta(days=7, hours=-2, minutes=1))
    assert row(ledger, order) == before
    with ledger.begin() as connection:
        assert connection.execute(select(decisions)).all() == []
    assert changed(ledger, order, not_before=NOON + timedelta(days=7, hours=-2))


def test_work_that_goes_on_or_is_over_is_not_modified(ledger: LedgerResource) -> None:
    order = waiting_order(ledger, "s")
    approve(ledger, order)
    with ledger.begin() as connection:
        complete(connection, Completion(order, "ben", NOON, NOON + timedelta(hours=1), "VIB"))
    with pytest.raises(IllegalMove, match="a work order that is completed cannot be modified; only one that is proposed, awaiting"):
        changed(ledger, order, priority="low")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"decision": "modify"}, "needs at least one of them"),
        ({"decision": "approve", "priority": "low"}, "belong to the decision modify"),
        ({"decision": "modify", "priority": "soon"}, "priority is 'soon'; it must be one of urgent, high, medium, low"),
        ({"decision": "modify", "skills": []}, "at least one skill"),
        ({"decision": "modify", "not_after": datetime(2026, 10, 9)}, "must be aware"),  # noqa: DTZ001
        ({"decision": "approve", "confidence": 1.1}, "must be a number from 0 to 1"),
        ({"decision": "approve", "confidence": float("nan")}, "must be a number from 0 to 1"),
    ],
)
def test_a_modification_that_makes_no_sense_is_refused_with_a_sentence(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        replace(Decision("o", "approve", "ada", "x", NOON), **values)
