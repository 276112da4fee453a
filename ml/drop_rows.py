"""What the readers of all formats hand on: named columns, each row with its place in the file."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from ml.columns import Ints
from ml.text_blocks import Lines, UnreadableDrop


@dataclass(frozen=True)
class DropRows:
    """Columns in the order of the file; `lines` numbers their rows, `malformed` the lines that are no row.

    Line numbers are physical lines of a text, its first line being 1; in Parquet they count rows from 1 and `text` is None.
    """

    names: tuple[str, ...]
    columns: tuple[pa.ChunkedArray, ...]
    lines: Ints
    malformed: Ints
    text: Lines | None

    def column(self, name: str) -> pa.ChunkedArray:
        return self.columns[self.names.index(name)]


@dataclass(frozen=True)
class Wanted:
    """Columns that must be there, those of them that hold few distinct texts, those that should hold numbers, those that
    must not be there twice (required or not), and whether columns that nobody named are read too.
    """

    required: tuple[str, ...]
    repeating: frozenset[str]
    numeric: frozenset[str]
    unique: frozenset[str]
    everything: bool

    def select(self, found: Sequence[str]) -> list[int]:
        """Positions of the columns to read. Raises UnreadableDrop."""
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
