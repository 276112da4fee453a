"""What speaks for and against each incident, one row of plain facts per incident, for the validation to judge.

Facts only: what counts as too little or too much stands in the verdict policy, so that a changed policy can be applied to stored
evidence. A fact that cannot be told from what is stored is missing (NaN, None), never a good value.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ml.frames import typed_frame
from ml.plant import Sensor, Site

COLUMNS: dict[str, str] = {
    "incident_id": "str",
    "machine_id": "str",
    "failure_mode": "str",
    "n_members_agreeing": "int32",
    "peak_score": "float64",
    "duration_windows": "int32",
    "anomalous_share": "float64",
    "n_sensors_moved": "int32",
    "worst_grade": "str",
    "worst_sensor_id": "str",
    "faulty_share": "float64",
    "sensor_faults": "str",
    "coverage": "float64",
    "running_share": "float64",
    "hours_since_start": "float64",
    "in_maintenance": "bool",
    "false_alarms_30d": "int32",
    "site_share": "float64",
}
_AS_FOUND = ("incident_id", "machine_id", "failure_mode", "n_members_agreeing", "peak_score", "n_sensors_moved")
_GRADES = "ABCF"
_RUNS = 1 - 1e-9


@dataclass(frozen=True)
class _Scene:
    """One incident, and what is stored about its machine within it. `weights`: sensor -> its share of the movement."""

    windows: pd.DataFrame
    features: pd.DataFrame
    quality: pd.DataFrame
    weights: dict[str, float]
    sensors: Mapping[str, Sensor]

    @property
    def scored(self) -> pd.DataFrame:
        return self.windows[self.windows["state"] == "scored"]


def build_evidence(
    incidents: pd.DataFrame,
    *,
    scores: pd.DataFrame,
    features: pd.DataFrame,
    quality: pd.DataFrame,
    site: Site,
    maintenance: pd.DataFrame,
    false_alarms_30d: Mapping[str, int],
) -> pd.DataFrame:
    """The evidence on `incidents` (of `find_incidents`), in their order; columns and types as in COLUMNS.

    An incident rests on the sensors that it names; one whose movement is so even that it names none rests on all of its machine's.

    duration_windows:  windows from the onset to the last anomalous one, both included
    anomalous_share:   share of its scored windows that are at or above the on-threshold: low for flickers merged into one
    worst_grade:       of the sensors it rests on, in `quality` (sensor_id, day, grade, faults) of its days; missing where one of
                       them has no grade, unless another has F already. worst_sensor_id has that grade
    faulty_share:      share of the movement from sensors with a fault that moves readings, such as a unit that changed; missing
                       where one of the sensors was not looked at for faults. sensor_faults names the faults of all kinds
    coverage:          of what was due of those sensors in its scored windows; a window without a due reading of a sensor counts 0
    running_share:     mean over its windows in `features`
    hours_since_start: from the machine's last start to the middle (median) of its anomalous windows; where no stop is in
                       `features`, from the first window there
    in_maintenance:    overlaps an interval of `maintenance` (machine_id, started_at, ended_at; NaT goes on)
    site_share:        share of the site's OTHER scored machines that were anomalous too, mean over the incident's
                       anomalous windows; 0 if no other machine was scored
    """
    window = pd.Timedelta(minutes=site.window_minutes)
    on = site.policy.detection.on_threshold
    sensors = {s.sensor_id: s for s in site.sensors}
    of_machine = {m.machine_id: [s.sensor_id for s in m.sensors] for m in site.machines}
    anomalous = scores.loc[scores["state"] == "scored", ["machine_id", "window_start", "score"]]
    rows = []
    for incident in incidents.to_dict("records"):
        machine_id, onset, last = incident["machine_id"], incident["onset_at"], incident["last_window_at"]
        named = {sensor_id: said["share"] for sensor_id, said in json.loads(incident["moved_sensors"]).items()}
        scene = _Scene(
            windows=scores[(scores["machine_id"] == machine_id) & scores["window_start"].between(onset, last)],
            features=features[(features["machine_id"] == machine_id) & (features["window_start"] <= last)],
            quality=quality[quality["day"].between(onset.date(), last.date())],
            weights=named or dict.fromkeys(of_machine[machine_id], 1.0),
            sensors=sensors,
        )
        inside = scene.features[scene.features["window_start"] >= onset]
        at_that_time = anomalous[anomalous["window_start"].between(onset, last)]
        rows.append(
            {
                **{name: incident[name] for name in _AS_FOUND},
                **_trust(scene),
                "duration_windows": round((last - onset) / window) + 1,
                "anomalous_share": float((scene.scored["score"] >= on).mean()),
                "coverage": _coverage(scene, minutes=site.window_minutes),
                "running_share": float(inside["running_share"].mean()),
                "hours_since_start": _hours_since_start(scene, on=on, window=window),
                "in_maintenance": _overlaps(maintenance, machine_id=machine_id, start=onset, end=last + window),
                "false_alarms_30d": int(false_alarms_30d.get(machine_id, 0)),
                "site_share": site_share(at_that_time, machine_id=machine_id, on=on),
            }
        )
    return typed_frame(rows, COLUMNS)


def _trust(scene: _Scene) -> dict[str, object]:
    """worst_grade, worst_sensor_id, faulty_share and sensor_faults."""
    graded = scene.quality[scene.quality["sensor_id"].isin(list(scene.weights))]
    grades = {str(s): max(map(str, of_sensor), key=_GRADES.index) for s, of_sensor in graded.groupby("sensor_id")["grade"]}
    worst = max((s for s in scene.weights if s in grades), key=lambda s: _GRADES.index(grades[s]), default=None)
    is_known = set(grades) == set(scene.weights) or (worst is not None and grades[worst] == _GRADES[-1])
    told = graded[graded["faults"].notna()]  # days graded before faults were looked for say nothing of them
    faults = {str(s): sorted({code for text in texts for code in text.split()}) for s, texts in told.groupby("sensor_id")["faults"]}
    moving = sum(weight for s, weight in scene.weights.items() if any(_moves(code, scene.sensors.get(s)) for code in faults.get(s, ())))
    return {
        "worst_grade": grades[worst] if is_known and worst else None,
        "worst_sensor_id": worst if is_known else None,
        "faulty_share": moving / sum(scene.weights.values()) if set(faults) == set(scene.weights) else float("nan"),
        "sensor_faults": ", ".join(f"{s} {code.replace('_', ' ')}" for s in scene.weights for code in faults.get(s, ())),
    }


def _moves(fault: str, sensor: Sensor | None) -> bool:
    """Whether the fault moves readings by itself. Noise on a vibration sensor does not count: a worn bearing does that, too."""
    return fault in ("stuck", "dead", "wrong_unit") or (fault == "noisy" and (sensor is None or sensor.type != "vibration"))


def _coverage(scene: _Scene, *, minutes: int) -> float:
    starts = scene.scored["window_start"]
    if not len(starts) or scene.features.empty:
        return float("nan")
    rows = scene.features[scene.features["window_start"].isin(starts) & scene.features["sensor_id"].isin(list(scene.weights))]
    due = sum(scene.sensors[s].share_due(minutes) if s in scene.sensors else 1.0 for s in scene.weights)
    return min(1.0, float(rows["coverage"].sum() / (len(starts) * due)))


def _hours_since_start(scene: _Scene, *, on: float, window: pd.Timedelta) -> float:
    runs = scene.features.groupby("window_start")["running_share"].min() >= _RUNS
    if runs.empty:
        return float("nan")
    anomalous = scene.scored.loc[scene.scored["score"] >= on, "window_start"]
    at = anomalous if len(anomalous) else scene.scored["window_start"]
    stops = pd.DatetimeIndex(runs.index[~runs.to_numpy()])
    before = stops.searchsorted(pd.DatetimeIndex(at), side="right") - 1
    since = pd.DatetimeIndex([stops[i] + window if i >= 0 else runs.index[0] for i in before.tolist()])
    return float(np.median((pd.DatetimeIndex(at) - since) / pd.Timedelta(hours=1)))


def _overlaps(maintenance: pd.DataFrame, *, machine_id: str, start: pd.Timestamp, end: pd.Timestamp) -> bool:
    # a column of nothing but NaT, as a query over ongoing work gives it, has no time zone
    started, ended = (pd.to_datetime(maintenance[name], utc=True) for name in ("started_at", "ended_at"))
    return bool(((maintenance["machine_id"] == machine_id) & (started < end) & (ended.isna() | (ended > start))).any())


def site_share(scored: pd.DataFrame, *, machine_id: str, on: float) -> float:
    """Share of the other machines at or above `on`, mean over the windows in which `machine_id` was; `scored` has their scores."""
    own = scored["machine_id"] == machine_id
    windows = scored.loc[own & (scored["score"] >= on), "window_start"]
    others = scored[~own & scored["window_start"].isin(windows)]
    if not len(others):
        return 0.0
    return float((others["score"] >= on).groupby(others["window_start"]).mean().mean())
