"""What lies in quarantine, in the ledger: groups of rows refused alike, files refused whole, and what was released.

A release is a drop of its own. Rows that it refuses again lie in quarantine under its own id; the file in which they stand is
still the first one, its origin.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import pandas as pd
from sqlalchemy import CTE, ColumnElement, Connection, false, func, select, update

from resources.ledger.rows import read_frame
from resources.ledger.tables import drops, quarantine_counts
from resources.quarantine import Group


def _chain() -> CTE:
    """(drop_id, origin_id): every drop with itself and with all that it goes back to; the origin proper releases nothing."""
    chain = select(drops.c.drop_id, drops.c.drop_id.label("origin_id"), drops.c.releases).cte("chain", recursive=True)
    earlier = drops.alias("earlier")
    return chain.union_all(select(chain.c.drop_id, earlier.c.drop_id, earlier.c.releases).where(earlier.c.drop_id == chain.c.releases))


_CHAIN = _chain()


class UnknownDrop(Exception):
    """No drop, or more than one, bears this id; the message names it."""


class NotReleasable(Exception):
    """Rows cannot be released: they do not lie in quarantine, or not any more; the message says which."""


@dataclass(frozen=True)
class Selection:
    """Which groups; what is None does not matter. Days are UTC and inclusive.

    `drop_id` stands for the drop and for every one that released rows of it.
    """

    site: str | None = None
    drop_id: str | None = None
    reasons: Collection[str] | None = None
    sensor_ids: Collection[str] | None = None
    start: date | None = None
    end: date | None = None


@dataclass(frozen=True)
class Origin:
    """The delivered file in which a drop's rows stand: the drop itself, or for a release the first drop of its chain."""

    drop_id: str
    site: str
    file_name: str
    kept_as: str
    received_at: datetime


def drop_named(connection: Connection, prefix: str) -> dict[str, Any]:
    """The row of `drops` whose id is, or begins with, `prefix`. Raises UnknownDrop."""
    found = connection.execute(
        select(drops).where(drops.c.drop_id.startswith(prefix, autoescape=True)).order_by(drops.c.drop_id).limit(4)
    ).mappings()
    rows = [dict(row) for row in found]
    if not prefix or not rows:
        raise UnknownDrop(f"There is no drop {prefix!r}; `maintenance quarantine list` shows those with rows in quarantine.")
    if len(rows) > 1:
        shown = ", ".join(row["drop_id"] for row in rows[:3])
        raise UnknownDrop(f"More than one drop begins with {prefix!r} ({shown}{', ...' if len(rows) > 3 else ''}); write more of its id.")
    return rows[0]


def origin_of(connection: Connection, drop_id: str, *, site: str) -> Origin:
    """Raises NotReleasable where the site has no such drop."""
    origin = drops.alias("origin")
    row = connection.execute(
        select(origin.c.drop_id, origin.c.site, origin.c.file_name, origin.c.kept_as, origin.c.received_at)
        .join(_CHAIN, _CHAIN.c.origin_id == origin.c.drop_id)
        .where(_CHAIN.c.drop_id == drop_id, origin.c.site == site, origin.c.releases.is_(None))
    ).one_or_none()
    if row is None:
        raise NotReleasable(f"the site {site} has no drop {drop_id}")
    return Origin(*row)


def mark_released(connection: Connection, drop_id: str, groups: Collection[Group], *, released_by: str) -> int:
    """These groups no longer lie in quarantine; the number of rows in them.

    Raises NotReleasable, having changed nothing, where one of them is not there or was released before.
    """
    q = quarantine_counts
    waiting = {
        Group(day=row.day, sensor_id=row.sensor_id, reason=row.reason): row
        for row in connection.execute(select(q).where(q.c.drop_id == drop_id).with_for_update())
    }
    for group in groups:
        row = waiting.get(group)
        if row is None:
            raise NotReleasable(f"no rows of drop {drop_id} lie in quarantine as {_words(group)}")
        if row.released_by is not None:
            raise NotReleasable(
                f"the rows of drop {drop_id} in quarantine as {_words(group)} were released before, by drop {row.released_by}"
            )
    found = [waiting[group] for group in set(groups)]
    connection.execute(update(q).where(q.c.count_id.in_([row.count_id for row in found])).values(released_by=released_by))
    return sum(row.rows for row in found)


