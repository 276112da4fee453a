"""What speaks for and against each incident, one row of plain numbers per incident, for the validation to judge."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.frames import typed_frame
from ml.plant import Site

COLUMNS: dict[str, str] = {
    "incident_id": "str",
    "machine_id": "str",
    "n_members_agreeing": "int32",
    "peak_score": "float64",
    "duration_windows": "int32",
    "n_sensors_moved": "int32",
    "worst_grade": "str",
    "running_share": "float64",
    "in_maintenance": "bool",
    "false_alarms_30d": "int32",
    "site_share": "float64",
}
_GRADES = "ABCF"
Flags = NDArray[np.bool_]


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

    duration_windows: windows from the onset to the last anomalous one, both included
    worst_grade:      of the incident's moved sensors, over all rows of `quality` (pass the days covered); F without a row
    running_share:    mean over the incident's windows in `features`; 1 if none of them is given
    in_maintenance:   overlaps an interval of `maintenance` (machine_id, started_at, ended_at; NaT goes on)
    site_share:       share of the site's OTHER scored machines that were anomalous too, mean over the incident's
                      anomalous windows; 0 if no other machine was scored
    """
    window = pd.Timedelta(minutes=site.window_minutes)
    on = site.policy.detection.on_threshold
    anomalous = scores.loc[scores["state"] == "scored", ["machine_id", "window_start", "score"]]
    # a column of nothing but NaT, as a query over ongoing work gives it, has no time zone
    started, ended = (pd.to_datetime(maintenance[name], utc=True) for name in ("started_at", "ended_at"))
    rows = []
    for incident in incidents.to_dict("records"):
        machine_id, onset, last = incident["machine_id"], incident["onset_at"], incident["last_window_at"]
        inside = features[(features["machine_id"] == machine_id) & features["window_start"].between(onset, last)]
        overlaps = (maintenance["machine_id"] == machine_id) & (started < last + window) & (ended.isna() | (ended > onset))
        at_that_time = anomalous[anomalous["window_start"].between(onset, last)]
        rows.append(
            {
                "incident_id": incident["incident_id"],
                "machine_id": machine_id,
                "n_members_agreeing": incident["n_members_agreeing"],
                "peak_score": incident["peak_score"],
                "duration_windows": round((last - onset) / window) + 1,
                "n_sensors_moved": incident["n_sensors_moved"],
                "worst_grade": _worst_grade(json.loads(incident["moved_sensors"]), quality=quality),
                "running_share": float(inside["running_share"].mean()) if len(inside) else 1.0,
                "in_maintenance": bool(overlaps.any()),
                "false_alarms_30d": int(false_alarms_30d.get(machine_id, 0)),
                "site_share": site_share(at_that_time, machine_id=machine_id, on=on),
            }
        )
    return typed_frame(rows, COLUMNS)


def _worst_grade(moved: Mapping[str, Any], *, quality: pd.DataFrame) -> str:
    graded = quality[quality["sensor_id"].isin(list(moved))]
    if set(moved) - set(graded["sensor_id"]):
        return "F"
    return max((str(g) for g in graded["grade"]), key=_GRADES.index, default="A")


def site_share(scored: pd.DataFrame, *, machine_id: str, on: float) -> float:
    """Share of the other machines at or above `on`, mean over the windows in which `machine_id` was; `scored` has their scores."""
    own = scored["machine_id"] == machine_id
    windows = scored.loc[own & (scored["score"] >= on), "window_start"]
    others = scored[~own & scored["window_start"].isin(windows)]
    if not len(others):
        return 0.0
    return float((others["score"] >= on).groupby(others["window_start"]).mean().mean())
