"""An incident becomes an alarm: once, at a time, with a priority; many machines at once become one alarm of the site.

An alarm is the annunciation of an incident: what a planner hears of it. It is raised at the end of the window that completes the on-delay,
once in the incident's life, however many windows and days it lasts, and however often its site-days are made anew. While the machine or the
incident is shelved it is held back; it is raised when the shelving ends, if the incident still stands.

Where most of the machines that were scored begin to move within a short time, their incidents are one event of the site and share one
alarm, raised when so many had moved. An incident that had an alarm of its own on a day before keeps it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pandas as pd

from ml.frames import UTC_TIME, typed_frame
from ml.plant import Criticality, Site
from ml.shelving import Shelving, holding, released_at

COLUMNS: dict[str, str] = {
    "incident_id": "str",
    "machine_id": "str",
    "alarm_id": "str",
    "is_site_event": "bool",
    "priority": "str",
    "opened_at": UTC_TIME,
    "raised_at": UTC_TIME,
    "shelving_id": "Int32",
}
EARLIER = ("incident_id", "alarm_id", "is_site_event", "opened_at", "raised_at")
PRIORITIES = ("high", "medium", "low")
PEAK_FROM = 0.9
_CRITICALITY: dict[Criticality, int] = {"low": 0, "medium": 1, "high": 2, "critical": 3}
_VERDICT = {"false_positive_suspected": 0, "investigate": 1, "credible": 2}
_POINTS = {"high": 5, "medium": 4, "low": 0}


@dataclass(frozen=True)
class SiteEvent:
    """Machines that began to move together. `raised_at`: when the share was reached that makes it an event of the site."""

    alarm_id: str
    incident_ids: frozenset[str]
    raised_at: pd.Timestamp


def priority_of(criticality: Criticality, *, verdict: str, peak_score: float) -> str:
    """high, medium or low: consequence (the machine's criticality) and how sure the finding is, as ISA-18.2 ranks alarms.

    Points: criticality 0 low .. 3 critical; verdict 0 suspected false, 1 to investigate, 2 credible; a peak score of 0.9 one more. high
    from 5, medium from 4; what is suspected to be false is never more than low. A graver machine, verdict or peak never lowers it.

    >>> priority_of("critical", verdict="credible", peak_score=0.7), priority_of("high", verdict="credible", peak_score=0.7)
    ('high', 'medium')
    >>> priority_of("medium", verdict="credible", peak_score=0.95)
    'medium'
    >>> priority_of("critical", verdict="false_positive_suspected", peak_score=1)
    'low'
    """
    if verdict == "false_positive_suspected":
        return "low"
    points = _CRITICALITY[criticality] + _VERDICT[verdict] + (peak_score >= PEAK_FROM)
    return next(name for name in PRIORITIES if points >= _POINTS[name])


def annunciate(
    incidents: pd.DataFrame,
    *,
    scores: pd.DataFrame,
    earlier: pd.DataFrame,
    shelvings: Sequence[Shelving],
    site: Site,
    as_of: datetime,
) -> pd.DataFrame:
    """What became of each incident's alarm by `as_of`, in the incidents' order; columns and types as in COLUMNS.

    incidents: incident_id, machine_id, onset_at, ended_at, verdict, peak_score of those active on the day; scores: machine_id,
    window_start, state, score of the look-back; earlier: EARLIER, the latest word of the days before on these incidents. An incident that
    began before the look-back and was never recorded is taken to have opened when its onset says.

    raised_at is missing while the alarm is held back, and shelving_id names what holds it back or did until the incident was over.
    """
    known = earlier.set_index("incident_id")[list(EARLIER[1:])].to_dict("index")
    opened = _opened(incidents, scores=scores, site=site)
    opened.update({str(name): said["opened_at"] for name, said in known.items()})
    events = site_events(incidents.assign(opened_at=incidents["incident_id"].map(opened)), scores=scores, site=site)
    rows = []
    for incident in incidents.to_dict("records"):
        name = str(incident["incident_id"])
        event = next((e for e in events if name in e.incident_ids), None)
        if name in known and pd.notna(known[name]["raised_at"]):
            alarm = {k: known[name][k] for k in ("alarm_id", "is_site_event", "raised_at")} | {"shelving_id": None}
        else:
            alarm = _alarm(incident, opened_at=opened[name], event=event, shelvings=shelvings, as_of=as_of)
        priority = priority_of(
            site.machine(str(incident["machine_id"])).criticality,
            verdict=str(incident["verdict"]),
            peak_score=float(incident["peak_score"]),
        )
        rows.append({"incident_id": name, "machine_id": incident["machine_id"], "priority": priority, "opened_at": opened[name], **alarm})
    return typed_frame(rows, COLUMNS)


def _opened(incidents: pd.DataFrame, *, scores: pd.DataFrame, site: Site) -> dict[str, pd.Timestamp]:
    """incident_id -> end of the scored window that completed the on-delay; the first of these windows is the onset."""
    step, delay = pd.Timedelta(minutes=site.window_minutes), site.policy.detection.on_delay_windows
    scored = scores.loc[scores["state"] == "scored", ["machine_id", "window_start"]]
    begin = scores["window_start"].min()
    opened = {}
    for name, machine_id, onset in zip(incidents["incident_id"], incidents["machine_id"], incidents["onset_at"], strict=True):
        windows = scored.loc[(scored["machine_id"] == machine_id) & (scored["window_start"] >= onset), "window_start"].sort_values()
        is_seen = onset >= begin and len(windows) >= delay
        opened[str(name)] = (windows.iloc[delay - 1] if is_seen else onset + (delay - 1) * step) + step
    return opened


def site_events(incidents: pd.DataFrame, *, scores: pd.DataFrame, site: Site) -> list[SiteEvent]:
    """Events of the whole site among incidents (incident_id, machine_id, onset_at, opened_at), by time; no incident is in two.

    One is: incidents on at least site_event_machines machines, and site_event_share of those that were scored meanwhile, whose onsets lie
    within site_event_minutes of the first of them. Its name is the site's and that first onset.
    """
    policy = site.policy.alarms
    reach = pd.Timedelta(minutes=policy.site_event_minutes)
    scored = scores.loc[scores["state"] == "scored", ["machine_id", "window_start"]]
    left = incidents.sort_values(["onset_at", "machine_id"], kind="stable")
    events = []
    while len(left):
        first = left["onset_at"].iloc[0]
        together = left[left["onset_at"] <= first + reach]
        n_scored = scored.loc[scored["window_start"].between(first, first + reach), "machine_id"].nunique()
        needed = max(policy.site_event_machines, math.ceil(policy.site_event_share * n_scored - 1e-9))
        when = together.groupby("machine_id")["opened_at"].min().sort_values()
        if len(when) >= needed:
            name = f"site:{site.site}@{first:%Y-%m-%dT%H:%M}Z"
            events.append(SiteEvent(name, frozenset(together["incident_id"]), when.iloc[needed - 1]))
            left = left.drop(together.index)
        else:
            left = left.iloc[1:]
    return events


def _alarm(
    incident: dict[Any, Any], *, opened_at: pd.Timestamp, event: SiteEvent | None, shelvings: Sequence[Shelving], as_of: datetime
) -> dict[str, object]:
    who = {"machine_id": str(incident["machine_id"]), "incident_id": str(incident["incident_id"])}
    due = event.raised_at if event else opened_at
    heard = pd.Timestamp(released_at(shelvings, **who, at=due))
    if heard == due and event:
        return {"alarm_id": event.alarm_id, "is_site_event": True, "raised_at": due, "shelving_id": None}
    own = {"alarm_id": who["incident_id"], "is_site_event": False}
    stands_then = heard == due or (heard <= as_of and (pd.isna(incident["ended_at"]) or incident["ended_at"] > heard))
    if stands_then:
        return {**own, "raised_at": heard, "shelving_id": None}
    held = holding(shelvings, **who, at=min(pd.Timestamp(as_of), heard - pd.Timedelta(microseconds=1)))
    return {**own, "raised_at": pd.NaT, "shelving_id": held.shelving_id if held else None}
