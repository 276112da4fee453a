"""Delivered files as streams of unpacked bytes: never expanded to disk, and never beyond what the plant file allows.

A file is packed if its name ends in .gz or .zip. A zip's sizes are looked at before a byte of it is unpacked; a gzip says nothing
of its size that could be trusted, so its ratio is watched while it is unpacked, and it is left within a MB of being too high.
"""

import gzip
import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

GZIP_SUFFIX, ZIP_SUFFIX = ".gz", ".zip"
STEP = 1 << 20  # bytes unpacked between two looks at the limits
HARMLESS = 1 << 20  # bytes; what unpacks to less is no bomb, whatever its ratio
SEEKABLE_LIMIT = 256_000_000  # bytes; a format that must be read from its end is unpacked into memory
# What the libraries raise over bytes that are cut off or made up.
_BROKEN = (gzip.BadGzipFile, zlib.error, zipfile.BadZipFile, EOFError, ValueError, struct.error, NotImplementedError, RuntimeError)
_PACKED_MAGIC = {b"\x1f\x8b": "gzip", b"PK\x03\x04": "zip"}


class UnreadableDelivery(Exception):
    """The file's bytes cannot be unpacked, or may not be; the message says why, and what to do."""


@dataclass(frozen=True)
class Limits:
    """How large a packed file may become, and how many times its packed size."""

    max_bytes: int
    max_ratio: float

    def demand(self, *, unpacked: int, packed: int) -> None:
        """Raises UnreadableDelivery."""
        if unpacked > self.max_bytes:
            raise UnreadableDelivery(
                f"unpacked it would exceed {self.max_bytes / 1e6:,.0f} MB; deliver it in parts, or raise drops.max_unpacked_mb"
            )
        if unpacked > HARMLESS and unpacked > self.max_ratio * packed:
            raise UnreadableDelivery(
                f"it unpacks to more than {self.max_ratio:g} times its size, as archives made to do harm do; "
                "deliver it unpacked, or raise drops.max_unpack_ratio"
            )


@contextmanager
def unpacked(path: Path, limits: Limits, *, is_seekable: bool = False) -> Iterator[BinaryIO]:
    """The file's bytes, unpacked. `read` raises UnreadableDelivery, too. `is_seekable`: the reader must seek, as in Parquet."""
    with path.open("rb") as file:
        suffix = path.suffix.lower()
        if suffix not in (GZIP_SUFFIX, ZIP_SUFFIX):
            yield file
            return
        with _gunzipped(file, limits) if suffix == GZIP_SUFFIX else _member(file, limits) as stream:
            yield _in_memory(stream) if is_seekable else cast("BinaryIO", stream)


def _in_memory(stream: "_Stream") -> BinaryIO:
    content = stream.read(SEEKABLE_LIMIT + 1)
    if len(content) > SEEKABLE_LIMIT:
        raise UnreadableDelivery(
            f"unpacked it exceeds {SEEKABLE_LIMIT / 1e6:,.0f} MB, and its format is not read as a stream; deliver it unpacked"
        )
    return io.BytesIO(content)


class _Stream(io.RawIOBase):
    """Unpacks step by step, with an eye on the limits and on what kind of bytes come out."""

    def __init__(self, source: Callable[[int], bytes], limits: Limits, *, kind: str, n_packed: Callable[[], int]) -> None:
        super().__init__()
        self._source, self._limits, self._kind, self._n_packed = source, limits, kind, n_packed
        self._n = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        parts, due = [], size
        while due:
            part = self._step(STEP if size < 0 else min(due, STEP))
            if not part:
                break
            parts.append(part)
            due -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _step(self, size: int) -> bytes:
        try:
            part = self._source(size)
        except _BROKEN as error:
            why = str(error) or "it is cut off"
            raise UnreadableDelivery(f"the {self._kind} file cannot be unpacked ({why}); deliver it again") from error
        if not self._n:
            _demand_unnested(part)
        self._n += len(part)
        self._limits.demand(unpacked=self._n, packed=self._n_packed())
        return part


def _demand_unnested(start: bytes) -> None:
    for magic, kind in _PACKED_MAGIC.items():
        if start.startswith(magic):
            raise UnreadableDelivery(f"what it holds is packed again ({kind}); deliver it packed once")


@contextmanager
def _gunzipped(file: BinaryIO, limits: Limits) -> Iterator[_Stream]:
    with gzip.GzipFile(fileobj=file) as source:
        yield _Stream(source.read, limits, kind="gzip", n_packed=file.tell)


@contextmanager
def _member(file: BinaryIO, limits: Limits) -> Iterator[_Stream]:
    """The one file in a zip. Its declared sizes are checked here; `zipfile` gives no more bytes than declared, and checks their sum."""
    with ExitStack() as stack:
        try:
            archive = stack.enter_context(zipfile.ZipFile(cast("BinaryIO", _Bounded(file))))
            member = _only_member(archive)
            n_packed = min(member.compress_size, file.seek(0, io.SEEK_END))
            limits.demand(unpacked=member.file_size, packed=n_packed)
            source = stack.enter_context(archive.open(member))
        except (*_BROKEN, OSError) as error:  # OSError: a place before the file's beginning is asked for
            raise UnreadableDelivery(f"the zip file cannot be read ({error}); deliver it again") from error
        yield _Stream(source.read, limits, kind="zip", n_packed=lambda: n_packed)


def _only_member(archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    members = [member for member in archive.infolist() if not member.is_dir()]
    if len(members) != 1:
        raise UnreadableDelivery(f"the zip file holds {len(members)} files; deliver each in an archive of its own")
    member = members[0]
    if member.flag_bits & 0x1:
        raise UnreadableDelivery("the zip file is encrypted; deliver it without a password")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # the others cannot be unpacked in bounded steps
        raise UnreadableDelivery(f"the zip file is packed by method {member.compress_type}; pack it by the usual one, deflate")
    if Path(member.filename).suffix.lower() in (GZIP_SUFFIX, ZIP_SUFFIX):
        raise UnreadableDelivery("what the zip file holds is packed again; deliver it packed once")
    return member


class _Bounded(io.BufferedIOBase):
    """A zip file that is read in small pieces only: the directory of a million members, read at once, would take 500 MB."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def read(self, size: int | None = -1) -> bytes:
        if size is not None and size > STEP:
            raise zipfile.BadZipFile("it holds thousands of files")
        return self._file.read(-1 if size is None else size)
