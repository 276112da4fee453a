"""Fitted models as the bytes of one Arrow file, a row per machine and a column per field: the same bytes for the same content.

Arrow holds numbers and text only, so that reading a model cannot run code; any tool that knows Arrow can look into one.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

FORMAT = 5
_ABOUT = b"detector"
_SHAPE = ":shape"
T = TypeVar("T")


class Packer:
    """Collects columns of as many rows each; `pack` puts them, and what is said about all of them, into bytes."""

    def __init__(self) -> None:
        self._columns: dict[str, pa.Array] = {}

    def add(self, name: str, values: Sequence[Any]) -> None:
        """Numbers, texts or tuples of texts, one of a row."""
        self._columns[name] = pa.array(values)

    def add_parts(self, name: str, parts: Sequence["DataclassInstance"]) -> None:
        """A flat dataclass of a row, all of one kind: its fields become the columns `name.field`, an array's shape one of its own."""
        for field in fields(parts[0]):
            column, values = f"{name}.{field.name}", [getattr(part, field.name) for part in parts]
            if not isinstance(values[0], np.ndarray):
                self.add(column, values)
                continue
            ends = np.cumsum([0, *(array.size for array in values)], dtype=np.int32)
            self._columns[column] = pa.ListArray.from_arrays(pa.array(ends), pa.array(np.concatenate([array.ravel() for array in values])))
            shapes = pa.array(np.array([array.shape for array in values], dtype=np.int32).ravel())
            self._columns[column + _SHAPE] = pa.FixedSizeListArray.from_arrays(shapes, values[0].ndim)

    def pack(self, about: Mapping[str, Any]) -> bytes:
        """`about` is kept as JSON. By LZ4, because each run reads it: 53 MB of 200 machines become 14 MB, read in 14 ms of CPU.

        By Zstandard they are 11 MB and take 34 ms.
        """
        batch = pa.RecordBatch.from_pydict(self._columns)
        said = json.dumps({"format": FORMAT, **about}, sort_keys=True, allow_nan=False)
        schema = batch.schema.with_metadata({_ABOUT: said})
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as file:
            file.write_batch(batch)
        content: bytes = sink.getvalue().to_pybytes()
        return content


class Unpacker:
    """Reads what `Packer.pack` wrote; arrays are views of what was read, and not to be written to."""

    def __init__(self, batch: pa.RecordBatch, *, about: Mapping[str, Any]) -> None:
        self._batch, self.about = batch, about

    @classmethod
    def of(cls, data: bytes) -> Self:
        """Raises ValueError for bytes that are no stored detector of this format."""
        try:
            with pa.ipc.open_file(pa.py_buffer(data)) as file:
                about = json.loads((file.schema.metadata or {})[_ABOUT])
                if about.get("format") != FORMAT:
                    raise ValueError(f"stored detector has format {about.get('format')}, this version reads {FORMAT}; train it again")
                return cls(file.get_batch(0), about=about)
        except (pa.ArrowInvalid, KeyError, json.JSONDecodeError) as error:
            raise ValueError(f"not a stored detector ({error}); train the site's detector again") from error

    def column(self, name: str) -> list[Any]:
        values: list[Any] = self._batch.column(name).to_pylist()
        return values

    def parts(self, kind: type[T], name: str) -> list[T]:
        """The dataclass of each row. Raises KeyError for one that was not packed."""
        columns = [self._field(f"{name}.{field.name}") for field in fields(kind)]  # type: ignore[arg-type]
        return [kind(*of_row) for of_row in zip(*columns, strict=True)]

    def _field(self, name: str) -> list[Any]:
        if name + _SHAPE not in self._batch.schema.names:
            return self.column(name)
        shapes = self._batch.column(name + _SHAPE)
        stored = self._batch.column(name)
        values, ends = stored.values.to_numpy(), stored.offsets.to_numpy()
        arrays = [values[start:end] for start, end in pairwise(ends.tolist())]
        return arrays if shapes.type.list_size == 1 else [a.reshape(shape) for a, shape in zip(arrays, shapes.to_pylist(), strict=True)]
