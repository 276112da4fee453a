"""Alarms in the reports: what was annunciated, what was shelved, and how well our alarms are kept by the standard's measures."""

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from assets.reporting import alarm_queries as queries
from assets.reporting.report import NOTHING, Figure, Section, counted, table, tables
from assets.reporting.scope import Scope
from ml.alarm_kpis import PERIOD_S, assessment
from ml.annunciation import PRIORITIES

_WORDS = "An alarm is the annunciation of an incident, once in its life; most machines of a site at once raise one alarm of the site."


def raised_and_shelved(scope: Scope) -> Section:
    """What a planner was told, and what a shelving kept quiet."""
    rows = queries.incident_alarms_in(scope.connection, **scope.range)
    shelved = queries.shelvings_in(scope.connection, **scope.range)
    if rows.empty and shelved.empty:
        return Section("Alarms", NOTHING)
    alarms = alarms_of(rows)
    last = rows.sort_values("day", kind="stable").drop_duplicates(["site", "incident_id"], keep="last")
    held = last[last["raised_at"].isna()]
    n_events = int(alarms["is_site_event"].sum())
    figures = (
        Figure("Alarms raised", len(alarms), note=f"{counted(n_events, 'event')} of a whole site among them"),
        Figure("Of high priority", int((alarms["priority"] == "high").sum()), f"of {len(alarms)}"),
        Figure("Incidents held back", len(held), f"of {len(last)}", "not annunciated, as they were shelved"),
        Figure("Shelvings", len(shelved), note="in force at some time of the range"),
    )
    named = shelved.assign(
        what=shelved["incident_id"].fillna(shelved["machine_id"]),
        held_back=[int((held["shelving_id"] == n).sum()) for n in shelved["shelving_id"]],
        over=pd.Series([_end_of(row) for row in shelved.to_dict("records")], dtype=object),
    )
    headings = {"what": "what", "start_at": "from", "until": "until", "who": "who", "why": "why", "held_back": "incidents held back"}
    return Section(
        "Alarms",
        _WORDS,
        figures,
        tables(
            table(
                "Alarms, the latest first",
                alarms,
                scope.columns({"raised_at": "raised", "priority": "priority", "what": "what", "machines": "machines", "alarm_id": "alarm"}),
            ),
            table("Shelved", named, scope.columns({**headings, "over": "ended before its time"})),
        ),
    )


def alarms_of(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per alarm raised in the range, with what it said on the day that raised it."""
    day = pd.to_datetime(rows["day"], utc=True)
    raised = rows[(rows["raised_at"] > day) & (rows["raised_at"] <= day + pd.Timedelta(days=1))]
    rank = raised["priority"].map({p: n for n, p in enumerate(PRIORITIES)}).astype("int64")
    alarms = (
        raised.assign(rank=rank)
        .groupby(["site", "alarm_id", "is_site_event", "raised_at"])
        .agg(rank=("rank", "min"), machines=("machine_id", lambda ids: ", ".join(sorted(set(ids)))), n=("machine_id", "nunique"))
        .reset_index()
    )
    alarms["priority"] = alarms["rank"].map(dict(enumerate(PRIORITIES)))
    pairs = zip(alarms["is_site_event"], alarms["n"], strict=True)
    alarms["what"] = pd.Series([f"event of the site, {counted(int(n), 'machine')}" if e else "one machine" for e, n in pairs], dtype=object)
    return alarms.sort_values(["raised_at", "alarm_id"], ascending=[False, True], kind="stable", ignore_index=True)


def _end_of(row: Mapping[Hashable, Any]) -> str | None:
    return None if pd.isna(row["ended_at"]) else f"{row['ended_at']:%Y-%m-%d %H:%M} by {row['ended_by']}: {row['ended_why']}"


def performance(scope: Scope) -> Section:
    """Our own alarms by the measures of ISA-18.2, each beside its benchmark."""
    title = "Alarm system"
    kpis = queries.kpis_in(scope.connection, **scope.range)
    if kpis.empty:
        return Section(title, NOTHING)
    text = (
        "How well our own alarms are kept, by the measures of ISA-18.2 and IEC 62682; periods have 10 minutes. Chattering: three alarms of "
        "a machine within 24 hours. Fleeting: over within 30 minutes. Stale: stands for more than 24 hours. Shares are judged from 20 "
        "alarms on."
    )
    hours = float(kpis["n_periods"].sum()) * PERIOD_S / 3600
    figures = (
        Figure("Alarms raised", int(kpis["n_alarms"].sum()), note=f"in {hours:,.0f} hours read, {counted(len(kpis), 'site-day')}"),
        Figure(
            "Standing at the end",
            int(kpis.groupby("site")["n_standing"].last().sum()),
            note="of each site's last day, without those shelved",
        ),
    )
    measured = assessment(kpis).round({"value": 3})
    headings = {"measure": "measure", "value": "value", "benchmark": "benchmark of the standard", "result": "result"}
    days = kpis.assign(flood=(100 * kpis["n_flood_periods"] / kpis["n_periods"].clip(lower=1)).round(1))
    per_day = {
        "day": "day", "n_alarms": "alarms", "rate_peak": "peak rate", "flood": "in flood (%)",
        "n_chattering": "chattering", "n_fleeting": "fleeting", "n_stale": "stale", "n_standing": "standing", "n_held_back": "held back",
        "n_high": "high", "n_medium": "medium", "n_low": "low",
    }  # fmt: skip
    shown = [table("Measures and benchmarks", measured, headings)]
    if len(kpis) > 1:
        shown.append(table("By day", days, scope.columns(per_day)))
    return Section(title, text, figures, tuple(shown))
