"""From waiting segments to runs: one per stretch of days, late days with what looks back on them, nothing asked for twice."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import insert, select

from assets.partitions import HEALTH_FALLS_WITHIN_DAYS, REACH_DAYS, SITE_TAG, SiteDay, range_tags
from definitions import defs
from jobs.pipeline import SITE_DAY_ASSETS
from jobs.requests import ACTIVE, is_at_work, pending_requests, reopened, stretches
from resources.ledger.intake import (
    PendingSiteDay,
    mark_assessed,
    mark_merged,
    mark_processed,
    pending_site_days,
    refused_by_sensor,
)
from resources.ledger.ledger import LedgerResource
from resources.ledger.quarantine import mark_released
from resources.ledger.reopening import reopen_following
from resources.ledger.tables import incident_assessments, incidents
from resources.quarantine import Group
from tests.ledger_states import days_from, deliver, judged

FIRST = date(2026, 10, 1)
START, END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def asked(ledger: LedgerResource, instance: dg.DagsterInstance) -> list[tuple[str, str]]:
    """(first, last) partition of each run asked for."""
    return [(r.partition_key or r.tags[START], r.partition_key or r.tags[END]) for r in pending_requests(ledger, instance)]


def test_nothing_waits_nothing_is_asked_for(ledger: LedgerResource, instance: dg.DagsterInstance) -> None:
    assert pending_requests(ledger, instance) == []
    deliver(ledger, "s", days_from(FIRST, 3), is_processed=True)
    assert pending_requests(ledger, instance) == []


def test_a_site_day_waits_until_reports_rest_on_it(ledger: LedgerResource, instance: dg.DagsterInstance) -> None:
    """A run that died half-way is made up for: what it merged is still asked for."""
    drop_id = deliver(ledger, "s", [FIRST])
    steps = (
        lambda c: mark_merged(c, site="s", day=FIRST, drop_ids=[drop_id]),
        lambda c: mark_assessed(c, site="s", day=FIRST),
        lambda c: mark_processed(c, site="s", day=FIRST),
    )
    for step in steps:
        assert asked(ledger, instance) == [("2026-10-01|s", "2026-10-01|s")]
        with ledger.begin() as connection:
            step(connection)
    assert asked(ledger, instance) == []


def test_one_day_is_a_run_of_its_partition_and_sites_are_apart(ledger: LedgerResource, instance: dg.DagsterInstance) -> None:
    deliver(ledger, "t", [FIRST])
    deliver(ledger, "s", [FIRST])
    requests = pending_requests(ledger, instance)
    assert [(r.partition_key, r.job_name, r.tags[SITE_TAG]) for r in requests] == [
        ("2026-10-01|s", "process_site_day", "s"),
        ("2026-10-01|t", "process_site_day", "t"),
    ]
    assert len({r.run_key for r in requests}) == 2


def test_a_stretch_of_days_is_one_range_run_per_site(ledger: LedgerResource, instance: dg.DagsterInstance) -> None:
    deliver(ledger, "s", days_from(FIRST, 2))
    deliver(ledger, "t", days_from(FIRST, 31))
    assert asked(ledger, instance) == [("2026-10-01|s", "2026-10-02|s"), ("2026-10-01|t", "2026-10-31|t")]
    assert [(r.partition_key, r.tags[SITE_TAG]) for r in pending_requests(ledger, instance)] == [(None, "s"), (None, "t")]


def test_a_gap_in_the_days_parts_a_stretch(ledger: LedgerResource, instance: dg.DagsterInstance) -> None:
    deliver(ledger, "s", [*days_from(FIRST, 6), date(2026, 10, 20)])
    assert asked(ledger, instance) == [("2026-10-01|s", "2026-10-06|s"), ("2026-10-20|s", "2026-10-20|s")]


def test_a_late_day_reopens_only_the_stored_days_that_look_back_on_it(ledger: LedgerResource, instance: dg.DagsterInstance) -> None:
    stored = [date(2026, 10, d) for d in (1, 3, 9, 11, 18, 20, 21, 23)]
    deliver(ledger, "s", stored, is_processed=True)
    deliver(ledger, "t", days_from(FIRST, 20), is_processed=True)
    deliver(ledger, "s", [date(2026, 10, 4)], name="late.csv")
    assert REACH_DAYS == 17, "the 20th looks back on the 4th to the 20th, the 21st no more"
    assert asked(ledger, instance) == [(f"2026-10-{d}|s",) * 2 for d in ("04", "09", "11", "18", "20")]


def reach_of_dependencies() -> dict[str, int]:
    """How many days later readings bear on each asset of the chain, by the look-backs that the assets declare."""
    specs = {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs()}

    def reach(name: str) -> int:
        later = [0]
        for dep in specs[name].deps:
            back = 0
            if isinstance(dep.partition_mapping, dg.MultiPartitionMapping):
                days = dep.partition_mapping.downstream_mappings_by_upstream_dimension["day"].partition_mapping
                back = -days.start_offset  # type: ignore[attr-defined]
            if dep.asset_key.to_user_string() in SITE_DAY_ASSETS:
                later.append(reach(dep.asset_key.to_user_string()) + back)
        return max(later)

    return {name: reach(name) for name in SITE_DAY_ASSETS}


def test_the_reach_is_what_the_assets_declare_to_look_back_on() -> None:
    reaches = reach_of_dependencies()
    assert (reaches["sensor_readings"], reaches["machine_features"], reaches["anomaly_scores"]) == (0, 0, 7)
    assert max(reaches.values()) == REACH_DAYS - 1, "REACH_DAYS in assets/partitions.py follows from the dependencies"


def merge(ledger: LedgerResource, day: date, *drop_ids: str) -> None:
    """What a run does first."""
    with ledger.begin() as connection:
        if mark_merged(connection, site="s", day=day, drop_ids=drop_ids):
            reopen_following(connection, site="s", day=day, reach_days=REACH_DAYS, health_days=HEALTH_FALLS_WITHIN_DAYS)


def finish(ledger: LedgerResource, *days: date) -> None:
    with ledger.begin() as connection:
        for day in days:
            mark_assessed(connection, site="s", day=day)
            mark_processed(connection, site="s", day=day)


def test_what_looks_back_on_a_late_day_waits_until_it_has_been_made_anew(ledger: LedgerResource, instance: dg.DagsterInstance) -> None:
    """A run that died between the late day and the days after it is made up for."""
    deliver(ledger, "s", days_from(FIRST, 4), is_processed=True)
    late = deliver(ledger, "s", [FIRST], name="late.csv")
    assert asked(ledger, instance) == [("2026-10-01|s", "2026-10-04|s")]
    merge(ledger, FIRST, late)
    assert asked(ledger, instance) == [("2026-10-01|s", "2026-10-04|s")], "merged, but nothing rests on it yet"
    finish(ledger, *days_from(FIRST, 2))
    assert asked(ledger, instance) == [("2026-10-03|s", "2026-10-04|s")]
    merge(ledger, FIRST, late)
    assert asked(ledger, instance) == [("2026-10-03|s", "2026-10-04|s")], "what was merged before reopens nothing"
    with ledger.begin() as connection:
        mark_processed(connection, site="s", day=date(2026, 10, 4))
    assert asked(ledger, instance) == [("2026-10-03|s", "2026-10-04|s")], "a new plan of the day alone is not enough"
    finish(ledger, *days_from(FIRST, 4))
    assert asked(ledger, instance) == []


def test_each_time_that_days_wait_again_their_runs_have_new_keys(ledger: LedgerResource, instance: dg.DagsterInstance) -> None:
    """A sensor asks once for each key: with the one of the first time it would wait for ever."""
    later = date(2026, 10, 5)
    deliver(ledger, "s", [FIRST, later], is_processed=True)
    seen: set[str | None] = set()
    for name in ("first.csv", "second.csv", "third.csv"):
        drop_id = deliver(ledger, "s", [FIRST], name=name)
        both = pending_requests(ledger, instance)
        assert [r.partition_key for r in both] == ["2026-10-01|s", "2026-10-05|s"]
        merge(ledger, FIRST, drop_id)
        finish(ledger, FIRST)
        [left] = pending_requests(ledger, instance)
        assert left.partition_key == "2026-10-05|s"
        keys = {both[0].run_key, both[1].run_key, left.run_key}
        assert len(keys) == 3
        assert not keys & seen
        seen |= keys
        assert [r.run_key for r in pending_requests(ledger, instance)] == [left.run_key], "as long as nothing else happens"
        finish(ledger, later)


def test_a_run_under_way_takes_along_what_it_has_made_wait(ledger: LedgerResource, instance: dg.DagsterInstance) -> None:
    deliver(ledger, "s", days_from(FIRST, 4), is_processed=True)
    late = deliver(ledger, "s", [FIRST], name="late.csv")
    tags = range_tags([SiteDay(day, "s") for day in days_from(FIRST, 3)])
    instance.add_run(dg.DagsterRun(job_name="process_site_day", status=dg.DagsterRunStatus.STARTED, tags=tags))
    merge(ledger, FIRST, late)
    assert asked(ledger, instance) == [("2026-10-04|s", "2026-10-04|s")], "this day only is not in its range"


def test_days_on_which_an_incident_goes_on_wait_again_to_its_end(ledger: LedgerResource, instance: dg.DagsterInstance) -> None:
    """Its onset names it, and late readings may move the onset."""
    days = days_from(FIRST, 40)
    deliver(ledger, "s", days, is_processed=True)
    for name, first, last in (("long", 10, 25), ("later", 20, 38), ("elsewhere", 0, 35)):
        known(ledger, "t" if name == "elsewhere" else "s", name, days[first : last + 1])
    merge(ledger, FIRST, deliver(ledger, "s", [FIRST], name="late.csv"))
    with ledger.begin() as connection:
        waiting = [p.day for p in pending_site_days(connection)]
    end = 25 + HEALTH_FALLS_WITHIN_DAYS
    assert waiting == days[: end + 1], "an incident from the 21st on is out of reach"


def known(ledger: LedgerResource, site: str, name: str, days: list[date]) -> None:
    """An incident that was active on these days."""
    judged(ledger, "elsewhere", date(2026, 1, 1))
    with ledger.begin() as connection:
        like = connection.execute(select(incident_assessments).where(incident_assessments.c.site == "elsewhere")).mappings().one()
        connection.execute(
            insert(incidents).values(incident_id=name, site=site, machine_id=name, onset_at=datetime.combine(days[0], time(1), UTC))
        )
        connection.execute(insert(incident_assessments), [{**like, "incident_id": name, "site": site, "day": day} for day in days])


def test_rows_only_refused_or_released_reopen_the_day_whose_grades_they_concern(
    ledger: LedgerResource, instance: dg.DagsterInstance
) -> None:
    deliver(ledger, "s", days_from(FIRST, 2), is_processed=True)
    both, reason = [("2026-10-01|s", "2026-10-02|s")], "out_of_physical_range"
    deliver(ledger, "s", [], name="spare", refused={FIRST: "unknown_sensor"})
    assert asked(ledger, instance) == []
    wild = deliver(ledger, "s", [], name="wild", refused={FIRST: reason})
    assert asked(ledger, instance) == both
    with ledger.begin() as connection:
        assert refused_by_sensor(connection, site="s", day=FIRST, reason=reason) == {"P1-T": 1}
        waiting = [drop_id for p in pending_site_days(connection, site="s") for drop_id in p.drop_ids]
    merge(ledger, FIRST, *waiting)
    finish(ledger, *days_from(FIRST, 2))
    assert asked(ledger, instance) == []
    release = deliver(ledger, "s", [], name="release", refused={FIRST: "wrong_unit"}, releases=wild)
    with ledger.begin() as connection:
        mark_released(connection, wild, [Group(day=FIRST, sensor_id="P1-T", reason=reason)], released_by=release)
        assert refused_by_sensor(connection, site="s", day=FIRST, reason=reason) == {}
    assert asked(ledger, instance) == both


def test_the_run_key_changes_with_what_waits_and_with_nothing_else(ledger: LedgerResource, instance: dg.DagsterInstance) -> None:
    deliver(ledger, "s", [FIRST])
    [first] = pending_requests(ledger, instance)
    deliver(ledger, "s", [date(2026, 10, 20)], name="elsewhere.csv")
    deliver(ledger, "t", [FIRST])
    again, _, _ = pending_requests(ledger, instance)
    assert again.run_key == first.run_key
    deliver(ledger, "s", [FIRST], name="second.csv")
    more, _, _ = pending_requests(ledger, instance)
    assert more.run_key != first.run_key
    assert more.partition_key == first.partition_key


def test_what_a_run_that_has_not_begun_will_take_along_is_not_asked_for_again(ledger: LedgerResource, instance: dg.DagsterInstance) -> None:
    deliver(ledger, "s", days_from(FIRST, 2))
    deliver(ledger, "t", [FIRST])
    waits = dg.DagsterRunStatus.NOT_STARTED
    stretch = [SiteDay(day, "s") for day in days_from(FIRST, 2)]
    ranged = instance.add_run(dg.DagsterRun(job_name="process_site_day", status=waits, tags=range_tags(stretch)))
    assert asked(ledger, instance) == [("2026-10-01|t", "2026-10-01|t")]
    single = instance.add_run(dg.DagsterRun(job_name="process_site_day", status=waits, tags={"dagster/partition": "2026-10-01|t"}))
    assert asked(ledger, instance) == []
    deliver(ledger, "s", [date(2026, 10, 3)], name="more.csv")
    assert asked(ledger, instance) == [("2026-10-01|s", "2026-10-03|s")], "that run ends a day early"
    for run in (ranged, single):
        instance.delete_run(run.run_id)
        instance.add_run(run.with_status(dg.DagsterRunStatus.STARTED))
    assert len(asked(ledger, instance)) == 2, "a run under way may have read before these came"


@given(
    offsets=st.frozensets(st.integers(0, 25), min_size=1),
    waiting=st.frozensets(st.integers(0, 25), min_size=1, max_size=5),
)
def test_what_is_reopened_is_what_waits_and_the_stored_days_within_reach(offsets: frozenset[int], waiting: frozenset[int]) -> None:
    stored = {FIRST + timedelta(days=n) for n in offsets | waiting}
    pending = [PendingSiteDay("s", FIRST + timedelta(days=n), ("d",), is_merged=False, reopened_at=None) for n in sorted(waiting)]
    found = reopened(pending, {"s": stored})
    wanted = {n for n in offsets | waiting if any(0 <= n - w < REACH_DAYS for w in waiting)}
    assert found == [SiteDay(FIRST + timedelta(days=n), "s") for n in sorted(wanted)]
    merged = [replace(p, is_merged=True) for p in pending]
    assert reopened(merged, {"s": stored}) == [SiteDay(p.day, "s") for p in pending], "merging has made the others wait, if they must"


@given(st.frozensets(st.tuples(st.integers(0, 30), st.sampled_from("st")), min_size=1))
def test_stretches_hold_every_site_day_once_and_are_as_long_as_can_be(chosen: frozenset[tuple[int, str]]) -> None:
    due = [SiteDay(FIRST + timedelta(days=n), site) for n, site in chosen]
    found = list(stretches(due))
    assert sorted(s for stretch in found for s in stretch) == sorted(due)
    for stretch in found:
        assert len({s.site for s in stretch}) == 1
        assert [s.day for s in stretch] == days_from(stretch[0].day, len(stretch))
        assert SiteDay(stretch[-1].day + timedelta(days=1), stretch[0].site) not in due


def test_a_queued_run_is_work_under_way() -> None:
    """An instance takes no queued run without the address of a code location; what is asked of it is this tuple."""
    assert dg.DagsterRunStatus.QUEUED in ACTIVE


@pytest.mark.parametrize(
    ("status", "is_work"),
    [("NOT_STARTED", True), ("STARTING", True), ("STARTED", True), ("SUCCESS", False), ("FAILURE", False), ("CANCELED", False)],
)
def test_only_unfinished_runs_of_the_job_count(status: str, is_work: bool) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_run(dg.DagsterRun(job_name="intake", status=dg.DagsterRunStatus(status)))
        assert is_at_work(instance, "intake") is is_work
        assert not is_at_work(instance, "process_site_day")
