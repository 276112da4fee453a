"""Drops of every format become the same readings, and no delivered row is lost from the count."""

import csv
import gzip
import io
import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ml.drop_format import DropColumns, DropFormat
from ml.plant import Band, Machine, Sensor, Site
from ml.readings import (
    QUARANTINED_SCHEMA,
    REASONS,
    ParsedDrop,
    UnreadableDrop,
    parse_drop,
)
from ml.reasons import EXPLANATIONS

HEADER = "timestamp,sensor_id,value\n"
RECEIVED = datetime(2026, 3, 1, 12, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")
IDS = ("fan.current", "pump.flow", "pump.temp")
Key = tuple[str, datetime]


def a_site(drops: DropFormat | None = None, *, time_zone: str = "Europe/Berlin", **sensor: object) -> Site:
    return Site(
        site="north",
        name="North",
        time_zone=time_zone,
        first_day=date(2025, 1, 1),
        drops=drops or DropFormat(),
        machines=(
            Machine(
                machine_id="pump",
                machine_class="pump",
                sensors=(
                    Sensor(
                        sensor_id="pump.temp", source_name="PT", type="temperature", unit="C", physical=Band(low=-40, high=150), **sensor
                    ),
                    Sensor(sensor_id="pump.flow", type="flow", unit="m3/h"),
                ),
            ),
            Machine(machine_id="fan", machine_class="fan", sensors=(Sensor(sensor_id="fan.current", type="current", unit="A"),)),
        ),
    )


def parse(
    text: str | bytes, drops: DropFormat | None = None, *, received_at: datetime = RECEIVED, time_zone: str = "Europe/Berlin"
) -> ParsedDrop:
    data = text.encode() if isinstance(text, str) else text
    parsed = parse_drop(data, site=a_site(drops, time_zone=time_zone), received_at=received_at)
    assert parsed.rows_in == parsed.accepted.num_rows + parsed.n_duplicate + parsed.quarantined.num_rows
    keys = list(zip(parsed.accepted["sensor_id"].to_pylist(), parsed.accepted["timestamp"].to_pylist(), strict=True))
    assert keys == sorted(set(keys))
    return parsed


def accepted(parsed: ParsedDrop) -> dict[Key, float]:
    rows = parsed.accepted.to_pylist()
    return {(r["sensor_id"], r["timestamp"]): r["value"] for r in rows}


def reasons(parsed: ParsedDrop) -> list[tuple[int, str]]:
    return [(r["line"], r["reason"]) for r in parsed.quarantined.to_pylist()]


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc, arg-type]


# --- one table, every format

SOURCE_NAMES = {"pump.temp": "PT", "pump.flow": "pump.flow", "fan.current": "fan.current"}
instants_ = st.integers(0, 400 * 86_400_000).map(lambda ms: utc(2025, 1, 1) + timedelta(milliseconds=ms))
values_ = st.floats(-40, 150, allow_nan=False).map(lambda x: x + 0.0)
tables_ = st.dictionaries(st.tuples(st.sampled_from(IDS), instants_), values_, max_size=30)
spellings_ = st.sampled_from(
    ["iso_z", "iso_offset", "iso_space", "iso_naive_utc", "epoch_s", "epoch_ms", "%Y.%m.%d.%H.%M.%S.%f", "%d/%m/%Y %H:%M:%S.%f %z"]
)


def spell(at: datetime, spelling: str) -> str | float | int:
    ms = round((at - utc(1970, 1, 1)) / timedelta(milliseconds=1))
    known: dict[str, str | float | int] = {
        "iso_z": at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "iso_offset": at.astimezone(BERLIN).isoformat(),
        "iso_space": at.strftime("%Y-%m-%d %H:%M:%S.%f+00:00"),
        "iso_naive_utc": at.replace(tzinfo=None).isoformat(),
        "epoch_s": ms / 1000,
        "epoch_ms": ms,
    }
    return known.get(spelling) or at.strftime(spelling)


def drop_format(kind: str, layout: str, spelling: str, **more: object) -> DropFormat:
    written_as = "iso" if spelling.startswith("iso") else spelling
    return DropFormat(kind=kind, layout=layout, timestamp_format=written_as, **more)


