"""Jobs that people launch: submit a decision, start and complete a work order, generate a report."""

from collections.abc import Sequence
from datetime import UTC, date, datetime

import dagster as dg
from pydantic import Field

from assets.reporting.publish import publish
from assets.reporting.reports import KINDS
from jobs.reported import Report, carry_out, log_work, parse_time
from ml.findings import FAILURE_MODES
from ml.policy import IllegalMove
from resources.lake import LakeResource
from resources.ledger.deeds import Decision, Start
from resources.ledger.ledger import LedgerResource
from resources.ledger.work import UnknownOrder, start
from resources.plant import PlantResource
from resources.reports import ReportsResource


class DecisionConfig(dg.Config):
    order_id: str = Field(description="The work order, such as WO-P-101-VIB-20261119.")
    decision: str = Field(description="approve, reject, defer, cancel or modify.")
    operator: str = Field(description="Who decides; it goes into the audit log.")
    reason: str = Field(description="Why; it goes into the audit log.")
    is_false_alarm: bool = Field(default=False, description="Only for reject: there is no fault. Labels the order's incidents.")
    defer_until: str | None = Field(default=None, description="ISO 8601 time with offset; only for defer.")
    confidence: float | None = Field(default=None, description="How sure the operator is, 0 to 1.")
    priority: str | None = Field(default=None, description="Only for modify: urgent, high, medium or low.")
    not_before: str | None = Field(default=None, description="Only for modify: ISO 8601 time with offset before which no work begins.")
    not_after: str | None = Field(default=None, description="Only for modify: ISO 8601 time with offset by which it is due.")
    skills: list[str] | None = Field(default=None, description="Only for modify: what who does the work must know.")
    request_id: str = Field(
        default="", description="A repeated request with the same id changes nothing. Empty: each launch is its own request."
    )


@dg.op
def write_decision(context: dg.OpExecutionContext, config: DecisionConfig, ledger: LedgerResource, plant: PlantResource) -> None:
    """Write the decision to the ledger and move or change the order; the decisions sensor then plans the site anew."""
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
            confidence=config.confidence,
            priority=config.priority,
            not_before=parse_time(config.not_before) if config.not_before else None,
            not_after=parse_time(config.not_after) if config.not_after else None,
            skills=config.skills,
        )
        with ledger.begin() as connection:
            is_new = carry_out(connection, decision, sites=plant.sites())
    except (ValueError, UnknownOrder, IllegalMove) as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    context.log.info("Decision written." if is_new else "This request had already been carried out; nothing changed.")


@dg.job(description="Approve, reject, defer, cancel or modify a work order.", executor_def=dg.in_process_executor)
def submit_decision() -> None:
    write_decision()


class StartConfig(dg.Config):
    order_id: str = Field(description="The work order.")
    technician: str = Field(description="Who does the work.")
    started_at: str = Field(default="", description="ISO 8601 time with offset; empty: now.")


@dg.op
def write_start(context: dg.OpExecutionContext, config: StartConfig, ledger: LedgerResource) -> None:
    """Put the order in progress."""
    try:
        begun = parse_time(config.started_at) if config.started_at else datetime.now(UTC)
        with ledger.begin() as connection:
            is_new = start(connection, Start(config.order_id, config.technician, begun))
    except (ValueError, UnknownOrder, IllegalMove) as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    context.log.info("Work started." if is_new else "This technician had already started; nothing changed.")


@dg.job(description="Say that somebody has begun to work on an order.", executor_def=dg.in_process_executor)
def start_work_order() -> None:
    write_start()


class CompletionConfig(dg.Config):
    order_id: str = Field(description="The work order that was carried out.")
    technician: str = Field(description="Who did the work.")
    started_at: str = Field(default="", description="ISO 8601 time, such as 2026-11-20T08:00:00+01:00; empty: as said when it was started.")
    ended_at: str = Field(description="ISO 8601 time with offset.")
    finding: str = Field(
        description=f"The failure mode that was found: {', '.join(FAILURE_MODES)}, or as the plant file lists it; or no_fault_found."
    )
    failure_mechanism: str = Field(default="", description="ISO 14224 code, such as 2.4 for wear, or as the plant file lists it.")
    failure_cause: str = Field(
        default="", description="ISO 14224 code, such as 3.4 for expected wear and tear, or as the plant file lists it."
    )
    parts_used: list[str] = Field(default=[], description="Ids of the parts used, one for each piece.")
    hours_worked: float | None = Field(default=None, description="Hours with hands on the machine, without waiting and ways.")
    note: str = Field(default="", description="Anything worth knowing next time.")
    request_id: str = Field(default="", description="A repeated request with the same id changes nothing.")


@dg.op
def write_completion(context: dg.OpExecutionContext, config: CompletionConfig, ledger: LedgerResource, plant: PlantResource) -> None:
    """Log the work, close the order and label its incidents."""
    try:
        said = Report(**{**config.model_dump(), "request_id": config.request_id or context.run_id})
        with ledger.begin() as connection:
            is_new = log_work(connection, said, sites=plant.sites())
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


OPERATOR_JOBS = (submit_decision, start_work_order, complete_work_order, generate_report)


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
