"""The planner's and the technicians' verbs: list orders, decide, start and complete work, make reports."""

from collections.abc import Collection
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from rich.table import Column, Table

from cli.environment import Environment
from cli.errors import CommandError
from ml.policy import STATES, IllegalMove
from resources.ledger.deeds import Decision, Start
from resources.ledger.ledger import LedgerResource
from resources.ledger.work import UnknownOrder, list_orders, order_row
from resources.ledger.work import start as start_work
from resources.postgres import database_url

if TYPE_CHECKING:
    from jobs.reported import Report


def ledger_of(environment: Environment) -> LedgerResource:
    return LedgerResource(url=database_url(environment.server_url, "smart_maintenance"))


def list_orders_table(environment: Environment, *, site: str | None, states: Collection[str]) -> Table:
    """Raises CommandError for an unknown site or state."""
    demand_site(environment, site)
    unknown = sorted(set(states) - set(STATES))
    if unknown:
        raise CommandError(f"There is no state {', '.join(unknown)}; the states are {', '.join(STATES)}.")
    with ledger_of(environment).begin() as connection:
        found = list_orders(connection, site=site, states=states)
    whole = (Column(name, no_wrap=True) for name in ("order", "state", "priority", "due (UTC)", "30 days"))
    table = Table(*whole, Column("what", no_wrap=True, ratio=1), box=None, padding=(0, 1), expand=True)
    for row in found.to_dict("records"):
        probability = row["probability_30d"]
        said = "unknown" if pd.isna(probability) else f"{probability:.0%}"
        table.add_row(
            row["order_id"],
            row["state"],
            row["priority"],
            f"{row['due_at']:%m-%d %H:%M}",
            said,
            row["title"],
        )
    return table


def submit(
    environment: Environment,
    order_id: str,
    decision: str,
    *,
    operator: str,
    reason: str,
    until: str | None,
    not_before: str | None,
    not_after: str | None,
    **said: Any,
) -> str:
    """Write the decision, plan the site anew; returns what became of the order. Raises CommandError."""
    from jobs.reported import carry_out, parse_time

    decided_at = datetime.now(UTC)
    ledger = ledger_of(environment)
    try:
        made = Decision(
            order_id=order_id,
            decision=decision,
            operator=operator,
            reason=reason,
            decided_at=decided_at,
            defer_until=parse_time(until) if until else None,
            not_before=parse_time(not_before) if not_before else None,
            not_after=parse_time(not_after) if not_after else None,
            **said,
        )
        with ledger.begin() as connection:
            is_new = carry_out(connection, made, sites=environment.sites)
    except (ValueError, UnknownOrder, IllegalMove) as error:
        raise CommandError(str(error)) from error
    if not is_new:
        return f"The request {made.request_id} had already been carried out; nothing changed."
    return _planned_anew(environment, order_id, at=decided_at)


def begin_work(environment: Environment, order_id: str, *, technician: str, at: str | None) -> str:
    """Raises CommandError."""
    from jobs.reported import parse_time

    try:
        with ledger_of(environment).begin() as connection:
            is_new = start_work(connection, Start(order_id, technician, parse_time(at) if at else datetime.now(UTC)))
    except (ValueError, UnknownOrder, IllegalMove) as error:
        raise CommandError(str(error)) from error
    return f"{order_id} is in progress." if is_new else f"{technician} had already started; nothing changed."


def finish_work(environment: Environment, report: "Report") -> str:
    """Log the work, plan the site anew; returns what became of the order. Raises CommandError."""
    from jobs.reported import log_work

    try:
        with ledger_of(environment).begin() as connection:
            is_new = log_work(connection, report, sites=environment.sites)
    except (ValueError, UnknownOrder, IllegalMove) as error:
        raise CommandError(str(error)) from error
    if not is_new:
        return f"The request {report.request_id} had already been carried out; nothing changed."
    return _planned_anew(environment, report.order_id, at=datetime.now(UTC))


def _planned_anew(environment: Environment, order_id: str, *, at: datetime) -> str:
    from assets.partitions import SiteDay
    from cli.launch import launcher

    ledger = ledger_of(environment)
    with ledger.begin() as connection:
        site = order_row(connection, order_id)["site"]
    with launcher(environment) as started:
        started.run("plan_site_day", partition_key=SiteDay(at.date(), site).key)
    with ledger.begin() as connection:
        return f"{order_id} is {order_row(connection, order_id)['state'].replace('_', ' ')}."


def make_reports(environment: Environment, *, start: date, end: date, site: str | None) -> list[Path]:
    """Raises CommandError for an unknown site or a range that ends before it starts."""
    from assets.reporting.publish import publish
    from assets.reporting.reports import KINDS
    from resources.lake import LakeResource
    from resources.reports import ReportsResource

    demand_site(environment, site)
    if end < start:
        raise CommandError(f"The range ends ({end}) before it starts ({start}).")
    lake = LakeResource(root=str(environment.home.folder("lake")))
    reports = ReportsResource(root=str(environment.home.folder("reports")))
    with ledger_of(environment).begin() as connection:
        return [
            publish(kind, connection=connection, lake=lake, reports=reports, sites=environment.sites, site=site, start=start, end=end)[
                "html"
            ]
            for kind in KINDS
        ]


def demand_site(environment: Environment, site: str | None) -> None:
    """Raises CommandError for a site that the plant does not have."""
    known = [s.site for s in environment.sites]
    if site is not None and site not in known:
        raise CommandError(f"The plant has no site {site!r}; it has {', '.join(known)}.")
