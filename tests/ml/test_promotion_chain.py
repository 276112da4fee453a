"""The chain of hashes: what it is the hash of, and that whatever happens to a row is seen."""

import hashlib
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from ml.promotion_chain import CONTENT, broken_links, row_sha256

AT = datetime(2026, 11, 1, 12, 30, tzinfo=UTC)


def row(place: int, previous: str) -> dict[str, Any]:
    content: dict[str, Any] = {
        "site": "s", "place": place, "from_version": place - 1 or None, "to_version": place, "is_promoted": True,
        "at": AT + timedelta(days=place), "who": "ada", "why": "besser", "comparison": {"a": 1.5}, "metrics": {}, "data": {"n": [1, 2]},
        "previous_sha256": previous,
    }  # fmt: skip
    return {**content, "sha256": row_sha256(content), "promotion_id": 100 + place}


def chain(n: int) -> list[dict[str, Any]]:
    rows = []
    previous = "0" * 64
    for place in range(1, n + 1):
        rows.append(row(place, previous))
        previous = rows[-1]["sha256"]
    return rows


def test_the_hash_is_that_of_the_content_written_out() -> None:
    written = (
        '{"at":"2026-11-02T12:30:00.000000+00:00","comparison":{"a":1.5},"data":{"n":[1,2]},"from_version":null,"is_promoted":true,'
        f'"metrics":{{}},"place":1,"previous_sha256":"{"0" * 64}","site":"s","to_version":1,"who":"ada","why":"besser"}}'
    )
    assert chain(1)[0]["sha256"] == hashlib.sha256(written.encode()).hexdigest()


def test_the_same_moment_in_another_zone_is_the_same_content() -> None:
    one = row(1, "0" * 64)
    elsewhere = one | {"at": one["at"].astimezone(timezone(timedelta(hours=5)))}
    assert row_sha256(elsewhere) == one["sha256"]


def test_a_whole_chain_has_nothing_wrong() -> None:
    assert broken_links(chain(4)) == []
    assert broken_links([]) == []


@pytest.mark.parametrize("name", [n for n in CONTENT if n not in ("place", "previous_sha256", "site")])
def test_a_changed_value_is_seen_whichever_it_is(name: str) -> None:
    rows = chain(3)
    rows[1] = rows[1] | {name: {"is_promoted": False, "at": AT, "to_version": 9}.get(name, "changed")}
    [wrong] = broken_links(rows)
    assert wrong.startswith("promotion 2 of s (")
    assert "was changed after it was written" in wrong


def test_a_changed_row_with_a_new_hash_of_its_own_does_not_fit_the_next() -> None:
    rows = chain(3)
    changed = rows[1] | {"to_version": 9}
    rows[1] = changed | {"sha256": row_sha256(changed)}
    [wrong] = broken_links(rows)
    assert wrong.startswith("promotion 3 of s (")
    assert "does not follow on the row before it" in wrong


def test_a_missing_row_one_too_many_and_two_exchanged_are_seen() -> None:
    rows = chain(4)
    assert "stands where promotion 2 should" in broken_links([rows[0], *rows[2:]])[0]
    assert "stands where promotion 1 should" in broken_links(rows[1:])[0]
    assert "stands where promotion 3 should" in broken_links([*rows[:2], rows[1], *rows[2:]])[0]
    assert broken_links([rows[1], rows[0], *rows[2:]])


def test_what_a_chain_cannot_see_is_that_its_end_was_cut_off() -> None:
    assert broken_links(chain(4)[:3]) == []
