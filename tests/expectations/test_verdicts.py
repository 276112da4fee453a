"""Verdicts on incidents: each rule costs what the policy says, and says why with the numbers of that incident."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from expectations import verdicts
from expectations.validation import validate_table
from expectations.verdicts import VERDICT_COLUMNS, incidents_suite
from ml.plant import VerdictPolicy

POLICY = VerdictPolicy()
GOOD = {
    "n_members_agreeing": 3, "peak_score": 0.9, "duration_windows": 12, "n_sensors_moved": 2, "worst_grade": "A", "running_share": 1.0,
    "in_maintenance": False, "false_alarms_30d": 0, "site_share": 0.1,
}  # fmt: skip
# rule, evidence that just fails, evidence that just passes, words of the reason
CASES: list[tuple[str, str, Any, Any, str]] = [
    ("members_agree", "n_members_agreeing", 1, 2, "only 1 of 4 detectors saw it (2 wanted)"),
    ("peak_is_high", "peak_score", 0.69, 0.7, "its peak score was only 0.69 (0.7 wanted)"),
    ("lasts_long_enough", "duration_windows", 5, 6, "it lasted only 5 windows (6 wanted)"),
    ("sensors_are_trustworthy", "worst_grade", "F", "C", "a sensor it rests on has grade F (A or B or C wanted)"),
    ("sensors_moved", "n_sensors_moved", 0, 1, "only 0 sensors moved (1 wanted)"),
    ("machine_was_running", "running_share", 0.2, 0.5, "the machine ran only 20% of the time (50% wanted)"),
    ("machine_was_not_in_maintenance", "in_maintenance", True, False, "the machine was in maintenance at the time"),
    ("machine_rarely_cries_wolf", "false_alarms_30d", 4, 3, "the machine had 4 false alarms in 30 days (at most 3 allowed)"),
    ("site_did_not_move_at_once", "site_share", 0.8, 0.6, "80% of the site's machines were anomalous at once (at most 60% allowed)"),
]  # fmt: skip


def judge_incidents(evidence: pd.DataFrame, *, policy: VerdictPolicy) -> pd.DataFrame:
    return verdicts.judge_incidents(evidence, policy=policy).verdicts


def evidence(*changes: dict[str, object]) -> pd.DataFrame:
    rows = [{"incident_id": f"i{n}", "machine_id": "m"} | GOOD | c for n, c in enumerate(changes)]
    return pd.DataFrame(rows)


def test_the_cases_below_cover_every_adjustment_of_the_policy() -> None:
    in_suite = {r.name for r in incidents_suite(POLICY).expectations} - {"no_value_is_missing"}
    assert {c[0] for c in CASES} == set(POLICY.adjustments) == in_suite


def test_each_rule_costs_its_adjustment_and_says_why() -> None:
    judged = judge_incidents(evidence(*({column: bad} for _, column, bad, _, _ in CASES)), policy=POLICY)
    assert tuple(judged.columns) == VERDICT_COLUMNS
    for row, (name, _, _, _, words) in zip(judged.itertuples(), CASES, strict=True):
        assert row.failed == [name]
        assert row.reasons == [words]
        assert row.confidence == pytest.approx(0.9 + POLICY.adjustments[name])
        assert row.confidence_before == 0.9


def test_values_at_the_threshold_pass() -> None:
    judged = judge_incidents(evidence(*({column: good} for _, column, _, good, _ in CASES)), policy=POLICY)
    assert judged["failed"].tolist() == [[]] * len(CASES)
    assert (judged["verdict"] == "credible").all()


@pytest.mark.parametrize("nothing", [None, math.nan, pd.NA, "not a number"])
def test_unknown_evidence_fails_its_rule_in_its_row_only(nothing: object) -> None:
    frame = pd.concat([evidence(*({column: nothing} for _, column, _, _, _ in CASES)), evidence({"incident_id": "good"})])
    judged = judge_incidents(frame, policy=POLICY)
    assert judged["failed"].tolist() == [*([name] for name, _, _, _, _ in CASES), []]
    assert all(reason.endswith(" is not known") for (reason,) in judged["reasons"].iloc[:-1])


def test_the_suite_by_itself_does_not_pass_unknown_evidence() -> None:
    outcome = validate_table(evidence({"peak_score": math.nan}), suite=incidents_suite(POLICY))
    assert not outcome.success


def test_the_outcome_that_comes_with_the_verdicts_is_that_of_the_suite() -> None:
    frame = evidence({}, {"peak_score": 0.1, "in_maintenance": True}, {"site_share": math.nan})
    frame.index = pd.Index([7, 7, 8])
    outcome = verdicts.judge_incidents(frame, policy=POLICY).outcome
    assert outcome == validate_table(frame, suite=incidents_suite(POLICY))
    by_name = {r.name: r for r in outcome.results}
    assert by_name["peak_is_high"].unexpected == ({"incident_id": "i1", "peak_score": 0.1},)
    assert by_name["machine_was_not_in_maintenance"].unexpected[0]["in_maintenance"] is True, "as it stands in the evidence"


def test_no_incidents_are_an_outcome_too_of_no_rows() -> None:
    outcome = verdicts.judge_incidents(evidence({}).iloc[:0], policy=POLICY).outcome
    assert (outcome.suite, outcome.n_rows, outcome.success) == ("incidents", 0, True)


def test_verdicts_follow_the_bands_and_confidence_stays_in_range() -> None:
    judged = judge_incidents(
        evidence(
            {"n_members_agreeing": 1},
            {"n_members_agreeing": 1, "site_share": 0.9},
            {"in_maintenance": True},
            {c: b for _, c, b, _, _ in CASES},
        ),
        policy=POLICY,
    )
    assert judged["confidence"].tolist() == [0.7, 0.4, 0.3, 0.0]
    assert judged["verdict"].tolist() == ["credible", "investigate", "false_positive_suspected", "false_positive_suspected"]
    assert len(judged["reasons"].iloc[3]) == len(CASES)


def test_a_positive_adjustment_cannot_lift_confidence_above_one() -> None:
    judged = judge_incidents(evidence({"n_members_agreeing": 1}), policy=VerdictPolicy(adjustments={"members_agree": 0.5}))
    assert judged["confidence"].tolist() == [1.0]


def test_a_rule_without_an_adjustment_is_named_and_costs_nothing() -> None:
    judged = judge_incidents(evidence({"n_members_agreeing": 1}), policy=VerdictPolicy(adjustments={}))
    assert judged["failed"].tolist() == [["members_agree"]]
    assert judged["confidence"].tolist() == [0.9]


def test_the_policy_moves_the_thresholds() -> None:
    strict = VerdictPolicy(min_members_agreeing=4, worst_grade_allowed="A")
    judged = judge_incidents(evidence({"worst_grade": "B"}), policy=strict)
    assert judged["reasons"].tolist() == [["only 3 of 4 detectors saw it (4 wanted)", "a sensor it rests on has grade B (A wanted)"]]


def test_a_duplicate_index_and_numpy_types_change_nothing() -> None:
    frame = evidence({}, {"peak_score": 0.1}, {})
    plain = judge_incidents(frame, policy=POLICY)
    other = frame.astype({"n_members_agreeing": "int32", "in_maintenance": "bool", "worst_grade": "str"})
    other.index = pd.Index([0, 0, 0])
    pd.testing.assert_frame_equal(judge_incidents(other, policy=POLICY), plain)
    assert plain["failed"].tolist() == [[], ["peak_is_high"], []]
    assert plain["confidence"].dtype == np.float64


def test_no_incidents_give_an_empty_table_with_its_columns() -> None:
    judged = judge_incidents(evidence({}).iloc[:0], policy=POLICY)
    assert judged.empty
    assert tuple(judged.columns) == VERDICT_COLUMNS
    assert judged["confidence"].dtype == np.float64


def test_an_unknown_adjustment_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown expectation memebers_agree; known: members_agree, peak_is_high"):
        judge_incidents(evidence({}).iloc[:0], policy=VerdictPolicy(adjustments={"memebers_agree": -0.1}))


def test_an_adjustment_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="members_agree must be a finite number"):
        judge_incidents(evidence({}), policy=VerdictPolicy(adjustments={"members_agree": math.nan}))


def test_missing_evidence_columns_are_named() -> None:
    with pytest.raises(ValueError, match="lacks the columns peak_score, site_share"):
        judge_incidents(evidence({}).drop(columns=["peak_score", "site_share"]), policy=POLICY)


def test_an_incident_given_twice_is_refused() -> None:
    frame = pd.concat([evidence({}), evidence({})])
    with pytest.raises(ValueError, match="incident i0 is judged twice"):
        judge_incidents(frame, policy=POLICY)
