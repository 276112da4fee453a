"""The outbox: what receivers are to be told, each event once for each receiver, and how far that has come.

pending -> sending -> sent, or back to pending to be tried again, in the end failed; withdrawn where it was no longer true before it
went out. Who sends takes a message with a lease, in a transaction of its own, and says afterwards what came of it. Between the two
the receiver may accept and the sender die: then the lease runs out and the message goes again. So nothing is lost and, seldom, something
comes twice: at most once for each attempt, with the same message id each time, by which mail servers and others drop the repetition.
"""

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import pandas as pd
from sqlalchemy import Connection, func, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from ml.dispatch import MAX_ATTEMPTS, Draft, Waiting, in_quiet_hours, next_draft, wait_after
from ml.notifications import Event, summary, told
from ml.plant import Site
from ml.receivers import SEVERITIES, EventKind, Receiver, Severity
from resources.ledger.rows import read_frame
from resources.ledger.tables import notifications as n

LEASE = timedelta(seconds=120)  # several times what one attempt may last; see resources.notifier.SEND_TIMEOUT_S
SENDER_DIED = "whether it arrived is not known: its sender ended before it could say"


@dataclass(frozen=True)
class Message:
    """What goes out, claimed for one attempt."""

    message_id: str
    notification_ids: tuple[int, ...]
    attempt: int
    severity: Severity
    subject: str
    body: str


def enqueue(connection: Connection, events: Sequence[Event], *, sites: Sequence[Site], now: datetime) -> int:
    """Write each event for each receiver that wants it, unless it is there; returns how many are new. What was withdrawn and is true
    again counts as new."""
    names = {site.site: site.name for site in sites}
    rows = [
        {
            "event_key": event.key,
            "receiver_id": receiver.receiver_id,
            "kind": event.kind,
            "severity": event.severity,
            "site": event.site,
            "subject": event.subject(names.get(event.site) if event.site else None),
            "body": event.body,
            "created_at": now,
            "next_attempt_at": now,
        }
        for event in events
        for receiver in told(event, sites)
    ]
    if not rows:
        return 0
    query = upsert(n).values(rows)
    fresh = {c: query.excluded[c] for c in ("severity", "subject", "body", "created_at", "next_attempt_at")}
    query = query.on_conflict_do_update(
        index_elements=["event_key", "receiver_id"], set_={"state": "pending", **fresh}, where=n.c.state == "withdrawn"
    )
    return len(connection.execute(query.returning(n.c.notification_id)).all())


def withdraw(connection: Connection, *, site: str, kinds: Collection[EventKind], still_true: Collection[str]) -> int:
    """What waits to be sent and is no longer so, is not sent: nobody shall be asked to decide what was decided in the quiet hours."""
    query = (
        update(n)
        .where(n.c.site == site, n.c.state == "pending", n.c.kind.in_(kinds), n.c.event_key.not_in(still_true))
        .values(state="withdrawn")
    )
    return connection.execute(query).rowcount


def give_back(connection: Connection, *, now: datetime) -> int:
    """Messages whose sender died go again once their lease has run out; returns how many."""
    query = select(n.c.message_id, n.c.attempts).where(n.c.state == "sending", n.c.lease_until < now).with_for_update(skip_locked=True)
    expired = {(row.message_id, row.attempts) for row in connection.execute(query)}
    for message_id, attempts in expired:
        _not_sent(connection, message_id, attempts=attempts, error=SENDER_DIED, now=now)
    return len(expired)


def has_due(connection: Connection, receiver: Receiver, *, site: Site, now: datetime) -> bool:
    """Whether a message could go to the receiver now."""
    return _next(connection, receiver, site=site, now=now, waiting=_waiting(connection, receiver)) is not None


def claim(connection: Connection, receiver: Receiver, *, site: Site, now: datetime) -> Message | None:
    """Take the next message to the receiver, for one attempt; None where nothing may go now or another is being sent to it."""
    waiting = _waiting(connection, receiver, is_locking=True)
    draft = _next(connection, receiver, site=site, now=now, waiting=waiting)
    if draft is None:
        return None
    rows = connection.execute(
        update(n)
        .where(n.c.notification_id.in_(draft.notification_ids))
        .values(
            state="sending",
            message_id=draft.message_id or str(uuid.uuid4()),
            attempts=n.c.attempts + 1,
            attempted_at=now,
            lease_until=now + LEASE,
        )
        .returning(n)
    ).all()
    rows = sorted(rows, key=lambda row: row.notification_id)
    subject, body = (rows[0].subject, rows[0].body) if len(rows) == 1 else summary([(row.severity, row.subject) for row in rows])
    return Message(
        message_id=rows[0].message_id,
        notification_ids=tuple(row.notification_id for row in rows),
        attempt=rows[0].attempts,
        severity=max((row.severity for row in rows), key=SEVERITIES.index),
        subject=subject,
        body=body,
    )


