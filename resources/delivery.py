"""Carries the outbox out: to every receiver by its own thread, so that a slow one delays no other."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from ml.plant import Site
from ml.receivers import Receiver
from resources.ledger.ledger import LedgerResource
from resources.ledger.outbox import claim, give_back, settle
from resources.notifier import NotifierResource

BUDGET_S = 240.0  # no new attempt after; what is left waits for the next pass
MAX_RECEIVERS_AT_ONCE = 4


def utc_now() -> datetime:
    return datetime.now(UTC)


def deliver(
    ledger: LedgerResource,
    notifier: NotifierResource,
    sites: Sequence[Site],
    *,
    clock: Callable[[], datetime] = utc_now,
    budget_s: float = BUDGET_S,
) -> Counter[str]:
    """Send what may go now; returns how many messages were sent and how many failed, and the notifications in those sent."""
    until = time.monotonic() + budget_s
    with ledger.begin() as connection:
        give_back(connection, now=clock())

    def deliver_to(where: tuple[Site, Receiver]) -> Counter[str]:
        return _deliver_to(where[1], site=where[0], ledger=ledger, notifier=notifier, clock=clock, until=until)

    receivers = [(site, receiver) for site in sites for receiver in site.receivers]
    total: Counter[str] = Counter(messages_sent=0, messages_failed=0, notifications_sent=0)
    if receivers:
        with ThreadPoolExecutor(MAX_RECEIVERS_AT_ONCE) as pool:
            for counts in pool.map(deliver_to, receivers):
                total.update(counts)
    return total


def _deliver_to(
    receiver: Receiver, *, site: Site, ledger: LedgerResource, notifier: NotifierResource, clock: Callable[[], datetime], until: float
) -> Counter[str]:
    """One message after the other, until nothing may go or one fails."""
    counts: Counter[str] = Counter()
    while time.monotonic() < until:
        with ledger.begin() as connection:
            message = claim(connection, receiver, site=site, now=clock())
        if message is None:
            break
        error = notifier.send(message, receiver)
        with ledger.begin() as connection:
            settle(connection, message, receiver, error=error, now=clock())
        if error is not None:
            counts["messages_failed"] += 1
            break
        counts.update(messages_sent=1, notifications_sent=len(message.notification_ids))
    return counts
