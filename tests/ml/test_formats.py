"""Any table, written in any of the declared formats and cut into blocks anywhere, comes back equal."""

import csv
import gzip
import io
import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ml.drop_format import DropColumns, DropFormat
from ml.plant import Band, Machine, Sensor, Site
from ml.readings import ParsedDrop, Rows, UnreadableDrop, parse_drop

RECEIVED = datetime(2027, 1, 1, tzinfo=UTC)
NAMES = ("über.temp", "flow", "x,y;z")  # as drops name them
SPELLINGS = {
    "iso": lambda at: at.isoformat(),
    "%Y.%m.%d.%H.%M.%S": lambda at: at.strftime("%Y.%m.%d.%H.%M.%S"),
    "%d/%m/%Y %I:%M:%S %p": lambda at: at.strftime("%d/%m/%Y %I:%M:%S %p"),
    "epoch_s": lambda at: str(int(at.timestamp())),
    "epoch_ms": lambda at: str(int(at.timestamp()) * 1000),
}
Cells = dict[tuple[str, datetime], float]


def a_site(drops: DropFormat, **sensor: object) -> Site:
    sensors = tuple(
        Sensor(sensor_id=f"s{i}", source_name=name, type="temperature", unit="°C", **(sensor if i == 0 else {}))
        for i, name in enumerate(NAMES)
    )
    machine = Machine(machine_id="m", machine_class="pump", sensors=sensors)
    return Site(site="north", name="North", time_zone="Europe/Berlin", first_day=date(2020, 1, 1), drops=drops, machines=(machine,))


def accepted(parsed: ParsedDrop) -> Cells:
    assert parsed.rows_in == parsed.accepted.num_rows + parsed.n_duplicate + parsed.quarantined.num_rows
    names = {f"s{i}": name for i, name in enumerate(NAMES)}
    return {(names[r["sensor_id"]], r["timestamp"]): r["value"] for r in parsed.accepted.to_pylist()}


@dataclass(frozen=True)
class Writing:
    """A format, and how the bytes of a table are made for it by other means than ours."""

    drops: DropFormat
    line_end: str
    has_mark: bool

    def rows(self, cells: Cells) -> tuple[list[str], list[dict[str, object]]]:
        spell = SPELLINGS[self.drops.timestamp_format]
        if self.drops.layout == "long":
            rows = [{"timestamp": spell(at), "sensor_id": name, "value": value} for (name, at), value in cells.items()]
            return ["timestamp", "sensor_id", "value"], rows
        times = dict.fromkeys(at for _, at in cells)
        rows = [{"timestamp": spell(at), **{n: cells[n, at] for n in NAMES if (n, at) in cells}} for at in times]
        return ["timestamp", *NAMES], rows

    def bytes(self, cells: Cells) -> bytes:
        names, rows = self.rows(cells)
        if self.drops.kind == "parquet":
            sink = io.BytesIO()
            columns = {
                n: pa.array([r.get(n) for r in rows], pa.string() if n in ("timestamp", "sensor_id") else pa.float64()) for n in names
            }
            pq.write_table(pa.table(columns), sink, row_group_size=3)
            return sink.getvalue()
        out = io.StringIO(newline="")
        if self.drops.kind == "jsonl":
            for row in rows:
                out.write(json.dumps(row, ensure_ascii=False) + self.line_end)
        else:
            quoting = {"quotechar": self.drops.quote} if self.drops.quote else {"quoting": csv.QUOTE_NONE, "quotechar": None}
            writer = csv.writer(out, delimiter=self.drops.delimiter, lineterminator=self.line_end, **quoting)
            writer.writerow(names)
            writer.writerows([self._text(row.get(name, "")) for name in names] for row in rows)
        text = ("\ufeff" if self.has_mark else "") + out.getvalue()
        return text.encode(self.drops.encoding)

    def _text(self, value: object) -> str:
        return repr(value).replace(".", self.drops.decimal) if isinstance(value, float) else str(value)


