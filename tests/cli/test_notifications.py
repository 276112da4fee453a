"""Notifications by command: the list, a test of the receivers, a new start for what failed."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console
from sqlalchemy import delete, update

from cli.environment import Environment, prepared
from cli.planner import ledger_of
from ml.notifications import Event
from resources.ledger.outbox import enqueue
from resources.ledger.tables import notifications
from resources.postgres import URL_VARIABLE
from tests.cli.conftest import Say
from tests.receivers import HttpReceiver

SITE: dict[str, Any] = {
    "site": "kiel",
    "name": "Kiel",
    "first_day": date(2026, 9, 1),
    "machines": [{"machine_id": "K1", "machine_class": "pump", "sensors": [{"sensor_id": "K1-T", "type": "temperature", "unit": "°C"}]}],
    "receivers": [
        {"receiver_id": "ada", "role": "planner", "url_variable": "ADA_URL"},
        {"receiver_id": "ben", "role": "manager", "url_variable": "BEN_URL"},
    ],
}


@pytest.fixture
def folders(tmp_path: Path) -> tuple[str, str, str, str]:
    plant = tmp_path / "plant"
    plant.mkdir()
    (plant / "kiel.yaml").write_text(yaml.safe_dump(SITE))
    return ("--home", str(tmp_path / "home"), "--plant", str(plant))


@pytest.fixture
def environment(postgres: str, folders: tuple[str, str, str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Environment]:
    """An empty outbox; the session's ledger is also other tests'."""
    monkeypatch.setenv(URL_VARIABLE, postgres)
    for name in ("ADA_URL", "BEN_URL"):
        monkeypatch.delenv(name, raising=False)
    with prepared(home=Path(folders[1]), plant=Path(folders[3])) as there:
        with ledger_of(there).begin() as connection:
            connection.execute(delete(notifications))
        yield there


@pytest.fixture
def say(environment: Environment, folders: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, typed: Say) -> Say:
    monkeypatch.setattr("cli.notifications.console", Console(width=200))

    def in_process(*words: str) -> tuple[int, str, str]:
        return typed("notifications", *words, *folders)

    return in_process


@pytest.fixture
def inbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpReceiver]:
    with HttpReceiver().serving() as server:
        monkeypatch.setenv("ADA_URL", server.url)
        yield server


def put(environment: Environment, key: str, **values: Any) -> None:
    event = Event(key, "overdue", "warning", "kiel", f"Title of [{key}]", f"What of [{key}]", "K1", "because", "soon")
    with ledger_of(environment).begin() as connection:
        enqueue(connection, [event], sites=environment.sites, now=datetime(2026, 11, 20, 12, tzinfo=UTC))
        if values:
            connection.execute(update(notifications).where(notifications.c.event_key == key).values(**values))


def test_the_list_shows_who_is_told_what_and_why_it_failed(say: Say, environment: Environment) -> None:
    assert say("list")[1].strip() == "No notifications."
    put(environment, "first")
    put(environment, "second", state="failed", last_error="the server was [down]", attempts=30, message_id="m")
    code, out, _ = say("list")
    assert code == 0
    lines = [line.split() for line in out.strip().splitlines()]
    assert [(line[3], line[4], line[5]) for line in lines[1:]] == [
        ("ben", "failed", "30"),
        ("ada", "failed", "30"),
        ("ben", "pending", "0"),
        ("ada", "pending", "0"),
    ]
    assert "[warning] Kiel: Title of [second]" in out
    assert "the server was [down]" in out
    assert "second" not in say("list", "--state", "pending")[1]
    assert say("list", "--receiver", "ada")[1].count("Kiel") == 2
    whole = say("list", "--whole", "--limit", "1")[1]
    assert "What of [second]\n\nWhere: K1\nWhy: because\nBy when: soon" in whole


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("list", "--state", "lost"), "There is no state lost; the states are pending, sending, sent, failed, withdrawn."),
        (("list", "--site", "oslo"), "The plant has no site 'oslo'; it has kiel."),
        (("test",), "Name the receivers to be tested, or say --all."),
        (("test", "ada", "--all"), "Name the receivers to be tested, or say --all."),
        (("test", "eve"), "No plant file names the receiver 'eve'; there are ada, ben."),
        (("test", "ada"), "ada: the environment variable ADA_URL is not set."),
        (("retry",), "Name the notifications to be sent again, or say --all."),
    ],
)
def test_what_cannot_be_done_is_one_sentence(say: Say, words: tuple[str, ...], sentence: str) -> None:
    code, _, err = say(*words)
    assert (code, err.strip()) == (2, f"error: {sentence}")


def test_a_test_reaches_its_receiver_and_leaves_the_outbox_alone(say: Say, inbox: HttpReceiver) -> None:
    assert say("test", "ada") == (0, "ada: accepted.\n", "")
    assert inbox.titles == ["[test] Kiel: messages reach ada"]
    code, _, err = say("test", "--all")
    assert (code, err.strip()) == (2, "error: ben: the environment variable BEN_URL is not set; ada: accepted.")
    assert say("list")[1].strip() == "No notifications."


def test_failed_notifications_are_sent_again(say: Say, environment: Environment, inbox: HttpReceiver) -> None:
    put(environment, "first", state="failed", attempts=30, message_id="m", last_error="down")
    with ledger_of(environment).begin() as connection:
        connection.execute(delete(notifications).where(notifications.c.receiver_id == "ben"))
    code, out, err = say("retry", "--all")
    assert (code, out, err) == (0, "1 failed notifications started anew; none waits.\n", "")
    assert inbox.titles == ["[warning] Kiel: Title of [first]"]
    assert inbox.keys == ["m"]
    assert say("retry", "--all")[1] == "0 failed notifications started anew; none waits.\n"
    assert len(inbox.accepted) == 1