def settle(connection: Connection, message: Message, receiver: Receiver, *, error: str | None, now: datetime) -> bool:
    """Write what came of the attempt; False where its lease had run out and the message is another's by now.

    After a failure the receiver is left alone until the message's next attempt: what else waits for it waits as long. What comes
    up in the meantime is tried at once, and the first success ends the wait of all that was not tried yet.
    """
    if error is not None:
        is_own = _not_sent(connection, message.message_id, attempts=message.attempt, error=error, now=now)
        again = now + wait_after(message.attempt)
        others = (n.c.receiver_id == receiver.receiver_id, n.c.state == "pending", n.c.next_attempt_at < again)
        connection.execute(update(n).where(*others).values(next_attempt_at=again))
        return is_own
    sent = {"state": "sent", "sent_at": now, "lease_until": None, "last_error": None}
    own = (n.c.message_id == message.message_id, n.c.state == "sending", n.c.attempts == message.attempt)
    held_back = (n.c.receiver_id == receiver.receiver_id, n.c.state == "pending", n.c.attempts == 0, n.c.next_attempt_at > now)
    connection.execute(update(n).where(*held_back).values(next_attempt_at=now))
    return connection.execute(update(n).where(*own).values(**sent)).rowcount > 0


def send_again(connection: Connection, *, notification_ids: Collection[int] | None, now: datetime) -> int:
    """Failed notifications start anew: all, or these with those that went out in one message with them. The message keeps its id."""
    query = update(n).where(n.c.state == "failed")
    if notification_ids is not None:
        messages = select(n.c.message_id).where(n.c.notification_id.in_(notification_ids))
        query = query.where(n.c.message_id.in_(messages.scalar_subquery()))
    return connection.execute(query.values(state="pending", attempts=0, next_attempt_at=now)).rowcount


def list_notifications(
    connection: Connection, *, site: str | None, states: Collection[str], receiver_id: str | None, limit: int
) -> pd.DataFrame:
    """The newest first."""
    query = select(n).order_by(n.c.notification_id.desc()).limit(limit)
    if site:
        query = query.where(n.c.site == site)
    if states:
        query = query.where(n.c.state.in_(states))
    if receiver_id:
        query = query.where(n.c.receiver_id == receiver_id)
    return read_frame(connection, query)


def _waiting(connection: Connection, receiver: Receiver, *, is_locking: bool = False) -> list[Waiting]:
    """What waits for the receiver; where locking, rows that another transaction has locked are left to that one."""
    query = (
        select(n.c.notification_id, n.c.severity, n.c.next_attempt_at, n.c.message_id)
        .where(n.c.receiver_id == receiver.receiver_id, n.c.state == "pending")
        .order_by(n.c.notification_id)
    )
    rows = connection.execute(query.with_for_update(skip_locked=True) if is_locking else query)
    return [Waiting(*row) for row in rows]


def _next(connection: Connection, receiver: Receiver, *, site: Site, now: datetime, waiting: Sequence[Waiting]) -> Draft | None:
    if not waiting:
        return None
    of_receiver, policy = n.c.receiver_id == receiver.receiver_id, site.policy.notifications
    if connection.scalar(select(n.c.notification_id).where(of_receiver, n.c.state == "sending").limit(1)) is not None:
        return None
    since = now - timedelta(minutes=policy.flood_minutes)
    n_recent = connection.scalar(select(func.count(n.c.message_id.distinct())).where(of_receiver, n.c.attempted_at > since)) or 0
    is_quiet = in_quiet_hours(now, receiver.quiet_hours, zone=site.zone)
    return next_draft(waiting, now=now, is_quiet=is_quiet, n_recent=n_recent, policy=policy)


def _not_sent(connection: Connection, message_id: str, *, attempts: int, error: str, now: datetime) -> bool:
    """The message waits for its next attempt, or has failed for good; False where it is not at this attempt any more."""
    state = "failed" if attempts >= MAX_ATTEMPTS else "pending"
    values = {"state": state, "lease_until": None, "last_error": error, "next_attempt_at": now + wait_after(attempts)}
    own = (n.c.message_id == message_id, n.c.state == "sending", n.c.attempts == attempts)
    return connection.execute(update(n).where(*own).values(**values)).rowcount > 0
