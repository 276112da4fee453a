"""What the reports ask of the ledger, where the order in which things were recorded matters."""

from datetime import UTC, date, datetime, timedelta

import pandas as pd

from assets.reporting.queries import orders_at, schedule
from resources.ledger.deeds import Completion, Decision
from resources.ledger.ledger import LedgerResource
from resources.ledger.plans import replace_plan
from resources.ledger.work import complete, decide
from tests.ledger_states import waiting_order

DAY = date(2026, 10, 6)
NOON = datetime(2026, 10, 6, 12, tzinfo=UTC)


def test_work_reported_after_it_was_done_counts_as_done(ledger: LedgerResource) -> None:
    order = waiting_order(ledger, "hamburg")
    with ledger.begin() as connection:
        decide(connection, Decision(order, "approve", "ada", "seen it", NOON + timedelta(hours=4)))
        complete(connection, Completion(order, "ben", NOON + timedelta(hours=1), NOON + timedelta(hours=2), "VIB"))
        found = orders_at(connection, site="hamburg", start=DAY, end=DAY)
    assert found[["order_id", "state"]].to_numpy().tolist() == [[order, "completed"]]


def test_the_schedule_tells_work_that_has_begun_from_work_to_come(ledger: LedgerResource) -> None:
    orders = [waiting_order(ledger, "hamburg", machine=machine) for machine in ("P1", "P2")]
    rows = [
        {"order_id": order, "technician_id": "t", "start_at": at, "end_at": at + timedelta(hours=1), "is_overtime": False, "is_late": False}
        for order, at in zip(orders, (NOON - timedelta(hours=1), NOON), strict=True)
    ]
    plan = {"start_at": NOON, "status": "optimal", "objective": 0.0, "gap": 0.0}
    with ledger.begin() as connection:
        for order in orders:
            decide(connection, Decision(order, "approve", "ada", "seen it", NOON))
        replace_plan(connection, plan, site="hamburg", day=DAY, assigned=pd.DataFrame(rows), unplanned=pd.DataFrame())
        found = schedule(connection, site="hamburg", end=DAY)
    assert found[["order_id", "has_begun"]].to_numpy().tolist() == [[orders[0], True], [orders[1], False]]
