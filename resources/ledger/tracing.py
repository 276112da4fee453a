"""What the ledger knows of how a work order came about: its history, findings, detectors, drops."""

from collections.abc import Collection
from datetime import date
from typing import Any

from sqlalchemy import Connection, Select, select

from resources.ledger.tables import (
    assignments,
    decisions,
    detector_versions,
    drops,
    incident_assessments,
    incidents,
    maintenance_log,
    predictions,
    segments,
    work_order_events,
    work_order_incidents,
)

Row = dict[str, Any]


def history_of(connection: Connection, order_id: str) -> list[Row]:
    """The audit log of the order, with the decision that each row carried out, if any."""
    e, d = work_order_events, decisions
    columns = (e.c.from_state, e.c.to_state, e.c.at, e.c.recorded_at, e.c.who, e.c.why, e.c.request_id, d.c.decision)
    joined = select(*columns).join(d, d.c.request_id == e.c.request_id, isouter=True)
    return _rows(connection, joined.where(e.c.order_id == order_id).order_by(e.c.event_id))


def places_of(connection: Connection, order_id: str) -> list[Row]:
    """Where the latest plan that has the order puts it."""
    a = assignments
    newest = select(a.c.day).where(a.c.order_id == order_id).order_by(a.c.day.desc()).limit(1).scalar_subquery()
    return _rows(connection, select(a).where(a.c.order_id == order_id, a.c.day == newest).order_by(a.c.start_at))


def work_done_on(connection: Connection, order_id: str) -> list[Row]:
    log = maintenance_log
    return _rows(connection, select(log).where(log.c.order_id == order_id).order_by(log.c.started_at))


def prediction_behind(connection: Connection, order: Row) -> Row | None:
    """The prediction that the order's figures rest on: of the day that assessed it last."""
    p = predictions
    of_order = (p.c.site == order["site"], p.c.machine_id == order["machine_id"], p.c.failure_mode == order["failure_mode"])
    found = _rows(connection, select(p).where(*of_order, p.c.day == order["assessed_on"]))
    return found[0] if found else None


def incidents_behind(connection: Connection, order: Row) -> list[Row]:
    """The order's incidents as they were known at the end of the day that assessed it last, or on the last day before it."""
    a, links = incident_assessments, work_order_incidents
    query = (
        select(a, incidents.c.machine_id, incidents.c.onset_at, incidents.c.label)
        .distinct(a.c.incident_id)
        .join(incidents, incidents.c.incident_id == a.c.incident_id)
        .join(links, links.c.incident_id == a.c.incident_id)
        .where(links.c.order_id == order["order_id"], a.c.day <= order["assessed_on"])
        .order_by(a.c.incident_id, a.c.day.desc())
    )
    return sorted(_rows(connection, query), key=lambda row: (row["onset_at"], row["incident_id"]))


def detectors_behind(connection: Connection, *, site: str, versions: Collection[int]) -> list[Row]:
    v = detector_versions
    return _rows(connection, select(v).where(v.c.site == site, v.c.version.in_(versions)).order_by(v.c.version))


def drops_by_seq(connection: Connection, numbers: Collection[int]) -> dict[int, Row]:
    return {row["drop_seq"]: row for row in _rows(connection, select(drops).where(drops.c.drop_seq.in_(numbers)))}


def segments_of(connection: Connection, *, site: str, days: Collection[date], drop_ids: Collection[str]) -> list[Row]:
    s = segments
    wanted = (s.c.site == site, s.c.day.in_(days), s.c.drop_id.in_(drop_ids))
    return _rows(connection, select(s.c.drop_id, s.c.day, s.c.rows, s.c.merged_at).where(*wanted).order_by(s.c.day, s.c.drop_id))


def _rows(connection: Connection, query: Select[Any]) -> list[Row]:
    return [dict(row) for row in connection.execute(query).mappings()]
