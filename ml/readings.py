"""A drop becomes accepted readings and refused rows with their reasons; segments of many drops become one table.

Every delivered row ends in exactly one of three places: accepted, superseded by a later row of the same drop, or
quarantined with one reason.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ml.columns import US_PER_DAY, Bools, Floats, Ints
from ml.formats import DropRows, UnreadableDrop, read_rows
from ml.layouts import UNKNOWN, Delivered, SensorCodes, delivered, raw_text, wanted_columns
from ml.plant import Site

__all__ = ["REASONS", "MergedReadings", "ParsedDrop", "UnreadableDrop", "merge_readings", "parse_drop", "split_by_day"]

# In order of precedence: a row for which several are true is refused for the first one.
REASONS = (
    "malformed_row",
    "bad_timestamp",
    "unknown_sensor",
    "not_a_number",
    "wrong_unit",
    "bad_quality",
    "out_of_physical_range",
    "in_the_future",
    "before_first_day",
)

_TIMESTAMP = pa.timestamp("us", tz="UTC")
ACCEPTED_SCHEMA = pa.schema(
    [pa.field(n, t, nullable=False) for n, t in (("sensor_id", pa.string()), ("timestamp", _TIMESTAMP), ("value", pa.float64()))]
)
READINGS_SCHEMA = ACCEPTED_SCHEMA.append(pa.field("drop_seq", pa.int32(), nullable=False))
QUARANTINED_SCHEMA = pa.schema(
    [
        pa.field("line", pa.int64(), nullable=False),
        pa.field("sensor_id", pa.string()),
        pa.field("timestamp", _TIMESTAMP),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("raw", pa.string(), nullable=False),
    ]
)


@dataclass(frozen=True)
class ParsedDrop:
    """rows_in == accepted.num_rows + n_duplicate + quarantined.num_rows.

    `accepted` [sensor_id, timestamp, value] is sorted by sensor_id and timestamp, one row per pair; `n_duplicate` rows gave
    way to a later row of the drop with the same pair. `quarantined` [line, sensor_id, timestamp, reason, raw] is sorted by
    line: the physical line of a text, the first being 1, or the row of a Parquet file. In wide drops a row is a filled cell.
    """

    rows_in: int
    accepted: pa.Table
    quarantined: pa.Table
    n_duplicate: int


@dataclass(frozen=True)
class MergedReadings:
    """`n_new` rows had no earlier value, `n_replaced` rows took the place of a stored one from an earlier drop."""

    table: pa.Table
    n_new: int
    n_replaced: int


def parse_drop(data: pa.Buffer | bytes, *, site: Site, received_at: datetime) -> ParsedDrop:
    """Raises UnreadableDrop for a file that is no drop of this site at all; single bad rows are quarantined."""
    if received_at.tzinfo is None:
        raise ValueError("received_at must carry a time zone; pass it in UTC")
    sensors = SensorCodes(site)
    rows = read_rows(data, site.drops, wanted=wanted_columns(site))
    found = delivered(rows, sensors)
    reason = _verdicts(found, sensors, received_at=received_at)
    good = np.flatnonzero(reason < 0)
    code, at, value = found.code, found.at_us, found.value
    if len(good) < len(reason):
        code, at, value = code[good], at[good], value[good]
    accepted = _latest_in_drop(code, at, value, ids=sensors.ids)
    return ParsedDrop(
        rows_in=len(reason) + len(rows.malformed),
        accepted=accepted,
        quarantined=_quarantined(rows, found, reason=reason, sensors=sensors),
        n_duplicate=len(good) - accepted.num_rows,
    )


def _verdicts(found: Delivered, sensors: SensorCodes, *, received_at: datetime) -> NDArray[np.int8]:
    """Position in REASONS, -1 for a good reading."""
    low, high = sensors.limits
    latest = received_at.astimezone(UTC) + timedelta(seconds=sensors.site.drops.clock_tolerance_s)
    first_us = (sensors.site.first_day - date(1970, 1, 1)).days * US_PER_DAY
    refused: dict[str, Bools | None] = {
        "bad_timestamp": ~found.is_instant,
        "unknown_sensor": found.code == UNKNOWN,
        "not_a_number": np.isnan(found.value),
        "wrong_unit": found.is_wrong_unit,
        "bad_quality": found.is_bad_quality,
        "out_of_physical_range": (found.value < low[found.code]) | (found.value > high[found.code]),
        "in_the_future": found.at_us > _us(latest),
        "before_first_day": found.at_us < first_us,
    }
    reason = np.full(len(found.code), -1, np.int8)
    for position, name in reversed(list(enumerate(REASONS))):
        mask = refused.get(name)
        if mask is not None:
            reason[mask] = position
    return reason


def _us(at: datetime) -> int:
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _latest_in_drop(code: Ints, at: Ints, value: Floats, *, ids: pa.Array) -> pa.Table:
    order = sorted_order(code, at)
    if order is not None:
        code, at, value = code[order], at[order], value[order]
    superseded = (code[1:] == code[:-1]) & (at[1:] == at[:-1])
    if superseded.any():
        kept = np.flatnonzero(~np.append(superseded, False))
        code, at, value = code[kept], at[kept], value[kept]
    return pa.table([ids.take(pa.array(code)), pa.array(at).cast(_TIMESTAMP), pa.array(value)], schema=ACCEPTED_SCHEMA)


def _quarantined(rows: DropRows, found: Delivered, *, reason: NDArray[np.int8], sensors: SensorCodes) -> pa.Table:
    bad, malformed = np.flatnonzero(reason >= 0), rows.malformed
    if not len(bad) and not len(malformed):
        return QUARANTINED_SCHEMA.empty_table()
    columns = [
        pa.array(rows.lines[found.row[bad]]),
        sensors.ids.take(pa.array(found.code[bad], mask=found.code[bad] == UNKNOWN)),
        pa.array(found.at_us[bad], mask=~found.is_instant[bad]).cast(_TIMESTAMP),
        pa.array(REASONS).take(pa.array(reason[bad])),
        raw_text(rows, found, index=bad, site=sensors.site) if len(bad) else pa.array([], pa.string()),
    ]
    table = pa.table(columns, schema=QUARANTINED_SCHEMA)
    if len(malformed) and rows.text is not None:
        n = len(malformed)
        texts = [
            pa.array(malformed),
            pa.nulls(n, pa.string()),
            pa.nulls(n, _TIMESTAMP),
            pa.array([REASONS[0]] * n),
            rows.text.take(malformed),
        ]
        table = pa.concat_tables([table, pa.table(texts, schema=QUARANTINED_SCHEMA)])
    line = table["line"].to_numpy()
    return table if np.all(line[1:] >= line[:-1]) else table.take(pa.array(np.argsort(line, kind="stable"))).combine_chunks()


def sorted_order(code: NDArray[np.integer], at: Ints) -> Ints | None:
    """The stable order by (code, at), None if they are in it already; codes are small and not negative.

    Both become one integer where they fit. Drops mostly come in the order of time, so sorting by code alone, which is a
    radix sort of 16-bit numbers (7 ms per million), mostly suffices.
    """
    if len(at) < 2:
        return None
    start = int(at.min())
    bits = (int(at.max()) - start).bit_length()
    n_codes = int(code.max()) + 1
    if bits + n_codes.bit_length() > 62:
        return np.lexsort((at, code))
    key = (code.astype(np.int64) << bits) | (at - start)
    if np.all(key[1:] >= key[:-1]):
        return None
    order = np.argsort(code.astype(np.int16) if n_codes < 2**15 else code, kind="stable")
    by_code = key[order]
    return order if np.all(by_code[1:] >= by_code[:-1]) else np.argsort(key, kind="stable")


def split_by_day(accepted: pa.Table) -> Iterator[tuple[date, pa.Table]]:
    """The rows of each UTC day, days ascending, the order within a day kept."""
    day = accepted["timestamp"].cast(pa.int64()).to_numpy() // US_PER_DAY
    if not len(day):
        return
    first = int(day.min())
    if first == int(day.max()):
        yield date(1970, 1, 1) + timedelta(days=first), accepted
        return
    since = day - first
    order = np.argsort(since.astype(np.int16) if since.max() < 2**15 else since, kind="stable")
    table = accepted.take(pa.array(order))
    starts = np.flatnonzero(np.diff(since[order], prepend=-1))
    for start, end in zip(starts, [*starts[1:], len(order)], strict=True):
        yield date(1970, 1, 1) + timedelta(days=int(day[order[start]])), table.slice(start, end - start)


def merge_readings(existing: pa.Table | None, segments: Sequence[tuple[int, pa.Table]]) -> MergedReadings:
    """One row per (sensor_id, timestamp), that of the highest drop_seq; sorted, with the schema of `sensor_readings`.

    The result does not depend on the order of the segments, nor on which of them were merged before. Should one drop_seq
    bring two values for a key, which no parsed drop does, the higher value stands.
    """
    stored = [] if existing is None else [existing.select(READINGS_SCHEMA.names)]
    new = [
        table.select(ACCEPTED_SCHEMA.names).append_column("drop_seq", pa.repeat(pa.scalar(seq, pa.int32()), table.num_rows))
        for seq, table in segments
    ]
    table = pa.concat_tables([READINGS_SCHEMA.empty_table(), *(t.cast(READINGS_SCHEMA) for t in (*stored, *new))]).combine_chunks()
    n_stored = sum(t.num_rows for t in stored)
    code, at = _ranks(table["sensor_id"]), table["timestamp"].cast(pa.int64()).to_numpy()
    order = sorted_order(code, at)
    if order is not None:
        code, at = code[order], at[order]
    is_first = np.ones(len(at), bool)
    is_first[1:] = (code[1:] != code[:-1]) | (at[1:] != at[:-1])
    starts = np.flatnonzero(is_first)
    position = np.arange(len(at)) if order is None else order
    was_stored = np.logical_or.reduceat(position < n_stored, starts) if len(starts) else np.empty(0, bool)
    kept = position
    if len(starts) < len(at):
        kept = position[_winners(table, position, starts=starts)]
    if order is not None or len(kept) < len(at):
        table = table.take(pa.array(kept))
    n_new = int(np.count_nonzero(~was_stored))
    return MergedReadings(table=table, n_new=n_new, n_replaced=int(np.count_nonzero(kept >= n_stored)) - n_new)


def _ranks(names: pa.ChunkedArray) -> Ints:
    """Each row's place among the distinct names in ascending order."""
    encoded = names.combine_chunks().dictionary_encode()
    rank = np.empty(len(encoded.dictionary), np.int64)
    rank[pc.sort_indices(encoded.dictionary).to_numpy()] = np.arange(len(rank))
    ranks: Ints = rank[encoded.indices.to_numpy()]
    return ranks


def _winners(table: pa.Table, position: Ints, *, starts: Ints) -> Ints:
    """Of each group of rows, beginning at `starts`, the one with the highest drop_seq (then value, then the one stored first)."""
    seq, value = table["drop_seq"].to_numpy()[position], table["value"].to_numpy()[position]
    group = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(position)))
    value = np.where(seq == np.maximum.reduceat(seq, starts)[group], value, -np.inf)
    candidates = np.flatnonzero(value == np.maximum.reduceat(value, starts)[group])
    return candidates[np.flatnonzero(np.diff(group[candidates], prepend=-1))]
