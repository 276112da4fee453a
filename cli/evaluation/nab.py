"""The Numenta Anomaly Benchmark: each file is a site of one machine with one sensor.

The labelled windows are the events; what a detection is worth is told by the benchmark's own score in its three profiles, from alarms
that each count once, at the end of the window in which they were raised. The site's own default threshold is what it does
unattended; the one threshold that is best for all files, labels in hand, is named as such and only bounds what a threshold could do.
"""

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cli.evaluation.cases import (
    Advance,
    Case,
    SetResult,
    case_rows,
    events_of,
    figures_of,
    interval_of,
    observe,
    policy_params,
    sha256_of,
    window_minutes_of,
)
from ml.drop_format import DropFormat
from ml.nab import Flags, Labelled, best_threshold, detected_rows, labelled, nab_score, profiles_of
from ml.outcomes import Observed, outcome_of
from ml.plant import Machine, Sensor, Site
from ml.replay import at_threshold, raised_alarms

WINDOWS, PROFILES = "combined_windows.json", "profiles.json"
THRESHOLDS = tuple(float(t) for t in np.round(np.arange(0.1, 1.001, 0.02), 2))


def read_cases(folder: Path) -> tuple[list[Case], list[Labelled]]:
    """The files that the file of windows names, as sites and as labelled series."""
    windows = json.loads((folder / WINDOWS).read_text(encoding="utf-8"))
    cases: list[Case] = []
    corpus: list[Labelled] = []
    for name, spans in windows.items():
        path = folder / name
        times = pd.DatetimeIndex(pd.read_csv(path, usecols=["timestamp"], parse_dates=["timestamp"])["timestamp"]).as_unit("us")
        pairs = [(np.datetime64(start, "us"), np.datetime64(end, "us")) for start, end in spans]
        series = labelled(name, times.to_numpy(), pairs)
        corpus.append(series)
        cases.append(_case(path, series, number=len(cases) + 1, interval_s=interval_of(times)))
    return cases, corpus


def _case(path: Path, series: Labelled, *, number: int, interval_s: float) -> Case:
    times = pd.DatetimeIndex(series.times).tz_localize("UTC")
    value = Sensor(sensor_id="value", type="other", unit="1", interval_s=interval_s)
    site = Site(
        site=f"series{number}",
        name=series.name,
        first_day=times.min().date(),
        window_minutes=window_minutes_of(interval_s),
        drops=DropFormat(layout="wide"),
        machines=(Machine(machine_id="series", machine_class="series", sensors=(value,)),),
    )
    events = [
        {"machine_id": "series", "kind": "labelled", "onset_at": times[first], "failure_at": pd.NaT, "repaired_at": times[last]}
        for first, last in series.windows
    ]
    return Case(series.name, site, (path,), learn_until=times[series.n_learning], last_reading_at=times.max(), events=events_of(events))


def evaluate(folder: Path, advance: Advance) -> SetResult:
    cases, corpus = read_cases(folder)
    observed = observe(cases, advance)
    profiles = profiles_of(json.loads((folder / PROFILES).read_text(encoding="utf-8")))
    figures = figures_of(outcome_of(observed))
    at_best = cache(lambda threshold: _detected(observed, corpus, threshold=threshold))
    default = _detected(observed, corpus, threshold=None)
    for profile in profiles:
        figures[f"nab_{profile.name}"] = nab_score(default, corpus, profile=profile).score
        threshold, best = best_threshold(at_best, corpus, profile=profile, thresholds=THRESHOLDS)
        figures |= {f"nab_{profile.name}_at_best_threshold": best.score, f"best_threshold_{profile.name}": threshold}
    rows = [row | _counted(flags, series) for row, flags, series in zip(case_rows(cases, observed), default, corpus, strict=True)]
    return SetResult(
        "nab",
        f"Numenta Anomaly Benchmark, {len(cases)} series",
        sha256_of([folder / WINDOWS, folder / PROFILES, *(path for case in cases for path in case.drops)]),
        policy_params([case.site for case in cases]),
        figures,
        rows,
        _said(observed),
    )


def _detected(observed: Sequence[Observed], corpus: Sequence[Labelled], *, threshold: float | None) -> list[Flags]:
    detected = []
    for seen, series in zip(observed, corpus, strict=True):
        replayed = seen.replayed
        raised = replayed.raised if threshold is None else raised_alarms(replayed.scores, site=at_threshold(replayed.site, threshold))
        detected.append(detected_rows(series, raised["raised_at"].dt.tz_localize(None).to_numpy(dtype="datetime64[us]")))
    return detected


def _counted(flags: Flags, series: Labelled) -> dict[str, Any]:
    """Windows in which an alarm was raised: one that was standing before finds the event, but scores nothing there."""
    return {"windows_with_a_new_alarm": sum(bool(flags[first : last + 1].any()) for first, last in series.windows)}


def _said(observed: Sequence[Observed]) -> list[str]:
    untrained = [seen.replayed.site.name for seen in observed if seen.replayed.scored_from is None]
    said = [
        "Learned from the first 15 % of each file, at most 750 rows, and retrained every Sunday; in a plant the first 14 days at least.",
        "An alarm counts once, when it was raised. A window with a standing alarm is an event found, and a miss in the benchmark's score.",
    ]
    if untrained:
        said.append(f"No detector could be trained for {', '.join(untrained)}: their readings rest at one value on most days and grade F.")
    return said
