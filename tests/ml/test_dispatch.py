"""When notifications go out: quiet hours by the wall clock, floods, waits, and what was tried before."""

from datetime import UTC, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.dispatch import MAX_ATTEMPTS, Draft, Waiting, in_quiet_hours, next_draft, wait_after
from ml.receivers import NotificationPolicy, QuietHours, Severity

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
POLICY = NotificationPolicy(flood_limit=3, flood_minutes=15)
BERLIN = ZoneInfo("Europe/Berlin")
NIGHT = QuietHours(start=time(22), end=time(6, 30))
LUNCH = QuietHours(start=time(12), end=time(13))


def waits(*ids: int, severity: Severity = "info", at: datetime = NOW, message_id: str | None = None) -> list[Waiting]:
    return [Waiting(i, severity, at, message_id) for i in ids]


def draft(waiting: list[Waiting], *, is_quiet: bool = False, n_recent: int = 0) -> Draft | None:
    return next_draft(waiting, now=NOW, is_quiet=is_quiet, n_recent=n_recent, policy=POLICY)


def test_few_messages_go_one_by_one_the_oldest_first() -> None:
    assert draft(waits(8, 7)) == Draft((7,))


def test_the_most_severe_goes_first() -> None:
    assert draft([*waits(1), *waits(2, severity="warning"), *waits(3, severity="critical")]) == Draft((3,))


def test_more_than_the_limit_at_once_are_one_message() -> None:
    assert draft(waits(1, 2, 3)) == Draft((1,))
    assert draft(waits(1, 2, 3, 4)) == Draft((1, 2, 3, 4))


def test_what_would_exceed_the_limit_with_recent_ones_goes_as_one() -> None:
    assert draft(waits(7, 8), n_recent=1) == Draft((7,))
    assert draft(waits(7, 8), n_recent=2) == Draft((7, 8))


@pytest.mark.parametrize(("n_recent", "expected"), [(2, Draft((9,))), (3, None), (50, None)])
def test_more_than_the_limit_within_the_time_wait_until_fewer_are_recent(n_recent: int, expected: Draft | None) -> None:
    assert draft(waits(9), n_recent=n_recent) == expected


def test_a_critical_one_does_not_wait_and_takes_the_others_along() -> None:
    assert draft([*waits(1, 2), *waits(3, severity="critical")], n_recent=3) == Draft((1, 2, 3))


def test_what_is_not_due_yet_does_not_count() -> None:
    later = waits(1, 2, 3, 4, at=NOW + timedelta(seconds=1))
    assert draft(later) is None
    assert draft([*later, *waits(5)]) == Draft((5,))


def test_quiet_hours_hold_back_all_but_critical_ones() -> None:
    assert draft([*waits(1), *waits(2, severity="warning")], is_quiet=True) is None
    assert draft([*waits(1), *waits(2, severity="critical")], is_quiet=True) == Draft((2,))


def test_a_message_that_was_tried_goes_again_whole_and_alone() -> None:
    tried = [*waits(1, 2, message_id="m"), *waits(4, at=NOW + timedelta(hours=1), message_id="m")]
    assert draft([*tried, *waits(5)]) == Draft((1, 2, 4), "m")
    assert draft([*tried, *waits(5)], n_recent=9) == Draft((1, 2, 4), "m"), "it is one of the recent ones already"
    assert draft([*tried, *waits(5, severity="critical")]) == Draft((5,))
    assert draft(tried, is_quiet=True) is None


@pytest.mark.parametrize(
    ("utc", "quiet", "expected"),
    [
        ("2026-11-20T20:59:59", NIGHT, False),  # 21:59:59 in Berlin, +1
        ("2026-11-20T21:00:00", NIGHT, True),
        ("2026-11-21T05:29:59", NIGHT, True),
        ("2026-11-21T05:30:00", NIGHT, False),
        ("2026-07-20T20:00:00", NIGHT, True),  # 22:00, +2
        ("2026-07-20T04:30:00", NIGHT, False),
        ("2026-03-29T04:29:00", NIGHT, True),  # the night in which the clocks go forward: 06:29, +2 by now
        ("2026-03-29T04:30:00", NIGHT, False),
        ("2026-10-25T04:30:00", NIGHT, True),  # the night in which they go back: 05:30, +1 again
        ("2026-10-25T05:30:00", NIGHT, False),
        ("2026-11-20T11:30:00", LUNCH, True),
        ("2026-11-20T12:00:00", LUNCH, False),
        ("2026-11-20T11:30:00", None, False),
    ],
)
def test_quiet_hours_follow_the_sites_clock(utc: str, quiet: QuietHours | None, expected: bool) -> None:
    assert in_quiet_hours(datetime.fromisoformat(utc).replace(tzinfo=UTC), quiet, zone=BERLIN) is expected


def test_waits_grow_to_an_hour_and_end_within_about_a_day() -> None:
    found = [wait_after(n) for n in range(1, MAX_ATTEMPTS)]
    assert found[0] == timedelta(minutes=1)
    assert all(later in (2 * earlier, timedelta(hours=1)) for earlier, later in pairwise(found))
    assert timedelta(hours=20) < sum(found, timedelta()) < timedelta(hours=28)


@given(
    st.lists(
        st.tuples(st.sampled_from(["info", "warning", "critical"]), st.integers(-3, 3), st.sampled_from([None, "m", "n"])), max_size=9
    ),
    st.booleans(),
    st.integers(0, 6),
)
def test_whatever_waits_a_draft_holds_only_what_may_go(rows: list[tuple[Severity, int, str | None]], is_quiet: bool, n_recent: int) -> None:
    waiting = [Waiting(i, s, NOW + timedelta(minutes=m), message) for i, (s, m, message) in enumerate(rows)]
    made = draft(waiting, is_quiet=is_quiet, n_recent=n_recent)
    open_now = {w.notification_id for w in waiting if w.next_attempt_at <= NOW and (w.severity == "critical" or not is_quiet)}
    critical = {w.notification_id for w in waiting if w.notification_id in open_now and w.severity == "critical"}
    if made is None:
        assert not critical
        assert n_recent >= POLICY.flood_limit or not open_now
        return
    held = set(made.notification_ids)
    assert held & open_now
    assert not critical or held & critical
    if made.message_id is None:
        assert held <= open_now
        assert all(waiting[i].message_id is None for i in held)
    else:
        assert held == {w.notification_id for w in waiting if w.message_id == made.message_id}
