"""Known faults replayed into healthy days that a detector has not seen: which of them it finds, how early, and whom it blames.

    bearing_wear, seal_leak, clogged_filter   the leading sensor goes to its trip limit, ever faster, while the machine runs
    limit_approach                            any sensor with a limit does, for machines without such a sensor as well
    step, sensor_drift                        6 robust standard deviations at once, or in even growth
    noisy_sensor                              noise that grows to 4 robust standard deviations of the window means
    stuck_sensor, spike_bursts                the last value for ever; 36 bursts a day of 3 to 8 readings, off by 0.9 to 1.8 times the
                                              room to the alarm limit

A limit that a sensor lacks is taken to lie 10 robust standard deviations from its median. A fault lasts two days where there are as
many to replay into, less where there are fewer: what grows for weeks in life grows within them here. The standard deviations are
1.4826 MAD of the machine's own running windows before those days. A fault is found where an alarm opens while it lasts. Where the
detector has an alarm there without the fault, right or wrong, it cannot be judged by it: of several detectors, only the faults are
counted that each can be judged by (`is_clear`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd

from ml.fault_marks import GROWING, ReplayedFault, marked
from ml.frames import UTC_TIME, typed_frame
from ml.incidents import alarms, most_often_leading
from ml.plant import Band, Machine, Sensor, Site
from ml.simulation.faults import MACHINE_FAULTS, leading_sensor
from ml.simulation.machines import stream

LASTS = pd.Timedelta(days=2)
MAX_OF_A_KIND = 8
MIN_RUNNING_WINDOWS = 36
SHIFT_SIGMAS, NOISE_SIGMAS, ROOM_SIGMAS = 6.0, 4.0, 10.0
KINDS = (*GROWING, "step", "sensor_drift", "noisy_sensor", "stuck_sensor", "spike_bursts")
_SIDE = {"bearing_wear": +1, "seal_leak": -1, "clogged_filter": -1}
OUTCOME_COLUMNS: dict[str, str] = {
    "machine_id": "str",
    "kind": "str",
    "sensor_id": "str",
    "onset_at": UTC_TIME,
    "ends_at": UTC_TIME,
    "is_clear": "bool",
    "is_found": "bool",
    "is_blamed": "bool",
    "detected_at": UTC_TIME,
    "delay_h": "float64",
    "lead_time_h": "float64",
}
_OF_FAULT = ("machine_id", "kind", "sensor_id", "onset_at", "ends_at")


class Detector(Protocol):
    """What ml.detectors.fleet.SiteDetector is."""

    def score(self, features: pd.DataFrame, *, site: Site, model_version: int) -> pd.DataFrame: ...


@dataclass(frozen=True)
class Round:
    """Features in which each machine has at most one fault."""

    features: pd.DataFrame
    faults: tuple[ReplayedFault, ...]


@dataclass(frozen=True)
class KindFound:
    """Of one kind: replayed, found, and those found for which the right sensor was named; medians over those found, hours.

    The lead time is until the limit would be reached, so only growing faults have one.
    """

    kind: str
    replayed: int
    found: int
    blamed: int
    delay_h: float | None
    lead_time_h: float | None


def rounds(healthy: pd.DataFrame, *, site: Site, start: pd.Timestamp, end: pd.Timestamp, seed: int) -> tuple[Round, ...]:
    """Faults replayed into the healthy features of [start, end), at most MAX_OF_A_KIND of each kind on as many machines.

    Nothing where no machine runs for MIN_RUNNING_WINDOWS. The same features and seed give the same faults.
    """
    waiting = list(_planned(healthy, site=site, start=start, end=end, seed=seed))
    made = []
    by_machine = dict(tuple(healthy.groupby("machine_id", sort=False)))
    while waiting:
        chosen = {fault.machine_id: fault for fault in reversed(waiting)}  # the first of each machine
        waiting = [fault for fault in waiting if chosen[fault.machine_id] is not fault]
        parts = [marked(by_machine[m], fault, site=site, seed=seed) for m, fault in sorted(chosen.items())]
        made.append(Round(pd.concat(parts, ignore_index=True), tuple(fault for _, fault in sorted(chosen.items()))))
    return tuple(made)


def outcome(detector: Detector, replayed: Sequence[Round], *, clean: pd.DataFrame, site: Site) -> pd.DataFrame:
    """One row per fault, columns as in OUTCOME_COLUMNS; `clean` are the detector's scores of the same days without faults."""
    standing = alarms(clean, site=site)
    gap = pd.Timedelta(minutes=site.window_minutes) * (site.policy.detection.merge_gap_windows + 1)
    rows = []
    for one in replayed:
        scores = detector.score(one.features, site=site, model_version=1)
        raised = alarms(scores, site=site)
        for fault in one.faults:
            of_machine = standing[standing["machine_id"] == fault.machine_id]
            is_near = (of_machine["last_window_at"] >= fault.onset_at - gap) & (of_machine["onset_at"] < fault.ends_at)
            mine = raised[(raised["machine_id"] == fault.machine_id) & raised["onset_at"].between(fault.onset_at, fault.ends_at, "left")]
            detected_at = None if is_near.any() else min(mine["onset_at"], default=None)
            found = _found(fault, detected_at=detected_at, scores=scores, on=site.policy.detection.on_threshold)
            rows.append({**{name: getattr(fault, name) for name in _OF_FAULT}, "is_clear": not is_near.any(), **found})
    return typed_frame(rows, OUTCOME_COLUMNS)


