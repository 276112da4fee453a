"""The landing zone: where drops arrive, where untouched originals are kept, where refused ones lie."""

import gzip
import hashlib
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg

UNFINISHED_SUFFIXES = (".tmp", ".part", ".partial", ".filepart")
DONE_SUFFIX = ".done"


@dataclass(frozen=True)
class LandedFile:
    """A file in landing/<site>/; `name` is relative to landing/."""

    name: str
    site: str
    size: int
    modified_ns: int
    is_marked_done: bool

    @property
    def mark(self) -> str:
        """Changes whenever the file is written to."""
        return f"{self.size}:{self.modified_ns}"


@dataclass(frozen=True)
class Delivery:
    """The bytes of a landed file: as delivered (hashed) and unpacked (parsed)."""

    name: str
    site: str
    sha256: str
    size: int
    received_at: datetime
    content: bytes

    @property
    def drop_id(self) -> str:
        return self.sha256[:16]


class UnreadableDelivery(Exception):
    """The file's bytes cannot be unpacked; `delivery` has them as they came."""

    def __init__(self, message: str, delivery: Delivery) -> None:
        super().__init__(message)
        self.delivery = delivery


class LandingResource(dg.ConfigurableResource):
    """The three folders that delivered files pass through."""

    landing: str
    archive: str
    quarantine: str
    max_unpacked_bytes: int = 4_000_000_000

    def files(self, *, site: str) -> Iterator[LandedFile]:
        """Every deliverable file of a site, oldest first; names that mark an unfinished or hidden file are ignored."""
        folder = Path(self.landing, site)
        found = []
        for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
            if any(part.startswith(".") for part in path.relative_to(folder).parts):
                continue
            if path.suffix in (*UNFINISHED_SUFFIXES, DONE_SUFFIX):
                continue
            try:
                status = path.lstat()
            except FileNotFoundError:
                continue  # taken in, or renamed by its gateway, since the folder was listed
            if stat.S_ISREG(status.st_mode):
                found.append(
                    LandedFile(
                        name=str(path.relative_to(self.landing)),
                        site=site,
                        size=status.st_size,
                        modified_ns=status.st_mtime_ns,
                        is_marked_done=path.with_name(path.name + DONE_SUFFIX).exists(),
                    )
                )
        yield from sorted(found, key=lambda f: (f.modified_ns, f.name))

    def read(self, name: str) -> Delivery:
        """Raises FileNotFoundError where it is gone, UnreadableDelivery where it cannot be unpacked."""
        path = Path(self.landing, name)
        raw = path.read_bytes()
        delivery = Delivery(
            name=name,
            site=Path(name).parts[0],
            sha256=hashlib.sha256(raw).hexdigest(),
            size=len(raw),
            received_at=datetime.fromtimestamp(path.stat().st_mtime_ns / 1e9, tz=UTC),
            content=raw,
        )
        if path.suffix != ".gz":
            return delivery
        try:
            with gzip.open(path) as packed:
                content = packed.read(self.max_unpacked_bytes + 1)
        except (OSError, EOFError, ValueError) as error:
            raise UnreadableDelivery(f"The gzip file cannot be unpacked: {error}. Deliver it again.", delivery) from error
        if len(content) > self.max_unpacked_bytes:
            raise UnreadableDelivery(f"Unpacked it would exceed {self.max_unpacked_bytes:,} bytes. Deliver it in parts.", delivery)
        return Delivery(name, delivery.site, delivery.sha256, delivery.size, delivery.received_at, content)

    def kept_name(self, delivery: Delivery, *, is_refused: bool) -> str:
        """Where the original will lie, relative to the data folder; the drop id keeps names of equal files apart."""
        folder = "quarantine" if is_refused else "archive"
        return str(Path(folder, "drops", delivery.site, f"{delivery.drop_id}_{Path(delivery.name).name}"))

    def keep(self, delivery: Delivery, *, is_refused: bool) -> None:
        """Move the original out of the landing zone; repeating it is harmless."""
        root = Path(self.quarantine if is_refused else self.archive).parent
        target = root / self.kept_name(delivery, is_refused=is_refused)
        source = Path(self.landing, delivery.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.exists():
            shutil.move(source, target)
        source.with_name(source.name + DONE_SUFFIX).unlink(missing_ok=True)

    def quarantined_rows_path(self, delivery: Delivery) -> Path:
        return Path(self.quarantine, "rows", delivery.site, f"{delivery.drop_id}.parquet")


def drop_file(content: bytes, folder: Path, name: str) -> Path:
    """Write a file into a landing folder as a careful gateway does: complete under a name that is ignored, then renamed."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{name}.tmp"
    temporary.write_bytes(content)
    target = folder / name
    temporary.replace(target)
    return target
