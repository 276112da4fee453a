"""A stream of bytes in any encoding becomes blocks of whole lines in UTF-8, numbered as they stand in the file.

What a line means is for the readers of the formats. Memory is bounded by the block's size and by the longest line.
"""

import codecs
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ml.columns import Ints
from ml.drop_format import ENCODINGS

BLOCK_BYTES = 4 << 20  # larger ones are no faster, and take more memory and longer until both threads have work
LONGEST_LINE = 64 << 20  # bytes; without a limit a file without line ends would be taken into memory whole
RAW_LIMIT = 1_000  # characters of a refused row that are kept; the original file is archived whole

_MARKS = {"utf-8": codecs.BOM_UTF8, "utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE}
_LINE_FEED = 10
_PIECES, _FEW_LINES = 16, 16


class UnreadableDrop(ValueError):
    """The drop as a whole cannot be read; the message says what is wrong and what to do."""


@dataclass(frozen=True)
class Lines:
    """Whole lines of a text in UTF-8, ending in line feeds; `first` is the physical line number of the first one."""

    data: bytes
    first: int

    @cached_property
    def count(self) -> int:
        n_ends = int(np.count_nonzero(np.frombuffer(self.data, np.uint8) == _LINE_FEED))
        return n_ends + (bool(self.data) and not self.data.endswith(b"\n"))

    @cached_property
    def starts(self) -> Ints:
        """Where each line starts, and where the last one ends."""
        ends = np.flatnonzero(np.frombuffer(self.data, np.uint8) == _LINE_FEED) + 1
        last = [] if self.data.endswith(b"\n") else [len(self.data)]
        return np.concatenate([[0], ends, last]).astype(np.int64)

    @cached_property
    def _array(self) -> pa.LargeStringArray:
        return pa.LargeStringArray.from_buffers(len(self.starts) - 1, pa.py_buffer(self.starts), pa.py_buffer(self.data))

    def take(self, lines: Ints) -> pa.Array:
        """The text of these lines, by number, without line ends and cut to RAW_LIMIT."""
        text = self._array.take(pa.array(lines - self.first))
        return pc.utf8_slice_codeunits(pc.utf8_rtrim(text, "\n"), 0, RAW_LIMIT).cast(pa.string())

    def texts(self, index: Ints | None = None) -> list[str]:
        """Whole lines without line ends: all, or those at `index`, counted from 0."""
        lines = self._array if index is None else self._array.take(pa.array(index))
        texts: list[str] = pc.utf8_rtrim(lines, "\n").to_pylist()
        return texts

    def without(self, index: Ints) -> bytes:
        """All lines but those at `index` (ascending, counted from 0)."""
        cuts = np.concatenate([[0], np.repeat(index, 2) + np.tile([0, 1], len(index)), [self.count]])
        at = self.starts[cuts].reshape(-1, 2)
        view = memoryview(self.data)
        return b"".join(view[start:end] for start, end in at)


def text_blocks(source: BinaryIO, *, encoding: str, block_bytes: int) -> Iterator[Lines]:
    """Raises UnreadableDrop; whatever `source.read` raises goes through."""
    first, rest, n_rest = 1, [], 0
    for chunk, is_last in _with_line_feeds(_decoded(source, encoding, block_bytes)):
        end = len(chunk) if is_last else chunk.rfind(b"\n") + 1
        if n_rest + end == 0 or (not end and not is_last):
            rest.append(chunk)
            n_rest += len(chunk)
            if n_rest > LONGEST_LINE:
                raise UnreadableDrop(
                    f"line {first} is longer than {LONGEST_LINE >> 20} MB: this is no text with lines; deliver it in the format "
                    "that the site's drops name"
                )
            continue
        lines = Lines(b"".join([*rest, memoryview(chunk)[:end]]) if n_rest or end < len(chunk) else chunk, first)
        rest, n_rest = [chunk[end:]], len(chunk) - end
        yield lines
        first += lines.count


def _decoded(source: BinaryIO, encoding: str, size: int) -> Iterator[tuple[bytes, bool]]:
    """(some UTF-8, whether it is the last), without the encoding's mark. UTF-8 itself is not looked at here: see `demand_utf8`."""
    size, decoder, n_read = max(size, 4), None, 0
    is_last = False
    while not is_last:
        chunk = _read(source, size)
        is_last = len(chunk) < size
        if not n_read:
            if not chunk:
                raise UnreadableDrop("the file is empty (0 bytes); deliver it again")
            encoding = _demand_mark(chunk, encoding)
            chunk = chunk[len(_MARKS[encoding]) :] if chunk.startswith(_MARKS.get(encoding, chunk + b"-")) else chunk
            decoder = None if encoding == "utf-8" else codecs.getincrementaldecoder(ENCODINGS[encoding])()
        n_read += len(chunk)
        if decoder is not None:
            try:
                chunk = decoder.decode(chunk, final=is_last).encode()
            except UnicodeDecodeError as error:
                raise UnreadableDrop(
                    f"the file is not {encoding} text before its byte {n_read:,}; it is cut off or damaged, or written in another "
                    "encoding than the site's drops.encoding names"
                ) from error
        yield chunk, is_last


def _read(source: BinaryIO, size: int) -> bytes:
    """Fewer than `size` bytes only at the end, however few the source gives at a time."""
    chunk = source.read(size)
    if len(chunk) == size or not chunk:
        return chunk
    parts, n = [chunk], len(chunk)
    while n < size and (part := source.read(size - n)):
        parts.append(part)
        n += len(part)
    return b"".join(parts)


def _demand_mark(start: bytes, encoding: str) -> str:
    """The encoding without the question of its byte order."""
    marked = next((name for name, mark in _MARKS.items() if start.startswith(mark)), None)
    if encoding == "utf-16":
        if marked not in ("utf-16-le", "utf-16-be"):
            raise UnreadableDrop("the file lacks the mark of UTF-16; write utf-16-le or utf-16-be in the site's drops.encoding")
        return marked
    if encoding == "utf-8" and marked not in ("utf-8", None):
        raise UnreadableDrop("the file is not UTF-8 text, it begins with the mark of UTF-16; write utf-16 in the site's drops.encoding")
    return encoding


def _with_line_feeds(chunks: Iterator[tuple[bytes, bool]]) -> Iterator[tuple[bytes, bool]]:
    """CR LF, also cut between two chunks, and CR alone become LF."""
    held = b""
    for chunk, is_last in chunks:
        if held or b"\r" in chunk:
            text = held + chunk
            held = b"\r" if text.endswith(b"\r") and not is_last else b""
            yield text[: len(text) - len(held)].replace(b"\r\n", b"\n").replace(b"\r", b"\n"), is_last
        else:
            yield chunk, is_last


def demand_utf8(lines: Lines) -> None:
    """Raises UnreadableDrop with the line."""
    whole = pa.LargeStringArray.from_buffers(1, pa.py_buffer(np.array([0, len(lines.data)])), pa.py_buffer(lines.data))
    try:
        whole.validate(full=True)
    except pa.ArrowInvalid as error:
        try:
            lines.data.decode()
        except UnicodeDecodeError as where:
            line = lines.first + lines.data.count(b"\n", 0, where.start)
            raise UnreadableDrop(
                f"line {line} is not UTF-8 text; name the encoding in the site's drops.encoding, such as cp1252, or unpack the file "
                "if it is an archive"
            ) from error


def odd_lines(lines: Lines, is_even: Callable[[bytes], bool]) -> Ints:
    """Where, counted from 0, lines stand that keep a text from being even; neighbours of such lines may be among them.

    The text is cut ever finer where it is not even, so that a few odd lines cost about two more passes, and not one for each line.
    """
    found: list[Ints] = []

    def look(start: int, stop: int) -> None:
        if is_even(lines.data[lines.starts[start] : lines.starts[stop]]):
            return
        if stop - start <= _FEW_LINES:
            found.append(np.arange(start, stop))
            return
        for left, right in pairwise(np.linspace(start, stop, _PIECES + 1).astype(int).tolist()):
            look(left, right)

    look(0, lines.count)
    return np.concatenate([np.empty(0, np.int64), *found])
