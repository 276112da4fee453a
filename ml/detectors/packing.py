"""Flat dataclasses of arrays and numbers as the bytes of one zip file, the same bytes for the same content.

Arrays are stored as their bytes and everything else as JSON, so that reading a model cannot run code.
"""

import io
import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

FORMAT = 3
_EPOCH = (1980, 1, 1, 0, 0, 0)
_MANIFEST, _ARRAYS = "manifest.json", "arrays.bin"
T = TypeVar("T")


class Packer:
    """Collects arrays under names; `pack` puts them and a manifest into bytes."""

    def __init__(self) -> None:
        self._arrays: dict[str, np.ndarray[Any, Any]] = {}

    def add(self, prefix: str, value: "DataclassInstance") -> dict[str, Any]:
        """The arrays of a flat dataclass are kept under `prefix.field`; its numbers are returned for the manifest."""
        numbers: dict[str, Any] = {}
        for field in fields(value):
            content = getattr(value, field.name)
            if isinstance(content, np.ndarray):
                self._arrays[f"{prefix}.{field.name}"] = content
            else:
                numbers[field.name] = content
        return numbers

    def pack(self, manifest: Mapping[str, Any]) -> bytes:
        """One file of all arrays' bytes, one after the other: a file of its own for each took ten times as long to read."""
        names = sorted(self._arrays)
        arrays = [np.ascontiguousarray(self._arrays[name]) for name in names]
        entries = [[name, array.dtype.str, list(array.shape)] for name, array in zip(names, arrays, strict=True)]
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", compression=zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
            text = json.dumps({"format": FORMAT, "arrays": entries, **manifest}, sort_keys=True, allow_nan=False)
            archive.writestr(_entry(_MANIFEST), text)
            archive.writestr(_entry(_ARRAYS), b"".join(array.tobytes() for array in arrays))
        return out.getvalue()


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, date_time=_EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry


class Unpacker:
    """Reads what `Packer.pack` wrote. Raises ValueError for anything else."""

    def __init__(self, data: bytes) -> None:
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                self.manifest: dict[str, Any] = json.loads(archive.read(_MANIFEST))
                if self.manifest.get("format") != FORMAT:
                    raise ValueError(
                        f"stored detector has format {self.manifest.get('format')}, this version reads {FORMAT}; train it again"
                    )
                content = archive.read(_ARRAYS)
        except (zipfile.BadZipFile, KeyError, json.JSONDecodeError) as error:
            raise ValueError(f"not a stored detector ({error}); train the site's detector again") from error
        self._arrays: dict[str, dict[str, np.ndarray[Any, Any]]] = {}
        at = 0
        for name, kind, shape in self.manifest["arrays"]:
            dtype = np.dtype(kind)
            if dtype.hasobject:
                raise ValueError(f"not a stored detector (array {name} holds objects); train the site's detector again")
            size = math.prod(shape)
            prefix, field = name.rsplit(".", 1)
            self._arrays.setdefault(prefix, {})[field] = np.frombuffer(content, dtype, count=size, offset=at).reshape(shape)
            at += size * dtype.itemsize

    def build(self, kind: type[T], *, prefix: str, numbers: Mapping[str, Any]) -> T:
        return kind(**self._arrays.get(prefix, {}), **numbers)
