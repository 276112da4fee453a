"""Drops, their segments and what was refused of them, in the ledger."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, func, insert, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert

from resources.ledger.tables import deliveries, drops, quarantine_counts, segments


@dataclass(frozen=True)
class Segment:
    """The accepted rows of one drop for one site-day."""

    day: date
    rows: int
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True)
class PendingSiteDay:
    """A site-day with segments that have not gone through the whole chain: not merged, or merged by a run that then died."""

    site: str
    day: date
    drop_ids: tuple[str, ...]


def is_accepted(connection: Connection, drop_id: str) -> bool:
    """Whether these bytes were taken in for this site before; a drop that was refused may be delivered again."""
    query = select(drops.c.drop_id).where(drops.c.drop_id == drop_id, drops.c.state == "accepted")
    return connection.scalar(query) is not None


def lock_intake(connection: Connection) -> None:
    """Until the transaction ends, no other run takes files in: it would find this one's claimed files and take them for left over."""
    connection.execute(text("select pg_advisory_xact_lock(hashtext('smart_maintenance.intake'))"))


def record_drop(connection: Connection, drop: Mapping[str, Any], *, taken: Sequence[Segment], refused: Sequence[Mapping[str, Any]]) -> bool:
    """Write the drop, its segments and its quarantine counts; False where it was accepted before.

    `drop` has the columns of `drops` but drop_seq and taken_in_at; `refused` has day, sensor_id, reason, rows.
    Its place in the order of intake, drop_seq, is the next: an intake that dies gives its number back.
    A drop that was refused and is delivered again gets a new one, as it is the later.
    """
    connection.execute(text("select pg_advisory_xact_lock(hashtext('smart_maintenance.drop_seq'))"))
    if is_accepted(connection, drop["drop_id"]):
        return False
    drop_seq: int = connection.scalars(select(func.coalesce(func.max(drops.c.drop_seq), 0) + 1)).one()
    values = {**drop, "drop_seq": drop_seq, "taken_in_at": func.clock_timestamp()}
    connection.execute(upsert(drops).values(**values).on_conflict_do_update(index_elements=["drop_id"], set_=values))
    owner = {"drop_id": drop["drop_id"], "site": drop["site"]}
    if taken:
        connection.execute(insert(segments), [{**owner, **vars(segment)} for segment in taken])
    if refused:
        connection.execute(insert(quarantine_counts), [{**owner, **count} for count in refused])
    return True


def record_delivery(connection: Connection, *, drop_id: str, site: str, file_name: str, delivered_at: datetime, is_duplicate: bool) -> None:
    """One row per delivered file; a delivery seen again, after an intake that died, stays the one it was."""
    connection.execute(
        upsert(deliveries)
        .values(drop_id=drop_id, site=site, file_name=file_name, delivered_at=delivered_at, is_duplicate=is_duplicate)
        .on_conflict_do_nothing()
    )


def pending_site_days(connection: Connection, *, site: str | None = None) -> list[PendingSiteDay]:
    """Site-days with segments that have not gone through the whole chain, oldest first."""
    query = (
        select(segments.c.site, segments.c.day, func.array_agg(segments.c.drop_id))
        .where(segments.c.processed_at.is_(None))
        .group_by(segments.c.site, segments.c.day)
        .order_by(segments.c.day, segments.c.site)
    )
    if site:
        query = query.where(segments.c.site == site)
    return [PendingSiteDay(s, d, tuple(sorted(ids))) for s, d, ids in connection.execute(query)]


def lock_site_day(connection: Connection, *, site: str, day: date) -> None:
    """Until the transaction ends, no other run merges this site-day: it would overwrite what this one merged."""
    connection.execute(text("select pg_advisory_xact_lock(hashtext(:name))"), {"name": f"smart_maintenance.merge {site} {day}"})


def segments_of(connection: Connection, *, site: str, day: date, only_unmerged: bool) -> list[tuple[int, str]]:
    """(drop_seq, drop_id) of the site-day's segments in the order of intake."""
    query = (
        select(drops.c.drop_seq, drops.c.drop_id)
        .join(segments, segments.c.drop_id == drops.c.drop_id)
        .where(segments.c.site == site, segments.c.day == day)
        .order_by(drops.c.drop_seq)
    )
    if only_unmerged:
        query = query.where(segments.c.merged_at.is_(None))
    return [(seq, drop_id) for seq, drop_id in connection.execute(query)]


def mark_merged(connection: Connection, *, site: str, day: date, drop_ids: Collection[str]) -> None:
    waiting = (segments.c.site == site, segments.c.day == day, segments.c.drop_id.in_(drop_ids), segments.c.merged_at.is_(None))
    connection.execute(update(segments).where(*waiting).values(merged_at=func.clock_timestamp()))


def mark_assessed(connection: Connection, *, site: str, day: date) -> None:
    """The site-day's work orders rest on what was merged."""
    waiting = (segments.c.site == site, segments.c.day == day, segments.c.merged_at.is_not(None), segments.c.assessed_at.is_(None))
    connection.execute(update(segments).where(*waiting).values(assessed_at=func.clock_timestamp()))


def mark_processed(connection: Connection, *, site: str, day: date) -> None:
    """Schedule and reports rest on what was assessed: the site-day is no longer pending."""
    waiting = (segments.c.site == site, segments.c.day == day, segments.c.assessed_at.is_not(None), segments.c.processed_at.is_(None))
    connection.execute(update(segments).where(*waiting).values(processed_at=func.clock_timestamp()))


def refused_by_sensor(connection: Connection, *, site: str, day: date, reason: str) -> dict[str, int]:
    """Rows of the site-day refused for one reason, per sensor."""
    query = (
        select(quarantine_counts.c.sensor_id, func.sum(quarantine_counts.c.rows))
        .where(
            quarantine_counts.c.site == site,
            quarantine_counts.c.day == day,
            quarantine_counts.c.reason == reason,
            quarantine_counts.c.sensor_id.is_not(None),
        )
        .group_by(quarantine_counts.c.sensor_id)
    )
    return {sensor_id: int(rows) for sensor_id, rows in connection.execute(query)}


def days_with_readings(connection: Connection, *, site: str) -> list[date]:
    return list(connection.scalars(select(segments.c.day).where(segments.c.site == site).distinct().order_by(segments.c.day)))


def processed_days(connection: Connection, *, site: str) -> list[date]:
    """Days whose every segment has gone through the chain."""
    query = (
        select(segments.c.day)
        .where(segments.c.site == site)
        .group_by(segments.c.day)
        .having(func.bool_and(segments.c.processed_at.is_not(None)))
        .order_by(segments.c.day)
    )
    return list(connection.scalars(query))
