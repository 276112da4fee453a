"""Evidence on incidents, worked out by hand; what cannot be told from what is stored is missing, never good."""

import json
import math
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ml.evidence import COLUMNS, build_evidence
from ml.incidents import find_incidents
from ml.plant import DetectionPolicy, Machine, Policy, Sensor, Site

DAY = date(2026, 3, 8)
MIDNIGHT = pd.Timestamp(DAY, tz="UTC")
TYPES = ("temperature", "vibration", "flow", "pressure", "current")
SHARES = {"A-vibration": 0.8, "A-temperature": 0.2}
SITE = Site(
    site="plant",
    name="Plant",
    first_day=date(2026, 1, 1),
    machines=tuple(
        Machine(machine_id=m, machine_class="pump", sensors=tuple(Sensor(sensor_id=f"{m}-{t}", type=t, unit="u") for t in TYPES))
        for m in ("A", "B", "C")
    ),
    policy=Policy(detection=DetectionPolicy(on_threshold=0.6, off_threshold=0.4, on_delay_windows=3, merge_gap_windows=60)),
)


def times(n: int, *, hours: float = 0) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(MIDNIGHT + pd.Timedelta(hours=hours) + pd.to_timedelta(np.arange(n) * 10, unit="min")).as_unit("us")


def scores(values: list[float | None], *, machine_id: str = "A", hours: float = 0) -> pd.DataFrame:
    """None is a window without a score."""
    score = np.array([np.nan if v is None else v for v in values], dtype=float)
    said = {s.replace("A-", f"{machine_id}-"): {"share": share, "z": 6.0, "feature": "mean"} for s, share in SHARES.items()}
    return pd.DataFrame(
        {
            "machine_id": machine_id,
            "window_start": times(len(values), hours=hours),
            "state": np.where(np.isnan(score), "stopped", "scored"),
            "score": score,
            "n_members_agreeing": np.int32(2),
            "n_sensors_moved": np.int32(1),
            "top_sensor_id": f"{machine_id}-vibration",
            "moved_sensors": json.dumps(said),
        }
    )


def features(
    running: list[float], *, hours: float = 0, coverage: float = 1.0, sensors: tuple[str, ...] = ("vibration", "temperature")
) -> pd.DataFrame:
    windows = pd.DataFrame({"machine_id": "A", "window_start": times(len(running), hours=hours), "running_share": running})
    return pd.concat([windows.assign(sensor_id=f"A-{s}", coverage=coverage) for s in sensors], ignore_index=True)


def quality(*rows: tuple[str, str, str | None], day: date = DAY) -> pd.DataFrame:
    """(sensor, grade, faults)"""
    frame = pd.DataFrame([(f"A-{s}", grade, faults) for s, grade, faults in rows], columns=["sensor_id", "grade", "faults"], dtype=object)
    return frame.assign(day=day)


GOOD = quality(("vibration", "A", ""), ("temperature", "A", ""))
NOTHING_KNOWN = pd.DataFrame({"incident_id": [], "machine_id": [], "onset_at": [], "last_window_at": []}).astype(
    {"onset_at": "datetime64[us, UTC]", "last_window_at": "datetime64[us, UTC]"}
)
NONE_LOGGED = pd.DataFrame({"machine_id": [], "started_at": [], "ended_at": []})


