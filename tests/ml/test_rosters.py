"""Working time against hours counted by hand on known calendars."""

from datetime import UTC, date, datetime, time

import pytest

from ml.plant import Break, Machine, Sensor, Shift, Site, StopWindow, Technician
from ml.rosters import Interval, absences, break_intervals, stop_intervals, working_intervals

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


def test_breaks_are_those_of_shifts_that_are_worked_on_the_wall_clock():
    shift = Shift(days=NIGHT.days, start=time(22), end=time(6), breaks=(Break(start=time(2, 15), end=time(2, 45)),))
    technician = Technician(technician_id="t", name="T", skills=("x",), shifts=(shift,), absent_on=(date(2026, 10, 26),))

    def breaks(start: str, end: str) -> list[tuple[str, str]]:
        return [shown(i) for i in break_intervals(technician, site=a_site(), start=at(start), end=at(end))]

    # Berlin: UTC+2 until 01:00 UTC on the 25th, whose 02:15 comes twice: the first is the break. Nobody comes on the 26th.
    assert breaks("2026-10-23T12:00", "2026-10-27T12:00") == [("24. 00:15", "24. 00:45"), ("25. 00:15", "25. 00:45")]
    # On 29 March 02:15 is skipped: the break is at 03:15 on the clock, 01:15 UTC.
    assert breaks("2026-03-28T12:00", "2026-03-29T12:00") == [("29. 01:15", "29. 01:45")]


def test_a_break_must_lie_within_its_shift():
    with pytest.raises(ValueError, match="the break from 05:00 to 06:30 does not lie within the shift"):
        Shift(start=time(22), end=time(6), breaks=(Break(start=time(5), end=time(6, 30)),))


def test_stop_windows_are_weekly_or_between_two_days_and_one_where_they_touch():
    site = a_site()
    windows = (
        StopWindow(days=("sat",), start=time(20), end=time(0)),
        StopWindow(days=("sun",), start=time(0), end=time(4)),
        StopWindow(start=time(12), end=time(13), first_day=date(2026, 10, 27), last_day=date(2026, 10, 27)),
    )
    machine = site.machines[0].model_copy(update={"stop_windows": windows})
    found = [shown(i) for i in stop_intervals(machine, site=site, start=at("2026-10-20T00:00"), end=at("2026-10-30T00:00"))]
    assert found == [("24. 18:00", "25. 03:00"), ("27. 11:00", "27. 12:00")], "from 20:00 in summer time to 04:00 in winter time"
    always = stop_intervals(site.machines[0], site=site, start=at("2026-10-20T00:00"), end=at("2026-10-30T00:00"))
    assert [shown(i) for i in always] == [("20. 00:00", "30. 00:00")]
