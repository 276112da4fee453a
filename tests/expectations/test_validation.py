"""Validation with the real library: what must fail does fail, also where the library by itself would pass."""

import json
import math
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from expectations.contracts import CONTRACTS, MACHINE_FEATURES, Column, Contract
from expectations.suites import (
    between,
    complete,
    one_of,
    predictions_suite,
    readings_profile,
    readings_profile_suite,
    sensor_quality_suite,
    suite_from_contract,
)
from expectations.validation import MAX_EXAMPLES, Rule, Suite, ValidationOutcome, gx_expectation, validate_table
from ml.plant import Band, Machine, Sensor, Site

TOY = Contract(
    "toy",
    (
        Column("name", pa.string(), "a name", one_of=("a", "b", "c")),
        Column("at", pa.timestamp("us", tz="UTC"), "a time"),
        Column("count", pa.int32(), "a count", low=0),
        Column("share", pa.float64(), "a share", low=0, high=1),
        Column("extra", pa.float64(), "may be missing", nullable=True, low=0),
    ),
    key=("name", "at"),
)


def toy(**changed: Any) -> pd.DataFrame:
    frame = pd.DataFrame(
        {
            "name": ["a", "a", "b"],
            "at": pd.to_datetime(["2026-01-01", "2026-01-02", "2026-01-01"], utc=True).astype("datetime64[us, UTC]"),
            "count": np.array([0, 1, 2], dtype="int32"),
            "share": [0.0, 0.5, 1.0],
            "extra": [math.nan, 1.0, 2.0],
        }
    )
    return frame.assign(**changed)


def failed(outcome: ValidationOutcome) -> set[str]:
    return {r.name for r in outcome.results if not r.success}


def test_a_faultless_table_passes_every_rule_of_its_contract() -> None:
    outcome = validate_table(toy(), suite=suite_from_contract(TOY))
    assert outcome.success
    assert failed(outcome) == set()
    assert outcome.n_rows == 3
    assert {r.name for r in outcome.results} == {
        "the_table_has_its_rows", "name_is_text", "at_is_a_utc_time", "count_is_a_whole_number", "share_is_a_number", "extra_is_a_number",
        "no_value_is_missing", "numbers_are_finite", "name_is_a_known_one", "count_is_at_least_0", "share_is_at_least_0_and_at_most_1",
        "extra_is_at_least_0", "keys_are_unique",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "rules"),
    [
        ({"share": [0.0, math.nan, 1.0]}, {"no_value_is_missing"}),
        ({"share": [math.nan] * 3}, {"no_value_is_missing"}),
        ({"name": ["a", None, "b"]}, {"no_value_is_missing"}),
        ({"share": [0.0, 1.01, -0.01]}, {"share_is_at_least_0_and_at_most_1"}),
        ({"extra": [1.0, math.inf, 2.0]}, {"numbers_are_finite"}),
        ({"extra": [1.0, -1.0, 2.0]}, {"extra_is_at_least_0"}),
        ({"name": ["a", "x", "b"]}, {"name_is_a_known_one"}),
        ({"count": [0.0, 1.0, 2.0]}, {"count_is_a_whole_number"}),
        ({"at": pd.to_datetime(["2026-01-01", "2026-01-02", "2026-01-01"])}, {"at_is_a_utc_time"}),
        ({"name": ["a", "a", "a"]}, {"keys_are_unique"}),
    ],
)
def test_a_flaw_fails_exactly_the_rule_about_it(changed: dict[str, Any], rules: set[str]) -> None:
    outcome = validate_table(toy(**changed), suite=suite_from_contract(TOY))
    assert failed(outcome) == rules
    assert not outcome.success


def test_text_where_numbers_are_due_fails_and_does_not_raise() -> None:
    outcome = validate_table(toy(share=["0.1", "many", 0.3]), suite=suite_from_contract(TOY))
    by_name = {r.name: r for r in outcome.results}
    assert {"share_is_a_number", "share_is_at_least_0_and_at_most_1"} <= failed(outcome)
    broken = by_name["share_is_at_least_0_and_at_most_1"]
    assert broken.n_unexpected == 3, "an expectation that cannot be evaluated has failed for the whole table"
    assert broken.observed is not None
    assert broken.observed.startswith("could not be evaluated: ")


def test_a_missing_column_fails_and_does_not_raise() -> None:
    outcome = validate_table(toy().drop(columns="share"), suite=suite_from_contract(TOY))
    assert {"share_is_a_number", "no_value_is_missing", "share_is_at_least_0_and_at_most_1"} <= failed(outcome)


def test_an_empty_table_passes_only_where_it_may_be_empty() -> None:
    assert failed(validate_table(toy().iloc[:0], suite=suite_from_contract(TOY))) >= {"the_table_has_its_rows"}
    allowed = validate_table(toy().iloc[:0], suite=suite_from_contract(TOY, min_rows=0))
    assert allowed.success
    assert {r.observed for r in allowed.results} == {"no rows"}
    assert not validate_table(toy().iloc[:0].drop(columns="share"), suite=suite_from_contract(TOY, min_rows=0)).success


def test_a_duplicate_index_hides_no_failing_row() -> None:
    frame = toy(share=[2.0, 3.0, 4.0])
    frame.index = pd.Index([7, 7, 7])
    outcome = validate_table(frame, suite=suite_from_contract(TOY))
    (share,) = [r for r in outcome.results if r.name == "share_is_at_least_0_and_at_most_1"]
    assert share.n_unexpected == 3
    assert [e["share"] for e in share.unexpected] == [2.0, 3.0, 4.0]
    assert share.unexpected[2]["name"] == "b"
    assert frame.index.tolist() == [7, 7, 7], "the caller's table stays as it was"


