"""Verdicts on incidents: each rule costs what the policy says, and says why with the numbers of that incident."""

import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from expectations import verdicts
from expectations.validation import validate_table
from expectations.verdicts import NOT_GATHERED, VERDICT_COLUMNS, calibrated, incidents_suite, judge_stored
from ml.plant import VerdictPolicy

POLICY = VerdictPolicy()
GOOD = {
    "n_members_agreeing": 3, "peak_score": 0.9, "duration_windows": 12, "anomalous_share": 0.9, "n_sensors_moved": 2,
    "worst_grade": "A", "worst_sensor_id": "T1", "faulty_share": 0.0, "sensor_faults": "", "coverage": 1.0, "running_share": 1.0,
    "hours_since_start": 30.0, "in_maintenance": False, "false_alarms_30d": 0, "site_share": 0.1,
}  # fmt: skip
# rule, evidence that just fails, evidence that just passes, words of the reason
CASES: list[tuple[str, str, Any, Any, str]] = [
    ("members_agree", "n_members_agreeing", 1, 2, "only 1 of 7 detectors saw it (2 wanted)"),
    ("peak_is_high", "peak_score", 0.69, 0.7, "its peak score was only 0.69 (0.7 wanted)"),
    ("lasts_long_enough", "duration_windows", 5, 6, "it lasted only 5 windows (6 windows wanted)"),
    ("is_sustained", "anomalous_share", 0.1, 0.25, "it flickered: only 10% of its windows were anomalous (25% wanted)"),
    ("sensors_moved", "n_sensors_moved", 0, 1, "only 0 sensors moved (1 sensor wanted)"),
    ("sensors_are_trustworthy", "worst_grade", "F", "C", "of the sensors it rests on, T1 has grade F (A or B or C wanted)"),
    ("no_sensor_fault_explains_it", "faulty_share", 0.6, 0.5,
     "60% of the movement comes from faulty sensors (at most 50% allowed): unnamed"),
    ("readings_are_complete", "coverage", 0.5, 0.7, "only 50% of the readings due during it are there (70% wanted)"),
    ("machine_was_running", "running_share", 0.2, 0.5, "the machine ran only 20% of the time (50% wanted)"),
    ("machine_had_settled", "hours_since_start", 1.5, 2.0, "the machine had run for only 1.5 h by its middle (2 h wanted)"),
    ("machine_was_not_in_maintenance", "in_maintenance", True, False, "the machine was in maintenance at the time"),
    ("machine_rarely_cries_wolf", "false_alarms_30d", 4, 3, "the machine had 4 false alarms in 30 days (at most 3 false alarms allowed)"),
    ("site_did_not_move_at_once", "site_share", 0.8, 0.6,
     "80% of the site's other machines were anomalous with it (at most 60% allowed)"),
]  # fmt: skip


def judge_incidents(evidence: pd.DataFrame, *, policy: VerdictPolicy) -> pd.DataFrame:
    return verdicts.judge_incidents(evidence, policy=policy).verdicts


def evidence(*changes: dict[str, object]) -> pd.DataFrame:
    rows = [{"incident_id": f"i{n}", "machine_id": "m", "failure_mode": "VIB"} | GOOD | c for n, c in enumerate(changes)]
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


def test_a_value_a_hair_below_its_threshold_is_told_apart_from_it() -> None:
    judged = judge_incidents(evidence({"anomalous_share": 0.2498, "peak_score": 0.69996}), policy=POLICY)
    words = ["its peak score was only 0.69996 (0.7 wanted)", "it flickered: only 24.98% of its windows were anomalous (25% wanted)"]
    assert judged["reasons"].tolist() == [words]


def test_a_sensors_fault_does_not_speak_against_the_incident_that_is_about_it() -> None:
    faulty = {"worst_grade": "F", "faulty_share": 1.0, "sensor_faults": "P1 stuck"}
    unknown = {"worst_grade": None, "faulty_share": math.nan}
    judged = judge_incidents(evidence(*({"failure_mode": mode} | e for mode in ("AIR", "VIB") for e in (faulty, unknown))), policy=POLICY)
    doubted = ["sensors_are_trustworthy", "no_sensor_fault_explains_it"]
    assert judged["failed"].tolist() == [[], [], doubted, doubted]
    assert judged["confidence"].tolist() == [0.9, 0.9, 0.2, 0.2]
    values = [[rule["value"] for rule in rules if rule["name"] in doubted] for rules in judged["rules"]]
    assert values == [["F", 1.0], [None, None], ["F", 1.0], [None, None]], "the value is shown as it is, whatever it is held against"


def test_faulty_sensors_are_named() -> None:
    judged = judge_incidents(evidence({"faulty_share": 1.0, "sensor_faults": "P1 wrong unit"}), policy=POLICY)
    assert judged["reasons"].tolist() == [["100% of the movement comes from faulty sensors (at most 50% allowed): P1 wrong unit"]]


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


def test_a_rule_whose_adjustment_is_0_is_named_and_costs_nothing() -> None:
    judged = judge_incidents(evidence({"n_members_agreeing": 1}), policy=VerdictPolicy(adjustments={"members_agree": 0}))
    assert judged["failed"].tolist() == [["members_agree"]]
    assert judged["confidence"].tolist() == [0.9]


def test_the_policy_moves_the_thresholds() -> None:
    strict = VerdictPolicy(min_members_agreeing=4, worst_grade_allowed="A")
    judged = judge_incidents(evidence({"worst_grade": "B"}), policy=strict)
    assert judged["reasons"].tolist() == [
        ["only 3 of 7 detectors saw it (4 wanted)", "of the sensors it rests on, T1 has grade B (A wanted)"]
    ]


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


