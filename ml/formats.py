"""The bytes of a drop become named columns, and every row keeps its place in the file.

Nothing is judged here beyond form: rows with the wrong number of fields are set apart with their text. What a column
means, and whether its content is any good, is for `ml.layouts` and `ml.readings`.
"""

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq

from ml.columns import Ints, as_text
from ml.plant import DropFormat

_BOM = b"\xef\xbb\xbf"
_LINES_AT_ONCE = 65_536
RAW_LIMIT = 1_000  # characters of a refused row that are kept; the original file is archived whole


class UnreadableDrop(ValueError):
    """The drop as a whole cannot be read; the message says what is wrong and what to do."""


@dataclass(frozen=True)
class LineText:
    """A text whose lines can be looked up by their number, the first being 1."""

    data: bytes

    @cached_property
    def _lines(self) -> pa.LargeStringArray:
        ends = np.flatnonzero(np.frombuffer(self.data, np.uint8) == 10) + 1
        offsets = np.concatenate([[0], ends, [len(self.data)]]).astype(np.int64)
        return pa.LargeStringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(self.data))

    def take(self, lines: Ints) -> pa.Array:
        text = self._lines.take(pa.array(lines - 1))
        return pc.utf8_slice_codeunits(pc.utf8_rtrim(text, "\n"), 0, RAW_LIMIT).cast(pa.string())

    def blocks(self, first: int) -> Iterator[tuple[int, list[str]]]:
        """(number of the block's first line, its lines without line ends), from line `first` on."""
        for start in range(first - 1, len(self._lines), _LINES_AT_ONCE):
            yield start + 1, pc.utf8_rtrim(self._lines.slice(start, _LINES_AT_ONCE), "\n").to_pylist()


@dataclass(frozen=True)
class DropRows:
    """Columns in the order of the file; `lines` numbers their rows, `malformed` the lines that are no row.

    Line numbers are physical lines of a text, its first line being 1; in Parquet they count rows from 1 and `text` is None.
    """

    names: tuple[str, ...]
    columns: tuple[pa.ChunkedArray, ...]
    lines: Ints
    malformed: Ints
    text: LineText | None

    def column(self, name: str) -> pa.ChunkedArray:
        return self.columns[self.names.index(name)]


@dataclass(frozen=True)
class Wanted:
    """Columns that must be there, those of them that hold few distinct texts, those that must not be there twice
    (required or not), and whether columns that nobody named are read too.
    """

    required: tuple[str, ...]
    repeating: frozenset[str]
    unique: frozenset[str]
    everything: bool

    def select(self, found: Sequence[str]) -> list[int]:
        """Positions of the columns to read."""
        for name in self.required:
            if name not in found:
                shown = ", ".join(found[:30]) + (", ..." if len(found) > 30 else "")
                raise UnreadableDrop(
                    f"column {name!r} is missing (found: {shown}); name the columns in the site's drops.columns as the file does"
                )
        twice = sorted({n for n in found if n in self.unique and found.count(n) > 1}) if len(set(found)) < len(found) else []
        if twice:
            raise UnreadableDrop(f"column {twice[0]!r} occurs more than once; leave one of them out of the export")
        return [i for i, name in enumerate(found) if self.everything or name in self.required]


def read_rows(data: pa.Buffer | bytes, drop_format: DropFormat, *, wanted: Wanted) -> DropRows:
    """Raises UnreadableDrop."""
    if len(data) == 0:
        raise UnreadableDrop("the file is empty (0 bytes); deliver it again")
    if drop_format.kind == "parquet":
        return _read_parquet(data, wanted)
    text = _unix_text(data if isinstance(data, bytes) else data.to_pybytes())
    return (
        _read_csv(text, drop_format.delimiter, wanted=wanted)
        if drop_format.kind == "csv"
        else _read_jsonl(text, drop_format, wanted=wanted)
    )


def _unix_text(data: bytes) -> bytes:
    """UTF-8 without a mark, lines ending in a line feed only."""
    data = data.removeprefix(_BOM)
    whole = pa.LargeStringArray.from_buffers(1, pa.py_buffer(np.array([0, len(data)])), pa.py_buffer(data))
    try:
        whole.validate(full=True)
    except pa.ArrowInvalid as error:
        raise UnreadableDrop("the file is not UTF-8 text; export it as UTF-8, or unpack it if it is an archive") from error
    return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in data else data


# --- CSV


