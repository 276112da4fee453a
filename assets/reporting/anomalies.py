"""The anomaly summary: incidents with verdicts and reasons, alarms, what was shelved, machines, how often they were real, scores."""

import numpy as np
import pandas as pd

from assets.reporting import alarms, precision, queries
from assets.reporting import charts as draw
from assets.reporting.report import NOTHING, Chart, Figure, Section, Table, charts, table, tables
from assets.reporting.scope import Scope
from ml.plant import FAILURE_MODE_NAMES

VERDICTS = ("credible", "investigate", "false_positive_suspected")


def sections(scope: Scope) -> tuple[Section, ...]:
    found = queries.incidents_in(scope.connection, **scope.range)
    raised = alarms.raised_and_shelved(scope)
    return (_overview(scope, found), raised, _machines(scope, found), _response(found), precision.section(scope), _scores(scope))


def _overview(scope: Scope, found: pd.DataFrame) -> Section:
    if found.empty:
        return Section("Incidents", NOTHING)
    began = int(found["onset_at"].between(queries.midnight(scope.start), queries.after(scope.end), inclusive="left").sum())
    counts = found["verdict"].value_counts()
    figures = (
        Figure("Incidents active", len(found), note=f"{began} began in the range"),
        *(Figure(v.replace("_", " ").capitalize(), int(counts.get(v, 0))) for v in VERDICTS),
        Figure("Still going on", int(found["ended_at"].isna().sum()), note="at their last assessment in the range"),
    )
    rows = found.assign(
        mode=found["failure_mode"].map(FAILURE_MODE_NAMES).fillna(found["failure_mode"]),
        hours=(found["duration_s"] / 3600).round(1),
        confidence=found["confidence"].round(2),
    )
    headings = {
        "machine_id": "machine", "onset_at": "onset", "hours": "lasted (h)", "verdict": "verdict", "confidence": "confidence",
        "mode": "failure mode",
        "top_sensor_id": "top sensor", "reasons": "reasons for doubt", "label": "found by people", "order_id": "work order",
    }  # fmt: skip
    shown = table("Incidents, the most credible first", rows, scope.columns(headings))
    per_day = queries.incidents_per_day(scope.connection, **scope.range)
    return Section("Incidents", figures=figures, tables=(shown,), charts=charts(draw.incidents_by_verdict(per_day, days=scope.days)))


def _machines(scope: Scope, found: pd.DataFrame) -> Section:
    if found.empty:
        return Section("Machines concerned", NOTHING)
    groups = found.assign(is_credible=found["verdict"] == "credible").groupby(["site", "machine_id"])
    machines = groups.agg(
        incidents=("incident_id", "size"), credible=("is_credible", "sum"), seconds=("duration_s", "sum"), peak=("peak_score", "max")
    ).reset_index()
    machines["hours"] = (machines["seconds"] / 3600).round(1)
    machines = machines.sort_values(["credible", "incidents", "hours", "machine_id"], ascending=[False, False, False, True], kind="stable")
    headings = {"machine_id": "machine", "incidents": "incidents", "credible": "credible", "hours": "hours anomalous", "peak": "peak score"}
    return Section(
        "Machines concerned",
        tables=(table("By machine, most credible incidents first", machines.round({"peak": 2}), scope.columns(headings)),),
    )


def _response(found: pd.DataFrame) -> Section:
    title = "From onset to action"
    if found.empty:
        return Section(title, NOTHING)
    ordered = found[found["opened_at"].notna()]
    ended = found[found["ended_at"].notna()]
    labelled = found["label"].value_counts()
    figures = [Figure("Incidents with a work order", int(found["order_id"].notna().sum()), f"of {len(found)}")]
    if len(ordered):
        # An order that an earlier incident opened is there before a later incident begins: no time passes.
        wait = (ordered["opened_at"] - ordered["onset_at"]).dt.total_seconds().clip(lower=0) / 3600
        figures.append(Figure("Mean time from onset to work order", round(float(wait.mean()), 1), "h", f"n = {len(ordered)}"))
    if len(ended):
        figures.append(
            Figure("Mean time from onset to end", round(float(ended["duration_s"].mean()) / 3600, 1), "h", f"n = {len(ended)}, ended ones")
        )
    figures += [
        Figure("Confirmed by people", int(labelled.get("confirmed", 0))),
        Figure("False alarms by people", int(labelled.get("false_alarm", 0))),
    ]
    return Section(title, figures=tuple(figures))


def _scores(scope: Scope) -> Section:
    scores = scope.read("anomaly_scores", ("machine_id", "window_start", "state", "score"))
    if scores.empty:
        return Section("Scores", NOTHING)
    scored = scores[scores["score"].notna()]
    figures = (
        Figure("Windows", len(scores)),
        Figure("Windows scored", round(100 * len(scored) / len(scores), 1), "%", "the others: stopped, settling or too few readings"),
    )
    return Section("Scores", figures=figures, tables=tables(_unwatched(scope, scores)), charts=charts(_heatmap(scope, scored)))


def _unwatched(scope: Scope, scores: pd.DataFrame) -> Table:
    """Machines without a score in windows in which they may have run, the least watched first; a machine that settles is seen to start."""
    counts = scores.groupby(["site", "machine_id", "state"]).size().unstack(fill_value=0)
    every = pd.MultiIndex.from_tuples(scope.machines, names=["site", "machine_id"])
    counts = counts.reindex(index=every, columns=["scored", "too_few_readings", "settling", "stopped"], fill_value=0)
    lacks = counts["too_few_readings"] / (counts["scored"] + counts["too_few_readings"])
    rows = counts.assign(
        lacks=(100 * lacks).round(1),
        why=np.where(counts.sum(axis=1) == 0, "no detector, or no readings", "too few readings, or none that tells whether it runs"),
    )
    rows = rows[(rows["too_few_readings"] > 0) | (counts.sum(axis=1) == 0)].reset_index()
    rows = rows.sort_values("lacks", ascending=False, kind="stable", na_position="first")
    headings = {
        "machine_id": "machine",
        "scored": "windows scored",
        "too_few_readings": "not scored",
        "lacks": "not scored (%)",
        "why": "why",
    }
    return table("Machines not watched all the time", rows, scope.columns(headings))


def _heatmap(scope: Scope, scored: pd.DataFrame) -> Chart | None:
    """Daily maxima; hourly ones where the range is one day."""
    unit = "hour" if scope.is_one_day else "day"
    at = scored["window_start"].dt.floor("h") if scope.is_one_day else scored["window_start"].dt.date
    frame = pd.DataFrame({"machine": scope.named(scored["machine_id"], scored["site"]), "at": at, "score": scored["score"]})
    return draw.score_heatmap(frame, unit=unit)