def records(table: dict[Key, float], layout: str, spelling: str) -> tuple[list[str], list[dict[str, object]]]:
    if layout == "long":
        rows: list[dict[str, object]] = [
            {"timestamp": spell(at, spelling), "sensor_id": SOURCE_NAMES[s], "value": v} for (s, at), v in table.items()
        ]
        return ["timestamp", "sensor_id", "value"], rows
    by_time: dict[datetime, dict[str, object]] = {}
    for (sensor, at), value in table.items():
        by_time.setdefault(at, {"timestamp": spell(at, spelling)})[SOURCE_NAMES[sensor]] = value
    return ["timestamp", *SOURCE_NAMES.values()], list(by_time.values())


def write(kind: str, names: list[str], rows: Sequence[dict[str, object]], delimiter: str = ",", quoting: int = csv.QUOTE_MINIMAL) -> bytes:
    if kind == "jsonl":
        return "".join(json.dumps(row) + "\n" for row in rows).encode() or b"\n"
    if kind == "parquet":
        sink = io.BytesIO()
        pq.write_table(pa.table({n: [row.get(n) for row in rows] for n in names}), sink)
        return sink.getvalue()
    out = io.StringIO()
    writer = csv.DictWriter(out, names, delimiter=delimiter, quoting=quoting)  # type: ignore[arg-type]
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


@settings(max_examples=120, deadline=None)
@given(tables_, st.sampled_from(["csv", "jsonl", "parquet"]), st.sampled_from(["long", "wide"]), spellings_)
def test_a_table_written_in_any_format_comes_back_equal(table: dict[Key, float], kind: str, layout: str, spelling: str) -> None:
    names, rows = records(table, layout, spelling)
    parsed = parse(write(kind, names, rows), drop_format(kind, layout, spelling))
    assert accepted(parsed) == table
    assert parsed.rows_in == len(table)


@settings(max_examples=40, deadline=None)
@given(tables_, st.sampled_from([";", "\t", "|", " "]), st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]), st.booleans())
def test_delimiters_quotes_line_ends_and_a_byte_order_mark_do_not_matter(
    table: dict[Key, float], delimiter: str, quoting: int, marked: bool
) -> None:
    names, rows = records(table, "long", "iso_z")
    data = write("csv", names, rows, delimiter, quoting)
    data = b"\xef\xbb\xbf" + data.replace(b"\r\n", b"\n") if marked else data
    assert accepted(parse(data, DropFormat(delimiter=delimiter))) == table


@settings(max_examples=30, deadline=None)
@given(
    st.dictionaries(st.tuples(st.sampled_from(["P 1", "F 1"]), st.sampled_from(["volt", "rotate"]), instants_), values_, max_size=20),
    st.sampled_from(["csv", "jsonl", "parquet"]),
)
def test_a_machine_column_and_a_shared_name_identify_the_sensor(table: dict[tuple[str, str, datetime], float], kind: str) -> None:
    site = a_site(drop_format(kind, "wide", "iso_z", columns=DropColumns(machine="machineID"))).model_copy(
        update={
            "machines": tuple(
                Machine(
                    machine_id=machine.replace(" ", ""),
                    source_name=machine,
                    machine_class="pump",
                    sensors=tuple(Sensor(sensor_id=f"{machine[0]}.{n}", source_name=n, type="other", unit="1") for n in ("rotate", "volt")),
                )
                for machine in ("P 1", "F 1")
            )
        }
    )
    cells: dict[tuple[str, datetime], dict[str, object]] = {}
    for (machine, name, at), value in table.items():
        cells.setdefault((machine, at), {"timestamp": spell(at, "iso_z"), "machineID": machine})[name] = value
    parsed = parse_drop(write(kind, ["timestamp", "machineID", "volt", "rotate"], list(cells.values())), site=site, received_at=RECEIVED)
    assert accepted(parsed) == {(f"{m[0]}.{n}", at): v for (m, n, at), v in table.items()}


