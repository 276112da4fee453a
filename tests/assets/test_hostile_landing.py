"""Whatever lies in the landing zone gets a reason or is taken in, holds nothing else up, and reaches nothing outside the data folder."""

import gzip
import io
import os
import socket
import zipfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from sqlalchemy import select

from assets.intake import TakenIn
from resources.landing import NotAFile, landed, shown
from resources.ledger.ledger import LedgerResource
from resources.ledger.tables import drops
from tests.assets.test_intake import SITE, Zone

HEADER = b"timestamp,sensor_id,value\n"
HIDDEN = (b"..csv.csv.", b"..\\..\\up.csv")
NAMES = (
    b"up..\\..\\up.csv",
    b"line\nbreak.csv",
    b"\xe2\x80\xaevsc.exe.csv",
    b"caf\xe9.csv",
    b"\\x2e\\x2e\\x2f.csv",
    b"-rf.csv",
    b"$(touch owned).csv",
    b"'; drop table drops; --.csv",
    b"<script>alert(1)<!--.csv",
    b"=1+1.csv",
    b"\xc3\xbc" * 125 + b".csv",
    b"a\x07\x1b[2J.csv",
)
BOMB = bytes(20_000_000)


def rows(n: int) -> bytes:
    """Of their own, so that no file is another one's duplicate."""
    return HEADER + b"2026-10-05T%02d:%02d:00Z,P1-T,20.5\n" % divmod(n, 60)