@st.composite
def writings(draw: st.DrawFn) -> Writing:
    kind = draw(st.sampled_from(["csv", "csv", "csv", "jsonl", "parquet"]))
    encoding = draw(st.sampled_from(["utf-8", "utf-16", "utf-16-le", "utf-16-be", "latin-1", "cp1252"])) if kind != "parquet" else "utf-8"
    extra: dict[str, object] = {}
    if kind == "csv":
        quote = draw(st.sampled_from(['"', "'", None]))
        # Without a quote no mark of a name may be the delimiter.
        delimiter = draw(st.sampled_from([";", "\t", "|", ",", "~"] if quote else ["\t", "|", "~"]))
        decimal = draw(st.sampled_from([".", ","])) if delimiter != "," else "."
        extra = {"quote": quote, "delimiter": delimiter, "decimal": decimal}
    drops = DropFormat(
        kind=kind,
        layout=draw(st.sampled_from(["long", "wide"])),
        encoding=encoding,
        timestamp_format=draw(st.sampled_from(list(SPELLINGS))),
        **extra,
    )
    has_mark = encoding in ("utf-8", "utf-16-le", "utf-16-be") and kind != "parquet" and draw(st.booleans())
    return Writing(drops, draw(st.sampled_from(["\n", "\r\n", "\r"] if kind == "csv" else ["\n", "\r\n"])), has_mark)


seconds = st.datetimes(datetime(2020, 1, 1), datetime(2026, 12, 30)).map(lambda at: at.replace(microsecond=0, tzinfo=UTC))  # noqa: DTZ001
values = st.floats(allow_nan=False, allow_infinity=False, width=64)
tables = st.dictionaries(st.tuples(st.sampled_from(NAMES), seconds), values, min_size=1, max_size=12)


@settings(max_examples=300, deadline=None)
@given(writings(), tables, st.integers(4, 400))
def test_any_table_in_any_format_cut_anywhere_comes_back_equal(writing: Writing, cells: Cells, block_bytes: int) -> None:
    data = writing.bytes(cells)
    site = a_site(writing.drops)
    found = parse_drop(data, site=site, received_at=RECEIVED, block_bytes=block_bytes)
    assert accepted(found) == cells
    assert found.quarantined.num_rows == 0
    whole = parse_drop(data, site=site, received_at=RECEIVED)
    assert whole.accepted.equals(found.accepted)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            ["2025-02-01T00:00:00Z,flow,1", "x", "", "a,b,c,d", '2025-02-01,"flow,2', "2025-13-01,flow,3", ",,", "\ufffd,flow,1"]
        )
    )
)
def test_where_a_file_is_cut_into_blocks_makes_no_difference_to_any_verdict(lines: list[str]) -> None:
    data = ("timestamp,sensor_id,value\n" + "\n".join(lines)).encode()
    one, many = (parse_drop(data, site=a_site(DropFormat()), received_at=RECEIVED, block_bytes=size) for size in (1 << 20, 7))
    assert one.rows_in == many.rows_in
    assert one.accepted.equals(many.accepted)
    assert one.quarantined.to_pylist() == many.quarantined.to_pylist()


def test_an_hour_that_comes_twice_is_told_apart_over_the_whole_file() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    starts = datetime(2025, 10, 25, 22, tzinfo=UTC)
    times = [starts + timedelta(minutes=10 * n) for n in range(60)]
    text = "timestamp,sensor_id,value\n" + "".join(f"{at.astimezone(berlin):%Y-%m-%d %H:%M:%S},flow,{n}\n" for n, at in enumerate(times))
    for size in (16, 100, 1 << 20):
        found = parse_drop(text.encode(), site=a_site(DropFormat(time_zone="site")), received_at=RECEIVED, block_bytes=size)
        assert accepted(found) == {("flow", at): float(n) for n, at in enumerate(times)}


def test_a_few_bad_lines_among_json_lines_leave_the_others_as_they_are() -> None:
    good = [{"timestamp": f"2025-02-01T00:{n // 60:02}:{n % 60:02}Z", "sensor_id": "flow", "value": n} for n in range(500)]
    lines = [json.dumps(g) for g in good]
    lines[400] = lines[400].replace("flow", "who")
    lines[77], lines[300] = '{"timestamp": "2025-02-01T00:00:00Z", "sensor_id": "flow", "value": [1]}', "{broken"
    found = parse_drop("\n".join(lines).encode(), site=a_site(DropFormat(kind="jsonl")), received_at=RECEIVED)
    assert found.accepted["value"].to_pylist() == [float(n) for n in range(500) if n not in (77, 300, 400)]
    assert [(r["line"], r["reason"]) for r in found.quarantined.to_pylist()] == [
        (78, "not_a_number"),
        (301, "malformed_row"),
        (401, "unknown_sensor"),
    ]


