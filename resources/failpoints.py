"""Places where the process can be made to kill itself, so that every order of death and restart can be tried.

`SMART_MAINTENANCE_FAIL_AT=merge.written` kills at the first pass of that place, `merge.written:3` at the third. It is the real
thing, SIGKILL: nothing is flushed, closed or rolled back. Without the variable a pass costs one look-up in the environment (0.4 µs).
"""

import os
import signal
from collections import Counter

FAIL_VARIABLE = "SMART_MAINTENANCE_FAIL_AT"
FAIL_POINTS = (
    "intake.marker_removed",
    "intake.claimed",
    "intake.hashed",
    "intake.spooled",
    "intake.parsed",
    "intake.segment_written",
    "intake.quarantine_written",
    "intake.synced",
    "intake.before_commit",
    "intake.committed",
    "intake.archived",
    "intake.put_back",
    "parquet.written",
    "parquet.synced",
    "parquet.renamed",
    "merge.read",
    "merge.written",
    "merge.before_commit",
    "merge.committed",
)

_passed: Counter[str] = Counter()


class UnknownFailPoint(Exception):
    """The variable names no place of ours, or no count; the message says which there are."""


def fail_point(name: str) -> None:
    """Die here, if that is asked for. Raises UnknownFailPoint."""
    setting = os.environ.get(FAIL_VARIABLE)
    if not setting:
        return
    wanted, _, count = setting.partition(":")
    if wanted not in FAIL_POINTS or not (count or "1").isdecimal():
        raise UnknownFailPoint(f"{FAIL_VARIABLE}={setting!r}: write name or name:count; the names are {', '.join(FAIL_POINTS)}.")
    _passed[name] += 1
    if name == wanted and _passed[name] == int(count or 1):
        os.kill(os.getpid(), signal.SIGKILL)
