"""Detector versions and who was champion when, in the ledger."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, func, insert, select

from resources.ledger.tables import detector_versions, promotions


def record_version(connection: Connection, version: Mapping[str, Any]) -> None:
    """`version` has the columns of `detector_versions` but trained_at."""
    connection.execute(insert(detector_versions).values(**version, trained_at=func.clock_timestamp()))


def record_promotion(connection: Connection, promotion: Mapping[str, Any]) -> None:
    """`promotion` has the columns of `promotions` but promotion_id and at."""
    connection.execute(insert(promotions).values(**promotion, at=func.clock_timestamp()))


def version_record(connection: Connection, *, site: str, version: int) -> dict[str, Any] | None:
    row = (
        connection.execute(select(detector_versions).where(detector_versions.c.site == site, detector_versions.c.version == version))
        .mappings()
        .first()
    )
    return dict(row) if row else None


def latest_champion(connection: Connection, *, site: str) -> int | None:
    """The version promoted last, or None."""
    query = select(promotions.c.to_version).where(promotions.c.site == site, promotions.c.is_promoted)
    return connection.scalar(query.order_by(promotions.c.promotion_id.desc()).limit(1))
