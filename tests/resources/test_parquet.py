"""Parquet files: whole or not there, the same bytes for the same rows, and no litter of those who died writing."""

import os
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.parquet import GroupWriter, read_encoded, replacing, write_parquet

CHECKOUT = Path(__file__).resolve().parents[2]


def table(n: int, *, names: tuple[str, ...] = ("a", "b", "never")) -> pa.Table:
    at = [datetime(2026, 10, 5, tzinfo=UTC) + timedelta(seconds=i) for i in range(n)]
    return pa.table(
        {
            "sensor_id": pa.DictionaryArray.from_arrays(pa.array(np.arange(n, dtype=np.int32) % 2), list(names)),
            "timestamp": pa.array(at, pa.timestamp("us", tz="UTC")),
            "value": np.random.default_rng(1).normal(size=n),
        }
    )


def written(parts: list[pa.Table], path: Path, *, rows_per_group: int) -> bytes:
    with replacing(path) as file, GroupWriter(file, parts[0].schema, rows_per_group=rows_per_group) as writer:
        for part in parts:
            writer.add(part)
    return path.read_bytes()


@given(cuts=st.sets(st.integers(1, 99), max_size=5))
def test_the_same_rows_are_the_same_bytes_however_they_are_handed_over(tmp_path_factory: pytest.TempPathFactory, cuts: set[int]) -> None:
    folder = tmp_path_factory.mktemp("parts")
    rows, edges = table(100), [0, *sorted(cuts), 100]
    parts = [rows.slice(a, b - a) for a, b in pairwise(edges)]
    assert written(parts, folder / "parts", rows_per_group=40) == written([rows], folder / "whole", rows_per_group=40)
    file = pq.ParquetFile(folder / "parts")
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [40, 40, 20]


def test_what_is_encoded_in_memory_is_text_in_the_file_and_only_what_occurs_is_in_it(tmp_path: Path) -> None:
    names = tuple(f"sensor-{n:05}" for n in range(5_000))
    size = len(written([table(10, names=names)], tmp_path / "few", rows_per_group=100))
    assert size < 2_000, "5,000 names would take 20 kB"
    file = pq.ParquetFile(tmp_path / "few")
    assert file.schema_arrow.field("sensor_id").type == pa.string()
    assert file.schema_arrow.field("timestamp").type == pa.timestamp("us", tz="UTC")
    assert file.read()["sensor_id"].to_pylist() == list(names[:2]) * 5
    assert pa.types.is_dictionary(read_encoded(tmp_path / "few")["sensor_id"].type)


def test_an_empty_table_is_a_file_with_its_columns(tmp_path: Path) -> None:
    write_parquet(table(0), tmp_path / "none")
    assert pq.ParquetFile(tmp_path / "none").read().num_rows == 0
    assert written([table(0)], tmp_path / "none", rows_per_group=10)[:4] == b"PAR1"


def test_an_error_while_writing_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def write_half() -> None:
        with replacing(path) as file:
            file.write(b"half of the new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    assert path.read_bytes() == b"old"


def test_what_a_killed_writer_leaves_is_overwritten_by_the_next(tmp_path: Path) -> None:
    script = (
        "import os, sys, pathlib; from resources.parquet import replacing\n"
        "with replacing(pathlib.Path(sys.argv[1])) as file:\n"
        "    file.write(b'x' * 1000); file.flush(); os.kill(os.getpid(), 9)"
    )
    process = subprocess.run([sys.executable, "-c", script, str(tmp_path / "a")], cwd=CHECKOUT, check=False)
    assert process.returncode == -9
    assert [p.name for p in tmp_path.iterdir()] == [".a.tmp"]
    with replacing(tmp_path / "a") as file:
        file.write(b"new")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a", b"new")]


def test_two_writers_of_one_file_take_turns(tmp_path: Path) -> None:
    path, began, may_end = tmp_path / "a", threading.Event(), threading.Event()

    def slowly() -> None:
        with replacing(path) as file:
            file.write(b"first ")
            began.set()
            assert may_end.wait(10)
            file.write(b"and whole")

    def then() -> None:
        assert began.wait(10)
        with replacing(path) as file:
            seen.append(path.read_bytes())
            file.write(b"second")

    seen: list[bytes] = []
    threads = [threading.Thread(target=slowly), threading.Thread(target=then)]
    for thread in threads:
        thread.start()
    assert began.wait(10)
    may_end.set()
    for thread in threads:
        thread.join(10)
    assert seen == [b"first and whole"]
    assert path.read_bytes() == b"second"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_new_folders_are_made_and_synced_up_to_the_first_that_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    write_parquet(table(1), tmp_path / "x" / "y" / "a")
    assert synced == [str(tmp_path), str(tmp_path / "x"), str(tmp_path / "x" / "y" / ".a.tmp"), str(tmp_path / "x" / "y")]
    synced.clear()
    write_parquet(table(1), tmp_path / "x" / "y" / "a")
    assert synced == [str(tmp_path / "x" / "y" / ".a.tmp"), str(tmp_path / "x" / "y")]
