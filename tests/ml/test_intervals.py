"""Intervals: every reading counts in exactly one, the wall clock says where it begins, however readings are handed over."""

import math
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.intervals import INTERVALS_SCHEMA, Every, IntervalSums

Row = tuple[str, datetime, float]
SENSORS = ("a", "b", "c")
STEPS_MIN = {"15min": 15, "1h": 60, "6h": 360, "1d": 1440}


def us(at: datetime) -> int:
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def table(rows: list[Row]) -> pa.Table:
    ids, times, values = zip(*rows, strict=True) if rows else ((), (), ())
    return pa.table(
        {
            "sensor_id": pa.array(ids, pa.string()),
            "timestamp": pa.array(times, pa.timestamp("us", "UTC")),
            "value": pa.array(values, pa.float64()),
        }
    )


def starts(every: str, zone: str, first: str, end: str) -> list[str]:
    """As the clock on the wall shows them."""
    tz = ZoneInfo(zone)
    found = Every.parse(every, tz).starts(us(datetime.fromisoformat(first)), us(datetime.fromisoformat(end)))
    return [(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(at))).astimezone(tz).strftime("%d %H:%M%z") for at in found]


@pytest.mark.parametrize(
    ("every", "zone", "first", "end", "expected"),
    [
        ("1h", "UTC", "2026-09-01T00:30Z", "2026-09-01T02:00Z", ["01 00:00+0000", "01 01:00+0000"]),
        # Clocks are set back at 03:00 in Berlin: the hour from 02:00 occurs twice, the first quarter of the day has seven hours.
        ("1h", "Europe/Berlin", "2026-10-24T23:30Z", "2026-10-25T02:00Z", ["25 01:00+0200", "25 02:00+0200", "25 02:00+0100"]),
        ("6h", "Europe/Berlin", "2026-10-24T22:00Z", "2026-10-25T10:00Z", ["25 00:00+0200", "25 06:00+0100"]),
        ("6h", "Europe/Berlin", "2026-10-25T04:30Z", "2026-10-25T05:00Z", ["25 00:00+0200"]),
        # And forward at 02:00: that day's second two hours have one.
        ("2h", "Europe/Berlin", "2026-03-28T23:00Z", "2026-03-29T03:00Z", ["29 00:00+0100", "29 03:00+0200", "29 04:00+0200"]),
        ("1d", "Europe/Berlin", "2026-10-24T22:00Z", "2026-10-26T23:00Z", ["25 00:00+0200", "26 00:00+0100"]),
        # Cairo sets its clocks forward at midnight: the day begins at 01:00. Havana sets them back to midnight: it begins once.
        ("1d", "Africa/Cairo", "2026-04-22T22:00Z", "2026-04-24T22:00Z", ["23 00:00+0200", "24 01:00+0300", "25 00:00+0300"]),
        ("1d", "America/Havana", "2026-11-01T04:00Z", "2026-11-02T06:00Z", ["01 00:00-0400", "02 00:00-0500"]),
        # A zone off the full hour, and one that shifts by half an hour.
        ("1h", "Asia/Kathmandu", "2026-03-28T22:20Z", "2026-03-28T23:20Z", ["29 04:00+0545", "29 05:00+0545"]),
        ("1h", "Australia/Lord_Howe", "2026-04-04T14:00Z", "2026-04-04T16:30Z", ["05 01:00+1100", "05 02:00+1030"]),
    ],
)
def test_an_interval_begins_where_the_wall_clock_shows_a_multiple_of_its_length(
    every: str, zone: str, first: str, end: str, expected: list[str]
) -> None:
    assert starts(every, zone, first, end) == expected


@pytest.mark.parametrize("text", ["7min", "90min", "5h", "2d", "0s", "1.5h", "h", "-1h", "1 week", "25h"])
def test_a_length_that_does_not_fit_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"10min, 1h|5min, 15min"):
        Every.parse(text, ZoneInfo("UTC"))


def start_of(at: datetime, step_min: int, zone: ZoneInfo) -> datetime:
    """Going back minute by minute to where the wall clock shows a multiple of the step: the definition, word by word."""
    at = at.replace(second=0, microsecond=0)
    while (local := at.astimezone(zone)) and (local.hour * 60 + local.minute) % step_min:
        at -= timedelta(minutes=1)
    return at


