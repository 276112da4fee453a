"""From waiting segments to runs: one per site-day, one per long stretch, late days with what looks back on them."""

from datetime import date, timedelta

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.partitions import LOOK_BACK_DAYS, SiteDay
from jobs.requests import ACTIVE, SINGLE_RUNS_UP_TO, is_at_work, pending_requests, reopened, stretches
from resources.ledger.intake import PendingSiteDay
from resources.ledger.ledger import LedgerResource
from tests.ledger_states import days_from, deliver

FIRST = date(2026, 10, 1)
START, END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


def asked(ledger: LedgerResource) -> list[tuple[str, str]]:
    """(first, last) partition of each run asked for."""
    return [(r.partition_key or r.tags[START], r.partition_key or r.tags[END]) for r in pending_requests(ledger)]


def test_nothing_waits_nothing_is_asked_for(ledger: LedgerResource) -> None:
    assert pending_requests(ledger) == []
    deliver(ledger, "s", days_from(FIRST, 3), merged=True)
    assert pending_requests(ledger) == []


def test_a_few_days_are_a_run_each_and_sites_apart(ledger: LedgerResource) -> None:
    deliver(ledger, "t", [FIRST])
    deliver(ledger, "s", days_from(FIRST, SINGLE_RUNS_UP_TO))
    requests = pending_requests(ledger)
    assert {r.partition_key for r in requests} == {"2026-10-01|s", "2026-10-02|s", "2026-10-03|s", "2026-10-04|s", "2026-10-01|t"}
    assert {r.job_name for r in requests} == {"process_site_day"}
    assert len({r.run_key for r in requests}) == 5


def test_a_long_stretch_is_one_range_run_per_site(ledger: LedgerResource) -> None:
    deliver(ledger, "s", days_from(FIRST, SINGLE_RUNS_UP_TO + 1))
    deliver(ledger, "t", days_from(FIRST, 31))
    assert asked(ledger) == [("2026-10-01|s", "2026-10-05|s"), ("2026-10-01|t", "2026-10-31|t")]
    assert [r.partition_key for r in pending_requests(ledger)] == [None, None]


def test_a_gap_in_the_days_parts_a_stretch(ledger: LedgerResource) -> None:
    deliver(ledger, "s", [*days_from(FIRST, 6), date(2026, 10, 20)])
    assert asked(ledger) == [("2026-10-01|s", "2026-10-06|s"), ("2026-10-20|s", "2026-10-20|s")]


def test_a_late_day_reopens_only_the_stored_days_that_look_back_on_it(ledger: LedgerResource) -> None:
    deliver(ledger, "s", [FIRST, date(2026, 10, 3), date(2026, 10, 9), date(2026, 10, 10), date(2026, 10, 11), date(2026, 10, 12)], merged=True)
    deliver(ledger, "t", days_from(FIRST, 20), merged=True)
    deliver(ledger, "s", [date(2026, 10, 4)], name="late.csv")
    assert LOOK_BACK_DAYS == 7, "the 10th looks back on the 4th to the 10th, the 11th no more"
    assert asked(ledger) == [(f"2026-10-{d}|s",) * 2 for d in ("04", "09", "10")]


def test_the_run_key_changes_with_what_waits_and_with_nothing_else(ledger: LedgerResource) -> None:
    deliver(ledger, "s", [FIRST])
    [first] = pending_requests(ledger)
    [again] = pending_requests(ledger)
    assert first.run_key == again.run_key
    deliver(ledger, "s", [FIRST], name="second.csv")
    [more] = pending_requests(ledger)
    assert more.run_key != first.run_key
    assert more.partition_key == first.partition_key


@given(
    offsets=st.frozensets(st.integers(0, 25), min_size=1),
    waiting=st.frozensets(st.integers(0, 25), min_size=1, max_size=5),
)
def test_what_is_reopened_is_what_waits_and_the_stored_days_within_reach(offsets: frozenset[int], waiting: frozenset[int]) -> None:
    stored = {FIRST + timedelta(days=n) for n in offsets | waiting}
    pending = [PendingSiteDay("s", FIRST + timedelta(days=n), ("d",)) for n in sorted(waiting)]
    found = reopened(pending, {"s": stored})
    wanted = {n for n in offsets | waiting if any(0 <= n - w < LOOK_BACK_DAYS for w in waiting)}
    assert found == [SiteDay(FIRST + timedelta(days=n), "s") for n in sorted(wanted)]


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
