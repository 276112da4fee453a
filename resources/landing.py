"""The landing zone: where drops arrive, where untouched originals are kept, where refused ones lie."""

import gzip
import hashlib
import os
import shutil
import stat
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg

UNFINISHED_SUFFIXES = (".tmp", ".part", ".partial", ".filepart")
DONE_SUFFIX = ".done"
CLAIMED = ".claimed"  # files lie in landing/.claimed/<site>/ while they are taken in
MAX_NAME_BYTES = 255
MAX_KEPT_BYTES = 200  # of a delivered name, counted from its end: with the drop id before it, it must fit into MAX_NAME_BYTES


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
    """The bytes of a landed file: as delivered (hashed) and unpacked (parsed).

    `claimed` is where the file lies while it is taken in; `mark` changes if its sender still writes to it.
    """

    name: str
    site: str
    claimed: Path
    mark: tuple[int, int]
    sha256: str
    modified_at: datetime
    received_at: datetime
    content: bytes

    @property
    def size(self) -> int:
        return self.mark[0]

    @property
    def drop_id(self) -> str:
        """Of site and bytes: the same bytes under another name are the same drop, at another site they are another one."""
        return hashlib.sha256(f"{self.site}\0{self.sha256}".encode()).hexdigest()[:16]


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
            if not is_deliverable(path.relative_to(folder)):
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
                        is_marked_done=done_marker(path) is not None,
                    )
                )
        yield from sorted(found, key=lambda f: (f.modified_ns, f.name))

    def claim(self, name: str) -> Path:
        """Take landing/<name> out of the listing by a rename, so that what is read is what will be archived.

        A gateway may put another file under the same name meanwhile. Raises ValueError for a name outside the landing
        zone, FileNotFoundError where the file is gone.
        """
        root = Path(self.landing).resolve()
        source = Path(self.landing, name)
        if len(Path(name).parts) < 2 or not source.resolve().is_relative_to(root / Path(name).parts[0]) or source.is_symlink():
            raise ValueError(f"{name!r} is not a file in landing/<site>/.")
        claimed = root / CLAIMED / name
        claimed.parent.mkdir(parents=True, exist_ok=True)
        source.rename(claimed)
        return claimed

    def claimed(self) -> list[str]:
        """Names, relative to landing/, of the files that an intake is reading, or had claimed when it died."""
        root = Path(self.landing, CLAIMED)
        return [str(path.relative_to(root)) for path in sorted(root.rglob("*")) if path.is_file()]

    def return_claimed(self) -> None:
        """Put back what an intake that died had claimed; where a new file has its name by now, beside it."""
        for name in self.claimed():
            self.unclaim(Path(self.landing, CLAIMED, name))

    def unclaim(self, claimed: Path) -> None:
        root = Path(self.landing).resolve()
        target = root / claimed.resolve().relative_to(root / CLAIMED)
        target.parent.mkdir(parents=True, exist_ok=True)
        while target.exists():
            target = target.with_name(f"again_{target.name}")
        claimed.rename(target)

    def read(self, name: str) -> Delivery:
        """Claim and read landing/<name>. Raises as `claim`, and UnreadableDelivery where it cannot be unpacked."""
        landed = Path(self.landing, name).stat()
        claimed = self.claim(name)
        raw = claimed.read_bytes()
        delivery = Delivery(
            name=name,
            site=Path(name).parts[0],
            claimed=claimed,
            mark=(len(raw), claimed.stat().st_mtime_ns),
            sha256=hashlib.sha256(raw).hexdigest(),
            modified_at=datetime.fromtimestamp(landed.st_mtime_ns / 1e9, tz=UTC),
            # A copy that keeps the original's modification time arrived when its inode changed.
            received_at=datetime.fromtimestamp(max(landed.st_mtime_ns, landed.st_ctime_ns) / 1e9, tz=UTC),
            content=raw,
        )
        if claimed.suffix != ".gz":
            return delivery
        try:
            with gzip.open(claimed) as packed:
                content = packed.read(self.max_unpacked_bytes + 1)
        except (OSError, EOFError, ValueError, zlib.error) as error:
            raise UnreadableDelivery(f"The gzip file cannot be unpacked: {error}. Deliver it again.", delivery) from error
        if len(content) > self.max_unpacked_bytes:
            raise UnreadableDelivery(f"Unpacked it would exceed {self.max_unpacked_bytes:,} bytes. Deliver it in parts.", delivery)
        return replace(delivery, content=content)

    def is_still_written(self, delivery: Delivery) -> bool:
        """Whether the file has changed since it was read: its sender had only paused."""
        status = delivery.claimed.stat()
        return (status.st_size, status.st_mtime_ns) != delivery.mark

    def kept_name(self, delivery: Delivery, *, is_refused: bool) -> str:
        """Where the original will lie, relative to the data folder; the drop id keeps names of equal files apart."""
        folder = "quarantine" if is_refused else "archive"
        name = os.fsencode(Path(delivery.name).name)[-MAX_KEPT_BYTES:].decode(errors="ignore")
        return str(Path(folder, "drops", delivery.site, f"{delivery.drop_id}_{name}"))

    def keep(self, delivery: Delivery, *, is_refused: bool) -> None:
        """Move the original out of the landing zone; repeating it is harmless."""
        root = Path(self.quarantine if is_refused else self.archive).parent
        target = root / self.kept_name(delivery, is_refused=is_refused)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(delivery.claimed, target)
        if marker := done_marker(Path(self.landing, delivery.name)):
            marker.unlink(missing_ok=True)

    def quarantined_rows_path(self, delivery: Delivery) -> Path:
        return Path(self.quarantine, "rows", delivery.site, f"{delivery.drop_id}.parquet")


def done_marker(path: Path) -> Path | None:
    """The sender's word, in a file beside it, that a file is complete."""
    name = path.name + DONE_SUFFIX
    if len(os.fsencode(name)) > MAX_NAME_BYTES:
        return None
    marker = path.with_name(name)
    return marker if marker.exists() else None


def is_deliverable(path: Path) -> bool:
    """Whether a name, relative to a site's folder, is one that a finished file bears."""
    return not any(part.startswith(".") for part in path.parts) and path.suffix not in (*UNFINISHED_SUFFIXES, DONE_SUFFIX)


def drop_file(content: bytes | Path, folder: Path, name: str) -> Path:
    """Write bytes, or a copy of a file, into a landing folder as a careful gateway does: complete under an ignored name, then renamed."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{name}.tmp"
    if isinstance(content, Path):
        shutil.copyfile(content, temporary)
    else:
        temporary.write_bytes(content)
    target = folder / name
    temporary.replace(target)
    return target
