"""The decisions sensor: when people decided on work or finished it, asks for a new plan of the site."""

import json

import dagster as dg

from assets.partitions import SITE_TAG, SiteDay
from resources.ledger.ledger import LedgerResource
from resources.ledger.plans import Change, changes_after

# An event may be committed after one with a higher id; so many ids back are looked at again.
OVERLAP = 100


@dg.sensor(
    job_name="plan_site_day",
    minimum_interval_seconds=5,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Sees decisions on work orders and finished work, and asks for one new plan per site, of the day of the newest.",
)
def decisions_sensor(context: dg.SensorEvaluationContext, ledger: LedgerResource) -> dg.SensorResult | dg.SkipReason:
    last, seen = json.loads(context.cursor) if context.cursor else (0, [])
    with ledger.begin() as connection:
        recent = changes_after(connection, after=last - OVERLAP)
    new = [change for change in recent if change.event_id not in seen]
    if not new:
        return dg.SkipReason("No new decision.")
    newest: dict[str, Change] = {}
    for change in sorted(new, key=lambda c: (c.day, c.event_id)):
        newest[change.site] = change
    last = recent[-1].event_id
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(run_key=change.run_key, partition_key=SiteDay(change.day, site).key, tags={SITE_TAG: site})
            for site, change in sorted(newest.items())
        ],
        cursor=json.dumps((last, [change.event_id for change in recent if change.event_id > last - OVERLAP])),
    )
