"""What the clock asks for, at the times that Dagster would ask it."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from jobs.schedules import reconcile, site_schedules
from ml.plant import Site
from resources.ledger.ledger import LedgerResource
from tests.ledger_states import days_from, deliver

NOON = datetime(2026, 10, 20, 12, 0, tzinfo=UTC)


def site_in(zone: str) -> Site:
    machine = {"machine_id": "P1", "machine_class": "pump", "sensors": [{"sensor_id": "P1-T", "type": "temperature", "unit": "°C"}]}
    return Site.model_validate(
        {
            "site": "the-site",
            "name": "S",
            "first_day": "2026-09-01",
            "time_zone": zone,
            "machines": [machine],
            "policy": {"training": {"min_healthy_days": 5}},
        }
    )


def of_site(zone: str) -> tuple[dg.ScheduleDefinition, dg.ScheduleDefinition]:
    close_of_day, weekly_training = site_schedules([site_in(zone)])
    assert (close_of_day.name, weekly_training.name) == ("close_of_day_the_site", "weekly_training_the_site")
    assert close_of_day.execution_timezone == weekly_training.execution_timezone == zone
    return close_of_day, weekly_training


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """An instance that a schedule's context can open again."""
    with dg.DagsterInstance.local_temp() as instance:
        yield instance


def tick(
    schedule: dg.ScheduleDefinition, ledger: LedgerResource, at: datetime, instance: dg.DagsterInstance | None = None
) -> list[dg.RunRequest] | str:
    """What the schedule asks for at the time, or why it asks for nothing."""
    with dg.build_schedule_context(instance=instance, scheduled_execution_time=at, resources={"ledger": ledger}) as context:
        answer = schedule(context)
    match answer:
        case dg.SkipReason():
            return str(answer.skip_message)
        case dg.RunRequest():
            return [answer]
    return list(answer)


def test_reconciling_asks_for_what_waits_with_a_key_of_its_own(ledger: LedgerResource, instance: dg.DagsterInstance) -> None:
    assert tick(reconcile, ledger, NOON, instance) == "Every segment is merged."
    deliver(ledger, "s", [date(2026, 10, 4)])
    keys = set()
    for at in (NOON, NOON, NOON + timedelta(minutes=5)):
        requests = tick(reconcile, ledger, at, instance)
        assert [r.partition_key for r in requests] == ["2026-10-04|s"]  # type: ignore[union-attr]
        keys.update(r.run_key for r in requests)  # type: ignore[union-attr]
    assert len(keys) == 2, "five minutes later it asks again, whatever became of the run before"


def test_reconciling_waits_while_site_days_are_processed(ledger: LedgerResource, instance: dg.DagsterInstance) -> None:
    deliver(ledger, "s", [date(2026, 10, 4)])
    run = instance.add_run(dg.DagsterRun(job_name="process_site_day", status=dg.DagsterRunStatus.STARTED))
    assert str(tick(reconcile, ledger, NOON, instance)).startswith("Site-days are being processed")
    instance.delete_run(run.run_id)
    instance.add_run(dg.DagsterRun(job_name="process_site_day", status=dg.DagsterRunStatus.SUCCESS))
    instance.add_run(dg.DagsterRun(job_name="intake", status=dg.DagsterRunStatus.STARTED))
    assert len(tick(reconcile, ledger, NOON, instance)) == 1


@pytest.mark.parametrize(
    ("zone", "local", "finished"),
    [
        ("Europe/Berlin", "2026-10-20T00:30", "2026-10-18"),  # 22:30 UTC on the 19th: the 19th goes on for 90 minutes
        ("America/Chicago", "2026-10-20T00:30", "2026-10-19"),
        ("Asia/Kolkata", "2026-10-20T00:30", "2026-10-18"),
        ("UTC", "2026-10-20T00:30", "2026-10-19"),
        ("Europe/Berlin", "2026-10-25T00:30", "2026-10-23"),  # the night in which the clocks go back, summer time still
        ("Europe/Berlin", "2026-10-26T00:30", "2026-10-24"),  # the night after it, winter time
        ("America/Chicago", "2026-11-01T00:30", "2026-10-31"),
        ("America/Chicago", "2026-11-02T00:30", "2026-11-01"),
    ],
)
def test_the_close_of_a_sites_day_asks_for_the_last_finished_utc_day(ledger: LedgerResource, zone: str, local: str, finished: str) -> None:
    close_of_day, _ = of_site(zone)
    deliver(ledger, "the-site", days_from(date(2026, 10, 10), 30), merged=True)
    [request] = tick(close_of_day, ledger, datetime.fromisoformat(local).replace(tzinfo=ZoneInfo(zone)))
    assert request.partition_key == f"{finished}|the-site"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("zone", "change"),
    [
        ("Europe/Berlin", date(2026, 3, 29)),
        ("Europe/Berlin", date(2026, 10, 25)),
        ("America/Chicago", date(2026, 3, 8)),
        ("America/Chicago", date(2026, 11, 1)),
        ("Australia/Sydney", date(2026, 4, 5)),
        ("Australia/Sydney", date(2026, 10, 4)),
    ],
)
def test_across_a_clock_change_each_utc_day_is_asked_for_once(ledger: LedgerResource, zone: str, change: date) -> None:
    close_of_day, _ = of_site(zone)
    deliver(ledger, "the-site", days_from(change - timedelta(days=9), 18), merged=True)
    times = [datetime(d.year, d.month, d.day, 0, 30, tzinfo=ZoneInfo(zone)) for d in days_from(change - timedelta(days=3), 7)]
    assert len({at.utcoffset() for at in times}) == 2, "the clocks change among these nights"
    asked = [date.fromisoformat(str(tick(close_of_day, ledger, at)[0].partition_key).split("|")[0]) for at in times]  # type: ignore[union-attr]
    assert asked == days_from(asked[0], 7)
    for at, day in zip(times, asked, strict=True):
        end = datetime.combine(day, datetime.min.time(), UTC) + timedelta(days=1)
        assert timedelta(0) <= at - end < timedelta(days=1), "it has ended, and no later day has"


def test_a_day_without_readings_is_not_closed(ledger: LedgerResource) -> None:
    close_of_day, _ = of_site("UTC")
    deliver(ledger, "the-site", [date(2026, 10, 18)], merged=True)
    deliver(ledger, "other", [date(2026, 10, 19)], merged=True)
    assert tick(close_of_day, ledger, datetime(2026, 10, 20, 0, 30, tzinfo=UTC)) == "the-site delivered nothing for 2026-10-19."


def test_weekly_training_wants_enough_days(ledger: LedgerResource) -> None:
    _, weekly_training = of_site("Europe/Berlin")
    assert weekly_training.job_name == "train_detectors"
    deliver(ledger, "the-site", days_from(date(2026, 10, 1), 4))
    assert tick(weekly_training, ledger, NOON) == "the-site has 4 days of readings; training needs 5."
    deliver(ledger, "the-site", [date(2026, 10, 5)])
    assert [r.partition_key for r in tick(weekly_training, ledger, NOON)] == ["the-site"]  # type: ignore[union-attr]
