"""Readings on their way to segments: whether they fit into memory or not, the last row in the file stands for each sensor and time."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.row_verdicts import Readings
from ml.runs import SEGMENT_SCHEMA
from resources.parquet import GroupWriter, replacing
from resources.spool import Spool

DAYS = (date(1969, 12, 31), date(2026, 10, 5), date(2026, 10, 6))
IDS = pa.array(["a", "b", "c"])
Row = tuple[int, date, int, float]  # code, day, minute, value

rows_of_a_drop = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(DAYS), st.sampled_from([0, 1, 2, 719, 1439]), st.floats(-1e9, 1e9)), max_size=60
)


def readings(rows: list[Row], *, first: int = 0) -> Readings:
    at = [datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(minutes=minute) for _, day, minute, _ in rows]
    return Readings(
        np.array([code for code, *_ in rows], np.int32),
        np.array([(t - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) for t in at], np.int64),
        np.array([value for *_, value in rows], np.float64),
        np.arange(first, first + len(rows)),
    )


def last_of_each(rows: list[Row]) -> dict[date, list[tuple[str, datetime, float]]]:
    """The independent computation: a dictionary forgets earlier values of a key."""
    latest = {(IDS[code].as_py(), datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(minutes=m)): v for code, day, m, v in rows}
    days: dict[date, list[tuple[str, datetime, float]]] = {}
    for (sensor_id, at), value in sorted(latest.items()):
        days.setdefault(at.date(), []).append((sensor_id, at, value))
    return days


def spooled(blocks: list[Readings], folder: Path, **sizes: int) -> tuple[dict[date, list[tuple[str, datetime, float]]], int]:
    spool = Spool(folder / "spools" / "drop", **sizes)
    for block in blocks:
        spool.add(block)
    found = {}
    for day, runs in spool.days():
        tables = [run.table(day, IDS) for run in runs]
        found[day] = [tuple(row.values()) for table in tables for row in table.to_pylist()]
    spool.close()
    assert list(folder.iterdir()) == []
    return found, spool.n_duplicate


@given(
    rows=rows_of_a_drop, cuts=st.lists(st.integers(0, 60), max_size=6), order=st.randoms(), rows_in_memory=st.sampled_from([1, 7, 10_000])
)
def test_the_last_row_of_each_sensor_and_time_stands_whatever_the_memory(rows, cuts, order, rows_in_memory) -> None:
    edges = sorted({0, len(rows), *(c for c in cuts if c < len(rows))})
    blocks = [readings(rows[a:b], first=a) for a, b in pairwise(edges)]
    if order.random() < 0.3:  # rows in an hour that the clocks repeat come after those that follow them
        order.shuffle(blocks)
    with TemporaryDirectory() as folder:
        found, n_duplicate = spooled(blocks, Path(folder), rows_in_memory=rows_in_memory, rows_at_once=2)
    assert found == last_of_each(rows)
    assert list(found) == sorted(found)
    assert n_duplicate == len(rows) - sum(map(len, found.values()))


@pytest.mark.parametrize("n_keys", [5_000, 50_000], ids=["ten rows for each key", "one row for each key"])
def test_a_segment_has_the_same_bytes_whether_its_drop_fitted_into_memory_or_not(tmp_path: Path, n_keys: int) -> None:
    dice = np.random.default_rng(1)
    n, day = 50_000, DAYS[1]
    key = dice.permutation(np.arange(n) % n_keys)
    midnight = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1e6)
    whole = Readings((key % 3).astype(np.int32), midnight + key * 1_000_000, dice.normal(size=n), np.arange(n))
    written = []
    for rows_in_memory in (10 * n, 6_000):
        spool = Spool(tmp_path / "spools" / "drop", rows_in_memory=rows_in_memory, rows_at_once=5_000)
        for start in range(0, n, 1_000):
            spool.add(whole.take(slice(start, start + 1_000)))
        path = tmp_path / f"{rows_in_memory}.parquet"
        n_runs = 0
        for _, runs in spool.days():
            with replacing(path) as file, GroupWriter(file, SEGMENT_SCHEMA, rows_per_group=1 << 14) as writer:
                for run in runs:
                    writer.add(run.table(day, IDS))
                    n_runs += 1
        spool.close()
        assert n_runs == 1 or rows_in_memory < n
        assert spool.n_duplicate == n - n_keys
        written.append(path.read_bytes())
    assert written[0] == written[1]


def test_no_more_rows_than_asked_for_are_merged_at_once_even_if_all_are_of_one_instant(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spools" / "drop", rows_in_memory=2_000, rows_at_once=2_000)
    for start in range(0, 40_000, 1_000):
        n = np.arange(start, start + 1_000)
        spool.add(Readings(np.zeros(1_000, np.int32), n // 20_000, n * 1.0, n))
    ((_, runs),) = spool.days()
    lengths = [len(run) for run in runs]
    assert sum(lengths) == 2
    assert spool.n_duplicate == 39_998
    spool.close()
