"""Quarantine by command: what was refused is listed and shown as it stood in the file; released rows flow as a drop."""

import csv
import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from sqlalchemy import select

from cli.environment import Environment, prepared
from cli.launch import Launcher, launcher
from cli.planner import ledger_of
from cli.quarantined import visible
from resources.lake import LakeResource
from resources.landing import drop_file
from resources.ledger.tables import drops, quarantine_counts
from resources.postgres import URL_VARIABLE
from resources.quarantine import Group, Release, read_release, release_name
from tests.cli.conftest import Say

WHO = ("--operator", "ada", "--why", "the plant file was wrong")
LONG = """timestamp,sensor_id,value,unit
2026-09-02T00:00:00Z,K-TEMP,20,°C
2026-09-02T00:00:00Z,K-VIB,60,mm/s
2026-09-02T00:00:00Z,K-OIL,3.5,bar
2026-09-02T00:10:00Z,K-TEMP,21,°C
2026-09-02T00:10:00Z,K-VIB,2,mm/s
2026-09-02T00:10:00Z,K-OIL,9.5,bar
2026-09-02T00:20:00Z,=HYPERLINK("http://x"),1,mm/s
=1+1
2026-09-02T00:30:00Z,\x1b[31m\u202ered[bold],1,mm/s
"""
WIDE = """time,U-TEMP,U-VIB,U-OIL
2026-09-02T00:00:00Z,20,1.0,3.5
2026-09-02T00:10:00Z,150,1.1,
soon,21,1.2,3.6
"""


def describe(plant: Path, site: str, **sensors: dict[str, object]) -> None:
    """Write the site's plant file with these sensors, by id (an underscore for its dash)."""
    columns = {"timestamp": "timestamp", "sensor_id": "sensor_id", "value": "value", "unit": "unit"}
    content = {
        "site": site,
        "name": site,
        "first_day": date(2026, 9, 1),
        "drops": {"columns": columns} if site == "kiel" else {"layout": "wide", "columns": {"timestamp": "time"}},
        "machines": [
            {
                "machine_id": f"{site}-machine",
                "machine_class": "pump",
                "sensors": [{"sensor_id": i.replace("_", "-"), "type": "other", "interval_s": 600, **more} for i, more in sensors.items()],
            }
        ],
    }
    (plant / f"{site}.yaml").write_text(yaml.safe_dump(content, allow_unicode=True))


def describe_wrongly(plant: Path) -> None:
    """Without the oil pressure, and with bands that are too narrow."""
    describe(plant, "kiel", K_TEMP={"unit": "°C"}, K_VIB={"unit": "mm/s", "physical": {"low": 0, "high": 50}})
    describe(plant, "ulm", U_TEMP={"unit": "°C", "physical": {"low": 0, "high": 100}}, U_VIB={"unit": "mm/s"})


def describe_rightly(plant: Path) -> None:
    describe(plant, "kiel", K_TEMP={"unit": "°C"}, K_VIB={"unit": "mm/s"}, K_OILP={"unit": "bar", "source_name": "K-OIL"})
    describe(plant, "ulm", U_TEMP={"unit": "°C"}, U_VIB={"unit": "mm/s"}, U_OIL={"unit": "bar"})


@dataclass(frozen=True)
class Yard:
    """A data folder with two sites: kiel delivers long files, ulm wide ones."""

    environment: Environment
    launcher: Launcher

    def deliver(self, site: str, name: str, content: bytes) -> str:
        """Taken in; the drop's id."""
        drop_file(content, self.environment.home.folder("landing") / site, name)
        self.launcher.run("intake")
        return str(self.drop(file_name=f"{site}/{name}")["drop_id"])

    def drop(self, **where: str) -> dict[str, Any]:
        with ledger_of(self.environment).begin() as connection:
            conditions = [drops.c[name] == value for name, value in where.items()]
            return dict(connection.execute(select(drops).where(*conditions)).mappings().one())

    def waiting(self, drop_id: str) -> dict[tuple[str | None, str], int]:
        """Rows that lie in quarantine, by sensor and reason."""
        q = quarantine_counts.c
        with ledger_of(self.environment).begin() as connection:
            rows = connection.execute(select(q.sensor_id, q.reason, q.rows).where(q.drop_id == drop_id, q.released_by.is_(None)))
            return {(row.sensor_id, row.reason): row.rows for row in rows}

    def values(self, site: str, sensor_id: str) -> list[float]:
        lake = LakeResource(root=str(self.environment.home.folder("lake")))
        stored = lake.read("sensor_readings", site=site, day=date(2026, 9, 2))
        assert stored is not None
        return list(stored.loc[stored["sensor_id"] == sensor_id, "value"])


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    plant = tmp_path_factory.mktemp("plant")
    describe_wrongly(plant)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(URL_VARIABLE, raising=False)
        with prepared(home=tmp_path_factory.mktemp("home"), plant=plant) as environment, launcher(environment) as started:
            yield Yard(environment, started)


