"""The process that sends one message: `python -m resources.sending`, the order as JSON on standard input, the outcome on standard output.

A process of its own, because a receiver may take any time and a thread cannot be stopped. The URL is read from the environment here and
nowhere else: it is in no argument, no ledger and no log; what a library says of an error is shown without any part of it.
"""

import email.utils
import json
import logging
import os
import re
import signal
import sys
from typing import Any

DOMAIN = "smart-maintenance.invalid"  # of message ids; RFC 2606 keeps it from ever being somebody's
ANSWER_S = 20.0  # apprise waits 4 s by default, and takes a receiver for failed that accepts after 5
KINDS = {"info": "info", "warning": "warning", "critical": "failure"}


def send(order: dict[str, Any], url: str) -> str | None:
    """What went wrong; None where the receiver accepted."""

    def same_id(idstring: str | None = None, domain: str | None = None) -> str:  # noqa: ARG001 - called as the one it stands for
        return f"<{order['message_id']}@{DOMAIN}>"

    # apprise makes an e-mail's Message-ID itself, another one at each attempt; a header of ours would stand beside it. Its plugins
    # take the function from here when they are loaded, which nothing in this process has done before.
    email.utils.make_msgid = same_id
    import apprise

    services = apprise.Apprise()
    if not services.add(url):
        return "apprise does not understand the URL"
    for service in services:
        service.socket_connect_timeout = service.socket_read_timeout = ANSWER_S
        headers = getattr(service, "headers", None)
        if isinstance(headers, dict):
            headers["Idempotency-Key"] = order["message_id"]
    logging.getLogger("apprise").setLevel(logging.DEBUG)
    result = services.notify(
        body=order["body"], title=order["subject"], notify_type=KINDS[order["severity"]], body_format="text", log_level=logging.DEBUG
    )
    if result:
        return None
    # A mail server's own words are in apprise's debugging log only, among much that is for nobody's eyes.
    said = [
        entry.message
        for entry in result.logs()
        if entry.level in ("WARNING", "ERROR", "CRITICAL") or entry.message.startswith("Socket Exception")
    ]
    return masked("; ".join(said) or "refused, without a reason given", url)


def masked(text: str, url: str) -> str:
    """The text without any part of the URL that could be a secret."""
    values = re.sub(r"^\w+://|[?&][+:-]?\w+=", "/", url)  # what is left of it without the service's name and its settings' names
    parts = {part for part in re.split(r"[/:@?&=#,;]+", values) if len(part) >= 4}
    for part in sorted(parts, key=len, reverse=True):
        text = text.replace(part, "***")
    return text[:500]


def main() -> None:
    order = json.load(sys.stdin)
    signal.alarm(order["seconds"])  # also where the sender has died: no attempt outlives its lease
    url = os.environ.get(order["variable"], "").strip()
    error = send(order, url) if url else f"the environment variable {order['variable']} is not set"
    json.dump({"error": error}, sys.stdout)


if __name__ == "__main__":
    main()
