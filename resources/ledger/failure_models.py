"""Versions of learned failure models in the ledger."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, func, insert, select

from resources.ledger.tables import failure_model_versions


def record_failure_model(connection: Connection, version: Mapping[str, Any]) -> None:
    """`version` has the columns of `failure_model_versions` but trained_at."""
    connection.execute(insert(failure_model_versions).values(**version, trained_at=func.clock_timestamp()))


def failure_model_record(connection: Connection, *, site: str, version: int) -> dict[str, Any] | None:
    v = failure_model_versions
    row = connection.execute(select(v).where(v.c.site == site, v.c.version == version)).mappings().first()
    return dict(row) if row else None


def has_failure_model(connection: Connection, *, site: str) -> bool:
    """Whether any version was ever trained here."""
    v = failure_model_versions
    return connection.execute(select(v.c.version).where(v.c.site == site).limit(1)).first() is not None


def failure_champions(connection: Connection, *, site: str) -> dict[int, str]:
    """version -> sha256 of those that their training made champion, the latest first: whom to believe where MLflow does not answer."""
    v = failure_model_versions
    query = select(v.c.version, v.c.artifact_sha256).where(v.c.site == site, v.c.is_champion).order_by(v.c.version.desc())
    return {row.version: row.artifact_sha256 for row in connection.execute(query)}