@st.composite
def questions(draw: st.DrawFn) -> tuple[list[Row], str, str, datetime, datetime, list[int]]:
    """Readings of three days around a change of clocks, a step, a zone, a range and where to cut the readings into batches."""
    noon = draw(st.sampled_from([datetime(2026, 3, 28, tzinfo=UTC), datetime(2026, 10, 24, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC)]))
    second = st.integers(0, 3 * 86400 - 1)
    start = noon + timedelta(seconds=draw(second))
    end = start + timedelta(seconds=draw(st.integers(1, 86400)))
    times = st.integers(0, int((end - start).total_seconds()) - 1)
    every = draw(st.sampled_from(sorted(STEPS_MIN)))
    zone = draw(st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu"]))
    found = draw(st.lists(st.tuples(st.sampled_from(SENSORS[:2]), times, st.floats(-1e6, 1e6)), max_size=30))
    rows = sorted((sensor, start + timedelta(seconds=s), value) for sensor, s, value in found)
    return rows, every, zone, start, end, draw(st.lists(st.integers(0, 30), max_size=3))


@settings(max_examples=60)
@given(questions())
def test_readings_handed_over_day_by_day_in_any_batches_give_what_the_definition_says(
    question: tuple[list[Row], str, str, datetime, datetime, list[int]],
) -> None:
    rows, every, zone, start, end, cuts = question
    tz, step = ZoneInfo(zone), STEPS_MIN[every]
    sums, found = IntervalSums(Every.parse(every, tz), SENSORS, us(start)), [INTERVALS_SCHEMA.empty_table()]
    midnight = start
    while midnight < end:
        day_end = min(midnight.replace(hour=0, minute=0, second=0) + timedelta(days=1), end)
        of_day = [row for row in rows if midnight <= row[1] < day_end]
        edges = sorted({0, *(min(c, len(of_day)) for c in cuts), len(of_day)})
        for low, high in pairwise(edges):
            sums.add(table(of_day[low:high]))
        found.extend(sums.ended(us(day_end), is_end=day_end == end))
        midnight = day_end
    result = pa.concat_tables(found).to_pylist()

    expected: dict[tuple[str, datetime], list[float]] = {}
    at = start_of(start, step, tz)
    while at < end:
        expected.update({(sensor, at): [] for sensor in SENSORS})
        at = next(t for t in (at + timedelta(minutes=15 * n) for n in range(1, 200)) if start_of(t, step, tz) == t)
    for sensor, time, value in rows:
        expected[sensor, start_of(time, step, tz)].append(value)
    assert len(result) == len(expected), "each interval of each sensor is there once, with readings or without"
    for row in result:
        values = expected[row["sensor_id"], row["interval_start"]]
        assert row["n"] == len(values)
        if values:
            assert (row["min"], row["max"]) == (min(values), max(values))
            assert row["mean"] == pytest.approx(math.fsum(values) / len(values), rel=1e-9, abs=1e-9)
        else:
            assert (row["min"], row["max"], row["mean"]) == (None, None, None)
    for sensor in SENSORS:
        mine = [row["interval_start"] for row in result if row["sensor_id"] == sensor]
        assert mine == sorted(mine)


def test_an_interval_that_crosses_midnight_waits_for_the_next_day() -> None:
    berlin = Every.parse("1d", ZoneInfo("Europe/Berlin"))
    start = datetime(2026, 9, 1, 22, tzinfo=UTC)  # midnight in Berlin
    sums = IntervalSums(berlin, ("a",), us(start))
    sums.add(table([("a", start + timedelta(hours=1), 1.0)]))
    assert list(sums.ended(us(datetime(2026, 9, 2, tzinfo=UTC)), is_end=False)) == []
    sums.add(table([("a", start + timedelta(hours=20), 5.0), ("a", start + timedelta(hours=24), 100.0)]))
    (day,) = sums.ended(us(datetime(2026, 9, 3, tzinfo=UTC)), is_end=False)
    assert day.to_pylist() == [{"sensor_id": "a", "interval_start": start, "mean": 3.0, "min": 1.0, "max": 5.0, "n": 2}]
    (last,) = sums.ended(us(datetime(2026, 9, 3, 1, tzinfo=UTC)), is_end=True)
    assert last["n"].to_pylist() == [1]


def test_many_sensors_with_many_intervals_come_in_tables_of_bounded_size() -> None:
    ids = tuple(f"s{i:03}" for i in range(40))
    sums = IntervalSums(Every.parse("10s", ZoneInfo("UTC")), ids, us(datetime(2026, 9, 1, tzinfo=UTC)))
    sums.add(table([("s007", datetime(2026, 9, 1, 0, 0, 15, tzinfo=UTC), 7.0)]))
    tables = list(sums.ended(us(datetime(2026, 9, 2, tzinfo=UTC)), is_end=True))
    assert len(tables) > 1
    assert max(t.num_rows for t in tables) <= 131_072
    whole = pa.concat_tables(tables)
    assert whole.num_rows == 40 * 8640
    assert whole["sensor_id"].unique().to_pylist() == list(ids)
    (one,) = (row for row in whole.to_pylist() if row["n"])
    assert (one["sensor_id"], one["interval_start"], one["mean"]) == ("s007", datetime(2026, 9, 1, 0, 0, 10, tzinfo=UTC), 7.0)
