"""Blocks of CSV lines become columns; each physical line stands alone, so a stray quote spoils its own line and no other.

Arrow reads a block at once, numbers and timestamps included. A column in which it meets anything else is read as text from there on,
and lines that it cannot tell apart, because a quote is left open, are set aside and read one by one.
"""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from ml.columns import Ints, is_number
from ml.drop_format import DropFormat
from ml.drop_rows import DropRows, Wanted
from ml.instants import likely_type
from ml.text_blocks import Lines, UnreadableDrop, demand_utf8, odd_lines, text_blocks

_NAMES_A_COLUMN = re.compile(r"In CSV column #([0-9]+)")
_REPEATING = pa.dictionary(pa.int32(), pa.string())
_STAND_INS = ("\x1f", "\x1e", "\x1d", "\x1c", "\x01")  # for a delimiter that is no ASCII character, which Arrow does not take


@dataclass
class CsvReader:
    """Reads the header when the first blocks are taken; `rows` may then be called in any thread.

    `_texts` holds the columns that turned out to hold more than numbers or timestamps: which block says so first makes no difference to
    what is read, only to how fast.
    """

    drop_format: DropFormat
    wanted: Wanted
    names: tuple[str, ...] = ()
    positions: list[int] = field(default_factory=list)
    _texts: set[int] = field(default_factory=set)

    def blocks(self, source: BinaryIO, *, block_bytes: int) -> Iterator[Lines]:
        for lines in text_blocks(source, encoding=self.drop_format.encoding, block_bytes=block_bytes):
            body = lines if self.names else self._after_header(lines)
            if body is not None and body.data:
                yield body
        if not self.names:
            raise UnreadableDrop("the file holds blank lines only; the first line must name the columns")

    def _after_header(self, lines: Lines) -> Lines | None:
        demand_utf8(lines)
        start, number = 0, lines.first
        while start < len(lines.data):
            end = lines.data.find(b"\n", start)
            end = len(lines.data) if end < 0 else end
            header = lines.data[start:end].decode()
            start = end + 1
            if header.strip():
                fields = self._fields(header)
                if fields is None:
                    raise UnreadableDrop(f"line {number} must name the columns, but its quotes are not closed")
                self.names = tuple(name.strip() for name in fields)
                self.positions = self.wanted.select(self.names)
                return Lines(lines.data[start:], number + 1)
            number += 1
        return None

    def rows(self, lines: Lines) -> list[DropRows]:
        """One part, or two where lines had to be set aside."""
        demand_utf8(lines)
        everything = self._by_arrow(lines)
        if everything is not None:
            return [self._numbered(lines, everything, np.arange(lines.first, lines.first + lines.count))]
        odd = odd_lines(lines, self._is_even)
        parts = [self._line_by_line(lines, odd)]
        others = np.delete(np.arange(lines.count), odd)
        if len(others):
            read = self._by_arrow(Lines(lines.without(odd), 1))
            parts.append(self._line_by_line(lines, others) if read is None else self._numbered(lines, read, others + lines.first))
        return parts

    def end(self) -> None:
        """Nothing is left to say at the end of the file."""

    def _fields(self, line: str) -> list[str] | None:
        """The fields of one line on its own, or None if its quotes do not close; quotes within a field are taken as Arrow takes them."""
        delimiter, quote = self.drop_format.delimiter, self.drop_format.quote
        if quote is None or quote not in line:
            return line.split(delimiter)
        reader = csv.reader([line, ""], delimiter=delimiter, quotechar=quote)
        try:
            fields = next(reader)
        except csv.Error:
            return None
        return fields if reader.line_num == 1 else None

    def _line_by_line(self, lines: Lines, index: Ints) -> DropRows:
        """The lines at `index`, counted from 0; about 1 us each."""
        rows, numbers, malformed = [], [], []
        for i, line in zip(index.tolist(), lines.texts(index), strict=True):
            fields = self._fields(line)
            if fields is not None and len(fields) == len(self.names):
                rows.append(fields)
                numbers.append(lines.first + i)
            elif line.strip():
                malformed.append(lines.first + i)
        columns = tuple(pa.chunked_array([pa.array([fields[i] for fields in rows], pa.string())]) for i in self.positions)
        names = tuple(self.names[i] for i in self.positions)
        return DropRows(names, columns, np.array(numbers, np.int64), np.array(malformed, np.int64), lines)

    def _numbered(self, lines: Lines, read: "_Read", numbers: Ints) -> DropRows:
        """`numbers` are those of the lines that were read."""
        table, malformed = read.table, numbers[read.malformed]
        if read.malformed or read.blank:
            numbers = np.delete(numbers, read.malformed + read.blank)
        if _may_be_empty(table.column(str(self._timestamp))):
            is_row = ~np.isin(numbers, lines.first + np.flatnonzero(np.diff(lines.starts) == 1))
            if not is_row.all():
                numbers, table = numbers[is_row], table.filter(pa.array(is_row))
        return DropRows(tuple(self.names[i] for i in self.positions), tuple(table.columns), numbers, malformed, lines)

    @property
    def _timestamp(self) -> int:
        return self.names.index(self.drop_format.columns.timestamp)

    def _is_even(self, data: bytes) -> bool:
        read = self._by_arrow(Lines(data, 1), types=dict.fromkeys(self.positions, pa.string()))
        return read is not None

    def _by_arrow(self, lines: Lines, *, types: dict[int, pa.DataType] | None = None) -> "_Read | None":
        """None where a row is not a line, as after a stray quote."""
        quote = self.drop_format.quote
        has_quotes = quote is not None and quote.encode() in lines.data
        last = lines.data[lines.data.rfind(b"\n", 0, -1) + 1 :]
        if len(self.names) == 1:  # then Arrow skips blank lines
            return None
        if has_quotes and self._fields(last.decode().rstrip("\n")) is None:
            return None
        marked = self._with_ascii_delimiter(lines.data)
        if marked is None:
            return None
        data, delimiter = marked
        parse_options = pa.csv.ParseOptions(delimiter=delimiter, quote_char=quote if has_quotes else False, ignore_empty_lines=False)
        types = types or self._likely_types(lines)
        for n_failed in range(1, 4):
            try:
                read = _read(data, parse_options, self._conversions(types), n_columns=len(self.names))
            except pa.ArrowInvalid as error:
                found = _NAMES_A_COLUMN.search(str(error))
                if found is None:
                    return None
                self._texts.update([int(found[1])] if n_failed == 1 else self.positions)
                types = {i: pa.string() if i in self._texts and kind != _REPEATING else kind for i, kind in types.items()}
            else:
                return read if not has_quotes or read.n_lines == lines.count else None
        return None

    def _with_ascii_delimiter(self, data: bytes) -> tuple[bytes, str] | None:
        """Arrow takes no other one."""
        delimiter = self.drop_format.delimiter
        if delimiter.isascii():
            return data, delimiter
        stand_in = next((mark for mark in _STAND_INS if mark.encode() not in data), None)
        return None if stand_in is None else (data.replace(delimiter.encode(), stand_in.encode()), stand_in)

    def _likely_types(self, lines: Lines) -> dict[int, pa.DataType]:
        """What the columns hold in all probability; the first line shows how timestamps are written."""
        end = lines.data.find(b"\n")
        first = self._fields(lines.data[: end if end >= 0 else len(lines.data)].decode()) or []
        types = {}
        for i in self.positions:
            name = self.names[i]
            if name in self.wanted.repeating:
                types[i] = _REPEATING
            elif i in self._texts:
                types[i] = pa.string()
            elif i == self._timestamp:
                types[i] = likely_type(first[i] if i < len(first) else "", self.drop_format.timestamp_format)
            else:
                types[i] = pa.float64() if name in self.wanted.numeric else pa.string()
        return types

    def _conversions(self, types: dict[int, pa.DataType]) -> pa.csv.ConvertOptions:
        """In a wide drop an empty cell is none, and must be told from one that says that a value is missing."""
        words = [] if self.wanted.everything else [text for text in self.drop_format.missing_values if not is_number(text)]
        return pa.csv.ConvertOptions(
            column_types={str(i): kind for i, kind in types.items()},
            include_columns=[str(i) for i in types],
            strings_can_be_null=False,
            null_values=["", *words],
            decimal_point=self.drop_format.decimal,
            check_utf8=False,
        )


