"""What the ledger says of drops and what they add up to: those of one run, or all that were ever taken in."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from sqlalchemy import Connection, func, or_, select

from resources.ledger.tables import drops, quarantine_counts, segments


@dataclass(frozen=True)
class DropSums:
    """What a drop is said to hold, and what its quarantine counts and segments add up to."""

    drop_id: str
    file_name: str
    rows_in: int
    rows_accepted: int
    rows_duplicate: int
    rows_quarantined: int
    rows_counted: int
    rows_in_segments: int


@dataclass(frozen=True)
class KeptDrop:
    """Where a drop's original lies, relative to the data folder, and what it must be."""

    drop_id: str
    site: str
    file_name: str
    kept_as: str
    size_bytes: int
    sha256: str
    rows_quarantined: int


@dataclass(frozen=True)
class KnownSegment:
    drop_id: str
    drop_seq: int
    site: str
    day: date
    rows: int
    is_merged: bool


def drops_that_do_not_add_up(connection: Connection, *, run_id: str | None = None) -> list[DropSums]:
    """Of all drops, or of those that one run took in: rows in = accepted + duplicate + quarantined, all of them in segments and counts.

    Whether rows were released from quarantine since makes no difference: the drop that refused them goes on counting them.
    """
    d = drops.c
    in_counts, in_segments = (
        select(func.coalesce(func.sum(table.c.rows), 0)).where(table.c.drop_id == d.drop_id).scalar_subquery()
        for table in (quarantine_counts, segments)
    )
    is_wrong = or_(
        d.rows_in != d.rows_accepted + d.rows_duplicate + d.rows_quarantined,
        d.rows_quarantined != in_counts,
        d.rows_accepted != in_segments,
    )
    query = (
        select(d.drop_id, d.file_name, d.rows_in, d.rows_accepted, d.rows_duplicate, d.rows_quarantined, in_counts, in_segments)
        .where(is_wrong)
        .order_by(d.drop_seq)
    )
    if run_id is not None:
        query = query.where(d.run_id == run_id)
    return [DropSums(drop_id, name, *map(int, figures)) for drop_id, name, *figures in connection.execute(query)]


def count_drops(connection: Connection) -> int:
    return connection.scalars(select(func.count()).select_from(drops)).one()


def kept_drops(connection: Connection) -> Iterator[KeptDrop]:
    d = drops.c
    query = select(d.drop_id, d.site, d.file_name, d.kept_as, d.size_bytes, d.sha256, d.rows_quarantined).order_by(d.drop_seq)
    for row in connection.execute(query):
        yield KeptDrop(*row)


def known_segments(connection: Connection, *, site: str | None = None, day: date | None = None) -> Iterator[KnownSegment]:
    """All of them, or a site-day's; site-day after site-day, in the order of intake."""
    s = segments.c
    query = (
        select(s.drop_id, drops.c.drop_seq, s.site, s.day, s.rows, s.merged_at.is_not(None))
        .join(drops, drops.c.drop_id == s.drop_id)
        .order_by(s.day, s.site, drops.c.drop_seq)
    )
    if site is not None:
        query = query.where(s.site == site)
    if day is not None:
        query = query.where(s.day == day)
    for row in connection.execute(query.execution_options(yield_per=10_000)):
        yield KnownSegment(*row)
