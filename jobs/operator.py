"""Jobs that people launch: submit a decision, complete a work order, generate a report."""

from collections.abc import Sequence
from datetime import UTC, date, datetime

import dagster as dg
from pydantic import Field

from assets.reporting.publish import publish
from assets.reporting.reports import KINDS
from ml.plant import FAILURE_MODE_NAMES
from ml.policy import IllegalMove
from resources.lake import LakeResource
from resources.ledger.ledger import LedgerResource
from resources.ledger.work import Completion, Decision, UnknownOrder, complete, decide
from resources.plant import PlantResource
from resources.reports import ReportsResource


class DecisionConfig(dg.Config):
    order_id: str = Field(description="The work order, such as WO-P-101-VIB-20261119.")
    decision: str = Field(description="approve, reject, defer or cancel.")
    operator: str = Field(description="Who decides; it goes into the audit log.")
    reason: str = Field(description="Why; it goes into the audit log.")
    is_false_alarm: bool = Field(default=False, description="Only for reject: there is no fault. Labels the order's incidents.")
    defer_until: str | None = Field(default=None, description="ISO 8601 time with offset; only for defer.")
    request_id: str = Field(
        default="", description="A repeated request with the same id changes nothing. Empty: each launch is its own request."
    )


@dg.op
def write_decision(context: dg.OpExecutionContext, config: DecisionConfig, ledger: LedgerResource) -> None:
    """Write the decision to the ledger and move the order; the decisions sensor then plans the site anew."""
    try:
        decision = Decision(
            order_id=config.order_id,
            decision=config.decision,
            operator=config.operator,
            reason=config.reason,
            decided_at=datetime.now(UTC),
            defer_until=parse_time(config.defer_until) if config.defer_until else None,
            request_id=config.request_id or context.run_id,
            is_false_alarm=config.is_false_alarm,
        )
        with ledger.begin() as connection:
            is_new = decide(connection, decision)
    except (ValueError, UnknownOrder, IllegalMove) as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    context.log.info("Decision written." if is_new else "This request had already been carried out; nothing changed.")


@dg.job(description="Approve, reject, defer or cancel a work order.", executor_def=dg.in_process_executor)
def submit_decision() -> None:
    write_decision()


class CompletionConfig(dg.Config):
    order_id: str = Field(description="The work order that was carried out.")
    technician: str = Field(description="Who did the work.")
    started_at: str = Field(description="ISO 8601 time with offset, such as 2026-11-20T08:00:00+01:00.")
    ended_at: str = Field(description="ISO 8601 time with offset.")
    finding: str = Field(description=f"What was found: {', '.join(FAILURE_MODE_NAMES)} or no_fault_found.")
    note: str = Field(default="", description="Anything worth knowing next time.")
    request_id: str = Field(default="", description="A repeated request with the same id changes nothing.")


@dg.op
def write_completion(context: dg.OpExecutionContext, config: CompletionConfig, ledger: LedgerResource) -> None:
    """Log the work, close the order and label its incidents."""
    try:
        completion = Completion(
            order_id=config.order_id,
            technician=config.technician,
            started_at=parse_time(config.started_at),
            ended_at=parse_time(config.ended_at),
            finding=config.finding,
            note=config.note,
            request_id=config.request_id or context.run_id,
        )
        with ledger.begin() as connection:
            is_new = complete(connection, completion)
    except (ValueError, UnknownOrder, IllegalMove) as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    context.log.info("Work logged, order closed." if is_new else "This request had already been carried out; nothing changed.")


@dg.job(description="Log finished work on an order and what was found.", executor_def=dg.in_process_executor)
def complete_work_order() -> None:
    write_completion()


class ReportConfig(dg.Config):
    start: str = Field(description="First day (UTC), YYYY-MM-DD.")
    end: str = Field(description="Last day (UTC), inclusive.")
    site: str | None = Field(default=None, description="One site; left out: all sites.")
    kinds: list[str] = Field(default=list(KINDS), description=f"Which of {', '.join(KINDS)}.")


@dg.op
def write_report(
    context: dg.OpExecutionContext,
    config: ReportConfig,
    ledger: LedgerResource,
    lake: LakeResource,
    plant: PlantResource,
    reports: ReportsResource,
) -> None:
    """Compute the reports from stored data and write them as HTML, JSON and text."""
    sites = plant.sites()
    try:
        start, end = _range_of(config, sites=[s.site for s in sites])
    except ValueError as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    for kind in config.kinds:
        with ledger.begin() as connection:
            paths = publish(kind, connection=connection, lake=lake, reports=reports, sites=sites, site=config.site, start=start, end=end)
        context.log.info("%s: %s", kind, paths["html"])


@dg.job(description="Compute reports for any range of days, as HTML, JSON and text.", executor_def=dg.in_process_executor)
def generate_report() -> None:
    write_report()


OPERATOR_JOBS = (submit_decision, complete_work_order, generate_report)


def parse_time(text: str) -> datetime:
    """Raises ValueError for text that is no ISO 8601 time with an offset."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is not an ISO 8601 time such as 2026-11-20T08:00:00+01:00.") from error
    if at.tzinfo is None:
        raise ValueError(f"{text!r} has no offset from UTC; write it as {text}+00:00 or with the site's offset.")
    return at


def _range_of(config: ReportConfig, *, sites: Sequence[str]) -> tuple[date, date]:
    """First and last day. Raises ValueError for these and for kinds or a site that there are not."""
    unknown = sorted(set(config.kinds) - set(KINDS))
    if unknown:
        raise ValueError(f"Unknown kinds of report: {', '.join(unknown)}; there are {', '.join(KINDS)}.")
    if config.site is not None and config.site not in sites:
        raise ValueError(f"The plant has no site {config.site!r}; it has {', '.join(sites)}.")
    try:
        start, end = date.fromisoformat(config.start), date.fromisoformat(config.end)
    except ValueError as error:
        raise ValueError(f"{config.start!r} and {config.end!r} must both be days such as 2026-11-20 ({error}).") from error
    if end < start:
        raise ValueError(f"The range ends ({end}) before it starts ({start}).")
    return start, end
