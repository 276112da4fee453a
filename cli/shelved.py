"""What the shelving verbs do: find what is meant, write it down, say what it means."""

import re
from collections.abc import Hashable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text
from sqlalchemy import Connection

from cli.environment import Environment
from cli.errors import CommandError
from cli.inspect import find_incident
from cli.planner import demand_site, ledger_of
from ml.plant import Site
from ml.shelving import ShelvingRefused
from resources.ledger import shelving as shelf
from resources.ledger.shelving import Target, incident_target, list_shelvings

_UNITS = {"min": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}


def put_on_the_shelf(environment: Environment, words: str, *, operator: str, why: str, until: str | None, length: str | None) -> str:
    """Raises CommandError."""
    now = _now()
    end = _end(now, until=until, length=length)
    with ledger_of(environment).begin() as connection:
        target = _meant(connection, environment, words)
        policy = _site_of(environment, target).policy.alarms
        try:
            shelving_id = shelf.shelve(connection, target, start_at=now, until=end, who=operator.strip(), why=why.strip(), policy=policy)
        except ShelvingRefused as error:
            raise CommandError(f"{target.name} is not shelved: {error}.") from error
    what = (
        "it is found and judged as ever, but raises no alarm and proposes no work"
        if target.incident_id
        else "its incidents are found and judged as ever, but raise no alarm and propose no work"
    )
    over = f"{end.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    return f"{target.name} is shelved until {over} (shelving {shelving_id}): {what}. An alarm that was raised before stays raised."


def take_off_the_shelf(environment: Environment, words: str, *, operator: str, why: str) -> str:
    """Raises CommandError."""
    with ledger_of(environment).begin() as connection:
        target = _meant(connection, environment, words)
        try:
            shelving_id = shelf.unshelve(connection, target, at=_now(), who=operator.strip(), why=why.strip())
        except ShelvingRefused as error:
            raise CommandError(f"Nothing is ended: {error}.") from error
    return f"{target.name} is off the shelf (shelving {shelving_id}). What still stands is annunciated with the next readings."


def listing(environment: Environment, *, site: str | None, everything: bool) -> RenderableType:
    """Those in force, or all there ever were. Raises CommandError for a site that the plant does not have."""
    demand_site(environment, site)
    now = _now()
    with ledger_of(environment).begin() as connection:
        found = list_shelvings(connection, site=site, at=None if everything else now)
    if found.empty:
        return "Nothing was ever shelved." if everything else "Nothing is shelved."
    table = Table(box=None, padding=(0, 1))
    for name in ("id", "site", "what", "from (UTC)", "until (UTC)"):
        table.add_column(name, no_wrap=True, header_style="dim")
    for name in ("who", "why", "state"):
        table.add_column(name, header_style="dim")
    for row in found.to_dict("records"):
        what = row["incident_id"] or row["machine_id"]
        times = (f"{row[name]:%Y-%m-%d %H:%M}" for name in ("start_at", "until"))
        cells = (str(row["shelving_id"]), row["site"], what, *times, row["who"], row["why"], _state(row, now=now))
        table.add_row(*(Text(cell) for cell in cells))
    return table


def _state(row: Mapping[Hashable, Any], *, now: datetime) -> str:
    if pd.notna(row["ended_at"]):
        return f"ended {row['ended_at']:%Y-%m-%d %H:%M} by {row['ended_by']}: {row['ended_why']}"
    return "in force" if row["end_at"] > pd.Timestamp(now) else "its time is over"


def _meant(connection: Connection, environment: Environment, words: str) -> Target:
    """Raises CommandError unless the words name a machine of the plant or one incident."""
    for site in environment.sites:
        if words in {machine.machine_id for machine in site.machines}:
            return Target(site.site, words)
    if "@" not in words:
        raise CommandError(f"There is no machine {words!r} in the plant; an incident is machine and onset: {words}@2026-11-20T08:10Z.")
    return incident_target(connection, find_incident(connection, words))


def _site_of(environment: Environment, target: Target) -> Site:
    found = next((s for s in environment.sites if s.site == target.site), None)
    if found is None:
        raise CommandError(f"The plant has no site {target.site!r} any more.")
    return found


def _end(now: datetime, *, until: str | None, length: str | None) -> datetime:
    from jobs.reported import parse_time

    if (until is None) == (length is None):
        raise CommandError("Say when it is over, with either --until or --for: nothing is shelved without an end.")
    if until is not None:
        try:
            return parse_time(until)
        except ValueError as error:
            raise CommandError(str(error)) from error
    told = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(min|h|d)", length or "")
    if told is None:
        raise CommandError(f"{length!r} is no length of time; write it as 90min, 8h or 3d.")
    return now + float(told[1]) * _UNITS[told[2]]


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