@pytest.fixture
def plant(yard: Yard) -> Path:
    """The plant folder, its files as they were when nobody had corrected them."""
    describe_wrongly(yard.environment.plant)
    return yard.environment.plant


@pytest.fixture
def say(yard: Yard, monkeypatch: pytest.MonkeyPatch, typed: Say) -> Say:
    """`maintenance quarantine` in this process: exit code, stdout, stderr."""
    monkeypatch.setattr("cli.quarantine.console", Console(width=120))

    def in_process(*words: str) -> tuple[int, str, str]:
        return typed("quarantine", *words, "--home", yard.environment.home.root, "--plant", yard.environment.plant)

    return in_process


def words_of(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


@pytest.fixture(scope="module")
def long_drop(yard: Yard) -> str:
    describe_wrongly(yard.environment.plant)
    return yard.deliver("kiel", "long.csv", LONG.encode())


@pytest.fixture(scope="module")
def wide_drop(yard: Yard) -> str:
    describe_wrongly(yard.environment.plant)
    return yard.deliver("ulm", "wide.csv", WIDE.encode())


@pytest.fixture(scope="module")
def refused_drop(yard: Yard) -> str:
    return yard.deliver("kiel", "empty[bold].csv", b"")


def test_the_list_has_every_group_the_latest_drop_first_and_the_files_refused_whole(
    say: Say, long_drop: str, wide_drop: str, refused_drop: str
) -> None:
    code, out, err = say("list")
    assert (code, err) == (0, "")
    lines = words_of(out)
    taken = [[long_drop, "kiel/long.csv"], [wide_drop, "ulm/wide.csv"]]
    assert [[line[0], line[-1]] for line in lines if line[-1].endswith(("long.csv", "wide.csv"))] == taken[::-1]
    start = next(i for i, line in enumerate(lines) if line[0] == long_drop) + 1
    assert lines[start : start + 4] == [
        ["malformed_row", "unknown", "day", "unknown", "1"],
        ["out_of_physical_range", "K-VIB", "2026-09-02", "1"],
        ["unknown_sensor", "unknown", "2026-09-02", "4"],
        ["Refused", "whole"],
    ]
    assert [refused_drop, "kiel/empty[bold].csv"] in [[line[0], line[-1]] for line in lines]
    assert "   The file is empty (0 bytes)" in out
    assert out.endswith("\nIn quarantine: 11 rows of 2 drops. Files refused whole: 1.\n")


@pytest.mark.parametrize(
    ("words", "n_rows", "n_files"),
    [
        (("--site", "ulm"), 5, 0),
        (("--reason", "unknown_sensor"), 5, 0),
        (("--reason", "unknown_sensor", "--reason", "bad_timestamp"), 8, 0),
        (("--sensor", "U-TEMP"), 2, 0),
        (("--sensor", "U-TEMP", "--reason", "bad_timestamp"), 1, 0),
        (("--day", "2026-09-02"), 7, 0),
        (("--from", "2026-09-03"), 0, 1),  # the file was received today
        (("--to", "2026-09-02", "--site", "kiel"), 5, 0),
    ],
)
def test_the_list_is_narrowed_down(
    say: Say, long_drop: str, wide_drop: str, refused_drop: str, words: tuple[str, ...], n_rows: int, n_files: int
) -> None:
    said = say("list", *words)[1].splitlines()[-1]
    assert said.startswith(f"In quarantine: {n_rows} rows of ")
    assert said.endswith(f"Files refused whole: {n_files}.")


def test_one_drop_is_listed_by_the_beginning_of_its_id_and_a_limit_says_what_it_leaves_out(
    say: Say, long_drop: str, wide_drop: str
) -> None:
    out = say("list", "--drop", wide_drop[:6], "--limit", "2")[1]
    assert wide_drop in out
    assert long_drop not in out
    assert "... and 3 more lines with 3 rows;" in out


def test_rows_are_shown_as_they_stood_in_the_file_and_cannot_steer_the_terminal(say: Say, long_drop: str) -> None:
    code, out, _ = say("show", long_drop[:8])
    assert code == 0
    assert "\x1b" not in out
    assert "\u202e" not in out
    assert ["9", "unknown", "unknown", "=1+1"] in words_of(out)
    assert ["10", "unknown", "2026-09-02", "00:30:00", r"2026-09-02T00:30:00Z,\x1b[31m\u202ered[bold],1,mm/s"] in words_of(out)
    assert "No sensor of the plant file goes by this name in drops. Add the sensor to its machine" in out
    assert out.index("malformed_row") < out.index("unknown_sensor") < out.index("out_of_physical_range"), "in the order of precedence"


def test_a_wide_drops_cells_are_shown_with_their_column(say: Say, wide_drop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    out = say("show", wide_drop, "--reason", "bad_timestamp")[1]
    assert ["4", "U-TEMP", "U-TEMP", "unknown", "time=soon,", "U-TEMP=21"] in words_of(out)
    assert ["4", "U-OIL", "unknown", "unknown", "time=soon,", "U-OIL=3.6"] in words_of(out)
    assert "unknown_sensor" not in out
    monkeypatch.setattr("cli.quarantine.console", Console(width=80))
    assert max(len(line) for line in say("show", wide_drop)[1].splitlines()) <= 80


def test_a_limit_holds_for_each_reason(say: Say, long_drop: str) -> None:
    out = say("show", long_drop, "--limit", "1")[1]
    assert "K-OIL,3.5" in out
    assert "K-OIL,9.5" not in out
    assert "  ... and 3 more;" in out
    assert "=1+1" in out


def test_csv_is_whole_and_no_cell_of_it_makes_a_spreadsheet_calculate(say: Say, long_drop: str) -> None:
    code, out, err = say("show", long_drop, "--format", "csv", "--limit", "1")
    assert (code, err) == (0, "")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [(int(row["line"]), row["reason"]) for row in rows] == [
        (3, "out_of_physical_range"),
        (4, "unknown_sensor"),
        (7, "unknown_sensor"),
        (8, "unknown_sensor"),
        (9, "malformed_row"),
        (10, "unknown_sensor"),
    ]
    assert (rows[0]["drop_id"], rows[0]["sensor_id"], rows[0]["timestamp"]) == (long_drop, "K-VIB", "2026-09-02T00:00:00.000000Z")
    assert rows[3]["raw"] == '2026-09-02T00:20:00Z,=HYPERLINK("http://x"),1,mm/s'
    assert rows[4]["raw"] == "'=1+1"
    assert rows[5]["raw"].endswith(r",\x1b[31m\u202ered[bold],1,mm/s")


@given(st.text())
def test_visible_text_is_printable_and_printable_text_stays(text: str) -> None:
    assert visible(text).isprintable()
    assert visible(text) == text or not text.isprintable()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("list", "--site", "atlantis"), "The plant has no site 'atlantis'; it has kiel, ulm."),
        (("list", "--reason", "too_late"), "There is no reason too_late; the reasons are malformed_row, bad_timestamp,"),
        (("list", "--from", "2026-09-02", "--to", "2026-09-01"), "The range ends (2026-09-01) before it starts (2026-09-02)."),
        (("show", "nosuchdrop"), "There is no drop 'nosuchdrop'; `maintenance quarantine list` shows those with rows in quarantine."),
        (("show", "%"), "There is no drop '%';"),
        (("show", "LONG", "--reason", "wrong_unit"), "None of the 6 refused rows of drop LONG (kiel/long.csv) fits; they were refused for"),
        (("show", "REFUSED"), "The file of drop REFUSED (kiel/empty[bold].csv) was refused whole: The file is empty (0 bytes)"),
        (("release", *WHO), "Name the drops whose rows are to be released, or say --all."),
        (("release", "LONG", "--all", *WHO), "Name the drops whose rows are to be released, or say --all."),
        (("release", "LONG", "--operator", " ", "--why", "x"), "--operator and --why must say something"),
    ],
)
def test_what_does_not_exist_or_make_sense_is_said(
    say: Say, long_drop: str, refused_drop: str, words: tuple[str, ...], sentence: str
) -> None:
    ids = {"LONG": long_drop, "REFUSED": refused_drop}
    code, _, err = say(*(ids.get(word, word) for word in words))
    assert code == 2
    for word, drop_id in ids.items():
        err = err.replace(drop_id, word)
    assert err.startswith(f"error: {sentence}")
    assert len(err.splitlines()) == 1


