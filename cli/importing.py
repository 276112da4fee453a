"""What the verbs of `maintenance history` do: read a file and store its events, list them, learn from them."""

import hashlib
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import dagster as dg
import pandas as pd
from rich.table import Column, Table

from cli.environment import Environment
from cli.errors import CommandError
from cli.planner import demand_site, ledger_of
from ml.event_rows import EventColumns, UnreadableEvents, read_events
from resources.ledger.intake import days_with_readings
from resources.ledger.machine_events import events_listed, import_events


def import_history(environment: Environment, file: Path, *, site: str, kind: str, machine: str, at: str, code: str) -> str:
    """Raises CommandError, and then nothing was imported."""
    demand_site(environment, site)
    [of_site] = [s for s in environment.sites if s.site == site]
    try:
        content = file.read_bytes()
    except OSError as error:
        raise CommandError(f"{file} cannot be read ({error.strerror}).") from error
    try:
        rows = read_events(content, site=of_site, columns=EventColumns(machine, at, code), now=pd.Timestamp.now("UTC"))
    except UnreadableEvents as error:
        raise CommandError(f"{file}, {error}. Nothing was imported.") from error
    import_id = hashlib.sha256(content).hexdigest()[:16]
    with ledger_of(environment).begin() as connection:
        n_new = import_events(connection, rows, site=site, kind=kind, source_name=file.name, import_id=import_id)
    known = len(rows) - n_new
    days = f"{rows['at'].min():%Y-%m-%d} to {rows['at'].max():%Y-%m-%d}"
    return (
        f"{n_new} {kind} events of {rows['machine_id'].nunique()} machines of {site} imported, {days}"
        f"{f'; {known} were known already' if known else ''}."
    )


def listing(environment: Environment, *, site: str | None, kind: str | None, machine_id: str | None, limit: int) -> Iterator[Table | str]:
    """Raises CommandError for an unknown site."""
    demand_site(environment, site)
    with ledger_of(environment).begin() as connection:
        found, n = events_listed(connection, site=site, kind=kind, machine_id=machine_id, limit=limit)
    if found.empty:
        yield "No event was imported."
        return
    names = ("site", "machine", "at (UTC)", "kind", "code", "file")
    table = Table(*(Column(name, no_wrap=name != "file") for name in names), box=None, padding=(0, 1))
    for row in found.to_dict("records"):
        table.add_row(row["site"], row["machine_id"], f"{row['at']:%Y-%m-%d %H:%M}", row["kind"], row["code"], row["source_name"])
    yield table
    if n > len(found):
        yield f"{n - len(found)} earlier ones are not shown; --limit shows more."


def train_failure_model(environment: Environment, *, site: str, until: date | None) -> str:
    """Train, and foresee the newest day anew with what is champion then. Raises CommandError."""
    from assets.partitions import SITE_TAG, SiteDay
    from cli.launch import launcher

    demand_site(environment, site)
    with ledger_of(environment).begin() as connection:
        days = days_with_readings(connection, site=site)
    if not days:
        raise CommandError(f"{site} has no readings yet: a failure model learns from telemetry before failures.")
    config = dg.RunConfig(ops={"failure_model": {"config": {"until": until.isoformat() if until else None}}})
    with launcher(environment) as started:
        done = started.run("train_failure_model", partition_key=site, tags={SITE_TAG: site}, config=config)
        [made] = done.asset_materializations_for_node("failure_model")
        said = {name: value.value for name, value in made.metadata.items()}
        if "version" not in said:
            return f"{site}: {said['state']}"
        newest = SiteDay(days[-1], site)
        assets = [dg.AssetKey("learned_predictions"), dg.AssetKey("maintenance_reports")]
        started.run("process_site_day", partition_key=newest.key, tags={SITE_TAG: site}, assets=assets)
    return (
        f"Version {said['version']} of the failure model of {site}: {said['why']}.\n{said['judgement']}\n"
        f"What it foresees on {newest.day} stands in that day's maintenance summary."
    )
