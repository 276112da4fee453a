"""Incidents of past days found again from the stored scores, by `policy.detection` as it is now: on which days they would be others.

A day looks back on the days before it. Where the thresholds change while an event goes on, the next day would give it another onset, and so
another name, while the days before keep the old one: the same event twice, until these days are found anew, too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import pandas as pd
from sqlalchemy import Connection

from assets.partitions import LOOK_BACK_DAYS, SiteDay
from ml.incidents import find_incidents
from ml.plant import Site
from resources.lake import LakeResource
from resources.ledger.findings import incidents_on, known_incidents

COMPARED = [
    "incident_id", "last_window_at", "ended_at", "n_windows", "peak_score", "n_members_agreeing", "n_sensors_moved", "top_sensor_id",
    "direction", "failure_mode",
]  # fmt: skip
_KNOWN = ["incident_id", "machine_id", "onset_at", "last_window_at"]


@dataclass(frozen=True)
class FoundOtherwise:
    """A day whose incidents would be others: those that come, those that go, and those that last or look otherwise."""

    day: date
    come: tuple[str, ...]
    gone: tuple[str, ...]
    other: tuple[str, ...]

    def words(self) -> str:
        said = [(self.come, "would be found"), (self.gone, "would not"), (self.other, "would be found otherwise")]
        return "; ".join(f"{', '.join(names)} {verb}" for names, verb in said if names)

    def record(self) -> list[dict[str, Any]]:
        """As the ledger keeps it: a row per incident."""
        rows = [(self.come, "found"), (self.gone, "not found"), (self.other, "found otherwise")]
        return [{"incident_id": name, "day": self.day, "found_anew": how} for names, how in rows for name in names]


def found_otherwise(connection: Connection, lake: LakeResource, *, site: Site, start: date, end: date) -> tuple[FoundOtherwise, ...]:
    """Of the days, both inclusive, those with stored scores; each day knows what the days before it would have found.

    Incidents of machines that have left the plant file stay as they were found.
    """
    present = [machine.machine_id for machine in site.machines]
    known = known_incidents(connection, site=site.site, before=start)
    days = []
    for n in range((end - start).days + 1):
        day = start + timedelta(days=n)
        stored = incidents_on(connection, site=site.site, day=day)
        found = stored
        if lake.path("anomaly_scores", site=site.site, day=day).exists():
            begin = SiteDay(day, site.site).looking_back(LOOK_BACK_DAYS)
            scores = lake.read_days("anomaly_scores", site=site.site, start=begin, end=day)
            found = find_incidents(scores, site=site, day=day, known=known)
            days += _compared(stored[stored["machine_id"].isin(present)], found, day=day)
        known = _with(known, found)
    return tuple(days)


def _with(known: pd.DataFrame, found: pd.DataFrame) -> pd.DataFrame:
    if found.empty:
        return known
    both = pd.concat([known[_KNOWN], found[_KNOWN]], ignore_index=True).sort_values("last_window_at", kind="stable")
    return both.drop_duplicates("incident_id", keep="last")


def _compared(stored: pd.DataFrame, found: pd.DataFrame, *, day: date) -> list[FoundOtherwise]:
    before, after = (_rows(frame) for frame in (stored, found))
    other = tuple(sorted(name for name in before.keys() & after.keys() if before[name] != after[name]))
    come, gone = tuple(sorted(after.keys() - before.keys())), tuple(sorted(before.keys() - after.keys()))
    return [FoundOtherwise(day, come, gone, other)] if come or gone or other else []


def _rows(frame: pd.DataFrame) -> dict[str, Sequence[Any]]:
    rows = frame[COMPARED].astype(object).where(frame[COMPARED].notna(), None)
    return {str(row[0]): row[1:] for row in rows.itertuples(index=False, name=None)}
