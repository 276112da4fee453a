"""Working time: a technician's shifts as intervals in UTC, without public holidays and absences, right across clock changes."""

from collections.abc import Collection, Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache

from ml.plant import WEEKDAYS, Site, Technician

Interval = tuple[datetime, datetime]


def working_intervals(technician: Technician, *, site: Site, start: datetime, end: datetime) -> list[Interval]:
    """Disjoint working intervals within [start, end), sorted. Shifts that touch stay apart, shifts that overlap become one.

    A shift is given in wall-clock time, so a night shift lasts an hour more or less when the clock changes. On a public holiday or an
    absence no shift begins, and a night shift into one ends at midnight.
    """
    free = free_days(technician, site=site, start=start, end=end)
    found = sorted(_shifts(technician, site=site, start=start, end=end, free=free))
    merged: list[Interval] = []
    for begin, finish in found:
        if merged and begin < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], finish))
        else:
            merged.append((begin, finish))
    clipped = [(max(begin, start), min(finish, end)) for begin, finish in merged]
    return [(begin, finish) for begin, finish in clipped if begin < finish]


def free_days(technician: Technician, *, site: Site, start: datetime, end: datetime) -> frozenset[date]:
    """The technician's absences and the site's public holidays, as local days."""
    years = range((start - timedelta(days=2)).year, (end + timedelta(days=2)).year + 1)
    return frozenset(technician.absent_on) | public_holidays(site.country, site.subdivision, tuple(years))


def absences(technician: Technician, *, site: Site) -> list[Interval]:
    """Days on which the technician cannot even be called out, local midnight to midnight."""
    return [
        (_instant(day, time(0), site=site), _instant(day + timedelta(days=1), time(0), site=site)) for day in sorted(technician.absent_on)
    ]


@lru_cache(maxsize=64)
def public_holidays(country: str | None, subdivision: str | None, years: tuple[int, ...]) -> frozenset[date]:
    """Local days; none without a country. Raises ValueError for a country or subdivision that `holidays` does not know."""
    if country is None:
        return frozenset()
    import holidays

    try:
        return frozenset(holidays.country_holidays(country, subdiv=subdivision, years=list(years)))
    except NotImplementedError as error:
        raise ValueError(f"no public holidays known for country {country!r}, subdivision {subdivision!r}: use ISO 3166 codes") from error


def _shifts(technician: Technician, *, site: Site, start: datetime, end: datetime, free: Collection[date]) -> Iterator[Interval]:
    day = start.astimezone(site.zone).date() - timedelta(days=1)
    last = end.astimezone(site.zone).date()
    while day <= last:
        following = day + timedelta(days=1)
        for shift in technician.shifts:
            if WEEKDAYS[day.weekday()] not in shift.days or day in free:
                continue
            begin = _instant(day, shift.start, site=site)
            if shift.end > shift.start:
                finish = _instant(day, shift.end, site=site)
            else:
                finish = _instant(following, time(0) if following in free else shift.end, site=site)
            if begin < finish:
                yield begin, finish
        day = following


def _instant(day: date, wall: time, *, site: Site) -> datetime:
    return datetime.combine(day, wall, tzinfo=site.zone).astimezone(UTC)
