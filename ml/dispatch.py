"""When a notification goes out, and with which others: quiet hours, one summary instead of a flood, waits between attempts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from ml.receivers import SEVERITIES, NotificationPolicy, QuietHours, Severity

FIRST_WAIT_S = 60.0
LONGEST_WAIT_S = 3600.0
MAX_ATTEMPTS = 30  # with these waits about a day: 1 + 2 + 4 + 8 + 16 + 32 min, then 23 h


@dataclass(frozen=True)
class Waiting:
    """A notification that has not been sent; `message_id` is the message that it went out with at an earlier attempt."""

    notification_id: int
    severity: Severity
    next_attempt_at: datetime
    message_id: str | None = None


@dataclass(frozen=True)
class Draft:
    """What the next message holds; a message that was tried before keeps its id, so that a receiver can tell the repetition."""

    notification_ids: tuple[int, ...]
    message_id: str | None = None


def wait_after(attempts: int) -> timedelta:
    """Exponential back-off: 1, 2, 4, ... minutes after the first, second, third failed attempt, never more than an hour.

    >>> [wait_after(n).total_seconds() / 60 for n in (1, 2, 6, 7, 29)]
    [1.0, 2.0, 32.0, 60.0, 60.0]
    """
    return timedelta(seconds=min(FIRST_WAIT_S * 2.0 ** min(attempts - 1, 20), LONGEST_WAIT_S))


def in_quiet_hours(now: datetime, quiet: QuietHours | None, *, zone: ZoneInfo) -> bool:
    """Whether the wall clock of the zone stands within them; the start is, the end is not. They follow the clock through its changes."""
    if quiet is None:
        return False
    clock = now.astimezone(zone).time()
    if quiet.end < quiet.start:
        return clock >= quiet.start or clock < quiet.end
    return quiet.start <= clock < quiet.end


def next_draft(waiting: Sequence[Waiting], *, now: datetime, is_quiet: bool, n_recent: int, policy: NotificationPolicy) -> Draft | None:
    """The next message to one receiver; None where nothing may go now.

    Critical before others, messages tried before ahead of new ones, then the oldest. Quiet hours hold back all that is not
    critical. `n_recent` counts the receiver's messages of the last flood_minutes: where single ones would exceed the limit
    with them, all that is due is one message, and where that would exceed it, too, it waits until fewer are recent. A critical one
    does not wait: all that is due goes with it.
    """
    due = sorted((w for w in waiting if w.next_attempt_at <= now), key=lambda w: w.notification_id)
    open_now = [w for w in due if w.severity == "critical" or not is_quiet]
    tried = _tried_before(waiting, open_now)
    fresh = [w for w in open_now if w.message_id is None]
    has_critical = any(w.severity == "critical" for w in fresh)
    if tried is not None and (tried[0] == "critical" or not has_critical):
        return tried[1]
    if not fresh:
        return None
    if n_recent + len(fresh) > policy.flood_limit:
        all_at_once = Draft(tuple(w.notification_id for w in fresh))
        return all_at_once if n_recent < policy.flood_limit or has_critical else None
    first = max(fresh, key=lambda w: (SEVERITIES.index(w.severity), -w.notification_id))
    return Draft((first.notification_id,))


def _tried_before(waiting: Sequence[Waiting], open_now: Sequence[Waiting]) -> tuple[Severity, Draft] | None:
    """The message to try again, with its severity: whole as it was, also where some of what it holds would not be due by itself."""
    found = [w for w in open_now if w.message_id is not None]
    if not found:
        return None
    first = max(found, key=lambda w: (SEVERITIES.index(w.severity), -w.notification_id))
    ids = tuple(sorted(w.notification_id for w in waiting if w.message_id == first.message_id))
    return first.severity, Draft(ids, first.message_id)