def test_typed_parquet_timestamps_are_taken_as_they_are() -> None:
    at = utc(2025, 7, 1, 10)
    for kind, stored in (
        (pa.timestamp("ns", "Europe/Berlin"), at),
        (pa.timestamp("ms", "UTC"), at),
        (pa.timestamp("us"), datetime(2025, 7, 1, 12)),  # noqa: DTZ001 - local time of the site
    ):
        sink = io.BytesIO()
        names = pa.array(["PT", None]).dictionary_encode()
        pq.write_table(
            pa.table({"timestamp": pa.array([stored, None], kind), "sensor_id": names, "value": pa.array([1, 2], pa.int16())}), sink
        )
        parsed = parse(sink.getvalue(), DropFormat(kind="parquet", time_zone="site"))
        assert accepted(parsed) == {("pump.temp", at): 1.0}
        assert reasons(parsed) == [(2, "bad_timestamp")]
        assert parsed.quarantined["raw"].to_pylist() == ["timestamp=, sensor_id=, value=2"]


# --- verdicts

LONG = "timestamp,sensor_id,value,status,unit\n"
FULL = DropFormat(columns=DropColumns(quality="status", unit="unit"))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("2025-02-30T00:00:00Z,PT,1,ok,C", "bad_timestamp"),
        ("2025-02-29T00:00:00Z,PT,1,ok,C", "bad_timestamp"),
        ("2025-04-31T00:00:00Z,PT,1,ok,C", "bad_timestamp"),
        ("0000-01-01T00:00:00Z,PT,1,ok,C", "bad_timestamp"),
        ("yesterday,PT,1,ok,C", "bad_timestamp"),
        (",PT,1,ok,C", "bad_timestamp"),
        ("2025-02-01T25:00:00Z,PT,1,ok,C", "bad_timestamp"),
        ("2025-02-01T00:00:00Z,XX,1,ok,C", "unknown_sensor"),
        ("2025-02-01T00:00:00Z,pump.temp,1,ok,C", "unknown_sensor"),
        ("2025-02-01T00:00:00Z,PT,NaN,ok,C", "not_a_number"),
        ("2025-02-01T00:00:00Z,PT,,ok,C", "not_a_number"),
        ("2025-02-01T00:00:00Z,PT,#N/A,ok,C", "not_a_number"),
        ("2025-02-01T00:00:00Z,PT,-inf,ok,C", "not_a_number"),
        ("2025-02-01T00:00:00Z,PT,1e999,ok,C", "not_a_number"),
        ('2025-02-01T00:00:00Z,PT,"1,5",ok,C', "not_a_number"),
        ("2025-02-01T00:00:00Z,PT,1,ok,bar", "wrong_unit"),
        ("2025-02-01T00:00:00Z,PT,1,ok,", "wrong_unit"),
        ("2025-02-01T00:00:00Z,PT,1,Bad,C", "bad_quality"),
        ("2025-02-01T00:00:00Z,PT,150.001,ok,C", "out_of_physical_range"),
        ("2025-02-01T00:00:00Z,PT,-40.001,ok,C", "out_of_physical_range"),
        ("2026-03-01T12:05:00.000001Z,PT,1,ok,C", "in_the_future"),
        ("2024-12-31T23:59:59.999999Z,PT,1,ok,C", "before_first_day"),
        ("2025-02-01T00:00:00Z,PT,1,ok", "malformed_row"),
        ("2025-02-01T00:00:00Z,PT,1,ok,C,", "malformed_row"),
        ("2024-02-01T00:00:00Z,PT,nan,Bad,F", "not_a_number"),
        ("2030-02-01T00:00:00Z,PT,999,Bad,bar", "wrong_unit"),
        ("2030-02-01T00:00:00Z,PT,999,ok,C", "out_of_physical_range"),
    ],
)
def test_each_reason_is_found_with_its_line_and_text_and_the_first_one_wins(line: str, reason: str) -> None:
    good = "2025-02-01T00:00:00Z,PT,-40,ok,C\n2026-03-01T12:05:00Z,PT, 150 ,,C\n2025-01-01T00:00:00Z, PT ,1,ok,C\n"
    parsed = parse(LONG + good + line + "\n", FULL)
    assert accepted(parsed) == {
        ("pump.temp", utc(2025, 2, 1)): -40,
        ("pump.temp", utc(2026, 3, 1, 12, 5)): 150,
        ("pump.temp", utc(2025, 1, 1)): 1,
    }
    assert parsed.quarantined.to_pylist()[0]["raw"] == line
    assert reasons(parsed) == [(5, reason)]
    has_sensor = reason not in ("unknown_sensor", "malformed_row")
    assert parsed.quarantined["sensor_id"].to_pylist() == ["pump.temp" if has_sensor else None]


