"""`maintenance notifications`: what people were told and what waits, a test of a receiver, a new start for what failed."""

from typing import Annotated, Optional

import typer
from rich.console import Console

from cli.environment import hush, prepared
from cli.errors import CommandError
from cli.options import HomeOption, PlantOption

notifications = typer.Typer(help="What people are told: list it, test the receivers, send again what failed.", no_args_is_help=True)
console = Console()


@notifications.command("list")
def list_messages(
    site: Annotated[Optional[str], typer.Option(help="Only this site.")] = None,
    state: Annotated[
        Optional[list[str]], typer.Option(help="Only pending, sending, sent, failed or withdrawn; may be given several times.")
    ] = None,
    receiver: Annotated[Optional[str], typer.Option(help="Only this receiver.")] = None,
    *,
    whole: Annotated[bool, typer.Option("--whole", help="The messages' whole texts.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="How many.")] = 50,
    home: HomeOption = None,
    plant: PlantOption = None,
) -> None:
    """List notifications, the newest first: to whom, about what, in which state, and why the last attempt failed."""
    from cli.notified import listing

    with prepared(home=home, plant=plant) as environment:
        for part in listing(environment, site=site, states=state or [], receiver_id=receiver, limit=limit, is_whole=whole):
            console.print(part, highlight=False, soft_wrap=whole)


@notifications.command("test")
def send_test(
    receivers: Annotated[
        Optional[list[str]], typer.Argument(metavar="RECEIVER...", help="Receivers, as the plant files name them.")
    ] = None,
    *,
    everybody: Annotated[bool, typer.Option("--all", help="All receivers.")] = False,
    home: HomeOption = None,
    plant: PlantOption = None,
) -> None:
    """Send a test message to receivers at once, and say what came of it."""
    from cli.notified import try_receivers

    if bool(receivers) == everybody:
        raise CommandError("Name the receivers to be tested, or say --all.")
    with prepared(home=home, plant=plant) as environment:
        for sentence in try_receivers(environment, receivers or []):
            console.print(sentence, highlight=False, soft_wrap=True)


@notifications.command()
def retry(
    ids: Annotated[Optional[list[int]], typer.Argument(metavar="ID...", help="Failed notifications, by the ids that list shows.")] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="All that failed.")] = False,
    home: HomeOption = None,
    plant: PlantOption = None,
) -> None:
    """Start failed notifications anew and send what is due now."""
    from cli.notified import start_anew

    if bool(ids) == everything:
        raise CommandError("Name the notifications to be sent again, or say --all.")
    with prepared(home=home, plant=plant) as environment:
        hush()
        console.print(start_anew(environment, ids), highlight=False, soft_wrap=True)
