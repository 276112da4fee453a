"""Validation results in, HTML pages out: one per site-day and suite, the history of a suite, the index of all.

The library's own pages load styles and scripts from other hosts; these stand by themselves. Text from data is escaped. The same
results give the same bytes.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache, cached_property
from itertools import groupby
from typing import TYPE_CHECKING, Any

from expectations.page_templates import TEMPLATES
from expectations.validation import ExpectationOutcome, Result

if TYPE_CHECKING:
    from jinja2 import Environment

TONES: dict[Result, str] = {"failed": "bad", "warned": "warn", "passed": "good"}
_RUN_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")  # what else kept a validation has no page in the Dagster UI
MARKS: dict[Result, str] = {"failed": "✕", "warned": "!", "passed": "✓"}


@dataclass(frozen=True)
class Validation:
    """One row of the ledger's `validations`; `results` is what `ValidationOutcome.as_dict` gave."""

    site: str
    day: date
    suite: str
    is_success: bool
    n_rows: int
    n_failed: int
    results: Mapping[str, Any]
    run_id: str
    validated_at: datetime

    @property
    def result(self) -> Result:
        return _result(is_success=self.is_success, n_failed=self.n_failed)

    @property
    def description(self) -> str:
        return str(self.results.get("description", ""))  # a version before this one did not keep it

    @cached_property
    def expectations(self) -> dict[str, ExpectationOutcome]:
        """By name."""
        return {result["name"]: ExpectationOutcome(**result) for result in self.results["results"]}


@dataclass(frozen=True)
class SuiteSummary:
    """A suite of a site: its latest day, and how its days went."""

    site: str
    suite: str
    description: str
    day: date
    is_success: bool
    n_failed: int
    n_rows: int
    n_days: int
    n_days_failed: int
    n_days_warned: int
    last_failed_on: date | None

    @property
    def result(self) -> Result:
        return _result(is_success=self.is_success, n_failed=self.n_failed)


def _result(*, is_success: bool, n_failed: int) -> Result:
    if not is_success:
        return "failed"
    return "warned" if n_failed else "passed"


def day_page(validation: Validation, *, dagster_url: str) -> str:
    """Lies beside the suite's history, `index.html`; so do the other days, as <day>.html."""
    return _environment(dagster_url).get_template("day").render(v=validation)


def history_page(validations: Sequence[Validation], *, n_days: int, dagster_url: str) -> str:
    """`validations`: the newest days of one suite of one site, in order of time, of `n_days` in all. Raises ValueError for none."""
    if not validations:
        raise ValueError("a history needs at least one validated day")
    return _environment(dagster_url).get_template("history").render(days=validations, latest=validations[-1], n_days=n_days)


def index_page(summaries: Sequence[SuiteSummary]) -> str:
    """Lies above <site>/<suite>/index.html."""
    ordered = sorted(summaries, key=lambda s: (s.site, s.suite))
    sites = {site: list(suites) for site, suites in groupby(ordered, key=lambda s: s.site)}
    return _environment("").get_template("index").render(sites=sites)


def _expectations_of(days: Sequence[Validation]) -> list[tuple[str, str]]:
    """(name, words) of every expectation that was ever asked in these days, the newest wording, in the newest order first."""
    known: dict[str, str] = {}
    for validation in reversed(days):
        for e in validation.expectations.values():
            known.setdefault(e.name, e.description)
    return list(known.items())


def _months(days: Sequence[Validation]) -> list[tuple[str, int]]:
    return [(month, len(list(group))) for month, group in groupby(f"{v.day:%B %Y}" for v in days)]


def _columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def _is_number(rows: Sequence[Mapping[str, Any]], name: str) -> bool:
    values = [row[name] for row in rows if row.get(name) is not None]
    return bool(values) and all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)


def _shown(value: Any) -> str:
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _short(count: int) -> str:
    """At most four characters."""
    return str(count) if count < 1000 else f"{count // 1000}k"


@cache
def _environment(dagster_url: str) -> "Environment":
    from jinja2 import DictLoader, Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, loader=DictLoader(TEMPLATES)
    )
    environment.filters.update(
        shown=_shown,
        counted=_counted,
        short=_short,
        time=lambda at: f"{at:%Y-%m-%d %H:%M:%S}",
        run_url=lambda run_id: f"{dagster_url}/runs/{run_id}" if _RUN_ID.fullmatch(run_id) else None,
    )
    environment.globals.update(
        tone=TONES.__getitem__,
        columns=_columns,
        is_number=_is_number,
        expectations_of=_expectations_of,
        months=_months,
        MARKS=MARKS,
        RESULTS=tuple(TONES),
    )
    return environment