def test_every_reason_is_listed_once() -> None:
    assert len(set(REASONS)) == len(REASONS) == 11
    assert set(EXPLANATIONS) == set(REASONS)


def test_physical_line_numbers_stay_right_after_blank_and_malformed_lines() -> None:
    text = (
        "\ufeff\ntimestamp,sensor_id,value\n\n2025-02-01T00:00:00Z,PT,1\nbroken\n   \n"
        "2025-02-01T00:01:00Z,PT,x\r\n\r\n\n1,2,3,4\n2025-02-01T00:02:00Z,XX,3"
    )
    parsed = parse(text)
    assert reasons(parsed) == [(5, "malformed_row"), (7, "not_a_number"), (10, "malformed_row"), (11, "unknown_sensor")]
    assert parsed.quarantined["raw"].to_pylist() == ["broken", "2025-02-01T00:01:00Z,PT,x", "1,2,3,4", "2025-02-01T00:02:00Z,XX,3"]
    assert parsed.rows_in == 5


def test_a_stray_quote_spoils_its_own_line_only() -> None:
    rows = [f'2025-02-01T00:{i:02d}:00Z,"PT",{i}' for i in range(60)]
    rows[10] = '2025-02-01T00:10:00Z,"PT,10'
    rows[20] = '"2025-02-01T00:20:00Z",PT,"20"'
    parsed = parse("timestamp,sensor_id,value\n" + "\n".join(rows) + "\n\n")
    assert reasons(parsed) == [(12, "malformed_row")]
    assert sorted(accepted(parsed).values()) == [v for v in range(60) if v != 10]


def test_a_line_of_empty_fields_is_a_row_and_a_blank_line_is_none() -> None:
    parsed = parse("timestamp,sensor_id,value\n,,\n\n,,")
    assert reasons(parsed) == [(2, "bad_timestamp"), (4, "bad_timestamp")]


def test_of_rows_with_the_same_sensor_and_time_the_last_in_the_file_stands() -> None:
    rows = ["01:00:00+01:00,PT,1", "00:00:00Z,pump.flow,7", "00:00:00Z,PT,3", "00:00:00.0Z,PT,2"]
    parsed = parse(HEADER + "".join(f"2025-02-01T{row}\n" for row in rows))
    assert accepted(parsed) == {("pump.temp", utc(2025, 2, 1)): 2, ("pump.flow", utc(2025, 2, 1)): 7}
    assert parsed.n_duplicate == 2


def test_wide_drops_count_filled_cells_and_quarantine_those_of_unclaimed_columns() -> None:
    text = (
        "timestamp;PT;operator;pump.flow;\n"
        "2025-02-01T00:00:00Z;-1.5;Ann;;\n2025-02-01T00:01:00Z;;;abc;\nnever;1;;;2\n2025-02-01T00:02:00Z; ;;\n"
    )
    parsed = parse(text, DropFormat(layout="wide", delimiter=";"))
    assert accepted(parsed) == {("pump.temp", utc(2025, 2, 1)): -1.5}
    assert [(r["line"], r["reason"], r["raw"]) for r in parsed.quarantined.to_pylist()] == [
        (2, "unknown_sensor", "timestamp=2025-02-01T00:00:00Z, operator=Ann"),
        (3, "not_a_number", "timestamp=2025-02-01T00:01:00Z, pump.flow=abc"),
        (4, "bad_timestamp", "timestamp=never, PT=1"),
        (4, "bad_timestamp", "timestamp=never, =2"),
        (5, "malformed_row", "2025-02-01T00:02:00Z; ;;"),
    ]


