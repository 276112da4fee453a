"""How assets report: the metadata every materialization carries, and validations: kept, shown as pages, turned into asset checks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
from sqlalchemy import Connection, Table

from assets.partitions import SiteDay
from expectations.contracts import Contract
from expectations.validation import ValidationOutcome
from resources.ledger.ledger import LedgerResource
from resources.ledger.rows import jsonable
from resources.ledger.validations import lock_pages, newest_validations, record_validation, suite_summaries, validations_on
from resources.validation_pages import ValidationPagesResource

OWNERS = ["team:plant-data"]
HISTORY_DAYS = 60
MAX_LISTED = 50


def column_schema(contract: Contract) -> dg.TableSchema:
    """The contract as the Dagster UI shows it."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name=c.name,
                type=_type_name(c.type),
                description=f"{c.description} [{c.unit}]" if c.unit else c.description,
                constraints=dg.TableColumnConstraints(nullable=c.nullable),
            )
            for c in contract.columns
        ]
    )


def ledger_schema(table: Table) -> dg.TableSchema:
    """A table that keeps the ledger's books, as the Dagster UI shows it: its one declaration is the ledger's own."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name=column.name,
                type=str(column.type).lower(),
                description=column.comment,
                constraints=dg.TableColumnConstraints(nullable=bool(column.nullable), unique=bool(column.unique)),
            )
            for column in table.columns
        ]
    )


def report(
    context: dg.AssetExecutionContext,
    site_day: SiteDay,
    *,
    rows: int,
    path: Path | None = None,
    figures: Mapping[str, Any] | None = None,
    **more: Any,
) -> None:
    """Attach the site-day's figures to its materialization."""
    metadata: dict[str, Any] = {"dagster/row_count": rows, **(figures or {}), **more}
    if path is not None:
        metadata["path"] = dg.MetadataValue.path(str(path))
    context.add_asset_metadata(metadata, partition_key=site_day.key)


@dataclass
class Validations:
    """What one suite said of a step's site-days: kept one by one, in the end shown as pages and summed up in one check."""

    ledger: LedgerResource
    pages: ValidationPagesResource
    run_id: str
    outcomes: dict[SiteDay, ValidationOutcome] = field(default_factory=dict)

    def keep(self, connection: Connection, outcome: ValidationOutcome, site_day: SiteDay) -> None:
        self.outcomes[site_day] = outcome
        keep_validation(connection, outcome, site_day, run_id=self.run_id)

    def check(self, name: str, *, severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR) -> dg.AssetCheckResult:
        shown = show_validations(self.outcomes, ledger=self.ledger, pages=self.pages)
        return _summed_up(name, self.outcomes, severity=severity, pages=shown)


def keep_validation(connection: Connection, outcome: ValidationOutcome, site_day: SiteDay, *, run_id: str) -> None:
    record_validation(
        connection,
        {
            "suite": outcome.suite,
            "is_success": outcome.success,
            "n_rows": outcome.n_rows,
            "n_failed": sum(not r.success for r in outcome.results),
            "results": jsonable(outcome.as_dict()),
            "run_id": run_id,
        },
        site=site_day.site,
        day=site_day.day,
    )


def show_validations(
    outcomes: Mapping[SiteDay, ValidationOutcome], *, ledger: LedgerResource, pages: ValidationPagesResource
) -> dict[SiteDay, Path]:
    """Make the pages of kept validations anew, and once for all of them the histories and the index; returns each one's page.

    They are made from what the ledger holds, in turn: of two runs that end together, the later one's index has both.
    """
    from expectations.pages import day_page, history_page, index_page

    if not outcomes:
        return {}
    shown: dict[SiteDay, Path] = {}
    asked = sorted(((s.site, o.suite), s) for s, o in outcomes.items())
    with ledger.begin() as connection:
        lock_pages(connection)
        summaries = suite_summaries(connection)
        n_days = {(s.site, s.suite): s.n_days for s in summaries}
        for (site, suite), group in groupby(asked, key=lambda entry: entry[0]):
            for kept in validations_on(connection, site=site, suite=suite, days=[s.day for _, s in group]):
                path = pages.day(site=site, suite=suite, day=kept.day)
                pages.write(path, day_page(kept, dagster_url=pages.dagster_url))
                shown[SiteDay(kept.day, site)] = path
            newest = newest_validations(connection, site=site, suite=suite, limit=HISTORY_DAYS)
            history = history_page(newest, n_days=n_days[site, suite], dagster_url=pages.dagster_url)
            pages.write(pages.history(site=site, suite=suite), history)
        pages.write(pages.index, index_page(summaries))
    return shown


def _summed_up(
    name: str, outcomes: Mapping[SiteDay, ValidationOutcome], *, severity: dg.AssetCheckSeverity, pages: Mapping[SiteDay, Path]
) -> dg.AssetCheckResult:
    """One check result for the run's site-days; the ledger has each one's, and `pages` says where it is shown."""
    failed = {s: o for s, o in outcomes.items() if not o.success}
    claims = [f"{s.day} {s.site}: {r.name}" for s, o in sorted(failed.items()) for r in o.results if not r.success]
    links = {str(s.key): str(pages[s]) for s in (sorted(failed) or sorted(pages))[:MAX_LISTED]}
    histories = {s.site: path.with_name("index.html") for s, path in pages.items()}
    return dg.AssetCheckResult(
        check_name=name,
        passed=not failed,
        severity=severity,
        metadata={
            "site_days": len(outcomes),
            "site_days_failed": len(failed),
            "failed": dg.MetadataValue.json(claims[:MAX_LISTED]),
            "pages": dg.MetadataValue.json(links),
            **{f"history_of_{site}": dg.MetadataValue.path(str(path)) for site, path in sorted(histories.items())},
        },
    )


def _type_name(kind: pa.DataType) -> str:
    return {"double": "number", "date32[day]": "date", "extension<arrow.json>": "json"}.get(str(kind), str(kind))
