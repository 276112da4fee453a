"""Validations in the ledger: one row per site-day and suite, the latest run's."""

from collections.abc import Collection, Mapping
from datetime import date
from typing import Any

from sqlalchemy import Connection, case, func, select, text
from sqlalchemy.dialects.postgresql import insert as upsert

from expectations.pages import SuiteSummary, Validation
from resources.ledger.tables import validations

_COLUMNS = [c for c in validations.columns if c.name in Validation.__dataclass_fields__]


def record_validation(connection: Connection, validation: Mapping[str, Any], *, site: str, day: date) -> None:
    """`validation` has the columns of `validations` but site, day and validated_at."""
    values = {**validation, "validated_at": func.clock_timestamp()}
    query = upsert(validations).values(**values, site=site, day=day)
    connection.execute(query.on_conflict_do_update(index_elements=["site", "day", "suite"], set_=values))


def lock_pages(connection: Connection) -> None:
    """Until the transaction ends, no other run writes pages: who writes last has seen what the others recorded."""
    connection.execute(text("select pg_advisory_xact_lock(hashtext('smart_maintenance.validation_pages'))"))


def validations_on(connection: Connection, *, site: str, suite: str, days: Collection[date]) -> list[Validation]:
    """Of these days, in order of time."""
    query = select(*_COLUMNS).where(validations.c.site == site, validations.c.suite == suite, validations.c.day.in_(days))
    return [Validation(**row) for row in connection.execute(query.order_by(validations.c.day)).mappings()]


def newest_validations(connection: Connection, *, site: str, suite: str, limit: int) -> list[Validation]:
    """Of the newest days, in order of time."""
    query = select(*_COLUMNS).where(validations.c.site == site, validations.c.suite == suite)
    newest = connection.execute(query.order_by(validations.c.day.desc()).limit(limit)).mappings()
    return [Validation(**row) for row in reversed(newest.all())]


def suite_summaries(connection: Connection) -> list[SuiteSummary]:
    """Every suite of every site, by site and suite."""
    v = validations
    failed, warned = ~v.c.is_success, v.c.is_success & (v.c.n_failed > 0)
    counted = (
        select(
            v.c.site,
            v.c.suite,
            func.max(v.c.day).label("day"),
            func.count().label("n_days"),
            func.count().filter(failed).label("n_days_failed"),
            func.count().filter(warned).label("n_days_warned"),
            func.max(case((failed, v.c.day))).label("last_failed_on"),
        )
        .group_by(v.c.site, v.c.suite)
        .subquery()
    )
    query = (
        select(counted, v.c.is_success, v.c.n_failed, v.c.n_rows, func.coalesce(v.c.results["description"].astext, "").label("description"))
        .join(v, (v.c.site == counted.c.site) & (v.c.suite == counted.c.suite) & (v.c.day == counted.c.day))
        .order_by(counted.c.site, counted.c.suite)
    )
    return [SuiteSummary(**row) for row in connection.execute(query).mappings()]
