"""Detector versions, and who was champion when, in the ledger."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, cast, func, insert, select, text
from sqlalchemy.dialects.postgresql import JSONB

from ml.promotion_chain import BEFORE_THE_FIRST, row_sha256
from resources.ledger.rows import jsonable
from resources.ledger.tables import detector_versions, promotions

GATE = "gate"  # who, where a training's comparison with the champion decided
BY_HAND_IN_MLFLOW = "mlflow"  # who, where the alias was found moved: who moved it, and when, MLflow does not say


def record_version(connection: Connection, version: Mapping[str, Any]) -> None:
    """`version` has the columns of `detector_versions` but trained_at."""
    connection.execute(insert(detector_versions).values(**version, trained_at=func.clock_timestamp()))


def lock_promotions(connection: Connection, *, site: str) -> None:
    """Until the transaction ends, nobody else writes of the site's champion: each row is written after the one before it."""
    connection.execute(text("select pg_advisory_xact_lock(hashtext('smart_maintenance.promotions ' || :site))"), {"site": site})


def record_promotion(connection: Connection, promotion: Mapping[str, Any]) -> dict[str, Any]:
    """The site's next row, which it returns.

    `promotion` has site, from_version, to_version, is_promoted, who, why and comparison; `at` is now if left out. Metrics and data
    are those of the version; a version that was not trained here has none.
    """
    site = promotion["site"]
    lock_promotions(connection, site=site)
    p = promotions.c
    before = connection.execute(select(p.place, p.sha256).where(p.site == site).order_by(p.place.desc()).limit(1)).first()
    place, previous = (before.place + 1, before.sha256) if before else (1, BEFORE_THE_FIRST)
    known = version_record(connection, site=site, version=promotion["to_version"]) if promotion["to_version"] is not None else None
    data = {name: known[name] for name in ("data_start", "data_end", "data_sha256", "artifact_sha256")} if known else {}
    documents = {"comparison": promotion["comparison"], "metrics": known["metrics"] if known else {}, "data": data}
    # hashed as the database gives it back: what it makes of a number is its own affair
    stored = connection.execute(
        select(*(cast(jsonable(document), JSONB).label(name) for name, document in documents.items()), func.clock_timestamp().label("at"))
    )
    row = {**promotion, **stored.mappings().one(), "place": place, "previous_sha256": previous}
    row |= {"at": promotion["at"]} if "at" in promotion else {}
    row["sha256"] = row_sha256(row)
    connection.execute(insert(promotions).values(row))
    return row


def version_record(connection: Connection, *, site: str, version: int) -> dict[str, Any] | None:
    row = (
        connection.execute(select(detector_versions).where(detector_versions.c.site == site, detector_versions.c.version == version))
        .mappings()
        .first()
    )
    return dict(row) if row else None


def versions_of(connection: Connection, *, site: str) -> list[dict[str, Any]]:
    """The versions trained here, the earliest first."""
    query = select(detector_versions).where(detector_versions.c.site == site).order_by(detector_versions.c.version)
    return [dict(row) for row in connection.execute(query).mappings()]


def promotions_of(connection: Connection, *, site: str) -> list[dict[str, Any]]:
    """The site's rows in their order, refusals among them."""
    query = select(promotions).where(promotions.c.site == site).order_by(promotions.c.place)
    return [dict(row) for row in connection.execute(query).mappings()]


def sites_with_promotions(connection: Connection) -> list[str]:
    return list(connection.scalars(select(promotions.c.site).distinct().order_by(promotions.c.site)))


def champion_at(connection: Connection, *, site: str, at: datetime | None = None) -> dict[str, Any] | None:
    """The row that made the champion who stood then (now, if left out); None where there had been none.

    Its to_version is None where the alias had been taken away.
    """
    query = select(promotions).where(promotions.c.site == site, promotions.c.is_promoted)
    if at is not None:
        query = query.where(promotions.c.at <= at)
    row = connection.execute(query.order_by(promotions.c.place.desc()).limit(1)).mappings().first()
    return dict(row) if row else None


def latest_champion(connection: Connection, *, site: str) -> int | None:
    """The version promoted last, or None."""
    row = champion_at(connection, site=site)
    return row["to_version"] if row else None
