"""A suite is run by Great Expectations over a table here, in a way that cannot pass by accident.

Great Expectations by itself passes on missing values, on empty tables and on a duplicate index, and raises on text where
numbers are due. So the index is renewed, an expectation that cannot be evaluated has failed for the whole table, and
every suite states how many rows it wants. The import costs over 1 s and happens at the first validation only.
"""

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
import pandas as pd

from expectations.loading import library, without_collection

Severity = Literal["critical", "warning"]
Result = Literal["failed", "warned", "passed"]
MAX_EXAMPLES = 20
FEW_COLUMNS = 3
_LOCK = threading.Lock()  # the batch id is the same for every table, so two validations at once would mix their rows


@dataclass(frozen=True)
class Rule:
    """One expectation. `build` makes the Great Expectations object; `columns` are those it looks at, shown for a failing row."""

    name: str
    description: str
    severity: Severity
    build: Callable[[], Any]
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Suite:
    """What must hold of a table. `key` names the columns that identify a row; fewer than `min_rows` rows is a failure."""

    name: str
    description: str
    table: str
    expectations: tuple[Rule, ...]
    key: tuple[str, ...] = ()
    min_rows: int = 1

    def __post_init__(self) -> None:
        names = [r.name for r in self.expectations]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"suite {self.name}: expectation named twice: {', '.join(twice)}; give each its own name")


@dataclass(frozen=True)
class ExpectationOutcome:
    name: str
    description: str
    severity: Severity
    success: bool
    n_unexpected: int
    unexpected: tuple[dict[str, Any], ...]
    observed: str | None

    @property
    def result(self) -> Result:
        if self.success:
            return "passed"
        return "failed" if self.severity == "critical" else "warned"

    def as_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "description": self.description,
            "severity": self.severity,
            "success": self.success,
            "n_unexpected": self.n_unexpected,
            "unexpected": list(self.unexpected),
            "observed": self.observed,
        }


@dataclass(frozen=True)
class ValidationOutcome:
    """`success`: every critical expectation holds. Warnings are in `results` and in `n_failed`."""

    suite: str
    description: str
    table: str
    n_rows: int
    success: bool
    results: tuple[ExpectationOutcome, ...]

    @property
    def n_failed(self) -> int:
        """Expectations that failed, of any severity."""
        return sum(not r.success for r in self.results)

    def as_dict(self) -> dict[str, Any]:
        """Plain Python values only: ready for JSON."""
        return {
            "suite": self.suite,
            "description": self.description,
            "table": self.table,
            "n_rows": self.n_rows,
            "success": self.success,
            "n_failed": self.n_failed,
            "results": [r.as_dict() for r in self.results],
        }


@dataclass(frozen=True)
class Finding:
    """What Great Expectations says of one rule. `rows` are positions in the table; None when it is not about single rows."""

    success: bool
    rows: np.ndarray | None
    observed: str | None


_HOLDS = Finding(success=True, rows=None, observed=None)


def validate_table(frame: pd.DataFrame, *, suite: Suite) -> ValidationOutcome:
    """Run every rule of the suite over the table. An empty table that may be empty passes without loading the library."""
    frame = frame.reset_index(drop=True)
    rules = rules_of(suite)
    present = set(frame.columns)
    if frame.empty and suite.min_rows == 0 and all(present.issuperset(r.columns) for r in rules):
        outcomes = tuple(_passed(r, observed="no rows") for r in rules)
        return ValidationOutcome(suite.name, suite.description, suite.table, n_rows=0, success=True, results=outcomes)
    return outcome_of(frame, suite=suite, findings=evaluate(frame, rules=rules))


def rules_of(suite: Suite) -> tuple[Rule, ...]:
    """The suite's expectations, and how many rows it wants."""
    return (row_count_rule(suite), *suite.expectations)


def outcome_of(frame: pd.DataFrame, *, suite: Suite, findings: Mapping[str, Finding]) -> ValidationOutcome:
    """What the findings on `rules_of` the suite mean for the table, which has a fresh index."""
    rules = rules_of(suite)
    outcomes = tuple(_outcome(frame, rule=rule, finding=findings[rule.name], key=suite.key) for rule in rules)
    success = all(o.success for o in outcomes if o.severity == "critical")
    return ValidationOutcome(suite.name, suite.description, suite.table, n_rows=len(frame), success=success, results=outcomes)


def gx_expectation(kind: str, **arguments: Any) -> Callable[[], Any]:
    """Makes the expectation of this class when asked, so that declaring a suite does not load the library."""

    def build() -> Any:
        return getattr(library().expectations, kind)(**arguments)

    return build


