"""Segments of many drops become the readings of one site-day: one row per sensor and time, the latest drop wins."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ml.columns import Bools, Floats, Ints
from ml.key_order import sorted_order
from ml.row_verdicts import TIMESTAMP

_SENSOR_ID = pa.dictionary(pa.int32(), pa.string())
# As `sensor_readings` are stored, but for the sensor ids, which are dictionary-encoded here: text for a million rows costs 15 ms.
MERGED_SCHEMA = pa.schema(
    [
        pa.field("sensor_id", _SENSOR_ID, nullable=False),
        pa.field("timestamp", TIMESTAMP, nullable=False),
        pa.field("value", pa.float64(), nullable=False),
        pa.field("drop_seq", pa.int32(), nullable=False),
    ]
)


@dataclass(frozen=True)
class MergedReadings:
    """`table` has MERGED_SCHEMA; `n_new` rows had no earlier value, `n_replaced` took the place of a stored one from an earlier drop."""

    table: pa.Table
    n_new: int
    n_replaced: int


@dataclass(frozen=True)
class _Rows:
    """Parallel arrays; `code` is the place of the sensor id among all in ascending order."""

    code: NDArray[np.int32]
    at: Ints
    value: Floats
    seq: NDArray[np.int32]

    def take(self, index: Ints) -> "_Rows":
        return _Rows(self.code[index], self.at[index], self.value[index], self.seq[index])


def merge_readings(existing: pa.Table | None, segments: Sequence[tuple[int, pa.Table]]) -> MergedReadings:
    """One row per (sensor_id, timestamp), that of the highest drop_seq; sorted by sensor_id and timestamp.

    The result does not depend on the order of the segments, nor on which of them were merged before. Should one drop_seq
    bring two values for a key, which no parsed drop does, the higher value stands. Sensor ids may be text or dictionary-encoded.
    """
    tables = [] if existing is None else [existing]
    tables += [table for _, table in sorted(segments, key=lambda s: s[0])]
    n_stored = 0 if existing is None else existing.num_rows
    rows, ids = _rows(tables, existing=existing, seqs=sorted(seq for seq, _ in segments))
    rows, order, gives_way = _sorted(rows)
    is_last = np.append(~gives_way, True)[: len(rows.at)]
    n_new, n_replaced = _compared_with_stored(rows, order, is_last, n_stored=n_stored)
    if gives_way.any():
        rows = rows.take(np.flatnonzero(is_last))
    columns = [
        pa.DictionaryArray.from_arrays(pa.array(rows.code), ids),
        pa.array(rows.at).cast(TIMESTAMP),
        pa.array(rows.value),
        pa.array(rows.seq),
    ]
    return MergedReadings(pa.table(columns, schema=MERGED_SCHEMA), n_new, n_replaced)


def _rows(tables: Sequence[pa.Table], *, existing: pa.Table | None, seqs: Sequence[int]) -> tuple[_Rows, pa.Array]:
    """All rows, in the order of the tables, and the sensor ids that the codes stand for."""
    encoded = []
    for table in tables:
        column = table["sensor_id"]
        encoded.extend((column if pa.types.is_dictionary(column.type) else column.dictionary_encode()).cast(_SENSOR_ID).chunks)
    names = pa.chunked_array(encoded, _SENSOR_ID).unify_dictionaries()
    ids = names.chunk(0).dictionary if names.num_chunks else pa.array([], pa.string())
    ascending = pc.sort_indices(ids).to_numpy()
    rank = np.empty(len(ids), np.int32)
    rank[ascending] = np.arange(len(ids), dtype=np.int32)
    n_new = [table.num_rows for table in (tables if existing is None else tables[1:])]
    seq = [np.repeat(np.array(seqs, np.int32), n_new)]
    if existing is not None:
        seq.insert(0, existing["drop_seq"].to_numpy())
    rows = _Rows(
        code=_joined([rank[chunk.indices.to_numpy()] for chunk in names.chunks], np.int32),
        at=_joined([c.cast(pa.int64()).to_numpy() for table in tables for c in table["timestamp"].chunks], np.int64),
        value=_joined([c.to_numpy() for table in tables for c in table["value"].chunks], np.float64),
        seq=_joined(seq, np.int32),
    )
    return rows, ids.take(pa.array(ascending))


def _joined(parts: Sequence[NDArray[Any]], kind: type[np.generic]) -> NDArray[Any]:
    return parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, kind), *parts])


def _sorted(rows: _Rows) -> tuple[_Rows, Ints | None, Bools]:
    """By sensor, time, drop_seq and value; the order (None: as it was); and which rows, but the last, have the key of the next one.

    Segments come in the order of their drops and each in its own, so the order of keys, kept stable, mostly is all of it.
    """
    order = sorted_order(rows.code, rows.at)
    by_key = rows if order is None else rows.take(order)
    gives_way = (by_key.code[1:] == by_key.code[:-1]) & (by_key.at[1:] == by_key.at[:-1])
    seq, value = by_key.seq, by_key.value
    if gives_way.any() and (gives_way & ((seq[1:] < seq[:-1]) | ((seq[1:] == seq[:-1]) & (value[1:] < value[:-1])))).any():
        order = np.lexsort((rows.value, rows.seq, rows.at, rows.code))
        by_key = rows.take(order)
    return by_key, order, gives_way


def _compared_with_stored(rows: _Rows, order: Ints | None, is_last: Bools, *, n_stored: int) -> tuple[int, int]:
    """Keys that were not stored, and those whose stored row, the only one of its key, has given way to another drop's."""
    n_keys = int(np.count_nonzero(is_last))
    if not n_stored:
        return n_keys, 0
    was_stored = np.arange(len(rows.at)) < n_stored if order is None else order < n_stored
    gone = np.flatnonzero(was_stored & ~is_last)
    ends = np.flatnonzero(is_last)
    winner = ends[np.searchsorted(ends, gone)]
    return n_keys - n_stored, int(np.count_nonzero(rows.seq[winner] != rows.seq[gone]))
