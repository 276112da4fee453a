"""Shelving: limited, of a machine or one incident, over by itself; what it keeps from becoming work."""

from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from ml.plant import AlarmPolicy
from ml.shelving import Shelving, ShelvingRefused, are_shelved, demand_limited, holding, not_shelved, released_at

NOON = datetime(2026, 3, 8, 12, tzinfo=UTC)


def hours(n: float) -> timedelta:
    return timedelta(hours=n)


def shelving(
    start: float, until: float, *, n: int = 1, machine: str = "A", incident: str | None = None, ended: float | None = None
) -> Shelving:
    return Shelving(n, machine, incident, NOON + hours(start), NOON + hours(until), None if ended is None else NOON + hours(ended))


@pytest.mark.parametrize(("at", "is_held"), [(-0.01, False), (0, True), (1.99, True), (2, False)])
def test_it_holds_from_its_start_up_to_its_end(at: float, *, is_held: bool) -> None:
    assert shelving(0, 2).holds_at(NOON + hours(at)) == is_held


def test_it_is_over_when_a_person_ends_it_before_its_time() -> None:
    ended = shelving(0, 8, ended=1)
    assert ended.holds_at(NOON + hours(0.5))
    assert not ended.holds_at(NOON + hours(1))


def test_a_machine_is_shelved_with_all_its_incidents_and_an_incident_alone() -> None:
    machine, incident = shelving(0, 2), shelving(0, 2, incident="A@1")
    assert holding([machine], machine_id="A", incident_id="A@1", at=NOON) == machine
    assert holding([machine], machine_id="B", incident_id="B@1", at=NOON) is None
    assert holding([incident], machine_id="A", incident_id="A@1", at=NOON) == incident
    assert holding([incident], machine_id="A", incident_id="A@2", at=NOON) is None
    assert holding([incident], machine_id="A", incident_id=None, at=NOON) is None, "the machine is not shelved with one of its incidents"


def test_of_several_the_one_that_lasts_longest_holds() -> None:
    short, long = shelving(0, 1, n=1), shelving(-1, 5, n=2, incident="A@1")
    assert holding([short, long], machine_id="A", incident_id="A@1", at=NOON) == long


def test_release_comes_after_shelvings_that_follow_on_each_other() -> None:
    one, two, later = shelving(0, 2, n=1), shelving(2, 3, n=2, incident="A@1"), shelving(5, 6, n=3)
    shelvings = [one, two, later]
    assert released_at(shelvings, machine_id="A", incident_id="A@1", at=NOON) == NOON + hours(3)
    assert released_at(shelvings, machine_id="A", incident_id="A@2", at=NOON) == NOON + hours(2)
    assert released_at(shelvings, machine_id="A", incident_id="A@1", at=NOON + hours(4)) == NOON + hours(4)


def test_no_longer_than_the_policy_allows_and_never_backwards() -> None:
    policy = AlarmPolicy(max_shelved_h=12)
    demand_limited(NOON, NOON + hours(12), policy=policy)
    with pytest.raises(ShelvingRefused, match=r"12\.5 hours are asked for, 12 allowed .*; until 2026-03-09T00:00\+00:00 at the latest"):
        demand_limited(NOON, NOON + hours(12.5), policy=policy)
    with pytest.raises(ShelvingRefused, match="is not after the start"):
        demand_limited(NOON, NOON, policy=policy)


INCIDENTS = pd.DataFrame({"incident_id": ["A@1", "A@2", "B@1"], "machine_id": ["A", "A", "B"]}, index=[7, 8, 9])
PREDICTIONS = pd.DataFrame({"machine_id": ["A", "A", "B", "B"], "incident_ids": [["A@1"], ["A@1", "A@2"], ["B@1"], []]}, index=[4, 3, 2, 1])


def test_work_may_be_proposed_for_what_is_not_shelved() -> None:
    of_incident = [shelving(0, 2, incident="A@1")]
    assert are_shelved(INCIDENTS, of_incident, at=NOON).tolist() == [True, False, False]
    incidents, predictions = not_shelved(INCIDENTS, PREDICTIONS, shelvings=of_incident, at=NOON)
    assert list(incidents["incident_id"]) == ["A@2", "B@1"]
    assert list(predictions.index) == [3, 2, 1], "a prediction stands while one of its incidents is heard"
    incidents, predictions = not_shelved(INCIDENTS, PREDICTIONS, shelvings=[shelving(0, 2, machine="B")], at=NOON)
    assert list(incidents["incident_id"]) == ["A@1", "A@2"]
    assert list(predictions.index) == [4, 3], "also the one that was asked for falling health"


def test_with_nothing_shelved_or_nothing_found_nothing_is_left_out() -> None:
    incidents, predictions = not_shelved(INCIDENTS, PREDICTIONS, shelvings=[shelving(0, 2)], at=NOON + hours(2))
    assert (len(incidents), len(predictions)) == (3, 4)
    incidents, predictions = not_shelved(INCIDENTS.iloc[:0], PREDICTIONS.iloc[:0], shelvings=[shelving(0, 2)], at=NOON)
    assert (len(incidents), len(predictions)) == (0, 0)
