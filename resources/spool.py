"""Good readings of one drop on their way to its segments: in memory while they are few, else in sorted runs in temporary files.

A day's file takes 24 bytes for each reading, is never fsynced and not read again after a death. From either way come the same rows.
"""

import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.columns import Ints
from ml.row_verdicts import Readings
from ml.runs import Run, boundaries, merged, runs_by_day
from resources.failpoints import fail_point

ROWS_IN_MEMORY = 2_000_000  # 28 bytes each, and three times that while they are sorted
ROWS_AT_ONCE = 1_000_000  # of the runs of a day, while they are merged
_SAMPLED = 1_024
_TYPES = (np.dtype(np.int64), np.dtype(np.float64), np.dtype(np.int64))  # key, value, row


@dataclass(frozen=True)
class _StoredRun:
    """`n` keys, then `n` values, then `n` rows, from `offset` in the file on; `samples` has every _SAMPLED-th key."""

    path: Path
    offset: int
    n: int
    samples: Ints

    def position(self, key: int) -> int:
        """Of the first key that is not below `key`."""
        block = int(np.searchsorted(self.samples, key))
        if not block:
            return 0
        start, end = (block - 1) * _SAMPLED, min(block * _SAMPLED, self.n)
        return start + int(np.searchsorted(self._column(0, start, end), key))

    def read(self, start: int, end: int) -> Run:
        key, value, row = (self._column(i, start, end) for i in range(len(_TYPES)))
        return Run(key, value, row)

    def _column(self, i: int, start: int, end: int) -> NDArray[Any]:
        return np.fromfile(self.path, _TYPES[i], count=end - start, offset=self.offset + (i * self.n + start) * 8)


@dataclass
class Spool:
    """`folder` is made when the readings no longer fit into memory, and is the spool's own."""

    folder: Path
    rows_in_memory: int = ROWS_IN_MEMORY
    rows_at_once: int = ROWS_AT_ONCE
    n_duplicate: int = 0
    _waiting: list[Readings] = field(default_factory=list)
    _n_waiting: int = 0
    _stored: dict[date, list[_StoredRun]] = field(default_factory=dict)

    def add(self, readings: Readings) -> None:
        self._waiting.append(readings)
        self._n_waiting += len(readings)
        if self._n_waiting >= self.rows_in_memory:
            self._store()

    def days(self) -> Iterator[tuple[date, Iterator[Run]]]:
        """Days ascending, each with runs that follow one another; to be read in this order, once, after the last `add`.

        `n_duplicate` is complete when all are read.
        """
        if not self._stored:
            for day, run in self._sorted():
                yield day, iter([run])
            return
        self._store()
        for day in sorted(self._stored):
            yield day, self._merged(self._stored[day])

    def close(self) -> None:
        if self._stored:
            shutil.rmtree(self.folder)
            with suppress(OSError):  # another spool is at work
                self.folder.parent.rmdir()

    def _sorted(self) -> Iterator[tuple[date, Run]]:
        readings = Readings.join(self._waiting)
        self._waiting, self._n_waiting = [], 0
        for day, run, n_duplicate in runs_by_day(readings):
            self.n_duplicate += n_duplicate
            yield day, run

    def _store(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for day, run in self._sorted():
            path = self.folder / day.isoformat()
            with path.open("ab") as file:
                offset = file.tell()
                for column in (run.key, run.value, run.row):
                    column.tofile(file)
            self._stored.setdefault(day, []).append(_StoredRun(path, offset, len(run), run.key[::_SAMPLED].copy()))
        fail_point("intake.spooled")

    def _merged(self, runs: list[_StoredRun]) -> Iterator[Run]:
        cuts = boundaries([run.samples for run in runs], every=_SAMPLED, rows=self.rows_at_once)
        positions = [[0, *(run.position(int(key)) for key in cuts), run.n] for run in runs]
        for start, end in pairwise(range(len(cuts) + 2)):
            parts = [run.read(at[start], at[end]) for run, at in zip(runs, positions, strict=True) if at[start] < at[end]]
            if parts:
                run, n_duplicate = merged(parts)
                self.n_duplicate += n_duplicate
                yield run
