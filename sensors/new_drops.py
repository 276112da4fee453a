"""The new-drop sensor: when drops were taken in, asks for the site-days that they belong to."""

import dagster as dg

from jobs.requests import pending_requests
from resources.ledger.ledger import LedgerResource


@dg.asset_sensor(
    asset_key=dg.AssetKey("drops"),
    name="new_drops_sensor",
    job_name="process_site_day",
    minimum_interval_seconds=5,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="After each intake, asks for the site-days that got new readings, and the later days that look back on them.",
)
def new_drops_sensor(
    context: dg.SensorEvaluationContext, asset_event: dg.EventLogEntry, ledger: LedgerResource
) -> list[dg.RunRequest] | dg.SkipReason:
    return pending_requests(ledger, context.instance) or dg.SkipReason("Nothing waits, or a queued run takes it along.")