@dataclass(frozen=True)
class _Read:
    """`malformed` and `blank` are the places, counted from 0, of lines that are no row."""

    table: pa.Table
    malformed: list[int]
    blank: list[int]

    @property
    def n_lines(self) -> int:
        return int(self.table.num_rows) + len(self.malformed) + len(self.blank)


def _read(data: bytes, parse_options: pa.csv.ParseOptions, conversions: pa.csv.ConvertOptions, *, n_columns: int) -> _Read:
    """Raises ArrowInvalid."""
    malformed: list[int] = []
    blank: list[int] = []

    def skip(row: pa.csv.InvalidRow) -> str:
        (malformed if row.text.strip() else blank).append(row.number - 1)
        return "skip"

    parse_options.invalid_row_handler = skip
    names = [str(i) for i in range(n_columns)]
    table = pa.csv.read_csv(
        pa.BufferReader(data),
        read_options=pa.csv.ReadOptions(use_threads=False, block_size=len(data) + 1, column_names=names),
        parse_options=parse_options,
        convert_options=conversions,
    )
    return _Read(table, malformed, blank)


def _may_be_empty(column: pa.ChunkedArray) -> bool:
    """Arrow reads an empty line as a row of empty fields."""
    if pa.types.is_string(column.type):
        return bool(len(column) and pc.min(pc.binary_length(column)).as_py() == 0)
    return bool(column.null_count > 0)
