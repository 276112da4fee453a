"""Every delivered row of a block gets a verdict: accepted, or quarantined with one reason.

Rows whose local time occurs twice are held back: which instant they mean shows only at the end of the file.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ml.clock_changes import Direction, Steps, second_pass, steps_of
from ml.columns import US_PER_DAY, Bools, Floats, Ints
from ml.drop_rows import DropRows
from ml.layouts import UNKNOWN, Delivered, SensorCodes, delivered, raw_text

# In order of precedence: a row for which several are true is refused for the first one.
REASONS = (
    "malformed_row",
    "bad_timestamp",
    "skipped_by_clock_change",
    "unknown_sensor",
    "not_a_number",
    "wrong_unit",
    "bad_quality",
    "out_of_physical_range",
    "in_the_future",
    "before_first_day",
    "too_old",
)
_GOOD = -1

TIMESTAMP = pa.timestamp("us", tz="UTC")
QUARANTINED_SCHEMA = pa.schema(
    [
        pa.field("line", pa.int64(), nullable=False),
        pa.field("column", pa.string()),
        pa.field("sensor_id", pa.string()),
        pa.field("timestamp", TIMESTAMP),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("raw", pa.string(), nullable=False),
    ]
)


@dataclass(frozen=True)
class Rows:
    """Some rows of a drop: whole lines, and cells of a wide drop by the name of their column."""

    lines: Ints
    cells: dict[str, Ints]

    @classmethod
    def of(cls, quarantined: pa.Table) -> "Rows":
        """Those of a table with the columns `line` and `column` (null for a whole line) of the quarantine."""
        line, column = quarantined["line"].to_numpy(), quarantined["column"]
        names = column.combine_chunks().dictionary_encode()
        at = pc.fill_null(names.indices, -1).to_numpy(zero_copy_only=False)
        return cls(line[at == -1], {name: line[at == i] for i, name in enumerate(names.dictionary.to_pylist())})

    def has(self, line: Ints) -> Bools:
        """Which lines are among the whole lines, or have a cell that is."""
        found: Bools = np.isin(line, np.concatenate([self.lines, *self.cells.values()]))
        return found

    def has_cells(self, line: Ints, column: Ints, names: Sequence[str]) -> Bools:
        found: Bools = np.isin(line, self.lines)
        for i, name in enumerate(names):
            if name in self.cells:
                cells = np.flatnonzero(column == i)
                found[cells] |= np.isin(line[cells], self.cells[name])
        return found


@dataclass(frozen=True)
class Readings:
    """Good readings: the sensor's code (its place among the site's sensor ids in order), instant, value, and `row`, its place in the file.

    Of two readings with the same code and instant the one with the higher row is the later one.
    """

    code: NDArray[np.int32]
    at_us: Ints
    value: Floats
    row: Ints

    def __len__(self) -> int:
        return len(self.code)

    def take(self, index: Ints | Bools | slice) -> "Readings":
        return Readings(self.code[index], self.at_us[index], self.value[index], self.row[index])

    @classmethod
    def join(cls, parts: Sequence["Readings"]) -> "Readings":
        if len(parts) == 1:
            return parts[0]
        none = cls(np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0), np.empty(0, np.int64))
        return cls(*(np.concatenate([getattr(p, name) for p in (none, *parts)]) for name in ("code", "at_us", "value", "row")))


@dataclass(frozen=True)
class ParsedBlock:
    """rows_in == len(readings) + quarantined.num_rows; of the readings, `n_repaired` were put right: converted, clamped, or their
    clock corrected.
    """

    rows_in: int
    n_repaired: int
    readings: Readings
    quarantined: pa.Table


@dataclass(frozen=True)
class HeldRows:
    """Entries whose local time occurs twice, with what each of the two instants would make of them."""

    line: Ints
    series: Ints
    local_us: Ints
    code: Ints
    value: Floats
    at_us: tuple[Ints, Ints]
    reason: tuple[NDArray[np.int8], NDArray[np.int8]]
    is_repaired: Bools
    column: pa.Array
    raw: pa.Array


@dataclass(frozen=True)
class JudgedBlock:
    """`steps` is None where no row is written in local time of a zone that changes its clocks."""

    block: ParsedBlock
    steps: Steps | None
    held: tuple[HeldRows, ...]


class Judge:
    """Judges the blocks of one drop, in any thread."""

    def __init__(self, sensors: SensorCodes, *, received_at: datetime, only: Rows | None = None) -> None:
        self.sensors = sensors
        self._only = only
        drops = sensors.site.drops
        self._latest_us = _us(received_at.astimezone(UTC) + timedelta(seconds=drops.clock_tolerance_s))
        self._oldest_us = None if drops.max_age_days is None else _us(received_at.astimezone(UTC) - timedelta(days=drops.max_age_days))
        self._ahead_us = round(drops.clock_offset_s * 1_000_000)
        self._first_us = (sensors.site.first_day - date(1970, 1, 1)).days * US_PER_DAY

    def judge(self, parts: Iterable[DropRows]) -> JudgedBlock:
        """The parts of one block, each in the order of the file."""
        blocks, held, clocks = [], [], []
        for rows in parts:
            found = delivered(rows, self.sensors)
            block, kept = self._judge(rows, found)
            blocks.append(block)
            held.extend(kept)
            if found.instants.local is not None:
                is_local = found.instants.is_local
                clocks.append((rows.lines[is_local], found.instants.local[is_local], found.series[is_local]))
        return JudgedBlock(_join(blocks), _steps(clocks), tuple(held))

    def _judge(self, rows: DropRows, found: Delivered) -> tuple[ParsedBlock, list[HeldRows]]:
        at, is_instant, is_skipped = found.instants.at_us, found.instants.is_instant, found.instants.is_skipped
        if found.row is not None:
            at, is_instant = at[found.row], is_instant[found.row]
            is_skipped = None if is_skipped is None else is_skipped[found.row]
        at = at - self._ahead_us if self._ahead_us else at
        refused: dict[str, Bools | None] = {
            "bad_timestamp": ~is_instant if is_skipped is None else ~is_instant & ~is_skipped,
            "skipped_by_clock_change": is_skipped,
            "unknown_sensor": found.code == UNKNOWN,
            "not_a_number": np.isnan(found.value),
            "wrong_unit": found.is_wrong_unit,
            "bad_quality": found.is_bad_quality,
            "out_of_physical_range": self._is_out_of_range(found),
        }
        reason = _first_reason(refused, len(found.code))
        untimely = self._with_time(reason, at)
        line = rows.lines if found.row is None else rows.lines[found.row]
        held = []
        good = untimely == _GOOD
        bad = ~good
        is_held = self._is_held(found)
        is_wanted = self._is_wanted(rows, found, line)
        if is_wanted is not None:
            good &= is_wanted
            bad &= is_wanted
        if is_held is not None:
            good &= ~is_held
            bad &= ~is_held
            index = np.flatnonzero(is_held if is_wanted is None else is_held & is_wanted)
            held.append(self._hold(rows, found, index, reason=reason, untimely=untimely, line=line, at=at))
        readings = Readings(found.code[good].astype(np.int32), at[good], found.value[good], line[good])
        quarantined = self._quarantined(rows, found, np.flatnonzero(bad), reason=untimely, at=at, is_instant=is_instant, line=line)
        n_repaired = int(np.count_nonzero(self._is_repaired(found)[good])) if len(readings) else 0
        return ParsedBlock(len(readings) + quarantined.num_rows, n_repaired, readings, quarantined), held

    def _is_repaired(self, found: Delivered) -> Bools:
        if self._ahead_us:
            return np.ones(len(found.code), bool)
        return np.zeros(len(found.code), bool) if found.is_repaired is None else found.is_repaired

    def _is_wanted(self, rows: DropRows, found: Delivered, line: Ints) -> Bools | None:
        if self._only is None:
            return None
        return self._only.has(line) if found.column is None else self._only.has_cells(line, found.column, rows.names)

    def _is_out_of_range(self, found: Delivered) -> Bools:
        low, high = self.sensors.limits
        is_out: Bools = (found.value < low[found.code]) | (found.value > high[found.code])
        return is_out

    def _with_time(self, reason: NDArray[np.int8], at: Ints) -> NDArray[np.int8]:
        """The reasons so far, and those that depend on the instant where there is none yet."""
        reason = reason.copy()
        reason[(reason == _GOOD) & (at > self._latest_us)] = REASONS.index("in_the_future")
        reason[(reason == _GOOD) & (at < self._first_us)] = REASONS.index("before_first_day")
        if self._oldest_us is not None:
            reason[(reason == _GOOD) & (at < self._oldest_us)] = REASONS.index("too_old")
        return reason

    @staticmethod
    def _is_held(found: Delivered) -> Bools | None:
        twice = found.instants.twice
        if twice is None:
            return None
        is_twice = np.zeros(len(found.instants.at_us), bool)
        is_twice[twice.rows] = True
        return is_twice if found.row is None else is_twice[found.row]

    def _hold(
        self, rows: DropRows, found: Delivered, index: Ints, *, reason: NDArray[np.int8], untimely: NDArray[np.int8], line: Ints, at: Ints
    ) -> HeldRows:
        twice, local = found.instants.twice, found.instants.local
        assert twice is not None
        assert local is not None
        row = index if found.row is None else found.row[index]
        second = np.zeros(len(local), np.int64)
        second[twice.rows] = twice.second_us
        second = second[row] - self._ahead_us
        again = self._with_time(reason[index], second)
        raw: pa.Array = pa.nulls(len(index), pa.string())
        if np.any((untimely[index] != _GOOD) | (again != _GOOD)):
            raw = raw_text(rows, found, index=index, site=self.sensors.site)
        return HeldRows(
            line=line[index],
            series=found.series[row],
            local_us=local[row],
            code=found.code[index],
            value=found.value[index],
            at_us=(at[index], second),
            reason=(untimely[index], again),
            is_repaired=self._is_repaired(found)[index],
            column=_column_names(rows, found, index),
            raw=raw,
        )

    def _quarantined(
        self, rows: DropRows, found: Delivered, bad: Ints, *, reason: NDArray[np.int8], at: Ints, is_instant: Bools, line: Ints
    ) -> pa.Table:
        malformed = rows.malformed if self._only is None else rows.malformed[self._only.has(rows.malformed)]
        if not len(bad) and not len(malformed):
            return QUARANTINED_SCHEMA.empty_table()
        tables = []
        if len(bad):
            tables.append(
                self._refused_table(
                    line=line[bad],
                    column=_column_names(rows, found, bad),
                    code=found.code[bad],
                    at=pa.array(at[bad], mask=~is_instant[bad]),
                    reason=reason[bad],
                    raw=raw_text(rows, found, index=bad, site=self.sensors.site),
                )
            )
        if len(malformed) and rows.text is not None:
            n = len(malformed)
            none = pa.nulls(n, pa.string())
            texts = [pa.array(malformed), none, none, pa.nulls(n, TIMESTAMP), pa.array([REASONS[0]] * n), rows.text.take(malformed)]
            tables.append(pa.table(texts, schema=QUARANTINED_SCHEMA))
        return _in_order(tables)

    def _refused_table(
        self, *, line: Ints, column: pa.Array, code: Ints, at: pa.Array, reason: NDArray[np.int8], raw: pa.Array
    ) -> pa.Table:
        sensor = self.sensors.ids.take(pa.array(code, mask=code == UNKNOWN))
        columns = [pa.array(line), column, sensor, at.cast(TIMESTAMP), pa.array(REASONS).take(pa.array(reason)), raw]
        return pa.table(columns, schema=QUARANTINED_SCHEMA)

    def settle(self, held: HeldRows, *, is_second: Bools) -> ParsedBlock:
        """Held rows once it is known which instant they mean."""
        at = np.where(is_second, held.at_us[1], held.at_us[0])
        reason = np.where(is_second, held.reason[1], held.reason[0])
        good, bad = reason == _GOOD, np.flatnonzero(reason != _GOOD)
        readings = Readings(held.code[good].astype(np.int32), at[good], held.value[good], held.line[good])
        index = pa.array(bad)
        quarantined = _in_order(
            [
                self._refused_table(
                    line=held.line[bad],
                    column=held.column.take(index),
                    code=held.code[bad],
                    at=pa.array(at[bad]),
                    reason=reason[bad],
                    raw=held.raw.take(index),
                )
            ]
        )
        n_repaired = int(np.count_nonzero(held.is_repaired[good]))
        return ParsedBlock(len(readings) + quarantined.num_rows, n_repaired, readings, quarantined)


def settle_all(judge: Judge, held: Sequence[HeldRows], direction: Direction) -> list[ParsedBlock]:
    """All that was held back of a file: rows are resolved over the whole file, and come out as they were taken in."""
    if not held:
        return []
    line = np.concatenate([h.line for h in held])
    _, first, back = np.unique(line, return_index=True, return_inverse=True)
    local = np.concatenate([h.local_us for h in held])[first]
    series = np.concatenate([h.series for h in held])[first]
    is_second = second_pass(local, series, newest_first=direction.is_newest_first)[back]
    ends = np.cumsum([len(h.line) for h in held])
    return [judge.settle(h, is_second=part) for h, part in zip(held, np.split(is_second, ends[:-1]), strict=True)]


def _us(at: datetime) -> int:
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _first_reason(refused: dict[str, Bools | None], n: int) -> NDArray[np.int8]:
    """Position in REASONS of the first that holds, -1 for none."""
    reason = np.full(n, _GOOD, np.int8)
    for position, name in reversed(list(enumerate(REASONS))):
        mask = refused.get(name)
        if mask is not None:
            reason[mask] = position
    return reason


def _column_names(rows: DropRows, found: Delivered, index: Ints) -> pa.Array:
    if found.column is None:
        return pa.nulls(len(index), pa.string())
    return pa.array(rows.names, pa.string()).take(pa.array(found.column[index]))


def _in_order(tables: list[pa.Table]) -> pa.Table:
    table = pa.concat_tables([QUARANTINED_SCHEMA.empty_table(), *tables])
    line = table["line"].to_numpy()
    return table if np.all(line[1:] >= line[:-1]) else table.take(pa.array(np.argsort(line, kind="stable"))).combine_chunks()


def _join(blocks: list[ParsedBlock]) -> ParsedBlock:
    if len(blocks) == 1:
        return blocks[0]
    readings = Readings.join([b.readings for b in blocks])
    if np.any(readings.row[1:] < readings.row[:-1]):
        readings = readings.take(np.argsort(readings.row, kind="stable"))
    return ParsedBlock(
        sum(b.rows_in for b in blocks), sum(b.n_repaired for b in blocks), readings, _in_order([b.quarantined for b in blocks])
    )


def _steps(clocks: list[tuple[Ints, Ints, Ints]]) -> Steps | None:
    if not clocks:
        return None
    line, local, series = (np.concatenate(arrays) for arrays in zip(*clocks, strict=True))
    if np.any(line[1:] < line[:-1]):
        order = np.argsort(line, kind="stable")
        local, series = local[order], series[order]
    return steps_of(local, series)
