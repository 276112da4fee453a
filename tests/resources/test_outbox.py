"""The outbox: each event once to each receiver, through deaths, refusals, floods and quiet nights; delivered to real servers."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from ml.dispatch import MAX_ATTEMPTS, wait_after
from ml.notifications import Event
from ml.plant import Machine, Sensor, Site
from ml.receivers import NotificationPolicy, QuietHours, Receiver
from resources.delivery import deliver
from resources.ledger.ledger import LedgerResource
from resources.ledger.outbox import LEASE, SENDER_DIED, claim, enqueue, give_back, has_due, list_notifications, send_again, settle, withdraw
from resources.ledger.tables import notifications
from resources.notifier import NotifierResource
from tests.receivers import HttpReceiver, SmtpReceiver

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
ADA = Receiver(receiver_id="ada", role="planner", url_variable="ADA_URL")
BEN = Receiver(receiver_id="ben", role="planner", url_variable="BEN_URL")


def site(*receivers: Receiver, limit: int = 5) -> Site:
    machine = Machine(machine_id="P1", machine_class="pump", sensors=(Sensor(sensor_id="T", type="temperature", unit="°C"),))
    plain = Site(
        site="works", name="Works", time_zone="Europe/Berlin", first_day=date(2026, 1, 1), machines=(machine,), receivers=receivers
    )
    policy = plain.policy.model_copy(update={"notifications": NotificationPolicy(flood_limit=limit)})
    return plain.model_copy(update={"policy": policy})


def event(key: str, **changes: Any) -> Event:
    given = {"kind": "overdue", "severity": "warning", "site": "works", "title": f"Title of {key}", "what": f"What of {key}"}
    return Event(**{"key": key, "where": "P1", "why": "because", "by_when": "soon", **given, **changes})


def put(ledger: LedgerResource, where: Site, *events: Event, now: datetime = NOON) -> int:
    with ledger.begin() as connection:
        return enqueue(connection, events, sites=[where], now=now)


def states(ledger: LedgerResource) -> dict[str, str]:
    with ledger.begin() as connection:
        rows = connection.execute(select(notifications.c.event_key, notifications.c.receiver_id, notifications.c.state))
        return {f"{row.event_key} {row.receiver_id}": row.state for row in rows}


def row(ledger: LedgerResource, key: str) -> dict[str, Any]:
    with ledger.begin() as connection:
        return dict(connection.execute(select(notifications).where(notifications.c.event_key == key)).mappings().one())


def sent(ledger: LedgerResource, where: Site, *, now: datetime = NOON, timeout_s: int = 30) -> Counter[str]:
    return deliver(ledger, NotifierResource(timeout_s=timeout_s), [where], clock=lambda: now)


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[HttpReceiver, HttpReceiver]]:
    with ExitStack() as stack:
        ada, ben = (stack.enter_context(HttpReceiver().serving()) for _ in range(2))
        monkeypatch.setenv("ADA_URL", ada.url)
        monkeypatch.setenv("BEN_URL", ben.url)
        yield ada, ben


def test_an_event_is_written_once_for_each_receiver_however_often_and_at_once(ledger: LedgerResource) -> None:
    where = site(ADA, BEN)
    start = threading.Barrier(4)

    def write(_: int) -> int:
        start.wait()
        return put(ledger, where, event("a"), event("b"))

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(write, range(4))) == 4
    assert states(ledger) == dict.fromkeys(["a ada", "a ben", "b ada", "b ben"], "pending")


def test_what_was_caused_in_a_transaction_that_is_rolled_back_is_told_to_nobody(ledger: LedgerResource) -> None:
    def cause_and_fail() -> None:
        with ledger.begin() as connection:
            enqueue(connection, [event("a")], sites=[site(ADA)], now=NOON)
            raise RuntimeError("the cause did not happen")

    with pytest.raises(RuntimeError):
        cause_and_fail()
    assert states(ledger) == {}


def test_without_receivers_nothing_is_written_and_nothing_sent(ledger: LedgerResource) -> None:
    assert put(ledger, site(), event("a")) == 0
    assert sent(ledger, site()) == Counter(messages_sent=0, messages_failed=0, notifications_sent=0)


def test_each_receiver_gets_each_message_once_also_from_senders_that_work_at_once(
    ledger: LedgerResource, servers: tuple[HttpReceiver, HttpReceiver]
) -> None:
    where = site(ADA, BEN)
    put(ledger, where, event("a"), event("b"), event("c"))
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: sent(ledger, where), range(3)))
    sent(ledger, where)
    wanted = [f"[warning] Works: Title of {key}" for key in "abc"]
    assert [sorted(server.titles) for server in servers] == [wanted, wanted]
    assert set(states(ledger).values()) == {"sent"}
    assert sent(ledger, where)["messages_sent"] == 0


def test_a_receiver_that_is_down_is_tried_again_after_growing_waits(ledger: LedgerResource, monkeypatch: pytest.MonkeyPatch) -> None:
    server, where, now = HttpReceiver(), site(ADA), NOON
    monkeypatch.setenv("ADA_URL", server.url)
    put(ledger, where, event("a"), event("b"))
    for minutes in (1, 2, 4):
        assert sent(ledger, where, now=now) == Counter(messages_sent=0, messages_failed=1, notifications_sent=0)
        assert sent(ledger, where, now=now + timedelta(minutes=minutes, seconds=-1)).total() == 0, "left alone until then"
        now += timedelta(minutes=minutes)
    failed = row(ledger, "a")
    assert (failed["attempts"], failed["state"]) == (3, "pending")
    assert "refused" in failed["last_error"]
    assert row(ledger, "b")["attempts"] == 0, "the second is not thrown after the first"
    early = now - timedelta(minutes=2)
    put(ledger, where, event("c", severity="critical"), now=early)
    with server.serving():
        assert sent(ledger, where, now=early)["messages_sent"] == 2, "what is new is tried at once, and its success ends the wait of b"
        assert sent(ledger, where, now=now)["messages_sent"] == 1, "a has its own wait"
    assert [title[-1] for title in server.titles] == ["c", "b", "a"]
    assert row(ledger, "a")["last_error"] is None


def test_an_attempt_too_many_is_the_last_until_somebody_asks_for_more(ledger: LedgerResource) -> None:
    where, now = site(ADA), NOON
    put(ledger, where, event("a"))
    for n in range(1, MAX_ATTEMPTS + 1):
        with ledger.begin() as connection:
            message = claim(connection, ADA, site=where, now=now)
            assert message and message.attempt == n
            settle(connection, message, ADA, error="no", now=now)
        now += wait_after(n)
    assert row(ledger, "a")["state"] == "failed"
    with ledger.begin() as connection:
        assert claim(connection, ADA, site=where, now=now + timedelta(days=9)) is None
        assert send_again(connection, notification_ids=[row(ledger, "a")["notification_id"]], now=now) == 1
        again = claim(connection, ADA, site=where, now=now)
    assert again and message
    assert (again.message_id, again.attempt) == (message.message_id, 1)


def test_a_receiver_that_accepts_and_then_fails_can_tell_the_repetition(
    ledger: LedgerResource, servers: tuple[HttpReceiver, HttpReceiver]
) -> None:
    ada, where = servers[0], site(ADA)
    ada.manners = ["accepts_then_fails"]
    put(ledger, where, event("a"))
    sent(ledger, where)
    sent(ledger, where, now=NOON + timedelta(minutes=1))
    assert len(ada.accepted) == 2, "an error is not taken for an arrival: rather twice than never"
    assert len(set(ada.keys)) == 1
    assert sent(ledger, where, now=NOON + timedelta(days=1)).total() == 0


def test_a_mail_server_that_accepts_and_then_fails_sees_one_message_id(ledger: LedgerResource, monkeypatch: pytest.MonkeyPatch) -> None:
    where = site(ADA, limit=1)
    with SmtpReceiver(manners=["accepts_then_fails"]).serving() as server:
        monkeypatch.setenv("ADA_URL", server.url)
        put(ledger, where, event("a"), event("b"))
        sent(ledger, where)
        put(ledger, where, event("c"), now=NOON + timedelta(seconds=30))
        for minutes in (30, 60):
            sent(ledger, where, now=NOON + timedelta(minutes=minutes))
    first, second, third = server.accepted
    assert first["Message-ID"] == second["Message-ID"] != third["Message-ID"]
    assert first.get_payload() == second.get_payload(), "the summary goes again as it was, without what has come since"


def test_when_the_sender_dies_the_message_goes_again_after_its_lease_and_not_before(
    ledger: LedgerResource, servers: tuple[HttpReceiver, HttpReceiver]
) -> None:
    where = site(ADA)
    put(ledger, where, event("a"), event("b"))
    with ledger.begin() as connection:
        dead = claim(connection, ADA, site=where, now=NOON)
    assert dead
    assert sent(ledger, where, now=NOON + LEASE).total() == 0, "one message at a time to a receiver"
    with ledger.begin() as connection:
        assert give_back(connection, now=NOON + LEASE + timedelta(seconds=1)) == 1
    lost = row(ledger, "a")
    assert (lost["state"], lost["last_error"]) == ("pending", SENDER_DIED)
    again = lost["next_attempt_at"]
    assert again == NOON + LEASE + timedelta(seconds=61)
    assert sent(ledger, where, now=again)["messages_sent"] == 2
    assert dead.message_id in servers[0].keys
    with ledger.begin() as connection:
        assert not settle(connection, dead, ADA, error=None, now=again), "the dead one's word comes too late"
        assert not settle(connection, dead, ADA, error="no", now=again)
    assert states(ledger) == {"a ada": "sent", "b ada": "sent"}


def test_a_flood_is_one_message_that_lists_it(ledger: LedgerResource, servers: tuple[HttpReceiver, HttpReceiver]) -> None:
    ada, where = servers[0], site(ADA, limit=5)
    put(ledger, where, *(event(f"e{n:02}") for n in range(11)), event("worst", severity="critical"))
    assert sent(ledger, where) == Counter(messages_sent=1, messages_failed=0, notifications_sent=12)
    [one] = ada.accepted
    assert one["title"] == "[critical] 12 notifications in one message"
    lines = [line for line in one["message"].splitlines() if line.startswith("- ")]
    assert lines == ["- [critical] Works: Title of worst", *(f"- [warning] Works: Title of e{n:02}" for n in range(11))]
    assert set(states(ledger).values()) == {"sent"}


def test_a_flood_that_comes_drop_by_drop_is_gathered_for_the_time_in_the_plant_file(
    ledger: LedgerResource, servers: tuple[HttpReceiver, HttpReceiver]
) -> None:
    ada, where = servers[0], site(ADA, limit=2)
    for n in range(8):
        now = NOON + timedelta(minutes=n)
        put(ledger, where, event(f"e{n}"), now=now)
        sent(ledger, where, now=now)
    assert len(ada.accepted) == 2
    sent(ledger, where, now=NOON + timedelta(minutes=15))
    assert ada.titles[2:] == ["[warning] 6 notifications in one message"]


def test_at_night_only_what_is_critical_goes_and_in_the_morning_the_rest(
    ledger: LedgerResource, servers: tuple[HttpReceiver, HttpReceiver]
) -> None:
    ada = servers[0]
    where = site(ADA.model_copy(update={"quiet_hours": QuietHours.model_validate({"start": "22:00", "end": "06:00"})}))
    midnight = datetime(2026, 11, 20, 23, 30, tzinfo=UTC)  # 00:30 in Berlin
    put(ledger, where, event("a"), event("b", severity="critical"), now=midnight)
    sent(ledger, where, now=midnight)
    assert ada.titles == ["[critical] Works: Title of b"]
    assert sent(ledger, where, now=datetime(2026, 11, 21, 4, 59, tzinfo=UTC)).total() == 0
    sent(ledger, where, now=datetime(2026, 11, 21, 5, tzinfo=UTC))
    assert ada.titles[1:] == ["[warning] Works: Title of a"]


def test_what_is_no_longer_so_is_not_sent_and_what_is_so_again_is(ledger: LedgerResource) -> None:
    where = site(ADA)
    put(ledger, where, event("a"), event("b"), event("c", kind="critical_incident", severity="critical"))

    def still(*keys: str) -> int:
        with ledger.begin() as connection:
            return withdraw(connection, site="works", kinds=["overdue"], still_true=keys)

    assert still("b") == 1
    assert states(ledger) == {"a ada": "withdrawn", "b ada": "pending", "c ada": "pending"}
    assert put(ledger, where, event("a"), event("b"), now=NOON + timedelta(hours=1)) == 1
    assert row(ledger, "a")["state"] == "pending"
    assert row(ledger, "a")["created_at"] == NOON + timedelta(hours=1)
    with ledger.begin() as connection:
        message = claim(connection, ADA, site=where, now=NOON + timedelta(hours=2))
        assert message and settle(connection, message, ADA, error=None, now=NOON)
    assert message.subject.endswith("of c")
    assert still() == 2
    assert states(ledger)["c ada"] == "sent"


def test_a_slow_receiver_delays_no_other(
    ledger: LedgerResource, servers: tuple[HttpReceiver, HttpReceiver], monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, ben = servers
    ada.manners = ["dripping"] * 2
    where = site(ADA, BEN)
    put(ledger, where, event("a"), event("b"))
    begun = time.monotonic()
    arrived: list[float] = []
    monkeypatch.setattr(ben, "accepted", _Timed(arrived))
    counts = sent(ledger, where, timeout_s=12)
    assert counts == Counter(messages_sent=2, messages_failed=1, notifications_sent=2)
    assert 12 <= time.monotonic() - begun < 24, "one attempt of the slow one, not two"
    assert len(arrived) == 2
    assert max(arrived) - begun < 12, "the other had all of his before the slow one was given up"
    assert row_of(ledger, "a", "ada")["last_error"] == "no answer within 12 s"


class _Timed(list[Any]):
    def __init__(self, at: list[float]) -> None:
        self.at = at

    def append(self, item: Any) -> None:
        self.at.append(time.monotonic())
        super().append(item)


def row_of(ledger: LedgerResource, key: str, receiver_id: str) -> dict[str, Any]:
    n = notifications
    with ledger.begin() as connection:
        query = select(n).where(n.c.event_key == key, n.c.receiver_id == receiver_id)
        return dict(connection.execute(query).mappings().one())


def test_it_is_asked_cheaply_whether_anything_is_due(ledger: LedgerResource) -> None:
    where = site(ADA)

    def due(now: datetime) -> bool:
        with ledger.begin() as connection:
            return has_due(connection, ADA, site=where, now=now)

    assert not due(NOON)
    put(ledger, where, event("a"))
    assert due(NOON)
    with ledger.begin() as connection:
        assert connection.scalar(select(func.count()).where(notifications.c.state == "sending")) == 0, "asking takes nothing"
        message = claim(connection, ADA, site=where, now=NOON)
        assert message
        settle(connection, message, ADA, error="no", now=NOON)
    assert not due(NOON)
    assert due(NOON + timedelta(minutes=1))


def test_the_list_is_the_newest_first_and_can_be_narrowed(ledger: LedgerResource) -> None:
    put(ledger, site(ADA, BEN), event("a"), event("b"))

    def listed(**narrow: Any) -> list[tuple[str, str]]:
        asked = {"site": None, "states": (), "receiver_id": None, "limit": 9, **narrow}
        with ledger.begin() as connection:
            found = list_notifications(connection, **asked)
        return list(zip(found["event_key"], found["receiver_id"], strict=True))

    assert listed() == [("b", "ben"), ("b", "ada"), ("a", "ben"), ("a", "ada")]
    assert listed(receiver_id="ada", limit=1) == [("b", "ada")]
    assert listed(states=["sent"]) == listed(site="elsewhere") == []
