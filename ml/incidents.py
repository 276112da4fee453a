"""Runs of anomalous windows on one machine become incidents with a stable identity.

An incident opens with `on_delay_windows` consecutive scored windows at or above the on-threshold and closes after
`off_delay_windows` below the off-threshold; runs nearer than `merge_gap_windows` are one. Windows without a score
(stopped, settling, too few readings) neither extend nor break a run: a machine that fails and stands still keeps
its incident open until it has run well for the off-delay, or until the merge gap has passed without a scored window.
An incident's name is its machine and onset. What supports or weakens it stands in `evidence`, what it may be in `modes`.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.frames import UTC_TIME, typed_frame
from ml.modes import MOVED_Z, Movement, Movements, failure_mode_of_incident
from ml.plant import DetectionPolicy, Site

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

COLUMNS: dict[str, str] = {
    "incident_id": "str",
    "machine_id": "str",
    "onset_at": UTC_TIME,
    "last_window_at": UTC_TIME,
    "ended_at": UTC_TIME,
    "n_windows": "int32",
    "duration_s": "float64",
    "peak_score": "float64",
    "mean_score": "float64",
    "n_members_agreeing": "int32",
    "n_sensors_moved": "int32",
    "top_sensor_id": "str",
    "direction": "int32",
    "moved_sensors": "str",
    "failure_mode": "str",
}
_SCORES_READ = (
    "machine_id", "window_start", "state", "score", "n_members_agreeing", "n_sensors_moved", "top_sensor_id", "moved_sensors",
)  # fmt: skip
MAX_NAMED_SENSORS = 5
LEVEL_SHARE = 0.25
_MICROSECONDS = 60_000_000


@dataclass(frozen=True)
class Run:
    """Windows first..last (counted since the epoch, both anomalous); `is_over` if its end has been seen."""

    first: int
    last: int
    is_over: bool


def incident_id(machine_id: str, onset_at: pd.Timestamp) -> str:
    """The incident's name: stable, because the onset is a window's start."""
    return f"{machine_id}@{onset_at:%Y-%m-%dT%H:%M}Z"


def find_incidents(scores: pd.DataFrame, *, site: Site, day: date, known: pd.DataFrame) -> pd.DataFrame:
    """The incidents with an anomalous window on `day`, by machine and onset; columns and types as in COLUMNS.

    scores: anomaly_scores of the look-back days up to and including `day`; anything later is left out.
    known: incident_id, machine_id, onset_at, last_window_at of earlier incidents. One that began before the look-back
    and reached it keeps its onset and name; for the others the scores alone decide, so that a repeat finds the same.
    Window counts and scores are of the look-back; duration_s counts from the onset. `ended_at` (NaT while it goes on)
    is the end of the last anomalous window, as far as the scores up to the end of `day` can tell. Machines that have left
    the plant file are left out.
    Raises ValueError when a column is missing.
    """
    _need(scores, _SCORES_READ, what="scores")
    _need(known, ("incident_id", "machine_id", "onset_at", "last_window_at"), what="known")
    policy = site.policy.detection
    step = site.window_minutes * _MICROSECONDS
    per_day = 1440 // site.window_minutes
    day_from = (day - date(1970, 1, 1)).days * per_day
    day_to = day_from + per_day
    index = _window_index(scores["window_start"], step=step)
    scores, index = scores[index < day_to], index[index < day_to]
    if not len(scores):
        return typed_frame([], COLUMNS)
    begin, newest = int(index.min()), int(index.max())
    present = {m.machine_id for m in site.machines}
    rows = []
    for machine_id, of_machine, at in _each_machine(scores, index):
        if machine_id not in present:
            continue
        earlier = _reaching_into(known, machine_id=machine_id, begin=begin, step=step, gap=policy.merge_gap_windows)
        values = of_machine["score"].to_numpy(dtype=np.float64)
        for run in merged_runs(at, values, policy=policy, newest=newest, open_until=earlier[1] if earlier else None):
            inside = (at >= max(run.first, begin)) & (at <= run.last)
            if run.last >= day_from and inside.any():
                onset = earlier[0] if earlier and run.first < begin else _time(run.first, step)
                rows.append(_incident(of_machine[inside], run=run, onset=onset, step=step, site=site))
    return typed_frame(rows, COLUMNS)


def _need(frame: pd.DataFrame, columns: tuple[str, ...], *, what: str) -> None:
    missing = [c for c in columns if c not in frame.columns]
    if missing:
        raise ValueError(f"{what} lack the columns {', '.join(missing)}; pass them, with no rows if there are none")


def _window_index(times: "pd.Series[Any]", *, step: int) -> Ints:
    return np.asarray(times.to_numpy(dtype="datetime64[us]").astype(np.int64) // step, dtype=np.int64)


def _time(index: int, step: int) -> pd.Timestamp:
    return pd.Timestamp(index * step, unit="us", tz="UTC").as_unit("us")


def _each_machine(scores: pd.DataFrame, index: Ints) -> Iterator[tuple[str, pd.DataFrame, Ints]]:
    """(machine, its scored windows in time order, their index) by machine id."""
    is_scored = (scores["state"] == "scored").to_numpy() & scores["score"].notna().to_numpy()
    ids = scores["machine_id"].to_numpy(dtype=object)
    for machine_id in sorted(set(ids[is_scored])):
        where = np.flatnonzero(is_scored & (ids == machine_id))
        where = where[np.argsort(index[where], kind="stable")]
        yield str(machine_id), scores.iloc[where], index[where]


def _reaching_into(known: pd.DataFrame, *, machine_id: str, begin: int, step: int, gap: int) -> tuple[pd.Timestamp, int] | None:
    """(onset, last window before the look-back) of the machine's latest incident that began earlier and came near enough to go on."""
    mine = known[known["machine_id"] == machine_id]
    onset, last = _window_index(mine["onset_at"], step=step), _window_index(mine["last_window_at"], step=step)
    reaches = np.flatnonzero((onset < begin) & (last >= begin - gap - 1))
    if not len(reaches):
        return None
    latest = reaches[np.argmax(onset[reaches])]
    return _time(int(onset[latest]), step), min(int(last[latest]), begin - 1)


