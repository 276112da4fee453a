"""The learning sensors: a first detector as soon as there are enough days, and a new champion put to work at once."""

from datetime import timedelta

import dagster as dg

from assets.partitions import LOOK_BACK_DAYS, SITE_TAG, SiteDay
from jobs.requests import run_requests
from resources.ledger.intake import days_with_readings, processed_days
from resources.ledger.learning import latest_champion
from resources.ledger.ledger import LedgerResource
from resources.plant import PlantResource


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
