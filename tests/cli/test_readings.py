"""The data explorer: what is stored comes out, and nothing else; each format for whom it is meant; no database is needed."""

import io
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from cli.main import main
from expectations.contracts import SENSOR_READINGS
from resources.lake import LakeResource
from tests.cli.test_commands import PROGRAM, run_program
from tests.conftest import CHECKOUT

DAYS = [date(2026, 10, 24), date(2026, 10, 25), date(2026, 10, 27)]  # clocks are set back on the second; the 26th has no file
STORED = {"hamburg": ("HH-C302-CURR", "HH-C302-VIB", "HH-P101-TEMP"), "houston": ("HOU-P101-PRES",)}
STEP = timedelta(minutes=10)
DAY = ("--from", "2026-10-24", "--to", "2026-10-24")
Reading = tuple[str, datetime, float]
Say = Callable[..., tuple[int, bytes, str]]


def stored_readings(site: str, day: date) -> list[Reading]:
    """A value that tells sensor and time; VIB is silent between 06:00 and 09:00."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return [
        (sensor, at, (n + 1) * 1000 + (at.hour * 60 + at.minute) / 10)
        for n, sensor in enumerate(STORED[site])
        for at in (midnight + STEP * i for i in range(144))
        if not (sensor.endswith("C302-VIB") and 6 <= at.hour < 9)
    ]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    lake = LakeResource(root=str(folder / "lake"))
    for site in STORED:
        for day in DAYS:
            rows = [{"sensor_id": s, "timestamp": at, "value": v, "drop_seq": 1} for s, at, v in stored_readings(site, day)]
            lake.write("sensor_readings", pa.Table.from_pylist(rows, schema=SENSOR_READINGS.schema), site=site, day=day)
    return folder


@pytest.fixture
def say(home: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Say:
    """`maintenance readings` in this process, over the stored readings: exit code, the bytes of stdout, stderr."""
    monkeypatch.setenv("COLUMNS", "200")

    def in_process(*words: str | Path, home: Path = home) -> tuple[int, bytes, str]:
        monkeypatch.setattr(sys, "argv", ["maintenance", "readings", *map(str, words), "--home", str(home)])
        capfdbinary.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capfdbinary.readouterr()
        return int(ended.value.code or 0), out, err.decode()

    return in_process


def as_csv(readings: list[Reading], units: dict[str, str]) -> bytes:
    lines = [f"{s},{at.replace(tzinfo=None).isoformat(timespec='microseconds')}Z,{v:.9g},{units[s]}" for s, at, v in readings]
    return "\n".join(["sensor_id,timestamp,value,unit", *lines, ""]).encode()


def test_csv_holds_the_readings_of_the_day_and_nothing_else(say: Say) -> None:
    expected = [r for r in stored_readings("hamburg", DAYS[0]) if r[0] == "HH-C302-VIB"]
    assert say("--sensor", "HH-C302-VIB", *DAY, "--format", "csv") == (0, as_csv(expected, {"HH-C302-VIB": "mm/s"}), "")


def test_a_pattern_takes_the_sensors_of_every_site_that_it_fits_day_by_day(say: Say) -> None:
    units = {"HH-C302-CURR": "A", "HH-C302-VIB": "mm/s", "HOU-P101-PRES": "bar"}
    expected = [r for day in DAYS for site in STORED for r in stored_readings(site, day) if r[0] in units]
    asked = ("--sensor", "HO*-P10?-[PQ]RES", "--sensor", "HH-C302-*", "--from", "2026-10-01", "--to", "2026-10-31", "--format", "csv")
    assert say(*asked) == (0, as_csv(expected, units), "")


@pytest.mark.parametrize(
    ("words", "first", "last"),
    [
        (("--from", "2026-10-24T10:00", "--to", "2026-10-24T11:00"), "24 10:00", "24 10:50"),  # without an offset: UTC
        (("--from", "2026-10-24T12:00+02:00", "--to", "2026-10-24T13:00:00.5+02:00"), "24 10:00", "24 11:00"),
        (("--from", "2026-10-24", "--to", "2026-10-25"), "24 00:00", "25 23:50"),  # a day ends with its end
        (("--from", "2026-10-25", "--to", "2026-10-25", "--tz", "Europe/Berlin"), "24 22:00", "25 22:50"),  # of 25 hours
        (("--from", "2026-10-25", "--to", "2026-10-25", "--tz", "site"), "24 22:00", "25 22:50"),
        (("--from", "2026-10-25T03:00", "--to", "2026-10-25T04:00", "--tz", "site"), "25 02:00", "25 02:50"),
    ],
)
def test_times_are_understood_in_the_zone_asked_for(say: Say, tmp_path: Path, words: tuple[str, ...], first: str, last: str) -> None:
    out = tmp_path / "readings.parquet"
    assert say("--sensor", "HH-P101-TEMP", *words, "--out", out)[0] == 0
    times = pq.read_table(out)["timestamp"].to_pylist()
    assert [f"{at.astimezone(UTC):%d %H:%M}" for at in (times[0], times[-1])] == [first, last]


def test_local_times_carry_their_offset(say: Say) -> None:
    asked = ("--sensor", "HH-P101-TEMP", "--from", "2026-10-25T00:50Z", "--to", "2026-10-25T01:10Z", "--tz", "site", "--format", "csv")
    times = [line.split(b",")[1] for line in say(*asked)[1].splitlines()[1:]]
    assert times == [b"2026-10-25T02:50:00.000000+02:00", b"2026-10-25T02:00:00.000000+01:00"]


def test_parquet_down_a_pipe_and_into_a_file_hold_the_same(say: Say, tmp_path: Path) -> None:
    asked = ("--sensor", "HH-C302-*", "--from", "2026-10-24", "--to", "2026-10-28", "--tz", "Europe/Berlin")
    code, piped, err = say(*asked, "--format", "parquet")
    assert (code, err) == (0, "")
    code, said, _ = say(*asked, "--out", tmp_path / "a.parquet")
    assert (code, said.decode()) == (0, f"810 rows in {tmp_path / 'a.parquet'}\n")
    table = pq.read_table(io.BytesIO(piped))
    assert table.equals(pq.read_table(tmp_path / "a.parquet"))
    expected = [r for day in DAYS for r in stored_readings("hamburg", day) if r[0] != "HH-P101-TEMP"]
    times = table["timestamp"].cast(pa.timestamp("us", "UTC")).to_pylist()
    assert list(zip(table["sensor_id"].to_pylist(), times, table["value"].to_pylist(), strict=True)) == expected
    assert str(table.schema.field("timestamp").type) == "timestamp[us, tz=Europe/Berlin]"
    assert [path.name for path in tmp_path.iterdir()] == ["a.parquet"]


def test_an_interval_without_readings_is_there_and_empty(say: Say) -> None:
    asked = ("--sensor", "HH-C302-VIB", "--from", "2026-10-24T05:00", "--to", "2026-10-24T09:30", "--every", "2h", "--format", "csv")
    code, out, err = say(*asked)
    assert (code, err) == (0, "")
    # 04:00 to 06:00 is asked for from 05:00 on: 2030.0 .. 2035.0; 08:00 to 10:00 until 09:30: 2054.0 .. 2056.0.
    assert out.decode().splitlines() == [
        "sensor_id,interval_start,mean,min,max,n,unit",
        "HH-C302-VIB,2026-10-24T04:00:00.000000Z,2032.5,2030,2035,6,mm/s",
        "HH-C302-VIB,2026-10-24T06:00:00.000000Z,,,,0,mm/s",
        "HH-C302-VIB,2026-10-24T08:00:00.000000Z,2055,2054,2056,3,mm/s",
    ]


def test_a_local_day_is_put_together_from_two_files_and_a_day_without_file_is_empty(say: Say) -> None:
    asked = ("--sensor", "HH-P101-TEMP", "--from", "2026-10-25", "--to", "2026-10-27", "--every", "1d", "--tz", "site", "--format", "csv")
    rows = [line.split(",") for line in say(*asked)[1].decode().splitlines()[1:]]
    assert [(row[1], int(row[5])) for row in rows] == [
        ("2026-10-25T00:00:00.000000+02:00", 25 * 6),
        ("2026-10-26T00:00:00.000000+01:00", 6),  # the last hour of the 25th, UTC
        ("2026-10-27T00:00:00.000000+01:00", 23 * 6),
    ]


def test_a_table_shows_its_first_rows_and_says_how_many_are_left_out(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = say("--sensor", "HH-C302-*", *DAY, "--format", "table", "--limit", "3")[1].decode().splitlines()
    assert [line.split() for line in lines[:2]] == [
        ["sensor", "time", "(UTC)", "value", "unit"],
        ["HH-C302-CURR", "2026-10-24", "00:00:00", "1000", "A"],
    ]
    assert len(lines) == 5
    assert lines[-1] == "... and 267 more rows: --limit shows more of them, --format csv all."
    whole = say("--sensor", "HH-C302-*", *DAY, "--every", "6h", "--format", "table")[1].decode().splitlines()
    assert len(whole) == 1 + 4 * 4
    assert max(map(len, whole)) <= 80


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--sensor", "HH-C302-VIBR", *DAY), "The plant has no sensor 'HH-C302-VIBR'; near it are HH-C302-VIB, HH-C301-VIB"),
        (("--sensor", "hh-c302-vib", *DAY), "The plant has no sensor 'hh-c302-vib'; near it are HH-C302-VIB"),
        (("--sensor", "HH-C302-*", "--sensor", "XX-*", *DAY), "The plant has no sensor 'XX-*'; it has 56, such as "),
        (("--sensor", "HH-C302-VIB", "--from", "2026-10-25", "--to", "2026-10-24"), "The range ends (2026-10-24) before it starts"),
        (("--sensor", "HH-C302-VIB", "--from", "today", "--to", "2026-10-24"), "'today' is no time; write a day (2026-11-20) or"),
        (("--sensor", "HH-C302-VIB", "--from", "2026-10-24", "--to", "9999-12-31"), "'9999-12-31' is no time"),
        (("--sensor", "HH-C302-VIB", *DAY, "--every", "7min"), "--every: '7min' does not do: an interval must fit into an hour or a day"),
        (("--sensor", "HH-C302-VIB", *DAY, "--tz", "Mars/Olympus"), "There is no time zone 'Mars/Olympus'"),
        (("--sensor", "H*", *DAY, "--tz", "site"), "The sensors' sites lie in the time zones America/Chicago, Europe/Berlin;"),
        (("--sensor", "HH-C302-VIB", *DAY, "--out", "/"), "/ is a folder; name a file with --out."),
        (("--sensor", "HH-C302-VIB", *DAY, "--out", "/nowhere/a.csv"), "/nowhere/a.csv cannot be written (No such file or directory)"),
        (("--sensor", "HH-C302-VIB", *DAY, "--out", "a.csv", "--format", "table"), "--format table is for a terminal"),
    ],
)
def test_what_does_not_exist_or_make_sense_is_said(say: Say, words: tuple[str, ...], sentence: str) -> None:
    code, out, err = say(*words)
    assert (code, out) == (2, b"")
    assert err.startswith(f"error: {sentence}")
    assert len(err.splitlines()) == 1


def test_no_readings_is_said_beside_an_empty_file(say: Say) -> None:
    code, out, err = say("--sensor", "HH-C302-VIB", "--from", "2026-11-01", "--to", "2026-11-02", "--format", "csv")
    assert (code, out) == (0, b"sensor_id,timestamp,value,unit\n")
    assert err == "There are no readings of these sensors in this time; hamburg has readings of 2026-10-24 to 2026-10-27.\n"


def test_what_no_row_group_can_hold_is_not_read(say: Say, tmp_path: Path) -> None:
    path = tmp_path / "lake" / "sensor_readings" / "day=2026-10-24" / "site=hamburg" / "data.parquet"
    path.parent.mkdir(parents=True)
    rows = [{"sensor_id": s, "timestamp": at, "value": v, "drop_seq": 1} for s, at, v in stored_readings("hamburg", DAYS[0])]
    pq.write_table(pa.Table.from_pylist(rows, schema=SENSOR_READINGS.schema), path, row_group_size=144)
    asked = ("--sensor", "HH-C302-CURR", *DAY, "--format", "csv")
    whole = say(*asked, home=tmp_path)
    content, second = path.read_bytes(), pq.ParquetFile(path).metadata.row_group(1).column(0).dictionary_page_offset
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    path.write_bytes(content[:second] + b"\xff" * (footer - second) + content[footer:])
    assert say(*asked, home=tmp_path) == whole, "the other row groups are spoilt, and were not looked at"
    assert whole[1].count(b"\n") == 145
    out = tmp_path / "out" / "a.csv"
    out.parent.mkdir()
    out.write_text("what was there before")
    code, _, err = say("--sensor", "HH-C302-*", *DAY, "--out", out, home=tmp_path)
    assert code == 2
    assert err.startswith(f"error: {path} cannot be read (")
    assert err.endswith("delete it and process hamburg 2026-10-24 again: it is made from the segments.\n")
    assert len(err.splitlines()) == 1
    assert [(path, path.read_text()) for path in out.parent.iterdir()] == [(out, "what was there before")]


def test_a_reader_that_stops_ends_it_quietly(home: Path) -> None:
    asked = [PROGRAM, "readings", *DAY, "--home", home]
    for n_read, more in (
        (0, ["--sensor", "HH-C302-VIB"]),
        (10, ["--sensor", "*", "--every", "1s"]),
        (10, ["--sensor", "*", "--format", "parquet"]),
    ):
        with subprocess.Popen([*map(str, asked), *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as program:
            assert program.stdout and program.stderr
            assert len(program.stdout.read(n_read)) == n_read
            program.stdout.close()
            assert program.stderr.read() == b"", more
            assert program.wait(timeout=60) == 0, more


def on_a_terminal(*words: str | Path) -> tuple[int, str]:
    """Exit code and what stands on the terminal."""
    ours, theirs = pty.openpty()
    program = subprocess.Popen(
        [PROGRAM, *map(str, words)], stdout=theirs, stderr=theirs, env={**os.environ, "COLUMNS": "80", "TERM": "dumb"}
    )
    os.close(theirs)
    seen = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        seen += part
    os.close(ours)
    return program.wait(timeout=60), seen.decode()


def test_a_terminal_gets_a_table_and_never_parquet(home: Path) -> None:
    asked = ("readings", "--sensor", "HH-C302-VIB", *DAY, "--home", home)
    code, seen = on_a_terminal(*asked)
    assert code == 0
    assert seen.split()[:4] == ["sensor", "time", "(UTC)", "value"]
    assert "... and 86 more rows" in seen
    code, seen = on_a_terminal(*asked, "--format", "parquet")
    assert code == 2
    assert "Parquet is nothing to read on a terminal" in seen


def test_neither_database_nor_dagster_is_started_and_nothing_is_written(home: Path) -> None:
    before = sorted(home.rglob("*"))
    words = ["readings", "--sensor", "HH-C302-VIB", *DAY, "--home", str(home)]
    script = (
        f"import sys; from cli.main import app; app({words}, standalone_mode=False)\n"
        "print(sorted({'dagster', 'sqlalchemy', 'psycopg', 'mlflow'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"
    assert len(done.stdout.splitlines()) == 1 + 126
    assert sorted(home.rglob("*")) == before


def test_a_database_that_is_down_does_not_matter(home: Path) -> None:
    code, out, err = run_program(
        "readings", "--sensor", "HH-C302-VIB", *DAY, "--home", home, DATABASE_URL="postgresql://nobody@127.0.0.1:1/x"
    )
    assert (code, err) == (0, "")
    assert pyarrow.csv.read_csv(io.BytesIO(out.encode())).num_rows == 126
