"""What people are told: sees what has come up in the ledger and in Dagster's log, puts it into the outbox, asks for its sending."""

import json
from collections.abc import Iterator, Mapping, Sequence
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
OVERLAP = 1000  # an event may be committed after one with a higher id; so many ids back are looked at again
RUNS_PER_TICK = 50
ENDS = (dg.DagsterEventType.RUN_FAILURE, dg.DagsterEventType.RUN_SUCCESS)


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
        newest = {kind.value: max((r.storage_id for r in _ended(instance, kind, limit=1)), default=0) for kind in ENDS}
        context.update_cursor(json.dumps(newest))
        return dg.SkipReason("Failures are told from now on.")
    cursor: dict[str, int] = json.loads(context.cursor)
    known = {site.site: site for site in sites}
    events: list[Event] = []
    for kind in ENDS:
        ended = _ended(instance, kind, limit=RUNS_PER_TICK, after=max(0, cursor[kind.value] - OVERLAP))
        for record in ended:
            run = instance.get_run_by_id(record.run_id)
            if run is not None and run.job_name != SEND_JOB:  # who is not reached cannot be told so
                events += _failures_of(run, record, instance=instance, site=_site(run.tags, known), links=links)
        cursor[kind.value] = max([cursor[kind.value], *(record.storage_id for record in ended)])
    with ledger.begin() as connection:
        new = enqueue(connection, events, sites=sites, now=datetime.now(UTC))
    context.update_cursor(json.dumps(cursor))
    return dg.SkipReason(f"{new} new messages about failures.")


def _ended(instance: dg.DagsterInstance, kind: dg.DagsterEventType, *, limit: int, after: int | None = None) -> Sequence[dg.EventLogRecord]:
    """Runs that ended so: the first ones after that id, or, without one, the latest."""
    if after is None:
        return instance.fetch_run_status_changes(kind, limit=limit).records
    which = dg.RunStatusChangeRecordsFilter(event_type=kind, after_storage_id=after)  # type: ignore[arg-type]
    return instance.fetch_run_status_changes(which, limit=limit, ascending=True).records


def _failures_of(
    run: dg.DagsterRun, record: dg.EventLogRecord, *, instance: dg.DagsterInstance, site: Site | None, links: LinksResource
) -> Iterator[Event]:
    """That it failed, and its failed checks, but for those that made it fail."""
    to, scope = Links(run=links.run(run.run_id)), _scope(run.tags)
    end = record.event_log_entry
    if end.dagster_event is not None and end.dagster_event.event_type == dg.DagsterEventType.RUN_FAILURE:
        words = _why(instance, run.run_id) or end.dagster_event.message or "its log says why"
        yield run_failed(run_id=run.run_id, job=run.job_name, scope=scope, error=words, site=site, links=to)
    for entry in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION):
        evaluation: Any = entry.dagster_event.event_specific_data if entry.dagster_event else None
        is_error = evaluation is not None and evaluation.severity == dg.AssetCheckSeverity.ERROR
        if evaluation is None or evaluation.passed or (evaluation.blocking and is_error):
            continue
        yield check_failed(
            asset=evaluation.asset_key.to_user_string(),
            check=evaluation.check_name,
            is_error=is_error,
            scope=scope,
            day=datetime.fromtimestamp(entry.timestamp, UTC).date(),
            why=_reason(evaluation),
            site=site,
            links=to,
        )


def _reason(evaluation: Any) -> str:
    """What the check says of itself: its description, else what it lists as failed or gives as why."""
    metadata: Mapping[str, dg.MetadataValue[Any]] = evaluation.metadata
    said = [str(metadata[name].value) for name in ("why", "failed", "wrong") if name in metadata and metadata[name].value]
    return evaluation.description or "; ".join(said) or "it gives no reason"


def _why(instance: dg.DagsterInstance, run_id: str) -> str | None:
    """The failed step's own words."""
    events = (entry.dagster_event for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE))
    said = (words_of_failure(event) for event in events if event is not None)
    return next((words for words in said if words), None)


def words_of_failure(event: dg.DagsterEvent) -> str | None:
    """What a failed step says of itself, the step's name first."""
    data = event.step_failure_data
    told = data.user_failure_data.description if data.user_failure_data else None  # of a dg.Failure; its message names a class first
    words = told or ((data.error.cause or data.error).message if data.error else None)
    return f"{event.step_key}: {words.strip()}" if words else None


def _scope(tags: Mapping[str, str]) -> str:
    """The run's site-days: one partition, or the first and the last of a range."""
    first = tags.get("dagster/asset_partition_range_start") or tags.get("dagster/partition") or ""
    last = tags.get("dagster/asset_partition_range_end", first)
    return first if first == last else f"{first} to {last}"


def _site(tags: Mapping[str, str], sites: Mapping[str, Site]) -> Site | None:
    return sites.get(tags.get(SITE_TAG) or tags.get("dagster/partition/site") or "")
