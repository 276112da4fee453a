"""A machine's health from 100 down: points are taken off for anomalous scores, for nearness to limits and for open incidents.

    health = max(0, 100 - score_part - limit_part - incident_part)

    score_part     0..25: 25 * ramp(s95, from 0.35 to 1), s95 the score that 95 % of the day's scored windows do not exceed
    limit_part     0..50: the worst sensor's nearness to its limits: 0 far off, 25 at the alarm limit, 50 at the trip limit;
                   it begins before the alarm limit, at half the distance from alarm to trip. What counts of a sensor is the
                   mean that 95 % of the windows in which the machine ran do not exceed (towards lower limits: fall below)
    incident_part  0..30: 30 * (1 - product over the machine's incidents of (1 - weight * peak score)),
                   weight 1 for a credible one, 0.5 to investigate, 0.1 for a suspected false positive

Where a sensor has but one of alarm and trip limit on a side, the distance between them is a tenth of that between its lower and its upper
limit, or, with limits on one side only, a tenth of the limit itself (of a temperature in °C).

Monotone: no part shrinks when a score, a nearness to a limit, an incident's peak or the gravity of its verdict grows, or when an incident
is added.

Comparable: it is the same however many sensors tell the same, however many windows a day has, in whatever units the readings are, and
however long the machine stood still. Scores are tail probabilities; of sensors the worst counts, not a sum; of windows a rank; nearness is
a share of a distance between limits.

Limits: what is not measured costs nothing, so a machine whose sensor died can look well (its sensors' grades say so), and one with more
limited sensors has more that can come near a limit; a machine that stood all day has only its incidents to lose points for; with fewer
than 20 windows the highest counts as the s95; a limit of 0 alone gives no distance, and nearness begins at the limit.
"""

from collections.abc import Sequence
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.frames import typed_frame
from ml.plant import Machine, Sensor, Site
from ml.units import SAME, WrongUnit, conversion

Floats = NDArray[np.float64]

COLUMNS: dict[str, str] = {
    "machine_id": "str",
    "health": "float64",
    "score_part": "float64",
    "limit_part": "float64",
    "incident_part": "float64",
    "explanation": "str",
}
SCORE_POINTS, LIMIT_POINTS, INCIDENT_POINTS = 25.0, 50.0, 30.0
SCORE_FROM = 0.35
VERDICT_WEIGHTS = {"credible": 1.0, "investigate": 0.5, "false_positive_suspected": 0.1}
_SHARE_WITHOUT_BOTH = 0.1
_NO_WIDTH = 1e-9


def machine_health(scores: pd.DataFrame, *, features: pd.DataFrame, incidents: pd.DataFrame, site: Site, day: date) -> pd.DataFrame:
    """Health of each machine with scores or features on `day`, in the plant file's order; columns and types as in COLUMNS.

    scores: anomaly_scores; features: machine_features; of both only the rows of `day` count, of features only windows in
    which the machine ran throughout. incidents: machine_id, peak_score, verdict of those with an anomalous window on
    `day`. A machine that did not report has no row. Raises ValueError for an unknown verdict.
    """
    unknown = sorted(set(incidents["verdict"]) - set(VERDICT_WEIGHTS)) if len(incidents) else []
    if unknown:
        raise ValueError(f"incidents have unknown verdicts {', '.join(unknown)}; known: {', '.join(VERDICT_WEIGHTS)}")
    scores, features = _of_day(scores, day), _of_day(features, day)
    rows = []
    for machine in site.machines:
        own_scores = scores[scores["machine_id"] == machine.machine_id]
        own_features = features[features["machine_id"] == machine.machine_id]
        if len(own_scores) or len(own_features):
            own_incidents = incidents[incidents["machine_id"] == machine.machine_id]
            rows.append(_health(machine, scores=own_scores, features=own_features, incidents=own_incidents))
    return typed_frame(rows, COLUMNS)


def _of_day(frame: pd.DataFrame, day: date) -> pd.DataFrame:
    start = pd.Timestamp(day, tz="UTC")
    return frame[(frame["window_start"] >= start) & (frame["window_start"] < start + pd.Timedelta(days=1))]


