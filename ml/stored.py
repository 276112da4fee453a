"""What stored readings say of themselves: how many there are of each drop, and whether each (sensor, time) stands there once."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

COLUMNS = ("sensor_id", "timestamp", "drop_seq")


@dataclass(frozen=True)
class StoredReadings:
    """Counted in one pass; `misplaced` is the first (sensor_id, timestamp) that stands there a second time, or out of order."""

    rows: int
    by_drop: dict[int, int]
    misplaced: tuple[str, datetime] | None


def count_stored(batches: Iterable[pa.RecordBatch]) -> StoredReadings:
    """`batches` have COLUMNS, `sensor_id` dictionary-encoded, and follow each other as stored: sorted by sensor, then time.

    Where every row lies strictly behind the one before, all keys are distinct: no hash table of millions of keys is needed.
    """
    rows, by_drop = 0, Counter[int]()
    misplaced: tuple[str, datetime] | None = None
    before: tuple[str, datetime] | None = None
    for batch in batches:
        if not batch.num_rows:
            continue
        rows += batch.num_rows
        for entry in pc.value_counts(batch.column("drop_seq")):
            by_drop[entry["values"].as_py()] += entry["counts"].as_py()
        if misplaced is None:
            misplaced = next(_misplaced(batch, before=before), None)
        before = _key(batch, batch.num_rows - 1)
    return StoredReadings(rows, dict(by_drop), misplaced)


def _misplaced(batch: pa.RecordBatch, *, before: tuple[str, datetime] | None) -> Iterator[tuple[str, datetime]]:
    """The keys that do not lie behind the row before them; `before` is the last key of the batch before."""
    if before is not None and _key(batch, 0) <= before:
        yield _key(batch, 0)
    code = batch.column("sensor_id").indices.to_numpy()
    at = batch.column("timestamp").cast(pa.int64()).to_numpy()
    is_same = code[1:] == code[:-1]
    suspects = np.flatnonzero(~is_same | (at[1:] <= at[:-1])) + 1  # where another sensor begins, its name must lie behind
    yield from (_key(batch, int(i)) for i in suspects if _key(batch, int(i)) <= _key(batch, int(i) - 1))


def _key(batch: pa.RecordBatch, row: int) -> tuple[str, datetime]:
    return batch.column("sensor_id")[row].as_py(), batch.column("timestamp")[row].as_py()