def by_kind(outcomes: pd.DataFrame) -> tuple[KindFound, ...]:
    """In the order of KINDS, those that were replayed."""
    found = []
    for kind in KINDS:
        of_kind = outcomes[outcomes["kind"] == kind]
        if len(of_kind):
            delay, lead = (of_kind[name].median() for name in ("delay_h", "lead_time_h"))
            n_found, n_blamed = int(of_kind["is_found"].sum()), int(of_kind["is_blamed"].sum())
            found.append(KindFound(kind, len(of_kind), n_found, n_blamed, delay_h=_number(delay), lead_time_h=_number(lead)))
    return tuple(found)


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _found(fault: ReplayedFault, *, detected_at: pd.Timestamp | None, scores: pd.DataFrame, on: float) -> dict[str, Any]:
    if detected_at is None:
        return {"is_found": False, "is_blamed": False, "detected_at": pd.NaT, "delay_h": float("nan"), "lead_time_h": float("nan")}
    during = scores[
        (scores["machine_id"] == fault.machine_id)
        & scores["window_start"].between(detected_at, fault.ends_at, "left")
        & (scores["state"] == "scored")
    ]
    lead_time_h = (fault.ends_at - detected_at).total_seconds() / 3600
    return {
        "is_found": True,
        "is_blamed": most_often_leading(during, on=on) == fault.sensor_id,
        "detected_at": detected_at,
        "delay_h": (detected_at - fault.onset_at).total_seconds() / 3600,
        "lead_time_h": lead_time_h if fault.kind in GROWING else float("nan"),
    }