def zipped(**members: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return packed.getvalue()


@pytest.fixture
def zone(tmp_path: Path, ledger: LedgerResource) -> Zone:
    (tmp_path / "home").mkdir()
    return Zone(tmp_path / "home", ledger)


def take_in_everything(zone: Zone) -> dict[str, TakenIn]:
    names = [entry.name for entry in zone.landing.entries(site="s")]
    return {taken.name: taken for taken in zone.take_in_all(*names)}


def around(zone: Zone) -> dict[str, bytes | None]:
    """Everything beside the data folder."""
    beside = [path for path in zone.root.parent.rglob("*") if zone.root not in (path, *path.parents)]
    return {str(path): path.read_bytes() if path.is_file() else None for path in beside}


def test_files_of_any_name_are_taken_in_and_told_apart(zone: Zone) -> None:
    folder = os.fsencode(zone.root / "landing" / "s")
    Path(os.fsdecode(folder)).mkdir()
    for n, name in enumerate((*NAMES, *HIDDEN)):
        with open(folder + b"/" + name, "wb") as file:  # noqa: PTH123 - names that are no text
            file.write(rows(n))
    before = around(zone)
    taken = take_in_everything(zone)
    assert {name: (t.state, t.rows_accepted) for name, t in taken.items()} == {
        shown("s/" + os.fsdecode(name)): ("accepted", 1) for name in NAMES
    }
    assert all(name.isprintable() for name in taken)
    assert {os.fsencode(path.name) for path in Path(os.fsdecode(folder)).iterdir()} == set(HIDDEN), "hidden names are left alone"
    with zone.ledger.begin() as connection:
        kept = dict(connection.execute(select(drops.c.file_name, drops.c.kept_as)).all())  # type: ignore[arg-type]
    for n, name in enumerate(NAMES):
        original = zone.landing.kept_path(kept[shown("s/" + os.fsdecode(name))])
        assert original.read_bytes() == rows(n)
        assert original.parent == zone.root / "archive" / "drops" / "s"
    assert around(zone) == before


@pytest.mark.parametrize("name", [*NAMES, *HIDDEN])
def test_a_shown_name_leads_back_to_its_file(name: bytes) -> None:
    assert landed(shown(os.fsdecode(name))) == os.fsdecode(name)


def test_what_is_no_file_is_told_and_neither_followed_nor_waited_for(zone: Zone) -> None:
    folder = zone.root / "landing" / "s"
    folder.mkdir()
    secret = zone.root.parent / "secret"
    secret.mkdir()
    (secret / "mine.csv").write_bytes(rows(1))
    (folder / "to a file.csv").symlink_to(secret / "mine.csv")
    (folder / "to a folder").symlink_to(secret)
    (folder / "to nothing.csv").symlink_to(secret / "gone.csv")
    os.mkfifo(folder / "pipe.csv")
    with socket.socket(socket.AF_UNIX) as listener:
        where = os.open(folder, os.O_RDONLY)
        try:
            listener.bind(f"/proc/self/fd/{where}/socket.csv")  # a socket's path may not be long
        finally:
            os.close(where)
    (folder / "folder.csv").mkdir()
    (folder / "folder.csv" / "inside.csv").write_bytes(rows(2))
    (folder / "good.csv").write_bytes(rows(3))
    before = around(zone)
    kinds = {e.name: e.reason for e in zone.landing.entries(site="s") if isinstance(e, NotAFile)}
    assert kinds == {
        **{
            f"s/to {what}": "it is a symbolic link, not a file; deliver the file itself"
            for what in ("a file.csv", "a folder", "nothing.csv")
        },
        "s/pipe.csv": "it is a named pipe, not a file; deliver the file itself",
        "s/socket.csv": "it is a socket, not a file; deliver the file itself",
    }
    taken = take_in_everything(zone)
    assert {name: t.reason for name, t in taken.items() if t.state == "failed"} == kinds
    assert {name for name, t in taken.items() if t.state == "accepted"} == {"s/folder.csv/inside.csv", "s/good.csv"}
    behind = zone.take_in_all("s/to a folder/mine.csv")
    assert [t.reason for t in behind] == ["it lies behind a symbolic link; deliver the file itself into landing/<site>/"]
    assert around(zone) == before


def test_bombs_and_members_with_paths_are_refused_or_read_without_a_file_being_made_of_them(zone: Zone) -> None:
    for name, content in {
        "1 bomb.csv.gz": gzip.compress(BOMB),
        "2 bomb.csv.zip": zipped(bomb=BOMB),
        "3 two.zip": zipped(a=rows(1), b=rows(2)),
        "4 slip.zip": zipped(**{"../../../outside.csv": rows(3)}),
        "5 root.zip": zipped(**{"/outside.csv": rows(4)}),
        "6 good.csv": rows(5),
    }.items():
        zone.drop(name, content)
    before = around(zone)
    taken = take_in_everything(zone)
    assert [(name[2:3], t.state) for name, t in sorted(taken.items())] == [
        *((n, "refused") for n in "123"),
        *((n, "accepted") for n in "456"),
    ]
    assert "200 times its size" in taken["s/1 bomb.csv.gz"].reason
    assert "200 times its size" in taken["s/2 bomb.csv.zip"].reason
    assert taken["s/3 two.zip"].reason.startswith("The zip file holds 2 files")
    assert around(zone) == before
    assert not [path for path in zone.root.rglob("*") if path.is_file() and path.stat().st_size > 100_000], "nothing was expanded to disk"


def test_formulas_sql_and_markup_in_cells_are_refused_rows_and_nothing_else(zone: Zone) -> None:
    hostile = [b"=cmd|' /C calc'!A0", b"'; drop table drops cascade; --", b"<img src=x onerror=alert(1)>", b"..%2f..%2fetc", b"{{7*7}}"]
    lines = [b"2026-10-05T00:00:00Z,%s,1" % text for text in hostile] + [b"2026-10-05T00:00:00Z,P1-T,%s" % text for text in hostile]
    zone.drop("cells.csv", HEADER + b"\n".join([*lines, rows(7)[len(HEADER) :]]))
    (taken,) = take_in_everything(zone).values()
    assert (taken.state, taken.rows_in, taken.rows_accepted, taken.rows_quarantined) == ("accepted", 11, 1, 10)
    (path,) = (zone.root / "quarantine" / "rows" / "s").glob("*.parquet")
    refused = pq.ParquetFile(path).read().to_pylist()
    assert [r["raw"] for r in refused] == [line.decode() for line in lines]
    assert [r["reason"] for r in refused] == ["unknown_sensor"] * 5 + ["not_a_number"] * 5
    assert SITE.sensors[0].sensor_id == refused[-1]["sensor_id"]
