"""Good readings of one day in sorted runs: a drop of any size is sorted piece by piece, and the runs are then merged.

A reading's key is its sensor's code and its time of day in one number, so that one comparison orders by sensor and time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ml.columns import US_PER_DAY, Floats, Ints
from ml.key_order import order_of_keys
from ml.row_verdicts import TIMESTAMP, Readings

_TIME_BITS = 37  # a day has 86,400,000,000 us, a little less than 2**37
_TIME_MASK = (1 << _TIME_BITS) - 1
_EPOCH = date(1970, 1, 1)

SEGMENT_SCHEMA = pa.schema(
    [
        pa.field("sensor_id", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("timestamp", TIMESTAMP, nullable=False),
        pa.field("value", pa.float64(), nullable=False),
    ]
)


@dataclass(frozen=True)
class Run:
    """Ascending by key, each key once; `row` is the place in the file."""

    key: Ints
    value: Floats
    row: Ints

    def __len__(self) -> int:
        return len(self.key)

    @property
    def times_us(self) -> tuple[int, int]:
        """The earliest and the latest time of day."""
        time = self.key & _TIME_MASK
        return int(time.min()), int(time.max())

    def table(self, day: date, ids: pa.Array) -> pa.Table:
        """With SEGMENT_SCHEMA; `ids` are the site's sensor ids in the order of their codes."""
        code = (self.key >> _TIME_BITS).astype(np.int32)
        at = (self.key & _TIME_MASK) + (day - _EPOCH).days * US_PER_DAY
        columns = [pa.DictionaryArray.from_arrays(pa.array(code), ids), pa.array(at).cast(TIMESTAMP), pa.array(self.value)]
        return pa.table(columns, schema=SEGMENT_SCHEMA)


def runs_by_day(readings: Readings) -> Iterator[tuple[date, Run, int]]:
    """(day, its run, how many rows gave way to a later one with the same sensor and instant), days ascending."""
    if not len(readings):
        return
    if np.any(readings.row[1:] < readings.row[:-1]):
        readings = readings.take(np.argsort(readings.row, kind="stable"))
    first, last = int(readings.at_us.min()) // US_PER_DAY, int(readings.at_us.max()) // US_PER_DAY
    if first == last:
        yield _run(first, readings)
        return
    day = readings.at_us // US_PER_DAY - first
    if np.any(day[1:] < day[:-1]):
        order = np.argsort(day.astype(np.int16) if last - first < 2**15 else day, kind="stable")
        day, readings = day[order], readings.take(order)
    starts = np.flatnonzero(np.diff(day, prepend=-1))
    for start, end in zip(starts, [*starts[1:], len(day)], strict=True):
        yield _run(first + int(day[start]), readings.take(slice(start, end)))


def _run(day: int, readings: Readings) -> tuple[date, Run, int]:
    """`readings` in the order of the file."""
    code = readings.code
    key = (code.astype(np.int64) << _TIME_BITS) | (readings.at_us - day * US_PER_DAY)
    value, row = readings.value, readings.row
    order = order_of_keys(key, code)
    if order is not None:
        key, value, row = key[order], value[order], row[order]
    run, n_duplicate = _last_of_each(Run(key, value, row))
    return _EPOCH + timedelta(days=day), run, n_duplicate


def merged(runs: Sequence[Run]) -> tuple[Run, int]:
    """One run of many, of equal keys the one with the highest row; and how many gave way."""
    if len(runs) == 1:
        return runs[0], 0
    key, value, row = (np.concatenate([getattr(run, name) for run in runs]) for name in ("key", "value", "row"))
    order = np.argsort(key, kind="stable")  # merges runs that are sorted already
    by_key, by_row = key[order], row[order]
    if np.any((by_key[1:] == by_key[:-1]) & (by_row[1:] < by_row[:-1])):
        order = np.lexsort((row, key))
        by_key, by_row = key[order], row[order]
    return _last_of_each(Run(by_key, value[order], by_row))


def _last_of_each(run: Run) -> tuple[Run, int]:
    gives_way = run.key[1:] == run.key[:-1]
    n = int(np.count_nonzero(gives_way))
    if not n:
        return run, 0
    kept = np.flatnonzero(~np.append(gives_way, False))
    return Run(run.key[kept], run.value[kept], run.row[kept]), n


def boundaries(samples: Sequence[NDArray[np.int64]], *, every: int, rows: int) -> Ints:
    """Keys that cut runs into ranges of about `rows` rows; `samples` holds each run's first key and then each `every`-th.

    A range has at most `rows` + `every` x runs rows, as a key occurs once in a run.
    """
    keys = np.sort(np.concatenate(samples))
    step = max(1, rows // every)
    return np.unique(keys[step::step])
