"""Stored readings of some sensors over a stretch of time, straight from the lake's files: no database, no Dagster.

A file is read row group by row group, and only those whose statistics allow for a wanted reading; what is in memory is one batch.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from resources.home import table_file

READINGS_SCHEMA = pa.schema([("sensor_id", pa.string()), ("timestamp", pa.timestamp("us", tz="UTC")), ("value", pa.float64())])
_ROWS_AT_ONCE = 131_072


class UnreadableFile(Exception):
    """A file of the lake is broken; the message names it and says what to do."""


@dataclass(frozen=True)
class Stretch:
    """From `start` on and before `end`, both aware."""

    start: datetime
    end: datetime


def days_of(lake: Path, *, site: str) -> list[date]:
    """The days of which readings are stored, ascending."""
    return sorted(date.fromisoformat(path.parent.parent.name[4:]) for path in lake.glob(f"sensor_readings/day=*/site={site}/data.parquet"))


def readings(lake: Path, sensor_ids: Sequence[str], stretch: Stretch, *, site: str, day: date) -> Iterator[pa.Table]:
    """The site-day's readings [sensor_id, timestamp, value] of these sensors (ids ascending), by sensor, then time.

    Nothing where nothing is stored. Raises UnreadableFile.
    """
    path = table_file(lake, "sensor_readings", site=site, day=day)
    if not path.exists():
        return
    try:
        with pq.ParquetFile(path, read_dictionary=["sensor_id"]) as file:
            groups = [i for i in range(file.num_row_groups) if _may_hold(file.metadata.row_group(i), sensor_ids, stretch)]
            for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE, row_groups=groups, columns=READINGS_SCHEMA.names):
                found = _wanted(batch, sensor_ids, stretch)
                if found.num_rows:
                    yield found
    except (pa.ArrowInvalid, OSError) as error:
        why = " ".join(str(error).split())
        raise UnreadableFile(
            f"{path} cannot be read ({why}). If it is broken, delete it and process {site} {day} again: it is made from the segments."
        ) from error


def _may_hold(group: pq.RowGroupMetaData, sensor_ids: Sequence[str], stretch: Stretch) -> bool:
    for i in range(group.num_columns):
        column = group.column(i)
        if not column.is_stats_set or not column.statistics.has_min_max:
            continue
        low, high = column.statistics.min, column.statistics.max
        if column.path_in_schema == "sensor_id":
            nearest = bisect_left(sensor_ids, low)
            if nearest == len(sensor_ids) or sensor_ids[nearest] > high:
                return False
        elif column.path_in_schema == "timestamp" and (high < stretch.start or low >= stretch.end):
            return False
    return True


def _wanted(batch: pa.RecordBatch, sensor_ids: Sequence[str], stretch: Stretch) -> pa.Table:
    """Sensors are looked up once per distinct id, not per row."""
    table = pa.Table.from_batches([batch])
    encoded = batch.column("sensor_id")
    is_wanted = pc.is_in(encoded.dictionary, pa.array(sensor_ids, pa.string()))
    if not pc.all(is_wanted).as_py():
        table = table.filter(is_wanted.take(encoded.indices))
    at = table["timestamp"]
    if table.num_rows and (pc.min(at).as_py() < stretch.start or pc.max(at).as_py() >= stretch.end):
        start, end = (pa.scalar(t, at.type) for t in (stretch.start, stretch.end))
        table = table.filter(pc.and_(pc.greater_equal(at, start), pc.less(at, end)))
    return table.cast(READINGS_SCHEMA)
