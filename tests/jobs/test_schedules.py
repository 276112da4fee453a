"""What the clock asks for, at the times that Dagster would ask it."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import dagster as dg
import pandas as pd
import pytest

from assets.partitions import SITE_TAG
from jobs.schedules import nightly_history_check, reconcile, site_schedules
from ml.plant import Site
from resources.ledger.ledger import LedgerResource
from resources.ledger.machine_events import import_events
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


def of_site(zone: str) -> tuple[dg.ScheduleDefinition, dg.ScheduleDefinition, dg.ScheduleDefinition]:
    close_of_day, weekly_training, weekly_failure_training = site_schedules([site_in(zone)])
    assert (close_of_day.name, weekly_training.name) == ("close_of_day_the_site", "weekly_training_the_site")
    assert (close_of_day.execution_timezone, weekly_training.execution_timezone) == ("UTC", zone)
    assert (weekly_failure_training.name, weekly_failure_training.execution_timezone) == ("weekly_failure_training_the_site", zone)
    return close_of_day, weekly_training, weekly_failure_training


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


def test_reconciling_asks_for_what_waits_and_for_what_failed_once_an_hour(ledger: LedgerResource, instance: dg.DagsterInstance) -> None:
    assert tick(reconcile, ledger, NOON, instance) == "Everything has gone through the chain."
    deliver(ledger, "s", [date(2026, 10, 4)])
    keys = []
    for minutes in (0, 5, 55, 60):
        [request] = tick(reconcile, ledger, NOON + timedelta(minutes=minutes), instance)
        assert isinstance(request, dg.RunRequest)
        assert request.partition_key == "2026-10-04|s"
        keys.append(request.run_key)
    assert keys[0] == keys[1] == keys[2] != keys[3]


def test_reconciling_waits_while_site_days_are_processed(ledger: LedgerResource, instance: dg.DagsterInstance) -> None:
    deliver(ledger, "s", [date(2026, 10, 4)])
    run = instance.add_run(dg.DagsterRun(job_name="process_site_day", status=dg.DagsterRunStatus.STARTED))
    assert str(tick(reconcile, ledger, NOON, instance)).startswith("Site-days are being processed")
    instance.delete_run(run.run_id)
    instance.add_run(dg.DagsterRun(job_name="process_site_day", status=dg.DagsterRunStatus.SUCCESS))
    instance.add_run(dg.DagsterRun(job_name="intake", status=dg.DagsterRunStatus.STARTED))
    assert len(tick(reconcile, ledger, NOON, instance)) == 1


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/Chicago", "Asia/Kolkata", "UTC"])
@pytest.mark.parametrize("changes", [date(2026, 3, 29), date(2026, 10, 25), date(2026, 11, 1)], ids=str)
def test_the_close_of_day_asks_for_each_finished_utc_day_once_also_where_clocks_change(
    ledger: LedgerResource, zone: str, changes: date
) -> None:
    close_of_day, _, _ = of_site(zone)
    assert close_of_day.cron_schedule == "30 0 * * *"
    days = days_from(changes - timedelta(days=1), 3)
    deliver(ledger, "the-site", days_from(changes - timedelta(days=9), 18), is_processed=True)
    asked = []
    for day in days:
        [request] = tick(close_of_day, ledger, datetime(day.year, day.month, day.day, 0, 30, tzinfo=UTC))
        assert isinstance(request, dg.RunRequest)
        assert request.tags[SITE_TAG] == "the-site"
        asked.append(request.partition_key)
    assert asked == [f"{day - timedelta(days=1)}|the-site" for day in days]


def test_a_day_without_readings_is_not_closed(ledger: LedgerResource) -> None:
    close_of_day, _, _ = of_site("UTC")
    deliver(ledger, "the-site", [date(2026, 10, 18)], is_processed=True)
    deliver(ledger, "other", [date(2026, 10, 19)], is_processed=True)
    assert tick(close_of_day, ledger, datetime(2026, 10, 20, 0, 30, tzinfo=UTC)) == "the-site delivered nothing for 2026-10-19."


def test_each_night_the_history_check_hashes_other_originals() -> None:
    days = []
    for day in (20, 21):
        with dg.build_schedule_context(scheduled_execution_time=datetime(2026, 10, day, 2, tzinfo=UTC)) as context:
            request = nightly_history_check(context)
        assert isinstance(request, dg.RunRequest)
        days.append(request.run_config["ops"]["drops_files_of_drops_are_whole"]["config"]["day"])
    assert days == ["2026-10-20", "2026-10-21"]
    assert (nightly_history_check.cron_schedule, nightly_history_check.execution_timezone) == ("0 2 * * *", "UTC")


def test_weekly_training_wants_enough_days(ledger: LedgerResource) -> None:
    _, weekly_training, _ = of_site("Europe/Berlin")
    assert weekly_training.job_name == "train_detectors"
    deliver(ledger, "the-site", days_from(date(2026, 10, 1), 4), is_processed=True)
    deliver(ledger, "the-site", [date(2026, 10, 5)])
    assert tick(weekly_training, ledger, NOON) == "the-site has 4 processed days; training needs 5.", "the fifth has no features yet"
    deliver(ledger, "the-site", [date(2026, 10, 6)], is_processed=True)
    assert [r.partition_key for r in tick(weekly_training, ledger, NOON)] == ["the-site"]  # type: ignore[union-attr]


def test_a_failure_model_is_trained_weekly_only_where_enough_machines_have_labelled_failures(ledger: LedgerResource) -> None:
    _, _, weekly = of_site("Europe/Berlin")
    assert weekly.job_name == "train_failure_model"

    def label(site: str, machines: list[str], kind: str) -> None:
        rows = pd.DataFrame({"machine_id": machines, "at": pd.Timestamp("2026-10-01", tz="UTC"), "code": "c"})
        with ledger.begin() as connection:
            import_events(connection, rows, site=site, kind=kind, source_name="f.csv", import_id="1")

    label("the-site", ["P1", "P2", "P3"], "failure")
    label("the-site", ["P4", "P5"], "error")
    label("other", ["P6"], "failure")
    assert tick(weekly, ledger, NOON) == "the-site has labelled failures of 3 machines; a failure model needs 4."
    label("the-site", ["P4"], "failure")
    assert [r.partition_key for r in tick(weekly, ledger, NOON)] == ["the-site"]  # type: ignore[union-attr]