def test_json_lines_of_any_sort_end_in_a_verdict() -> None:
    at = '"timestamp": "2025-02-01T00:00:00Z"'
    lines = [
        '{AT, "sensor_id": "PT", "value": 1.5}',
        "",
        '{AT, "sensor_id": "PT"',
        "[1, 2]",
        '{AT, "sensor_id": "PT", "value": null}',
        '{AT, "sensor_id": "PT", "value": true}',
        '{AT, "sensor_id": "PT", "value": {"deep": [1]}}',
        '{AT, "value": 1}',
        '{"sensor_id": "PT", "value": 1}',
        '{AT, "sensor_id": "\\ud800", "value": 1}',
        '{AT, "sensor_id": "pump.flow", "value": "2.5"}',
        "[" * 100_000,
        '{"a":' * 100_000,
    ]
    parsed = parse("\n".join(lines).replace("AT", at), DropFormat(kind="jsonl"))
    assert accepted(parsed) == {("pump.temp", utc(2025, 2, 1)): 1.5, ("pump.flow", utc(2025, 2, 1)): 2.5}
    bad, number = "malformed_row", "not_a_number"
    expected = [bad, bad, number, number, number, "unknown_sensor", "bad_timestamp", bad, bad, bad]
    assert reasons(parsed) == list(zip([3, 4, 5, 6, 7, 8, 9, 10, 12, 13], expected, strict=True))


def test_two_json_objects_on_one_line_are_one_malformed_row() -> None:
    one = '{"timestamp": "2025-02-01T00:00:00Z", "sensor_id": "PT", "value": 1}'
    parsed = parse(f"{one}\n{one}{one}\n", DropFormat(kind="jsonl"))
    assert reasons(parsed) == [(2, "malformed_row")]


def test_a_brace_in_a_name_and_a_line_of_blanks_do_not_shift_the_line_numbers() -> None:
    def row(name: str) -> str:
        return '{"timestamp": "2025-02-01T00:00:00Z", "sensor_id": "%s", "value": 1}' % name  # noqa: UP031 - braces

    parsed = parse(f"{row('PT')}\n  \n{row('{')}\n", DropFormat(kind="jsonl"))
    assert reasons(parsed) == [(3, "unknown_sensor")]


# --- timestamps


def local_rows(times: Sequence[str], name: str = "PT") -> str:
    return "".join(f"{t},{name},{i}\n" for i, t in enumerate(times))


SITE_TIME = DropFormat(time_zone="site")


def local_series(first: datetime, minutes: int, step: int) -> tuple[list[str], list[datetime]]:
    ats = [first + timedelta(minutes=m) for m in range(0, minutes, step)]
    return [at.astimezone(BERLIN).strftime("%Y-%m-%dT%H:%M:%S") for at in ats], ats


@pytest.mark.parametrize("step", [10, 30, 60])
@pytest.mark.parametrize("is_reversed", [False, True])
@pytest.mark.parametrize("day", [(2025, 3, 29, 22), (2025, 10, 25, 22), (2025, 6, 1, 0)])
def test_local_times_through_both_changes_of_clocks_are_told_apart_by_their_order(
    step: int, is_reversed: bool, day: tuple[int, int, int, int]
) -> None:
    written, ats = local_series(utc(*day), 6 * 60, step)
    rows = local_rows(written).splitlines(keepends=True) + local_rows(written, "pump.flow").splitlines(keepends=True)
    parsed = parse(HEADER + "".join(reversed(rows) if is_reversed else rows), SITE_TIME)
    expected = {(s, at): float(i) for s in ("pump.temp", "pump.flow") for i, at in enumerate(ats)}
    assert accepted(parsed) == expected


