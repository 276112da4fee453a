"""What the clock starts: reconciling, the nightly look at the whole history, the close of a site's day, weekly training."""

from collections.abc import Callable, Sequence
from datetime import timedelta

import dagster as dg
from sqlalchemy import Connection

from assets.partitions import SITE_TAG, SiteDay
from jobs.requests import is_at_work, pending_requests
from ml.failure_model import MIN_FAILING_MACHINES
from ml.plant import Site
from resources.ledger.intake import days_with_readings, processed_days
from resources.ledger.ledger import LedgerResource
from resources.ledger.machine_events import machines_that_failed


@dg.schedule(
    name="reconcile",
    job_name="process_site_day",
    cron_schedule="*/5 * * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Asks what the new-drop sensor asks, every five minutes: a lost event delays work and never loses it.",
)
def reconcile(context: dg.ScheduleEvaluationContext, ledger: LedgerResource) -> list[dg.RunRequest] | dg.SkipReason:
    if is_at_work(context.instance, "process_site_day"):
        return dg.SkipReason("Site-days are being processed; what still waits then is asked for next time.")
    hour = context.scheduled_execution_time.strftime("%Y-%m-%dT%H")  # what fails is tried again every hour, not every five minutes
    requests = [r.with_replaced_attrs(run_key=f"{r.run_key}:{hour}") for r in pending_requests(ledger, context.instance)]
    return requests or dg.SkipReason("Everything has gone through the chain.")


@dg.schedule(
    name="nightly_history_check",
    job_name="check_history",
    cron_schedule="0 2 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Each night at 2 (UTC): adds the whole history up, from the delivered bytes to the stored readings.",
)
def nightly_history_check(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    day = context.scheduled_execution_time.date().isoformat()
    return dg.RunRequest(run_key=day, run_config=dg.RunConfig(ops={"drops_files_of_drops_are_whole": {"config": {"day": day}}}))


def site_schedules(sites: Sequence[Site]) -> list[dg.ScheduleDefinition]:
    """The schedules that follow each site's own clock."""
    return [schedule for site in sites for schedule in (_close_of_day(site), _weekly_training(site), _weekly_failure_training(site))]


def _close_of_day(site: Site) -> dg.ScheduleDefinition:
    @dg.schedule(
        name=f"close_of_day_{_dagster_name(site)}",
        job_name="process_site_day",
        cron_schedule="30 0 * * *",
        execution_timezone="UTC",  # the day that closes is a UTC day, wherever the site is
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Half an hour after midnight (UTC): the day that ended, of {site.name}, once more, now that it is whole.",
    )
    def close_of_day(context: dg.ScheduleEvaluationContext, ledger: LedgerResource) -> dg.RunRequest | dg.SkipReason:
        finished = context.scheduled_execution_time.date() - timedelta(days=1)
        with ledger.begin() as connection:
            if finished not in days_with_readings(connection, site=site.site):
                return dg.SkipReason(f"{site.site} delivered nothing for {finished}.")
        return dg.RunRequest(partition_key=SiteDay(finished, site.site).key, tags={SITE_TAG: site.site})

    return close_of_day


def _weekly_training(site: Site) -> dg.ScheduleDefinition:
    needed = site.policy.training.min_healthy_days

    def lacks(connection: Connection) -> str | None:
        n = len(processed_days(connection, site=site.site))
        return f"{n} processed days; training needs {needed}" if n < needed else None

    words = f"a challenger for the detector of {site.name}, trained on its latest healthy days"
    return _on_sundays(site, name="weekly_training", job_name="train_detectors", hour=3, words=words, lacks=lacks)


def _weekly_failure_training(site: Site) -> dg.ScheduleDefinition:
    def lacks(connection: Connection) -> str | None:
        n, needed = machines_that_failed(connection, site=site.site), MIN_FAILING_MACHINES
        return f"labelled failures of {n} machines; a failure model needs {needed}" if n < needed else None

    words = f"the learned failure model of {site.name} anew, where enough failures are labelled"
    return _on_sundays(site, name="weekly_failure_training", job_name="train_failure_model", hour=4, words=words, lacks=lacks)


def _on_sundays(
    site: Site, *, name: str, job_name: str, hour: int, words: str, lacks: Callable[[Connection], str | None]
) -> dg.ScheduleDefinition:
    """A run for the site each week; `lacks`: what it has, where that is too little to learn from."""

    @dg.schedule(
        name=f"{name}_{_dagster_name(site)}",
        job_name=job_name,
        cron_schedule=f"0 {hour} * * 0",
        execution_timezone=site.time_zone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Sundays at {hour} in {site.time_zone}: {words}.",
    )
    def weekly(context: dg.ScheduleEvaluationContext, ledger: LedgerResource) -> dg.RunRequest | dg.SkipReason:
        with ledger.begin() as connection:
            too_little = lacks(connection)
        if too_little:
            return dg.SkipReason(f"{site.site} has {too_little}.")
        return dg.RunRequest(partition_key=site.site, tags={SITE_TAG: site.site})

    return weekly


def _dagster_name(site: Site) -> str:
    return site.site.replace("-", "_")
