"""Working time: shifts with their breaks, absences and a machine's stop windows, as intervals in UTC, right across clock changes."""

from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache

from ml.plant import WEEKDAYS, Machine, Shift, Site, Technician

Interval = tuple[datetime, datetime]


def working_intervals(technician: Technician, *, site: Site, start: datetime, end: datetime) -> list[Interval]:
    """Disjoint intervals at work, breaks included, within [start, end), sorted. Shifts that touch stay apart, overlapping ones become one.

    A shift is given in wall-clock time, so a night shift lasts an hour more or less when the clock changes. On a public holiday or an
    absence no shift begins, and a night shift into one ends at midnight.
    """
    found = (span for span, _, _ in _shifts(technician, site=site, start=start, end=end))
    return _clipped(_joined(found, is_touching_one=False), start=start, end=end)


def break_intervals(technician: Technician, *, site: Site, start: datetime, end: datetime) -> list[Interval]:
    """Disjoint breaks within [start, end), sorted; of shifts that do take place.

    Wall-clock time as well: a break at an hour that the clock skips in spring is had an hour later on the clock, one at an hour that it
    repeats in autumn is had the first time.
    """
    found = []
    for (begins, finishes), shift, day in _shifts(technician, site=site, start=start, end=end):
        for pause in shift.breaks:
            opens_on = day if pause.start >= shift.start else day + timedelta(days=1)
            closes_on = opens_on if pause.end > pause.start else opens_on + timedelta(days=1)
            span = max(begins, _instant(opens_on, pause.start, site=site)), min(finishes, _instant(closes_on, pause.end, site=site))
            if span[0] < span[1]:
                found.append(span)
    return _clipped(_joined(found, is_touching_one=True), start=start, end=end)


def stop_intervals(machine: Machine, *, site: Site, start: datetime, end: datetime) -> list[Interval]:
    """Disjoint intervals within [start, end) in which production lets the machine stand still, sorted; windows that touch are one.

    All the time for a machine without stop windows. Public holidays make no difference: production knows its own calendar.
    """
    if not machine.stop_windows:
        return [(start, end)]
    found = []
    for day in _days(site, start=start, end=end):
        for window in machine.stop_windows:
            is_on = (window.first_day or day) <= day <= (window.last_day or day)
            if is_on and WEEKDAYS[day.weekday()] in window.days:
                closes_on = day if window.end > window.start else day + timedelta(days=1)
                found.append((_instant(day, window.start, site=site), _instant(closes_on, window.end, site=site)))
    return _clipped(_joined((i for i in found if i[0] < i[1]), is_touching_one=True), start=start, end=end)


def free_days(technician: Technician, *, site: Site, start: datetime, end: datetime) -> frozenset[date]:
    """The technician's absences and the site's public holidays, as local days."""
    years = range((start - timedelta(days=2)).year, (end + timedelta(days=2)).year + 1)
    return frozenset(technician.absent_on) | public_holidays(site.country, site.subdivision, tuple(years))


def absences(technician: Technician, *, site: Site) -> list[Interval]:
    """Days on which the technician cannot even be called out, local midnight to midnight."""
    return [(midnight(day, site=site), midnight(day + timedelta(days=1), site=site)) for day in sorted(technician.absent_on)]


def midnight(day: date, *, site: Site) -> datetime:
    """Where a local day begins."""
    return _instant(day, time(0), site=site)


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


def _shifts(technician: Technician, *, site: Site, start: datetime, end: datetime) -> Iterator[tuple[Interval, Shift, date]]:
    """What is worked of each shift, and the local day on which it begins."""
    free = free_days(technician, site=site, start=start, end=end)
    for day in _days(site, start=start, end=end):
        following = day + timedelta(days=1)
        for shift in technician.shifts:
            if WEEKDAYS[day.weekday()] not in shift.days or day in free:
                continue
            begins = _instant(day, shift.start, site=site)
            if shift.end > shift.start:
                finishes = _instant(day, shift.end, site=site)
            else:
                finishes = _instant(following, time(0) if following in free else shift.end, site=site)
            if begins < finishes:
                yield (begins, finishes), shift, day


def _days(site: Site, *, start: datetime, end: datetime) -> Iterator[date]:
    """The local days that [start, end) touches, and the one before, whose night may reach into it."""
    first, last = start.astimezone(site.zone).date() - timedelta(days=1), end.astimezone(site.zone).date()
    return (first + timedelta(days=n) for n in range((last - first).days + 1))


def _joined(intervals: Collection[Interval] | Iterator[Interval], *, is_touching_one: bool) -> list[Interval]:
    joined: list[Interval] = []
    for begins, finishes in sorted(intervals):
        if joined and (begins < joined[-1][1] or (is_touching_one and begins == joined[-1][1])):
            joined[-1] = (joined[-1][0], max(joined[-1][1], finishes))
        else:
            joined.append((begins, finishes))
    return joined


def _clipped(intervals: Sequence[Interval], *, start: datetime, end: datetime) -> list[Interval]:
    inside = ((max(begins, start), min(finishes, end)) for begins, finishes in intervals)
    return [(begins, finishes) for begins, finishes in inside if begins < finishes]


def _instant(day: date, wall: time, *, site: Site) -> datetime:
    return datetime.combine(day, wall, tzinfo=site.zone).astimezone(UTC)
