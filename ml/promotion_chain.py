"""The history of a site's champions as a chain of hashes: a row changed, left out or put in afterwards breaks it.

Each row holds the sha256 over its own content and the row before it, so that any row vouches for all earlier ones. What a
chain cannot tell: that its last rows were cut off, or that somebody who may write anything computed it anew. Whoever wants to know
that, too, keeps the hash of the last row elsewhere.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

BEFORE_THE_FIRST = "0" * 64
CONTENT = (
    "site",
    "place",
    "from_version",
    "to_version",
    "is_promoted",
    "at",
    "who",
    "why",
    "comparison",
    "metrics",
    "data",
    "previous_sha256",
)


def row_sha256(row: Mapping[str, Any]) -> str:
    """Over CONTENT as JSON with sorted names and no white space; times in UTC with microseconds. Other columns do not count.

    Numbers must be as the database gives them back: it keeps 1e16 as an integer.
    """
    content = {name: _text(row[name]) if isinstance(row[name], datetime) else row[name] for name in CONTENT}
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()).hexdigest()


def _text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def broken_links(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is wrong with the rows of one site, in the order of their places; nothing where the chain is whole."""
    wrong: list[str] = []
    previous = BEFORE_THE_FIRST
    for place, row in enumerate(rows, start=1):
        named = f"promotion {row['place']} of {row['site']} ({_text(row['at'])})"
        if row["place"] != place:
            return [*wrong, f"{named} stands where promotion {place} should: rows are missing, or were put in."]
        if row["previous_sha256"] != previous:
            wrong.append(f"{named} does not follow on the row before it, which is not the one that it was written after.")
        if row_sha256(row) != row["sha256"]:
            wrong.append(f"{named} was changed after it was written: its content no longer has its sha256.")
        previous = row["sha256"]
    return wrong


def champions_in_turn(rows: Sequence[Mapping[str, Any]]) -> list[int]:
    """The champions that a rollback goes back through, the standing one last: whoever was gone back to has nobody after it.

    >>> step = lambda *versions: [{"to_version": v, "is_promoted": True} for v in versions]
    >>> champions_in_turn(step(1, 2, 3, 2)), champions_in_turn(step(1, 2, 1, 4))
    ([1, 2], [1, 4])
    """
    turn: list[int] = []
    for row in rows:
        version = row["to_version"]
        if not row["is_promoted"]:
            continue
        if version is None:  # the alias was taken away: nobody is champion, and whoever comes next has nobody before it
            turn = []
        elif version in turn:
            turn = turn[: turn.index(version) + 1]
        else:
            turn.append(version)
    return turn
