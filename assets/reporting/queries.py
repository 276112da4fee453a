"""What the reports ask of the ledger: one function per question, each a single query over a range of UTC days.

`site` None means every site. `start` and `end` are days, both inclusive. No figure is computed here that a report does not
show, and nothing is written.
"""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pandas as pd
from sqlalchemy import Column, ColumnElement, Connection, Select, and_, func, or_, select

from resources.ledger.rows import read_frame
from resources.ledger.tables import (
    assignments,
    detector_versions,
    drift_findings,
    drops,
    failure_model_versions,
    incident_assessments,
    incidents,
    learned_predictions,
    machine_health,
    maintenance_log,
    notifications,
    plans,
    predictions,
    promotions,
    quarantine_counts,
    segments,
    unplanned_orders,
    validations,
    work_order_events,
    work_order_incidents,
    work_orders,
)


def midnight(day: date) -> datetime:
    return datetime.combine(day, time(), tzinfo=UTC)


def after(end: date) -> datetime:
    """The instant at which the range's last day is over."""
    return midnight(end + timedelta(days=1))


def rows_per_day(connection: Connection, *, site: str | None, start: date, end: date) -> pd.DataFrame:
    """[day, accepted, quarantined]: rows delivered for each day, whenever they came. A row delivered twice counts twice."""
    accepted = read_frame(
        connection,
        _of_site(select(segments.c.day, func.sum(segments.c.rows).label("accepted")), segments.c.site, site)
        .where(segments.c.day.between(start, end))
        .group_by(segments.c.day),
    )
    q = quarantine_counts
    quarantined = read_frame(
        connection,
        _of_site(select(q.c.day, func.sum(q.c.rows).label("quarantined")), q.c.site, site)
        .where(q.c.day.between(start, end))
        .group_by(q.c.day),
    )
    both = accepted.merge(quarantined, on="day", how="outer").sort_values("day", ignore_index=True)
    for name in ("accepted", "quarantined"):
        both[name] = both[name].fillna(0).astype("int64")
    return both


def drops_of(connection: Connection, *, site: str | None, start: date, end: date) -> pd.DataFrame:
    """The drops that delivered readings for these days, and those received in these days that delivered none.

    `last_at` is the latest reading in the drop, null where it has none; `delay_s` how long after it the drop was received.
    """
    last = select(segments.c.drop_id, func.max(segments.c.last_at).label("last_at")).group_by(segments.c.drop_id).subquery()
    within = select(segments.c.drop_id).where(segments.c.day.between(start, end)).correlate(None)
    received = and_(last.c.last_at.is_(None), drops.c.received_at >= midnight(start), drops.c.received_at < after(end))
    found = read_frame(
        connection,
        _of_site(select(drops, last.c.last_at), drops.c.site, site)
        .outerjoin(last, last.c.drop_id == drops.c.drop_id)
        .where(or_(drops.c.drop_id.in_(within), received))
        .order_by(drops.c.received_at, drops.c.drop_seq),
    )
    found["delay_s"] = (found["received_at"] - found["last_at"]).dt.total_seconds()
    return found


def quarantined_by_reason(connection: Connection, *, site: str | None, drop_ids: list[str]) -> pd.DataFrame:
    """[reason, rows, sensors, drops] of these drops, the most frequent first."""
    q = quarantine_counts
    total = func.sum(q.c.rows).label("rows")
    query = select(
        q.c.reason, total, func.count(q.c.sensor_id.distinct()).label("sensors"), func.count(q.c.drop_id.distinct()).label("drops")
    ).where(q.c.drop_id.in_(drop_ids))
    found = read_frame(connection, _of_site(query, q.c.site, site).group_by(q.c.reason).order_by(total.desc(), q.c.reason))
    found["rows"] = found["rows"].astype("int64")
    return found


def health(connection: Connection, *, site: str | None, start: date, end: date) -> pd.DataFrame:
    """Rows of machine_health by site, machine and day."""
    m = machine_health
    return read_frame(
        connection, _of_site(select(m), m.c.site, site).where(m.c.day.between(start, end)).order_by(m.c.site, m.c.machine_id, m.c.day)
    )


