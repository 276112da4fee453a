"""Columns as written become numbers, codes and UTC instants, a whole column at a time.

Each function first tries the whole column in one cast; only when that fails are the rows looked at by pattern,
so that one bad row among millions costs a second pass and not a loop.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

US_PER_S = 1_000_000
US_PER_DAY = 86_400 * US_PER_S
EARLIEST_US = -62_135_596_800 * US_PER_S  # 0001-01-01
LATEST_US = 253_402_300_800 * US_PER_S  # 10000-01-01
_EPOCH = {"epoch_s": US_PER_S, "epoch_ms": 1_000}
_TO_US = {"s": US_PER_S, "ms": 1_000, "us": 1}

_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_DATE = r"[0-9]{4}-((0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-9])|(0[13-9]|1[0-2])-30|(0[13578]|1[02])-31)"
_CLOCK = r"([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,6})?)?"
_OFFSET = r"(Z|[+-]([01][0-9]|2[0-3])(:?[0-5][0-9])?)"
_ISO_NAIVE = rf"^{_DATE}([ T]{_CLOCK})?$"
_ISO_AWARE = rf"^{_DATE}[ T]{_CLOCK}{_OFFSET}$"
# Offsets from UTC have changed on whole quarters of an hour, local time, everywhere since 1972.
_OFFSET_STEP_US = 900 * US_PER_S


def as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column as strings; what Arrow cannot cast is written as Python writes it."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_string(column.type):
        return column
    try:
        return column.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return pa.chunked_array([pa.array([None if x is None else str(x) for x in column.to_pylist()], pa.string())])


def numbers(column: pa.ChunkedArray) -> Floats:
    """Finite decimal numbers; NaN for all else (empty, text, NaN, infinite, true and false)."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    if pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind):
        cast = column.cast(pa.float64(), safe=False)
    elif pa.types.is_boolean(kind):
        return np.full(len(column), np.nan)
    else:
        text = as_text(column)
        try:
            cast = text.cast(pa.float64())
        except pa.ArrowInvalid:
            text = pc.utf8_trim_whitespace(text)
            cast = pc.if_else(pc.match_substring_regex(text, _NUMBER), text, pa.scalar(None, pa.string())).cast(pa.float64())
    values: Floats = cast.to_numpy()
    finite = np.isfinite(values)
    return values if finite.all() else np.where(finite, values, np.nan)


def codes(column: pa.ChunkedArray, code_of: Callable[[str], int]) -> Ints:
    """`code_of(text without surrounding blanks)` for every row; called once per distinct text, with "" for null."""
    if not pa.types.is_dictionary(column.type):
        column = as_text(column).dictionary_encode()
    null = code_of("")
    parts = [np.empty(0, np.int64)]
    for chunk in column.chunks:
        table = np.array([null if name is None else code_of(str(name).strip()) for name in chunk.dictionary.to_pylist()] + [null], np.int64)
        parts.append(table[pc.fill_null(chunk.indices, len(table) - 1).to_numpy(zero_copy_only=False)])
    return np.concatenate(parts)


def instants(column: pa.ChunkedArray, written_as: str, *, zone: ZoneInfo, series: Ints) -> tuple[Ints, Bools]:
    """Microseconds since 1970 in UTC, and which rows are an instant at all (the others read 0).

    `written_as` is the site's timestamp format; a column that already holds timestamps is taken as it is. Times without
    an offset are local times of `zone`; `series` numbers the row's series, for the hour that a change of clocks repeats:

    - a local time that the clocks skipped is no instant;
    - a local time that occurs twice is the first one (summer time) until, within its series and in the order of the file,
      local time steps back; from there on it is the second one (standard time). A series with nothing but one and the same
      local time in that hour (an hourly sensor) takes its first row as first, the others as second. A file written newest
      first is read from its end. A drop that begins within the second pass cannot be told from the first one, and is
      taken for it: send such data with an offset.
    """
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        us, ok, is_local = _from_typed(column)
    elif written_as in _EPOCH:
        us, ok = _from_epoch(column, _EPOCH[written_as])
        is_local = np.zeros(len(us), bool)
    elif written_as == "iso":
        us, ok, is_local = _from_iso(as_text(column))
    else:
        us, ok, is_local = _from_pattern(as_text(column), written_as)
    is_local &= ok
    if is_local.any() and zone.key not in ("UTC", "Etc/UTC"):
        rows = slice(None) if is_local.all() else np.flatnonzero(is_local)
        us[rows], ok[rows] = _local_to_utc(us[rows], zone, series=series[rows])
    ok &= (us >= EARLIEST_US) & (us < LATEST_US)
    return np.where(ok, us, 0), ok


def _whole_us(values: Floats | Ints, factor: int) -> tuple[Ints, Bools]:
    """Values times factor as integers; not ok beyond the years 1 to 9999, where the product could overflow."""
    limit = LATEST_US // factor
    ok = (values > -limit) & (values < limit)
    values = np.where(ok, values, 0)
    return (values * factor if values.dtype.kind == "i" else np.rint(values * factor)).astype(np.int64), ok


def _ints(column: pa.ChunkedArray) -> Ints:
    values: Ints = pc.fill_null(column.cast(pa.int64()), np.iinfo(np.int64).max).to_numpy()
    return values


def _from_typed(column: pa.ChunkedArray) -> tuple[Ints, Bools, Bools]:
    if pa.types.is_date(column.type):
        column = column.cast(pa.timestamp("ms"))
    is_local = np.full(len(column), column.type.tz is None)
    if column.type.unit == "ns":
        raw = _ints(column)
        return raw // 1_000, raw != np.iinfo(np.int64).max, is_local
    us, ok = _whole_us(_ints(column), _TO_US[column.type.unit])
    return us, ok, is_local


