"""The decisions sensor: each decision of people calls for one new plan, asked for once."""

from datetime import UTC, datetime, timedelta

import dagster as dg

from resources.ledger.ledger import LedgerResource
from resources.ledger.work import Decision, decide
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


def test_several_decisions_for_a_site_and_day_are_one_plan(evaluate: Evaluate, ledger: LedgerResource) -> None:
    approve(ledger, "hamburg", "P1")
    approve(ledger, "hamburg", "P2", at=NOON + timedelta(minutes=1))
    approve(ledger, "houston", "P3", at=NOON + timedelta(minutes=2))
    approve(ledger, "hamburg", "P4", at=NOON + timedelta(hours=13))
    requests, _ = evaluate(decisions_sensor)
    assert keys(requests) == [
        ("2026-10-06|hamburg", "decided-P2"),
        ("2026-10-06|houston", "decided-P3"),
        ("2026-10-07|hamburg", "decided-P4"),
    ]


def test_the_day_of_a_decision_is_its_utc_day(evaluate: Evaluate, ledger: LedgerResource) -> None:
    late_in_chicago = datetime.fromisoformat("2026-10-06T21:30:00-05:00")
    approve(ledger, "houston", "P1", at=late_in_chicago)
    assert keys(evaluate(decisions_sensor)[0]) == [("2026-10-07|houston", "decided-P1")]
