"""Blocks of JSON lines become columns: one flat object per line."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.json

from ml.columns import Ints, as_text
from ml.drop_format import DropFormat
from ml.drop_rows import DropRows, Wanted
from ml.text_blocks import Lines, UnreadableDrop, demand_utf8, odd_lines, text_blocks


@dataclass
class JsonReader:
    """A key may be missing from any line, but not from all: `end` is for what only the whole file shows."""

    drop_format: DropFormat
    wanted: Wanted
    keys: dict[str, None] = field(default_factory=dict)
    has_lines: bool = False

    def blocks(self, source: BinaryIO, *, block_bytes: int) -> Iterator[Lines]:
        yield from text_blocks(source, encoding=self.drop_format.encoding, block_bytes=block_bytes)

    def rows(self, lines: Lines) -> list[DropRows]:
        """One part, or two where lines had to be set aside."""
        demand_utf8(lines)
        whole = self._by_arrow(lines)
        if whole is not None:
            return [self._noted(whole, whole.names)]
        odd = odd_lines(lines, lambda data: self._by_arrow(Lines(data, 1)) is not None)
        parts = [self._noted(*_line_by_line(lines, odd, self.wanted))]
        others = np.delete(np.arange(lines.count), odd)
        if len(others):
            read = self._by_arrow(Lines(lines.without(odd), 1))
            if read is None:
                parts.append(self._noted(*_line_by_line(lines, others, self.wanted)))
            else:
                parts.append(self._noted(replace(read, lines=others + lines.first, text=lines), read.names))
        return parts

    def _by_arrow(self, lines: Lines) -> DropRows | None:
        return _by_arrow(lines, self.drop_format, wanted=self.wanted)

    def _noted(self, found: DropRows, keys: Sequence[str]) -> DropRows:
        self.keys.update((key, None) for key in keys)
        self.has_lines = self.has_lines or len(found.lines) + len(found.malformed) > 0
        return found

    def end(self) -> None:
        if self.keys:
            self.wanted.select(list(self.keys))
        elif self.has_lines:
            raise UnreadableDrop("no line is a JSON object; JSON lines hold one {...} per line")


def _by_arrow(text: Lines, drop_format: DropFormat, *, wanted: Wanted) -> DropRows | None:
    """None unless every line is one flat object with the types expected.

    Flatness is asked for by counting braces beforehand: Arrow's parser recurses, and deep nesting ends the process.
    """
    data, columns = text.data, drop_format.columns
    n_lines = text.count
    if b"[" in data or data.count(b"{") != n_lines or data.startswith(b"\n") or b"\n\n" in data:
        return None
    types = dict.fromkeys(wanted.required, pa.string()) | dict.fromkeys(wanted.numeric, pa.float64())
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
    lines = np.arange(text.first, text.first + n_lines)
    found = [c if n in types else as_text(c) for n, c in zip(table.column_names, table.columns, strict=True)]
    return DropRows(tuple(table.column_names), tuple(found), lines, np.empty(0, np.int64), text)


def _line_by_line(text: Lines, index: Ints, wanted: Wanted) -> tuple[DropRows, list[str]]:
    """The lines at `index`, counted from 0, and the keys found; about 5 us each.

    Values come as text; a key that a line does not have is null, and so is JSON's null.
    """
    objects: list[dict[str, object]] = []
    lines: list[int] = []
    malformed: list[int] = []
    for number, line in zip((index + text.first).tolist(), text.texts(index), strict=True):
        if not line.strip():
            continue
        found = _json_object(line)
        if found is None:
            malformed.append(number)
        else:
            objects.append(found)
            lines.append(number)
    keys = list(dict.fromkeys(key for found in objects for key in found))
    names = tuple(dict.fromkeys([*wanted.required, *keys])) if wanted.everything else wanted.required
    columns = tuple(pa.chunked_array([pa.array([_json_text(found.get(name)) for found in objects], pa.string())]) for name in names)
    return DropRows(names, columns, np.array(lines, np.int64), np.array(malformed, np.int64), text), keys


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