def test_a_beginning_that_two_drops_share_is_not_enough(say: Say, yard: Yard, long_drop: str) -> None:
    for n in range(16):  # with the one that is there, more drops than hexadecimal digits
        content = f"timestamp,sensor_id,value,unit\n2026-09-03T00:00:00Z,K-TEMP,{n},°C\n"
        drop_file(content.encode(), yard.environment.home.folder("landing") / "kiel", f"more-{n}.csv")
    yard.launcher.run("intake")
    ids = [str(yard.drop(file_name=f"kiel/more-{n}.csv")["drop_id"]) for n in range(16)]
    shared = Counter(i[0] for i in [*ids, long_drop]).most_common(1)[0][0]
    code, _, err = say("show", shared)
    assert code == 2
    assert err.startswith(f"error: More than one drop begins with '{shared}' (")
    code, _, err = say("show", ids[0])
    assert err == f"error: No row of drop {ids[0]} (kiel/more-0.csv) was refused.\n"


def test_after_the_correction_released_rows_flow_as_new_drops_through_the_whole_chain(
    say: Say, yard: Yard, plant: Path, long_drop: str, wide_drop: str
) -> None:
    describe_rightly(plant)
    code, out, err = say("release", "--all", *WHO)
    assert (code, err) == (0, "")
    said = [" ".join(line.split()) for line in out.splitlines() if line.startswith("Released")]
    long_release, wide_release = (yard.drop(releases=drop_id)["drop_id"] for drop_id in (long_drop, wide_drop))
    of_long, of_wide = f"Released of drop {long_drop} (kiel/long.csv), as drop ", f"Released of drop {wide_drop} (ulm/wide.csv), as drop "
    assert said == [
        f"{of_long}{long_release}: 6 rows = 3 accepted + 0 duplicate + 3 quarantined (malformed_row 1, unknown_sensor 2).",
        f"{of_wide}{wide_release}: 5 rows = 2 accepted + 0 duplicate + 3 quarantined (bad_timestamp 3).",
    ]
    assert yard.waiting(long_drop) == {}
    assert yard.waiting(str(long_release)) == {(None, "malformed_row"): 1, (None, "unknown_sensor"): 2}
    assert yard.values("kiel", "K-OILP") == [3.5, 9.5]
    assert yard.values("kiel", "K-VIB") == [60, 2]
    assert yard.values("ulm", "U-TEMP") == [20, 150]
    assert yard.values("ulm", "U-OIL") == [3.5]

    assert "malformed_row" not in say("list", "--drop", long_drop, "--reason", "unknown_sensor")[1]
    _, out, _ = say("list", "--drop", long_drop, "--all")
    assert f"{long_release}  " in out
    assert ["kiel/long.csv,", "released", "from", long_drop[:8]] in [line[-4:] for line in words_of(out)]
    assert out.count(f"released by {str(long_release)[:8]}") == 3
    assert "6 rows = 3 accepted + 0 duplicate + 3 quarantined\n   ada: the plant file was wrong" in out
    assert "=1+1" in say("show", long_drop)[1], "by its first id the drop is still found"
    kept = read_release(yard.environment.home.root / str(yard.drop(drop_id=str(long_release))["kept_as"]))
    assert (kept.drop_id, kept.who, kept.why) == (long_drop, "ada", "the plant file was wrong")

    runs = yard.launcher.instance.get_runs_count()
    code, out, err = say("release", long_drop, "--sensor", "K-VIB", *WHO)
    assert (code, err) == (0, "")
    reasons = "malformed_row, unknown_sensor"
    assert out == f"None of the 3 refused rows of drop {long_drop} (kiel/long.csv) fits; they were refused for {reasons}.\n"
    assert yard.launcher.instance.get_runs_count() == runs, "releasing it twice launches nothing"


