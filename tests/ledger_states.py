"""States of a ledger that tests begin in: delivered site-days, processed ones, a champion, a work order that waits for a decision."""

import hashlib
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta

import pandas as pd
from sqlalchemy import insert

from ml.plant import ApprovalPolicy
from ml.policy import OrderProposal
from resources.ledger.intake import Segment, mark_assessed, mark_merged, mark_processed, record_drop
from resources.ledger.learning import record_promotion, record_version
from resources.ledger.ledger import LedgerResource
from resources.ledger.opening import open_or_join
from resources.ledger.tables import incidents


def deliver(ledger: LedgerResource, site: str, days: Iterable[date], *, name: str = "a.csv", is_processed: bool = False) -> str:
    """One drop with ten readings for each of the days; returns its id."""
    wanted = sorted(days)
    sha256 = hashlib.sha256(f"{site} {name} {wanted}".encode()).hexdigest()
    taken = [Segment(d, 10, datetime.combine(d, time(1), UTC), datetime.combine(d, time(2), UTC)) for d in wanted]
    with ledger.begin() as connection:
        record_drop(
            connection,
            {
                "drop_id": sha256[:16],
                "sha256": sha256,
                "site": site,
                "file_name": name,
                "size_bytes": 1,
                "received_at": datetime(2026, 10, 1, tzinfo=UTC),
                "state": "accepted",
                "refused_because": None,
                "rows_in": 10 * len(wanted),
                "rows_accepted": 10 * len(wanted),
                "rows_duplicate": 0,
                "rows_quarantined": 0,
                "rows_repaired": 0,
                "kept_as": f"archive/{name}",
                "run_id": "run",
            },
            taken=taken,
            refused=[],
        )
        for day in wanted if is_processed else ():
            mark_merged(connection, site=site, day=day, drop_ids=[sha256[:16]])
            mark_assessed(connection, site=site, day=day)
            mark_processed(connection, site=site, day=day)
    return sha256[:16]


def days_from(first: date, n: int) -> list[date]:
    return [first + timedelta(days=i) for i in range(n)]


def trained(ledger: LedgerResource, site: str, *, until: date, is_promoted: bool = True) -> None:
    """A first detector that the gate let through, or refused."""
    with ledger.begin() as connection:
        record_version(
            connection,
            {
                "site": site,
                "version": 1,
                "mlflow_run_id": "m",
                "artifact_sha256": "0" * 64,
                "data_sha256": "0" * 64,
                "data_start": until - timedelta(days=13),
                "data_end": until,
                "metrics": {},
            },
        )
        record_promotion(
            connection,
            {
                "site": site,
                "from_version": None,
                "to_version": 1,
                "is_promoted": is_promoted,
                "who": "gate",
                "why": "because",
                "comparison": {},
            },
        )


def waiting_order(ledger: LedgerResource, site: str, *, machine: str = "P1", on: date = date(2026, 10, 5)) -> str:
    """A work order that waits for a decision, with one incident."""
    noon = datetime.combine(on, time(12), UTC)
    wanted = OrderProposal(
        machine_id=machine,
        failure_mode="VIB",
        priority="high",
        risk_cost=100.0,
        probability_7d=0.2,
        probability_30d=0.4,
        confidence=0.9,
        is_urgent=False,
        due_at=pd.Timestamp(noon + timedelta(days=7)),
        title=f"Repair {machine}",
        actions=("Look",),
        reason="because",
        incident_ids=(f"{machine}@i",),
        skills=("mechanical",),
        duration_h=2.0,
        parts=(),
    )
    with ledger.begin() as connection:
        connection.execute(insert(incidents).values(incident_id=f"{machine}@i", site=site, machine_id=machine, onset_at=noon))
        waits = ("awaiting_decision", "needs a decision")
        order_id = open_or_join(connection, wanted, site=site, day=on, state=waits, as_of=noon, policy=ApprovalPolicy())
    assert order_id
    return order_id
