"""Which site-days wait again because something that they rest on has changed.

A site-day is pending until reports rest on it. Taking that back in the transaction that changed what it rests on makes it pending anew,
and it stays so until a run has gone through, whatever dies in between.
"""

from collections.abc import Collection
from datetime import date, timedelta

from sqlalchemy import Connection, func, select, update

from resources.ledger.tables import incident_assessments, segments


def reopen_site_days(connection: Connection, *, site: str, days: Collection[date], is_merge_anew: bool = False) -> None:
    """The stored ones of these days are pending until work orders and reports rest on them again.

    With `is_merge_anew` as if their segments were new: all that a site-day computes is due, from its readings on.
    """
    anew = {"assessed_at": None, "processed_at": None, "reopened_at": func.clock_timestamp()}
    if is_merge_anew:
        anew["merged_at"] = None
    connection.execute(update(segments).where(segments.c.site == site, segments.c.day.in_(days)).values(anew))


def reopen_following(connection: Connection, *, site: str, day: date, reach_days: int, health_days: int) -> None:
    """Readings of `day` have changed: the stored days after it that look back on it wait again.

    These are the days of the reach, which begins with `day` itself. Where an incident that was active within the reach goes on beyond
    it, also the days to its end, since its onset, by which it is named, may have become another; and then so many more
    days, which look for a fall of its machine's health.
    """
    end = day + timedelta(days=reach_days - 1)
    a, later = incident_assessments, incident_assessments.alias()
    goes_on_until = connection.scalar(
        select(func.max(later.c.day))
        .join(a, a.c.incident_id == later.c.incident_id)
        .where(a.c.site == site, a.c.day.between(day, end), later.c.day > end)
    )
    if goes_on_until is not None:
        end = goes_on_until + timedelta(days=health_days)
    reopen_site_days(connection, site=site, days=[day + timedelta(days=n) for n in range(1, (end - day).days + 1)])
