"""`maintenance quarantine`: what rows were refused and why, and their release after the plant file was corrected."""

from datetime import datetime
from typing import Annotated, Literal, Optional

import typer
from rich.console import Console

from cli.environment import hush, prepared
from cli.errors import CommandError
from cli.options import HomeOption, PlantOption

quarantine = typer.Typer(help="Look at refused rows and files, and release rows after the plant file was corrected.", no_args_is_help=True)
console = Console()

SiteOption = Annotated[Optional[str], typer.Option(help="Only this site.")]
ReasonOption = Annotated[Optional[list[str]], typer.Option(help="Only this reason; may be given several times.")]
SensorOption = Annotated[Optional[list[str]], typer.Option(help="Only this sensor; may be given several times.")]
_DAYS = ["%Y-%m-%d"]


@quarantine.command("list")
def list_quarantine(
    site: SiteOption = None,
    reason: ReasonOption = None,
    sensor: SensorOption = None,
    day: Annotated[Optional[datetime], typer.Option(formats=_DAYS, help="Only rows of this day (UTC).")] = None,
    start: Annotated[Optional[datetime], typer.Option("--from", formats=_DAYS, help="Only rows of this day and later ones.")] = None,
    end: Annotated[Optional[datetime], typer.Option("--to", formats=_DAYS, help="Only rows of this day and earlier ones.")] = None,
    drop: Annotated[Optional[str], typer.Option(help="Only this drop; the beginning of its id will do.")] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Also rows that were released.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="Lines.")] = 200,
    home: HomeOption = None,
    plant: PlantOption = None,
) -> None:
    """List what lies in quarantine by drop, reason, sensor and day, the latest drop first, and the files refused whole."""
    from cli.quarantined import asked, listing

    with prepared(home=home, plant=plant) as environment:
        which = asked(environment, site=site, reasons=reason, sensors=sensor, start=day or start, end=day or end, drop=drop)
        for part in listing(environment, which, with_released=everything, limit=limit):
            console.print(part, highlight=False)


@quarantine.command()
def show(
    drop_id: Annotated[str, typer.Argument(help="The drop; the beginning of its id will do.")],
    reason: ReasonOption = None,
    sensor: SensorOption = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Also rows that were released.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="Rows shown of each reason; csv is always whole.")] = 20,
    form: Annotated[Literal["table", "csv"], typer.Option("--format", help="csv for other programs.")] = "table",
    home: HomeOption = None,
    plant: PlantOption = None,
) -> None:
    """Show a drop's refused rows as they stood in the file, and for each reason what it means and what to do about it."""
    from cli.quarantined import asked, rows_as_csv, rows_by_reason

    with prepared(home=home, plant=plant) as environment:
        which = asked(environment, reasons=reason, sensors=sensor, drop=drop_id)
        if form == "csv":
            rows_as_csv(environment, which, with_released=everything)
        else:
            for part in rows_by_reason(environment, which, with_released=everything, limit=limit):
                console.print(part, highlight=False)


@quarantine.command()
def release(
    drop_ids: Annotated[
        Optional[list[str]], typer.Argument(metavar="DROP_ID...", help="Drops; the beginnings of their ids will do.")
    ] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Whatever lies in quarantine and fits the other options.")] = False,
    site: SiteOption = None,
    reason: ReasonOption = None,
    sensor: SensorOption = None,
    operator: Annotated[str, typer.Option(help="Who releases.")],
    why: Annotated[str, typer.Option(help="What was corrected.")],
    home: HomeOption = None,
    plant: PlantOption = None,
) -> None:
    """Judge refused rows anew, by the plant file as it is now: they flow as a new drop, read from the archived original.

    What is refused again lies in quarantine again. Repeating a release changes nothing.
    """
    from cli.quarantined import asked
    from cli.releasing import release_rows

    if bool(drop_ids) == everything:
        raise CommandError("Name the drops whose rows are to be released, or say --all.")
    with prepared(home=home, plant=plant) as environment:
        hush()
        named: list[str | None] = list(drop_ids) if drop_ids else [None]
        which = [asked(environment, site=site, reasons=reason, sensors=sensor, drop=drop) for drop in named]
        for sentence in release_rows(environment, which, operator=operator, why=why, console=console):
            console.print(sentence, highlight=False, soft_wrap=True)
