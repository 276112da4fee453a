"""Long and wide drops become the same thing: one entry per delivered reading, with its sensor, instant and value.

In a long drop a reading is a row; in a wide one it is a cell that is not empty.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ml.columns import Bools, Floats, Ints, as_text, codes, numbers
from ml.drop_rows import DropRows, Wanted
from ml.instants import Instants, instants
from ml.plant import Sensor, Site
from ml.repairs import clamped, in_sensor_units, without_missing
from ml.text_blocks import RAW_LIMIT

UNKNOWN = -1


@dataclass(frozen=True)
class SensorCodes:
    """The site's sensors numbered in the order of their ids, as drops name them."""

    site: Site

    def __post_init__(self) -> None:
        if len(self.by_name) < len(self.sensors):
            names = [(m.name_in_drops if self._has_machines else "", s.name_in_drops) for m in self.site.machines for s in m.sensors]
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(
                f"site {self.site.site}: two sensors go by the name {' '.join(twice).strip()!r} in drops; "
                "give each its own source_name, or name the machine column of wide drops"
            )

    @property
    def _has_machines(self) -> bool:
        return self.site.drops.layout == "wide" and self.site.drops.columns.machine is not None

    @cached_property
    def sensors(self) -> tuple[Sensor, ...]:
        return tuple(sorted(self.site.sensors, key=lambda s: s.sensor_id))

    @cached_property
    def ids(self) -> pa.Array:
        return pa.array([s.sensor_id for s in self.sensors], pa.string())

    @cached_property
    def by_name(self) -> dict[tuple[str, str], int]:
        """(machine's name, or "" without a machine column; sensor's name) -> code."""
        code_of = {s.sensor_id: i for i, s in enumerate(self.sensors)}
        return {
            (m.name_in_drops if self._has_machines else "", s.name_in_drops): code_of[s.sensor_id]
            for m in self.site.machines
            for s in m.sensors
        }

    @cached_property
    def limits(self) -> tuple[Floats, Floats]:
        """Lowest and highest physical value by code, one more entry at the end for the unknown sensor."""
        lows = _by_code([s.physical.low for s in self.sensors], otherwise=-np.inf)
        return lows, _by_code([s.physical.high for s in self.sensors], otherwise=np.inf)

    @cached_property
    def clamp_within(self) -> Floats | None:
        """How far outside a reading may lie to be set on the edge of its band, by code; None where that is asked of no sensor."""
        asked = [s.clamp_within for s in self.sensors]
        return None if all(within is None for within in asked) else _by_code(asked, otherwise=0.0)


def _by_code(values: list[float | None], *, otherwise: float) -> Floats:
    return np.array([*(otherwise if v is None else v for v in values), otherwise])


@dataclass(frozen=True)
class Delivered:
    """One entry per delivered reading; `code` is UNKNOWN and `value` NaN where there is none.

    `row` is the entry's row (all rows in their order if None), `column` the position of its cell's column in a wide drop.
    `instants` and `series`, which numbers what the clock of a row belongs to, have an entry per row. `value` is in the sensor's unit;
    `is_repaired` marks values that were converted to it, or set on the edge of the physical band.
    """

    row: Ints | None
    column: Ints | None
    code: Ints
    instants: Instants
    series: Ints
    value: Floats
    is_wrong_unit: Bools | None
    is_bad_quality: Bools | None
    is_repaired: Bools | None


def wanted_columns(site: Site) -> Wanted:
    """The columns that the site's drops must have."""
    c, is_wide = site.drops.columns, site.drops.layout == "wide"
    marks = [name for name in ((c.machine if is_wide else c.sensor_id), c.quality, c.unit) if name]
    required = (c.timestamp, *marks) if is_wide else (c.timestamp, *marks, c.value)
    claimed = {s.name_in_drops for s in site.sensors} - set(required) if is_wide else set()
    numeric = frozenset(claimed if is_wide else {c.value})
    return Wanted(required=required, repeating=frozenset(marks), numeric=numeric, unique=frozenset(required) | claimed, everything=is_wide)


def delivered(rows: DropRows, sensors: SensorCodes) -> Delivered:
    return _wide(rows, sensors) if sensors.site.drops.layout == "wide" else _long(rows, sensors)


def _long(rows: DropRows, sensors: SensorCodes) -> Delivered:
    drops, c = sensors.site.drops, sensors.site.drops.columns
    code = codes(rows.column(c.sensor_id), lambda name: sensors.by_name.get(("", name), UNKNOWN))
    value, is_wrong_unit, is_repaired = _put_right(numbers(rows.column(c.value), decimal=drops.decimal), code, rows, sensors, row=None)
    return Delivered(
        row=None,
        column=None,
        code=code,
        instants=_instants(rows, sensors.site),
        series=code,
        value=value,
        is_wrong_unit=is_wrong_unit,
        is_bad_quality=_bad_quality(rows, sensors.site),
        is_repaired=is_repaired,
    )


