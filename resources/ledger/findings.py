"""What site-days found out: incidents and their verdicts, health, predictions, drift."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pandas as pd
from sqlalchemy import Connection, and_, delete, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from ml.findings import NO_FAULT_FOUND
from resources.ledger.rows import read_frame, records
from resources.ledger.succession import hand_over, not_found_again
from resources.ledger.tables import (
    incident_assessments,
    incident_labels,
    incidents,
    maintenance_log,
    predictions,
    work_order_incidents,
    work_orders,
)

LABELS = ("confirmed", "false_alarm")


def replace_incidents(connection: Connection, found: pd.DataFrame, *, site: str, day: date) -> Mapping[str, str]:
    """What is known of the site's incidents at the end of `day` becomes the rows of `found`.

    `found` has the columns of incident_assessments but site and day, and machine_id and onset_at. An incident that is found again under
    another onset hands over what people said and did to the one of that name; returns the names, before -> after. One that no day knows
    any more (late data made it vanish) is forgotten, unless people have acted on it.
    """
    rows = records(found)
    gone = not_found_again(connection, found, site=site, day=day) if rows else pd.DataFrame()
    connection.execute(delete(incident_assessments).where(incident_assessments.c.site == site, incident_assessments.c.day == day))
    if rows:
        identity = [{k: row[k] for k in ("incident_id", "machine_id", "onset_at")} | {"site": site} for row in rows]
        connection.execute(upsert(incidents).on_conflict_do_nothing(), identity)
        columns = [c.name for c in incident_assessments.columns if c.name not in ("site", "day")]
        connection.execute(insert(incident_assessments), [{k: row[k] for k in columns} | {"site": site, "day": day} for row in rows])
    names = hand_over(connection, gone, found)
    connection.execute(
        delete(incidents).where(
            incidents.c.site == site,
            incidents.c.label.is_(None),
            ~select(incident_assessments.c.day).where(incident_assessments.c.incident_id == incidents.c.incident_id).exists(),
            ~select(work_order_incidents.c.order_id).where(work_order_incidents.c.incident_id == incidents.c.incident_id).exists(),
        )
    )
    return names


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


@dataclass(frozen=True)
class Label:
    """What somebody found out about incidents; of an incident's labels the one written last holds, the others are kept.

    `source` is decision, completion or person; `at` when it was found.
    """

    label: str
    source: str
    who: str
    why: str
    at: datetime
    order_id: str | None = None

    def __post_init__(self) -> None:
        if self.label not in LABELS:
            raise ValueError(f"the label is {self.label!r}; it must be {' or '.join(LABELS)}.")
        if not self.who.strip() or not self.why.strip():
            raise ValueError("operator and why must be given: a label without them cannot be audited.")


def label_incidents(connection: Connection, incident_ids: Sequence[str], label: Label) -> None:
    """Write the label into the history of each, and make it the one that holds."""
    if not incident_ids:
        return
    connection.execute(insert(incident_labels), [{**asdict(label), "incident_id": incident_id} for incident_id in incident_ids])
    connection.execute(update(incidents).where(incidents.c.incident_id.in_(incident_ids)).values(label=label.label))


def incidents_of_order(connection: Connection, order_id: str) -> list[str]:
    linked = select(work_order_incidents.c.incident_id).where(work_order_incidents.c.order_id == order_id)
    return list(connection.scalars(linked.order_by(work_order_incidents.c.incident_id)))


def labels_of(connection: Connection, incident_id: str) -> list[dict[str, Any]]:
    """The incident's labels as they were given, the one that holds last."""
    query = select(incident_labels).where(incident_labels.c.incident_id == incident_id).order_by(incident_labels.c.label_id)
    return [dict(row) for row in connection.execute(query).mappings()]


def labelled_incidents(connection: Connection, *, site: str | None, before: date) -> pd.DataFrame:
    """[incident_id, site, verdict, confidence, confidence_by_rules, label] of labelled incidents, as the last day before `before` had them.

    Those that it had not assessed yet, or that had their onset later, are left out.
    """
    a = incident_assessments
    query = (
        select(a.c.incident_id, a.c.site, a.c.verdict, a.c.confidence, a.c.confidence_by_rules, incidents.c.label)
        .distinct(a.c.incident_id)
        .join(incidents, incidents.c.incident_id == a.c.incident_id)
        .where(incidents.c.label.is_not(None), a.c.day < before)
        .order_by(a.c.incident_id, a.c.day.desc())
    )
    return read_frame(connection, query.where(a.c.site == site) if site else query)


def repaired_at(connection: Connection, *, site: str) -> dict[str, datetime]:
    """incident -> the end of the work that found its fault, for incidents whose label that finding is."""
    held = (
        select(incident_labels.c.incident_id, incident_labels.c.label, incident_labels.c.source, incident_labels.c.at)
        .distinct(incident_labels.c.incident_id)
        .join(incidents, incidents.c.incident_id == incident_labels.c.incident_id)
        .where(incidents.c.site == site)
        .order_by(incident_labels.c.incident_id, incident_labels.c.label_id.desc())
        .subquery()
    )
    query = select(held.c.incident_id, held.c.at).where(held.c.label == "confirmed", held.c.source == "completion")
    return {row.incident_id: row.at for row in connection.execute(query)}


def predicted_faults(connection: Connection, *, site: str | None, before: date) -> pd.DataFrame:
    """[order_id, site, failure_mode, as_of, p10_days, p90_days, observed_at]: predicted faults that work found, ended before the day.

    Each with the prediction on which its order was opened, unless the limit had been reached by then. `observed_at` is the end of the
    first day after it on which the limit was reached, up to the day on which the work began; null: the work came before.
    """
    o, p, seen, log = work_orders, predictions, predictions.alias("seen"), maintenance_log
    same = (seen.c.site == o.c.site, seen.c.machine_id == o.c.machine_id, seen.c.failure_mode == o.c.failure_mode)
    since = (seen.c.method == "observed", seen.c.day > p.c.day, seen.c.day <= func.date(func.timezone("UTC", log.c.started_at)))
    observed = select(func.min(seen.c.as_of)).where(*same, *since).correlate(o, p, log).scalar_subquery()
    predicted = (p.c.site == o.c.site, p.c.machine_id == o.c.machine_id, p.c.failure_mode == o.c.failure_mode, p.c.day == o.c.opened_on)
    days = (p.c.ttf_p10_days.label("p10_days"), p.c.ttf_p90_days.label("p90_days"))
    query = (
        select(o.c.order_id, o.c.site, o.c.failure_mode, p.c.as_of, *days, observed.label("observed_at"))
        .distinct(o.c.order_id)
        .join(p, and_(*predicted))
        .join(log, log.c.order_id == o.c.order_id)
        .where(p.c.method != "observed", log.c.finding != NO_FAULT_FOUND, log.c.ended_at < datetime.combine(before, time(), tzinfo=UTC))
        .order_by(o.c.order_id, log.c.log_id)
    )
    return read_frame(connection, query.where(o.c.site == site) if site else query)


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
