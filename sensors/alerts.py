"""What people are told: sees what has come up in the ledger and in Dagster's log, puts it into the outbox, asks for its sending."""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from assets.partitions import SITE_TAG
from jobs.notifications import SEND_JOB
from jobs.requests import is_at_work
from ml.notifications import Event, Links, check_failed, run_failed
from ml.plant import Site
from resources.ledger.ledger import LedgerResource
from resources.ledger.outbox import enqueue, give_back, has_due, withdraw
from resources.ledger.telling import ABOUT_ORDERS, events_of
from resources.links import LinksResource
from resources.plant import PlantResource

NOBODY = "No plant file names a receiver."
OVERLAP = 100  # an event may be committed after one with a higher id; so many ids back are looked at again
EVENTS_PER_TICK = 500


@dg.sensor(
    job_name=SEND_JOB,
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Puts into the outbox what the ledger says that people should know, takes out what is no longer so, and asks for the "
    "sending of what is due: critical incidents, decisions wanted, work scheduled and overdue, sustained drift.",
)
def notifications_sensor(
    context: dg.SensorEvaluationContext, ledger: LedgerResource, plant: PlantResource, links: LinksResource
) -> dg.RunRequest | dg.SkipReason:
    sites = plant.sites()
    receivers = [(site, receiver) for site in sites for receiver in site.receivers]
    if not receivers:
        return dg.SkipReason(NOBODY)
    now = datetime.now(UTC)
    with ledger.begin() as connection:
        for site in sites:
            events = events_of(connection, site=site, now=now, links=links)
            enqueue(connection, events, sites=sites, now=now)
            withdraw(connection, site=site.site, kinds=ABOUT_ORDERS, still_true={event.key for event in events})
        give_back(connection, now=now)
        due = [receiver.receiver_id for site, receiver in receivers if has_due(connection, receiver, site=site, now=now)]
    if not due:
        return dg.SkipReason("Nothing is due.")
    if is_at_work(context.instance, SEND_JOB):
        return dg.SkipReason(f"Messages for {', '.join(due)} wait for the sending that is under way.")
    return dg.RunRequest()


@dg.sensor(
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Puts failed runs and failed checks that stopped nothing into the outbox. A tick that fails looks at the same again.",
)
def failures_sensor(
    context: dg.SensorEvaluationContext, ledger: LedgerResource, plant: PlantResource, links: LinksResource
) -> dg.SkipReason:
    # A run_failure_sensor goes on past a run whose evaluation raised, and knows no checks.
    sites = plant.sites()
    instance = context.instance
    if context.cursor is None:
        context.update_cursor(json.dumps({"runs": _newest_failed_run(instance), "checks": _newest_check(instance)}))
        return dg.SkipReason("Failures are told from now on.")
    cursor: dict[str, int] = json.loads(context.cursor)
    runs = instance.fetch_run_status_changes(
        dg.RunStatusChangeRecordsFilter(event_type=dg.DagsterEventType.RUN_FAILURE, after_storage_id=max(0, cursor["runs"] - OVERLAP)),
        limit=EVENTS_PER_TICK,
        ascending=True,
    ).records
    checks = instance.get_event_records(
        dg.EventRecordsFilter(dg.DagsterEventType.ASSET_CHECK_EVALUATION, after_cursor=max(0, cursor["checks"] - OVERLAP)),
        limit=EVENTS_PER_TICK,
        ascending=True,
    )
    known = {site.site: site for site in sites}
    events = [
        *_failed_runs(runs, instance=instance, sites=known, links=links),
        *_failed_checks(checks, instance=instance, sites=known, links=links),
    ]
    with ledger.begin() as connection:
        new = enqueue(connection, events, sites=sites, now=datetime.now(UTC))
    last = {name: max([cursor[name], *(r.storage_id for r in found)]) for name, found in (("runs", runs), ("checks", checks))}
    context.update_cursor(json.dumps(last))
    return dg.SkipReason(f"{new} new messages about failures.")


def _failed_runs(
    records: Iterable[dg.EventLogRecord], *, instance: dg.DagsterInstance, sites: Mapping[str, Site], links: LinksResource
) -> list[Event]:
    """But for failed sendings: who is not reached cannot be told so."""
    events = []
    for record in records:
        run = instance.get_run_by_id(record.run_id)
        if run is None or run.job_name == SEND_JOB:
            continue
        events.append(
            run_failed(
                run_id=run.run_id,
                job=run.job_name,
                scope=_scope(run.tags),
                error=_why(instance, run.run_id) or record.event_log_entry.user_message or record.event_log_entry.message,
                site=_site(run.tags, sites),
                links=Links(run=links.run(run.run_id)),
            )
        )
    return events


def _failed_checks(
    records: Iterable[dg.EventLogRecord], *, instance: dg.DagsterInstance, sites: Mapping[str, Site], links: LinksResource
) -> list[Event]:
    """But for those that failed their run, which is told."""
    events = []
    for record in records:
        event = record.event_log_entry.dagster_event
        evaluation: Any = event.event_specific_data if event else None
        is_error = evaluation is not None and evaluation.severity == dg.AssetCheckSeverity.ERROR
        if evaluation is None or evaluation.passed or (evaluation.blocking and is_error):
            continue
        run = instance.get_run_by_id(record.run_id)
        tags = run.tags if run else {}
        site = _site(tags, sites)
        day = datetime.fromtimestamp(record.timestamp, UTC).date()
        events.append(
            check_failed(
                asset=evaluation.asset_key.to_user_string(),
                check=evaluation.check_name,
                is_error=is_error,
                scope=_scope(tags),
                day=day,
                why=_reason(evaluation),
                site=site,
                links=Links(run=links.run(record.run_id)),
            )
        )
    return events


def _reason(evaluation: Any) -> str:
    """What the check says of itself: its description, else what it lists as failed or gives as why."""
    metadata: Mapping[str, dg.MetadataValue[Any]] = evaluation.metadata
    said = [str(metadata[name].value) for name in ("why", "failed", "wrong") if name in metadata and metadata[name].value]
    return evaluation.description or "; ".join(said) or "it gives no reason"


def _why(instance: dg.DagsterInstance, run_id: str) -> str | None:
    """The failed step's own words."""
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
        event = entry.dagster_event
        error = event.step_failure_data.error if event else None
        if event and error:
            return f"{event.step_key}: {(error.cause or error).message.strip()}"
    return None


def _scope(tags: Mapping[str, str]) -> str:
    """The run's site-days: one partition, or the first and the last of a range."""
    first = tags.get("dagster/asset_partition_range_start") or tags.get("dagster/partition") or ""
    last = tags.get("dagster/asset_partition_range_end", first)
    return first if first == last else f"{first} to {last}"


def _site(tags: Mapping[str, str], sites: Mapping[str, Site]) -> Site | None:
    return sites.get(tags.get(SITE_TAG) or tags.get("dagster/partition/site") or "")


def _newest_failed_run(instance: dg.DagsterInstance) -> int:
    found = instance.fetch_run_status_changes(dg.DagsterEventType.RUN_FAILURE, limit=1).records
    return found[0].storage_id if found else 0


def _newest_check(instance: dg.DagsterInstance) -> int:
    found = instance.get_event_records(dg.EventRecordsFilter(dg.DagsterEventType.ASSET_CHECK_EVALUATION), limit=1)
    return found[0].storage_id if found else 0