def _read_csv(data: bytes, delimiter: str, *, wanted: Wanted) -> DropRows:
    text, start, header_line = LineText(data), 0, 1
    while True:
        end = data.find(b"\n", start)
        header = data[start : end if end >= 0 else len(data)].decode()
        if header.strip():
            break
        if end < 0:
            raise UnreadableDrop("the file holds blank lines only; the first line must name the columns")
        start, header_line = end + 1, header_line + 1
    fields = _fields(header, delimiter)
    if fields is None:
        raise UnreadableDrop(f"line {header_line} must name the columns, but its quotes are not closed")
    names = tuple(name.strip() for name in fields)
    positions = wanted.select(names)
    if end < 0 or end + 1 == len(data):
        none = np.empty(0, np.int64)
        return DropRows(tuple(names[i] for i in positions), tuple(_strings([]) for _ in positions), none, none, text)
    types = {i: pa.dictionary(pa.int32(), pa.string()) if names[i] in wanted.repeating else pa.string() for i in positions}
    found = _csv_by_arrow(data, end + 1, delimiter=delimiter, n_columns=len(names), types=types)
    columns, lines, malformed = found or _csv_line_by_line(
        text, header_line + 1, delimiter=delimiter, n_columns=len(names), positions=positions
    )
    if found:
        lines, malformed = lines + header_line, malformed + header_line
    return DropRows(tuple(names[i] for i in positions), tuple(columns), lines, malformed, text)


def _strings(values: list[str | None]) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values, pa.string())])


_Columns = tuple[list[pa.ChunkedArray], Ints, Ints]


def _csv_by_arrow(data: bytes, start: int, *, delimiter: str, n_columns: int, types: dict[int, pa.DataType]) -> _Columns | None:
    """Columns and the numbers (from 1) of rows and malformed lines; None where a row is not a line, as after a stray quote."""
    if not delimiter.isascii() or n_columns == 1:
        return None
    bad: list[int] = []
    blank: list[int] = []

    def refuse(row: pa.csv.InvalidRow) -> str:
        (bad if row.text.strip() else blank).append(row.number)
        return "skip"

    names = [str(i) for i in range(n_columns)]
    try:
        table = pa.csv.read_csv(
            pa.BufferReader(pa.py_buffer(data).slice(start)),
            read_options=pa.csv.ReadOptions(use_threads=False, column_names=names),
            parse_options=pa.csv.ParseOptions(
                delimiter=delimiter,
                quote_char='"' if data.find(b'"', start) >= 0 else False,
                ignore_empty_lines=False,
                invalid_row_handler=refuse,
            ),
            convert_options=pa.csv.ConvertOptions(
                column_types={str(i): kind for i, kind in types.items()},
                strings_can_be_null=False,
                null_values=[],
                include_columns=[str(i) for i in types],
            ),
        )
    except pa.ArrowInvalid:
        return None
    n_lines = data.count(b"\n", start) + (not data.endswith(b"\n"))
    if table.num_rows + len(bad) + len(blank) != n_lines:
        return None
    lines = np.delete(np.arange(1, n_lines + 1), np.array(bad + blank, np.int64) - 1) if bad or blank else np.arange(1, n_lines + 1)
    columns = table.columns
    some_text = next(column for column in columns if pa.types.is_string(column.type))
    if pc.min(pc.binary_length(some_text)).as_py() == 0:  # Arrow reads an empty line as a row of empty fields
        ends = np.flatnonzero(np.frombuffer(data, np.uint8, offset=start) == 10)
        is_row = ~np.isin(lines, np.flatnonzero(np.diff(ends, prepend=-1) == 1) + 1)
        lines, columns = lines[is_row], [column.filter(pa.array(is_row)) for column in columns]
    return columns, lines, np.array(bad, np.int64)


def _fields(line: str, delimiter: str) -> list[str] | None:
    """The fields of one line on its own, or None if its quotes do not close."""
    if '"' not in line:
        return line.split(delimiter)
    try:
        return next(csv.reader([line], delimiter=delimiter, strict=True), None)
    except csv.Error:
        return None


def _csv_line_by_line(text: LineText, first: int, *, delimiter: str, n_columns: int, positions: list[int]) -> _Columns:
    """Each physical line stands alone, so a stray quote spoils its own line and no other. About 1 us per line."""
    chunks: list[list[pa.Array]] = [[] for _ in positions]
    lines: list[int] = []
    malformed: list[int] = []
    for start, block in text.blocks(first):
        rows: list[list[str]] = []
        for number, line in enumerate(block, start):
            fields = _fields(line, delimiter)
            if fields is not None and len(fields) == n_columns:
                rows.append(fields)
                lines.append(number)
            elif line.strip():
                malformed.append(number)
        for i, chunk in zip(positions, chunks, strict=True):
            chunk.append(pa.array([fields[i] for fields in rows], pa.string()))
    columns = [pa.chunked_array(chunk, pa.string()) for chunk in chunks]
    return columns, np.array(lines, np.int64), np.array(malformed, np.int64)