def latest_predictions(connection: Connection, *, site: str | None, start: date, end: date) -> pd.DataFrame:
    """The latest prediction in the range for each machine and failure mode, the most probable failure first."""
    p = predictions
    found = read_frame(
        connection,
        _of_site(select(p), p.c.site, site)
        .where(p.c.day.between(start, end))
        .distinct(p.c.site, p.c.machine_id, p.c.failure_mode)
        .order_by(p.c.site, p.c.machine_id, p.c.failure_mode, p.c.day.desc()),
    )
    return found.sort_values(["probability_30d", "machine_id"], ascending=[False, True], kind="stable", ignore_index=True)


def incidents_in(connection: Connection, *, site: str | None, start: date, end: date) -> pd.DataFrame:
    """Each incident active in the range, as it was assessed last within it; with the order it led to and when that was opened."""
    a, i, w = incident_assessments, incidents, work_order_incidents
    opened = (
        select(work_order_events.c.order_id, func.min(work_order_events.c.at).label("opened_at"))
        .where(work_order_events.c.from_state.is_(None))
        .group_by(work_order_events.c.order_id)
        .subquery()
    )
    query = (
        select(a, i.c.machine_id, i.c.onset_at, i.c.label, w.c.order_id, opened.c.opened_at)
        .join(i, i.c.incident_id == a.c.incident_id)
        .outerjoin(w, w.c.incident_id == a.c.incident_id)
        .outerjoin(opened, opened.c.order_id == w.c.order_id)
        .where(a.c.day.between(start, end))
        .distinct(a.c.incident_id)
        .order_by(a.c.incident_id, a.c.day.desc())
    )
    found = read_frame(connection, _of_site(query, a.c.site, site))
    return found.sort_values(["confidence", "peak_score", "incident_id"], ascending=[False, False, True], ignore_index=True)


def incidents_per_day(connection: Connection, *, site: str | None, start: date, end: date) -> pd.DataFrame:
    """[day, verdict, n]: incidents active on each day, by the verdict at its end."""
    a = incident_assessments
    query = _of_site(select(a.c.day, a.c.verdict, func.count().label("n")), a.c.site, site).where(a.c.day.between(start, end))
    return read_frame(connection, query.group_by(a.c.day, a.c.verdict).order_by(a.c.day, a.c.verdict))


def orders_at(connection: Connection, *, site: str | None, start: date, end: date) -> pd.DataFrame:
    """Work orders as the audit log has them at the end of the range: open then, or moved within the range.

    `state` is the state at that time, `state_since` when it was entered. The other columns are the order's present ones.
    """
    e = work_order_events
    # "Moved", not "noted": reminders are events from a state to itself.
    moved = e.c.from_state.is_distinct_from(e.c.to_state)
    last = (
        select(e.c.order_id, e.c.to_state.label("state"), e.c.at.label("state_since"))
        .where(e.c.at <= after(end), moved)
        .distinct(e.c.order_id)
        .order_by(e.c.order_id, e.c.event_id.desc())  # work is told of after it was done: what was recorded last holds
        .subquery()
    )
    columns = [c for c in work_orders.columns if c.name != "state"]
    closed = last.c.state.in_(("completed", "rejected", "cancelled"))
    query = (
        select(*columns, last.c.state, last.c.state_since)
        .join(last, last.c.order_id == work_orders.c.order_id)
        .where(work_orders.c.opened_on <= end, or_(~closed, last.c.state_since >= midnight(start)))
        .order_by(work_orders.c.due_at, work_orders.c.order_id)
    )
    return read_frame(connection, _of_site(query, work_orders.c.site, site))


def decisions_in(connection: Connection, *, site: str | None, start: date, end: date) -> pd.DataFrame:
    """[at, order_id, from_state, to_state, who, why]: moves of orders in the range, oldest first."""
    e = work_order_events
    query = (
        select(e.c.at, work_orders.c.site, e.c.order_id, e.c.from_state, e.c.to_state, e.c.who, e.c.why)
        .join(work_orders, work_orders.c.order_id == e.c.order_id)
        .where(e.c.at > midnight(start), e.c.at <= after(end))
        .order_by(e.c.at, e.c.event_id)
    )
    return read_frame(connection, _of_site(query, work_orders.c.site, site))