def row_count_rule(suite: Suite) -> Rule:
    """The demand that every suite makes, whatever else it says."""
    words = "the table may be empty" if suite.min_rows == 0 else f"the table has at least {suite.min_rows} row{'s' * (suite.min_rows > 1)}"
    return Rule("the_table_has_its_rows", words, "critical", gx_expectation("ExpectTableRowCountToBeBetween", min_value=suite.min_rows))


def evaluate(frame: pd.DataFrame, *, rules: Sequence[Rule]) -> dict[str, Finding]:
    """Findings by rule name, over a table with a fresh index.

    Two passes: pass or fail for all (about 3 ms for a rule), then the rows of those that failed (about 6 ms). Without rests of
    the collector in between: they were a fifth of the time.
    """
    with _LOCK, without_collection():
        passed = {name: bool(result.success) for name, result in _run(frame, rules=rules, result_format="BOOLEAN_ONLY").items()}
        failed = [r for r in rules if not passed[r.name]]
        if not failed:
            details: dict[str, Any] = {}
        else:
            details = _run(frame, rules=failed, result_format={"result_format": "COMPLETE", "include_unexpected_rows": False})
    found = {name: _finding(result) for name, result in details.items()}
    return {r.name: found.get(r.name, _HOLDS) for r in rules}


@cache
def _batch_definition() -> Any:
    """One ephemeral context for the process: making it costs 0.1 s, and it keeps nothing but the last table."""
    gx = library()
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    return context.data_sources.add_pandas("memory").add_dataframe_asset("table").add_batch_definition_whole_dataframe("whole")


def _run(frame: pd.DataFrame, *, rules: Sequence[Rule], result_format: Any) -> dict[str, Any]:
    """Great Expectations' results by rule name. It reorders them, so each expectation carries its rule's name."""
    gx = library()
    expectations = []
    for rule in rules:
        expectation = rule.build()
        expectation.meta = {"rule": rule.name}
        expectations.append(expectation)
    batch = _batch_definition().get_batch(batch_parameters={"dataframe": frame})
    done = batch.validate(gx.ExpectationSuite(name="suite", expectations=expectations), result_format=result_format)
    results = {result.expectation_config.meta["rule"]: result for result in done.results}
    lost = [r.name for r in rules if r.name not in results]
    if lost:
        raise RuntimeError(f"Great Expectations returned no result for {', '.join(lost)}")
    return results


def _finding(result: Any) -> Finding:
    raised = _exception_message(result.exception_info)
    if raised is not None:
        return Finding(success=False, rows=None, observed=f"could not be evaluated: {raised}")
    rows = result.result.get("unexpected_index_list")
    observed = result.result.get("observed_value")
    return Finding(
        bool(result.success),
        None if rows is None else np.unique(np.asarray(rows, dtype=np.int64)),
        None if observed is None else str(_plain(observed)),
    )


def _exception_message(info: dict[str, Any] | None) -> str | None:
    """The message, if the expectation raised. The information is flat for one metric and nested by metric for several."""
    for part in (info, *info.values()) if info else ():
        if isinstance(part, dict) and part.get("raised_exception"):
            return str(part.get("exception_message")).strip().splitlines()[0][:300]
    return None


def _outcome(frame: pd.DataFrame, *, rule: Rule, finding: Finding, key: tuple[str, ...]) -> ExpectationOutcome:
    if finding.success:
        return _passed(rule, observed=finding.observed)
    # A failure that names no rows is one of the whole table.
    n_unexpected = len(frame) if finding.rows is None else len(finding.rows)
    rows = () if finding.rows is None else finding.rows[:MAX_EXAMPLES]
    examples = tuple(_example(frame.iloc[int(i)], columns=rule.columns, key=key) for i in rows)
    return ExpectationOutcome(
        rule.name,
        rule.description,
        rule.severity,
        success=False,
        n_unexpected=n_unexpected,
        unexpected=examples,
        observed=finding.observed,
    )


def _passed(rule: Rule, *, observed: str | None) -> ExpectationOutcome:
    return ExpectationOutcome(rule.name, rule.description, rule.severity, success=True, n_unexpected=0, unexpected=(), observed=observed)


def _example(row: pd.Series, *, columns: tuple[str, ...], key: tuple[str, ...]) -> dict[str, Any]:
    """Key and tested values of a failing row; of many tested columns only those that hold no finite value."""
    shown = {k: _plain(row[k]) for k in key if k in row.index}
    for column in columns:
        value = _plain(row[column])
        if len(columns) <= FEW_COLUMNS or value is None or value in ("inf", "-inf"):
            shown[column] = value
    return shown


def _plain(value: Any) -> Any:
    """A value that JSON can hold. JSON has no infinity: it becomes a word."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, (list, tuple, dict, np.ndarray)):
        return str(value)
    if pd.isna(value):
        return None
    if isinstance(value, float) and math.isinf(value):
        return str(value)
    if isinstance(value, (bool, int, float, str)):
        return value
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