def _planned(healthy: pd.DataFrame, *, site: Site, start: pd.Timestamp, end: pd.Timestamp, seed: int) -> Iterator[ReplayedFault]:
    """By kind, then by the chance that the seed gives the machines."""
    spans: dict[str, tuple[pd.Timestamp, pd.Timestamp]] = {}
    levels: dict[str, tuple[float, float]] = {}
    window = pd.Timedelta(minutes=site.window_minutes)
    for machine_id, rows in healthy.groupby("machine_id", sort=True):
        runs = rows[rows["running_share"] >= 1 - 1e-9]
        span = _span(runs["window_start"], start=start, end=end, window=window, rng=stream(seed, "replay", str(machine_id)))
        if span is not None:
            before = runs[runs["window_start"] < start].groupby("sensor_id", sort=True)["mean"]
            spans[str(machine_id)] = span
            levels |= {str(sensor): (float(m), 1.4826 * float((of - m).abs().median())) for sensor, of in before if (m := of.median()) == m}
    machines = [m for m in site.machines if m.machine_id in spans]
    for kind in KINDS:
        rng = stream(seed, "replay", kind)
        able = [(m, s) for m in machines if (s := _sensor_for(m, kind, rng=rng)) is not None and levels.get(s.sensor_id, (0, 0))[1] > 0]
        for i in sorted(rng.permutation(len(able))[:MAX_OF_A_KIND]):
            machine, sensor = able[i]
            level, sigma = levels[sensor.sensor_id]
            room = _room(sensor, kind, level=level, sigma=sigma, rng=rng)
            yield ReplayedFault(machine.machine_id, kind, sensor.sensor_id, *spans[machine.machine_id], level, sigma, room)


def _span(
    running: "pd.Series[pd.Timestamp]", *, start: pd.Timestamp, end: pd.Timestamp, window: pd.Timedelta, rng: np.random.Generator
) -> tuple[pd.Timestamp, pd.Timestamp] | None:
    """(onset, end) on whole hours in [start, end) during which the machine runs most; None where it hardly runs.

    Where there is no more than a day or two, a twelfth of the time stays before the onset, so that not all begin at midnight.
    """
    lasts = min(LASTS, (end - start) * 11 / 12).floor("h")
    lasts = max(lasts, 6 * window)
    onsets = pd.date_range(start, end - lasts, freq="h")
    if onsets.empty:
        return None
    at = np.unique(running.to_numpy(dtype="datetime64[us]"))
    first, last = (
        np.searchsorted(at, (onsets + shift).tz_convert("UTC").tz_localize(None).to_numpy(dtype="datetime64[us]"))
        for shift in (pd.Timedelta(0), lasts)
    )
    n = last - first
    if n.max() < MIN_RUNNING_WINDOWS:
        return None
    best = np.flatnonzero(n >= 0.95 * n.max())
    onset = onsets[int(rng.choice(best))]
    return onset, onset + lasts


def _sensor_for(machine: Machine, kind: str, *, rng: np.random.Generator) -> Sensor | None:
    """The sensor that the fault shows on: the leading one, else any but the one that says whether the machine runs."""
    if kind in MACHINE_FAULTS:
        return leading_sensor(machine, kind)
    running = machine.running_when.sensor_id if machine.running_when else None
    others = [s for s in machine.sensors if s.sensor_id != running and (kind != "limit_approach" or _limits(s))]
    return others[int(rng.integers(len(others)))] if others else None


def _limits(sensor: Sensor) -> list[float]:
    """The limits of the trip, else of the alarm."""

    def of(band: Band) -> list[float]:
        return [x for x in (band.low, band.high) if x is not None]

    return of(sensor.trip) or of(sensor.alarm)


def _room(sensor: Sensor, kind: str, *, level: float, sigma: float, rng: np.random.Generator) -> float:
    """How far the fault takes the sensor, with its sign."""
    side = _SIDE.get(kind) or int(rng.choice([-1, 1]))
    if kind in ("step", "sensor_drift"):
        return side * SHIFT_SIGMAS * sigma
    if kind == "noisy_sensor":
        return NOISE_SIGMAS * sigma
    bands = (sensor.alarm, sensor.trip) if kind == "spike_bursts" else (sensor.trip, sensor.alarm)
    known = [x for band in bands if (x := band.high if side > 0 else band.low) is not None]
    if kind == "limit_approach" and not known:
        side, known = -side, [x for band in bands if (x := band.low if side > 0 else band.high) is not None]
    return known[0] - level if known and (known[0] - level) * side > 0 else side * ROOM_SIGMAS * sigma
