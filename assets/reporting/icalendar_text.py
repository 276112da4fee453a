"""A technician's plan as iCalendar (RFC 5545), for any calendar program to subscribe to or import.

A file holds the whole plan of one technician: what is no longer in it is no longer planned. The UID of an event is the order and its
technician, for ever; SEQUENCE rises when the time changes. Times are UTC.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import pandas as pd

FOLD_AT = 75  # octets of a line, without its break (RFC 5545, 3.1)
PRIORITY_NUMBERS = {"urgent": 1, "high": 3, "medium": 5, "low": 9}  # 1 is the highest (3.8.1.9)
# RFC 5545 wants at least one component, also of a technician without work.
_UTC_ZONE = (
    "BEGIN:VTIMEZONE", "TZID:UTC", "BEGIN:STANDARD", "DTSTART:19700101T000000", "TZOFFSETFROM:+0000", "TZOFFSETTO:+0000",
    "END:STANDARD", "END:VTIMEZONE",
)  # fmt: skip


def calendar_text(assigned: pd.DataFrame, *, name: str) -> str:
    """The calendar of the rows of `resources.ledger.plans.assignments_in_force`, all of one technician; `name` is shown by programs."""
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//Smart Maintenance//Schedule//EN", "CALSCALE:GREGORIAN", "METHOD:PUBLISH"]
    lines += [f"X-WR-CALNAME:{_escaped(name)}", *_UTC_ZONE]
    for row in assigned.to_dict("records"):
        lines += _event({str(key): value for key, value in row.items()})
    return "".join(f"{folded}\r\n" for line in [*lines, "END:VCALENDAR"] for folded in _folded(line))


def _event(row: Mapping[str, Any]) -> Iterator[str]:
    steps = [f"{n}. {step}" for n, step in enumerate(row["actions"], start=1)]
    parts = [f"Parts: {', '.join(row['parts'])}"] if row["parts"] else []
    others = [f"Together with: {row['others']}"] if row["others"] else []
    due = f"Due: {_stamp(row['due_at'])}" + (" (late)" if row["is_late"] else "")
    description = "\n".join([f"Order {row['order_id']}", due, *others, *parts, *steps])
    uid = f"{row['order_id']}.{row['technician_id']}@{row['site']}.smart-maintenance"
    yield "BEGIN:VEVENT"
    yield f"UID:{_escaped(uid)}"
    yield f"DTSTAMP:{_stamp(row['planned_at'])}"
    yield f"SEQUENCE:{row['revision']}"
    yield f"DTSTART:{_stamp(row['start_at'])}"
    yield f"DTEND:{_stamp(row['end_at'])}"
    yield f"SUMMARY:{_escaped(('Call-out: ' if row['is_overtime'] else '') + row['title'])}"
    yield f"LOCATION:{_escaped(row['machine_id'])}"
    yield f"DESCRIPTION:{_escaped(description)}"
    yield f"PRIORITY:{PRIORITY_NUMBERS[row['priority']]}"
    yield "STATUS:CONFIRMED"
    yield "END:VEVENT"


def _stamp(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y%m%dT%H%M%SZ}"


def _escaped(text: str) -> str:
    r"""Text as a value (3.3.11).

    >>> _escaped("a;b,c\\d\r\ne")
    'a\\;b\\,c\\\\d\\ne'
    """
    for raw, escaped in (("\\", "\\\\"), (";", "\\;"), (",", "\\,"), ("\r\n", "\\n"), ("\n", "\\n"), ("\r", "\\n")):
        text = text.replace(raw, escaped)
    return "".join(c for c in text if c == "\t" or not (ord(c) < 32 or ord(c) == 127))


def _folded(line: str) -> Iterator[str]:
    """Lines of at most FOLD_AT octets, no character torn apart; all but the first begin with a space."""
    start, room = "", FOLD_AT
    for character in line:
        size = len(character.encode())
        if size > room:
            yield start
            start, room = " ", FOLD_AT - 1
        start, room = start + character, room - size
    yield start
