"""What a detector may learn from: the healthy part of the stored days, split into days to fit, to calibrate and to compare on.

Healthy is what no incident and no maintenance touches, on machine-days whose sensors can be trusted. An incident counts by what people
said of it; one that they confirmed takes whole days with it, up to the repair. Windows in which a machine stands are left to the
detector, which scores none.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import date, datetime

import pandas as pd

from ml.leakage import constant_sensors, leaks
from ml.plant import Site

COMPARISON_SHARE = 1 / 3
_GRADES = "ABCF"


@dataclass(frozen=True)
class Split:
    """Days in order of time: before `held_out_from` to fit, from it on to calibrate, from `comparison_from` on to compare.

    The days to compare on are neither fitted nor calibrated on. None: there are none, so that any figure of the detector's
    false alarms is from the days it was calibrated on.
    """

    days: tuple[date, ...]
    held_out_from: date
    comparison_from: date | None

    @property
    def learned(self) -> tuple[date, ...]:
        return tuple(day for day in self.days if self.comparison_from is None or day < self.comparison_from)

    @property
    def observed(self) -> tuple[date, ...]:
        """The days on which false alarms are counted: those to compare on, else those of the calibration."""
        return tuple(day for day in self.days if day >= (self.comparison_from or self.held_out_from))


def split_days(days: Sequence[date], *, held_out_share: float, has_champion: bool) -> Split:
    """The latest `held_out_share` of the days is held out; where there is a champion to compare with, the last third of that
    (a day at least) is for the comparison. A single held-out day is for calibration.
    """
    n_held_out = min(max(1, round(len(days) * held_out_share)), len(days) - 1)
    n_comparison = max(1, round(n_held_out * COMPARISON_SHARE)) if has_champion and n_held_out > 1 else 0
    return Split(tuple(days), days[-n_held_out], days[-n_comparison] if n_comparison else None)


def is_suspect(incidents: pd.DataFrame) -> "pd.Series[bool]":
    """Which incidents (verdict, label) are no healthy data: people's word counts first, the verdict where nobody has said."""
    by_verdict = (incidents["verdict"] != "false_positive_suspected") & (incidents["label"] != "false_alarm")
    return (incidents["label"] == "confirmed") | by_verdict


def incident_spans(assessed: pd.DataFrame, *, repaired_at: Mapping[str, datetime]) -> pd.DataFrame:
    """[machine_id, start, end] of the incidents (incident_id, machine_id, onset_at, last_window_at, verdict, label) that are suspect.

    From onset to last anomalous window. Where people confirmed the fault, whole UTC days, since it was there before it was seen; and on
    to the end of the work that found it (`repaired_at`, by incident), since until then it was still there.
    """
    suspect = assessed[is_suspect(assessed)]
    is_confirmed = suspect["label"] == "confirmed"
    starts, ends = suspect["onset_at"], suspect["last_window_at"]
    day_end = ends.dt.floor("D") + pd.Timedelta(days=1, microseconds=-1)
    mended = pd.to_datetime(suspect["incident_id"].map(dict(repaired_at)), utc=True)
    until = day_end.where(~(mended > day_end), mended)
    return pd.DataFrame(
        {
            "machine_id": suspect["machine_id"],
            "start": starts.where(~is_confirmed, starts.dt.floor("D")),
            "end": ends.where(~is_confirmed, until),
        }
    ).reset_index(drop=True)


def maintenance_spans(maintenance: pd.DataFrame) -> pd.DataFrame:
    """[machine_id, start, end] of logged work (machine_id, started_at, ended_at)."""
    return maintenance.rename(columns={"started_at": "start", "ended_at": "end"})[["machine_id", "start", "end"]]


@dataclass(frozen=True)
class Distrust:
    """`sensors`: left out of all days, each with the reason; `machine_days`: out with all sensors of the machine."""

    sensors: Mapping[str, str]
    machine_days: AbstractSet[tuple[str, date]]