def merged_runs(index: Ints, scores: Floats, *, policy: DetectionPolicy, newest: int, open_until: int | None = None) -> list[Run]:
    """The anomalous runs of one machine's scored windows; `index` ascending, `newest` the latest window of the site.

    `open_until`: an incident was open at that window, before the first one given; the first run continues it
    and then starts there.
    """
    runs: list[Run] = [] if open_until is None else [Run(open_until, open_until, is_over=newest - open_until > policy.merge_gap_windows)]
    is_open = open_until is not None and len(index) > 0 and index[0] - open_until <= policy.merge_gap_windows + 1
    breaks = np.flatnonzero(np.diff(index) > policy.merge_gap_windows + 1) + 1
    for at, values in zip(np.split(index, breaks), np.split(scores, breaks), strict=True):
        # an open one has not closed in fewer windows than the off-delay, however short the merge gap
        near = max(policy.merge_gap_windows + 1, policy.off_delay_windows if is_open else 0)
        for run in _hysteresis(at, values, policy=policy, is_open=is_open, newest=newest):
            if runs and run.first - runs[-1].last <= near:
                runs[-1] = Run(runs[-1].first, run.last, run.is_over)
            else:
                runs.append(run)
        is_open = False
    return runs


def _hysteresis(index: Ints, scores: Floats, *, policy: DetectionPolicy, is_open: bool, newest: int) -> Iterator[Run]:
    """Runs among scored windows that follow each other; a run ends with its last window at or above the off-threshold."""
    above_off = scores >= policy.off_threshold
    opens = np.flatnonzero(_streak(scores >= policy.on_threshold) == policy.on_delay_windows)
    closes = np.flatnonzero(_streak(~above_off) == policy.off_delay_windows)
    position = 0
    while position < len(index):
        if is_open:
            first = position
        else:
            later = opens[opens >= position]
            if not len(later):
                return
            first, position = int(later[0]) - policy.on_delay_windows + 1, int(later[0])
        later = closes[closes >= position]
        end = int(later[0]) if len(later) else len(index) - 1
        anomalous = np.flatnonzero(above_off[first : end + 1])
        if len(anomalous):
            begin = first if not is_open else first + int(anomalous[0])
            last = int(index[first + int(anomalous[-1])])
            yield Run(int(index[begin]), last, is_over=bool(len(later)) or newest - last > policy.merge_gap_windows)
        position, is_open = end + 1, False


def _streak(flags: Flags) -> Ints:
    """How many in a row are true up to and including each place."""
    place = np.arange(1, len(flags) + 1)
    return np.asarray(place - np.maximum.accumulate(np.where(flags, 0, place)), dtype=np.int64)


