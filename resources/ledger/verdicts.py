"""Verdicts in the ledger after the day they were given: looked up for people, and given anew when a rule has changed."""

from collections.abc import Collection, Mapping, Sequence
from datetime import date
from typing import Any

import pandas as pd
from sqlalchemy import Connection, bindparam, insert, select, text, update

from resources.ledger.rows import jsonable, read_frame
from resources.ledger.tables import incident_assessments, incidents, revalidations, work_order_incidents, work_orders

GIVEN = ("confidence_before", "confidence_by_rules", "confidence", "verdict", "failed", "reasons", "rules")


def lock_verdicts(connection: Connection, site: str) -> None:
    """Until the transaction ends, nobody else judges the site's incidents; take it before the site's plan (`work.lock_site`)."""
    connection.execute(text("select pg_advisory_xact_lock(hashtext('smart_maintenance.verdicts ' || :site))"), {"site": site})


def verdicts_between(connection: Connection, *, site: str, start: date, end: date) -> list[dict[str, Any]]:
    """incident_id, failure_mode, day, evidence and GIVEN of the site's days, both inclusive, by day and incident."""
    a = incident_assessments
    columns = (a.c[name] for name in ("incident_id", "failure_mode", "day", "evidence", *GIVEN))
    query = select(*columns).where(a.c.site == site, a.c.day.between(start, end)).order_by(a.c.day, a.c.incident_id)
    return [dict(row) for row in connection.execute(query).mappings()]


def replace_verdicts(connection: Connection, verdicts: Sequence[Mapping[str, Any]]) -> None:
    """Each has incident_id, day and GIVEN; what was found and its evidence stay."""
    a = incident_assessments
    of_day = (a.c.incident_id == bindparam("of_incident"), a.c.day == bindparam("of_day"))
    rows = [{**{name: v[name] for name in GIVEN}, "of_incident": v["incident_id"], "of_day": v["day"]} for v in verdicts]
    connection.execute(update(a).where(*of_day).values({name: bindparam(name) for name in GIVEN}), rows)


def record_revalidation(connection: Connection, revalidation: Mapping[str, Any]) -> int:
    """`revalidation` has the columns of `revalidations` but its id and time; returns the id."""
    values = {name: jsonable(value) if name in ("policy", "changes") else value for name, value in revalidation.items()}
    made: int = connection.scalars(insert(revalidations).values(**values).returning(revalidations.c.revalidation_id)).one()
    return made


def incident_ids(connection: Connection, *, prefix: str = "") -> list[str]:
    """Ids of all incidents that begin so, in the order of machine and onset."""
    query = select(incidents.c.incident_id).where(incidents.c.incident_id.startswith(prefix, autoescape=True))
    return list(connection.scalars(query.order_by(incidents.c.incident_id)))


def assessments_of(connection: Connection, incident_id: str) -> pd.DataFrame:
    """What each day knew of the incident, the first day first; with site, machine, onset and label."""
    a = incident_assessments
    query = select(a, incidents.c.machine_id, incidents.c.onset_at, incidents.c.label)
    return read_frame(
        connection,
        query.join(incidents, incidents.c.incident_id == a.c.incident_id).where(a.c.incident_id == incident_id).order_by(a.c.day),
    )


def latest_verdicts(connection: Connection, ids: Collection[str]) -> dict[str, str]:
    """The latest verdict on each of the incidents."""
    a = incident_assessments
    query = select(a.c.incident_id, a.c.verdict).distinct(a.c.incident_id).where(a.c.incident_id.in_(ids))
    rows = connection.execute(query.order_by(a.c.incident_id, a.c.day.desc()))
    return {row.incident_id: row.verdict for row in rows}


def orders_of(connection: Connection, ids: Collection[str]) -> pd.DataFrame:
    """[incident_id, order_id, state, failure_mode, title, due_at] of the work orders that the incidents belong to."""
    w = work_orders
    return read_frame(
        connection,
        select(work_order_incidents.c.incident_id, w.c.order_id, w.c.state, w.c.failure_mode, w.c.title, w.c.due_at)
        .join(w, w.c.order_id == work_order_incidents.c.order_id)
        .where(work_order_incidents.c.incident_id.in_(ids))
        .order_by(w.c.order_id, work_order_incidents.c.incident_id),
    )


def revalidations_of(connection: Connection, *, site: str, day: date) -> list[dict[str, Any]]:
    """Who judged the site's day anew, and why, the earliest first."""
    r = revalidations
    query = select(r.c.revalidation_id, r.c.at, r.c.who, r.c.why, r.c.changes).order_by(r.c.revalidation_id)
    return [dict(row) for row in connection.execute(query.where(r.c.site == site, r.c.first_day <= day, r.c.last_day >= day)).mappings()]
