"""The landing zone: where drops arrive, where untouched originals are kept, where refused ones lie.

Names are relative to landing/ and as `shown` writes them: without control characters, right-to-left marks or bytes that are no text,
so that they can stand in logs, reports, run configuration and the ledger. `place_of` finds the file again.
"""

import hashlib
import math
import os
import re
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg

from resources.failpoints import fail_point

UNFINISHED_SUFFIXES = (".tmp", ".part", ".partial", ".filepart")
DONE_SUFFIX = ".done"
CLAIMED = ".claimed"  # files lie in landing/.claimed/<arrival in us>/<name> while they are taken in
MAX_NAME_BYTES = 255
MAX_KEPT_BYTES = 200  # of a delivered name, counted from its end: with the drop id before it, it must fit into MAX_NAME_BYTES
MAX_DEPTH = 16  # folders below landing/<site>/; a path that is too long for the system would stop the listing
_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@dataclass(frozen=True)
class LandedFile:
    """A file in landing/<site>/."""

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
class NotAFile:
    """What lies in the landing zone and cannot be taken in, with the reason."""

    name: str
    reason: str


@dataclass(frozen=True)
class Claim:
    """A file taken out of the listing, so that nobody else takes it; `arrived_at` outlives the death of who claimed it."""

    name: str
    path: Path
    size: int
    arrived_at: datetime

    @property
    def site(self) -> str:
        return self.name.split("/", 1)[0]


@dataclass(frozen=True)
class Delivery:
    """A claimed file and what its bytes are; `mark` changes if its sender still writes to it."""

    name: str
    site: str
    claimed: Path
    mark: tuple[int, int]
    sha256: str
    modified_at: datetime
    received_at: datetime

    @property
    def size(self) -> int:
        return self.mark[0]

    @property
    def drop_id(self) -> str:
        """Of site and bytes: the same bytes under another name are the same drop, at another site they are another one."""
        return hashlib.sha256(f"{self.site}\0{self.sha256}".encode()).hexdigest()[:16]


