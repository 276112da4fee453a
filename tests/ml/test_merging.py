"""Segments become one table, whatever their order; a drop's readings become one sorted run for each day."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from expectations.contracts import SENSOR_READINGS
from ml.merging import merge_readings
from ml.row_verdicts import Readings
from ml.runs import merged, runs_by_day

IDS = ("fan.current", "pump.flow", "pump.temp")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY_US = 86_400_000_000


def test_days_are_split_at_midnight_utc_and_the_last_row_of_the_file_stands() -> None:
    at = np.array([2 * DAY_US, DAY_US - 1, 0, 2 * DAY_US, DAY_US - 1])
    readings = Readings(np.array([0, 0, 0, 1, 0], np.int32), at, np.array([1.0, 2.0, 3.0, 4.0, 5.0]), np.arange(5))
    found = [(day, run.table(day, pa.array(["a", "b"])).to_pylist(), n) for day, run, n in runs_by_day(readings)]
    assert [(day, [(r["sensor_id"], r["timestamp"] - EPOCH, r["value"]) for r in rows], n) for day, rows, n in found] == [
        (date(1970, 1, 1), [("a", timedelta(0), 3.0), ("a", timedelta(microseconds=DAY_US - 1), 5.0)], 1),
        (date(1970, 1, 3), [("a", timedelta(days=2), 1.0), ("b", timedelta(days=2), 4.0)], 0),
    ]


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), min_size=1, max_size=30), st.integers(1, 5))
def test_a_drop_sorted_in_pieces_is_the_drop_sorted_at_once(keys: list[tuple[int, int]], pieces: int) -> None:
    code, at = (np.array(part) for part in zip(*keys, strict=True))
    whole = Readings(code.astype(np.int32), at.astype(np.int64), np.arange(len(keys), dtype=float), np.arange(len(keys)))
    parts = [whole.take(index) for index in np.array_split(np.arange(len(keys)), pieces) if len(index)]
    runs = [(run, n) for part in reversed(parts) for _, run, n in runs_by_day(part)]
    run, n = merged([run for run, _ in runs])
    last = {key: i for i, key in enumerate(keys)}
    assert run.value.tolist() == [last[key] for key in sorted(last)]
    assert n + sum(n for _, n in runs) == len(keys) - len(last)


def test_the_merged_table_has_the_stored_schema() -> None:
    assert merge_readings(None, []).table.cast(SENSOR_READINGS.schema).schema.equals(SENSOR_READINGS.schema)


segment_ = st.dictionaries(st.tuples(st.sampled_from(IDS), st.integers(0, 5)), st.sampled_from([0.5, -1.0, 2.0]), max_size=8)


def as_segment(rows: dict[tuple[str, int], float]) -> pa.Table:
    keys = list(rows)
    return pa.table(
        {
            "sensor_id": pa.array([k[0] for k in keys], pa.string()),
            "timestamp": pa.array([k[1] for k in keys], pa.int64()).cast(pa.timestamp("us", "UTC")),
            "value": pa.array(list(rows.values()), pa.float64()),
        }
    )


@settings(max_examples=150, deadline=None)
@given(st.data(), st.lists(segment_, max_size=5))
def test_any_order_and_grouping_of_segments_gives_the_same_table(data: st.DataObject, rows: list[dict[tuple[str, int], float]]) -> None:
    expected: dict[tuple[str, int], tuple[float, int]] = {}
    for seq, segment in enumerate(rows, 1):
        expected.update({key: (value, seq) for key, value in segment.items()})
    order = data.draw(st.permutations(range(1, len(rows) + 1)))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=3)))
    merged, n_new = None, 0
    for start, end in zip([0, *cuts], [*cuts, len(rows)], strict=True):
        result = merge_readings(merged, [(seq, as_segment(rows[seq - 1])) for seq in order[start:end]])
        merged, n_new = result.table, n_new + result.n_new
    assert merged is not None
    found = [(r["sensor_id"], r["timestamp"], r["value"], r["drop_seq"]) for r in merged.to_pylist()]
    assert found == [(s, EPOCH + timedelta(microseconds=t), *expected[s, t]) for s, t in sorted(expected)]
    assert n_new == len(expected)


def test_merging_counts_new_and_replaced_rows_and_a_repeat_changes_nothing() -> None:
    first, second = as_segment({("a", 1): 1.0, ("b", 1): 2.0}), as_segment({("b", 1): 3.0, ("a", 0): 4.0, ("b", 2): 5.0})
    one = merge_readings(None, [(4, first)])
    two = merge_readings(one.table, [(9, second)])
    assert (one.n_new, one.n_replaced, two.n_new, two.n_replaced) == (2, 0, 2, 1)
    again = merge_readings(two.table, [(9, second), (4, first)])
    assert (again.n_new, again.n_replaced) == (0, 0)
    assert again.table.equals(two.table)


def test_times_too_far_apart_for_one_integer_are_sorted_all_the_same() -> None:
    rows = {("b", -(2**62)): 1.0, ("a", 2**62): 2.0, ("a", -(2**62)): 3.0}
    assert merge_readings(None, [(1, as_segment(rows))]).table["value"].to_pylist() == [3.0, 2.0, 1.0]
