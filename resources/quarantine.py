"""Rows in quarantine, and the small file that asks for judging some of them anew.

A release is delivered like any drop: `maintenance quarantine release` writes it into landing/<site>/, intake takes it in,
reads the archived original again and gives the named rows, and no others, a new verdict.
"""

from collections.abc import Collection, Iterator, Sequence
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

RELEASE_SUFFIX = ".release"
MAX_RELEASE_BYTES = 64_000_000  # about 600,000 groups; what is larger is no release of ours
_ROWS_AT_ONCE = 131_072
_PLACE = pa.schema([pa.field("line", pa.int64(), nullable=False), pa.field("column", pa.string())])


class UnreadableRelease(ValueError):
    """The file asks for nothing that could be done; the message says what is wrong with it, and where."""


class Group(BaseModel):
    """Rows of a drop that were refused alike: what one row of `quarantine_counts` counts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    day: date | None = Field(description="UTC day of the timestamp; null where it is not known")
    sensor_id: str | None = Field(description="null where the sensor is not known")
    reason: str = Field(min_length=1)


class Release(BaseModel):
    """Which rows are to be judged anew, who asked for it, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    drop_id: str = Field(pattern=r"^[0-9a-f]{16}$", description="the drop in whose name the rows lie in quarantine")
    groups: tuple[Group, ...] = Field(min_length=1)
    who: str = Field(min_length=1)
    why: str = Field(min_length=1)
    at: AwareDatetime

    def content(self) -> bytes:
        return self.model_dump_json(indent=1).encode() + b"\n"


def release_name(drop_id: str, number: int) -> str:
    """Name of the `number`th release of a drop; the same one written again takes its own place."""
    return f"release-{drop_id}-{number}{RELEASE_SUFFIX}"


def is_release(name: str) -> bool:
    return name.endswith(RELEASE_SUFFIX)


def read_release(source: Path | bytes) -> Release:
    """Raises UnreadableRelease."""
    if isinstance(source, Path):
        if source.stat().st_size > MAX_RELEASE_BYTES:
            raise UnreadableRelease(
                f"a release is at most {MAX_RELEASE_BYTES:,} bytes long; write it with `maintenance quarantine release`"
            )
        source = source.read_bytes()
    try:
        return Release.model_validate_json(source)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UnreadableRelease(
            f"the release cannot be read: {where + ': ' if where else ''}{first['msg']}; write it with `maintenance quarantine release`"
        ) from error


def quarantined_rows(path: Path, groups: Collection[Group], *, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """The rows of these groups as they lie in quarantine, in the order of the file they came from."""
    wanted = {(None if g.day is None else (g.day - date(1970, 1, 1)).days, g.sensor_id, g.reason) for g in groups}
    with pq.ParquetFile(path) as file:
        needed = None if columns is None else list({*columns, "sensor_id", "timestamp", "reason"})
        for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE, columns=needed):
            table = pa.Table.from_batches([batch])
            found = table.filter(pa.array(_is_wanted(table, wanted)))
            yield found if columns is None else found.select(columns)


def select_rows(path: Path, groups: Collection[Group]) -> pa.Table:
    """Places [line, column] of the quarantined rows of these groups; `column` is null but for the cells of wide drops."""
    parts = [_PLACE.empty_table(), *quarantined_rows(path, groups, columns=_PLACE.names)]
    return pa.concat_tables(parts).combine_chunks()


def _is_wanted(table: pa.Table, wanted: Collection[tuple[int | None, str | None, str]]) -> NDArray[np.bool_]:
    """Rows come in few groups: each distinct one is looked up once."""
    day = table["timestamp"].cast(pa.timestamp("us")).cast(pa.date32(), safe=False).cast(pa.int32())
    encoded = [column.combine_chunks().dictionary_encode("encode") for column in (day, table["sensor_id"], table["reason"])]
    key = np.zeros(table.num_rows, np.int64)
    for part in encoded:
        key = key * len(part.dictionary) + part.indices.to_numpy()
    distinct, at = np.unique(key, return_inverse=True)
    names = [part.dictionary.to_pylist() for part in encoded]
    is_wanted = np.zeros(len(distinct), bool)
    for i, number in enumerate(distinct.tolist()):
        rest, reason = divmod(number, len(names[2]))
        days, sensor = divmod(rest, len(names[1]))
        is_wanted[i] = (names[0][days], names[1][sensor], names[2][reason]) in wanted
    result: NDArray[np.bool_] = is_wanted[at]
    return result
