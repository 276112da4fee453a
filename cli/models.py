"""`maintenance models`: the versions of a site's detector, who is champion and who was, and changes of it, each with who and why."""

from typing import Annotated, Literal, Optional

import typer
from rich.console import Console

from cli.environment import hush, prepared
from cli.options import HomeOption, PlantOption

models = typer.Typer(help="Look at the detectors of a site, promote one or go back to the one before.", no_args_is_help=True)
console = Console()

SiteOption = Annotated[Optional[str], typer.Option(help="The site; may be left out where the plant has one.")]
EverySiteOption = Annotated[Optional[str], typer.Option(help="Only this site.")]
FormatOption = Annotated[Literal["text", "json"], typer.Option("--format", help="json for other programs.")]
OperatorOption = Annotated[str, typer.Option(help="Who decides.")]
WhyOption = Annotated[str, typer.Option(help="Why.")]
MAX_VERSION = 2**31 - 1  # of a column of the ledger
VersionArgument = Annotated[int, typer.Argument(min=1, max=MAX_VERSION, help="The version, a number as in `maintenance models list`.")]


@models.command("list")
def list_models(site: EverySiteOption = None, form: FormatOption = "text", home: HomeOption = None, plant: PlantOption = None) -> None:
    """List the versions: when and on which days trained, what MLflow calls them, false alarms, faults found."""
    with prepared(home=home, plant=plant) as environment:
        hush()
        from cli.detectors import as_json, listing

        for part in [as_json(environment, site=site)] if form == "json" else listing(environment, site=site):
            console.print(part, highlight=False, soft_wrap=isinstance(part, str))


@models.command()
def compare(
    version: VersionArgument,
    other: Annotated[int, typer.Argument(min=1, max=MAX_VERSION, help="The version to compare it with.")],
    site: SiteOption = None,
    home: HomeOption = None,
    plant: PlantOption = None,
) -> None:
    """Score the latest days anew with two versions, the same faults replayed into both: a table. It changes nothing."""
    with prepared(home=home, plant=plant) as environment:
        hush()
        from cli.detectors import comparison

        for part in comparison(environment, version, other, site=site):
            console.print(part, highlight=False, soft_wrap=isinstance(part, str))


@models.command()
def promote(
    version: VersionArgument,
    site: SiteOption = None,
    *,
    operator: OperatorOption,
    why: WhyOption,
    home: HomeOption = None,
    plant: PlantOption = None,
) -> None:
    """Make a version champion, whatever the gate said of it: the next run scores with it."""
    with prepared(home=home, plant=plant) as environment:
        hush()
        from cli.detectors import promote_version

        console.print(promote_version(environment, version, site=site, operator=operator, why=why), highlight=False, soft_wrap=True)


@models.command()
def rollback(
    site: SiteOption = None, *, operator: OperatorOption, why: WhyOption, home: HomeOption = None, plant: PlantOption = None
) -> None:
    """Go back to the champion before the present one: the next run scores with it. Repeated, it goes further back."""
    with prepared(home=home, plant=plant) as environment:
        hush()
        from cli.detectors import roll_back

        console.print(roll_back(environment, site=site, operator=operator, why=why), highlight=False, soft_wrap=True)


@models.command()
def champion(
    site: SiteOption = None,
    at: Annotated[Optional[str], typer.Option(help="ISO 8601 time with offset; left out: now.")] = None,
    home: HomeOption = None,
    plant: PlantOption = None,
) -> None:
    """Say which version was champion at a time, since when, who made it so and why."""
    with prepared(home=home, plant=plant) as environment:
        hush()
        from cli.detectors import champion_then

        console.print(champion_then(environment, site=site, at=at), highlight=False, soft_wrap=True)


@models.command()
def verify(site: EverySiteOption = None, home: HomeOption = None, plant: PlantOption = None) -> None:
    """Check that the history of the champions is whole, and the bytes of every version in MLflow; exit code 2 where they are not."""
    with prepared(home=home, plant=plant) as environment:
        hush()
        from cli.detectors import verified

        for sentence in verified(environment, site=site):
            console.print(sentence, highlight=False, soft_wrap=True)