def _from_epoch(column: pa.ChunkedArray, factor: int) -> tuple[Ints, Bools]:
    if not pa.types.is_floating(column.type):
        try:
            return _whole_us(_ints(column), factor)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            pass  # fractions, or text that is no number: one by one below
    return _whole_us(numbers(column), factor)


def _from_iso(text: pa.ChunkedArray) -> tuple[Ints, Bools, Bools]:
    for kind in (pa.timestamp("us", "UTC"), pa.timestamp("us")):
        try:
            us, ok = _whole_us(_ints(text.cast(kind)), 1)
        except pa.ArrowInvalid:
            continue
        return us, ok, np.full(len(us), kind.tz is None)
    # More than six decimals are cut: a microsecond is the finest that is stored.
    text = pc.replace_substring_regex(pc.utf8_trim_whitespace(text), r"(\.[0-9]{6})[0-9]+", r"\1")
    us, ok = np.zeros(len(text), np.int64), np.zeros(len(text), bool)
    is_local = pc.fill_null(pc.match_substring_regex(text, _ISO_NAIVE), fill_value=False).to_numpy().copy()
    is_aware = pc.fill_null(pc.match_substring_regex(text, _ISO_AWARE), fill_value=False).to_numpy()
    for rows, kind in ((is_aware, pa.timestamp("us", "UTC")), (is_local, pa.timestamp("us"))):
        if rows.any():
            us[rows], ok[rows] = _cast_well_formed(text.filter(pa.array(rows)), kind)
    return us, ok, is_local


def _cast_well_formed(text: pa.ChunkedArray, kind: pa.DataType) -> tuple[Ints, Bools]:
    try:
        return _whole_us(_ints(text.cast(kind)), 1)
    except pa.ArrowInvalid:  # a 29 February or a year 0, rare enough for the slower parser
        return _from_pandas(pd.to_datetime(_series(text), format="ISO8601", errors="coerce", utc=True))


def _from_pattern(text: pa.ChunkedArray, pattern: str) -> tuple[Ints, Bools, Bools]:
    """Distinct texts only are parsed: sensors of a site mostly report at the same instants."""
    has_offset = "%z" in pattern.replace("%%", "").lower()
    encoded = pc.utf8_trim_whitespace(text).combine_chunks().dictionary_encode()
    try:
        parsed = pd.to_datetime(_series(encoded.dictionary), format=pattern, errors="coerce", utc=has_offset)
    except ValueError as error:
        raise ValueError(f"timestamp_format {pattern!r} is no strptime pattern: {error}") from error
    us, ok = _from_pandas(parsed)
    at = pc.fill_null(encoded.indices, len(us)).to_numpy(zero_copy_only=False)
    us, ok = np.append(us, 0)[at], np.append(ok, False)[at]
    return us, ok, np.full(len(us), not has_offset)


def _series(text: pa.ChunkedArray | pa.Array) -> "pd.Series[str]":
    return pd.Series(text.to_numpy(zero_copy_only=False) if isinstance(text, pa.Array) else text.to_numpy(), dtype=object)


def _from_pandas(parsed: "pd.Series[pd.Timestamp]") -> tuple[Ints, Bools]:
    ok = parsed.notna().to_numpy().copy()
    naive = parsed.dt.tz_localize(None) if parsed.dt.tz is not None else parsed
    us = naive.astype("datetime64[us]").to_numpy().astype(np.int64)
    return np.where(ok, us, 0), ok


def _local_to_utc(local: Ints, zone: ZoneInfo, *, series: Ints) -> tuple[Ints, Bools]:
    """Python's own time zone data, asked once per quarter of an hour that occurs: needs no data of the operating system."""
    quarters = pa.array(local // _OFFSET_STEP_US).dictionary_encode()
    first, second = (np.array([_offset_us(q, zone, fold=fold) for q in quarters.dictionary.to_pylist()], np.int64) for fold in (0, 1))
    at = quarters.indices.to_numpy()
    utc = local - first[at]
    ok = (first >= second)[at]
    twice = np.flatnonzero((first > second)[at])
    if len(twice):
        newest_first = _is_newest_first(local, series)
        again = twice[_second_pass(local[twice], series[twice], newest_first=newest_first)]
        utc[again] = local[again] - second[at[again]]
    return utc, ok


def _offset_us(quarter: int, zone: ZoneInfo, *, fold: int) -> int:
    us = quarter * _OFFSET_STEP_US
    if not EARLIEST_US <= us < LATEST_US:
        return 0
    offset = (datetime(1970, 1, 1, tzinfo=zone, fold=fold) + timedelta(microseconds=us)).replace(fold=fold).utcoffset()
    return 0 if offset is None else round(offset.total_seconds()) * US_PER_S


def _is_newest_first(local: Ints, series: Ints) -> bool:
    order = np.argsort(series, kind="stable")
    step = np.diff(local[order])[np.diff(series[order]) == 0]
    return bool(np.count_nonzero(step < 0) > np.count_nonzero(step > 0))


def _second_pass(local: Ints, series: Ints, *, newest_first: bool) -> Bools:
    """Which of the rows in a repeated hour belong to its second occurrence; see `instants`."""
    if newest_first:
        return _second_pass(local[::-1], series[::-1], newest_first=False)[::-1]
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