# --- JSON lines


def _read_jsonl(data: bytes, drop_format: DropFormat, *, wanted: Wanted) -> DropRows:
    text = LineText(data)
    return _jsonl_by_arrow(text, drop_format, wanted=wanted) or _jsonl_line_by_line(text, wanted)


def _jsonl_by_arrow(text: LineText, drop_format: DropFormat, *, wanted: Wanted) -> DropRows | None:
    """None unless every line is one flat object with the types expected.

    Flatness is asked for by counting braces beforehand: Arrow's parser recurses, and deep nesting ends the process.
    """
    data, columns = text.data, drop_format.columns
    n_lines = data.count(b"\n") + (not data.endswith(b"\n"))
    if b"[" in data or data.count(b"{") != n_lines or data.startswith(b"\n") or b"\n\n" in data:
        return None
    numeric = wanted.unique - set(wanted.required) if wanted.everything else {columns.value}
    types = dict.fromkeys(wanted.required, pa.string()) | dict.fromkeys(numeric, pa.float64())
    if drop_format.timestamp_format.startswith("epoch"):
        types[columns.timestamp] = pa.float64()
    try:
        table = pa.json.read_json(
            pa.BufferReader(data),
            read_options=pa.json.ReadOptions(use_threads=False),
            parse_options=pa.json.ParseOptions(
                explicit_schema=pa.schema(types.items()), unexpected_field_behavior="infer" if wanted.everything else "ignore"
            ),
        )
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None
    if table.num_rows != n_lines or any(table[name].null_count == n_lines for name in wanted.required):
        return None
    lines = np.arange(1, n_lines + 1)
    found = [c if n in types else as_text(c) for n, c in zip(table.column_names, table.columns, strict=True)]
    return DropRows(tuple(table.column_names), tuple(found), lines, np.empty(0, np.int64), text)


def _jsonl_line_by_line(text: LineText, wanted: Wanted) -> DropRows:
    """Values as text; a key that a line does not have is null, and so is JSON's null."""
    chunks: dict[str, list[pa.Array]] = {}
    names: dict[str, None] = {}
    lines: list[int] = []
    malformed: list[int] = []
    n_before = 0
    for start, block in text.blocks(1):
        objects: list[dict[str, object]] = []
        for number, line in enumerate(block, start):
            if not line.strip():
                continue
            found = _json_object(line)
            if found is None:
                malformed.append(number)
            else:
                objects.append(found)
                lines.append(number)
        names.update((key, None) for found in objects for key in found)
        for name in names if wanted.everything else wanted.required:
            chunk = chunks.setdefault(name, [pa.nulls(n_before, pa.string())])
            chunk.append(pa.array([_json_text(found.get(name)) for found in objects], pa.string()))
        n_before += len(objects)
    if malformed and not lines:
        raise UnreadableDrop("no line is a JSON object; JSON lines hold one {...} per line")
    if lines:
        wanted.select(list(names))
    kept = [name for name in chunks if name in names] or list(wanted.required)
    columns = tuple(pa.chunked_array(chunks.get(name, []), pa.string()) for name in kept)
    return DropRows(tuple(kept), columns, np.array(lines, np.int64), np.array(malformed, np.int64), text)


def _json_object(line: str) -> dict[str, object] | None:
    try:
        found = json.loads(line, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or ("\\ud" in line.lower() and not _is_utf8(found)):
        return None
    return found


def _is_utf8(found: dict[str, object]) -> bool:
    """False for half of a surrogate pair, which JSON can write and UTF-8 cannot."""
    try:
        "".join(part for item in found.items() for part in item if isinstance(part, str)).encode()
    except UnicodeEncodeError:
        return False
    return True


_JSON_WORDS: dict[type, str] = {dict: "{...}", list: "[...]"}


def _json_text(value: object) -> str | None:
    """Numbers come as their text already; nested values are no readings, whatever they hold."""
    if value is None or isinstance(value, str):
        return value
    return _JSON_WORDS.get(type(value)) or str(value).lower()


# --- Parquet


def _read_parquet(data: pa.Buffer | bytes, wanted: Wanted) -> DropRows:
    try:
        file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
        names = file.schema_arrow.names
        positions = wanted.select(names)
        table = file.read(columns=sorted({names[i] for i in positions}), use_threads=False)
        table.validate(full=True)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UnreadableDrop("the file is no readable Parquet (cut off or damaged); deliver it again") from error
    lines = np.arange(1, table.num_rows + 1)
    return DropRows(tuple(table.column_names), tuple(table.columns), lines, np.empty(0, np.int64), None)
