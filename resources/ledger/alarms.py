"""Alarms in the ledger: what was annunciated of each incident by the end of each day, and the day's figures."""

from collections.abc import Collection, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pandas as pd
from sqlalchemy import Connection, delete, insert, select

from resources.ledger.rows import plain, read_frame, replace_site_day
from resources.ledger.tables import alarm_kpis, incident_alarms


def replace_alarms(connection: Connection, alarms: pd.DataFrame, kpis: Mapping[str, Any], *, site: str, day: date) -> None:
    """What is known of the site's alarms at the end of `day` becomes the rows of `alarms`, its figures become `kpis`."""
    replace_site_day(connection, incident_alarms, alarms, site=site, day=day)
    connection.execute(delete(alarm_kpis).where(alarm_kpis.c.site == site, alarm_kpis.c.day == day))
    connection.execute(insert(alarm_kpis).values(site=site, day=day, **plain(dict(kpis))))


def earlier_alarms(connection: Connection, incident_ids: Collection[str], *, before: date) -> pd.DataFrame:
    """The latest word of the days before on the alarms of these incidents."""
    a = incident_alarms
    query = (
        select(a.c.incident_id, a.c.alarm_id, a.c.is_site_event, a.c.opened_at, a.c.raised_at)
        .where(a.c.incident_id.in_(incident_ids), a.c.day < before)
        .distinct(a.c.incident_id)
        .order_by(a.c.incident_id, a.c.day.desc())
    )
    return read_frame(connection, query)


def alarms_raised_on(connection: Connection, *, site: str, day: date) -> pd.DataFrame:
    """[alarm_id, machine_id, is_site_event, raised_at] of the alarms raised on the day, a row per incident; one at midnight ends it."""
    a, start = incident_alarms, datetime.combine(day, time(), tzinfo=UTC)
    query = (
        select(a.c.alarm_id, a.c.machine_id, a.c.is_site_event, a.c.raised_at)
        .where(a.c.site == site, a.c.day == day, a.c.raised_at > start, a.c.raised_at <= start + timedelta(days=1))
        .order_by(a.c.raised_at, a.c.incident_id)
    )
    return read_frame(connection, query)
