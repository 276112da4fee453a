"""The suites of the stored tables: a faultless site-day passes, each flaw fails the rule about it and no other."""

import math
from collections.abc import Sequence
from datetime import date
from typing import Any

import pandas as pd
import pytest

from cli.bench_suites import checks_of_a_site_day, rows_of
from expectations.contracts import ANOMALY_SCORES, SENSOR_QUALITY
from expectations.ledger_contracts import ASSIGNMENTS, DRIFT_FINDINGS, MACHINE_HEALTH, PREDICTIONS, UNPLANNED_ORDERS, WORK_ORDERS
from expectations.profiles import features_profile, readings_profile, scores_profile
from expectations.suites import (
    assignments_suite,
    drift_suite,
    features_profile_suite,
    machine_health_suite,
    predictions_suite,
    readings_profile_suite,
    scores_profile_suite,
    sensor_quality_suite,
    unplanned_orders_suite,
    work_orders_suite,
)
from expectations.validation import Suite, ValidationOutcome, validate_table
from ml.features import build_features
from ml.plant import Band, Machine, Sensor, Site

DAY = date(2026, 3, 1)
MIDNIGHT = pd.Timestamp(DAY, tz="UTC")
SITE = Site(
    site="s", name="S", first_day=date(2026, 1, 1),
    machines=(Machine(machine_id="m", machine_class="pump", sensors=(
        Sensor(sensor_id="t", type="temperature", unit="degC", physical=Band(low=-50, high=150)),
        Sensor(sensor_id="p", type="pressure", unit="bar"),
    )),),
)  # fmt: skip


def failed(outcome: ValidationOutcome) -> set[str]:
    return {r.name for r in outcome.results if not r.success}


# --- readings ---


def readings(rows: Sequence[tuple[str, str | None, float]]) -> pd.DataFrame:
    frame = pd.DataFrame(list(rows), columns=["sensor_id", "timestamp", "value"])
    frame["timestamp"] = pd.to_datetime(frame["timestamp"], utc=True, format="ISO8601").astype("datetime64[us, UTC]")
    return frame


CLEAN = [("p", "2026-03-01T00:00:00", 1.0), ("p", "2026-03-01T23:59:59.999999", 2.0), ("t", "2026-03-01T12:00", 20.0)]


def test_a_profile_counts_what_is_wrong_by_sensor() -> None:
    flawed = [
        ("t", "2026-03-01T12:00", 151.0), ("t", "2026-03-01T11:00", 20.0), ("t", "2026-03-01T12:00", -51.0),
        ("x", "2026-03-02T00:00", 1.0), ("t", "2026-03-01T13:00", math.nan), ("t", "2026-03-01T12:00", 150.0),
    ]  # fmt: skip
    profile = readings_profile(readings(flawed), site=SITE, day=DAY).set_index("sensor_id")
    assert profile.index.tolist() == ["t", "p", "x"]
    counts = profile.drop(columns=["first_at", "last_at"])
    assert list(counts.columns) == [
        "is_in_plant", "n_readings", "n_duplicate_timestamps", "n_null", "n_outside_physical", "is_first_in_day", "is_last_in_day"
    ]  # fmt: skip
    assert counts.to_numpy().tolist() == [[1, 5, 2, 1, 2, 1, 1], [1, 0, 0, 0, 0, 1, 1], [0, 1, 0, 0, 0, 0, 0]]
    assert profile.loc["t", "first_at"] == pd.Timestamp("2026-03-01T11:00Z")
    assert profile.loc["p", "last_at"] is pd.NaT


@pytest.mark.parametrize(
    ("added", "rules"),
    [
        ([], set()),
        ([("t", "2026-03-01T12:00", 20.0)], {"timestamps_are_unique"}),
        ([("t", "2026-03-01T13:00", 200.0)], {"readings_are_possible"}),
        ([("t", "2026-03-01T13:00", math.nan)], {"no_reading_lacks_its_value"}),
        ([("p", "2026-03-01T13:00", math.inf)], {"no_reading_lacks_its_value"}),
        ([("t", None, 1.0)], {"no_reading_lacks_its_value"}),
        ([("t", "2026-03-02T00:00", 1.0)], {"no_reading_is_after_the_day"}),
        ([("t", "2026-02-28T23:59:59", 1.0)], {"no_reading_is_before_the_day"}),
        ([("x", "2026-03-01T12:00", 1.0)], {"every_sensor_is_in_the_plant"}),
    ],
)
def test_merged_readings_are_checked_through_their_profile(added: Sequence[tuple[str, str | None, float]], rules: set[str]) -> None:
    outcome = validate_table(readings_profile(readings([*CLEAN, *added]), site=SITE, day=DAY), suite=readings_profile_suite())
    assert failed(outcome) == rules


