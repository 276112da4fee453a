"""Rules that suites are made of: one Great Expectations expectation each, with a name and words that read as a claim.

A rule on values passes on missing ones: a suite that uses it also demands `complete`, or means "where present".
"""

import sys
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from expectations.contracts import Column, Contract
from expectations.validation import FEW_COLUMNS, Rule, Severity, Suite, gx_expectation


def _own(kind: str, **arguments: Any) -> Callable[[], Any]:
    def build() -> Any:
        from expectations.loading import library

        library()
        from expectations import own_expectations

        return getattr(own_expectations, kind)(**arguments)

    return build


def complete(columns: tuple[str, ...]) -> Rule:
    if len(columns) == 1:  # the library refuses a rule over many columns that names one
        build = gx_expectation("ExpectColumnValuesToNotBeNull", column=columns[0])
    else:
        build = _own("ExpectRowsToBeComplete", column_list=list(columns))
    return Rule("no_value_is_missing", f"no value is missing in {_named(columns)}", "critical", build, columns)


def finite(columns: tuple[str, ...]) -> Rule:
    if len(columns) == 1:
        largest = sys.float_info.max
        build = gx_expectation("ExpectColumnValuesToBeBetween", column=columns[0], min_value=-largest, max_value=largest)
    else:
        build = _own("ExpectRowsToBeFinite", column_list=list(columns))
    return Rule("numbers_are_finite", f"no number is infinite in {_named(columns)}", "critical", build, columns)


def _named(columns: tuple[str, ...]) -> str:
    """All by name where they are few; a failing row names those of many that it is about."""
    return ", ".join(columns) if len(columns) <= FEW_COLUMNS else f"any of {len(columns)} columns"


def between(
    column: str,
    low: float | None,
    high: float | None,
    *,
    name: str | None = None,
    severity: Severity = "critical",
    words: str | None = None,
    shown: tuple[str, ...] = (),
) -> Rule:
    """`shown` are further columns that help to understand a failing row."""
    bounds = {word: bound for word, bound in (("at least", low), ("at most", high)) if bound is not None}
    claim = " and ".join(f"{word} {bound:g}" for word, bound in bounds.items())
    name = name or f"{column}_is_{claim}".replace("-", "minus_").replace(".", "_").replace(" ", "_")
    build = gx_expectation("ExpectColumnValuesToBeBetween", column=column, min_value=low, max_value=high)
    return Rule(name, words or f"{column} is {claim}", severity, build, (column, *shown))


def one_of(
    column: str,
    values: tuple[Any, ...],
    *,
    name: str | None = None,
    severity: Severity = "critical",
    words: str | None = None,
    shown: tuple[str, ...] = (),
) -> Rule:
    described = words or f"{column} is one of {', '.join(map(str, values))}"
    build = gx_expectation("ExpectColumnValuesToBeInSet", column=column, value_set=list(values))
    return Rule(name or f"{column}_is_a_known_one", described, severity, build, (column, *shown))


def not_above(lower: str, upper: str, *, name: str | None = None, words: str | None = None) -> Rule:
    arguments = {"column_A": upper, "column_B": lower, "or_equal": True, "ignore_row_if": "either_value_is_missing"}
    build = gx_expectation("ExpectColumnPairValuesAToBeGreaterThanB", **arguments)
    words = words or f"{lower} is at most {upper}, where both are present"
    return Rule(name or f"{lower}_is_not_above_{upper}", words, "critical", build, (lower, upper))


def equal(column: str, other: str, *, name: str, words: str) -> Rule:
    build = gx_expectation("ExpectColumnPairValuesToBeEqual", column_A=column, column_B=other, ignore_row_if="neither")
    return Rule(name, words, "critical", build, (column, other))


def unique(key: tuple[str, ...]) -> Rule:
    words = f"no two rows have the same {' and '.join(key)}"
    if len(key) == 1:
        return Rule("keys_are_unique", words, "critical", gx_expectation("ExpectColumnValuesToBeUnique", column=key[0]), key)
    build = gx_expectation("ExpectCompoundColumnsToBeUnique", column_list=list(key), ignore_row_if="never")
    return Rule("keys_are_unique", words, "critical", build, key)


def of_types(columns: tuple[Column, ...]) -> Rule:
    """One rule for all columns: twenty times the same claim would hide the others. What is not as it should be, `observed` says."""
    kinds = {c.name: kind_of_values(c) for c in columns}
    words = f"each of the {len(kinds)} columns is there and holds its type of values"
    return Rule("columns_hold_their_types", words, "critical", _own("ExpectColumnsToHold", kinds=kinds))


def kind_of_values(column: Column) -> str:
    """What the column holds, in words. Any width passes: the stores see to that."""
    if isinstance(column.type, pa.JsonType):
        return "anything"
    tests = {
        pa.types.is_string: "text",
        pa.types.is_timestamp: "UTC times",
        pa.types.is_date: "days",
        pa.types.is_boolean: "yes or no",
        pa.types.is_integer: "whole numbers",
        pa.types.is_floating: "numbers",
    }
    for test, kind in tests.items():
        if test(column.type):
            return kind
    raise ValueError(f"column {column.name}: no expectation for the type {column.type}; add one to expectations.rules")


def suite_from_contract(
    contract: Contract, *, extra: tuple[Rule, ...] = (), min_rows: int = 1, name: str | None = None, description: str | None = None
) -> Suite:
    """Types, missing values, infinities, ranges, sets and the key, as the contract declares them."""
    rules = [of_types(contract.columns), complete(tuple(c.name for c in contract.columns if not c.nullable))]
    numbers = tuple(c.name for c in contract.columns if pa.types.is_floating(c.type))
    if numbers:
        rules.append(finite(numbers))
    for column in contract.columns:
        if column.low is not None or column.high is not None:
            rules.append(between(column.name, column.low, column.high))
        if column.one_of is not None:
            rules.append(one_of(column.name, column.one_of))
    rules.append(unique(contract.key))
    described = description or f"the contract of {contract.table}"
    return Suite(name or contract.table, described, contract.table, (*rules, *extra), contract.key, min_rows)