def schedule(connection: Connection, *, site: str | None, end: date) -> pd.DataFrame:
    """Assignments of each site's newest plan up to `end`, with the order's machine, priority, title and due date.

    `has_begun`: its slot began before the plan did, and nobody had reported the work.
    """
    a, o = assignments, work_orders
    query = (
        select(a, o.c.machine_id, o.c.priority, o.c.title, o.c.due_at, (a.c.start_at < plans.c.start_at).label("has_begun"))
        .join(o, o.c.order_id == a.c.order_id)
        .join(plans, and_(plans.c.site == a.c.site, plans.c.day == a.c.day))
        .where(_is_newest_plan(a.c.site, a.c.day, end=end))
        .order_by(a.c.start_at, a.c.order_id, a.c.technician_id)
    )
    return read_frame(connection, _of_site(query, a.c.site, site))


def newest_plans(connection: Connection, *, site: str | None, end: date) -> pd.DataFrame:
    """Each site's newest plan up to `end`."""
    query = select(plans).distinct(plans.c.site).where(plans.c.day <= end).order_by(plans.c.site, plans.c.day.desc())
    return read_frame(connection, _of_site(query, plans.c.site, site))


def unplanned(connection: Connection, *, site: str | None, end: date) -> pd.DataFrame:
    """Orders that the newest plan up to `end` has no place for, and why."""
    u, o = unplanned_orders, work_orders
    query = (
        select(u, o.c.machine_id, o.c.priority, o.c.title, o.c.due_at)
        .join(o, o.c.order_id == u.c.order_id)
        .where(_is_newest_plan(u.c.site, u.c.day, end=end))
        .order_by(o.c.due_at, u.c.order_id)
    )
    return read_frame(connection, _of_site(query, u.c.site, site))


def completed_work(connection: Connection, *, site: str | None, start: date, end: date) -> pd.DataFrame:
    """Entries of the maintenance log that ended in the range; `opened_at` is when their order was opened, if they have one."""
    m, e = maintenance_log, work_order_events
    opened = select(e.c.order_id, func.min(e.c.at).label("opened_at")).where(e.c.from_state.is_(None)).group_by(e.c.order_id).subquery()
    query = (
        select(m, opened.c.opened_at)
        .outerjoin(opened, opened.c.order_id == m.c.order_id)
        .where(m.c.ended_at >= midnight(start), m.c.ended_at < after(end))
        .order_by(m.c.ended_at, m.c.log_id)
    )
    return read_frame(connection, _of_site(query, m.c.site, site))


def scheduled_work(connection: Connection, *, site: str | None, start: date, end: date) -> pd.DataFrame:
    """[site, order_id, start_at, end_at]: places in the range, each by the plan that was in force when the place's day (UTC) began.

    Of work that was reported before its day had a plan of its own, the log keeps the place.
    """
    a, log = assignments, maintenance_log
    day = func.date(func.timezone("UTC", a.c.start_at))
    in_force = select(func.max(plans.c.day)).where(plans.c.site == a.c.site, plans.c.day < day).correlate(a).scalar_subquery()
    within = (a.c.day == in_force, a.c.start_at >= midnight(start), a.c.start_at < after(end))
    columns = (a.c.site, a.c.order_id, func.min(a.c.start_at).label("start_at"), func.max(a.c.end_at).label("end_at"))
    planned = read_frame(connection, _of_site(select(*columns).where(*within), a.c.site, site).group_by(a.c.site, a.c.day, a.c.order_id))
    kept = (log.c.site, log.c.order_id, log.c.scheduled_start_at.label("start_at"), log.c.scheduled_end_at.label("end_at"))
    in_range = (log.c.scheduled_start_at >= midnight(start), log.c.scheduled_start_at < after(end))
    reported = read_frame(connection, _of_site(select(*kept).where(*in_range), log.c.site, site))
    both = pd.concat([f for f in (planned, reported) if len(f)] or [planned], ignore_index=True)
    both = both.assign(on=both["start_at"].dt.floor("D")).drop_duplicates(["site", "order_id", "on"])
    return both.drop(columns="on").sort_values(["start_at", "order_id"], ignore_index=True)