class LandingResource(dg.ConfigurableResource):
    """The three folders that delivered files pass through."""

    landing: str
    archive: str
    quarantine: str

    def files(self, *, site: str) -> Iterator[LandedFile]:
        """Every deliverable file of a site, oldest first; names that mark an unfinished or hidden file are ignored."""
        found = (entry for entry in self.entries(site=site) if isinstance(entry, LandedFile))
        yield from sorted(found, key=lambda f: (f.modified_ns, f.name))

    def entries(self, *, site: str) -> Iterator[LandedFile | NotAFile]:
        """What lies in a site's folder and the folders in it, in no order; links are not followed."""
        folder = Path(self.landing, site)
        if folder.is_symlink():
            yield NotAFile(site, _is_no_file(stat.S_IFLNK))
        elif folder.is_dir():
            yield from self._entries(str(folder), site=site, depth=0)

    def _entries(self, folder: str, *, site: str, depth: int) -> Iterator[LandedFile | NotAFile]:
        try:
            with os.scandir(folder) as listed:
                found = list(listed)
        except FileNotFoundError:
            return
        except OSError as error:
            yield NotAFile(self._name(folder), f"it is a folder that cannot be read ({error.strerror})")
            return
        names = {entry.name for entry in found}
        for entry in found:
            if not is_deliverable(Path(entry.name)):
                continue
            if not entry.is_dir(follow_symlinks=False):
                yield from self._entry(entry, site=site, is_marked_done=entry.name + DONE_SUFFIX in names)
            elif depth == MAX_DEPTH:
                yield NotAFile(self._name(entry.path), f"it lies more than {MAX_DEPTH} folders deep; deliver the files in it further up")
            else:
                yield from self._entries(entry.path, site=site, depth=depth + 1)

    def _entry(self, entry: os.DirEntry[str], *, site: str, is_marked_done: bool) -> Iterator[LandedFile | NotAFile]:
        try:
            status = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            return  # taken in, or renamed by its gateway, since the folder was listed
        name = self._name(entry.path)
        if stat.S_ISREG(status.st_mode):
            yield LandedFile(name, site, status.st_size, status.st_mtime_ns, is_marked_done)
        else:
            yield NotAFile(name, _is_no_file(status.st_mode))

    def _name(self, path: str) -> str:
        return shown(path[len(str(Path(self.landing))) + 1 :])

    def place_of(self, name: str) -> Path:
        """Where the file of this name lies. Raises ValueError for a name that does not lead to a place in landing/<site>/."""
        parts = landed(name).split("/")
        path = Path(self.landing, *parts)
        if len(parts) < 2 or parts[0] == CLAIMED or any(part in ("", ".", "..") or "\0" in part for part in parts):
            if len(parts) == 1 and path.is_symlink():
                raise ValueError(_is_no_file(stat.S_IFLNK))
            raise ValueError("it is not the name of a file in landing/<site>/")
        if os.path.realpath(path.parent) != os.path.join(os.path.realpath(self.landing), *parts[:-1]):  # noqa: PTH118 - as text
            raise ValueError("it lies behind a symbolic link; deliver the file itself into landing/<site>/")
        return path

    def in_order(self, names: Iterable[str]) -> list[str]:
        """By modification time, then name, as files are taken in; what is gone or no file comes last."""

        def order(name: str) -> tuple[float, str]:
            try:
                return self.place_of(name).lstat().st_mtime_ns, name
            except (OSError, ValueError):
                return math.inf, name

        return sorted(names, key=order)

    def claim(self, name: str) -> Claim:
        """Take the file out of the listing by a rename, so that what is read is what will be archived.

        A gateway may put another file under the same name meanwhile. Its mark goes first: left behind by a death, it would say of
        the next file of this name that it is complete. Raises ValueError for what is no file in landing/<site>/, FileNotFoundError
        where it is gone.
        """
        place = self.place_of(name)
        status = place.lstat()
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(_is_no_file(status.st_mode))
        if marker := done_marker(place):
            marker.unlink(missing_ok=True)
            fail_point("intake.marker_removed")
        # A copy that keeps the original's modification time arrived when its inode changed; the rename changes it again.
        arrived_us = max(status.st_mtime_ns, status.st_ctime_ns) // 1_000
        relative = place.relative_to(self.landing)
        while (claimed := Path(self.landing, CLAIMED, str(arrived_us), relative)).exists():
            arrived_us += 1
        claimed.parent.mkdir(parents=True, exist_ok=True)
        place.rename(claimed)
        fail_point("intake.claimed")
        return self._claim(claimed)

    def _claim(self, path: Path) -> Claim:
        arrived_us, name = str(path)[len(str(Path(self.landing, CLAIMED))) + 1 :].split("/", 1)
        return Claim(shown(name), path, path.lstat().st_size, datetime.fromtimestamp(int(arrived_us) / 1e6, tz=UTC))

    def leftovers(self) -> list[Claim]:
        """What an intake is reading, or had claimed when it died, in the order in which files are taken in."""
        paths = [path for path in Path(self.landing, CLAIMED).rglob("*") if path.is_file()]
        claims = [(path.stat().st_mtime_ns, self._claim(path)) for path in paths]
        return [claim for _, claim in sorted(claims, key=lambda c: (c[0], c[1].name))]

    def forget_empty_claims(self) -> None:
        """Remove what is left of claims whose file was never moved, or is moved on; while no intake is under way."""
        folders = [path for path in Path(self.landing, CLAIMED).rglob("*") if path.is_dir()]
        for folder in sorted(folders, reverse=True):
            with suppress(OSError):  # it is not empty
                folder.rmdir()

    def claimed(self) -> list[str]:
        """Names of the files that an intake is reading, or had claimed when it died."""
        return [claim.name for claim in self.leftovers()]

    def holds(self, name: str) -> bool:
        """Whether a file of this name lies in the landing zone, claimed or not."""
        return name in self.claimed() or Path(self.landing, landed(name)).exists()

    def put_back(self, claim: Claim | Delivery) -> None:
        """Into the listing again; where a new file has its name by now, beside it."""
        path = claim.path if isinstance(claim, Claim) else claim.claimed
        target = Path(self.landing, landed(claim.name))
        target.parent.mkdir(parents=True, exist_ok=True)
        while target.exists():
            target = target.with_name("again_" + _ending(target.name, MAX_NAME_BYTES - len("again_")))
        path.rename(target)
        self._tidy(path)

    def examine(self, claim: Claim) -> Delivery:
        """Hash a claimed file, in steps, whatever its size. Raises OSError, ValueError for what is no file."""
        # Neither a link nor a pipe that took the file's place between look and rename is followed or waited for.
        with os.fdopen(os.open(claim.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb", buffering=0) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ValueError(_is_no_file(status.st_mode))
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        fail_point("intake.hashed")
        return Delivery(
            name=claim.name,
            site=claim.site,
            claimed=claim.path,
            mark=(status.st_size, status.st_mtime_ns),
            sha256=sha256,
            modified_at=datetime.fromtimestamp(status.st_mtime_ns / 1e9, tz=UTC),
            received_at=claim.arrived_at,
        )

    def is_still_written(self, delivery: Delivery) -> bool:
        """Whether the file has changed since it was read: its sender had only paused."""
        status = delivery.claimed.stat()
        return (status.st_size, status.st_mtime_ns) != delivery.mark

    def kept_name(self, delivery: Delivery, *, is_refused: bool) -> str:
        """Where the original will lie, relative to the data folder; the drop id keeps names of equal files apart."""
        folder = "quarantine" if is_refused else "archive"
        name = _ending(delivery.name.rsplit("/", 1)[-1], MAX_KEPT_BYTES)
        return str(Path(folder, "drops", delivery.site, f"{delivery.drop_id}_{name}"))

    def kept_path(self, kept_as: str) -> Path:
        """The place of a name from `kept_name`."""
        return Path(self.quarantine if kept_as.startswith("quarantine/") else self.archive).parent / kept_as

    def keep(self, delivery: Delivery, *, is_refused: bool) -> None:
        """Move the original out of the landing zone; repeating it is harmless."""
        target = self.kept_path(self.kept_name(delivery, is_refused=is_refused))
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(delivery.claimed, target)
        self._tidy(delivery.claimed)
        fail_point("intake.archived")

    def _tidy(self, claimed: Path) -> None:
        """Remove the folders that were made for one claim."""
        root = Path(self.landing, CLAIMED)
        with suppress(OSError):  # another claim of the same microsecond lies there
            for folder in claimed.parents:
                if folder == root:
                    return
                folder.rmdir()

    def quarantined_rows_path(self, *, site: str, drop_id: str) -> Path:
        return Path(self.quarantine, "rows", site, f"{drop_id}.parquet")


def _is_no_file(mode: int) -> str:
    return f"it is {_KINDS.get(stat.S_IFMT(mode), 'something else')}, not a file; deliver the file itself"


def shown(name: str) -> str:
    r"""A name with everything that cannot be printed, and the backslash, as `\xNN`, one for each byte; `landed` undoes it.

    >>> shown("line\n1/\u202evsc.gpj"), shown(os.fsdecode(b"caf\xe9.csv"))
    ('line\\x0a1/\\xe2\\x80\\xaevsc.gpj', 'caf\\xe9.csv')
    """
    if name.isprintable() and "\\" not in name:
        return name
    return "".join(c if c.isprintable() and c != "\\" else "".join(f"\\x{byte:02x}" for byte in os.fsencode(c)) for c in name)


def landed(name: str) -> str:
    r"""The name as the file bears it.

    >>> landed(shown("line\n1/\\x0a.csv")) == "line\n1/\\x0a.csv"
    True
    """
    if "\\" not in name:
        return name
    return os.fsdecode(re.sub(rb"\\x([0-9a-f]{2})", lambda match: bytes.fromhex(match[1].decode()), os.fsencode(name)))


def _ending(name: str, n_bytes: int) -> str:
    """The last `n_bytes` of a name, no character cut in two."""
    return os.fsdecode(os.fsencode(name)[-n_bytes:]) if name.isascii() else os.fsencode(name)[-n_bytes:].decode(errors="ignore")


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
    temporary = folder / f".{_ending(name, MAX_NAME_BYTES - len('..tmp'))}.tmp"
    if isinstance(content, Path):
        shutil.copyfile(content, temporary)
    else:
        temporary.write_bytes(content)
    target = folder / name
    temporary.replace(target)
    return target
