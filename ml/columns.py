"""Columns as written become numbers and codes, a whole column at a time.

Texts are cast in slices; only where a cast fails is a slice looked at by pattern, so that one bad row among millions costs its slice a
second pass. (A failing cast is dear: Arrow words an error for every single row of it, 0.8 us each.)
"""

import re
from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

US_PER_S = 1_000_000
US_PER_DAY = 86_400 * US_PER_S

_SLICE_ROWS = 512
_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_FLOAT = pa.float64()
_NO_TEXT = pa.scalar(None, pa.string())


def slices(text: pa.ChunkedArray) -> Iterator[tuple[int, pa.Array]]:
    """(place of its first row, a slice)."""
    at = 0
    for chunk in text.chunks:
        for start in range(0, len(chunk), _SLICE_ROWS):
            yield at + start, chunk.slice(start, _SLICE_ROWS)
        at += len(chunk)


def as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column as strings; what Arrow cannot cast is written as Python writes it."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_string(column.type):
        return column
    try:
        return column.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return pa.chunked_array([pa.array([None if x is None else str(x) for x in column.to_pylist()], pa.string())])


def is_number(text: str) -> bool:
    return re.match(_NUMBER, text.strip().replace(",", ".")) is not None


def numbers(column: pa.ChunkedArray, *, decimal: str = ".") -> Floats:
    """Finite decimal numbers; NaN for all else (empty, text, NaN, infinite, true and false)."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    if pa.types.is_boolean(kind):
        return np.full(len(column), np.nan)
    if pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind):
        values: Floats = column.cast(_FLOAT, safe=False).to_numpy()
    else:
        values = _parsed(as_text(column), decimal)
    finite = np.isfinite(values)
    return values if finite.all() else np.where(finite, values, np.nan)


def _parsed(text: pa.ChunkedArray, decimal: str) -> Floats:
    values = np.empty(len(text))
    for start, part in slices(text):
        try:
            found = part.cast(_FLOAT) if decimal == "." else _well_formed(part, decimal).cast(_FLOAT)
        except pa.ArrowInvalid:
            found = _well_formed(part, decimal).cast(_FLOAT)
        values[start : start + len(part)] = found.to_numpy(zero_copy_only=False)
    return values


def _well_formed(text: pa.Array, decimal: str) -> pa.Array:
    """Numbers as Arrow reads them, null for all else."""
    text = pc.utf8_trim_whitespace(text)
    pattern = _NUMBER.replace(r"\.", re.escape(decimal))
    kept = pc.if_else(pc.match_substring_regex(text, pattern), text, _NO_TEXT)
    return kept if decimal == "." else pc.replace_substring(kept, decimal, ".")


def codes(column: pa.ChunkedArray, code_of: Callable[[str], int]) -> Ints:
    """`code_of(text without surrounding blanks)` for every row; called once per distinct text, with "" for null."""
    if not pa.types.is_dictionary(column.type):
        column = as_text(column).dictionary_encode()
    null = code_of("")
    parts = [np.empty(0, np.int64)]
    for chunk in column.chunks:
        table = np.array([null if name is None else code_of(str(name).strip()) for name in chunk.dictionary.to_pylist()] + [null], np.int64)
        parts.append(table[pc.fill_null(chunk.indices, len(table) - 1).to_numpy(zero_copy_only=False)])
    return parts[1] if len(parts) == 2 else np.concatenate(parts)
