"""Mean, lowest and highest value and number of readings per interval of time, in memory for the intervals under way only.

An interval begins where the clock on the wall of its zone shows a multiple of its length, counted from midnight. Where clocks are
set forward or back by less than its length, it is the shorter or longer for it: that day has 23 or 25 hours, but each
hour has sixty minutes, also the one that occurs twice.
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Ints = NDArray[np.int64]

_US_PER_S = 1_000_000
_HOUR_S, _DAY_S = 3_600, 86_400
_UNITS_S = {"s": 1, "min": 60, "m": 60, "h": _HOUR_S, "d": _DAY_S}
_QUARTER_S = 900  # offsets from UTC have changed on whole quarters of an hour, everywhere since 1972
_LONGEST_SHIFT_S = 3 * _HOUR_S
_ROWS_AT_ONCE = 131_072
# Years 2 to 9998: no offset leads out of what Python's datetime knows.
_EARLIEST_S, _LATEST_S = -62_104_060_800, 253_339_228_800

_TIMESTAMP = pa.timestamp("us", tz="UTC")
INTERVALS_SCHEMA = pa.schema(
    [
        pa.field("sensor_id", pa.string(), nullable=False),
        pa.field("interval_start", _TIMESTAMP, nullable=False),
        pa.field("mean", pa.float64()),
        pa.field("min", pa.float64()),
        pa.field("max", pa.float64()),
        pa.field("n", pa.int64(), nullable=False),
    ]
)


@dataclass(frozen=True)
class Every:
    """Intervals of `step_s` seconds: a divisor of an hour, or of a day in whole hours."""

    step_s: int
    zone: ZoneInfo

    def __post_init__(self) -> None:
        is_short, is_long = _HOUR_S % self.step_s == 0, self.step_s % _HOUR_S == 0 and _DAY_S % self.step_s == 0
        if not is_short and not is_long:
            raise ValueError("an interval must fit into an hour or a day a whole number of times: 10s, 5min, 15min, 1h, 6h, 1d")

    @classmethod
    def parse(cls, text: str, zone: ZoneInfo) -> "Every":
        """Of a text such as 30s, 10min, 1h or 1d. Raises ValueError."""
        found = re.fullmatch(r"([1-9][0-9]{0,5}) ?(s|min|m|h|d)", text.strip())
        if not found:
            raise ValueError(f"{text!r} is no length of time such as 30s, 10min, 1h or 1d")
        try:
            return cls(int(found[1]) * _UNITS_S[found[2]], zone)
        except ValueError as error:
            raise ValueError(f"{text!r} does not do: {error}") from error

    def starts(self, first_us: int, end_us: int) -> Ints:
        """Beginnings of the intervals that hold an instant from `first_us` on and before `end_us`, ascending."""
        look_s = math.gcd(self.step_s, _QUARTER_S)
        first_s = (first_us // _US_PER_S - self.step_s - _LONGEST_SHIFT_S) // look_s * look_s
        at = np.arange(first_s, -(-end_us // _US_PER_S), look_s, dtype=np.int64)
        local = at + offsets_s(at, self.zone)
        set_back = at[1:] - at[:-1] - (local[1:] - local[:-1])
        is_again = (local[1:] % self.step_s == 0) & (set_back >= self.step_s)
        begins = np.flatnonzero((np.diff(local // self.step_s) != 0) | is_again) + 1
        found = at[begins] * _US_PER_S
        return found[max(int(np.searchsorted(found, first_us, side="right")) - 1, 0) :]


def offsets_s(at_s: Ints, zone: ZoneInfo) -> Ints:
    """The zone's offset from UTC in seconds at ascending instants; asks Python's own time zone data once per quarter of an hour."""
    if zone.key == "UTC" or not len(at_s):
        return np.zeros(len(at_s), np.int64)
    quarter = at_s // _QUARTER_S
    first = int(quarter[0])
    known = [_offset_s(q * _QUARTER_S, zone) for q in range(first, int(quarter[-1]) + 1)]
    return np.array(known, np.int64)[quarter - first]


def _offset_s(at_s: int, zone: ZoneInfo) -> int:
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=min(max(at_s, _EARLIEST_S), _LATEST_S))
    offset = at.astimezone(zone).utcoffset()
    return 0 if offset is None else round(offset.total_seconds())


@dataclass(frozen=True)
class _Parts:
    """What was seen of some intervals: a sensor's code, the interval's start, then figures."""

    code: Ints
    start: Ints
    total: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    n: Ints

    def put_together(self) -> "_Parts":
        """One entry per sensor and interval, in this order."""
        order = np.lexsort((self.start, self.code))
        code, start = self.code[order], self.start[order]
        is_first = np.ones(len(order), bool)
        is_first[1:] = (code[1:] != code[:-1]) | (start[1:] != start[:-1])
        first = np.flatnonzero(is_first)
        if not len(first):
            return self
        return _Parts(
            code[first],
            start[first],
            np.add.reduceat(self.total[order], first),
            np.minimum.reduceat(self.low[order], first),
            np.maximum.reduceat(self.high[order], first),
            np.add.reduceat(self.n[order], first),
        )

    def take(self, which: NDArray[np.bool_] | slice) -> "_Parts":
        return _Parts(*(values[which] for values in vars(self).values()))


@dataclass
class IntervalSums:
    """Readings come in stretches of time, one after the other; whatever has ended is given out and forgotten.

    Every interval from `first_us` on is given out for every sensor, also those without readings: n is 0, all else null.
    """

    every: Every
    sensor_ids: Sequence[str]
    first_us: int
    _parts: list[_Parts] = field(default_factory=list)

    def add(self, readings: pa.Table) -> None:
        """Readings [sensor_id, timestamp, value] of some of the sensors, in any order, not before what was given out."""
        if not readings.num_rows:
            return
        at, value = readings["timestamp"].cast(pa.int64()).to_numpy(), readings["value"].to_numpy()
        code = pc.index_in(readings["sensor_id"], pa.array(self.sensor_ids, pa.string())).to_numpy()
        starts = self.every.starts(int(at.min()), int(at.max()) + 1)
        start = starts[np.searchsorted(starts, at, side="right") - 1]
        self._parts.append(_Parts(code.astype(np.int64), start, value, value, value, np.ones(len(value), np.int64)).put_together())

    def ended(self, until_us: int, *, is_end: bool) -> Iterator[pa.Table]:
        """The intervals that have ended at `until_us`; at the very end also the one that has only begun. By sensor, then time."""
        if until_us <= self.first_us:
            return
        starts = self.every.starts(self.first_us, until_us)
        under_way = until_us if is_end else int(self.every.starts(until_us, until_us + 1)[0])
        starts = starts[starts < under_way]
        parts = _Parts(*(np.concatenate([getattr(p, name) for p in self._parts]) for name in vars(self._parts[0]))) if self._parts else None
        if parts is not None:
            self._parts = [parts.take(parts.start >= under_way)]
            parts = parts.take(parts.start < under_way).put_together()
        self.first_us = until_us
        if len(starts):
            yield from self._tables(starts, parts)

    def _tables(self, starts: Ints, parts: _Parts | None) -> Iterator[pa.Table]:
        ids, at = pa.array(self.sensor_ids, pa.string()), pa.array(starts).cast(_TIMESTAMP)
        per_table = max(1, _ROWS_AT_ONCE // len(starts))
        for low in range(0, len(ids), per_table):
            size = min(per_table, len(ids) - low)
            n, figures = np.zeros(size * len(starts), np.int64), np.full((3, size * len(starts)), np.nan)
            if parts is not None:
                some = parts.take(slice(*np.searchsorted(parts.code, [low, low + size])))
                place = (some.code - low) * len(starts) + np.searchsorted(starts, some.start)
                n[place], figures[:, place] = some.n, (some.total / some.n, some.low, some.high)
            columns = [
                ids.take(pa.array(np.repeat(np.arange(low, low + size), len(starts)))),
                at.take(pa.array(np.tile(np.arange(len(starts)), size))),
                *(pa.array(values, mask=n == 0) for values in figures),
                pa.array(n),
            ]
            yield pa.table(columns, schema=INTERVALS_SCHEMA)
