"""The decisions sensor: when people decided, asks for a new plan of the site."""

from datetime import datetime

import dagster as dg

from assets.partitions import SiteDay
from resources.ledger.ledger import LedgerResource
from resources.ledger.work import decisions_after


@dg.sensor(
    job_name="plan_site_day",
    minimum_interval_seconds=5,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Sees decisions on work orders and asks for one new plan per site and day of decision.",
)
def decisions_sensor(context: dg.SensorEvaluationContext, ledger: LedgerResource) -> dg.SensorResult | dg.SkipReason:
    after = datetime.fromisoformat(context.cursor) if context.cursor else None
    with ledger.begin() as connection:
        new = decisions_after(connection, after=after)
    if not new:
        return dg.SkipReason("No new decision.")
    latest: dict[SiteDay, str] = {SiteDay(decided_at.date(), site): request_id for request_id, site, decided_at in new}
    requests = [dg.RunRequest(run_key=request_id, partition_key=site_day.key) for site_day, request_id in sorted(latest.items())]
    return dg.SensorResult(run_requests=requests, cursor=new[-1][2].isoformat())