def test_of_two_releases_of_the_same_rows_the_second_is_refused_and_says_so(say: Say, yard: Yard, plant: Path) -> None:
    drop_id = yard.deliver("kiel", "twice.csv", LONG.replace("-02T", "-06T").encode())
    describe_rightly(plant)
    group = Group(day=date(2026, 9, 6), sensor_id="K-VIB", reason="out_of_physical_range")
    for number, who in ((1, "ada"), (2, "bob")):
        release = Release(drop_id=drop_id, groups=(group,), who=who, why="x", at=datetime.now(UTC))
        drop_file(release.content(), yard.environment.home.folder("landing") / "kiel", release_name(drop_id, number))
    yard.launcher.run("intake")
    first, second = (yard.drop(file_name=f"kiel/release-{drop_id}-{number}.release") for number in (1, 2))
    assert (first["state"], first["rows_in"], first["releases"]) == ("accepted", 1, drop_id)
    assert (second["state"], second["releases"]) == ("refused", None)
    assert "were released before, by drop " + str(first["drop_id"]) in str(second["refused_because"])
    assert (None, "unknown_sensor") in yard.waiting(drop_id)


def test_a_missing_original_is_said_before_anything_is_written(say: Say, yard: Yard, plant: Path) -> None:
    drop_id = yard.deliver("kiel", "gone.csv", LONG.replace("-02T", "-07T").encode())
    original = yard.environment.home.root / str(yard.drop(drop_id=drop_id)["kept_as"])
    original.unlink()
    code, _, err = say("release", drop_id, *WHO)
    assert (code, err) == (2, f"error: The original of drop {drop_id} is not in its place, {original}; put it back there.\n")
    assert not any(yard.environment.home.folder("landing").rglob("*.release"))