def test_series_that_take_turns_in_the_repeated_hour_do_not_disturb_one_another() -> None:
    written, ats = local_series(utc(2025, 10, 25, 23, 50), 150, 10)
    lines = "".join(f"{w},PT,{i}\n{w},pump.flow,{i}\n" for i, w in enumerate(written))
    assert accepted(parse(HEADER + lines, SITE_TIME)) == {(s, at): float(i) for s in ("pump.temp", "pump.flow") for i, at in enumerate(ats)}
    wide = "timestamp,PT\n" + "".join(f"{w},{i}\n" for i, w in enumerate(written))
    assert accepted(parse(wide, DropFormat(layout="wide", time_zone="site"))) == {("pump.temp", at): float(i) for i, at in enumerate(ats)}


def test_a_local_time_that_the_clocks_skipped_is_no_instant() -> None:
    parsed = parse(
        HEADER + local_rows(["2025-03-30T01:59:59", "2025-03-30T02:00:00", "2025-03-30T02:59:59", "2025-03-30T03:00:00"]), SITE_TIME
    )
    assert sorted(at for _, at in accepted(parsed)) == [utc(2025, 3, 30, 0, 59, 59), utc(2025, 3, 30, 1)]
    assert reasons(parsed) == [(3, "skipped_by_clock_change"), (4, "skipped_by_clock_change")]


def test_offsets_and_local_times_may_stand_in_one_column() -> None:
    times = [
        "2025-07-01T12:00:00",
        "2025-07-01T12:00:00Z",
        "2025-07-01 12:30",
        "2025-07-01T12:00:00.1234567-0230",
        "2025-07-02",
        " 2025-07-03T00:00:00+02 ",
    ]
    parsed = parse(HEADER + local_rows(times), SITE_TIME)
    assert [at for _, at in accepted(parsed)] == [
        utc(2025, 7, 1, 10),
        utc(2025, 7, 1, 10, 30),
        utc(2025, 7, 1, 12),
        utc(2025, 7, 1, 14, 30, 0, 123456),
        utc(2025, 7, 1, 22),
        utc(2025, 7, 2, 22),
    ]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 2 * 366 * 1440), min_size=1, max_size=60, unique=True),
    st.sampled_from(["Europe/Berlin", "Australia/Lord_Howe", "America/New_York", "Asia/Kathmandu"]),
)
def test_local_times_agree_with_python_wherever_they_are_unique(minutes: list[int], key: str) -> None:
    zone = ZoneInfo(key)
    local = [datetime(2024, 1, 2) + timedelta(minutes=m) for m in minutes]  # noqa: DTZ001 - local times
    clear = [t for t in local if t.replace(tzinfo=zone).utcoffset() == t.replace(tzinfo=zone, fold=1).utcoffset()]
    text = HEADER + local_rows([t.isoformat() for t in clear])
    site = a_site(DropFormat(time_zone=key)).model_copy(update={"first_day": date(2023, 1, 1)})
    found = accepted(parse_drop(text.encode(), site=site, received_at=utc(2030, 1, 1)))
    expected = {("pump.temp", t.replace(tzinfo=zone).astimezone(UTC)): float(i) for i, t in enumerate(clear)}
    assert found == expected


def test_every_date_of_the_calendar_and_no_other_is_taken() -> None:
    texts = [f"{y}-{m:02d}-{d:02d}T12:00:00" for y in (2023, 2024) for m in range(14) for d in range(33)]
    site = a_site().model_copy(update={"first_day": date(2020, 1, 1)})
    parsed = parse_drop((HEADER + local_rows(texts, "pump.flow")).encode(), site=site, received_at=RECEIVED)
    days = [date(2023, 1, 1) + timedelta(days=i) for i in range(365 + 366)]
    assert [at.date() for _, at in accepted(parsed)] == days


def test_a_wrong_strptime_pattern_is_an_error_of_the_plant_file() -> None:
    with pytest.raises(ValueError, match="timestamp_format '%Q'"):
        parse(HEADER + "1,PT,1\n", DropFormat(timestamp_format="%Q"))


