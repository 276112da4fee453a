"""Readings older than the plant's limit, or ahead of their arrival by more than clocks may differ, are quarantined and reopen nothing."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
from sqlalchemy import select

from assets.intake import Intake
from jobs.requests import reopened
from ml.plant import Site
from resources.home import Home
from resources.lake import LakeResource
from resources.landing import LandingResource, drop_file
from resources.ledger.intake import pending_site_days
from resources.ledger.ledger import LedgerResource
from resources.ledger.tables import quarantine_counts
from tests.ledger_states import deliver

MARGIN = timedelta(minutes=1)  # what the test itself takes
AGE, TOLERANCE = timedelta(days=3), timedelta(minutes=5)
SITE = Site.model_validate(
    {
        "site": "s",
        "name": "S",
        "first_day": "2026-01-01",
        "drops": {"max_age_days": 3, "clock_tolerance_s": 300},
        "machines": [
            {
                "machine_id": "P1",
                "machine_class": "pump",
                "sensors": [{"sensor_id": "P1-T", "type": "temperature", "unit": "°C"}],
            }
        ],
    }
)


def test_too_old_and_too_new_readings_are_quarantined_and_their_days_stay_closed(tmp_path: Path, ledger: LedgerResource) -> None:
    home = Home(tmp_path)
    home.prepare()
    landing, archive, quarantine = (str(home.folder(name)) for name in ("landing", "archive", "quarantine"))
    lake = LakeResource(root=str(home.folder("lake")))
    now = datetime.now(UTC)
    refused = {now - AGE - MARGIN: "too_old", now - timedelta(days=40): "too_old", now + TOLERANCE + MARGIN: "in_the_future"}
    taken = [now - AGE + MARGIN, now, now + TOLERANCE - MARGIN]
    days = sorted({at.date() for at in (*refused, *taken)})
    deliver(ledger, "s", days, is_processed=True)
    lines = [f"{at.isoformat()},P1-T,20.5" for at in (*refused, *taken)]
    drop_file(("timestamp,sensor_id,value\n" + "\n".join(lines)).encode(), home.folder("landing") / "s", "late.csv")
    intake = Intake(LandingResource(landing=landing, archive=archive, quarantine=quarantine), lake, ledger, run_id="run")
    done = intake.take_in("s/late.csv", SITE)
    assert (done.rows_in, done.rows_accepted, done.rows_quarantined) == (6, 3, 3)
    with ledger.begin() as connection:
        q = quarantine_counts.c
        counted = [tuple(row) for row in connection.execute(select(q.day, q.sensor_id, q.reason, q.rows).order_by(q.day, q.reason))]
        pending = pending_site_days(connection)
    assert counted == [(at.date(), "P1-T", reason, 1) for at, reason in sorted(refused.items())]
    [path] = home.folder("quarantine").rglob("*.parquet")
    assert pq.read_table(path).select(["line", "reason"]).to_pylist() == [
        {"line": n, "reason": reason} for n, reason in enumerate(refused.values(), start=2)
    ]
    accepted = {at.date() for at in taken}
    assert {p.day for p in pending} == accepted
    assert {s.day for s in reopened(pending, {"s": days})} == {day for day in days if day >= min(accepted)}
