"""Work orders in the ledger: decisions gate, history is audited, nobody's order is opened twice."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta

import pandas as pd
import pytest
from sqlalchemy import insert, select

from ml.policy import IllegalMove, OrderProposal
from resources.ledger.ledger import LedgerResource
from resources.ledger.tables import incidents, work_order_events, work_orders
from resources.ledger.work import (
    Completion,
    Decision,
    UnknownOrder,
    assignments_of_plan,
    complete,
    decide,
    open_or_join,
    order_row,
    orders_to_plan,
    replace_plan,
)

DAY = date(2026, 10, 5)
NOON = datetime(2026, 10, 5, 12, tzinfo=UTC)
WAITS = ("awaiting_decision", "needs a decision")


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
        skills=("mechanical",),
        duration_h=2.0,
        parts=(),
    )


def opened(ledger: LedgerResource, wanted: OrderProposal, *, day: date = DAY, state: tuple[str, str] = WAITS) -> str | None:
    with ledger.begin() as connection:
        for incident_id in wanted.incident_ids:
            if not connection.scalar(select(incidents.c.site).where(incidents.c.incident_id == incident_id)):
                onset = NOON + timedelta(minutes=len(incident_id))
                connection.execute(
                    insert(incidents).values(incident_id=incident_id, site="s", machine_id=wanted.machine_id, onset_at=onset)
                )
        return open_or_join(connection, wanted, site="s", day=day, state=state, as_of=NOON)


def decision(order_id: str, word: str, *, request_id: str = "", at: datetime = NOON) -> Decision:
    until = at + timedelta(days=3) if word == "defer" else None
    return Decision(order_id, word, "ada", "seen it", at, defer_until=until, request_id=request_id)


def planned(ledger: LedgerResource, *order_ids: str, day: date = DAY) -> None:
    rows = [
        {"order_id": o, "technician_id": "t", "start_at": NOON, "end_at": NOON + timedelta(hours=2), "is_overtime": False, "is_late": False}
        for o in order_ids
    ]
    plan = {"start_at": NOON, "n_orders": len(rows), "n_planned": len(rows), "status": "optimal", "objective": 0.0, "gap": 0.0}
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
        assert connection.scalar(select(incidents.c.label).where(incidents.c.incident_id == "i1")) == "false_alarm"
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
