"""What site-days found out: incidents and their verdicts, health, predictions, drift."""

from datetime import UTC, date, datetime, time, timedelta

import pandas as pd
from sqlalchemy import Connection, delete, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from resources.ledger.rows import read_frame, records
from resources.ledger.tables import (
    incident_assessments,
    incidents,
    maintenance_log,
    predictions,
    work_order_incidents,
)


def replace_incidents(connection: Connection, found: pd.DataFrame, *, site: str, day: date) -> None:
    """What is known of the site's incidents at the end of `day` becomes the rows of `found`.

    `found` has the columns of incident_assessments but site and day, and machine_id and onset_at. An incident
    that no day knows any more (late data made it vanish) is forgotten, unless people have acted on it.
    """
    rows = records(found)
    connection.execute(delete(incident_assessments).where(incident_assessments.c.site == site, incident_assessments.c.day == day))
    if rows:
        identity = [{k: row[k] for k in ("incident_id", "machine_id", "onset_at")} | {"site": site} for row in rows]
        connection.execute(upsert(incidents).on_conflict_do_nothing(), identity)
        columns = [c.name for c in incident_assessments.columns if c.name not in ("site", "day")]
        connection.execute(insert(incident_assessments), [{k: row[k] for k in columns} | {"site": site, "day": day} for row in rows])
    connection.execute(
        delete(incidents).where(
            incidents.c.site == site,
            incidents.c.label.is_(None),
            ~select(incident_assessments.c.day).where(incident_assessments.c.incident_id == incidents.c.incident_id).exists(),
            ~select(work_order_incidents.c.order_id).where(work_order_incidents.c.incident_id == incidents.c.incident_id).exists(),
        )
    )


def known_incidents(connection: Connection, *, site: str, before: date) -> pd.DataFrame:
    """[incident_id, machine_id, onset_at, last_window_at] as they stood before the day."""
    a = incident_assessments
    return read_frame(
        connection,
        select(
            incidents.c.incident_id,
            incidents.c.machine_id,
            incidents.c.onset_at,
            func.max(a.c.last_window_at).label("last_window_at"),
        )
        .join(a, a.c.incident_id == incidents.c.incident_id)
        .where(incidents.c.site == site, a.c.day < before)
        .group_by(incidents.c.incident_id, incidents.c.machine_id, incidents.c.onset_at),
    )


def incidents_on(connection: Connection, *, site: str, day: date) -> pd.DataFrame:
    """The incidents active on the day, as assessed at its end."""
    return read_frame(
        connection,
        select(incident_assessments, incidents.c.machine_id, incidents.c.onset_at)
        .join(incidents, incidents.c.incident_id == incident_assessments.c.incident_id)
        .where(incident_assessments.c.site == site, incident_assessments.c.day == day)
        .order_by(incident_assessments.c.incident_id),
    )


def latest_assessments(connection: Connection, *, site: str | None = None) -> pd.DataFrame:
    """Every incident with the latest word on it."""
    a = incident_assessments
    query = (
        select(a, incidents.c.machine_id, incidents.c.onset_at, incidents.c.label)
        .distinct(a.c.incident_id)
        .join(incidents, incidents.c.incident_id == a.c.incident_id)
        .order_by(a.c.incident_id, a.c.day.desc())
    )
    if site:
        query = query.where(a.c.site == site)
    return read_frame(connection, query)


def false_alarms(connection: Connection, *, site: str, until: date, days: int) -> dict[str, int]:
    """Incidents per machine that people labelled false alarms, with onset within `days` before `until`."""
    end = datetime.combine(until, time(), tzinfo=UTC)
    query = (
        select(incidents.c.machine_id, func.count())
        .where(
            incidents.c.site == site,
            incidents.c.label == "false_alarm",
            incidents.c.onset_at >= end - timedelta(days=days),
            incidents.c.onset_at < end,
        )
        .group_by(incidents.c.machine_id)
    )
    return {machine_id: int(n) for machine_id, n in connection.execute(query)}


def label_incidents(connection: Connection, *, order_id: str, label: str) -> None:
    """What people found out about an order holds for its incidents."""
    linked = select(work_order_incidents.c.incident_id).where(work_order_incidents.c.order_id == order_id)
    connection.execute(update(incidents).where(incidents.c.incident_id.in_(linked)).values(label=label))


def maintenance_between(connection: Connection, *, site: str, start: datetime, end: datetime) -> pd.DataFrame:
    """[machine_id, started_at, ended_at] of logged work that touches the interval."""
    log = maintenance_log
    return read_frame(
        connection,
        select(log.c.machine_id, log.c.started_at, log.c.ended_at)
        .where(log.c.site == site, log.c.started_at < end, log.c.ended_at >= start)
        .order_by(log.c.machine_id, log.c.started_at),
    )


def predictions_on(connection: Connection, *, site: str, day: date) -> pd.DataFrame:
    return read_frame(
        connection,
        select(predictions).where(predictions.c.site == site, predictions.c.day == day).order_by(predictions.c.machine_id),
    )
