"""Sends messages to receivers, through apprise, each in a process of its own that ends within its time."""

import json
import subprocess
import sys
from collections.abc import Sequence

import dagster as dg

from ml.receivers import Receiver
from resources.home import CHECKOUT
from resources.ledger.outbox import Message

SEND_TIMEOUT_S = 30  # an attempt's end, whatever the receiver does; a fourth of the outbox's lease


class NotifierResource(dg.ConfigurableResource):
    """The way to the receivers; a receiver's URL is in the environment variable that its plant file names."""

    timeout_s: int = SEND_TIMEOUT_S

    def send(self, message: Message, receiver: Receiver) -> str | None:
        """What went wrong, in words; None where the receiver accepted the message."""
        order = {
            "variable": receiver.url_variable,
            "seconds": self.timeout_s,
            "message_id": message.message_id,
            "severity": message.severity,
            "subject": message.subject,
            "body": message.body,
        }
        command: Sequence[str] = (sys.executable, "-m", "resources.sending")
        try:
            done = subprocess.run(
                command, input=json.dumps(order), cwd=CHECKOUT, capture_output=True, text=True, timeout=self.timeout_s, check=False
            )
        except subprocess.TimeoutExpired:
            return f"no answer within {self.timeout_s} s"
        if done.returncode < 0:
            return f"no answer within {self.timeout_s} s" if -done.returncode == 14 else f"ended by signal {-done.returncode}"
        if done.returncode:
            error_type = (done.stderr.strip().splitlines() or [""])[-1].partition(":")[0]  # its words may hold the URL
            return f"the sending process ended with exit code {done.returncode} ({error_type})"
        error: str | None = json.loads(done.stdout)["error"]
        return error
