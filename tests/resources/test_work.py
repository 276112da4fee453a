"""Work orders in the ledger: decisions gate, history is audited, nobody's order is opened twice."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pandas as pd
import pytest
from sqlalchemy import insert, select

from ml.plant import ApprovalPolicy
from ml.policy import IllegalMove, OrderProposal
from resources.ledger.deeds import Completion, Decision
from resources.ledger.findings import Label, label_incidents, labelled_incidents, labels_of, repaired_at
from resources.ledger.ledger import LedgerResource
from resources.ledger.opening import open_or_join
from resources.ledger.plans import assignments_of_plan, assignments_on, last_change_on, orders_to_plan, replace_plan
from resources.ledger.tables import (
    incident_assessments,
    incidents,
    plans,
    unplanned_orders,
    work_order_events,
    work_order_incidents,
    work_orders,
)
from resources.ledger.work import UnknownOrder, complete, decide, order_row, orders_awaiting, remind, resume_deferred

DAY = date(2026, 10, 5)
NOON = datetime(2026, 10, 5, 12, tzinfo=UTC)
WAITS = ("awaiting_decision", "needs a decision")
APPROVED = ("approved", "urgent")
ONE_DAY = timedelta(days=1)


def proposal(*incident_ids: str, machine: str = "P1", mode: str = "VIB", probability: float = 0.4) -> OrderProposal:
    return OrderProposal(
        machine_id=machine,
        failure_mode=mode,
        priority="high",
        risk_cost=100.0,
        probability_7d=probability / 2,
        probability_30d=probability,
        confidence=0.9,
        is_urgent=False,
        due_at=pd.Timestamp(NOON + timedelta(days=7)),
        title="Repair P1",
        actions=("Look",),
        reason="because",
        incident_ids=incident_ids,
        crew=(("mechanical",),),
        duration_h=2.0,
        parts=(),
    )


def opened(
    ledger: LedgerResource, wanted: OrderProposal, *, day: date = DAY, as_of: datetime = NOON, state: tuple[str, str] = WAITS
) -> str | None:
    with ledger.begin() as connection:
        for incident_id in wanted.incident_ids:
            if not connection.scalar(select(incidents.c.site).where(incidents.c.incident_id == incident_id)):
                onset = NOON + timedelta(minutes=len(incident_id))
                connection.execute(
                    insert(incidents).values(incident_id=incident_id, site="s", machine_id=wanted.machine_id, onset_at=onset)
                )
        return open_or_join(connection, wanted, site="s", day=day, state=state, as_of=as_of, policy=ApprovalPolicy())


def decision(order_id: str, word: str, *, request_id: str = "", at: datetime = NOON) -> Decision:
    until = at + timedelta(days=3) if word == "defer" else None
    return Decision(order_id, word, "ada", "seen it", at, defer_until=until, request_id=request_id)


def planned(ledger: LedgerResource, *order_ids: str, day: date = DAY) -> None:
    rows = [
        {
            "order_id": o,
            "technician_id": f"t{i}",
            "start_at": NOON,
            "end_at": NOON + timedelta(hours=2),
            "is_overtime": False,
            "is_late": False,
        }
        for i, o in enumerate(order_ids)
    ]
    plan = {"start_at": NOON, "status": "optimal", "objective": 0.0, "gap": 0.0}
    with ledger.begin() as connection:
        replace_plan(
            connection,
            plan,
            site="s",
            day=day,
            assigned=pd.DataFrame(rows, columns=["order_id", "technician_id", "start_at", "end_at", "is_overtime", "is_late"]),
            unplanned=pd.DataFrame(),
        )


def state_of(ledger: LedgerResource, order_id: str) -> str:
    with ledger.begin() as connection:
        return str(order_row(connection, order_id)["state"])


def to_plan(ledger: LedgerResource) -> list[str]:
    with ledger.begin() as connection:
        return list(orders_to_plan(connection, site="s", before=NOON + timedelta(days=1))["order_id"])


def test_an_order_that_waits_is_not_planned_and_an_approved_one_is(ledger: LedgerResource) -> None:
    order = opened(ledger, proposal("i1"))
    assert order == "WO-P1-VIB-20261005"
    assert to_plan(ledger) == []
    with ledger.begin() as connection:
        assert decide(connection, decision(order, "approve"))
    assert to_plan(ledger) == [order]
    planned(ledger, order)
    assert state_of(ledger, order) == "scheduled"


def test_a_rejected_order_never_reaches_the_plan_and_comes_not_back(ledger: LedgerResource) -> None:
    order = opened(ledger, proposal("i1"))
    assert order
    with ledger.begin() as connection:
        decide(connection, decision(order, "reject"))
    assert to_plan(ledger) == []
    assert opened(ledger, proposal("i1"), day=DAY + timedelta(days=1)) is None
    with ledger.begin() as connection:
        assert connection.scalar(select(incidents.c.label).where(incidents.c.incident_id == "i1")) is None, "work may be refused for cost"
        with pytest.raises(IllegalMove, match="closed for good"):
            decide(connection, decision(order, "approve", request_id="second"))


def test_a_deferred_order_leaves_the_plan(ledger: LedgerResource) -> None:
    order = opened(ledger, proposal("i1"), state=("approved", "urgent"))
    assert order
    planned(ledger, order)
    with ledger.begin() as connection:
        decide(connection, decision(order, "defer"))
        assert assignments_of_plan(connection, site="s").empty
    assert to_plan(ledger) == []


def test_a_repeated_request_changes_nothing(ledger: LedgerResource) -> None:
    order = opened(ledger, proposal("i1"))
    assert order
    with ledger.begin() as connection:
        assert decide(connection, decision(order, "approve", request_id="r"))
        assert not decide(connection, decision(order, "approve", request_id="r"))
        n = len(connection.execute(select(work_order_events).where(work_order_events.c.order_id == order)).all())
    assert n == 3  # opened, awaiting, approved


def test_a_new_incident_joins_the_machines_open_order(ledger: LedgerResource) -> None:
    first = opened(ledger, proposal("i1"))
    assert opened(ledger, proposal("i1", "i22", probability=0.8), day=DAY + timedelta(days=1)) == first
    with ledger.begin() as connection:
        assert order_row(connection, str(first))["probability_30d"] == 0.8
    assert opened(ledger, proposal("i1"), day=DAY) == first
    with ledger.begin() as connection:
        assert order_row(connection, str(first))["probability_30d"] == 0.8, "an earlier day's figures do not replace a later day's"


def test_two_runs_at_once_open_one_order(ledger: LedgerResource) -> None:
    wanted = proposal()
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: opened(ledger, wanted), range(16)))
    with ledger.begin() as connection:
        stored = connection.scalars(select(work_orders.c.order_id)).all()
        events = connection.execute(
            select(work_order_events.c.from_state, work_order_events.c.to_state).order_by(work_order_events.c.event_id)
        ).all()
    assert stored == ["WO-P1-VIB-20261005"]
    assert found <= {"WO-P1-VIB-20261005", None}
    assert [tuple(e) for e in events] == [(None, "proposed"), ("proposed", "awaiting_decision")]


def test_finished_work_closes_the_order_and_labels_its_incidents(ledger: LedgerResource) -> None:
    order = opened(ledger, proposal("i1"), state=("approved", "urgent"))
    assert order
    done = Completion(order, "ben", NOON, NOON + timedelta(hours=2), "VIB", request_id="c")
    with ledger.begin() as connection:
        assert complete(connection, done)
        assert not complete(connection, done)
        assert connection.scalar(select(incidents.c.label).where(incidents.c.incident_id == "i1")) == "confirmed"
    assert state_of(ledger, order) == "completed"


def test_wrong_decisions_are_refused_with_a_sentence(ledger: LedgerResource) -> None:
    with pytest.raises(ValueError, match="must be one of approve, reject, defer, cancel"):
        Decision("o", "perhaps", "ada", "x", NOON)
    with pytest.raises(ValueError, match="operator and reason"):
        Decision("o", "approve", " ", "x", NOON)
    with ledger.begin() as connection, pytest.raises(UnknownOrder, match="no work order 'o'"):
        decide(connection, Decision("o", "approve", "ada", "x", NOON))


def finished(ledger: LedgerResource, order_id: str, *, at: datetime = NOON) -> None:
    with ledger.begin() as connection:
        assert complete(connection, Completion(order_id, "ben", at - timedelta(hours=1), at, "VIB"))


def decided(ledger: LedgerResource, order_id: str, word: str, *, at: datetime = NOON) -> None:
    with ledger.begin() as connection:
        assert decide(connection, decision(order_id, word, at=at))


def order_of(ledger: LedgerResource, order_id: str | None) -> dict[str, Any]:
    assert order_id
    with ledger.begin() as connection:
        return order_row(connection, order_id)


def links(ledger: LedgerResource) -> dict[str, str]:
    with ledger.begin() as connection:
        rows = connection.execute(select(work_order_incidents.c.incident_id, work_order_incidents.c.order_id))
        return {row.incident_id: row.order_id for row in rows}


def everything(ledger: LedgerResource) -> list[list[str]]:
    with ledger.begin() as connection:
        return [
            [str(r) for r in connection.execute(select(t).order_by(*t.primary_key))]
            for t in (work_orders, work_order_events, work_order_incidents)
        ]


def assessed(ledger: LedgerResource, incident_id: str, mode: str, *, day: date) -> None:
    row = {
        "incident_id": incident_id, "day": day, "site": "s", "last_window_at": NOON, "n_windows": 6, "duration_s": 3600, "peak_score": 0.9,
        "mean_score": 0.8, "n_members_agreeing": 3, "n_sensors_moved": 1, "top_sensor_id": "x", "direction": 1, "failure_mode": mode,
        "moved_sensors": {}, "evidence": {}, "confidence_before": 0.9, "confidence_by_rules": 0.9, "confidence": 0.9,
        "verdict": "credible", "failed": [],
        "reasons": [], "rules": [], "model_version": 1,
    }  # fmt: skip
    with ledger.begin() as connection:
        connection.execute(insert(incident_assessments).values(row))


def test_a_new_incident_after_finished_work_opens_a_new_order_that_says_so(ledger: LedgerResource) -> None:
    first = opened(ledger, proposal("i1"), state=APPROVED)
    finished(ledger, str(first))
    later = {"day": DAY + ONE_DAY, "as_of": NOON + ONE_DAY}
    assert opened(ledger, proposal("i1"), **later) is None, "the incident that the work was for is no news"
    again = opened(ledger, proposal("i1", "i22"), **later)
    assert again == "WO-P1-VIB-20261006"
    assert order_of(ledger, again)["reason"] == "again after WO-P1-VIB-20261005 was completed: 1 new incident; because"
    assert links(ledger) == {"i1": first, "i22": again}
    before = everything(ledger)
    assert opened(ledger, proposal("i1", "i22"), **later) == again
    assert everything(ledger) == before, "the same day again changes nothing"


def test_a_second_order_on_one_day_has_an_id_of_its_own(ledger: LedgerResource) -> None:
    first = opened(ledger, proposal("i1"), state=APPROVED)
    finished(ledger, str(first))
    evening = NOON + timedelta(hours=8)
    assert opened(ledger, proposal("i22"), as_of=evening) == "WO-P1-VIB-20261005-2"


def test_rejected_work_comes_back_only_when_failure_has_become_much_more_probable(ledger: LedgerResource) -> None:
    first = opened(ledger, proposal("i1", probability=0.4))
    decided(ledger, str(first), "reject")
    later = {"day": DAY + ONE_DAY, "as_of": NOON + ONE_DAY}
    assert opened(ledger, proposal("i1", probability=0.59), **later) is None
    again = opened(ledger, proposal("i1", probability=0.6), **later)
    assert order_of(ledger, again)["reason"] == "again after WO-P1-VIB-20261005 was rejected: probability 40% -> 60%; because"
    decided(ledger, str(again), "reject", at=NOON + ONE_DAY)
    much_later = {"day": DAY + 2 * ONE_DAY, "as_of": NOON + 2 * ONE_DAY}
    assert opened(ledger, proposal("i1", probability=0.7), **much_later) is None, "measured against the order closed last"
    assert opened(ledger, proposal("i1", probability=0.8), **much_later) == "WO-P1-VIB-20261007"


def test_a_reopened_order_keeps_saying_what_went_before(ledger: LedgerResource) -> None:
    decided(ledger, str(opened(ledger, proposal("i1"))), "cancel")
    again = opened(ledger, proposal("i22"), day=DAY + ONE_DAY, as_of=NOON + ONE_DAY)
    assert opened(ledger, proposal("i22", probability=0.5), day=DAY + 2 * ONE_DAY, as_of=NOON + 2 * ONE_DAY) == again
    order = order_of(ledger, again)
    assert (order["probability_30d"], order["assessed_on"]) == (0.5, DAY + 2 * ONE_DAY)
    assert order["reason"] == "again after WO-P1-VIB-20261005 was cancelled: 1 new incident; because"


def test_a_past_day_processed_again_does_not_reopen_what_was_closed_since(ledger: LedgerResource) -> None:
    first = opened(ledger, proposal("i1"), state=APPROVED)
    finished(ledger, str(first), at=NOON + timedelta(hours=30))
    before = everything(ledger)
    assert opened(ledger, proposal("i1", "late", probability=1.0)) is None, "late data of the day"
    assert opened(ledger, proposal("late", mode="VIB"), as_of=NOON + timedelta(hours=30)) is None
    assert everything(ledger) == before
    assert opened(ledger, proposal("late"), day=DAY + 2 * ONE_DAY, as_of=NOON + timedelta(hours=31)) == "WO-P1-VIB-20261007"


def test_an_order_that_nobody_decided_on_follows_its_incidents_failure_mode(ledger: LedgerResource) -> None:
    first = opened(ledger, proposal("i1", mode="PDE"))
    assert first == "WO-P1-PDE-20261005"
    later = {"day": DAY + ONE_DAY, "as_of": NOON + ONE_DAY}
    changed = replace(
        proposal("i1", mode="VIB"), title="New", actions=("Do",), crew=(("electrical",), ("mechanical",)), parts=("seal",), duration_h=5.0
    )
    assert opened(ledger, changed, **later) == first
    order = order_of(ledger, first)
    assert (order["failure_mode"], order["title"], order["actions"]) == ("VIB", "New", ["Do"])
    assert (order["crew"], order["parts"], order["duration_h"], order["state"]) == (
        [["electrical"], ["mechanical"]],
        ["seal"],
        5.0,
        "awaiting_decision",
    )
    with ledger.begin() as connection:
        e = work_order_events
        last = connection.execute(select(e.c.from_state, e.c.to_state, e.c.why).order_by(e.c.event_id.desc()).limit(1)).one()
    assert tuple(last) == ("awaiting_decision", "awaiting_decision", "failure mode PDE became VIB")
    before = everything(ledger)
    assert opened(ledger, changed, **later) == first
    assert opened(ledger, proposal("i1", mode="PDE")) == first, "the earlier day again"
    assert everything(ledger) == before
    decided(ledger, str(first), "approve", at=NOON + ONE_DAY)
    assert opened(ledger, proposal("i1", mode="PDE")) == first, "and after the decision: later days know better"


def test_work_that_was_approved_stays_and_the_new_mode_gets_an_order_beside_it(ledger: LedgerResource) -> None:
    first = opened(ledger, proposal("i1", mode="PDE"), state=APPROVED)
    later = {"day": DAY + ONE_DAY, "as_of": NOON + ONE_DAY}
    second = opened(ledger, proposal("i1", mode="VIB"), **later)
    assert second == "WO-P1-VIB-20261006"
    assert order_of(ledger, second)["reason"] == "beside WO-P1-PDE-20261005, which is approved: failure mode PDE became VIB; because"
    assert order_of(ledger, first)["failure_mode"] == "PDE"
    before = everything(ledger)
    assert opened(ledger, proposal("i1", mode="PDE")) == first
    assert opened(ledger, proposal("i1", mode="VIB"), **later) == second
    assert everything(ledger) == before
    decided(ledger, str(second), "reject", at=NOON + ONE_DAY)
    after = {"day": DAY + 2 * ONE_DAY, "as_of": NOON + 2 * ONE_DAY}
    assert opened(ledger, proposal("i1", mode="VIB"), **after) is None, "a rejection is not asked for again"
    assert opened(ledger, proposal("i1", mode="VIB", probability=0.7), **after) == "WO-P1-VIB-20261007"


def test_an_old_order_of_the_new_mode_does_not_silence_an_incident_that_began_after_it(ledger: LedgerResource) -> None:
    old = opened(ledger, proposal("i1", mode="VIB"), state=APPROVED)
    finished(ledger, str(old), at=NOON - timedelta(hours=1))  # the incidents begin at noon
    later = {"day": DAY + ONE_DAY, "as_of": NOON + ONE_DAY}
    opened(ledger, proposal("i22", mode="PDE"), state=APPROVED, **later)
    assert opened(ledger, proposal("i22", mode="VIB"), day=DAY + 2 * ONE_DAY, as_of=NOON + 2 * ONE_DAY) == "WO-P1-VIB-20261007"


def test_an_order_keeps_its_mode_while_another_of_its_incidents_has_it(ledger: LedgerResource) -> None:
    later = {"day": DAY + ONE_DAY, "as_of": NOON + ONE_DAY}
    first = opened(ledger, proposal("i1", "i22", mode="PDE"))
    assessed(ledger, "i1", "VIB", day=DAY + ONE_DAY)
    assessed(ledger, "i22", "PDE", day=DAY + ONE_DAY)
    for _ in range(2):
        assert opened(ledger, proposal("i22", mode="PDE"), **later) == first
        assert opened(ledger, proposal("i1", mode="VIB"), **later) == "WO-P1-VIB-20261006"
    assert order_of(ledger, first)["failure_mode"] == "PDE"


def test_an_incident_whose_mode_has_an_open_order_joins_that(ledger: LedgerResource) -> None:
    opened(ledger, proposal("i1", mode="PDE"))
    vibration = opened(ledger, proposal("i22", mode="VIB"))
    assert opened(ledger, proposal("i1", "i22", mode="VIB"), day=DAY + ONE_DAY) == vibration
    assert opened(ledger, proposal("i22", "i333", mode="VIB"), day=DAY + ONE_DAY) == vibration
    assert links(ledger) == {"i1": "WO-P1-PDE-20261005", "i22": vibration, "i333": vibration}


def test_another_mode_after_finished_work_is_new_and_after_a_rejection_is_not(ledger: LedgerResource) -> None:
    later = {"day": DAY + ONE_DAY, "as_of": NOON + ONE_DAY}
    finished(ledger, str(opened(ledger, proposal("i1", mode="PDE"), state=APPROVED)))
    again = opened(ledger, proposal("i1", mode="VIB"), **later)
    assert order_of(ledger, again)["reason"] == "again after WO-P1-PDE-20261005 was completed: failure mode PDE became VIB; because"
    decided(ledger, str(opened(ledger, proposal("i22", machine="P2", mode="PDE"))), "reject")
    assert opened(ledger, proposal("i22", machine="P2", mode="VIB"), **later) is None


def test_each_wait_is_reminded_of_once(ledger: LedgerResource) -> None:
    order = str(opened(ledger, proposal("i1")))

    def reminded(at: datetime) -> bool:
        with ledger.begin() as connection:
            [(waiting, since)] = orders_awaiting(connection, site="s")
            return remind(connection, waiting, since=since, at=at, what="reminder")

    assert [reminded(NOON + ONE_DAY), reminded(NOON + 2 * ONE_DAY)] == [True, False]
    decided(ledger, order, "defer", at=NOON + 2 * ONE_DAY)
    with ledger.begin() as connection:
        assert resume_deferred(connection, site="s", until=NOON + 5 * ONE_DAY) == [order]
    assert [reminded(NOON + 6 * ONE_DAY), reminded(NOON + 7 * ONE_DAY)] == [True, False]


def test_finished_work_leaves_the_newest_plan_and_stays_in_the_earlier_ones(ledger: LedgerResource) -> None:
    first, second = (str(opened(ledger, proposal(i, machine=m), state=APPROVED)) for i, m in (("i1", "P1"), ("i22", "P2")))
    planned(ledger, first, second)
    planned(ledger, first, second, day=DAY + ONE_DAY)
    finished(ledger, first)
    with ledger.begin() as connection:
        assert list(assignments_of_plan(connection, site="s")["order_id"]) == [second]
        kept = assignments_on(connection, site="s", day=DAY)
        counts = connection.execute(select(plans.c.n_orders, plans.c.n_planned).order_by(plans.c.day)).all()
    assert kept is not None and set(kept["order_id"]) == {first, second}
    assert [tuple(c) for c in counts] == [(2, 2), (1, 1)]


def test_a_plan_made_before_a_rejection_and_stored_after_it_leaves_the_order_out(ledger: LedgerResource) -> None:
    order = str(opened(ledger, proposal("i1"), state=APPROVED))
    planned(ledger, order)
    decided(ledger, order, "cancel")
    planned(ledger, order, day=DAY + ONE_DAY)
    with ledger.begin() as connection:
        assert assignments_of_plan(connection, site="s").empty
        assert tuple(connection.execute(select(plans.c.n_orders, plans.c.n_planned).where(plans.c.day > DAY)).one()) == (0, 0)
    assert state_of(ledger, order) == "cancelled"


def test_an_order_without_a_place_leaves_the_newest_plan_too(ledger: LedgerResource) -> None:
    order = str(opened(ledger, proposal("i1"), state=APPROVED))
    nothing = pd.DataFrame(columns=["order_id"])
    left_out = pd.DataFrame([{"order_id": order, "reason": "no room", "earliest_alternative": None}])
    plan = {"start_at": NOON, "status": "optimal", "objective": 0.0, "gap": 0.0}
    with ledger.begin() as connection:
        replace_plan(connection, plan, site="s", day=DAY, assigned=nothing, unplanned=left_out)
    decided(ledger, order, "cancel")
    with ledger.begin() as connection:
        assert connection.execute(select(unplanned_orders)).all() == []
        assert tuple(connection.execute(select(plans.c.n_orders, plans.c.n_planned)).one()) == (0, 0)


def test_planners_and_deciders_at_once_wait_for_each_other(ledger: LedgerResource) -> None:
    orders = [str(opened(ledger, proposal(machine=f"P{n}"), state=APPROVED)) for n in range(6)]

    def act(n: int) -> None:
        if n % 3 == 0:
            decided(ledger, orders[n // 3], "cancel")
        else:
            planned(ledger, *(orders if n % 2 else reversed(orders)), day=DAY)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(act, range(18)))
    planned(ledger, *orders)
    assert [state_of(ledger, o) for o in orders] == ["cancelled"] * 6
    for n in range(1, 11):  # no order's row makes these wait: only the site's lock does
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(lambda day: planned(ledger, day=day), [DAY + n * ONE_DAY] * 6))
    with ledger.begin() as connection:
        assert assignments_of_plan(connection, site="s").empty


def test_a_plan_begins_after_the_last_thing_that_people_did_on_its_day(ledger: LedgerResource) -> None:
    first, second = (str(opened(ledger, proposal(i, machine=m))) for i, m in (("i1", "P1"), ("i22", "P2")))
    decided(ledger, first, "approve", at=NOON)
    decided(ledger, second, "approve", at=NOON + ONE_DAY)

    def last_change() -> datetime | None:
        with ledger.begin() as connection:
            return last_change_on(connection, site="s", start=NOON - ONE_DAY / 2, end=NOON + ONE_DAY / 2)

    assert last_change() == NOON
    finished(ledger, first, at=NOON + timedelta(hours=3))
    assert last_change() == NOON + timedelta(hours=3)


def test_a_completion_without_an_offset_is_refused(ledger: LedgerResource) -> None:
    with pytest.raises(ValueError, match="must be aware"):
        Completion("o", "ben", NOON, datetime(2026, 10, 5, 13), "VIB")  # noqa: DTZ001


def test_a_rejection_as_a_false_alarm_labels_the_incidents_of_its_order_and_says_who_and_why(ledger: LedgerResource) -> None:
    order = str(opened(ledger, proposal("i1", "i22")))
    opened(ledger, proposal("i3", machine="P2"))
    with ledger.begin() as connection:
        decide(connection, replace(decision(order, "reject"), is_false_alarm=True))
        assert dict(connection.execute(select(incidents.c.incident_id, incidents.c.label)).all()) == {
            "i1": "false_alarm", "i22": "false_alarm", "i3": None,
        }  # fmt: skip
        [said] = labels_of(connection, "i22")
    assert (said["label"], said["source"], said["who"], said["why"]) == ("false_alarm", "decision", "ada", "seen it")
    assert (said["at"], said["order_id"]) == (NOON, order)


@pytest.mark.parametrize("word", ["approve", "cancel", "defer"])
def test_only_a_rejection_can_be_a_false_alarm(word: str) -> None:
    with pytest.raises(ValueError, match="only a rejection"):
        replace(decision("o", word), is_false_alarm=True)


def test_of_several_labels_the_latest_holds_and_all_are_kept(ledger: LedgerResource) -> None:
    """Rejected as a false alarm, confirmed by a person, and what a technician found goes before what a desk said before."""
    first = str(opened(ledger, proposal("i1")))
    with ledger.begin() as connection:
        decide(connection, replace(decision(first, "reject"), is_false_alarm=True))
        label_incidents(connection, ["i1"], Label("confirmed", "person", "bea", "heard it", NOON + ONE_DAY))
        assert repaired_at(connection, site="s") == {}, "confirmed, but nobody has repaired it"
        assert [(said["label"], said["who"]) for said in labels_of(connection, "i1")] == [("false_alarm", "ada"), ("confirmed", "bea")]
        assert connection.scalar(select(incidents.c.label)) == "confirmed"


def test_work_that_found_the_fault_confirms_its_incidents_up_to_its_end(ledger: LedgerResource) -> None:
    order = str(opened(ledger, proposal("i1"), state=APPROVED))
    other = str(opened(ledger, proposal("i22", machine="P2"), state=APPROVED))
    end = NOON + timedelta(hours=2)
    with ledger.begin() as connection:
        complete(connection, Completion(order, "ben", NOON, end, "VIB"))
        complete(connection, Completion(other, "ben", NOON, end, "no_fault_found"))
        assert repaired_at(connection, site="s") == {"i1": end}
        [said], [none] = labels_of(connection, "i1"), labels_of(connection, "i22")
    assert (said["label"], said["source"], said["why"], none["label"]) == ("confirmed", "completion", "finding: VIB", "false_alarm")


def test_labels_count_for_a_day_by_what_the_days_before_it_knew(ledger: LedgerResource) -> None:
    opened(ledger, proposal("i1", "i22"))
    for day in (DAY, DAY + ONE_DAY):
        assessed(ledger, "i1", "VIB", day=day)
    assessed(ledger, "i22", "VIB", day=DAY)
    with ledger.begin() as connection:
        label_incidents(connection, ["i1"], Label("confirmed", "person", "bea", "heard it", NOON))
        found = [
            labelled_incidents(connection, site=site, before=DAY + n * ONE_DAY) for site, n in (("s", 0), ("s", 1), (None, 2), ("x", 2))
        ]
    assert [table["incident_id"].tolist() for table in found] == [[], ["i1"], ["i1"], []]
    assert found[1][["verdict", "confidence_by_rules", "label"]].to_numpy().tolist() == [["credible", 0.9, "confirmed"]]


@pytest.mark.parametrize(
    ("values", "words"),
    [({"label": "perhaps"}, "must be confirmed or false_alarm"), ({"who": " "}, "cannot be audited"), ({"why": ""}, "audited")],
)
def test_a_label_without_words_is_refused(values: dict[str, str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Label(**{"label": "confirmed", "source": "person", "who": "ada", "why": "seen", "at": NOON, **values})  # type: ignore[arg-type]