def test_a_real_file_of_bearings_with_dots_between_all_parts_of_its_times(shared_data: Path) -> None:
    (path,) = (shared_data / "ims_bearing").glob("*.csv")
    with path.open() as file:
        rows = list(csv.DictReader(file))
    sensors = tuple(Sensor(sensor_id=f"b{n}", source_name=f"Bearing {n}", type="vibration", unit="g", interval_s=600) for n in (1, 2, 3, 4))
    drops = DropFormat(layout="wide", timestamp_format="%Y.%m.%d.%H.%M.%S", columns=DropColumns(timestamp="Datetime"))
    site = Site(
        site="rig",
        name="Rig",
        first_day=date(2004, 1, 1),
        drops=drops,
        machines=(Machine(machine_id="rig", machine_class="rig", sensors=sensors),),
    )
    found = parse_drop(path.read_bytes(), site=site, received_at=RECEIVED)
    counters = found.quarantined.to_pylist()  # the unnamed first column numbers the rows, and is no sensor's
    assert {r["reason"] for r in counters} == {"unknown_sensor"}
    assert len(counters) == len(rows)
    expected = {
        (f"b{n}", datetime.strptime(r["Datetime"], "%Y.%m.%d.%H.%M.%S").replace(tzinfo=UTC)): float(r[f"Bearing {n}"])
        for r in rows
        for n in (1, 2, 3, 4)
    }
    assert {(r["sensor_id"], r["timestamp"]): r["value"] for r in found.accepted.to_pylist()} == expected


# --- what the plant file asks to be put right


def one(value: str, *, unit: str | None = None, at: str = "2025-02-01T00:00:00Z", drops: dict[str, object] | None = None, **sensor: object):
    columns = DropColumns(unit="unit" if unit is not None else None)
    site = a_site(DropFormat(columns=columns, **(drops or {})), **sensor)
    mark = site.drops.delimiter
    header = ["timestamp", "sensor_id", "value"] + (["unit"] if unit is not None else [])
    fields = [at, NAMES[0], value] + ([unit] if unit is not None else [])
    data = (mark.join(header) + "\n" + mark.join(fields) + "\n").encode()
    return parse_drop(data, site=site, received_at=RECEIVED)


@pytest.mark.parametrize(
    ("unit", "value", "celsius"),
    [("°C", "20", 20.0), ("C", "20", 20.0), ("°F", "68", 20.0), ("degF", "32", 0.0), ("K", "273.15", 0.0), (" F ", "212", 100.0)],
)
def test_a_row_in_another_unit_is_converted_and_counted(unit: str, value: str, celsius: float) -> None:
    parsed = one(value, unit=unit)
    assert parsed.accepted["value"].to_pylist() == [celsius]
    assert parsed.n_repaired == (0 if unit in ("°C", "C") else 1)


@pytest.mark.parametrize("unit", ["bar", "", "furlong", "<b>°C</b>", "'; drop table drops; --"])
def test_a_unit_that_cannot_be_one_of_the_sensor_is_refused(unit: str) -> None:
    parsed = one("20", unit=unit)
    assert [r["reason"] for r in parsed.quarantined.to_pylist()] == ["wrong_unit"]


def test_a_sensor_whose_drops_are_in_another_unit_is_converted() -> None:
    parsed = one("68", source_unit="°F")
    assert (parsed.accepted["value"].to_pylist(), parsed.n_repaired) == ([20.0], 1)


def test_a_source_unit_that_measures_something_else_is_an_error_of_the_plant_file() -> None:
    with pytest.raises(ValidationError, match="source_unit"):
        one("68", source_unit="bar")


@pytest.mark.parametrize(
    ("value", "kept", "reason", "n_repaired"),
    [("99", 99.0, None, 0), ("100.4", 100.0, None, 1), ("-0.5", 0.0, None, 1), ("100.6", None, "out_of_physical_range", 0)],
)
def test_a_reading_just_outside_its_band_is_set_on_the_edge_where_that_is_asked_for(
    value: str, kept: float | None, reason: str | None, n_repaired: int
) -> None:
    parsed = one(value, physical=Band(low=0, high=100), clamp_within=0.5)
    assert parsed.accepted["value"].to_pylist() == ([] if kept is None else [kept])
    assert [r["reason"] for r in parsed.quarantined.to_pylist()] == ([] if reason is None else [reason])
    assert parsed.n_repaired == n_repaired
    strict = one(value, physical=Band(low=0, high=100))
    assert strict.accepted.num_rows == (value == "99")


def test_a_clock_that_is_known_to_be_ahead_is_put_right() -> None:
    parsed = one("1", at="2025-02-01T00:00:30Z", drops={"clock_offset_s": 90})
    assert parsed.accepted["timestamp"].to_pylist() == [datetime(2025, 1, 31, 23, 59, tzinfo=UTC)]
    assert parsed.n_repaired == 1


