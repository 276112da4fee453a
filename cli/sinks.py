"""Where the data explorer's tables go: CSV or Parquet, into a file or down a pipe, or their first rows on a terminal."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cli.errors import CommandError
from ml.intervals import offsets_s

_ROWS_PER_GROUP = 1 << 20
_QUARTER_US = 900_000_000


class Sink(Protocol):
    """Takes tables of one schema, one after the other."""

    def write(self, table: pa.Table) -> None: ...

    def close(self) -> None: ...


class CsvSink:
    """Texts unquoted where the schema's are plain; times as ISO 8601 with microseconds, always, so that every row reads alike."""

    def __init__(self, file: BinaryIO, schema: pa.Schema, *, zone: ZoneInfo, is_plain: bool) -> None:
        from pyarrow import csv

        self._times = [i for i, column in enumerate(schema) if pa.types.is_timestamp(column.type)]
        self._zone = zone
        for i in self._times:
            schema = schema.set(i, pa.field(schema.field(i).name, pa.string()))
        style = "none" if is_plain else "needed"
        self._writer = csv.CSVWriter(file, schema, write_options=csv.WriteOptions(quoting_style=style, quoting_header="none"))

    def write(self, table: pa.Table) -> None:
        for i in self._times:
            table = table.set_column(i, table.column_names[i], time_text(table.column(i), self._zone))
        self._writer.write_table(table)

    def close(self) -> None:
        self._writer.close()


class ParquetSink:
    """Times as instants that are shown in the zone."""

    def __init__(self, file: BinaryIO, schema: pa.Schema, *, zone: ZoneInfo) -> None:
        import pyarrow.parquet as pq

        fields = [column.with_type(pa.timestamp("us", tz=zone.key)) if pa.types.is_timestamp(column.type) else column for column in schema]
        self._schema = pa.schema(fields)
        self._writer = pq.ParquetWriter(file, self._schema, compression="zstd")

    def write(self, table: pa.Table) -> None:
        for batch in table.cast(self._schema).to_batches():
            self._writer.write_batch(batch, _ROWS_PER_GROUP)

    def close(self) -> None:
        self._writer.close()


@dataclass
class FirstRows:
    """The first `limit` rows, and how many there are in all."""

    limit: int
    tables: list[pa.Table] = field(default_factory=list)
    n_rows: int = 0

    def write(self, table: pa.Table) -> None:
        if self.n_rows < self.limit:
            self.tables.append(table.slice(0, self.limit - self.n_rows))
        self.n_rows += table.num_rows

    def close(self) -> None:
        """Nothing is open."""


@contextmanager
def output(path: Path | None) -> Iterator[BinaryIO]:
    """The file, which appears once it is whole, or stdout. Raises CommandError.

    Who reads a pipe may stop whenever he likes: then the program ends, successfully and without a word.
    """
    if path is None:
        try:
            yield sys.stdout.buffer
            sys.stdout.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter flushes it once more as it ends
            sys.exit(0)
        return
    if path.is_dir():
        raise CommandError(f"{path} is a folder; name a file with --out.")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
        temporary.replace(path)
    except OSError as error:
        raise CommandError(f"{path} cannot be written ({error.strerror}); choose another with --out.") from error
    finally:
        temporary.unlink(missing_ok=True)


def time_text(at: pa.ChunkedArray, zone: ZoneInfo) -> pa.Array:
    """ISO 8601 with the zone's offset, Z for UTC; nulls stay."""
    us, is_null = pc.fill_null(at.cast(pa.int64()), 0).to_numpy(), at.is_null().to_numpy()
    if zone.key == "UTC":
        offset, suffix = np.zeros(len(us), np.int64), pa.scalar("Z")
    else:
        quarter, place = np.unique(us // _QUARTER_US, return_inverse=True)
        offsets = offsets_s(quarter * 900, zone)
        offset, suffix = offsets[place] * 1_000_000, pa.array([_suffix(s) for s in offsets.tolist()], pa.string()).take(pa.array(place))
    local = pa.array(us + offset, mask=is_null).cast(pa.timestamp("us")).cast(pa.string())
    return pc.binary_join_element_wise(pc.utf8_replace_slice(local, 10, 11, "T"), suffix, pa.scalar(""))


def _suffix(seconds: int) -> str:
    sign, minutes = ("-" if seconds < 0 else "+"), abs(seconds) // 60
    return f"{sign}{minutes // 60:02}:{minutes % 60:02}"
