"""The bytes of a drop become blocks of named columns, and every row keeps its place in the file.

Nothing is judged here beyond form: rows with the wrong number of fields are set apart with their text. What a column
means, and whether its content is any good, is for `ml.layouts` and `ml.readings`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ml.csv_rows import CsvReader
from ml.drop_format import DropFormat
from ml.drop_rows import DropRows, Wanted
from ml.json_rows import JsonReader
from ml.text_blocks import BLOCK_BYTES, UnreadableDrop

__all__ = ["BLOCK_BYTES", "DropReader", "DropRows", "UnreadableDrop", "Wanted", "reader_of"]


class DropReader(Protocol):
    """Blocks are taken one after the other, their rows may be read in any thread; `end` comes after the last block's rows.

    All three raise UnreadableDrop.
    """

    def blocks(self, source: BinaryIO, *, block_bytes: int) -> Iterator[Any]: ...

    def rows(self, block: Any) -> list[DropRows]: ...

    def end(self) -> None: ...


def reader_of(drop_format: DropFormat, wanted: Wanted) -> DropReader:
    if drop_format.kind == "parquet":
        return ParquetReader(wanted)
    return CsvReader(drop_format, wanted) if drop_format.kind == "csv" else JsonReader(drop_format, wanted)


@dataclass
class ParquetReader:
    """Batches of rows; a column whose name begins like another's is not taken for it."""

    wanted: Wanted
    names: list[str] = field(default_factory=list)

    def blocks(self, source: BinaryIO, *, block_bytes: int) -> Iterator[tuple[int, pa.Table]]:
        try:
            size = source.seek(0, 2)
            source.seek(0)
            if not size:
                raise UnreadableDrop("the file is empty (0 bytes); deliver it again")
            file = pq.ParquetFile(source, page_checksum_verification=True)
            found = file.schema_arrow.names
            self.names = sorted({found[i] for i in self.wanted.select(found)})
            first = 1
            rows_at_once = max(1, block_bytes // (16 * max(1, len(self.names))))
            for batch in file.iter_batches(batch_size=rows_at_once, columns=self.names, use_threads=False):
                yield first, pa.table(batch)
                first += batch.num_rows
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise UnreadableDrop("the file is no readable Parquet (cut off or damaged); deliver it again") from error

    def rows(self, block: tuple[int, pa.Table]) -> list[DropRows]:
        first, table = block
        try:
            table.validate(full=True)
        except (pa.ArrowException, UnicodeDecodeError) as error:
            raise UnreadableDrop("the file is no readable Parquet (cut off or damaged); deliver it again") from error
        lines = np.arange(first, first + table.num_rows)
        return [DropRows(tuple(table.column_names), tuple(table.columns), lines, np.empty(0, np.int64), None)]

    def end(self) -> None:
        """Nothing is left to say at the end of the file."""