def quarantined_groups(connection: Connection, which: Selection, *, with_released: bool = False) -> pd.DataFrame:
    """Groups of quarantined rows, the latest drop first.

    Columns: drop_id, site, file_name (of the origin), taken_in_at, reason, sensor_id, day, rows, released_by, releases.
    """
    q, origin = quarantine_counts, drops.alias("origin")
    conditions = _conditions(which, day=q.c.day)
    if which.reasons is not None:
        conditions.append(q.c.reason.in_(which.reasons))
    if which.sensor_ids is not None:
        conditions.append(q.c.sensor_id.in_(which.sensor_ids))
    if not with_released:
        conditions.append(q.c.released_by.is_(None))
    columns = (drops.c.drop_id, drops.c.site, origin.c.file_name, drops.c.taken_in_at, q.c.reason, q.c.sensor_id, q.c.day, q.c.rows)
    query = (
        select(*columns, q.c.released_by, drops.c.releases)
        .join(q, q.c.drop_id == drops.c.drop_id)
        .join(_CHAIN, _CHAIN.c.drop_id == drops.c.drop_id)
        .join(origin, origin.c.drop_id == _CHAIN.c.origin_id)
        .where(origin.c.releases.is_(None), *conditions)
        .order_by(drops.c.drop_seq.desc(), q.c.reason, q.c.sensor_id, q.c.day)
    )
    return read_frame(connection, query)


def refused_files(connection: Connection, which: Selection) -> pd.DataFrame:
    """Files refused whole, the latest first; columns drop_id, site, file_name, taken_in_at, refused_because, kept_as.

    Days are those on which a file was received. It has no reason or sensor: where one is asked for, there are no files.
    """
    conditions = _conditions(which, day=func.date(drops.c.received_at))
    if which.reasons is not None or which.sensor_ids is not None:
        conditions.append(false())
    columns = (drops.c.drop_id, drops.c.site, drops.c.file_name, drops.c.taken_in_at, drops.c.refused_because, drops.c.kept_as)
    return read_frame(connection, select(*columns).where(drops.c.state == "refused", *conditions).order_by(drops.c.drop_seq.desc()))


def releases_of(connection: Connection, which: Selection) -> pd.DataFrame:
    """Releases, the latest first; columns drop_id, site, taken_in_at, releases, rows_..., kept_as. Days are those of their arrival."""
    rows = [drops.c[f"rows_{what}"] for what in ("in", "accepted", "duplicate", "quarantined")]
    columns = (drops.c.drop_id, drops.c.site, drops.c.taken_in_at, drops.c.releases, *rows, drops.c.kept_as)
    conditions = _conditions(which, day=func.date(drops.c.received_at))
    return read_frame(connection, select(*columns).where(drops.c.releases.is_not(None), *conditions).order_by(drops.c.drop_seq.desc()))


def n_releases(connection: Connection, drop_id: str) -> int:
    """Drops that released rows of this one."""
    return connection.scalars(select(func.count()).select_from(drops).where(drops.c.releases == drop_id)).one()


def drop_of_bytes(connection: Connection, *, site: str, sha256: str) -> dict[str, Any] | None:
    """What became of these bytes, delivered to this site."""
    row = connection.execute(select(drops).where(drops.c.site == site, drops.c.sha256 == sha256)).mappings().one_or_none()
    return None if row is None else dict(row)


def _conditions(which: Selection, *, day: ColumnElement[Any]) -> list[ColumnElement[bool]]:
    conditions = []
    if which.site is not None:
        conditions.append(drops.c.site == which.site)
    if which.drop_id is not None:
        its = _CHAIN.alias("its")
        conditions.append(drops.c.drop_id.in_(select(its.c.drop_id).where(its.c.origin_id == which.drop_id)))
    if which.start is not None:
        conditions.append(day >= which.start)
    if which.end is not None:
        conditions.append(day <= which.end)
    return conditions


def _words(group: Group) -> str:
    return f"{group.reason}, sensor {group.sensor_id or 'unknown'}, day {group.day or 'unknown'}"