def distrusted(grades: pd.DataFrame, *, site: Site) -> Distrust:
    """By the grades (day, sensor_id, grade) of the days to learn from.

    A machine's day is out where one of its sensors has a grade worse than policy.training.worst_grade_allowed. A sensor that has such
    a grade on more than half of the days is left out of all of them instead, and costs no day: else a dead one would keep its machine
    from being learned for ever. This does not hold for the sensor by which a machine runs: without it no window is known to be running.
    """
    worst = site.policy.training.worst_grade_allowed
    of = {s.sensor_id: m for m in site.machines for s in m.sensors}
    known = grades[grades["sensor_id"].isin(of.keys())]
    bad = known[known["grade"].isin(list(_GRADES[_GRADES.index(worst) + 1 :]))]
    n_days, n_bad = (rows.groupby("sensor_id")["day"].nunique().to_dict() for rows in (known, bad))
    by_which_it_runs = {m.running_when.sensor_id for m in site.machines if m.running_when}
    left_out = {
        str(sensor): f"graded worse than {worst} on {n} of {n_days[sensor]} days"
        for sensor, n in n_bad.items()
        if n > n_days[sensor] / 2 and sensor not in by_which_it_runs
    }
    costly = bad[~bad["sensor_id"].isin(list(left_out))]
    days = {(of[sensor].machine_id, day) for sensor, day in zip(costly["sensor_id"], costly["day"], strict=True)}
    return Distrust(left_out, days)


def healthy_rows(features: pd.DataFrame, *, spans: pd.DataFrame, distrust: Distrust, window: pd.Timedelta) -> pd.DataFrame:
    """The features outside `spans` (machine_id, start, end: windows that overlap one go), of sensors and machine-days to be trusted."""
    starts, machines = features["window_start"], features["machine_id"]
    is_healthy = ~features["sensor_id"].isin(list(distrust.sensors))
    for span in spans.to_dict("records"):
        is_healthy &= ~((machines == span["machine_id"]) & (starts > span["start"] - window) & (starts <= span["end"]))
    if distrust.machine_days:
        out = pd.MultiIndex.from_tuples(sorted(distrust.machine_days))
        is_healthy &= ~pd.MultiIndex.from_arrays([machines, starts.dt.date]).isin(out)
    return features[is_healthy].reset_index(drop=True)


@dataclass(frozen=True)
class Remarks:
    """What a training leaves out, each with its reason in words.

    `refused`: machines that get no model. `few_days`: machines whose own days are too few, which take their class's model if there is one.
    `sensors`: those that are constant, and those that can not be trusted; their machine is trained without them.
    """

    refused: Mapping[str, str]
    few_days: Mapping[str, str]
    sensors: Mapping[str, str]

    def without_model(self, untrained: Mapping[str, str]) -> dict[str, str]:
        """Every machine without a model and why: `untrained` are those that the detector could not fit, with its reasons."""
        return {**self.refused, **{machine: self.few_days.get(machine, why) for machine, why in untrained.items()}}


def remarks_on(
    features: pd.DataFrame, *, healthy: pd.DataFrame, spans: Mapping[str, pd.DataFrame], distrust: Distrust, site: Site
) -> Remarks:
    """`features` are all rows of the days, `healthy` those to be fitted and calibrated on; `spans` by kind: machine_id, start, end."""
    needed = site.policy.training.days_per_machine
    leaking, constant = leaks(features, spans=spans, site=site), constant_sensors(healthy, site=site)
    running = healthy[healthy["running_share"] >= 1 - 1e-9]
    n_days = running["window_start"].dt.floor("D").groupby(running["machine_id"]).nunique()
    seen = running.groupby("machine_id")["sensor_id"].unique()
    refused, few_days = {}, {}
    for machine in site.machines:
        name, days = machine.machine_id, int(n_days.get(machine.machine_id, 0))
        if name in leaking:
            said = "; ".join(f"{sensor} {why}" for sensor, why in leaking[name].items())
            refused[name] = f"a leaking column: {said}; take it out of the plant file"
        elif name in constant and constant[name] >= set(seen.get(name, ())):
            refused[name] = f"no sensor has any spread in the healthy windows: {', '.join(sorted(constant[name]))}"
        elif days < needed:
            few_days[name] = f"{days} healthy days, {needed} are needed, and no other {machine.machine_class} could stand in for it"
    unmoved = {sensor: "constant in all healthy windows" for sensors in constant.values() for sensor in sensors}
    return Remarks(refused, few_days, dict(sorted({**unmoved, **distrust.sensors}.items())))
