"""`maintenance shelve`, `unshelve`, `shelved`: alarms of a machine or incident kept quiet for a limited time, as ISA-18.2 has it."""

from typing import Annotated, Optional

import typer
from rich.console import Console

from cli.environment import prepared
from cli.options import HomeOption, PlantOption

console = Console()

TargetArgument = Annotated[str, typer.Argument(help="A machine, or an incident; of an incident's name, how only it begins will do.")]


def shelve(
    target: TargetArgument,
    operator: Annotated[str, typer.Option(help="Who shelves it; it goes into the audit log.")],
    why: Annotated[str, typer.Option(help="Why; it goes into the audit log.")],
    until: Annotated[Optional[str], typer.Option(help="When it comes back by itself: an ISO 8601 time with offset.")] = None,
    length: Annotated[Optional[str], typer.Option("--for", help="Or for how long from now: 90min, 8h, 3d.")] = None,
    home: HomeOption = None,
    plant: PlantOption = None,
) -> None:
    """Keep the alarms of a machine or an incident quiet for a limited time.

    Its incidents are found, stored and judged as ever, but raise no alarm and propose no work. No longer than policy.alarms.max_shelved_h.
    """
    from cli.shelved import put_on_the_shelf

    with prepared(home=home, plant=plant) as environment:
        said = put_on_the_shelf(environment, target, operator=operator, why=why, until=until, length=length)
        console.print(said, soft_wrap=True, highlight=False, markup=False)


def unshelve(
    target: TargetArgument,
    operator: Annotated[str, typer.Option(help="Who ends it; it goes into the audit log.")],
    why: Annotated[str, typer.Option(help="Why; it goes into the audit log.")],
    home: HomeOption = None,
    plant: PlantOption = None,
) -> None:
    """End a shelving before its time; what still stands is annunciated with the next readings."""
    from cli.shelved import take_off_the_shelf

    with prepared(home=home, plant=plant) as environment:
        said = take_off_the_shelf(environment, target, operator=operator, why=why)
        console.print(said, soft_wrap=True, highlight=False, markup=False)


def shelved(
    site: Annotated[Optional[str], typer.Option(help="Only this site.")] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Also those that are over: the whole audit log.")] = False,
    home: HomeOption = None,
    plant: PlantOption = None,
) -> None:
    """List what is shelved now, until when, by whom and why."""
    from cli.shelved import listing

    with prepared(home=home, plant=plant) as environment:
        console.print(listing(environment, site=site, everything=everything), highlight=False)
