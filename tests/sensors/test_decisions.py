"""The decisions sensor: what people decide or finish calls for one new plan, asked for once."""

from datetime import UTC, datetime, timedelta

import dagster as dg
import pandas as pd

from resources.ledger.deeds import Completion, Decision
from resources.ledger.ledger import LedgerResource
from resources.ledger.plans import replace_plan
from resources.ledger.work import complete, decide
from sensors.decisions import decisions_sensor
from tests.ledger_states import waiting_order
from tests.sensors.conftest import Evaluate

NOON = datetime(2026, 10, 6, 12, tzinfo=UTC)


def approve(ledger: LedgerResource, site: str, machine: str, *, at: datetime = NOON) -> None:
    order_id = waiting_order(ledger, site, machine=machine)
    with ledger.begin() as connection:
        decide(connection, Decision(order_id, "approve", "ada", "seen it", at, request_id=f"decided-{machine}"))


def keys(requests: list[dg.RunRequest] | str) -> list[tuple[str | None, str | None]]:
    assert isinstance(requests, list), requests
    return [(r.partition_key, r.run_key) for r in requests]


def test_an_order_that_waits_asks_for_no_plan(evaluate: Evaluate, ledger: LedgerResource) -> None:
    waiting_order(ledger, "hamburg")
    assert evaluate(decisions_sensor)[0] == "No new decision."


def test_a_decision_asks_for_the_plan_of_its_site_and_day_once(evaluate: Evaluate, ledger: LedgerResource) -> None:
    approve(ledger, "hamburg", "P1")
    requests, cursor = evaluate(decisions_sensor)
    assert keys(requests) == [("2026-10-06|hamburg", "decided-P1")]
    again, cursor = evaluate(decisions_sensor, cursor=cursor)
    assert again == "No new decision."
    approve(ledger, "hamburg", "P2", at=NOON + timedelta(microseconds=1))
    later, _ = evaluate(decisions_sensor, cursor=cursor)
    assert keys(later) == [("2026-10-06|hamburg", "decided-P2")]


def test_several_decisions_of_a_site_are_one_plan_of_the_newest_day(evaluate: Evaluate, ledger: LedgerResource) -> None:
    approve(ledger, "hamburg", "P1")
    approve(ledger, "hamburg", "P2", at=NOON + timedelta(minutes=1))
    approve(ledger, "houston", "P3", at=NOON + timedelta(minutes=2))
    approve(ledger, "hamburg", "P4", at=NOON + timedelta(hours=13))
    requests, _ = evaluate(decisions_sensor)
    assert keys(requests) == [
        ("2026-10-07|hamburg", "decided-P4"),
        ("2026-10-06|houston", "decided-P3"),
    ]


def test_the_day_of_a_decision_is_its_utc_day(evaluate: Evaluate, ledger: LedgerResource) -> None:
    late_in_chicago = datetime.fromisoformat("2026-10-06T21:30:00-05:00")
    approve(ledger, "houston", "P1", at=late_in_chicago)
    assert keys(evaluate(decisions_sensor)[0]) == [("2026-10-07|houston", "decided-P1")]


def test_a_decision_that_is_committed_after_a_later_one_is_not_missed(evaluate: Evaluate, ledger: LedgerResource) -> None:
    slow = waiting_order(ledger, "hamburg", machine="P1")
    with ledger.begin() as connection:
        decide(connection, Decision(slow, "approve", "ada", "seen it", NOON, request_id="slow"))
        approve(ledger, "houston", "P2", at=NOON + timedelta(minutes=1))
        first, cursor = evaluate(decisions_sensor)
        assert keys(first) == [("2026-10-06|houston", "decided-P2")]
    second, cursor = evaluate(decisions_sensor, cursor=cursor)
    assert keys(second) == [("2026-10-06|hamburg", "slow")]
    assert evaluate(decisions_sensor, cursor=cursor)[0] == "No new decision."


def test_finished_work_asks_for_a_new_plan(evaluate: Evaluate, ledger: LedgerResource) -> None:
    approve(ledger, "hamburg", "P1")
    _, cursor = evaluate(decisions_sensor)
    with ledger.begin() as connection:
        complete(connection, Completion("WO-P1-VIB-20261005", "ben", NOON, NOON + timedelta(days=1), "VIB"))
    [(day, key)] = keys(evaluate(decisions_sensor, cursor=cursor)[0])
    assert day == "2026-10-07|hamburg"
    assert key and key.startswith("event-")


def test_plans_before_the_newest_are_history(evaluate: Evaluate, ledger: LedgerResource) -> None:
    plan = {"start_at": NOON, "status": "optimal", "objective": 0.0, "gap": 0.0}
    with ledger.begin() as connection:
        replace_plan(
            connection, plan, site="hamburg", day=NOON.date() + timedelta(days=2), assigned=pd.DataFrame(), unplanned=pd.DataFrame()
        )
    approve(ledger, "hamburg", "P1")
    assert keys(evaluate(decisions_sensor)[0]) == [("2026-10-08|hamburg", "decided-P1")]
