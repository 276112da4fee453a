"""Advisory generation: work orders, their schedule, reports."""

from datetime import datetime
from typing import Any

import dagster as dg
import pandas as pd

from assets.health import machine_health
from assets.manipulation import sensor_quality
from assets.partitions import SiteDay, site_days, site_days_of
from assets.prognosis import failure_predictions
from assets.recording import OWNERS, report
from assets.reporting.publish import publish
from assets.reporting.reports import KINDS
from ml.planning import plan
from ml.plant import Site
from ml.policy import follow_up, initial_state, propose
from resources.lake import LakeResource
from resources.ledger.findings import incidents_on, predictions_on
from resources.ledger.intake import mark_assessed, mark_processed
from resources.ledger.ledger import LedgerResource
from resources.ledger.work import (
    assignments_of_plan,
    last_decision_on,
    open_or_join,
    orders_awaiting,
    orders_to_plan,
    remind,
    replace_plan,
    resume_deferred,
)
from resources.plant import PlantResource
from resources.reports import ReportsResource

GROUP = "advisory_generation"


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"postgres"},
    code_version="1",
    partitions_def=site_days,
    deps=[failure_predictions],
    backfill_policy=dg.BackfillPolicy.single_run(),
)
def work_orders(context: dg.AssetExecutionContext, lake: LakeResource, ledger: LedgerResource, plant: PlantResource) -> None:
    """Work worth doing, and who says that it shall be done: one open order per machine and failure mode, in the ledger.

    Risk = probability of failure x consequence. A new incident joins its machine's open order. Urgent and confident work is
    approved by policy, all other waits for a person; unanswered it is reminded of, then escalated. Every change of state is
    a row of the audit log. Source: `failure_predictions` and incidents of the day. Consumer: `maintenance_schedule`.
    """
    for site_day in site_days_of(context):
        site = plant.site(site_day.site)
        as_of = _read_until(lake, site, site_day)
        where = site_day.where
        with ledger.begin() as connection:
            proposals = propose(
                incidents_on(connection, **where), predictions_on(connection, **where), site=site, as_of=pd.Timestamp(as_of)
            )
            orders = {open_or_join(connection, p, **where, state=initial_state(p, site.policy.approval), as_of=as_of) for p in proposals}
            resume_deferred(connection, site=site.site, until=as_of)
            reminders = 0
            for order_id, since in orders_awaiting(connection, site=site.site):
                if (what := follow_up(since, as_of, policy=site.policy.approval)) is not None:
                    words = {
                        "remind": "reminder: this order waits for a decision",
                        "escalate": "escalation: this order still waits for a decision",
                    }
                    reminders += remind(connection, order_id, at=as_of, what=words[what])
            mark_assessed(connection, **where)
        report(context, site_day, rows=len(orders - {None}), proposals=len(proposals), reminders=reminders)


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"ortools", "postgres"},
    code_version="1",
    partitions_def=site_days,
    deps=[work_orders],
    backfill_policy=dg.BackfillPolicy.single_run(),
)
def maintenance_schedule(context: dg.AssetExecutionContext, lake: LakeResource, ledger: LedgerResource, plant: PlantResource) -> None:
    """Who does which approved order when: one plan per site-day, by constraint programming (CP-SAT).

    All required skills, shifts in the site's time zone, holidays, absences, parts in stock, deadlines from the predicted
    failure, stable against the plan before. Urgent work outside every shift becomes an overtime call-out; what cannot be planned
    carries the reason. Only approved orders are planned. Consumers: technicians, `maintenance_reports`.
    """
    for site_day in site_days_of(context):
        site = plant.site(site_day.site)
        with ledger.begin() as connection:
            decided = last_decision_on(connection, site=site.site, start=site_day.start, end=site_day.end)
            start = max(_read_until(lake, site, site_day), decided or site_day.start)
            orders = orders_to_plan(connection, site=site.site, before=site_day.end)
            previous = assignments_of_plan(connection, site=site.site, before=site_day.day)
        planned = plan(_for_planning(orders, site), site=site, start=pd.Timestamp(start), previous=previous, seed=site.policy.training.seed)
        with ledger.begin() as connection:
            replace_plan(
                connection,
                {
                    "start_at": start,
                    "n_orders": planned.n_orders,
                    "n_planned": len(planned.assignments),
                    "status": planned.status,
                    "objective": planned.objective,
                    "gap": planned.gap,
                },
                site=site.site,
                day=site_day.day,
                assigned=planned.assignments,
                unplanned=planned.unplanned,
            )
        report(
            context,
            site_day,
            rows=len(planned.assignments),
            orders=planned.n_orders,
            unplanned=len(planned.unplanned),
            overtime=int(planned.assignments["is_overtime"].sum()),
            optimality_gap=planned.gap,
        )


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"html", "matplotlib"},
    code_version="1",
    partitions_def=site_days,
    deps=[maintenance_schedule, machine_health, sensor_quality],
    backfill_policy=dg.BackfillPolicy.single_run(),
)
def maintenance_reports(
    context: dg.AssetExecutionContext, lake: LakeResource, ledger: LedgerResource, plant: PlantResource, reports: ReportsResource
) -> None:
    """The day's four reports of a site (performance, anomalies, maintenance, system health), as HTML, JSON and text.

    Every figure is computed from the ledger and the lake. Ranges of days: the job `generate_report`. Reader: the planner.
    """
    sites = plant.sites()
    for site_day in site_days_of(context):
        written: dict[str, dg.MetadataValue[Any]] = {}
        for kind in KINDS:
            with ledger.begin() as connection:
                paths = publish(
                    kind,
                    connection=connection,
                    lake=lake,
                    reports=reports,
                    sites=sites,
                    site=site_day.site,
                    start=site_day.day,
                    end=site_day.day,
                )
            written[kind] = dg.MetadataValue.path(str(paths["html"]))
        with ledger.begin() as connection:
            mark_processed(connection, **site_day.where)
        report(context, site_day, rows=len(written), figures=written)


def _read_until(lake: LakeResource, site: Site, site_day: SiteDay) -> datetime:
    """The end of the last window that the site-day has read; its start where there is none."""
    windows = lake.read("machine_features", site=site.site, day=site_day.day, columns=["window_start"])
    if windows is None or windows.empty:
        return site_day.start
    until: datetime = (windows["window_start"].max() + pd.Timedelta(minutes=site.window_minutes)).to_pydatetime()
    return until


def _for_planning(orders: pd.DataFrame, site: Site) -> pd.DataFrame:
    areas = {machine.machine_id: machine.area for machine in site.machines}
    return orders.assign(
        area=orders["machine_id"].map(areas),
        skills=orders["skills"].map(tuple),
        parts=orders["parts"].map(tuple),
        parts_ordered_at=orders["ready_at"],  # parts are ordered when the work is approved
    )