def test_a_sensor_that_has_left_the_plant_file_is_a_warning_and_its_readings_are_left_aside() -> None:
    from ml.features import build_features
    from ml.quality import assess_sensors

    stored = readings([*CLEAN, ("gone", "2026-03-01T12:00", 1e9), ("gone", "2026-03-01T12:10", 2e9)])
    outcome = validate_table(readings_profile(stored, site=SITE, day=DAY), suite=readings_profile_suite())
    assert (failed(outcome), outcome.success) == ({"every_sensor_is_in_the_plant"}, True)
    without = stored[stored["sensor_id"] != "gone"]
    pd.testing.assert_frame_equal(build_features(stored, site=SITE, day=DAY), build_features(without, site=SITE, day=DAY))
    refused = {"gone": 5}
    pd.testing.assert_frame_equal(
        assess_sensors(stored, site=SITE, day=DAY, refused=refused), assess_sensors(without, site=SITE, day=DAY, refused={})
    )


def test_a_silent_sensor_is_a_warning_and_a_silent_day_a_failure() -> None:
    one_silent = validate_table(readings_profile(readings(CLEAN[:2]), site=SITE, day=DAY), suite=readings_profile_suite())
    assert (failed(one_silent), one_silent.success) == ({"every_sensor_delivered"}, True)
    all_silent = validate_table(readings_profile(readings([]), site=SITE, day=DAY), suite=readings_profile_suite())
    assert (failed(all_silent), all_silent.success) == ({"every_sensor_delivered", "the_day_has_readings"}, False)


def test_readings_that_name_no_sensor_are_refused() -> None:
    frame = readings(CLEAN)
    frame.loc[0, "sensor_id"] = None
    with pytest.raises(ValueError, match="1 readings of s on 2026-03-01 name no sensor"):
        readings_profile(frame, site=SITE, day=DAY)


# --- quality ---


def test_an_unusable_sensor_is_a_warning() -> None:
    outcome = validate_table(rows_of(SENSOR_QUALITY, 2).assign(grade=["A", "F"]), suite=sensor_quality_suite(n_sensors=2))
    assert (outcome.success, failed(outcome)) == (True, {"every_sensor_is_usable"})


def test_a_sensor_without_a_grade_is_missed() -> None:
    assert failed(validate_table(rows_of(SENSOR_QUALITY, 2), suite=sensor_quality_suite(n_sensors=3))) == {"the_table_has_its_rows"}


# --- predictions ---


def prediction(**changed: Any) -> pd.DataFrame:
    known = {"probability_7d": 0.2, "probability_30d": 0.6, "ttf_p10_days": 5.0, "ttf_p50_days": 9.0, "ttf_p90_days": 20.0}
    return rows_of(PREDICTIONS.of_one_site_day, 1).assign(**known | changed)


@pytest.mark.parametrize(
    ("changed", "rules"),
    [
        ({}, set()),
        ({"ttf_p90_days": None}, set()),
        ({"ttf_p10_days": None, "ttf_p50_days": None, "ttf_p90_days": None, "limit_kind": None, "limit_side": None}, set()),
        ({"probability_7d": 0.7}, {"probability_7d_is_not_above_probability_30d"}),
        ({"probability_30d": 1.2}, {"probability_30d_is_at_least_0_and_at_most_1"}),
        ({"probability_30d": math.nan}, {"no_value_is_missing"}),
        ({"ttf_p50_days": 4.0}, {"ttf_p10_days_is_not_above_ttf_p50_days"}),
        ({"ttf_p10_days": None}, {"ttf_p50_days_is_known_only_with_ttf_p10_days"}),
        ({"limit_side": "left"}, {"limit_side_is_a_known_one"}),
        ({"failure_mode": "XYZ"}, {"failure_mode_is_a_known_one"}),
    ],
)
def test_predictions_must_be_consistent(changed: dict[str, Any], rules: set[str]) -> None:
    assert failed(validate_table(prediction(**changed), suite=predictions_suite())) == rules


# --- features ---


def features() -> pd.DataFrame:
    """Two windows of each of the two sensors."""
    times = ("T00:01", "T00:02", "T23:55", "T23:58")
    return build_features(readings([(s, f"{DAY}{t}", 20.0 + n) for s in ("p", "t") for n, t in enumerate(times)]), site=SITE, day=DAY)


def features_failed(frame: pd.DataFrame) -> set[str]:
    return failed(validate_table(features_profile(frame, site=SITE, day=DAY), suite=features_profile_suite()))


def test_features_as_they_are_built_hold_their_suite() -> None:
    assert features_failed(features()) == set()


