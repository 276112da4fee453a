"""How assets report: the metadata every materialization carries, and verdicts turned into asset checks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
from sqlalchemy import Connection

from assets.partitions import SiteDay
from expectations.contracts import Contract
from expectations.validation import ValidationOutcome
from resources.ledger.findings import record_validation
from resources.ledger.rows import jsonable

OWNERS = ["team:plant-data"]


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


def summed_up(name: str, outcomes: Mapping[SiteDay, ValidationOutcome], *, severity: dg.AssetCheckSeverity) -> dg.AssetCheckResult:
    """One check result for the run's site-days; the ledger has each one's."""
    failed = {s: o for s, o in outcomes.items() if not o.success}
    claims: Sequence[str] = [f"{s.day} {s.site}: {r.name}" for s, o in sorted(failed.items()) for r in o.results if not r.success]
    return dg.AssetCheckResult(
        check_name=name,
        passed=not failed,
        severity=severity,
        metadata={"site_days": len(outcomes), "site_days_failed": len(failed), "failed": dg.MetadataValue.json(list(claims[:50]))},
    )


def _type_name(kind: pa.DataType) -> str:
    return {"double": "number", "large_string": "string"}.get(str(kind), str(kind))
