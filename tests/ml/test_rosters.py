"""Working time against hours counted by hand on known calendars."""

from datetime import UTC, date, datetime, time

import pytest

from ml.plant import Machine, Sensor, Shift, Site, Technician
from ml.rosters import Interval, absences, working_intervals

DAY, NIGHT = Shift(start=time(8), end=time(16)), Shift(days=("mon", "tue", "wed", "thu", "fri", "sat", "sun"), start=time(22), end=time(6))


def a_site(zone: str = "Europe/Berlin", country: str | None = "DE", subdivision: str | None = None) -> Site:
    machine = Machine(machine_id="m", machine_class="pump", sensors=(Sensor(sensor_id="s", type="flow", unit="m3/h"),))
    return Site(
        site="a", name="A", time_zone=zone, country=country, subdivision=subdivision, first_day=date(2026, 1, 1), machines=(machine,)
    )


def intervals(start: str, end: str, *shifts: Shift, site: Site | None = None, absent_on: tuple[date, ...] = ()) -> list[tuple[str, str]]:
    technician = Technician(technician_id="t", name="T", skills=("x",), shifts=shifts, absent_on=absent_on)
    found = working_intervals(technician, site=site or a_site(), start=at(start), end=at(end))
    return [shown(i) for i in found]


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def shown(interval: Interval) -> tuple[str, str]:
    assert all(i.tzinfo is UTC for i in interval)
    return tuple(f"{i:%d. %H:%M}" for i in interval)


def test_christmas_is_no_working_day_in_germany():
    # Thursday 24, Friday 25 (holiday), Monday 28 December 2026; Berlin is UTC+1 in winter.
    assert intervals("2026-12-24T00:00", "2026-12-29T00:00", DAY) == [("24. 07:00", "24. 15:00"), ("28. 07:00", "28. 15:00")]
    nowhere = a_site(country=None)
    assert ("25. 07:00", "25. 15:00") in intervals("2026-12-24T00:00", "2026-12-29T00:00", DAY, site=nowhere)


def test_a_holiday_of_one_state_holds_there_only():
    # 6 January 2026, a Tuesday: Epiphany, a holiday in Bavaria, none in Berlin.
    assert intervals("2026-01-06T00:00", "2026-01-07T00:00", DAY, site=a_site(subdivision="BY")) == []
    assert intervals("2026-01-06T00:00", "2026-01-07T00:00", DAY, site=a_site(subdivision="BE")) == [("06. 07:00", "06. 15:00")]


def test_the_clock_change_moves_day_shifts_and_stretches_the_night_shift():
    # Berlin leaves summer time on Sunday 25 October 2026 at 01:00 UTC.
    assert intervals("2026-10-23T00:00", "2026-10-27T00:00", DAY) == [("23. 06:00", "23. 14:00"), ("26. 07:00", "26. 15:00")]
    assert intervals("2026-10-24T12:00", "2026-10-25T12:00", NIGHT) == [("24. 20:00", "25. 05:00")]  # 9 hours
    # and enters it on 29 March 2026.
    assert intervals("2026-03-28T12:00", "2026-03-29T12:00", NIGHT) == [("28. 21:00", "29. 04:00")]  # 7 hours


def test_no_shift_begins_on_a_free_day_and_a_night_shift_into_one_ends_at_midnight():
    # 25 and 26 December are free: neither the 25th's nor the 26th's night shift begins.
    assert intervals("2026-12-24T12:00", "2026-12-27T12:00", NIGHT) == [("24. 21:00", "24. 23:00")]


def test_absences_are_local_days():
    assert intervals("2026-11-02T00:00", "2026-11-04T00:00", DAY, absent_on=(date(2026, 11, 2),)) == [("03. 07:00", "03. 15:00")]
    technician = Technician(technician_id="t", name="T", skills=("x",), shifts=(DAY,), absent_on=(date(2026, 10, 25),))
    assert [shown(i) for i in absences(technician, site=a_site())] == [("24. 22:00", "25. 23:00")]  # the day of 25 hours


def test_overlapping_shifts_become_one_and_touching_ones_stay_apart():
    late, middle = Shift(start=time(16), end=time(22)), Shift(start=time(12), end=time(18))
    assert intervals("2026-11-02T00:00", "2026-11-03T00:00", DAY, late) == [("02. 07:00", "02. 15:00"), ("02. 15:00", "02. 21:00")]
    assert intervals("2026-11-02T00:00", "2026-11-03T00:00", DAY, middle) == [("02. 07:00", "02. 17:00")]


def test_the_range_clips():
    assert intervals("2026-11-02T09:00", "2026-11-02T10:00", DAY) == [("02. 09:00", "02. 10:00")]


def test_an_unknown_country_is_named():
    with pytest.raises(ValueError, match="no public holidays known for country 'XX'"):
        intervals("2026-11-02T00:00", "2026-11-03T00:00", DAY, site=a_site(country="XX"))