def _wide(rows: DropRows, sensors: SensorCodes) -> Delivered:
    drops, c = sensors.site.drops, sensors.site.drops.columns
    machines = sorted({machine for machine, _ in sensors.by_name})
    if c.machine:
        machine = codes(rows.column(c.machine), lambda name: machines.index(name) if name in machines else UNKNOWN)
    else:
        machine = np.zeros(len(rows.lines), np.int64)
    not_cells = {name for name in (c.timestamp, c.machine, c.quality, c.unit) if name}
    row_parts, value_parts, code_parts, cell_columns = [np.empty(0, np.int64)], [np.empty(0)], [np.empty(0, np.int64)], []
    for i, (name, column) in enumerate(zip(rows.names, rows.columns, strict=True)):
        if name in not_cells:
            continue
        filled = _filled(column)
        column_codes = np.array([sensors.by_name.get((m, name), UNKNOWN) for m in machines] + [UNKNOWN], np.int64)
        row_parts.append(filled)
        value_parts.append(numbers(column, decimal=drops.decimal)[filled])
        code_parts.append(column_codes[machine[filled]])
        cell_columns.append(np.full(len(filled), i))
    row, code = np.concatenate(row_parts), np.concatenate(code_parts)
    bad_quality = _bad_quality(rows, sensors.site)
    value, is_wrong_unit, is_repaired = _put_right(np.concatenate(value_parts), code, rows, sensors, row=row)
    return Delivered(
        row=row,
        column=np.concatenate([np.empty(0, np.int64), *cell_columns]),
        code=code,
        instants=_instants(rows, sensors.site),
        series=machine,
        value=value,
        is_wrong_unit=is_wrong_unit,
        is_bad_quality=None if bad_quality is None else bad_quality[row],
        is_repaired=is_repaired,
    )


def _instants(rows: DropRows, site: Site) -> Instants:
    drops = site.drops
    return instants(rows.column(drops.columns.timestamp), drops.timestamp_format, zone=site.drop_zone, decimal=drops.decimal)


def _put_right(
    value: Floats, code: Ints, rows: DropRows, sensors: SensorCodes, *, row: Ints | None
) -> tuple[Floats, Bools | None, Bools | None]:
    """Values in the sensors' units and within reach of their bands; which are in a wrong unit, and which were put right."""
    drops = sensors.site.drops
    given = rows.column(drops.columns.unit) if drops.columns.unit else None
    value = without_missing(value, drops)
    value, is_wrong_unit, is_converted = in_sensor_units(value, code, sensors=sensors.sensors, given=given, row=row)
    value, is_clamped = clamped(value, code, limits=sensors.limits, within=sensors.clamp_within)
    parts = [part for part in (is_converted, is_clamped) if part is not None]
    return value, is_wrong_unit, np.logical_or.reduce(parts) if parts else None


def _filled(column: pa.ChunkedArray) -> Ints:
    """Rows whose cell is neither null nor blank text."""
    if pa.types.is_string(column.type):
        is_filled = pc.not_equal(pc.utf8_trim_whitespace(column), "")
        return np.flatnonzero(pc.fill_null(is_filled, fill_value=False).to_numpy())
    return np.flatnonzero(pc.is_valid(column).to_numpy())


def _bad_quality(rows: DropRows, site: Site) -> Bools | None:
    name, bad = site.drops.columns.quality, {word.strip() for word in site.drops.bad_quality}
    return None if name is None else codes(rows.column(name), lambda word: int(word in bad)).astype(bool)


def raw_text(rows: DropRows, found: Delivered, *, index: Ints, site: Site) -> pa.Array:
    """What stood in the file, for the entries at `index`: the line of a long text, else `column=value` of the parts that count."""
    row = index if found.row is None else found.row[index]
    if found.column is None and rows.text is not None:
        return rows.text.take(rows.lines[row])
    c = site.drops.columns
    at = pa.array(row)
    names = [c.timestamp, c.machine] if found.column is not None else [c.timestamp, c.sensor_id, c.value, c.quality, c.unit]
    parts = [_named(name, as_text(rows.column(name).take(at))) for name in names if name]
    if found.column is not None:
        parts.append(_cells(rows, row, found.column[index]))
    joined = pc.binary_join_element_wise(*parts, pa.scalar(", "))
    return pc.utf8_slice_codeunits(joined, 0, RAW_LIMIT)


def _named(name: str, texts: pa.ChunkedArray) -> pa.Array:
    return pc.binary_join_element_wise(pa.scalar(name), pc.fill_null(texts, ""), pa.scalar("=")).combine_chunks()


def _cells(rows: DropRows, row: Ints, column: Ints) -> pa.Array:
    order = np.argsort(column, kind="stable")
    parts = [_named(rows.names[i], as_text(rows.columns[i].take(pa.array(row[column == i])))) for i in np.unique(column)]
    back = np.empty(len(order), np.int64)
    back[order] = np.arange(len(order))
    return pa.concat_arrays(parts).take(pa.array(back)) if parts else pa.array([], pa.string())