@pytest.mark.parametrize(
    ("column", "value", "rules"),
    [
        ("mean", math.nan, {"no_value_is_missing"}),
        ("sensor_id", None, {"no_value_is_missing"}),
        ("rms", math.inf, {"numbers_are_finite"}),
        ("coverage", 1.5, {"values_are_in_range"}),
        ("n_readings", 0, {"values_are_in_range"}),
        ("min", 100.0, {"statistics_are_in_order"}),
        ("last", -100.0, {"statistics_are_in_order"}),
        ("window_start", MIDNIGHT + pd.Timedelta(minutes=5), {"windows_begin_on_the_grid"}),
        ("window_start", MIDNIGHT + pd.Timedelta(days=1), {"windows_lie_in_the_day"}),
        ("window_start", MIDNIGHT - pd.Timedelta(minutes=10), {"windows_lie_in_the_day"}),
    ],
)
def test_a_flaw_of_features_fails_exactly_the_rule_about_it(column: str, value: object, rules: set[str]) -> None:
    frame = features()
    frame.loc[0, column] = value
    assert features_failed(frame) == rules


def test_a_window_twice_is_found_and_the_sensor_named_with_what_is_wrong() -> None:
    frame = pd.concat([features(), features().iloc[[0]].assign(coverage=-1.0, std=math.nan)])
    outcome = validate_table(features_profile(frame, site=SITE, day=DAY), suite=features_profile_suite())
    assert failed(outcome) == {"rows_are_unique", "values_are_in_range", "no_value_is_missing"}
    (missing,) = [r for r in outcome.results if r.name == "no_value_is_missing"]
    assert missing.unexpected == ({"sensor_id": "p", "n_missing": 1, "where": "std 1 missing; coverage 1 out of range"},)


def test_a_sensor_without_features_is_a_warning() -> None:
    frame = features()
    outcome = validate_table(features_profile(frame[frame["sensor_id"] == "t"], site=SITE, day=DAY), suite=features_profile_suite())
    assert (outcome.success, failed(outcome)) == (True, {"every_sensor_has_features"})


# --- scores ---


def scores(**changed: Any) -> pd.DataFrame:
    starts = sorted(features()["window_start"].unique())
    known = {"machine_id": "m", "window_start": starts, "state": "scored", "score": [0.1, 0.2], "model_version": 3}
    return rows_of(ANOMALY_SCORES, 2).assign(**known | changed)


def scores_outcome(frame: pd.DataFrame) -> ValidationOutcome:
    return validate_table(scores_profile(frame, features=features(), day=DAY, version=3), suite=scores_profile_suite())


def test_scores_of_every_running_window_hold_their_suite() -> None:
    assert failed(scores_outcome(scores())) == set()


@pytest.mark.parametrize(
    ("changed", "rules"),
    [
        ({"score": [0.1, 1.2]}, {"values_are_in_range"}),
        ({"score": [0.1, math.nan]}, {"scored_windows_have_a_score"}),
        ({"state": ["scored", "stopped"]}, {"scored_windows_have_a_score"}),
        ({"state": ["scored", "resting"], "score": [0.1, math.nan]}, {"values_are_in_range"}),
        ({"model_version": [3, 2]}, {"the_champion_scored"}),
        ({"moved_sensors": ["{}", None]}, {"no_value_is_missing"}),
        ({"robust_z": [0.1, math.inf]}, {"numbers_are_finite", "values_are_in_range"}),
        ({"window_start": [MIDNIGHT, MIDNIGHT + pd.Timedelta(days=1)]}, {"windows_lie_in_the_day", "every_running_machine_is_scored"}),
        ({"window_start": [MIDNIGHT, MIDNIGHT]}, {"rows_are_unique", "every_running_machine_is_scored"}),
    ],
)
def test_a_flaw_of_scores_fails_exactly_the_rules_about_it(changed: dict[str, Any], rules: set[str]) -> None:
    assert failed(scores_outcome(scores(**changed))) == rules


def test_a_machine_that_ran_and_has_no_scores_is_a_warning() -> None:
    outcome = scores_outcome(scores().iloc[:0])
    assert (outcome.success, failed(outcome)) == (True, {"every_running_machine_is_scored"})
    (rule,) = [r for r in outcome.results if not r.success]
    assert rule.unexpected == ({"machine_id": "m", "n_unanswered": 2, "n_rows": 0},)


def test_a_machine_that_stood_still_needs_no_scores() -> None:
    still = features().assign(running_share=0.4)
    profile = scores_profile(scores().iloc[:0], features=still, day=DAY, version=3)
    assert validate_table(profile, suite=scores_profile_suite()).success
    assert profile.empty


# --- tables of the ledger ---


def orders(**changed: Any) -> pd.DataFrame:
    made = rows_of(WORK_ORDERS, 2).assign(
        opened_at=MIDNIGHT, due_at=MIDNIGHT + pd.Timedelta(days=2), duration_h=2.0, logged_state="proposed"
    )
    return made.assign(**changed)