def test_epochs_beyond_the_calendar_are_no_instants() -> None:
    for written_as in ("epoch_s", "epoch_ms"):
        parsed = parse(
            HEADER + local_rows(["9223372036854775807", "-9223372036854775808", "1e300", "1e17", "NaN", ""]),
            DropFormat(timestamp_format=written_as),
        )
        assert {r for _, r in reasons(parsed)} == {"bad_timestamp"}
        assert parsed.quarantined["timestamp"].null_count == 6


# --- what cannot be read


def test_parquet_with_damaged_column_names_is_unreadable() -> None:
    data = write("parquet", ["timestamp", "sensor_id", "value"], [{"timestamp": "2025-02-01", "sensor_id": "PT", "value": 1.0}])
    with pytest.raises(UnreadableDrop, match="damaged"):
        parse(data.replace(b"sensor_id", b"sensor\x96id"), DropFormat(kind="parquet"))


def test_parquet_with_text_that_is_not_utf8_is_unreadable() -> None:
    broken = pa.StringArray.from_buffers(1, pa.py_buffer(np.array([0, 2], np.int32)), pa.py_buffer(b"P\xff"))
    sink = io.BytesIO()
    pq.write_table(pa.table({"timestamp": ["2025-02-01"], "sensor_id": broken, "value": [1.0]}), sink)
    with pytest.raises(UnreadableDrop, match="damaged"):
        parse(sink.getvalue(), DropFormat(kind="parquet"))


@pytest.mark.parametrize(
    ("data", "drops", "words"),
    [
        (b"", DropFormat(), "empty"),
        (b"\n \n", DropFormat(), "blank"),
        (b"time,sensor_id,value\n1,2,3\n", DropFormat(), r"column 'timestamp' is missing \(found: time, sensor_id, value\)"),
        (b"timestamp,sensor_id,value,value\n", DropFormat(), "'value' occurs more than once"),
        (b"timestamp,PT,PT\n", DropFormat(layout="wide"), "'PT' occurs more than once"),
        (b'timestamp,"sensor_id,value\n', DropFormat(), "quotes are not closed"),
        ("Zeit,sensor_id,value\nÄ".encode("latin-1"), DropFormat(), "UTF-8"),
        (gzip.compress(b"timestamp,sensor_id,value\n", mtime=0), DropFormat(), "UTF-8"),
        (b'{"timestamp": 1, "value": 2}\n', DropFormat(kind="jsonl"), r"'sensor_id' is missing \(found: timestamp, value\)"),
        (b"timestamp,sensor_id\n", DropFormat(kind="jsonl"), "no line is a JSON object"),
        (b"PAR1 is not enough", DropFormat(kind="parquet"), "Parquet"),
        (write("parquet", ["timestamp"], []), DropFormat(kind="parquet"), r"'sensor_id' is missing \(found: timestamp\)"),
    ],
)
def test_a_file_that_is_no_drop_is_refused_in_words(data: bytes, drops: DropFormat, words: str) -> None:
    with pytest.raises(UnreadableDrop, match=words):
        parse(data, drops)


def test_a_header_alone_is_an_empty_drop() -> None:
    for text in ("timestamp,sensor_id,value", "timestamp,sensor_id,value\r\n", "timestamp,sensor_id,value\n\n\n"):
        assert parse(text).rows_in == 0
    assert parse("\n", DropFormat(kind="jsonl")).rows_in == 0


def test_naive_reception_and_sensors_that_share_a_name_are_errors_of_the_caller() -> None:
    with pytest.raises(ValueError, match="received_at"):
        parse("", received_at=datetime(2025, 1, 1))  # noqa: DTZ001 - that is the error
    site = a_site().model_copy(
        update={
            "machines": tuple(
                m.model_copy(update={"sensors": (m.sensors[0].model_copy(update={"source_name": "volt"}),)}) for m in a_site().machines
            )
        }
    )
    with pytest.raises(ValueError, match="two sensors go by the name 'volt'") as caught:
        parse_drop(b"x", site=site, received_at=RECEIVED)
    assert not isinstance(caught.value, UnreadableDrop)