def test_missing_evidence_columns_are_named() -> None:
    with pytest.raises(ValueError, match="lacks the columns peak_score, site_share"):
        judge_incidents(evidence({}).drop(columns=["peak_score", "site_share"]), policy=POLICY)


def test_an_incident_given_twice_is_refused() -> None:
    frame = pd.concat([evidence({}), evidence({})])
    with pytest.raises(ValueError, match="incident i0 is judged twice"):
        judge_incidents(frame, policy=POLICY)


EVIDENCE = st.fixed_dictionaries(
    {
        **{column: st.sampled_from([bad, good, None]) for _, column, bad, good, _ in CASES},
        "peak_score": st.one_of(st.floats(0, 1), st.none()),
        "duration_windows": st.integers(1, 100),
    }
)
ADJUSTMENTS = st.dictionaries(st.sampled_from([c[0] for c in CASES]), st.floats(-1, 0))


@settings(max_examples=25)
@given(rows=st.lists(EVIDENCE, min_size=1, max_size=8), base=st.floats(0, 1), adjustments=ADJUSTMENTS)
def test_the_rules_as_applied_add_up_to_the_confidence(rows: list[dict[str, Any]], base: float, adjustments: dict[str, float]) -> None:
    policy = VerdictPolicy(base_confidence=base, adjustments=adjustments)
    judged = judge_incidents(evidence(*rows), policy=policy)
    for row, given_evidence in zip(judged.itertuples(), rows, strict=True):
        assert [rule["name"] for rule in row.rules] == [c[0] for c in CASES]
        total = row.confidence_before + sum(rule["adjustment"] for rule in row.rules)
        assert row.confidence == pytest.approx(min(1, max(0, total)), abs=1e-6)
        assert row.failed == [rule["name"] for rule in row.rules if not rule["holds"]]
        assert row.reasons == [rule["reason"] for rule in row.rules if not rule["holds"]]
        for rule, (name, column, _, _, _) in zip(row.rules, CASES, strict=True):
            assert rule["adjustment"] == (0 if rule["holds"] else policy.adjustments[name])
            assert (rule["reason"] is None) == rule["holds"]
            assert rule["value"] == given_evidence[column]
    assert json.loads(json.dumps(judged["rules"].tolist(), allow_nan=False)) == judged["rules"].tolist()


def test_each_claim_says_its_threshold() -> None:
    strict = VerdictPolicy(min_members_agreeing=4, worst_grade_allowed="B", max_site_share=0.25, min_hours_since_start=3.5)
    (rules,) = judge_incidents(evidence({}), policy=strict)["rules"]
    said = {rule["name"]: rule["claim"] for rule in rules}
    assert said["members_agree"] == "at least 4 of 7 detectors saw it"
    assert said["sensors_are_trustworthy"] == "the sensors it rests on have grade A or B, or it is about a faulty sensor"
    assert said["site_did_not_move_at_once"] == "at most 25% of the site's other machines were anomalous with it"
    assert said["machine_had_settled"] == "the machine had run for at least 3.5 h by its middle"


def test_days_judged_together_are_judged_as_each_by_itself() -> None:
    days = {
        1: evidence({"peak_score": 0.1}, {}),
        2: evidence({}),
        3: evidence({"in_maintenance": True, "incident_id": "i0"}, {"site_share": math.nan}),
        4: evidence({}).iloc[:0],
    }
    together = judge_stored(days, policy=POLICY)
    assert list(together) == [1, 2, 3, 4]
    for day, of_day in days.items():
        alone = verdicts.judge_incidents(of_day, policy=POLICY)
        pd.testing.assert_frame_equal(together[day].verdicts, alone.verdicts)
        assert together[day].outcome == alone.outcome


def test_evidence_older_than_a_rule_is_judged_without_it() -> None:
    old = evidence({"n_members_agreeing": 1}).drop(columns=["coverage", "hours_since_start"])
    judged = judge_stored({"old": old, "new": evidence({"coverage": None})}, policy=POLICY)
    rules = {rule["name"]: rule for rule in judged["old"].verdicts["rules"].iloc[0]}
    for name in ("readings_are_complete", "machine_had_settled"):
        assert (rules[name]["holds"], rules[name]["value"], rules[name]["adjustment"]) == (None, None, 0.0)
        assert rules[name]["reason"] == NOT_GATHERED
    assert judged["old"].verdicts["failed"].tolist() == [["members_agree"]]
    assert judged["old"].verdicts["confidence"].tolist() == [0.7]
    assert judged["old"].outcome.success, "what was never gathered is not missing"
    assert judged["new"].verdicts["failed"].tolist() == [["readings_are_complete"]], "what was looked for and not found is"
    assert not judged["new"].outcome.success


def test_what_people_found_corrects_the_confidence_and_the_verdict_follows() -> None:
    by_rules = judge_incidents(evidence({}, {"worst_grade": "F"}), policy=POLICY)
    assert by_rules["confidence"].tolist() == by_rules["confidence_by_rules"].tolist() == [0.9, 0.55]
    found = calibrated(by_rules, calibrate=lambda confidence: confidence / 2, policy=POLICY)
    assert found["confidence"].tolist() == [0.45, 0.275]
    assert found["confidence_by_rules"].tolist() == [0.9, 0.55], "the rules' word is kept beside it"
    assert found["verdict"].tolist() == ["investigate", "false_positive_suspected"]
    assert calibrated(by_rules.iloc[:0], calibrate=lambda confidence: 1.0, policy=POLICY).empty
