"""The learning sensors: a first detector when there are enough days, a new one after lasting drift, a new champion put to work."""

import json
from datetime import UTC, datetime, timedelta

import dagster as dg

from assets.partitions import LOOK_BACK_DAYS, SITE_TAG, SiteDay
from jobs.requests import run_requests
from ml.drift import is_cooling_down
from resources.ledger.drift import last_training, sustained_drift
from resources.ledger.intake import days_with_readings, processed_days
from resources.ledger.learning import latest_champion
from resources.ledger.ledger import LedgerResource
from resources.plant import PlantResource

MAX_TAG = 500


@dg.sensor(
    job_name="train_detectors",
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Asks for a site's first detector once enough finished days went through the chain; after a refusal, once per further day.",
)
def first_detector_sensor(
    context: dg.SensorEvaluationContext, ledger: LedgerResource, plant: PlantResource
) -> list[dg.RunRequest] | dg.SkipReason:
    requests = []
    for site in plant.sites():
        with ledger.begin() as connection:
            days = processed_days(connection, site=site.site)
            is_trained = latest_champion(connection, site=site.site) is not None
        finished = len(days) - 1  # the newest day may still go on
        if not is_trained and finished >= site.policy.training.min_healthy_days:
            run_key = f"{site.site}:first:{len(days)}:{days[-1]}"
            requests.append(dg.RunRequest(run_key=run_key, partition_key=site.site, tags={SITE_TAG: site.site}))
    return requests or dg.SkipReason("Every site with enough days of readings has a detector.")


@dg.sensor(
    job_name="train_detectors",
    minimum_interval_seconds=300,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Asks for a training where sensors have drifted on several of the latest days (policy.drift), at most once per cool-down.",
)
def drift_sensor(context: dg.SensorEvaluationContext, ledger: LedgerResource, plant: PlantResource) -> dg.SensorResult:
    """The cursor holds when each site's training was last asked for; days are those of the clock, as trainings are work of today."""
    now = datetime.now(UTC)
    asked: dict[str, str] = json.loads(context.cursor) if context.cursor else {}
    requests, waiting = [], []
    for site in plant.sites():
        with ledger.begin() as connection:
            found = sustained_drift(connection, site=site)
            is_of_champion = found is not None and found.version == latest_champion(connection, site=site.site)
            trained_at = last_training(connection, site=site.site)
        if found is None or not is_of_champion:
            continue
        asked_at = datetime.fromisoformat(asked[site.site]) if site.site in asked else None
        last = max((at for at in (trained_at, asked_at) if at is not None), default=None)
        if is_cooling_down(last, now=now, policy=site.policy.drift):
            waiting.append(f"{site.site}: {found.words}, but the latest training or request is from {last:%Y-%m-%d}")
            continue
        asked[site.site] = now.isoformat()
        run_key = f"{site.site}:drift:{found.version}:{now:%Y-%m-%dT%H:%M:%S}"
        tags = {SITE_TAG: site.site, "smart_maintenance/why": f"sustained drift: {found.words}"[:MAX_TAG]}
        requests.append(dg.RunRequest(run_key=run_key, partition_key=site.site, tags=tags))
    said = "; ".join(waiting) or "No site has sustained drift against its champion."
    return dg.SensorResult(run_requests=requests, skip_reason=None if requests else said, cursor=json.dumps(asked, sort_keys=True))


@dg.asset_sensor(
    asset_key=dg.AssetKey("detector_model"),
    name="new_champion_sensor",
    job_name="process_site_day",
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="After a training, scores the site's latest days with the champion, so that a new one is at work at once.",
)
def new_champion_sensor(
    context: dg.SensorEvaluationContext, asset_event: dg.EventLogEntry, ledger: LedgerResource
) -> list[dg.RunRequest] | dg.SkipReason:
    event, made = asset_event.dagster_event, asset_event.asset_materialization
    site = event.partition if event else None
    if not site or made is None or not made.metadata["is_champion"].value:
        return dg.SkipReason("The training made no champion.")
    with ledger.begin() as connection:
        days = days_with_readings(connection, site=site)
    recent = [SiteDay(day, site) for day in days if day > days[-1] - timedelta(days=LOOK_BACK_DAYS)]
    return list(run_requests(recent, key=asset_event.run_id))
