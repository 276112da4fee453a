"""What `maintenance notifications` does."""

import uuid
from collections.abc import Collection, Iterator
from datetime import UTC, datetime

import pandas as pd
from rich.console import RenderableType
from rich.markup import escape
from rich.table import Column, Table

from cli.environment import Environment
from cli.errors import CommandError
from cli.planner import demand_site, ledger_of
from ml.notifications import trial
from ml.plant import Site
from ml.receivers import Receiver
from resources.ledger.outbox import Message, list_notifications, send_again
from resources.ledger.tables import NOTIFICATION_STATES
from resources.notifier import NotifierResource


def listing(
    environment: Environment, *, site: str | None, states: Collection[str], receiver_id: str | None, limit: int, is_whole: bool
) -> Iterator[RenderableType]:
    """Raises CommandError for an unknown site or state."""
    demand_site(environment, site)
    if unknown := sorted(set(states) - set(NOTIFICATION_STATES)):
        raise CommandError(f"There is no state {', '.join(unknown)}; the states are {', '.join(NOTIFICATION_STATES)}.")
    with ledger_of(environment).begin() as connection:
        found = list_notifications(connection, site=site, states=states, receiver_id=receiver_id, limit=limit)
    if found.empty:
        yield "No notifications." if _receivers(environment) else "No notifications: no plant file names a receiver."
        return
    rows = found.to_dict("records")
    if is_whole:
        for row in rows:
            failed = f"\n[yellow]{escape(_said(row['last_error']))}[/yellow]" if _said(row["last_error"]) else ""
            head = f"{row['notification_id']} to {row['receiver_id']}, {row['state']}, {row['created_at']:%Y-%m-%d %H:%M} UTC"
            yield f"[bold]{escape(head)}[/bold]\n{escape(row['subject'])}\n\n{escape(row['body'])}{failed}\n"
        return
    narrow = (Column(name, no_wrap=True) for name in ("id", "since (UTC)", "receiver", "state", "attempts"))
    table = Table(*narrow, Column("what", ratio=2), Column("why not", ratio=1), box=None, padding=(0, 1), expand=True)
    for row in rows:
        table.add_row(
            str(row["notification_id"]),
            f"{row['created_at']:%m-%d %H:%M}",
            escape(row["receiver_id"]),
            row["state"],
            str(row["attempts"]),
            escape(row["subject"]),
            escape(_said(row["last_error"])),
        )
    yield table


def try_receivers(environment: Environment, names: Collection[str]) -> list[str]:
    """A sentence for each receiver; no name means all. Raises CommandError for unknown ones, and where one is not reached."""
    known = {receiver.receiver_id: (site, receiver) for site, receiver in _receivers(environment)}
    if not known:
        raise CommandError("No plant file names a receiver.")
    if unknown := sorted(set(names) - set(known)):
        raise CommandError(f"No plant file names the receiver {unknown[0]!r}; there are {', '.join(known)}.")
    notifier = NotifierResource()
    said: list[str] = []
    failed: list[str] = []
    for name in names or known:
        site, receiver = known[name]
        subject, body = trial(receiver, site=site)
        error = notifier.send(Message(str(uuid.uuid4()), (), 1, "info", subject, body), receiver)
        (said if error is None else failed).append(f"{name}: {'accepted' if error is None else error}")
    if failed:
        raise CommandError("; ".join([*failed, *said]) + ".")
    return [f"{sentence}." for sentence in said]


def start_anew(environment: Environment, ids: Collection[int] | None) -> str:
    """Raises CommandError where a run fails."""
    from cli.launch import launcher
    from jobs.notifications import SEND_JOB

    with ledger_of(environment).begin() as connection:
        n = send_again(connection, notification_ids=ids, now=datetime.now(UTC))
    with launcher(environment) as started:
        started.run(SEND_JOB)
    with ledger_of(environment).begin() as connection:
        left = list_notifications(connection, site=None, states=("pending", "failed"), receiver_id=None, limit=1000)
    waiting = "none waits" if left.empty else f"{len(left)} wait or failed; list says why"
    return f"{n} failed notifications started anew; {waiting}."


def _receivers(environment: Environment) -> list[tuple[Site, Receiver]]:
    return [(site, receiver) for site in environment.sites for receiver in site.receivers]


def _said(error: object) -> str:
    return "" if error is None or pd.isna(error) else str(error)  # type: ignore[call-overload]
