"""Shelvings in the ledger: who keeps which alarms quiet, from when to when, why, and who ended it. A row is never taken away."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pandas as pd
from sqlalchemy import ColumnElement, Connection, func, insert, select, update

from ml.plant import AlarmPolicy
from ml.shelving import Shelving, ShelvingRefused, demand_limited
from resources.ledger.rows import read_frame
from resources.ledger.tables import incidents, shelvings
from resources.ledger.work import lock_site


@dataclass(frozen=True)
class Target:
    """What is shelved: one incident, or with incident_id None a machine."""

    site: str
    machine_id: str
    incident_id: str | None = None

    @property
    def name(self) -> str:
        return self.incident_id or self.machine_id


def incident_target(connection: Connection, incident_id: str) -> Target:
    """An incident that the ledger has, as a target."""
    found = connection.execute(select(incidents.c.site, incidents.c.machine_id).where(incidents.c.incident_id == incident_id)).one()
    return Target(found.site, found.machine_id, incident_id)


def shelve(connection: Connection, target: Target, *, start_at: datetime, until: datetime, who: str, why: str, policy: AlarmPolicy) -> int:
    """Put it on the shelf, in the site's turn; returns the shelving's id.

    Raises ShelvingRefused: nobody named, no reason, longer than the policy allows, or shelved already.
    """
    _demand_named(who, why)
    demand_limited(start_at, until, policy=policy)
    lock_site(connection, target.site)
    standing = connection.execute(
        select(shelvings).where(*_about(target), shelvings.c.start_at < until, _end() > start_at).order_by(shelvings.c.shelving_id)
    ).mappings().first()  # fmt: skip
    if standing is not None:
        raise ShelvingRefused(
            f"{target.name} is shelved already, until {standing['until'].isoformat(timespec='minutes')} by {standing['who']} "
            f"({standing['why']}); unshelve it first"
        )
    row = {"site": target.site, "machine_id": target.machine_id, "incident_id": target.incident_id}
    made = insert(shelvings).values(**row, start_at=start_at, until=until, who=who, why=why).returning(shelvings.c.shelving_id)
    shelving_id: int = connection.scalars(made).one()
    return shelving_id


def unshelve(connection: Connection, target: Target, *, at: datetime, who: str, why: str) -> int:
    """Take it off the shelf before its time; returns the shelving's id. Raises ShelvingRefused: nobody named, no reason, or not shelved."""
    _demand_named(who, why)
    lock_site(connection, target.site)
    ended: int | None = connection.scalars(
        update(shelvings)
        .where(*_about(target), shelvings.c.start_at <= at, _end() > at)
        .values(ended_at=at, ended_by=who, ended_why=why, end_recorded_at=func.clock_timestamp())
        .returning(shelvings.c.shelving_id)
    ).one_or_none()
    if ended is None:
        whole = connection.scalars(
            select(shelvings.c.shelving_id).where(
                shelvings.c.site == target.site,
                shelvings.c.machine_id == target.machine_id,
                shelvings.c.incident_id.is_(None),
                shelvings.c.start_at <= at,
                _end() > at,
            )
        ).first()
        hint = f"; its machine is, so unshelve {target.machine_id}" if whole is not None and target.incident_id else ""
        raise ShelvingRefused(f"{target.name} is not shelved{hint}")
    return ended


def shelvings_between(connection: Connection, *, site: str, start: datetime, end: datetime) -> list[Shelving]:
    """Those in force at some time of the interval, by id."""
    s = shelvings.c
    query = (
        select(s.shelving_id, s.machine_id, s.incident_id, s.start_at, s.until, s.ended_at)
        .where(s.site == site, s.start_at <= end, _end() > start)
        .order_by(s.shelving_id)
    )
    return [Shelving(*row) for row in connection.execute(query)]


def list_shelvings(connection: Connection, *, site: str | None = None, at: datetime | None = None) -> pd.DataFrame:
    """All columns of the shelvings in force at a time, or of all there ever were, the one that ends first, first."""
    query = select(shelvings, _end().label("end_at")).order_by(_end(), shelvings.c.shelving_id)
    if site is not None:
        query = query.where(shelvings.c.site == site)
    if at is not None:
        query = query.where(shelvings.c.start_at <= at, _end() > at)
    return read_frame(connection, query)


def _end() -> ColumnElement[Any]:
    return func.coalesce(shelvings.c.ended_at, shelvings.c.until)


def _about(target: Target) -> tuple[ColumnElement[bool], ...]:
    s = shelvings.c
    same = s.incident_id.is_(None) if target.incident_id is None else s.incident_id == target.incident_id
    return s.site == target.site, s.machine_id == target.machine_id, same


def _demand_named(who: str, why: str) -> None:
    if not who.strip() or not why.strip():
        raise ShelvingRefused("operator and reason must be given: a shelving without them cannot be audited")
