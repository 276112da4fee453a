"""Shelvings in the ledger: one at a time of each thing, limited, with a name and a reason, never taken away."""

from datetime import UTC, datetime, timedelta

import pytest

from ml.plant import AlarmPolicy
from ml.shelving import ShelvingRefused
from resources.ledger.ledger import LedgerResource
from resources.ledger.shelving import Target, list_shelvings, shelve, shelvings_between, unshelve

NOON = datetime(2026, 10, 5, 12, tzinfo=UTC)
MACHINE, INCIDENT, OTHER_SITE = Target("s", "P1"), Target("s", "P1", "P1@i"), Target("t", "P1")


def hour(n: float) -> datetime:
    return NOON + timedelta(hours=n)


def put(ledger: LedgerResource, target: Target, start: float, until: float, *, who: str = "Kim", why: str = "overhaul") -> int:
    with ledger.begin() as connection:
        return shelve(connection, target, start_at=hour(start), until=hour(until), who=who, why=why, policy=AlarmPolicy(max_shelved_h=48))


def end(ledger: LedgerResource, target: Target, at: float) -> int:
    with ledger.begin() as connection:
        return unshelve(connection, target, at=hour(at), who="Lee", why="done")


def in_force(ledger: LedgerResource, start: float, until: float, *, site: str = "s") -> list[int]:
    with ledger.begin() as connection:
        return [s.shelving_id for s in shelvings_between(connection, site=site, start=hour(start), end=hour(until))]


def test_it_is_in_force_from_its_start_up_to_its_end(ledger: LedgerResource) -> None:
    n = put(ledger, MACHINE, 0, 8)
    assert [in_force(ledger, a, b) for a, b in ((-2, -1), (-2, 0), (7, 7), (8, 9), (7.9, 9))] == [[], [n], [n], [], [n]]
    assert in_force(ledger, 1, 2, site="t") == []


def test_a_thing_is_shelved_once_at_a_time_and_again_when_that_is_over(ledger: LedgerResource) -> None:
    put(ledger, MACHINE, 0, 8)
    with pytest.raises(
        ShelvingRefused, match=r"P1 is shelved already, until 2026-10-05T20:00\+00:00 by Kim \(overhaul\); unshelve it first"
    ):
        put(ledger, MACHINE, 7, 9)
    put(ledger, INCIDENT, 1, 4)
    put(ledger, OTHER_SITE, 1, 4)
    put(ledger, MACHINE, 8, 9)


def test_unshelving_ends_it_and_says_who_and_why(ledger: LedgerResource) -> None:
    n = put(ledger, MACHINE, 0, 8)
    assert end(ledger, MACHINE, 3) == n
    assert (in_force(ledger, 2, 2), in_force(ledger, 3, 9)) == ([n], [])
    with ledger.begin() as connection:
        assert list_shelvings(connection, at=hour(3)).empty
        [row] = list_shelvings(connection).to_dict("records")
    assert (row["who"], row["why"], row["ended_by"], row["ended_why"]) == ("Kim", "overhaul", "Lee", "done")
    assert (row["until"], row["ended_at"], row["end_at"]) == (hour(8), hour(3), hour(3))
    assert row["end_recorded_at"] > row["recorded_at"]
    put(ledger, MACHINE, 3, 9)


@pytest.mark.parametrize("at", [-1, 8, 9])
def test_what_is_not_shelved_at_the_time_cannot_be_unshelved(ledger: LedgerResource, at: float) -> None:
    put(ledger, MACHINE, 0, 8)
    with pytest.raises(ShelvingRefused, match=r"P1 is not shelved$"):
        end(ledger, MACHINE, at)


def test_an_incident_of_a_shelved_machine_is_not_unshelved_alone(ledger: LedgerResource) -> None:
    put(ledger, MACHINE, 0, 8)
    with pytest.raises(ShelvingRefused, match="P1@i is not shelved; its machine is, so unshelve P1"):
        end(ledger, INCIDENT, 1)
    assert in_force(ledger, 2, 2) != []


@pytest.mark.parametrize(("who", "why"), [(" ", "overhaul"), ("Kim", "")])
def test_nobody_and_no_reason_are_refused(ledger: LedgerResource, who: str, why: str) -> None:
    with pytest.raises(ShelvingRefused, match="operator and reason must be given"):
        put(ledger, MACHINE, 0, 8, who=who, why=why)


def test_longer_than_allowed_is_refused_and_writes_nothing(ledger: LedgerResource) -> None:
    with pytest.raises(ShelvingRefused, match="49 hours are asked for, 48 allowed"):
        put(ledger, MACHINE, 0, 49)
    assert in_force(ledger, 0, 99) == []
