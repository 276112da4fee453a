"""`maintenance history`: what is known of a site's failures, replacements and errors from elsewhere, and the model learned from it."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal, Optional

import typer
from rich.console import Console

from cli.environment import hush, prepared
from cli.options import HomeOption, PlantOption

history = typer.Typer(
    help="Import the history of failures, replacements and errors of machines, and learn a failure model from it.", no_args_is_help=True
)
console = Console()

Kind = Literal["failure", "replacement", "error"]


@history.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="CSV with a line of column names.")],
    site: Annotated[str, typer.Option(help="The site whose machines it is about.")],
    kind: Annotated[Kind, typer.Option(help="What each row is.")],
    machine_column: Annotated[str, typer.Option(help="Column of the machine: its machine_id or source_name.")] = "machine_id",
    at_column: Annotated[str, typer.Option(help="Column of the time, ISO 8601; without an offset in the site's zone.")] = "at",
    code_column: Annotated[str, typer.Option(help="Column of the failure mode, the replaced component, or the error's code.")] = "code",
    home: HomeOption = None,
    plant: PlantOption = None,
) -> None:
    """Import a CSV of past events, whole or not at all. The same events again change nothing."""
    from cli.importing import import_history

    with prepared(home=home, plant=plant) as environment:
        said = import_history(environment, file, site=site, kind=kind, machine=machine_column, at=at_column, code=code_column)
        console.print(said, soft_wrap=True, highlight=False, markup=False)


@history.command("list")
def list_events(
    site: Annotated[Optional[str], typer.Option(help="Only this site.")] = None,
    kind: Annotated[Optional[Kind], typer.Option(help="Only these.")] = None,
    machine: Annotated[Optional[str], typer.Option(help="Only this machine.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Rows.")] = 40,
    home: HomeOption = None,
    plant: PlantOption = None,
) -> None:
    """List imported events, the latest first."""
    from cli.importing import listing

    with prepared(home=home, plant=plant) as environment:
        for part in listing(environment, site=site, kind=kind, machine_id=machine, limit=limit):
            console.print(part, highlight=False)


@history.command()
def train(
    site: Annotated[str, typer.Option(help="The site.")],
    until: Annotated[
        Optional[datetime], typer.Option(formats=["%Y-%m-%d"], help="Last day (UTC) to learn from; left out: the newest with telemetry.")
    ] = None,
    home: HomeOption = None,
    plant: PlantOption = None,
) -> None:
    """Learn the site's failure model now, and say for its newest day how likely each machine is to fail."""
    with prepared(home=home, plant=plant) as environment:
        hush()
        from cli.importing import train_failure_model

        console.print(
            train_failure_model(environment, site=site, until=until.date() if until else None),
            soft_wrap=True, highlight=False, markup=False,
        )  # fmt: skip
