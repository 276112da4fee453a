"""Failures, replacements and errors of machines: those imported from elsewhere, and those that the maintenance log knows by itself."""

from datetime import datetime
from typing import Any

import pandas as pd
from sqlalchemy import Connection, func, select
from sqlalchemy.dialects.postgresql import insert as upsert

from ml.failure_history import Events
from ml.findings import NO_FAULT_FOUND
from resources.ledger.rows import read_frame, records
from resources.ledger.tables import machine_events, maintenance_log

ROWS_AT_ONCE = 5000


def import_events(connection: Connection, rows: pd.DataFrame, *, site: str, kind: str, source_name: str, import_id: str) -> int:
    """Store [machine_id, at, code]; how many of them were new. What is known already stays as it was imported first."""
    same: dict[str, Any] = {"site": site, "kind": kind, "source_name": source_name, "import_id": import_id}
    n_new = 0
    for start in range(0, len(rows), ROWS_AT_ONCE):
        some = [{**row, **same} for row in records(rows.iloc[start : start + ROWS_AT_ONCE])]
        stored = upsert(machine_events).on_conflict_do_nothing().returning(machine_events.c.event_id)
        n_new += len(connection.execute(stored, some).fetchall())
    return n_new


def events_listed(
    connection: Connection, *, site: str | None, kind: str | None, machine_id: str | None, limit: int
) -> tuple[pd.DataFrame, int]:
    """(the latest imported events, the newest first; how many there are in all)"""
    e = machine_events
    asked = [column == value for column, value in ((e.c.site, site), (e.c.kind, kind), (e.c.machine_id, machine_id)) if value is not None]
    n = connection.scalars(select(func.count()).select_from(e).where(*asked)).one()
    return read_frame(connection, select(e).where(*asked).order_by(e.c.at.desc(), e.c.event_id.desc()).limit(limit)), n


def failure_history(connection: Connection, *, site: str, until: datetime) -> Events:
    """All that happened to the site's machines until then.

    Work whose finding is a fault counts as a failure where the work began and as a replacement where it ended, both by the finding's code.
    """
    e, log = machine_events, maintenance_log
    imported = read_frame(connection, select(e.c.machine_id, e.c.at, e.c.kind, e.c.code).where(e.c.site == site, e.c.at <= until))
    columns = (log.c.machine_id, log.c.started_at, log.c.ended_at, log.c.finding)
    work = read_frame(connection, select(*columns).where(log.c.site == site, log.c.ended_at <= until))
    faults = work[work["finding"] != NO_FAULT_FOUND]

    def of_kind(kind: str, name: str, *also: pd.DataFrame) -> pd.DataFrame:
        own = imported.loc[imported["kind"] == kind, ["machine_id", "at", "code"]].rename(columns={"code": name})
        return pd.concat([own, *also], ignore_index=True)

    found = faults.rename(columns={"started_at": "at", "finding": "mode"})[["machine_id", "at", "mode"]]
    mended = faults.rename(columns={"ended_at": "at", "finding": "component"})[["machine_id", "at", "component"]]
    known = [column.max() for column in (imported["at"], work["ended_at"]) if len(column)]
    return Events(
        of_kind("failure", "mode", found),
        of_kind("replacement", "component", mended),
        of_kind("error", "error"),
        max(known, default=None),
    )


def machines_that_failed(connection: Connection, *, site: str) -> int:
    """Machines with a labelled failure, imported or found by work."""
    e, log = machine_events, maintenance_log
    imported = select(e.c.machine_id).where(e.c.site == site, e.c.kind == "failure")
    found = select(log.c.machine_id).where(log.c.site == site, log.c.finding != NO_FAULT_FOUND)
    return int(connection.scalars(select(func.count()).select_from(imported.union(found).subquery())).one())
