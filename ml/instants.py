"""Timestamps as written become UTC instants, or local times that still need their zone; a whole column at a time."""

import re
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ml.clock_changes import EARLIEST_US, LATEST_US, Twice, local_to_utc
from ml.columns import US_PER_S, Bools, Floats, Ints, as_text, numbers, slices

_EPOCH = {"epoch_s": US_PER_S, "epoch_ms": 1_000}
_TO_US = {"s": US_PER_S, "ms": 1_000, "us": 1}

# What Arrow takes, but for dates that the calendar lacks.
_DATE = r"[0-9]{4}-((0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-9])|(0[13-9]|1[0-2])-30|(0[13578]|1[02])-31)"
_CLOCK = r"([01][0-9]|2[0-3])(:[0-5][0-9](:[0-5][0-9](\.[0-9]{1,6})?)?)?"
_OFFSET = r"(Z|[+-]([01][0-9]|2[0-3])(:?[0-5][0-9])?)"
_ISO_NAIVE = rf"^{_DATE}([ T]{_CLOCK})?$"
_ISO_AWARE = rf"^{_DATE}[ T]{_CLOCK}{_OFFSET}$"
_AWARE = re.compile(rf"[ T][0-9].*{_OFFSET}$")
# Patterns whose texts all have one width, so that Arrow reads them as strictly as pandas does.
_FULL_WIDTH = re.compile(r"([^%\w]|[T_]|%[YmdHMS])+", re.ASCII)
_LOCAL_TYPE, _UTC_TYPE = pa.timestamp("us"), pa.timestamp("us", "UTC")


@dataclass(frozen=True)
class Instants:
    """Microseconds since 1970 in UTC, 0 where the row is no instant at all.

    `local` is the local time of the rows written without an offset (`is_local`), in a zone that changes its clocks (None if there are
    none); of those, `is_skipped` marks times that do not exist, and `twice` lists the rows whose time occurs twice: `at_us` then is
    the first.
    """

    at_us: Ints
    is_instant: Bools
    is_skipped: Bools | None = None
    local: Ints | None = None
    is_local: Bools | None = None
    twice: Twice | None = None


def likely_type(text: str, written_as: str) -> pa.DataType:
    """What a column that begins with `text` can probably be read as; anything else in it makes it text."""
    if written_as in _EPOCH:
        return pa.float64()
    if written_as != "iso":
        return pa.string()
    unit = "us" if re.search(r"\.[0-9]{7,}", text) is None else "ns"
    return pa.timestamp(unit, "UTC" if _AWARE.search(text) else None)


def instants(column: pa.ChunkedArray, written_as: str, *, zone: ZoneInfo, decimal: str = ".") -> Instants:
    """`written_as` is the site's timestamp format; a column that already holds timestamps is taken as it is.

    Times without an offset are local times of `zone`; which of two a repeated one means is for `ml.clock_changes`.
    """
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        us, ok, is_local = _from_typed(column)
    elif written_as in _EPOCH:
        us, ok = _from_epoch(column, _EPOCH[written_as], decimal)
        is_local = None
    elif written_as == "iso":
        us, ok, is_local = _from_iso(as_text(column))
    else:
        us, ok, is_local = _from_pattern(as_text(column), written_as)
    if is_local is None or zone.key in ("UTC", "Etc/UTC") or not is_local.any():
        return Instants(*_within_calendar(us, ok))
    us, ok = _within_calendar(us, ok)
    return _of_zone(us, ok, is_local=is_local & ok, zone=zone)


def _within_calendar(us: Ints, ok: Bools) -> tuple[Ints, Bools]:
    if ok.all() and len(us) and us.min() >= EARLIEST_US and us.max() < LATEST_US:
        return us, ok
    ok = ok & (us >= EARLIEST_US) & (us < LATEST_US)
    return np.where(ok, us, 0), ok


def _of_zone(local: Ints, ok: Bools, *, is_local: Bools, zone: ZoneInfo) -> Instants:
    """`local` is in UTC already where not `is_local`."""
    rows = np.flatnonzero(is_local)
    first, is_skipped, again, second = local_to_utc(local[rows], zone)
    at = local.copy()
    at[rows] = first
    skipped = None
    if is_skipped.any():
        skipped = np.zeros(len(at), bool)
        skipped[rows] = is_skipped
        ok = ok & ~skipped
    at, ok = _within_calendar(at, ok)
    return Instants(at, ok, skipped, local, is_local, Twice(rows[again], second) if len(again) else None)


def _whole_us(values: Floats | Ints, factor: int) -> tuple[Ints, Bools]:
    """Values times factor as integers; not ok beyond the years 1 to 9999, where the product could overflow."""
    limit = LATEST_US // factor
    ok = (values > -limit) & (values < limit)
    if not ok.all():
        values = np.where(ok, values, 0)
    if values.dtype.kind == "i":
        return (values if factor == 1 else values * factor).astype(np.int64, copy=False), ok
    return np.rint(values * factor).astype(np.int64), ok


def _ints(column: pa.ChunkedArray | pa.Array) -> Ints:
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


def _from_epoch(column: pa.ChunkedArray, factor: int, decimal: str) -> tuple[Ints, Bools]:
    return _whole_us(_ints(column) if pa.types.is_integer(column.type) else numbers(column, decimal=decimal), factor)


