"""States of a ledger that tests begin in: delivered site-days, processed ones, a champion, a work order that waits for a decision."""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pandas as pd
from sqlalchemy import insert

from expectations.verdicts import judge_incidents
from ml.incidents import incident_id
from ml.plant import ApprovalPolicy, VerdictPolicy
from ml.policy import OrderProposal
from resources.ledger.findings import replace_incidents
from resources.ledger.intake import Segment, TakenDrop, mark_assessed, mark_merged, mark_processed, record_drops
from resources.ledger.learning import record_promotion, record_version
from resources.ledger.ledger import LedgerResource
from resources.ledger.opening import open_or_join
from resources.ledger.tables import incidents


def deliver(
    ledger: LedgerResource,
    site: str,
    days: Iterable[date],
    *,
    name: str = "a.csv",
    is_processed: bool = False,
    refused: Mapping[date, str] | None = None,
    releases: str | None = None,
) -> str:
    """One drop with ten readings for each of the days, and a row refused for the reason given; returns its id."""
    wanted = sorted(days)
    counts = [{"day": day, "sensor_id": "P1-T", "reason": reason, "rows": 1} for day, reason in (refused or {}).items()]
    sha256 = hashlib.sha256(f"{site} {name} {wanted}".encode()).hexdigest()
    taken = [Segment(d, 10, datetime.combine(d, time(1), UTC), datetime.combine(d, time(2), UTC)) for d in wanted]
    drop = {
        "drop_id": sha256[:16],
        "sha256": sha256,
        "site": site,
        "file_name": name,
        "size_bytes": 1,
        "received_at": datetime(2026, 10, 1, tzinfo=UTC),
        "state": "accepted",
        "refused_because": None,
        "rows_in": 10 * len(wanted) + len(counts),
        "rows_accepted": 10 * len(wanted),
        "rows_duplicate": 0,
        "rows_quarantined": len(counts),
        "rows_repaired": 0,
        "releases": releases,
        "kept_as": f"archive/{name}",
        "run_id": "run",
    }
    with ledger.begin() as connection:
        record_drops(connection, [TakenDrop(drop, taken, counts)])
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
        crew=(("mechanical",),),
        duration_h=2.0,
        parts=(),
    )
    with ledger.begin() as connection:
        connection.execute(insert(incidents).values(incident_id=f"{machine}@i", site=site, machine_id=machine, onset_at=noon))
        waits = ("awaiting_decision", "needs a decision")
        order_id = open_or_join(connection, wanted, site=site, day=on, state=waits, as_of=noon, policy=ApprovalPolicy())
    assert order_id
    return order_id


GOOD_EVIDENCE: dict[str, Any] = {
    "n_members_agreeing": 3, "peak_score": 0.9, "duration_windows": 12, "anomalous_share": 0.9, "n_sensors_moved": 2,
    "worst_grade": "A", "worst_sensor_id": "P1-VIB", "faulty_share": 0.0, "sensor_faults": "", "coverage": 1.0, "running_share": 1.0,
    "hours_since_start": 30.0, "in_maintenance": False, "false_alarms_30d": 0, "site_share": 0.1,
}  # fmt: skip


def judged(
    ledger: LedgerResource, site: str, day: date, *, policy: VerdictPolicy | None = None, without: Collection[str] = (), **evidence: Any
) -> str:
    """An incident on P1 that began on the 5th of October and goes on, judged on the day; `without`: evidence not gathered then."""
    onset = pd.Timestamp(2026, 10, 5, 6, tz="UTC")
    facts = {"incident_id": incident_id("P1", onset), "machine_id": "P1", "failure_mode": "VIB", **GOOD_EVIDENCE, **evidence}
    verdicts = judge_incidents(pd.DataFrame([facts]), policy=policy or VerdictPolicy()).verdicts
    found = verdicts.assign(
        machine_id="P1", onset_at=onset, last_window_at=pd.Timestamp(day, tz="UTC") + pd.Timedelta(hours=20), ended_at=pd.NaT,
        n_windows=12, duration_s=7200.0, peak_score=facts["peak_score"], mean_score=0.8, n_members_agreeing=facts["n_members_agreeing"],
        n_sensors_moved=2, top_sensor_id="P1-VIB", direction=1, failure_mode=facts["failure_mode"], model_version=1,
    )  # fmt: skip
    moved = {"P1-TEMP": {"share": 0.25, "z": 4.1, "feature": "mean"}, "P1-VIB": {"share": 0.75, "z": 11.0, "feature": "kurtosis"}}
    found["moved_sensors"] = pd.Series([moved], dtype=object)
    found["evidence"] = pd.Series([{k: v for k, v in facts.items() if k not in without}], dtype=object)
    with ledger.begin() as connection:
        replace_incidents(connection, found, site=site, day=day)
    return str(facts["incident_id"])
