"""Where Great Expectations by itself passes, or names no row: first bare, then with what stands around it here."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from expectations.contracts import Column, Contract
from expectations.loading import library
from expectations.rules import suite_from_contract
from expectations.validation import ExpectationOutcome, validate_table

SHARES = Contract(
    "shares",
    (
        Column("name", pa.string(), "who"),
        Column("share", pa.float64(), "how much", low=0, high=1),
        Column("level", pa.float64(), "any number"),
    ),
    key=("name",),
)
IN_RANGE = "share_is_at_least_0_and_at_most_1"


def shares(**changed: Any) -> pd.DataFrame:
    return pd.DataFrame({"name": ["a", "b", "c"], "share": [0.0, 0.5, 1.0], "level": [7.0, 8.0, 9.0]}).assign(**changed)


def bare(frame: pd.DataFrame, expectation: str, **arguments: Any) -> Any:
    """The library's own answer to one expectation, asked as its documentation does."""
    gx = library()
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    batch = (
        context.data_sources.add_pandas("bare")
        .add_dataframe_asset("table")
        .add_batch_definition_whole_dataframe("whole")
        .get_batch(batch_parameters={"dataframe": frame})
    )
    return batch.validate(getattr(gx.expectations, expectation)(**arguments), result_format="COMPLETE")


def ours(frame: pd.DataFrame) -> dict[str, ExpectationOutcome]:
    """The failed expectations of the contract's suite, by name."""
    return {r.name: r for r in validate_table(frame, suite=suite_from_contract(SHARES)).results if not r.success}


def between_0_and_1(frame: pd.DataFrame) -> Any:
    return bare(frame, "ExpectColumnValuesToBeBetween", column="share", min_value=0, max_value=1)


def test_a_faultless_table_passes_both() -> None:
    assert between_0_and_1(shares()).success
    assert ours(shares()) == {}


@pytest.mark.parametrize("share", [[0.0, math.nan, 1.0], [math.nan] * 3, [0.0, None, 1.0]])
def test_missing_values_pass_a_range_and_fail_the_suite(share: list[float | None]) -> None:
    frame = shares(share=pd.array(share, dtype="float64"))
    assert between_0_and_1(frame).success
    failed = ours(frame)
    assert set(failed) == {"no_value_is_missing"}
    assert failed["no_value_is_missing"].n_unexpected == sum(v is None or math.isnan(v) for v in share)


def test_missing_keys_pass_as_unique_and_fail_the_suite() -> None:
    frame = shares(name=pd.array(["a", None, None], dtype="str"))
    assert bare(frame, "ExpectColumnValuesToBeUnique", column="name").success
    assert "no_value_is_missing" in ours(frame)


def test_infinity_passes_a_lower_bound_and_fails_the_suite() -> None:
    frame = shares(level=[7.0, math.inf, -math.inf])
    assert bare(frame, "ExpectColumnValuesToNotBeNull", column="level").success
    assert bare(frame.iloc[:2], "ExpectColumnValuesToBeBetween", column="level", min_value=0).success
    assert [(row["name"], row["level"]) for row in ours(frame)["numbers_are_finite"].unexpected] == [("b", "inf"), ("c", "-inf")]


@pytest.mark.parametrize(
    ("expectation", "arguments"),
    [
        ("ExpectColumnValuesToBeBetween", {"column": "share", "min_value": 0, "max_value": 1}),
        ("ExpectColumnValuesToNotBeNull", {"column": "share"}),
        ("ExpectColumnValuesToBeUnique", {"column": "name"}),
        ("ExpectColumnValuesToBeInSet", {"column": "name", "value_set": ["a"]}),
    ],
)
def test_an_empty_table_passes_everything_and_fails_the_suite(expectation: str, arguments: dict[str, Any]) -> None:
    nothing = shares().iloc[:0]
    assert bare(nothing, expectation, **arguments).success
    assert "the_table_has_its_rows" in ours(nothing)


def test_a_duplicate_index_blurs_which_rows_failed_and_does_not_in_the_suite() -> None:
    frame = shares(share=[2.0, 0.5, 3.0])
    frame.index = pd.Index([7, 7, 7])
    found = between_0_and_1(frame).result
    assert found["unexpected_count"] == 2
    assert found["unexpected_index_list"] == [7, 7], "both failing rows, and the good one, go by that label"
    assert frame.loc[found["unexpected_index_list"][0], "share"].tolist() == [2.0, 0.5, 3.0]
    failed = ours(frame)[IN_RANGE]
    assert failed.n_unexpected == 2
    assert failed.unexpected == ({"name": "a", "share": 2.0}, {"name": "c", "share": 3.0})


def test_text_passes_where_any_number_will_do_and_fails_the_suite() -> None:
    frame = shares(level=["7", "many", "9"])
    assert bare(frame, "ExpectColumnValuesToNotBeNull", column="level").success
    assert ours(frame)["columns_hold_their_types"].observed == "level holds text, not numbers"


def test_text_in_a_range_names_no_row_and_fails_every_row_of_the_suite() -> None:
    """An expectation that raises has counted nothing: who looks for failing rows finds none."""
    frame = shares(share=["0.1", "0.2", "many"])
    found = between_0_and_1(frame)
    assert found.result.get("unexpected_count") is None
    assert found.result.get("unexpected_index_list") is None
    failed = ours(frame)[IN_RANGE]
    assert failed.n_unexpected == 3
    assert failed.observed is not None
    assert failed.observed.startswith("could not be evaluated: ")


def test_flags_pass_as_shares_and_fail_the_suite() -> None:
    frame = shares(share=np.array([True, False, True]))
    assert between_0_and_1(frame).success
    assert ours(frame)["columns_hold_their_types"].observed == "share holds yes or no, not numbers"
