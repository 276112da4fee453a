"""What a site-day's incidents raise as alarms, and how well the site's alarms are kept: read, computed and kept beside the incidents."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pandas as pd
from sqlalchemy import Connection

from assets.partitions import SiteDay
from ml.alarm_kpis import alarm_kpis
from ml.annunciation import annunciate
from ml.plant import Site
from ml.shelving import are_shelved
from resources.ledger.alarms import alarms_raised_on, earlier_alarms, replace_alarms
from resources.ledger.shelving import shelvings_between


@dataclass(frozen=True)
class Annunciation:
    """The alarms of the incidents active on a site-day, and the day's figures."""

    alarms: pd.DataFrame
    kpis: dict[str, float]

    @classmethod
    def of(cls, connection: Connection, judged: pd.DataFrame, *, scores: pd.DataFrame, site: Site, site_day: SiteDay) -> "Annunciation":
        """`judged`: the day's incidents with their verdicts; `scores`: those of the look-back."""
        as_of = _read_until(scores, site=site, site_day=site_day)
        since = judged["onset_at"].min() if len(judged) else site_day.start
        shelvings = shelvings_between(connection, site=site.site, start=since, end=as_of)
        alarms = annunciate(
            judged,
            scores=scores,
            earlier=earlier_alarms(connection, list(judged["incident_id"]), before=site_day.day),
            shelvings=shelvings,
            site=site,
            as_of=as_of,
        )
        active = alarms.assign(ended_at=judged["ended_at"].to_numpy(), is_shelved=are_shelved(alarms, shelvings, at=as_of))
        active["ended_at"] = pd.to_datetime(active["ended_at"], utc=True)
        yesterday = alarms_raised_on(connection, site=site.site, day=site_day.day - timedelta(days=1))
        kpis = alarm_kpis(active, before=yesterday, day=site_day.day, as_of=as_of, operators=site.policy.alarms.operators)
        return cls(alarms, kpis)

    def keep(self, connection: Connection, site_day: SiteDay) -> None:
        replace_alarms(connection, self.alarms, self.kpis, **site_day.where)

    @property
    def figures(self) -> dict[str, Any]:
        """What an engineer would plot of it."""
        return {name: self.kpis[name] for name in ("n_alarms", "n_held_back", "rate_peak")}


def _read_until(scores: pd.DataFrame, *, site: Site, site_day: SiteDay) -> datetime:
    """The end of the last window that the day has read; its start where there is none."""
    of_day = scores.loc[scores["window_start"] >= pd.Timestamp(site_day.start), "window_start"]
    if of_day.empty:
        return site_day.start
    until: datetime = (of_day.max() + pd.Timedelta(minutes=site.window_minutes)).to_pydatetime()
    return until
