"""Drops, their segments and what was refused of them, in the ledger."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, func, insert, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert

from resources.ledger.reopening import reopen_site_days
from resources.ledger.tables import deliveries, drops, quarantine_counts, segments

COSTS_GRADE = "out_of_physical_range"  # rows refused for this reason count in the sensor's quality


@dataclass(frozen=True)
class Segment:
    """The accepted rows of one drop for one site-day."""

    day: date
    rows: int
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True)
class TakenDrop:
    """`drop` has the columns of `drops` but drop_seq and taken_in_at; `refused` has day, sensor_id, reason, rows."""

    drop: Mapping[str, Any]
    segments: Sequence[Segment]
    refused: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class PendingSiteDay:
    """A site-day with segments that have not gone through the whole chain: not merged, merged by a run that then died, or reopened."""

    site: str
    day: date
    drop_ids: tuple[str, ...]
    is_merged: bool
    reopened_at: datetime | None


def accepted_among(connection: Connection, drop_ids: Collection[str]) -> set[str]:
    """Those that were taken in before; a drop that was refused may be delivered again."""
    query = select(drops.c.drop_id).where(drops.c.drop_id.in_(drop_ids), drops.c.state == "accepted")
    return set(connection.scalars(query))


def lock_intake(connection: Connection) -> None:
    """Until the transaction ends, no other run takes files in: it would find this one's claimed files and take them for left over."""
    connection.execute(text("select pg_advisory_xact_lock(hashtext('smart_maintenance.intake'))"))


def record_drops(connection: Connection, taken: Sequence[TakenDrop]) -> None:
    """Write the drops with their segments and quarantine counts; what was accepted before stays as it is.

    A drop's place in the order of intake, drop_seq, is the next: an intake that dies gives its number back. A drop that was refused
    and is now accepted gets a new one, as it is the later; one that is refused again keeps its own.
    """
    connection.execute(text("select pg_advisory_xact_lock(hashtext('smart_maintenance.drop_seq'))"))
    query = select(drops.c.drop_id, drops.c.drop_seq, drops.c.state).where(drops.c.drop_id.in_([t.drop["drop_id"] for t in taken]))
    known = {drop_id: (seq, state) for drop_id, seq, state in connection.execute(query)}
    latest: int = connection.scalars(select(func.coalesce(func.max(drops.c.drop_seq), 0))).one()
    new: dict[str, TakenDrop] = {}
    for one in taken:
        state = known.get(one.drop["drop_id"], (0, ""))[1]
        if state != "accepted":
            new.setdefault(one.drop["drop_id"], one)
    if not new:
        return
    rows = []
    for drop_id, one in new.items():
        seq, state = known.get(drop_id, (0, ""))
        if state != "refused" or one.drop["state"] != "refused":
            seq = latest = latest + 1
        rows.append({**one.drop, "drop_seq": seq})
    insertion = upsert(drops).values(taken_in_at=func.clock_timestamp())
    changed = {c.name: insertion.excluded[c.name] for c in drops.c if c.name != "drop_id"}
    connection.execute(insertion.on_conflict_do_update(index_elements=["drop_id"], set_=changed), rows)
    owners = [({"drop_id": drop_id, "site": one.drop["site"]}, one) for drop_id, one in new.items()]
    if segments_taken := [{**owner, **vars(segment)} for owner, one in owners for segment in one.segments]:
        connection.execute(insert(segments), segments_taken)
    if counts := [{**owner, **count} for owner, one in owners for count in one.refused]:
        connection.execute(insert(quarantine_counts), counts)
    for owner, one in owners:
        _reopen_graded(connection, one, site=owner["site"])


def _reopen_graded(connection: Connection, taken: TakenDrop, *, site: str) -> None:
    """Days whose grades rest on rows that the drop had refused, or released from quarantine, wait as if their segments were new.

    A day that it has readings for waits anyway.
    """
    days = {count["day"] for count in taken.refused if count["reason"] == COSTS_GRADE}
    if origin := taken.drop.get("releases"):
        q = quarantine_counts.c
        days.update(connection.scalars(select(q.day).where(q.drop_id == origin, q.reason == COSTS_GRADE)))
    if days := days - {s.day for s in taken.segments}:
        reopen_site_days(connection, site=site, days=days, is_merge_anew=True)


def record_deliveries(connection: Connection, delivered: Sequence[Mapping[str, Any]]) -> None:
    """One row per delivered file; a delivery seen again, after an intake that died, stays the one it was."""
    connection.execute(upsert(deliveries).on_conflict_do_nothing(), list(delivered))


def pending_site_days(connection: Connection, *, site: str | None = None) -> list[PendingSiteDay]:
    """Site-days with segments that have not gone through the whole chain, oldest first."""
    s = segments.c
    query = (
        select(s.site, s.day, func.array_agg(s.drop_id), func.bool_and(s.merged_at.is_not(None)), func.max(s.reopened_at))
        .where(segments.c.processed_at.is_(None))
        .group_by(segments.c.site, segments.c.day)
        .order_by(segments.c.day, segments.c.site)
    )
    if site:
        query = query.where(segments.c.site == site)
    return [PendingSiteDay(at, day, tuple(sorted(ids)), merged, reopened) for at, day, ids, merged, reopened in connection.execute(query)]


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


def mark_merged(connection: Connection, *, site: str, day: date, drop_ids: Collection[str]) -> bool:
    """Whether any of them was waiting for it."""
    waiting = (segments.c.site == site, segments.c.day == day, segments.c.drop_id.in_(drop_ids), segments.c.merged_at.is_(None))
    return connection.execute(update(segments).where(*waiting).values(merged_at=func.clock_timestamp())).rowcount > 0


def mark_assessed(connection: Connection, *, site: str, day: date) -> None:
    """The site-day's work orders rest on what was merged."""
    waiting = (segments.c.site == site, segments.c.day == day, segments.c.merged_at.is_not(None), segments.c.assessed_at.is_(None))
    connection.execute(update(segments).where(*waiting).values(assessed_at=func.clock_timestamp()))


def mark_processed(connection: Connection, *, site: str, day: date) -> None:
    """Schedule and reports rest on what was assessed: the site-day is no longer pending."""
    waiting = (segments.c.site == site, segments.c.day == day, segments.c.assessed_at.is_not(None), segments.c.processed_at.is_(None))
    connection.execute(update(segments).where(*waiting).values(processed_at=func.clock_timestamp()))


def refused_by_sensor(connection: Connection, *, site: str, day: date, reason: str) -> dict[str, int]:
    """Rows of the site-day that lie in quarantine for one reason, per sensor; those released were judged anew."""
    query = (
        select(quarantine_counts.c.sensor_id, func.sum(quarantine_counts.c.rows))
        .where(
            quarantine_counts.c.site == site,
            quarantine_counts.c.day == day,
            quarantine_counts.c.reason == reason,
            quarantine_counts.c.sensor_id.is_not(None),
            quarantine_counts.c.released_by.is_(None),
        )
        .group_by(quarantine_counts.c.sensor_id)
    )
    return {sensor_id: int(rows) for sensor_id, rows in connection.execute(query)}


def days_with_readings(connection: Connection, *, site: str) -> list[date]:
    return list(connection.scalars(select(segments.c.day).where(segments.c.site == site).distinct().order_by(segments.c.day)))


def last_reading_at(connection: Connection, *, site: str) -> datetime | None:
    last: datetime | None = connection.scalar(select(func.max(segments.c.last_at)).where(segments.c.site == site))
    return last


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
