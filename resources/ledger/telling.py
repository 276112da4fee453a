"""What stands in the ledger that people are told, as events: asked anew at every look, the same events come out of the same state.

Only what is so now: an incident that is over, an order that was decided, a day long past tells nobody anything, so a month that is
processed again sends no month of messages.
"""

from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Select, func, select

from ml.notifications import (
    Event,
    Links,
    critical_incident,
    decision_wanted,
    is_critical,
    lasting_drift,
    overdue,
    scheduled,
)
from ml.plant import Site
from ml.policy import OPEN_STATES, follow_up
from ml.receivers import EventKind
from resources.ledger.drift import sustained_drift
from resources.ledger.rows import plain
from resources.ledger.tables import (
    assignments,
    incident_alarms,
    incident_assessments,
    incidents,
    plans,
    predictions,
    validations,
    work_order_events,
    work_orders,
)
from resources.links import LinksResource

FRESH = timedelta(hours=48)  # what was last seen longer ago is history
# Events about orders stop being true when somebody acts; then nobody is told any more.
ABOUT_ORDERS: tuple[EventKind, ...] = ("decision_wanted", "decision_reminder", "decision_escalated", "scheduled", "overdue")


def events_of(connection: Connection, *, site: Site, now: datetime, links: LinksResource) -> list[Event]:
    """Everything that people are to be told of the site."""
    return [
        *_incidents(connection, site=site, now=now, links=links),
        *_decisions(connection, site=site, now=now, links=links),
        *_scheduled(connection, site=site, now=now, links=links),
        *_overdue(connection, site=site, now=now, links=links),
        *_drift(connection, site=site, now=now, links=links),
    ]


def _incidents(connection: Connection, *, site: Site, now: datetime, links: LinksResource) -> list[Event]:
    """Those whose alarm has been raised; of an event of the whole site the first that is critical speaks for all."""
    a, alarm = incident_assessments, incident_alarms
    latest = (
        select(a, incidents.c.machine_id, incidents.c.onset_at, incidents.c.label, alarm.c.alarm_id, alarm.c.raised_at)
        .distinct(a.c.incident_id)
        .join(incidents, incidents.c.incident_id == a.c.incident_id)
        .join(alarm, (alarm.c.incident_id == a.c.incident_id) & (alarm.c.day == a.c.day))
        .where(a.c.site == site.site, a.c.day >= (now - FRESH).date())
        .order_by(a.c.incident_id, a.c.day.desc())
    )
    events: list[Event] = []
    told: set[str] = set()
    for incident in sorted(_rows(connection, latest), key=lambda row: (row["onset_at"], row["incident_id"])):
        if incident["last_window_at"] < now - FRESH or incident["raised_at"] is None or incident["alarm_id"] in told:
            continue
        of_day = _rows(connection, select(predictions).where(predictions.c.site == site.site, predictions.c.day == incident["day"]))
        if is_critical(incident, of_day, site=site):
            to = _links(connection, links, "anomaly_summary", suite="incidents", site=site, day=incident["day"])
            events.append(critical_incident(incident, of_day, site=site, links=to))
            told.add(incident["alarm_id"])
    return events


def _decisions(connection: Connection, *, site: Site, now: datetime, links: LinksResource) -> list[Event]:
    """People can wait for no longer than they have been able to know: from when the wait was recorded, not from the data's time."""
    e = work_order_events
    query = (
        select(work_orders, func.max(e.c.recorded_at).label("since"))
        .join(e, e.c.order_id == work_orders.c.order_id)
        .where(
            work_orders.c.site == site.site,
            work_orders.c.state == "awaiting_decision",
            e.c.to_state == "awaiting_decision",
            e.c.from_state.is_distinct_from("awaiting_decision"),
        )
        .group_by(work_orders.c.order_id)
        .order_by(work_orders.c.order_id)
    )
    events = []
    for order in _rows(connection, query):
        stage = follow_up(order["since"], now, policy=site.policy.approval)
        to = _links(connection, links, "maintenance_summary", suite="work_orders", site=site, day=order["assessed_on"])
        events.append(decision_wanted(order, since=order["since"], stage=stage, site=site, links=to))
    return events


def _scheduled(connection: Connection, *, site: Site, now: datetime, links: LinksResource) -> list[Event]:
    """Of the plan in force, what has not ended."""
    newest = select(func.max(plans.c.day)).where(plans.c.site == site.site).scalar_subquery()
    columns = ("machine_id", "title", "actions", "parts", "reason", "due_at")
    query = (
        select(assignments, *(work_orders.c[name] for name in columns))
        .join(work_orders, work_orders.c.order_id == assignments.c.order_id)
        .where(assignments.c.site == site.site, assignments.c.day == newest, assignments.c.end_at > now, work_orders.c.state == "scheduled")
        .order_by(assignments.c.start_at, assignments.c.order_id)
    )
    return [
        scheduled(row, site=site, links=_links(connection, links, "maintenance_summary", suite="assignments", site=site, day=row["day"]))
        for row in _rows(connection, query)
    ]


def _overdue(connection: Connection, *, site: Site, now: datetime, links: LinksResource) -> list[Event]:
    due_states = OPEN_STATES - {"proposed", "deferred"}
    query = (
        select(work_orders)
        .where(work_orders.c.site == site.site, work_orders.c.state.in_(due_states), work_orders.c.due_at < now)
        .order_by(work_orders.c.order_id)
    )
    return [
        overdue(
            row, site=site, links=_links(connection, links, "maintenance_summary", suite="work_orders", site=site, day=row["assessed_on"])
        )
        for row in _rows(connection, query)
    ]


def _drift(connection: Connection, *, site: Site, now: datetime, links: LinksResource) -> list[Event]:
    """What asks for retraining, by the site's own policy."""
    found = sustained_drift(connection, site=site)
    if found is None or found.day < (now - FRESH).date():
        return []
    to = _links(connection, links, "system_health", suite="drift_findings", site=site, day=found.day)
    return [
        lasting_drift(sensor, n_days=n, version=found.version, last_day=found.day, site=site, links=to)
        for sensor, n in found.sensors.items()
    ]


def _links(connection: Connection, links: LinksResource, kind: str, *, suite: str, site: Site, day: date) -> Links:
    """The day's report, and the run that wrote what the event rests on: the one that validated it."""
    v = validations
    run_id = connection.scalar(select(v.c.run_id).where(v.c.site == site.site, v.c.day == day, v.c.suite == suite))
    return Links(report=links.report(kind, site=site.site, day=day), run=links.run(run_id))


def _rows(connection: Connection, query: Select[Any]) -> list[dict[str, Any]]:
    return [plain(dict(row)) for row in connection.execute(query).mappings()]