@pytest.mark.parametrize(("written", "declared"), [("-9999", "-9999"), ("-9999.0", "-9999"), ("n/a", "n/a"), ("-9999,0", "-9999")])
def test_a_value_that_is_declared_to_be_none_is_quarantined_as_no_number(written: str, declared: str) -> None:
    marks = {"delimiter": ";", "decimal": ","} if "," in written else {}
    parsed = one(written, drops={"missing_values": [declared], **marks})
    assert [(r["reason"], r["line"]) for r in parsed.quarantined.to_pylist()] == [("not_a_number", 2)]


def test_readings_older_than_the_plants_limit_are_quarantined() -> None:
    limit = RECEIVED - timedelta(days=2)
    for at, reasons in ((limit, []), (limit - timedelta(microseconds=1), ["too_old"])):
        parsed = one("1", at=at.isoformat(), drops={"max_age_days": 2})
        assert [r["reason"] for r in parsed.quarantined.to_pylist()] == reasons


def test_a_decimal_comma_is_read_beside_values_that_are_no_numbers() -> None:
    lines = [f"2025-02-01T00:00:{n:02};flow;{text}" for n, text in enumerate(["1,5", "1.5", "1.000,5", "x", " -2,25e1 ", "1,5,5"])]
    data = "\n".join(["timestamp;sensor_id;value", *lines]).encode()
    parsed = parse_drop(data, site=a_site(DropFormat(delimiter=";", decimal=",")), received_at=RECEIVED)
    assert parsed.accepted["value"].to_pylist() == [1.5, -22.5]
    assert [(r["line"], r["reason"]) for r in parsed.quarantined.to_pylist()] == [(n, "not_a_number") for n in (3, 4, 5, 7)]


# --- hostile content, and the release of single rows


def test_formulas_sql_and_markup_are_text_like_any_other() -> None:
    texts = ['=cmd|"/c calc"!A1', "'; drop table drops; --", "<script>alert(1)</script>", "..\\..\\x", "\u202egnp.exe"]
    rows = [f"2025-02-01T00:00:00Z;{text};1" for text in texts] + [f"2025-02-01T00:00:00Z;flow;{text}" for text in texts]
    data = "\n".join(["timestamp;sensor_id;value", *rows]).encode()
    parsed = parse_drop(data, site=a_site(DropFormat(delimiter=";", quote=None)), received_at=RECEIVED)
    wanted = ["malformed_row" if row.count(";") != 2 else None for row in rows]
    kinds = [w or ("unknown_sensor" if i < len(texts) else "not_a_number") for i, w in enumerate(wanted)]
    assert [(r["reason"], r["raw"]) for r in parsed.quarantined.to_pylist()] == list(zip(kinds, rows, strict=True))


def test_only_the_named_lines_and_cells_are_judged_anew() -> None:
    text = "timestamp,flow,über.temp,other\n2025-02-01,1,2,3\n2025-02-02,4,,6\n2025-02-03,7,8,9\n"
    site = a_site(DropFormat(layout="wide"))
    first = parse_drop(text.encode(), site=site, received_at=RECEIVED)
    assert [(r["line"], r["column"]) for r in first.quarantined.to_pylist()] == [(2, "other"), (3, "other"), (4, "other")]
    from ml.readings import parse_blocks

    machine = site.machines[0]
    renamed = machine.sensors[2].model_copy(update={"source_name": "other"})
    corrected = site.model_copy(update={"machines": (machine.model_copy(update={"sensors": (*machine.sensors[:2], renamed)}),)})
    only = Rows.of(first.quarantined.slice(1))
    blocks = list(parse_blocks(io.BytesIO(text.encode()), site=corrected, received_at=RECEIVED, only=only, block_bytes=9))
    assert sum(b.rows_in for b in blocks) == 2
    assert [v for b in blocks for v in b.readings.value.tolist()] == [6.0, 9.0]


def test_a_packed_file_taken_for_text_is_refused_with_its_line() -> None:
    with pytest.raises(UnreadableDrop, match="line 1 is not UTF-8 text"):
        parse_drop(gzip.compress(b"timestamp,sensor_id,value\n"), site=a_site(DropFormat()), received_at=RECEIVED)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"decimal": ","}, "also the delimiter"),
        ({"encoding": "utf-7"}, "unknown encoding"),
        ({"timestamp_format": "%H:%M"}, "does not name the day"),
        ({"timestamp_format": "soon"}, "none of iso"),
        ({"delimiter": "x"}, "delimiter 'x'"),
        ({"quote": ","}, "quote ','"),
        ({"kind": "jsonl", "decimal": ","}, "only csv"),
        ({"missing_values": [False]}, "in quotes"),
    ],
)
def test_a_format_that_cannot_be_is_an_error_of_the_plant_file(fields: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        DropFormat(**fields)
