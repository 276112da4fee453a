"""Validation with the real library: what must fail does fail, also where the library by itself would pass."""

import json
import math
import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from expectations.contracts import Column, Contract
from expectations.rules import between, complete, one_of, suite_from_contract
from expectations.validation import MAX_EXAMPLES, Rule, Suite, ValidationOutcome, gx_expectation, validate_table

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
        "the_table_has_its_rows", "columns_hold_their_types", "no_value_is_missing", "numbers_are_finite", "name_is_a_known_one",
        "count_is_at_least_0", "share_is_at_least_0_and_at_most_1", "extra_is_at_least_0", "keys_are_unique",
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
        ({"count": [0.0, 1.0, 2.0]}, {"columns_hold_their_types"}),
        ({"at": pd.to_datetime(["2026-01-01", "2026-01-02", "2026-01-01"])}, {"columns_hold_their_types"}),
        ({"name": ["a", "a", "a"]}, {"keys_are_unique"}),
    ],
)
def test_a_flaw_fails_exactly_the_rule_about_it(changed: dict[str, Any], rules: set[str]) -> None:
    outcome = validate_table(toy(**changed), suite=suite_from_contract(TOY))
    assert failed(outcome) == rules
    assert not outcome.success


def test_a_wrong_type_is_named_with_its_column() -> None:
    frame = toy(count=[0.0, 1.0, 2.0], name=[1, 2, 3], share=[True, False, True]).drop(columns="extra")
    (types,) = [r for r in validate_table(frame, suite=suite_from_contract(TOY)).results if r.name == "columns_hold_their_types"]
    assert types.observed == (
        "extra is not there; name holds whole numbers, not text; count holds numbers, not whole numbers; share holds yes or no, not numbers"
    )
    assert types.n_unexpected == 3, "a wrong type is a failure of the whole table"


@pytest.mark.parametrize("name", [pd.Series(["a", "b", "c"], dtype=object), pd.Series([None] * 3, dtype=object)])
def test_text_is_text_however_pandas_keeps_it_and_nothing_is_of_any_type(name: pd.Series) -> None:
    types = [r for r in validate_table(toy(name=name), suite=suite_from_contract(TOY)).results if r.name == "columns_hold_their_types"]
    assert [r.success for r in types] == [True]


def test_text_where_numbers_are_due_fails_and_does_not_raise() -> None:
    outcome = validate_table(toy(share=["0.1", "many", 0.3]), suite=suite_from_contract(TOY))
    by_name = {r.name: r for r in outcome.results}
    assert {"columns_hold_their_types", "share_is_at_least_0_and_at_most_1"} <= failed(outcome)
    broken = by_name["share_is_at_least_0_and_at_most_1"]
    assert broken.n_unexpected == 3, "an expectation that cannot be evaluated has failed for the whole table"
    assert broken.observed is not None
    assert broken.observed.startswith("could not be evaluated: ")


def test_a_missing_column_fails_and_does_not_raise() -> None:
    outcome = validate_table(toy().drop(columns="share"), suite=suite_from_contract(TOY))
    assert {"columns_hold_their_types", "no_value_is_missing", "share_is_at_least_0_and_at_most_1"} <= failed(outcome)


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


def test_declaring_suites_and_passing_an_empty_table_do_not_load_the_library() -> None:
    program = """
import sys
import pandas as pd
from expectations.ledger_contracts import PREDICTIONS
from expectations.suites import predictions_suite, sensor_quality_suite, readings_profile_suite
from expectations.validation import validate_table
from expectations.verdicts import incidents_suite, judge_incidents
from ml.evidence import COLUMNS
from ml.plant import VerdictPolicy
policy = VerdictPolicy()
sensor_quality_suite(); readings_profile_suite(); incidents_suite(policy)
suite = predictions_suite()
columns = PREDICTIONS.names
assert validate_table(pd.DataFrame(columns=columns), suite=suite).success
assert judge_incidents(pd.DataFrame(columns=list(COLUMNS)), policy=policy).verdicts.empty
assert "great_expectations" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