def _incident(windows: pd.DataFrame, *, run: Run, onset: pd.Timestamp, step: int, site: Site) -> dict[str, object]:
    machine_id = str(windows["machine_id"].iloc[0])
    last, after = _time(run.last, step), _time(run.last + 1, step)
    scores = windows["score"].to_numpy(dtype=np.float64)
    moved = movements(windows, on=site.policy.detection.on_threshold)
    # no sensor is named where many share the movement evenly: then the one that most often leads, and no direction
    top = next(iter(moved), None) or most_often_leading(windows, on=site.policy.detection.on_threshold)
    return {
        "incident_id": incident_id(machine_id, onset),
        "machine_id": machine_id,
        "onset_at": onset,
        "last_window_at": last,
        "ended_at": after if run.is_over else pd.NaT,
        "n_windows": len(windows),
        "duration_s": (after - onset).total_seconds(),
        "peak_score": float(scores.max()),
        "mean_score": float(scores.mean()),
        "n_members_agreeing": int(windows["n_members_agreeing"].max()),
        "n_sensors_moved": int(windows["n_sensors_moved"].max()),
        "top_sensor_id": top,
        "direction": (1 if moved[top].z >= 0 else -1) if moved else 0,
        "moved_sensors": json.dumps({s: {"share": round(m.share, 4), "z": round(m.z, 2), "feature": m.feature} for s, m in moved.items()}),
        "failure_mode": failure_mode_of_incident(moved, machine=site.machine(machine_id)),
    }


def most_often_leading(windows: pd.DataFrame, *, on: float) -> str:
    """The sensor that contributes most in most of the windows at or above the on-threshold, if there are any; else of all."""
    anomalous = windows.loc[windows["score"] >= on, "top_sensor_id"]
    counted = (anomalous if len(anomalous) else windows["top_sensor_id"]).value_counts()
    return min(map(str, counted.index[counted == counted.max()]))


def movements(windows: pd.DataFrame, *, on: float) -> Movements:
    """What moved over an incident, the largest first: mean share, telling feature, and the median z of that feature.

    The telling feature is the level (`mean`) if that moved in a quarter of the windows that name the sensor, since a
    growing fault is rough, too; else the strongest. Only the windows at or above the on-threshold speak, if there are any; else those
    that name a sensor.
    """
    anomalous = windows[windows["score"] >= on]
    texts = (anomalous if len(anomalous) else windows[windows["moved_sensors"] != "{}"])["moved_sensors"]
    shares: dict[str, float] = {}
    zs: dict[tuple[str, str], list[float]] = {}
    for text in texts:
        for sensor_id, said in json.loads(text).items():
            shares[sensor_id] = shares.get(sensor_id, 0.0) + said["share"] / len(texts)
            zs.setdefault((sensor_id, said["feature"]), []).append(said["z"])
    found = {}
    for sensor_id in sorted(shares, key=lambda s: (-shares[s], s))[:MAX_NAMED_SENSORS]:
        by_feature = {f: z for (s, f), z in zs.items() if s == sensor_id}
        level = by_feature.get("mean", [])
        if sum(abs(z) >= MOVED_Z for z in level) >= LEVEL_SHARE * sum(map(len, by_feature.values())):
            feature = "mean"
        else:
            feature = max(by_feature, key=lambda f: (sum(map(abs, by_feature[f])), f))
        found[sensor_id] = Movement(share=shares[sensor_id], z=float(np.median(zs[sensor_id, feature])), feature=feature)
    return found


def alarms(scores: pd.DataFrame, *, site: Site) -> pd.DataFrame:
    """machine_id, onset_at, last_window_at of every run of anomalous windows in the table, as find_incidents would open them."""
    step = site.window_minutes * _MICROSECONDS
    index = _window_index(scores["window_start"], step=step)
    rows = [
        {"machine_id": machine_id, "onset_at": _time(run.first, step), "last_window_at": _time(run.last, step)}
        for machine_id, of_machine, at in _each_machine(scores, index)
        for run in merged_runs(at, of_machine["score"].to_numpy(dtype=np.float64), policy=site.policy.detection, newest=int(index.max()))
    ]
    return typed_frame(rows, {name: COLUMNS[name] for name in ("machine_id", "onset_at", "last_window_at")})
