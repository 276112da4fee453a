"""A drop becomes accepted readings and refused rows with their reasons.

Every delivered row ends in exactly one of three places: accepted, superseded by a later row of the same drop, or
quarantined with one reason. A drop is parsed in blocks, so that its size does not matter.
"""

import io
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any, BinaryIO

import pyarrow as pa

from ml.clock_changes import Direction
from ml.formats import BLOCK_BYTES, DropReader, UnreadableDrop, reader_of
from ml.layouts import SensorCodes, wanted_columns
from ml.plant import Site
from ml.row_verdicts import QUARANTINED_SCHEMA, REASONS, TIMESTAMP, HeldRows, Judge, JudgedBlock, ParsedBlock, Readings, Rows, settle_all
from ml.runs import runs_by_day

__all__ = [
    "ACCEPTED_SCHEMA",
    "QUARANTINED_SCHEMA",
    "REASONS",
    "ParsedBlock",
    "ParsedDrop",
    "Readings",
    "Rows",
    "UnreadableDrop",
    "parse_blocks",
    "parse_drop",
]

_THREADS = 2

ACCEPTED_SCHEMA = pa.schema(
    [pa.field(n, t, nullable=False) for n, t in (("sensor_id", pa.string()), ("timestamp", TIMESTAMP), ("value", pa.float64()))]
)


@dataclass(frozen=True)
class ParsedDrop:
    """rows_in == accepted.num_rows + n_duplicate + quarantined.num_rows.

    `accepted` [sensor_id, timestamp, value] is sorted by sensor_id and timestamp, one row per pair; `n_duplicate` rows gave
    way to a later row of the drop with the same pair; of both, `n_repaired` were put right. `quarantined` [line, column, sensor_id,
    timestamp, reason, raw] is sorted by line: the physical line of a text, the first being 1, or the row of a Parquet file. In wide drops
    a row is a filled cell, and `column` names its column.
    """

    rows_in: int
    accepted: pa.Table
    quarantined: pa.Table
    n_duplicate: int
    n_repaired: int


def parse_blocks(
    source: BinaryIO, *, site: Site, received_at: datetime, only: Rows | None = None, block_bytes: int = BLOCK_BYTES
) -> Iterator[ParsedBlock]:
    """A drop in blocks, in the order of the file; rows in an hour that the clocks repeat come at the end.

    `source` gives unpacked bytes, for Parquet it must be able to seek. `only` names the rows that are judged; the others are read
    and forgotten. Raises UnreadableDrop, possibly after some blocks, for a file that is no drop of this site at all; what
    `source.read` raises goes through. No more than five blocks are in memory at any moment.
    """
    if received_at.tzinfo is None:
        raise ValueError("received_at must carry a time zone; pass it in UTC")
    sensors = SensorCodes(site)
    reader, judge = reader_of(site.drops, wanted_columns(site)), Judge(sensors, received_at=received_at, only=only)
    direction, held = Direction(), list[HeldRows]()
    for judged in _in_threads(reader, judge, source, block_bytes=block_bytes):
        if judged.steps is not None:
            direction.add(judged.steps)
        held.extend(judged.held)
        yield judged.block
    reader.end()
    yield from settle_all(judge, held, direction)


def _in_threads(reader: DropReader, judge: Judge, source: BinaryIO, *, block_bytes: int) -> Iterator[JudgedBlock]:
    """Two threads judge while this one reads; a drop of one block needs none."""

    def judged(block: Any) -> JudgedBlock:
        return judge.judge(reader.rows(block))

    blocks = reader.blocks(source, block_bytes=block_bytes)
    first, second = next(blocks, None), next(blocks, None)
    if second is None:
        if first is not None:
            yield judged(first)
        return
    ahead: deque[Future[JudgedBlock]] = deque()
    with ThreadPoolExecutor(_THREADS, "parse") as pool:
        try:
            ahead.extend(pool.submit(judged, block) for block in (first, second))
            del first, second
            for block in blocks:
                ahead.append(pool.submit(judged, block))
                if len(ahead) > _THREADS:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()


def parse_drop(data: bytes | BinaryIO, *, site: Site, received_at: datetime, block_bytes: int = BLOCK_BYTES) -> ParsedDrop:
    """A drop that fits into memory. Raises UnreadableDrop for a file that is no drop of this site; single bad rows are quarantined."""
    source = io.BytesIO(data) if isinstance(data, bytes) else data
    blocks = list(parse_blocks(source, site=site, received_at=received_at, block_bytes=block_bytes))
    days = list(runs_by_day(Readings.join([b.readings for b in blocks])))
    tables = [run.table(day, SensorCodes(site).ids).cast(ACCEPTED_SCHEMA) for day, run, _ in days]
    accepted = pa.concat_tables([ACCEPTED_SCHEMA.empty_table(), *tables])
    quarantined = pa.concat_tables([QUARANTINED_SCHEMA.empty_table(), *(b.quarantined for b in blocks)])
    return ParsedDrop(
        rows_in=sum(b.rows_in for b in blocks),
        accepted=accepted.sort_by([("sensor_id", "ascending"), ("timestamp", "ascending")]) if len(days) > 1 else accepted,
        quarantined=quarantined.sort_by("line") if len(blocks) > 1 else quarantined,
        n_duplicate=sum(n for _, _, n in days),
        n_repaired=sum(b.n_repaired for b in blocks),
    )