fields_ = st.sampled_from(
    ["2025-02-01T00:00:00Z", "2025-02-01", "PT", "pump.flow", "1.5", "-3", "", " ", '"', '"PT"', "nan", "é", "\x00", '""', "\\"]
)
lines_ = st.one_of(
    st.lists(fields_, min_size=1, max_size=5).map(",".join),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), max_size=12),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(lines_, max_size=12), st.sampled_from(["long", "wide"]), st.sampled_from(["\n", "\r\n", "\r"]))
@example(['"', "", '"PT",2025-02-01,"'], "long", "\n")
def test_arbitrary_lines_add_up(lines: list[str], layout: str, line_end: str) -> None:
    header = "timestamp,sensor_id,value" if layout == "long" else "timestamp,PT,pump.flow"
    parsed = parse(line_end.join([header, *lines]), drop_format("csv", layout, "iso"))
    if layout == "long":
        assert parsed.rows_in == sum(1 for line in lines if line.strip())
    for row in parsed.quarantined.to_pylist():
        assert row["reason"] in REASONS
        assert lines[row["line"] - 2].strip()
        if layout == "long":
            assert row["raw"] == lines[row["line"] - 2]


@settings(max_examples=100, deadline=None)
@given(tables_, st.sampled_from(["csv", "jsonl", "parquet"]), st.sampled_from(["long", "wide"]), st.floats(0, 1), st.binary(max_size=2))
def test_a_file_cut_off_anywhere_is_unreadable_or_adds_up(
    table: dict[Key, float], kind: str, layout: str, share: float, tail: bytes
) -> None:
    names, rows = records(table, layout, "iso_z")
    data = write(kind, names, rows)
    try:
        parsed = parse(data[: int(share * len(data))] + tail, drop_format(kind, layout, "iso_z"))
    except UnreadableDrop:
        return
    n_bad = parsed.quarantined.num_rows
    assert n_bad <= (2 if layout == "long" else 5)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.recursive(
                st.none() | st.booleans() | st.floats() | st.text(max_size=3),
                lambda x: st.lists(x, max_size=2) | st.dictionaries(st.sampled_from(["timestamp", "sensor_id", "PT"]), x, max_size=3),
                max_leaves=4,
            ).map(json.dumps),
            st.text(max_size=5),
        ),
        max_size=8,
    ),
    st.sampled_from(["long", "wide"]),
)
def test_arbitrary_json_lines_add_up(lines: list[str], layout: str) -> None:
    try:
        parsed = parse("\n".join(lines).encode(errors="replace") or b"\n", drop_format("jsonl", layout, "iso"))
    except UnreadableDrop:
        return
    assert parsed.quarantined.schema == QUARANTINED_SCHEMA


def test_fast_and_slow_ways_of_reading_agree() -> None:
    """A stray quote, a trailing object or one odd number send the file down the slow way; all other rows must not change."""
    rng = np.random.default_rng(5)
    rows = [
        (f"2025-02-{1 + i // 1440:02d}T{i // 60 % 24:02d}:{i % 60:02d}:00Z", v) for i, v in enumerate(rng.normal(20, 5, 3_000).tolist())
    ]
    text = HEADER + "".join(f"{t},PT,{v!r}\n" for t, v in rows)
    for tail in ("", '"\n', "2025-02-09T00:00:00Z,PT, 1_0\n", "2025-02-29T00:00:00Z,PT,1\n", "x\n"):
        assert sorted(accepted(parse(text + tail)).values()) == sorted(v for _, v in rows)
    lines = "".join(json.dumps({"timestamp": t, "sensor_id": "PT", "value": v}) + "\n" for t, v in rows)
    for tail in ("", "{\n", '{"timestamp": [], "value": "x"}\n'):
        assert sorted(accepted(parse(lines + tail, DropFormat(kind="jsonl"))).values()) == sorted(v for _, v in rows)


def test_a_parquet_column_whose_name_begins_like_another_is_not_taken_for_it() -> None:
    names = ["timestamp", "value.raw", "sensor_id", "value"]
    data = write("parquet", names, [{"timestamp": "2025-02-01", "sensor_id": "PT", "value": 1.0, "value.raw": 2.0}])
    assert list(accepted(parse(data, DropFormat(kind="parquet"))).values()) == [1.0]
