"""The notifier, against a real mail server and a real HTTP server on the loopback, at their best and at their worst."""

import subprocess
import sys
import time
import uuid
from collections.abc import Iterator

import pytest

from ml.receivers import Receiver
from resources.ledger.outbox import LEASE, Message
from resources.notifier import SEND_TIMEOUT_S, NotifierResource
from resources.sending import masked
from tests.conftest import CHECKOUT
from tests.receivers import HttpReceiver, SmtpReceiver

RECEIVER = Receiver(receiver_id="ada", role="planner", url_variable="ADA_URL")


@pytest.fixture
def mail(monkeypatch: pytest.MonkeyPatch) -> Iterator[SmtpReceiver]:
    with SmtpReceiver().serving() as server:
        monkeypatch.setenv("ADA_URL", server.url)
        yield server


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpReceiver]:
    with HttpReceiver().serving() as server:
        monkeypatch.setenv("ADA_URL", server.url)
        yield server


def message(**changes: object) -> Message:
    values = {"severity": "warning", "subject": "Überfällig: Pumpe <1>", "body": "Where: here\nWhy: 2 < 3 & so on\nRun: http://x/runs/1"}
    return Message(str(uuid.uuid4()), (1,), 1, **{**values, **changes})  # type: ignore[arg-type]


def test_a_mail_arrives_once_with_its_words_as_they_are(mail: SmtpReceiver) -> None:
    sent = message()
    assert NotifierResource().send(sent, RECEIVER) is None
    [arrived] = mail.accepted
    assert mail.recipients == [["planner@example.org"]]
    assert arrived["Subject"] == sent.subject
    assert arrived.get_all("Message-ID") == [f"<{sent.message_id}@smart-maintenance.invalid>"]
    assert arrived.get_body(("plain",)).get_content().replace("\r\n", "\n").strip() == sent.body  # type: ignore[attr-defined]


def test_an_http_receiver_gets_the_message_and_its_key(web: HttpReceiver) -> None:
    sent = message(severity="critical")
    assert NotifierResource().send(sent, RECEIVER) is None
    [arrived] = web.accepted
    assert (arrived["title"], arrived["message"], arrived["type"]) == (sent.subject, sent.body, "failure")
    assert web.keys == [sent.message_id]


def test_a_mail_that_was_accepted_before_the_error_comes_again_under_the_same_id(mail: SmtpReceiver) -> None:
    mail.manners = ["accepts_then_fails"]
    sent = message()
    assert NotifierResource().send(sent, RECEIVER)
    assert NotifierResource().send(sent, RECEIVER) is None
    assert len(mail.accepted) == 2
    assert len(set(mail.message_ids)) == 1


@pytest.mark.parametrize("manner", ["accepts_then_fails", "refuses"])
def test_an_error_of_the_receiver_is_an_error(web: HttpReceiver, manner: str) -> None:
    web.manners = [manner]  # type: ignore[list-item]
    said = NotifierResource().send(message(), RECEIVER)
    assert said and "503" in said


def test_a_mail_server_that_refuses_is_an_error(mail: SmtpReceiver) -> None:
    mail.manners = ["refuses"]
    assert NotifierResource().send(message(), RECEIVER)
    assert mail.accepted == []


@pytest.mark.parametrize("schema", ["mailto", "json"])
def test_a_receiver_that_is_down_is_an_error_and_no_secret_is_told(schema: str, monkeypatch: pytest.MonkeyPatch) -> None:
    server = SmtpReceiver() if schema == "mailto" else HttpReceiver()
    monkeypatch.setenv("ADA_URL", server.url)
    said = NotifierResource().send(message(), RECEIVER)
    assert said
    assert "secretword" not in said and "planner@example.org" not in said


def test_an_answer_after_five_seconds_is_waited_for(web: HttpReceiver, mail: SmtpReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    mail.manners, mail.seconds = ["slow"], 5.0
    assert NotifierResource().send(message(), RECEIVER) is None
    monkeypatch.setenv("ADA_URL", web.url)
    web.manners, web.seconds = ["slow"], 5.0
    assert NotifierResource().send(message(), RECEIVER) is None
    assert (len(mail.accepted), len(web.accepted)) == (1, 1)


def test_a_receiver_that_never_ends_its_answer_is_left_in_time(web: HttpReceiver) -> None:
    web.manners = ["dripping"]
    begun = time.monotonic()
    assert NotifierResource(timeout_s=4).send(message(), RECEIVER) == "no answer within 4 s"
    assert time.monotonic() - begun < 12


def test_no_attempt_outlives_its_sender_for_long(web: HttpReceiver) -> None:
    web.manners = ["dripping"]
    begun = time.monotonic()
    order = '{"variable": "ADA_URL", "seconds": 4, "message_id": "m", "severity": "info", "subject": "s", "body": "b"}'
    alone = subprocess.run([sys.executable, "-m", "resources.sending"], input=order, text=True, cwd=CHECKOUT, check=False, timeout=30)
    assert alone.returncode == -14
    assert time.monotonic() - begun < 20
    assert LEASE.total_seconds() > 2 * SEND_TIMEOUT_S


def test_a_variable_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ADA_URL", raising=False)
    assert NotifierResource().send(message(), RECEIVER) == "the environment variable ADA_URL is not set"


def test_a_url_that_is_none_is_refused_without_being_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADA_URL", "nosuchservice://hush-hush")
    said = NotifierResource().send(message(), RECEIVER)
    assert said == "apprise does not understand the URL"


def test_no_part_of_a_url_is_in_what_is_shown() -> None:
    url = "slack://TokenAAAA/TokenBBBB/TokenCCCC/#alarms?key=abcd"
    assert masked("POST TokenAAAA/TokenBBBB failed in alarms (abcd), 500", url) == "POST ***/*** failed in *** (***), 500"