def _from_iso(text: pa.ChunkedArray) -> tuple[Ints, Bools, Bools]:
    us, ok, is_local = np.zeros(len(text), np.int64), np.zeros(len(text), bool), np.zeros(len(text), bool)
    kinds = [_LOCAL_TYPE, _UTC_TYPE]
    for start, part in slices(text):
        rows = slice(start, start + len(part))
        for kind in kinds:
            try:
                us[rows], ok[rows] = _whole_us(_ints(part.cast(kind)), 1)
            except pa.ArrowInvalid:
                continue
            is_local[rows] = kind is _LOCAL_TYPE
            if kind is not kinds[0]:  # the next slice is probably written like this one
                kinds.reverse()
            break
        else:
            us[rows], ok[rows], is_local[rows] = _from_mixed_iso(part)
    return us, ok, is_local


def _from_mixed_iso(text: pa.Array) -> tuple[Ints, Bools, Bools]:
    """More than six decimals are cut: a microsecond is the finest that is stored."""
    text = pc.replace_substring_regex(pc.utf8_trim_whitespace(text), r"(\.[0-9]{6})[0-9]+", r"\1")
    us, ok = np.zeros(len(text), np.int64), np.zeros(len(text), bool)
    is_local, is_aware = (
        pc.fill_null(pc.match_substring_regex(text, pattern), fill_value=False).to_numpy(zero_copy_only=False).copy()
        for pattern in (_ISO_NAIVE, _ISO_AWARE)
    )
    for rows, kind in ((is_aware, _UTC_TYPE), (is_local, _LOCAL_TYPE)):
        if rows.any():
            us[rows], ok[rows] = _cast_well_formed(text.filter(pa.array(rows)), kind)
    return us, ok, is_local


def _cast_well_formed(text: pa.Array, kind: pa.DataType) -> tuple[Ints, Bools]:
    try:
        return _whole_us(_ints(text.cast(kind)), 1)
    except pa.ArrowInvalid:  # a 29 February or a year 0, rare enough for the slower parser
        return _from_pandas(pd.to_datetime(_series(text), format="ISO8601", errors="coerce", utc=True))


def _from_pattern(text: pa.ChunkedArray, pattern: str) -> tuple[Ints, Bools, Bools]:
    has_offset = "%z" in pattern.replace("%%", "").lower()
    text = pc.utf8_trim_whitespace(text).combine_chunks()
    if _FULL_WIDTH.fullmatch(pattern):
        us, ok, is_sure = _by_arrow(text, pattern)
    else:
        us, ok, is_sure = np.zeros(len(text), np.int64), np.zeros(len(text), bool), np.zeros(len(text), bool)
    rest = np.flatnonzero(~is_sure)
    if len(rest):
        us[rest], ok[rest] = _distinct_by_pandas(text.take(pa.array(rest)), pattern, has_offset=has_offset)
    return us, ok, np.full(len(us), not has_offset)


def _by_arrow(text: pa.Array, pattern: str) -> tuple[Ints, Bools, Bools]:
    """Of a pattern of fixed width, 25 times as fast as pandas; and the rows of which this is the last word.

    Those written in full width are, but for the first three days of a month: there a 31 April would end up.
    """
    width = len(pattern) + 2 * pattern.count("%Y")
    is_full = pc.equal(pc.binary_length(text), width)
    is_full = pc.and_(is_full, pc.equal(pc.count_substring(text, " "), pattern.count(" ")))
    parsed = pc.strptime(text, format=pattern, unit="us", error_is_null=True)
    is_early = pc.less_equal(pc.day(parsed), 3)
    is_sure = pc.and_(pc.fill_null(is_full, fill_value=True), pc.invert(pc.fill_null(is_early, fill_value=False)))
    us, ok = _whole_us(_ints(parsed), 1)
    return us.copy(), ok, is_sure.to_numpy(zero_copy_only=False)


def _distinct_by_pandas(text: pa.Array, pattern: str, *, has_offset: bool) -> tuple[Ints, Bools]:
    """Distinct texts only are parsed: sensors of a site mostly report at the same instants."""
    encoded = text.dictionary_encode()
    try:
        parsed = pd.to_datetime(_series(encoded.dictionary), format=pattern, errors="coerce", utc=has_offset)
    except ValueError as error:
        raise ValueError(f"timestamp_format {pattern!r} is no strptime pattern: {error}") from error
    us, ok = _from_pandas(parsed)
    at = pc.fill_null(encoded.indices, len(us)).to_numpy(zero_copy_only=False)
    return np.append(us, 0)[at], np.append(ok, False)[at]


def _series(text: pa.Array) -> "pd.Series[str]":
    return pd.Series(text.to_numpy(zero_copy_only=False), dtype=object)


def _from_pandas(parsed: "pd.Series[pd.Timestamp]") -> tuple[Ints, Bools]:
    ok = parsed.notna().to_numpy().copy()
    naive = parsed.dt.tz_localize(None) if parsed.dt.tz is not None else parsed
    us = naive.astype("datetime64[us]").to_numpy().astype(np.int64)
    return np.where(ok, us, 0), ok
