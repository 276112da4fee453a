"""A copy of the ledger, and the copy taken back to the morning of a day: for trying out what would have come of other rules.

Never used on the ledger itself: what is taken back is gone.
"""

from datetime import UTC, date, datetime, time, timedelta

from sqlalchemy import ColumnElement, Connection, Table, and_, delete, false, func, null, select, tuple_, update

from resources.ledger.deeds import MODIFY
from resources.ledger.ledger import engine_for
from resources.ledger.tables import decisions as decisions_table
from resources.ledger.tables import incident_assessments, incident_labels, incidents, metadata, work_order_events, work_orders
from resources.ledger.tables import maintenance_log as log

# What a site-day leaves by its own key; what hangs on orders and incidents goes with them.
PER_SITE_DAY = (
    "assignments", "unplanned_orders", "plans", "predictions", "machine_health", "drift_findings", "alarm_kpis", "validations",
    "incident_assessments", "learned_predictions",
)  # fmt: skip


def copy_ledger(source_url: str, target_url: str) -> None:
    """All rows, as one moment saw them, into a ledger that has just been migrated."""
    of_one_moment = engine_for(source_url).execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    with of_one_moment.begin() as source, engine_for(target_url).begin() as target:
        for table in metadata.sorted_tables:
            _copy_table(table, source, target)


def _copy_table(table: Table, source: Connection, target: Connection) -> None:
    columns = ", ".join(f'"{column.name}"' for column in table.columns)
    reading, writing = source.connection.cursor(), target.connection.cursor()
    with (
        reading.copy(f'copy "{table.name}" ({columns}) to stdout (format binary)') as rows,
        writing.copy(f'copy "{table.name}" ({columns}) from stdin (format binary)') as into,
    ):
        for block in rows:
            into.write(block)
    for column in table.columns:
        if column.identity is not None:
            sequence = func.pg_get_serial_sequence(table.name, column.name)
            target.execute(select(func.setval(sequence, func.coalesce(select(func.max(column)).scalar_subquery(), 0) + 1, false())))


def rewind(connection: Connection, *, site: str, start: date) -> None:
    """Forget what came of the site's days from `start` on: findings, orders opened since, and what people did since.

    Orders that were open before get back the state that they had, not the figures of their assessment: those are overwritten each day,
    also where a person had set them since.
    """
    since = datetime.combine(start, time(), tzinfo=UTC)
    for name in PER_SITE_DAY:
        table = metadata.tables[name]
        _forget(connection, table, and_(table.c.site == site, table.c.day >= start))
    _forget(connection, work_orders, and_(work_orders.c.site == site, work_orders.c.opened_on >= start))
    _forget(connection, decisions_table, and_(decisions_table.c.site == site, decisions_table.c.decided_at >= since))
    _forget(connection, log, and_(log.c.site == site, log.c.ended_at >= since))
    _take_back_labels(connection, site=site, since=since)
    of_site = select(work_orders.c.order_id).where(work_orders.c.site == site)
    e = work_order_events
    # what the day before left took effect at its end, which is this midnight
    _forget(connection, e, and_(e.c.order_id.in_(of_site), e.c.at > since))
    latest = select(e.c.to_state).where(e.c.order_id == work_orders.c.order_id).order_by(e.c.event_id.desc()).limit(1).scalar_subquery()
    before = start - timedelta(days=1)
    assessed_on = func.least(work_orders.c.assessed_on, before)
    connection.execute(update(work_orders).where(work_orders.c.site == site).values(state=latest, assessed_on=assessed_on))
    is_modified = select(decisions_table.c.order_id).where(
        decisions_table.c.order_id == work_orders.c.order_id, decisions_table.c.decision == MODIFY
    )
    untouched = update(work_orders).where(work_orders.c.site == site, ~is_modified.exists())
    connection.execute(untouched.values(set_by_people=null(), not_before=null()))
    is_assessed = select(incident_assessments.c.day).where(incident_assessments.c.incident_id == incidents.c.incident_id).exists()
    _forget(connection, incidents, and_(incidents.c.site == site, incidents.c.onset_at >= since, ~is_assessed))


def _take_back_labels(connection: Connection, *, site: str, since: datetime) -> None:
    """Of the site's incidents the last label given until then holds again."""
    of_site = select(incidents.c.incident_id).where(incidents.c.site == site)
    given = incident_labels
    _forget(connection, given, and_(given.c.incident_id.in_(of_site), given.c.at > since))
    last = select(given.c.label).where(given.c.incident_id == incidents.c.incident_id).order_by(given.c.label_id.desc()).limit(1)
    connection.execute(update(incidents).where(incidents.c.site == site).values(label=last.scalar_subquery()))


def _forget(connection: Connection, table: Table, condition: ColumnElement[bool]) -> None:
    """Delete rows, and before them those of other tables that refer to them."""
    for child in metadata.sorted_tables:
        for key in child.foreign_key_constraints:
            if key.referred_table is table and child is not table:
                own, referred = ([getattr(e, side) for e in key.elements] for side in ("parent", "column"))
                _forget(connection, child, tuple_(*own).in_(select(*referred).where(condition)))
    connection.execute(delete(table).where(condition))
