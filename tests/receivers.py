"""Receivers on the loopback: a real SMTP and a real HTTP server that can be slow, down, or fail after they have accepted."""

import email
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

Manner = Literal["good", "slow", "dripping", "accepts_then_fails", "refuses"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class HttpReceiver:
    """Takes what apprise posts as JSON; `manners` are those of the next answers, `good` after them."""

    port: int = field(default_factory=free_port)
    manners: list[Manner] = field(default_factory=list)
    seconds: float = 0.0
    accepted: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"json://secretuser:secretword@127.0.0.1:{self.port}/inbox"

    @property
    def titles(self) -> list[str]:
        return [message["title"] for message in self.accepted]

    @contextmanager
    def serving(self) -> Iterator["HttpReceiver"]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                manner = receiver.manners.pop(0) if receiver.manners else "good"
                if manner == "slow":
                    time.sleep(receiver.seconds)
                if manner != "refuses":
                    receiver.accepted.append(content)
                    receiver.keys.append(self.headers["Idempotency-Key"])
                if manner == "dripping":
                    receiver._drip(self)
                    return
                self.send_response(503 if manner in ("accepts_then_fails", "refuses") else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.released.set()
            server.shutdown()
            server.server_close()
            thread.join()

    def _drip(self, handler: BaseHTTPRequestHandler) -> None:
        """A byte of the answer now and then, for as long as the other side listens: no time-out on silence ever ends this."""
        handler.send_response(200)
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        while not self.released.wait(0.2):
            try:
                handler.wfile.write(b" ")
                handler.wfile.flush()
            except OSError:
                return


@dataclass
class SmtpReceiver:
    """A mail server; `manners` are those of the next messages, `good` after them."""

    port: int = field(default_factory=free_port)
    manners: list[Manner] = field(default_factory=list)
    seconds: float = 0.0
    accepted: list[Message] = field(default_factory=list)
    recipients: list[list[str]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"mailto://127.0.0.1:{self.port}?from=plant@example.org&to=planner@example.org&mode=insecure"

    @property
    def message_ids(self) -> list[str | None]:
        return [message["Message-ID"] for message in self.accepted]

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        import asyncio

        manner = self.manners.pop(0) if self.manners else "good"
        if manner == "slow":
            await asyncio.sleep(self.seconds)
        if manner == "refuses":
            return "451 try again later"
        assert isinstance(envelope.content, bytes)
        self.accepted.append(email.message_from_bytes(envelope.content, policy=default))
        self.recipients.append([str(r) for r in envelope.rcpt_tos])
        return "451 accepted, and then something went wrong" if manner == "accepts_then_fails" else "250 OK"

    @contextmanager
    def serving(self) -> Iterator["SmtpReceiver"]:
        controller = Controller(self, hostname="127.0.0.1", port=self.port)
        controller.start()
        try:
            yield self
        finally:
            controller.stop()
