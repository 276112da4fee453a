"""Local times through both changes of clocks: the hour that is skipped, and the hour that comes twice.

- A local time that the clocks skipped is no instant.
- A local time that occurs twice is the first one (summer time) until, within its series and in the order of the file, local
  time steps back; from there on it is the second one (standard time). A series with nothing but one and the same local time in
  that hour (an hourly sensor) takes its first row as first, the others as second. A file written newest first is read
  from its end. A drop that begins within the second pass cannot be told from the first one, and is taken for it: send such data with
  an offset.

These are rules over a whole file, and a file is read in blocks: rows in the repeated hour are held back until its end (`second_pass`),
and whether it is written newest first is added up from block to block (`Direction`).
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa

from ml.columns import US_PER_DAY, US_PER_S, Bools, Ints

EARLIEST_US = -62_135_596_800 * US_PER_S  # 0001-01-01
LATEST_US = 253_402_300_800 * US_PER_S  # 10000-01-01
# Offsets from UTC have changed on whole quarters of an hour, local time, everywhere since 1972.
_OFFSET_STEP_US = 900 * US_PER_S


@dataclass(frozen=True)
class Twice:
    """Rows of a block whose local time occurs twice, and the second instant that each may mean."""

    rows: Ints
    second_us: Ints


def local_to_utc(local: Ints, zone: ZoneInfo) -> tuple[Ints, Bools, Ints, Ints]:
    """UTC of the first occurrence; which rows the clocks skipped; the rows that occur twice, and UTC of their second occurrence.

    Python's own time zone data, asked once per quarter of an hour that occurs: needs no data of the operating system.
    """
    quarters = pa.array(local // _OFFSET_STEP_US).dictionary_encode()
    first, second = (np.array([_offset_us(q, zone, fold=fold) for q in quarters.dictionary.to_pylist()], np.int64) for fold in (0, 1))
    at = quarters.indices.to_numpy()
    utc = local - first[at]
    is_skipped = (first < second)[at]
    twice = np.flatnonzero((first > second)[at])
    return utc, is_skipped, twice, local[twice] - second[at[twice]]


def _offset_us(quarter: int, zone: ZoneInfo, *, fold: int) -> int:
    us = quarter * _OFFSET_STEP_US
    if not EARLIEST_US <= us < LATEST_US:
        return 0
    offset = (datetime(1970, 1, 1, tzinfo=zone, fold=fold) + timedelta(microseconds=us)).replace(fold=fold).utcoffset()
    return 0 if offset is None else round(offset.total_seconds()) * US_PER_S


@dataclass(frozen=True)
class Steps:
    """How local time goes on within the series of a block: steps forward and back, and each series' first and last time."""

    n_forward: int
    n_back: int
    series: Ints
    first: Ints
    last: Ints


def steps_of(local: Ints, series: Ints) -> Steps:
    """Rows in the order of the file."""
    order = np.argsort(series, kind="stable")
    local, series = local[order], series[order]
    starts = np.flatnonzero(np.diff(series, prepend=series[0] - 1 if len(series) else 0))
    ends = np.append(starts[1:], len(series))[: len(starts)] - 1
    step = np.diff(local)[np.diff(series) == 0]
    return Steps(int(np.count_nonzero(step > 0)), int(np.count_nonzero(step < 0)), series[starts], local[starts], local[ends])


class Direction:
    """Whether a file is written newest first, added up over its blocks in their order."""

    def __init__(self) -> None:
        self._n_forward = self._n_back = 0
        self._last: dict[int, int] = {}

    def add(self, steps: Steps) -> None:
        self._n_forward += steps.n_forward
        self._n_back += steps.n_back
        for series, first, last in zip(steps.series.tolist(), steps.first.tolist(), steps.last.tolist(), strict=True):
            before = self._last.get(series, first)
            self._n_forward += first > before
            self._n_back += first < before
            self._last[series] = last

    @property
    def is_newest_first(self) -> bool:
        return self._n_back > self._n_forward


def second_pass(local: Ints, series: Ints, *, newest_first: bool) -> Bools:
    """Which of the rows in a repeated hour belong to its second occurrence; rows in the order of the file."""
    if newest_first:
        return second_pass(local[::-1], series[::-1], newest_first=False)[::-1]
    day = local // US_PER_DAY
    order = np.lexsort((day, series))  # stable: the order of the file within a series and day
    local, day, series = local[order], day[order], series[order]
    starts = np.ones(len(order), bool)
    starts[1:] = (series[1:] != series[:-1]) | (day[1:] != day[:-1])
    first_row, group = np.flatnonzero(starts), np.cumsum(starts) - 1
    is_one_time = np.minimum.reduceat(local, first_row) == np.maximum.reduceat(local, first_row)
    steps_back = np.cumsum(((np.diff(local, prepend=local[0]) < 0) | is_one_time[group]) & ~starts)
    is_second = np.empty(len(order), bool)
    is_second[order] = steps_back > steps_back[first_row][group]
    return is_second
