"""Work is begun, done and reported; unanswered orders expire; all at once leave one legal history."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

import pandas as pd
import pytest
from sqlalchemy import select

from assets.reporting.queries import scheduled_work
from ml.plant import ApprovalPolicy
from ml.policy import MOVES, IllegalMove, OrderProposal
from resources.ledger.deeds import Completion, Decision, Start
from resources.ledger.ledger import LedgerResource
from resources.ledger.opening import open_or_join
from resources.ledger.plans import replace_plan
from resources.ledger.tables import maintenance_log, work_order_events, work_orders
from resources.ledger.work import complete, decide, expire, order_row, orders_awaiting, remind, resume_deferred, start, started_at
from tests.ledger_states import waiting_order

DAY = date(2026, 10, 5)
NOON = datetime(2026, 10, 5, 12, tzinfo=UTC)
HOUR, ONE_DAY = timedelta(hours=1), timedelta(days=1)


def approved(ledger: LedgerResource, **where: Any) -> str:
    order = waiting_order(ledger, "s", **where)
    with ledger.begin() as connection:
        assert decide(connection, Decision(order, "approve", "ada", "seen it", NOON))
    return order


def proposed(ledger: LedgerResource, *, day: date, probability: float = 0.4, state: str = "awaiting_decision") -> str | None:
    wanted = OrderProposal(
        machine_id="P1",
        failure_mode="VIB",
        priority="high",
        risk_cost=100.0,
        probability_7d=0.2,
        probability_30d=probability,
        confidence=0.9,
        is_urgent=state == "approved",
        due_at=pd.Timestamp(NOON + timedelta(days=7)),
        title="Repair P1",
        actions=("Look",),
        reason="because",
        incident_ids=("P1@i",),
        crew=(("mechanical",),),
        duration_h=2.0,
        parts=(),
    )
    with ledger.begin() as connection:
        as_of = datetime.combine(day, NOON.timetz())
        return open_or_join(connection, wanted, site="s", day=day, state=(state, "policy"), as_of=as_of, policy=ApprovalPolicy())


def state_of(ledger: LedgerResource, order_id: str) -> str:
    with ledger.begin() as connection:
        return str(order_row(connection, order_id)["state"])


def planned(ledger: LedgerResource, order_id: str, *, day: date, start_at: datetime) -> None:
    place = {"order_id": order_id, "technician_id": "t", "start_at": start_at, "end_at": start_at + 2 * HOUR}
    plan = {"start_at": datetime.combine(day, NOON.timetz()), "status": "optimal", "objective": 0.0, "gap": 0.0}
    with ledger.begin() as connection:
        assigned = pd.DataFrame([{**place, "is_overtime": False, "is_late": False}])
        replace_plan(connection, plan, site="s", day=day, assigned=assigned, unplanned=pd.DataFrame())


def places(ledger: LedgerResource, *, end: date = DAY + timedelta(days=9)) -> list[tuple[str, datetime]]:
    with ledger.begin() as connection:
        found = scheduled_work(connection, site="s", start=DAY, end=end)
    return list(zip(found["order_id"], found["start_at"].dt.to_pydatetime(), strict=True))


def test_work_that_was_begun_keeps_its_start_until_it_is_reported(ledger: LedgerResource) -> None:
    order = approved(ledger)
    with ledger.begin() as connection:
        assert started_at(connection, order) is None
        assert start(connection, Start(order, "ben", NOON + HOUR))
        assert not start(connection, Start(order, "ben", NOON + 2 * HOUR)), "said twice"
        assert started_at(connection, order) == NOON + HOUR
    assert state_of(ledger, order) == "in_progress"
    with ledger.begin() as connection, pytest.raises(IllegalMove, match="in_progress cannot become in_progress"):
        start(connection, Start(order, "eve", NOON))
    with ledger.begin() as connection:
        complete(connection, Completion(order, "ben", NOON + HOUR, NOON + 3 * HOUR, "VIB"))
        with pytest.raises(IllegalMove, match="closed for good"):
            start(connection, Start(order, "ben", NOON))


@pytest.mark.parametrize(("technician", "at", "words"), [(" ", NOON, "technician"), ("ben", datetime(2026, 10, 5), "aware")])  # noqa: DTZ001
def test_a_start_that_cannot_be_audited_is_refused(technician: str, at: datetime, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Start("o", technician, at)


def test_a_report_keeps_mechanism_cause_parts_and_hours(ledger: LedgerResource) -> None:
    order = approved(ledger)
    said = Completion(
        order, "ben", NOON, NOON + 3 * HOUR, "VIB", failure_mechanism="2.4", failure_cause="3.4", parts_used=["b", "b"], hours_worked=2.5
    )
    with ledger.begin() as connection:
        complete(connection, said)
        log = connection.execute(select(maintenance_log)).mappings().one()
    assert (log["failure_mechanism"], log["failure_cause"], log["parts_used"], log["hours_worked"]) == ("2.4", "3.4", ["b", "b"], 2.5)
    with pytest.raises(ValueError, match=r"from 0 to the 3.00 h between start and end"):
        Completion(order, "ben", NOON, NOON + 3 * HOUR, "VIB", hours_worked=3.1)


def test_a_place_is_that_of_the_plan_in_force_when_its_day_began(ledger: LedgerResource) -> None:
    order = approved(ledger)
    tomorrow = NOON + ONE_DAY
    planned(ledger, order, day=DAY, start_at=tomorrow)
    planned(ledger, order, day=DAY + ONE_DAY, start_at=tomorrow + 2 * ONE_DAY)  # put off on the day itself
    assert places(ledger) == [(order, tomorrow), (order, tomorrow + 2 * ONE_DAY)]
    assert places(ledger, end=DAY + ONE_DAY) == [(order, tomorrow)]


@pytest.mark.parametrize("has_own_plan", [False, True])
def test_work_reported_on_its_day_still_counts_as_scheduled(ledger: LedgerResource, *, has_own_plan: bool) -> None:
    order = approved(ledger)
    planned(ledger, order, day=DAY, start_at=NOON + ONE_DAY)
    if has_own_plan:
        planned(ledger, order, day=DAY + ONE_DAY, start_at=NOON + ONE_DAY)
    with ledger.begin() as connection:
        complete(connection, Completion(order, "ben", NOON + ONE_DAY, NOON + ONE_DAY + HOUR, "VIB"))
    assert places(ledger) == [(order, NOON + ONE_DAY)]


def test_a_call_out_of_the_same_day_was_not_scheduled(ledger: LedgerResource) -> None:
    order = approved(ledger)
    planned(ledger, order, day=DAY, start_at=NOON + HOUR)
    with ledger.begin() as connection:
        complete(connection, Completion(order, "ben", NOON + HOUR, NOON + 2 * HOUR, "VIB"))
    assert places(ledger) == []


def test_an_unanswered_order_expires_and_comes_again_only_when_it_is_clearly_worse(ledger: LedgerResource) -> None:
    order = waiting_order(ledger, "s")
    later = NOON + 10 * ONE_DAY
    with ledger.begin() as connection:
        [(waiting, since)] = orders_awaiting(connection, site="s")
        assert expire(connection, waiting, since=since, at=later)
        assert not expire(connection, waiting, since=since, at=later), "closed by now"
        e = work_order_events
        last = connection.execute(select(e.c.to_state, e.c.who, e.c.why).order_by(e.c.event_id.desc()).limit(1)).one()
    assert tuple(last) == ("cancelled", "policy", "expired: nobody decided on it for 240 h")
    day = DAY + 11 * ONE_DAY
    assert proposed(ledger, day=day, probability=0.5) is None
    again = proposed(ledger, day=day, probability=0.6)
    assert again is not None
    with ledger.begin() as connection:
        assert order_row(connection, again)["reason"] == f"again after {order} was cancelled: probability 40% -> 60%; because"


def test_an_order_that_somebody_answered_does_not_expire(ledger: LedgerResource) -> None:
    order = approved(ledger)
    with ledger.begin() as connection:
        assert not expire(connection, order, since=NOON, at=NOON + 10 * ONE_DAY)
    assert state_of(ledger, order) == "approved"


@pytest.mark.parametrize("word", ["approve", "reject", "cancel", "defer", "modify"])
def test_two_runs_and_a_human_at_once_leave_one_legal_history(ledger: LedgerResource, word: str) -> None:
    """Each in transactions of its own; who comes too late is told so in a sentence."""
    order = waiting_order(ledger, "s")
    refusals: list[str] = []

    def run(n: int) -> None:
        day = DAY + (n % 3) * ONE_DAY
        as_of = datetime.combine(day, NOON.timetz())
        proposed(ledger, day=day, state="approved" if n % 3 == 2 else "awaiting_decision")
        with ledger.begin() as connection:
            resume_deferred(connection, site="s", until=as_of + 5 * ONE_DAY)
            for waiting, since in orders_awaiting(connection, site="s"):
                remind(connection, waiting, since=since, at=as_of, what="reminder")
                if n == 9:
                    expire(connection, waiting, since=since, at=as_of)
        if state_of(ledger, order) in {"approved", "scheduled"}:
            planned(ledger, order, day=day, start_at=as_of + HOUR)

    def human(n: int) -> None:
        more = {"defer_until": NOON + ONE_DAY} if word == "defer" else {"priority": "high"} if word == "modify" else {}
        try:
            with ledger.begin() as connection:
                decide(connection, Decision(order, word, "ada", f"seen {n}", NOON, request_id=f"r{n % 4}", **more))
        except IllegalMove as refusal:
            refusals.append(str(refusal))

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda n: human(n) if n % 3 == 1 else run(n), range(12)))
    with ledger.begin() as connection:
        e = work_order_events
        orders = connection.execute(select(work_orders.c.order_id, work_orders.c.state)).all()
        for order_id, state in orders:
            moves = connection.execute(select(e.c.from_state, e.c.to_state).where(e.c.order_id == order_id).order_by(e.c.event_id)).all()
            assert moves[0].from_state is None
            assert all(before.to_state == after.from_state for before, after in pairwise(moves))
            assert all(m.from_state == m.to_state or m.to_state in MOVES[m.from_state] for m in moves[1:])  # type: ignore[index]
            assert moves[-1].to_state == state
        requests = connection.scalars(select(e.c.request_id).where(e.c.request_id.is_not(None))).all()
    assert len(requests) == len(set(requests))
    assert all(r.startswith("a work order that is ") for r in refusals)
