"""Flat dataclasses of arrays and numbers as the bytes of one zip file, the same bytes for the same content.

Arrays are stored as .npy without pickling and everything else as JSON, so that reading a model cannot run code.
"""

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

FORMAT = 2
_EPOCH = (1980, 1, 1, 0, 0, 0)
_MANIFEST = "manifest.json"
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
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", compression=zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
            text = json.dumps({"format": FORMAT, **manifest}, sort_keys=True, allow_nan=False)
            archive.writestr(_entry(_MANIFEST), text)
            for name in sorted(self._arrays):
                data = io.BytesIO()
                np.lib.format.write_array(data, np.ascontiguousarray(self._arrays[name]), allow_pickle=False)
                archive.writestr(_entry(f"{name}.npy"), data.getvalue())
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
                self._arrays = {
                    name.removesuffix(".npy"): np.lib.format.read_array(io.BytesIO(archive.read(name)), allow_pickle=False)
                    for name in archive.namelist()
                    if name.endswith(".npy")
                }
        except (zipfile.BadZipFile, KeyError, json.JSONDecodeError) as error:
            raise ValueError(f"not a stored detector ({error}); train the site's detector again") from error
        if self.manifest.get("format") != FORMAT:
            raise ValueError(f"stored detector has format {self.manifest.get('format')}, this version reads {FORMAT}; train it again")

    def build(self, kind: type[T], *, prefix: str, numbers: Mapping[str, Any]) -> T:
        start = f"{prefix}."
        arrays = {name[len(start) :]: array for name, array in self._arrays.items() if name.startswith(start)}
        return kind(**arrays, **numbers)