def test_warnings_are_reported_and_do_not_fail_the_table() -> None:
    suite = Suite("s", "", "toy", (between("share", 0, 0.5, severity="warning"), one_of("name", ("a", "b")), complete(("share",))))
    outcome = validate_table(toy(), suite=suite)
    assert outcome.success
    assert outcome.n_failed == 1
    assert failed(outcome) == {"share_is_at_least_0_and_at_most_0_5"}


def test_at_most_twenty_examples_are_kept_and_all_are_counted() -> None:
    frame = pd.DataFrame({"k": range(100), "v": np.where(np.arange(100) % 2, 5.0, 0.0)})
    (rule,) = [r for r in validate_table(frame, suite=Suite("s", "", "t", (between("v", 0, 1),), ("k",))).results if not r.success]
    assert rule.n_unexpected == 50
    assert len(rule.unexpected) == MAX_EXAMPLES == 20
    assert rule.unexpected[:2] == ({"k": 1, "v": 5.0}, {"k": 3, "v": 5.0})


def test_an_outcome_survives_json() -> None:
    outcome = validate_table(toy(share=[2.0, math.inf, math.nan]), suite=suite_from_contract(TOY))
    as_dict = outcome.as_dict()
    assert json.loads(json.dumps(as_dict, allow_nan=False)) == as_dict
    (missing,) = [r for r in as_dict["results"] if r["name"] == "no_value_is_missing"]
    assert missing["unexpected"] == [{"name": "b", "at": "2026-01-01T00:00:00+00:00", "share": None}]


def test_an_expectation_named_twice_is_refused() -> None:
    rule = Rule("r", "", "critical", gx_expectation("ExpectColumnToExist", column="a"))
    with pytest.raises(ValueError, match="named twice: r"):
        Suite("s", "", "t", (rule, rule))


@pytest.mark.parametrize("contract", CONTRACTS.values(), ids=lambda c: c.table)
def test_every_contract_becomes_a_suite_that_runs(contract: Contract) -> None:
    frame = contract.schema.empty_table().to_pandas()
    assert failed(validate_table(frame, suite=suite_from_contract(contract))) >= {"the_table_has_its_rows"}


def test_features_as_read_from_parquet_satisfy_their_contract() -> None:
    values = {c.name: [0.5, 0.25] for c in MACHINE_FEATURES.columns} | {
        "machine_id": ["m", "m"],
        "sensor_id": ["s", "s"],
        "window_start": [datetime(2026, 1, 1, 0, 0, tzinfo=UTC), datetime(2026, 1, 1, 0, 10, tzinfo=UTC)],
        "n_readings": [1, 2],
        "kurtosis": [None, 0.1],
    }
    frame = pa.table(values, schema=MACHINE_FEATURES.schema).to_pandas()
    assert failed(validate_table(frame, suite=suite_from_contract(MACHINE_FEATURES))) == set()


def test_an_unusable_sensor_is_a_warning() -> None:
    row = {
        "sensor_id": "s", "machine_id": "m", "n_readings": 0, "n_expected": 1440, "coverage": 0.0, "longest_gap_s": 86400.0,
        "stuck_share": 0.0, "refused_share": 0.0, "noise": math.nan, "clock_jitter": math.nan, "last_value_age_s": 86400.0,
        "score": 0.0, "grade": "F", "findings": "no readings",
    }  # fmt: skip
    outcome = validate_table(pd.DataFrame([row]), suite=sensor_quality_suite())
    assert outcome.success
    assert failed(outcome) == {"every_sensor_is_usable"}


# --- predictions ---


def prediction(**changed: Any) -> pd.DataFrame:
    row = {
        "machine_id": "m", "failure_mode": "VIB", "probability_7d": 0.2, "probability_30d": 0.6, "ttf_p10_days": 5.0, "ttf_p50_days": 9.0,
        "ttf_p90_days": 20.0, "limit_kind": "trip", "limit_side": "high",
    }  # fmt: skip
    return pd.DataFrame([row | changed])


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


def test_a_day_without_predictions_is_fine() -> None:
    assert validate_table(prediction().iloc[:0], suite=predictions_suite()).success


# --- readings profile ---

DAY = date(2026, 3, 1)
SITE = Site(
    site="s", name="S", first_day=date(2026, 1, 1),
    machines=(Machine(machine_id="m", machine_class="pump", sensors=(
        Sensor(sensor_id="t", type="temperature", unit="degC", physical=Band(low=-50, high=150)),
        Sensor(sensor_id="p", type="pressure", unit="bar"),
    )),),
)  # fmt: skip


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


def test_declaring_suites_and_passing_an_empty_table_do_not_load_the_library() -> None:
    program = """
import sys
import pandas as pd
from expectations.suites import predictions_suite, sensor_quality_suite, readings_profile_suite
from expectations.validation import validate_table
from expectations.verdicts import incidents_suite, judge_incidents, claims
from ml.plant import VerdictPolicy
policy = VerdictPolicy()
sensor_quality_suite(); readings_profile_suite(); incidents_suite(policy)
suite = predictions_suite()
columns = sorted({c for r in suite.expectations for c in r.columns})
assert validate_table(pd.DataFrame(columns=columns), suite=suite).success
assert judge_incidents(pd.DataFrame(columns=["incident_id", *(c.column for c in claims(policy))]), policy=policy).verdicts.empty
assert "great_expectations" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
