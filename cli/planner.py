"""The planner's verbs: list orders, decide, make reports."""

from collections.abc import Collection
from datetime import UTC, date, datetime
from pathlib import Path

import pandas as pd
from rich.table import Column, Table

from cli.environment import Environment
from cli.errors import CommandError
from ml.policy import STATES, IllegalMove
from resources.ledger.ledger import LedgerResource
from resources.ledger.work import Decision, UnknownOrder, list_orders, order_row
from resources.ledger.work import decide as carry_out
from resources.postgres import database_url


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
    request_id: str,
    is_false_alarm: bool,
) -> str:
    """Write the decision, plan the site anew; returns what became of the order. Raises CommandError."""
    from assets.partitions import SiteDay
    from cli.launch import launcher
    from jobs.operator import parse_time

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
            request_id=request_id,
            is_false_alarm=is_false_alarm,
        )
        with ledger.begin() as connection:
            is_new = carry_out(connection, made)
            site = order_row(connection, order_id)["site"]
    except (ValueError, UnknownOrder, IllegalMove) as error:
        raise CommandError(str(error)) from error
    if not is_new:
        return f"The request {request_id} had already been carried out; nothing changed."
    with launcher(environment) as started:
        started.run("plan_site_day", partition_key=SiteDay(decided_at.date(), site).key)
    with ledger.begin() as connection:
        return f"{order_id} is {order_row(connection, order_id)['state']}."


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