def learned_predictions_at(connection: Connection, *, site: str | None, start: date, end: date) -> pd.DataFrame:
    """Each site's newest learned predictions within the range, the most likely failure first, with its model's record.

    Beside the columns of learned_predictions: metrics, data_start and data_end of the model.
    """
    p, v = learned_predictions, failure_model_versions
    newest = select(func.max(p.c.day)).where(p.c.day.between(start, end), p.c.site == v.c.site).correlate(v).scalar_subquery()
    query = (
        select(p, v.c.metrics, v.c.data_start, v.c.data_end)
        .join(v, and_(v.c.site == p.c.site, v.c.version == p.c.model_version))
        .where(p.c.day == newest)
        .order_by(p.c.site, p.c.probability.desc(), p.c.machine_id)
    )
    return read_frame(connection, _of_site(query, p.c.site, site))


def versions(connection: Connection, *, site: str | None) -> pd.DataFrame:
    """Every detector version: [site, version, data_start, data_end, trained_at]."""
    d = detector_versions
    query = select(d.c.site, d.c.version, d.c.data_start, d.c.data_end, d.c.trained_at).order_by(d.c.site, d.c.version)
    return read_frame(connection, _of_site(query, d.c.site, site))


def promotions_of(connection: Connection, *, site: str | None) -> pd.DataFrame:
    """Every decision of the gate, oldest first."""
    p = promotions
    return read_frame(connection, _of_site(select(p), p.c.site, site).order_by(p.c.at, p.c.promotion_id))


def validations_in(connection: Connection, *, site: str | None, start: date, end: date) -> pd.DataFrame:
    v = validations
    query = select(v.c.site, v.c.day, v.c.suite, v.c.is_success, v.c.n_rows, v.c.n_failed, v.c.results).where(v.c.day.between(start, end))
    return read_frame(connection, _of_site(query, v.c.site, site).order_by(v.c.day, v.c.site, v.c.suite))


def drift_in(connection: Connection, *, site: str | None, start: date, end: date) -> pd.DataFrame:
    """[site, sensor_id, machine_id, days, days_drifted, drifted_in, worst_psi, worst_ks] over the range, the most drifted first.

    The worst are the larger of level and spread.
    """
    d = drift_findings
    drifted = func.count().filter(d.c.is_drifted).label("days_drifted")
    worst = func.max(func.greatest(d.c.psi, d.c.spread_psi)).label("worst_psi")
    said = func.string_agg(d.c.drifted_in.distinct(), ", ").label("drifted_in")
    worst_ks = func.max(func.greatest(d.c.ks, d.c.spread_ks)).label("worst_ks")
    query = select(d.c.site, d.c.sensor_id, d.c.machine_id, func.count().label("days"), drifted, said, worst, worst_ks)
    query = query.where(d.c.day.between(start, end)).group_by(d.c.site, d.c.sensor_id, d.c.machine_id)
    return read_frame(connection, _of_site(query, d.c.site, site).order_by(drifted.desc(), worst.desc(), d.c.sensor_id))


def notifications_by_state(connection: Connection, *, site: str | None) -> pd.DataFrame:
    """[receiver_id, pending, failed, sent, oldest_at]: how many up to now, and since when the oldest waits; those under way wait, too."""
    n = notifications
    waits = n.c.state.in_(("pending", "sending"))
    counts = [
        func.count().filter(c).label(name)
        for name, c in (("pending", waits), ("failed", n.c.state == "failed"), ("sent", n.c.state == "sent"))
    ]
    query = select(n.c.receiver_id, *counts, func.min(n.c.created_at).filter(waits).label("oldest_at"))
    return read_frame(connection, _of_site(query, n.c.site, site).group_by(n.c.receiver_id).order_by(n.c.receiver_id))


def _of_site(query: Select[Any], column: Column[Any], site: str | None) -> Select[Any]:
    return query if site is None else query.where(column == site)


def _is_newest_plan(site: Column[Any], day: Column[Any], *, end: date) -> ColumnElement[bool]:
    newest = select(func.max(plans.c.day)).where(plans.c.site == site, plans.c.day <= end).correlate(site.table)
    return day == newest.scalar_subquery()