def assigned(**changed: Any) -> pd.DataFrame:
    good = {"start_at": MIDNIGHT, "end_at": MIDNIGHT + pd.Timedelta(hours=2), "state": "scheduled"}
    overlaps = {"overlaps_of_technician": 0, "overlaps_of_machine": 0}
    return rows_of(ASSIGNMENTS.of_one_site_day, 2).assign(**good | overlaps | changed)


HEALTH, LEFT_OVER, DRIFT = (rows_of(c.of_one_site_day, 2) for c in (MACHINE_HEALTH, UNPLANNED_ORDERS, DRIFT_FINDINGS))
ONE_EACH = {"machine_id": ["m", "m"]}


@pytest.mark.parametrize(
    ("frame", "suite", "rules"),
    [
        (HEALTH, machine_health_suite(n_reporting=2), set()),
        (HEALTH, machine_health_suite(n_reporting=3), {"the_table_has_its_rows"}),
        (HEALTH.assign(health=[50.0, 100.5]), machine_health_suite(n_reporting=2), {"health_is_at_least_0_and_at_most_100"}),
        (HEALTH.assign(health=[50.0, math.nan]), machine_health_suite(n_reporting=2), {"no_value_is_missing"}),
        (HEALTH.assign(**ONE_EACH), machine_health_suite(n_reporting=2), {"keys_are_unique"}),
        (orders(), work_orders_suite(), set()),
        (orders(state="lost"), work_orders_suite(), {"state_is_a_known_one", "states_are_those_of_the_audit_log"}),
        (orders(logged_state="approved"), work_orders_suite(), {"states_are_those_of_the_audit_log"}),
        (orders(risk_cost=-1.0), work_orders_suite(), {"risk_cost_is_at_least_0"}),
        (orders(due_at=MIDNIGHT - pd.Timedelta(hours=1)), work_orders_suite(), {"orders_are_due_after_they_were_opened"}),
        (orders(probability_7d=0.5, probability_30d=0.4), work_orders_suite(), {"probability_7d_is_not_above_probability_30d"}),
        (orders(probability_7d=None, probability_30d=None), work_orders_suite(), set()),
        (orders(duration_h=0.0), work_orders_suite(), {"work_takes_time"}),
        (assigned(), assignments_suite(), set()),
        (assigned(end_at=MIDNIGHT - pd.Timedelta(hours=1)), assignments_suite(), {"work_ends_after_it_began"}),
        (assigned(overlaps_of_technician=[0, 1]), assignments_suite(), {"nobody_is_in_two_places"}),
        (assigned(overlaps_of_machine=[0, 1]), assignments_suite(), {"machines_are_worked_on_once"}),
        (assigned(state=["scheduled", "rejected"]), assignments_suite(), {"only_approved_work_is_planned"}),
        (LEFT_OVER, unplanned_orders_suite(), set()),
        (LEFT_OVER.assign(reason=["no part", ""]), unplanned_orders_suite(), {"every_reason_is_said"}),
        (DRIFT, drift_suite(), set()),
        (DRIFT.assign(is_drifted=[False, True]), drift_suite(), {"no_sensor_has_drifted"}),
        (DRIFT.assign(ks=[0.1, 1.1]), drift_suite(), {"ks_is_at_least_0_and_at_most_1"}),
        (DRIFT.assign(psi=[0.1, math.inf]), drift_suite(), {"numbers_are_finite"}),
    ],
)  # fmt: skip
def test_a_flaw_of_a_ledger_table_fails_exactly_the_rules_about_it(frame: pd.DataFrame, suite: Suite, rules: set[str]) -> None:
    outcome = validate_table(frame, suite=suite)
    assert failed(outcome) == rules
    assert outcome.success == (not rules - {"no_sensor_has_drifted"})


@pytest.mark.parametrize("suite", [work_orders_suite(), assignments_suite(), unplanned_orders_suite(), drift_suite(), predictions_suite()])
def test_a_day_without_work_is_fine(suite: Suite) -> None:
    frames = {
        "work_orders": orders(),
        "assignments": assigned(),
        "unplanned_orders": LEFT_OVER,
        "drift_findings": DRIFT,
        "predictions": prediction(),
    }
    assert validate_table(frames[suite.table].iloc[:0], suite=suite).success


def test_the_tables_that_the_bench_times_hold_their_suites() -> None:
    for name, (table, suite) in checks_of_a_site_day(sensors=20).items():
        outcome = validate_table(table(), suite=suite)
        assert outcome.n_rows > 0, name
        if name != "incidents":  # of which a good part is made to fail
            assert failed(outcome) <= {"every_sensor_is_usable"}, name