def _health(machine: Machine, *, scores: pd.DataFrame, features: pd.DataFrame, incidents: pd.DataFrame) -> dict[str, object]:
    said = []
    scored = scores["score"].dropna().to_numpy(dtype=np.float64)
    q95 = outer(scored) if len(scored) else float("nan")
    score_part = SCORE_POINTS * _ramp(q95, SCORE_FROM, 1.0) if len(scored) else 0.0
    if score_part > 0:
        said.append(f"-{score_part:.0f} for anomalous windows (95 % of the day's scores are at or below {q95:.2f})")
    running = features[features["running_share"] >= 1 - 1e-9]
    nearest = max((_nearness(s, running) for s in machine.sensors), key=lambda found: found[0])
    limit_part = LIMIT_POINTS * nearest[0]
    if limit_part > 0:
        said.append(f"-{limit_part:.0f} because {nearest[1]}")
    incident_part = INCIDENT_POINTS * incident_gravity(
        incidents["peak_score"].to_numpy(dtype=np.float64), verdicts=[str(v) for v in incidents["verdict"]]
    )
    if len(incidents):
        words = ", ".join(f"{n} {verdict.replace('_', ' ')}" for verdict, n in _counted(incidents["verdict"]))
        said.append(f"-{incident_part:.0f} for incidents: {words}")
    if not len(scored):
        said.append("no window of the day was scored" if len(running) else "the machine did not run a whole window")
    return {
        "machine_id": machine.machine_id,
        "health": max(0.0, 100.0 - score_part - limit_part - incident_part),
        "score_part": score_part,
        "limit_part": limit_part,
        "incident_part": incident_part,
        "explanation": "; ".join(said) if said else "nothing unusual",
    }


def _counted(verdicts: "pd.Series[Any]") -> list[tuple[str, int]]:
    found = [str(v) for v in verdicts]
    return [(verdict, found.count(verdict)) for verdict in VERDICT_WEIGHTS if verdict in found]


def _ramp(value: float, low: float, high: float) -> float:
    return float(np.clip((value - low) / (high - low), 0.0, 1.0))


def incident_gravity(peaks: Floats, *, verdicts: Sequence[str]) -> float:
    """0 without incidents, towards 1 with grave ones."""
    weights = np.array([VERDICT_WEIGHTS[v] for v in verdicts], dtype=np.float64)
    return float(1.0 - np.prod(1.0 - weights * np.clip(peaks, 0.0, 1.0)))


def _nearness(sensor: Sensor, running: pd.DataFrame) -> tuple[float, str]:
    """(0 far from the limits .. 0.5 at the alarm limit .. 1 at the trip limit, in words), by the outermost of 95 % of the means."""
    means = running.loc[running["sensor_id"] == sensor.sensor_id, "mean"].to_numpy(dtype=np.float64)
    if not len(means):
        return 0.0, ""
    low, high = -outer(-means), outer(means)
    up = _towards(high, sensor, alarm=sensor.alarm.high, trip=sensor.trip.high, way=1)
    down = _towards(low, sensor, alarm=sensor.alarm.low, trip=sensor.trip.low, way=-1)
    near, value, side = (up, high, "upper") if up >= down else (down, low, "lower")
    place = "beyond" if near > 0.5 else "near"
    return near, f"{sensor.sensor_id} at {value:.4g} {sensor.unit} is {place} its {side} alarm limit"


def outer(values: Floats) -> float:
    """The value that 95 % of them do not exceed: one of them, by rank, so that every window told twice gives the same.

    >>> outer(np.arange(1.0, 21.0)), outer(np.repeat(np.arange(1.0, 21.0), 3))
    (19.0, 19.0)
    """
    rank = -(-19 * len(values) // 20)
    return float(np.sort(values)[rank - 1])


def _towards(value: float, sensor: Sensor, *, alarm: float | None, trip: float | None, way: int) -> float:
    known = alarm if alarm is not None else trip
    if known is None:
        return 0.0
    if alarm is None or trip is None or alarm == trip:
        width = _width_without_both(sensor, known)
        alarm = alarm if alarm is not None else known - way * width
    else:
        width = abs(trip - alarm)
    beyond = way * (value - alarm) / width
    return 0.5 * _ramp(beyond, -0.5, 0.0) + 0.5 * _ramp(beyond, 0.0, 1.0)


def _width_without_both(sensor: Sensor, limit: float) -> float:
    """What stands for the distance from alarm to trip limit, in the sensor's unit."""
    for band in (sensor.alarm, sensor.trip):
        if band.low is not None and band.high is not None:
            return _SHARE_WITHOUT_BOTH * (band.high - band.low)
    if sensor.type != "temperature":
        return max(_SHARE_WITHOUT_BOTH * abs(limit), _NO_WIDTH)
    try:
        in_celsius = conversion(sensor.unit, "°C", sensor_type=sensor.type)
    except WrongUnit:
        in_celsius = SAME
    [celsius] = in_celsius(np.array([limit]))
    return max(float(_SHARE_WITHOUT_BOTH * abs(celsius) / in_celsius.factor), _NO_WIDTH)
