"""What the reports ask of the ledger about alarms; as `assets.reporting.queries`, one function per question."""

from datetime import date

import pandas as pd
from sqlalchemy import Connection, func, select

from assets.reporting.queries import after, midnight
from resources.ledger.rows import read_frame
from resources.ledger.tables import alarm_kpis, incident_alarms, shelvings


def incident_alarms_in(connection: Connection, *, site: str | None, start: date, end: date) -> pd.DataFrame:
    """What was annunciated of each incident, by the end of each of the days."""
    a = incident_alarms
    query = select(a).where(a.c.day.between(start, end)).order_by(a.c.day, a.c.incident_id)
    return read_frame(connection, query if site is None else query.where(a.c.site == site))


def shelvings_in(connection: Connection, *, site: str | None, start: date, end: date) -> pd.DataFrame:
    """Those in force at some time of the range, the latest first."""
    s = shelvings
    query = (
        select(s)
        .where(s.c.start_at < after(end), func.coalesce(s.c.ended_at, s.c.until) > midnight(start))
        .order_by(s.c.start_at.desc(), s.c.shelving_id)
    )
    return read_frame(connection, query if site is None else query.where(s.c.site == site))


def kpis_in(connection: Connection, *, site: str | None, start: date, end: date) -> pd.DataFrame:
    """The figures of each site-day, by day and site."""
    k = alarm_kpis
    query = select(k).where(k.c.day.between(start, end)).order_by(k.c.day, k.c.site)
    return read_frame(connection, query if site is None else query.where(k.c.site == site))