def evidence(of: pd.DataFrame | None = None, *, found: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """The evidence on the incident in A's scores; `found` overrides what was found of it."""
    of = scores([0.7] * 4) if of is None else of
    inputs: dict[str, Any] = {
        "scores": of,
        "features": features([1.0] * 4),
        "quality": GOOD,
        "maintenance": NONE_LOGGED,
        "false_alarms_30d": {},
        "site": SITE,
    }
    incidents = find_incidents(of[of["machine_id"] == "A"], site=SITE, day=DAY, known=NOTHING_KNOWN).assign(**found or {})
    table = build_evidence(incidents, **(inputs | changes))
    assert list(table.columns) == list(COLUMNS)
    assert len(table) == 1
    return {str(k): v for k, v in table.iloc[0].items()}


def test_evidence_by_hand() -> None:
    others = [scores([0.7, 0.7, 0.1, 0.1], machine_id="B"), scores([0.1, 0.7, 0.1, None], machine_id="C")]
    row = evidence(pd.concat([scores([0.7] * 4), *others]), features=features([1, 1, 0.5, 0.5, 0]), false_alarms_30d={"A": 2})
    assert (row["incident_id"], row["failure_mode"]) == ("A@2026-03-08T00:00Z", "VIB")
    assert (row["n_members_agreeing"], row["duration_windows"], row["n_sensors_moved"], row["false_alarms_30d"]) == (2, 4, 1, 2)
    assert (row["peak_score"], row["anomalous_share"]) == (0.7, 1.0)
    assert row["running_share"] == pytest.approx(0.75)
    assert not row["in_maintenance"]
    # B and C: one of two, both, none of two, none of one
    assert row["site_share"] == pytest.approx((0.5 + 1 + 0 + 0) / 4)


@pytest.mark.parametrize(
    ("started_min", "ended_min", "overlaps"), [(-60, 0, False), (-60, 1, True), (39, 60, True), (40, 60, False), (-60, None, True)]
)
def test_maintenance_counts_if_it_overlaps(started_min: int, ended_min: int | None, *, overlaps: bool) -> None:
    ended = pd.NaT if ended_min is None else MIDNIGHT + pd.Timedelta(minutes=ended_min)
    log = pd.DataFrame({"machine_id": ["A"], "started_at": [MIDNIGHT + pd.Timedelta(minutes=started_min)], "ended_at": [ended]})
    assert evidence(maintenance=log)["in_maintenance"] == overlaps


def test_a_machine_alone_is_not_the_whole_site() -> None:
    assert evidence()["site_share"] == 0.0


def test_flickers_that_were_merged_are_a_small_share_of_the_incident() -> None:
    row = evidence(scores([0.7] * 3 + [0.1] * 14 + [0.7] * 3))
    assert row["duration_windows"] == 20
    assert row["anomalous_share"] == pytest.approx(6 / 20)


def test_the_worst_grade_is_of_the_sensors_that_moved_on_the_days_of_the_incident() -> None:
    before = DAY - timedelta(days=1)
    graded = [quality(("vibration", "A", ""), ("temperature", "B", ""), ("flow", "F", "")), quality(("vibration", "F", ""), day=before)]
    row = evidence(quality=pd.concat(graded))
    assert (row["worst_grade"], row["worst_sensor_id"]) == ("B", "A-temperature"), "neither another sensor's F nor that of the day before"


def test_a_moved_sensor_without_a_grade_leaves_the_grade_unknown_unless_another_is_unusable() -> None:
    row = evidence(quality=quality(("vibration", "A", "")))
    assert pd.isna(row["worst_grade"])
    assert pd.isna(row["worst_sensor_id"])
    assert evidence(quality=quality(("vibration", "F", "")))["worst_grade"] == "F"
    assert pd.isna(evidence(quality=GOOD.iloc[:0])["worst_grade"])


def test_an_incident_that_names_no_sensor_rests_on_all_of_its_machine() -> None:
    unnamed = {"moved_sensors": "{}"}
    graded = quality(*((t, "C" if t == "pressure" else "A", "") for t in TYPES))
    assert evidence(found=unnamed, quality=graded)["worst_sensor_id"] == "A-pressure"
    assert pd.isna(evidence(found=unnamed)["worst_grade"]), "three of the five have no grade"
    half = features([1.0] * 4, sensors=TYPES[:3])
    assert evidence(found=unnamed, features=half)["coverage"] == pytest.approx(3 / 5)


@pytest.mark.parametrize(
    ("faults", "share"),
    [
        ({"vibration": "wrong_unit"}, 0.8),
        ({"temperature": "stuck"}, 0.2),
        ({"temperature": "noisy", "vibration": "dead"}, 1.0),
        ({"vibration": "noisy"}, 0.0),  # a worn bearing does that
        ({"vibration": "clock_drift"}, 0.0),  # late, and true
    ],
)
def test_faults_that_move_readings_explain_their_sensors_share(faults: dict[str, str], share: float) -> None:
    row = evidence(quality=quality(*((s, "A", faults.get(s, "")) for s in ("vibration", "temperature"))))
    assert row["faulty_share"] == pytest.approx(share)
    assert row["sensor_faults"] == ", ".join(f"A-{s} {faults[s].replace('_', ' ')}" for s in ("vibration", "temperature") if s in faults)


def test_faults_nobody_looked_for_are_unknown_and_known_from_any_day_that_did() -> None:
    old = quality(("vibration", "A", None), ("temperature", "A", None))
    assert math.isnan(evidence(quality=old)["faulty_share"])
    two_days = scores([0.7] * 8, hours=-1)  # its first hour is of the day before
    both = pd.concat([old.assign(day=DAY - timedelta(days=1)), GOOD])
    assert evidence(two_days, features=features([1.0] * 8, hours=-1), quality=both)["faulty_share"] == 0.0


def test_coverage_is_of_the_moved_sensors_and_a_window_without_a_reading_counts_nothing() -> None:
    both = pd.concat([features([1.0] * 4, sensors=("vibration",), coverage=0.6), features([1.0, 1.0], sensors=("temperature",))])
    assert evidence(features=both)["coverage"] == pytest.approx((4 * 0.6 + 2) / 8)
    hourly = tuple(s.model_copy(update={"interval_s": 3600}) if s.type == "temperature" else s for s in SITE.machines[0].sensors)
    slow = SITE.model_copy(update={"machines": (SITE.machines[0].model_copy(update={"sensors": hourly}), *SITE.machines[1:])})
    assert evidence(features=both.iloc[:4], site=slow)["coverage"] == pytest.approx(4 * 0.6 / (4 + 4 / 6)), (
        "one that is due in a sixth of them"
    )
    assert evidence(features=features([1.0] * 4), site=slow)["coverage"] == 1.0
    flow = pd.concat([features([1.0] * 4), features([1.0] * 4, sensors=("flow",), coverage=0.0)])
    assert evidence(features=flow)["coverage"] == 1.0


def test_what_features_do_not_tell_is_unknown() -> None:
    row = evidence(features=features([]))
    assert [name for name in ("coverage", "running_share", "hours_since_start") if not math.isnan(row[name])] == []


@pytest.mark.parametrize(
    ("running", "hours"),
    [
        ([1.0] * 12 + [0.0] * 6 + [1.0] * 11, 1 + 1.5 / 6),  # started an hour before midnight; the median lies 15 min after it
        ([1.0] * 29, 4 + 1.5 / 6),  # no stop in sight: since the first window that is stored
        ([1.0] * 27 + [0.9, 1.0], 4 + 0.5 / 6),  # stopped in its fourth window: 4:00, 4:10, 4:20, then 0:00
    ],
)
def test_hours_since_start_are_those_of_the_middle_of_the_anomalous_windows(running: list[float], hours: float) -> None:
    of = scores([0.7, 0.7, 0.7, None, 0.7] if 0.9 in running else [0.7] * 4)
    assert evidence(of, features=features(running, hours=-4))["hours_since_start"] == pytest.approx(hours)


def test_no_incidents_give_no_evidence() -> None:
    quiet = scores([0.1] * 4)
    none = find_incidents(quiet, site=SITE, day=DAY, known=NOTHING_KNOWN)
    table = build_evidence(none, scores=quiet, features=features([]), quality=GOOD, site=SITE, maintenance=NONE_LOGGED, false_alarms_30d={})
    assert table.empty
    assert list(table.columns) == list(COLUMNS)
