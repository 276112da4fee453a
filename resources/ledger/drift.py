"""Drift over the days: which sensors have left what the champion was trained on for good, and when a training was last made."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta

import pandas as pd
from sqlalchemy import Connection, func, select

from ml.drift import TOLD, days_explained, sustained
from ml.healthy import incident_spans, maintenance_spans
from ml.plant import Site
from resources.ledger.findings import latest_assessments, maintenance_between, repaired_at
from resources.ledger.rows import read_frame
from resources.ledger.tables import detector_versions, drift_findings


@dataclass(frozen=True)
class SustainedDrift:
    """Sensors with the number of days on which they were off, and the newest day compared, against one detector version."""

    version: int
    day: date
    sensors: dict[str, int]

    @property
    def words(self) -> str:
        return ", ".join(f"{sensor} ({n} days)" for sensor, n in self.sensors.items())


def sustained_drift(connection: Connection, *, site: Site, until: date | None = None) -> SustainedDrift | None:
    """By the findings against the version that the newest day up to `until` was compared with; None where no sensor's drift is sustained.

    A day on which training would cut the machine out (an incident that nobody called a false alarm, maintenance) does not count.
    """
    f, policy = drift_findings, site.policy.drift
    of_site = [f.c.site == site.site, *([f.c.day <= until] if until else [])]
    newest = connection.execute(select(f.c.day, f.c.model_version).where(*of_site).order_by(f.c.day.desc()).limit(1)).first()
    if newest is None:
        return None
    day, version = newest
    first = day - timedelta(days=policy.within_days - 1)
    query = (
        select(f.c.day, *(f.c[name] for name in TOLD))
        .where(*of_site, f.c.model_version == version, f.c.day >= first)
        .order_by(f.c.day, f.c.sensor_id)
    )
    findings = read_frame(connection, query)
    start, end = (pd.Timestamp(d, tz="UTC") for d in (first, day + timedelta(days=1)))
    work = maintenance_between(connection, site=site.site, start=start, end=end)
    faults = incident_spans(latest_assessments(connection, site=site.site), repaired_at=repaired_at(connection, site=site.site))
    spans = pd.concat([faults, maintenance_spans(work)])
    found = sustained(findings.assign(is_explained=days_explained(findings, spans=spans)), policy=policy)
    return SustainedDrift(version, day, found) if found else None


def last_training(connection: Connection, *, site: str) -> datetime | None:
    """When the site's detector was last trained, whether or not it was promoted."""
    last: datetime | None = connection.scalar(select(func.max(detector_versions.c.trained_at)).where(detector_versions.c.site == site))
    return last
