"""Advisory generation: work orders, their schedule, reports."""

from datetime import datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
from sqlalchemy import Connection

from assets.health import machine_health
from assets.learned_prognosis import learned_predictions
from assets.manipulation import sensor_quality
from assets.partitions import SiteDay, site_days, site_days_of
from assets.prognosis import failure_predictions
from assets.recording import OWNERS, Validations, column_schema, keep_validation, report
from assets.reporting.icalendar_text import calendar_text
from assets.reporting.publish import publish
from assets.reporting.reports import KINDS
from expectations.ledger_contracts import ASSIGNMENTS, UNPLANNED_ORDERS, WORK_ORDERS
from expectations.validation import ValidationOutcome
from ml.planning import Plan, plan
from ml.plant import Site
from ml.policy import follow_up, initial_state, is_expired, propose
from ml.shelving import not_shelved
from ml.workload import standing
from resources.lake import LakeResource
from resources.ledger.checked import orders_to_check, plan_to_check
from resources.ledger.findings import incidents_on, predictions_on
from resources.ledger.intake import mark_assessed, mark_processed
from resources.ledger.ledger import LedgerResource
from resources.ledger.opening import open_or_join
from resources.ledger.plans import (
    assignments_in_force,
    assignments_of_plan,
    assignments_on,
    last_change_on,
    newest_plan,
    orders_to_plan,
    replace_plan,
)
from resources.ledger.shelving import shelvings_between
from resources.ledger.work import expire, lock_site, orders_awaiting, remind, resume_deferred
from resources.plant import PlantResource
from resources.reports import ReportsResource
from resources.validation_pages import ValidationPagesResource

GROUP = "advisory_generation"


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"postgres", "greatexpectations"},
    code_version="2",
    partitions_def=site_days,
    deps=[failure_predictions],
    backfill_policy=dg.BackfillPolicy.single_run(),
    metadata={"dagster/column_schema": column_schema(WORK_ORDERS)},
    check_specs=[
        dg.AssetCheckSpec(
            "orders_can_be_worked_with",
            asset="work_orders",
            blocking=True,
            description="Open orders and those of the day are in a state there is, the one that the audit log says, their risk is not "
            "negative, they are due after they were opened. A failure is an error and stops the chain: nobody shall be sent to such work.",
        )
    ],
)
def work_orders(
    context: dg.AssetExecutionContext,
    lake: LakeResource,
    ledger: LedgerResource,
    plant: PlantResource,
    validation_pages: ValidationPagesResource,
) -> dg.MaterializeResult:
    """Work worth doing, and who says that it shall be done: one open order per machine and failure mode, in the ledger.

    Risk = probability of failure x consequence. A new incident joins its machine's open order. Urgent and confident work is
    approved by policy, all other waits for a person; unanswered it is reminded of, then escalated, and closed where the plant file
    says after how long. Every change of state is a row of the audit log. No work is proposed for what is shelved at the end of what
    the day has read. Source: `failure_predictions` and incidents of the day. Consumer: `maintenance_schedule`.
    """
    from expectations.suites import work_orders_suite
    from expectations.validation import validate_table

    validations = Validations(ledger, validation_pages, context.run.run_id)
    for site_day in site_days_of(context):
        site = plant.site(site_day.site)
        as_of = _read_until(lake, site, site_day)
        where = site_day.where
        with ledger.begin() as connection:
            active = incidents_on(connection, **where)
            shelvings = shelvings_between(connection, site=site.site, start=as_of, end=as_of)
            heard, predicted = not_shelved(active, predictions_on(connection, **where), shelvings=shelvings, at=as_of)
            proposals = propose(heard, predicted, site=site, as_of=pd.Timestamp(as_of))
            policy = site.policy.approval
            orders = {open_or_join(connection, p, **where, state=initial_state(p, policy), as_of=as_of, policy=policy) for p in proposals}
            resume_deferred(connection, site=site.site, until=as_of)
            reminders, expired = _follow_up(connection, site=site, as_of=as_of)
            mark_assessed(connection, **where)
            stored = orders_to_check(connection, **where)
        outcome = validate_table(stored, suite=work_orders_suite())
        with ledger.begin() as connection:
            validations.keep(connection, outcome, site_day)
        report(
            context,
            site_day,
            rows=len(orders - {None}),
            proposals=len(proposals),
            reminders=reminders,
            expired=expired,
            incidents_shelved=len(active) - len(heard),
        )
    return dg.MaterializeResult(check_results=[validations.check("orders_can_be_worked_with")])


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"ortools", "postgres", "greatexpectations"},
    code_version="1",
    partitions_def=site_days,
    deps=[work_orders],
    backfill_policy=dg.BackfillPolicy.single_run(),
    metadata={
        "dagster/column_schema": column_schema(ASSIGNMENTS),
        "unplanned_orders": dg.MetadataValue.table_schema(column_schema(UNPLANNED_ORDERS)),
    },
    check_specs=[
        dg.AssetCheckSpec(
            "the_plan_can_be_carried_out",
            asset="maintenance_schedule",
            blocking=True,
            description="Nobody has two orders at one time, nor has a machine; work ends after it began; only approved orders have a "
            "place. A failure is an error and stops the chain: no report shall hand such a plan out.",
        ),
        dg.AssetCheckSpec(
            "orders_without_a_place_say_why",
            asset="maintenance_schedule",
            description="Every order that the plan has no place for says what stands in the way. A failure is an error; the plan stands.",
        ),
    ],
)
def maintenance_schedule(
    context: dg.AssetExecutionContext,
    lake: LakeResource,
    ledger: LedgerResource,
    plant: PlantResource,
    reports: ReportsResource,
    validation_pages: ValidationPagesResource,
) -> dg.MaterializeResult:
    """Who does which approved order when: one plan per site-day, by constraint programming (CP-SAT).

    Crews with all required skills, shifts and breaks in the site's time zone, holidays, absences, parts in stock and on order, stop
    windows of machines, travel between areas, deadlines from the predicted failure, stable against the plan before. Urgent work outside
    every shift becomes an overtime call-out; what cannot be planned carries the reason and the smallest change that would make it fit.
    The plan in force is also written as a calendar per technician (iCalendar), beside the reports. Only
    approved orders are planned. Work whose slot has begun keeps it until people complete, cancel or defer it.
    The newest plan is the one in force: after an earlier day it is made anew. Consumers: technicians, `maintenance_reports`.
    """
    checks: PlanChecks = {}
    last: dict[str, SiteDay] = {}
    for site_day in site_days_of(context):
        site = plant.site(site_day.site)
        planned, checks[site_day] = _plan(site_day, site=site, lake=lake, ledger=ledger, run_id=context.run.run_id)
        last[site.site] = site_day
        report(
            context,
            site_day,
            rows=len(planned.assignments),
            planned=planned.assignments["order_id"].nunique(),
            orders=planned.n_orders,
            unplanned=len(planned.unplanned),
            overtime=planned.assignments.loc[planned.assignments["is_overtime"], "order_id"].nunique(),
            optimality_gap=planned.gap,
        )
    for site_day in last.values():
        with ledger.begin() as connection:
            newest = newest_plan(connection, site=site_day.site)
        if newest is not None and newest > site_day.day:
            again = SiteDay(newest, site_day.site)
            _, checks[again] = _plan(again, site=plant.site(site_day.site), lake=lake, ledger=ledger, run_id=context.run.run_id)
            context.log.info("The newest plan of %s, of %s, was made anew.", site_day.site, newest)
        written = _write_calendars(plant.site(site_day.site), ledger=ledger, reports=reports)
        context.log.info("The calendars of %s are in %s.", site_day.site, written)
    results = []
    for n, name in enumerate(("the_plan_can_be_carried_out", "orders_without_a_place_say_why")):
        outcomes = {site_day: outcome[n] for site_day, outcome in checks.items()}
        results.append(Validations(ledger, validation_pages, context.run.run_id, outcomes).check(name))
    return dg.MaterializeResult(check_results=results)


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"html", "matplotlib"},
    code_version="1",
    partitions_def=site_days,
    deps=[maintenance_schedule, machine_health, sensor_quality, learned_predictions],
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


FOLLOW_UP_WORDS = {
    "remind": "reminder: this order waits for a decision",
    "escalate": "escalation: this order still waits for a decision",
}


def _follow_up(connection: Connection, *, site: Site, as_of: datetime) -> tuple[int, int]:
    """Remind of the orders that wait for a decision, or close them where they have waited too long; how many of each."""
    reminders, expired = 0, 0
    policy = site.policy.approval
    for order_id, since in orders_awaiting(connection, site=site.site):
        if is_expired(since, as_of, policy=policy):
            expired += expire(connection, order_id, since=since, at=as_of)
        elif (what := follow_up(since, as_of, policy=policy)) is not None:
            reminders += remind(connection, order_id, since=since, at=as_of, what=FOLLOW_UP_WORDS[what])
    return reminders, expired


PlanChecks = dict[SiteDay, tuple[ValidationOutcome, ValidationOutcome]]  # of the assignments, of the orders without a place


def _plan(
    site_day: SiteDay, *, site: Site, lake: LakeResource, ledger: LedgerResource, run_id: str
) -> tuple[Plan, tuple[ValidationOutcome, ValidationOutcome]]:
    """Plan the site-day, store the plan and check it as it was stored.

    In the site's turn: nobody decides on an order between its reading and its writing.
    """
    from expectations.suites import assignments_suite, unplanned_orders_suite
    from expectations.validation import validate_table

    read_until = _read_until(lake, site, site_day)
    with ledger.begin() as connection:
        lock_site(connection, site.site)
        changed = last_change_on(connection, site=site.site, start=site_day.start, end=site_day.end)
        start = pd.Timestamp(max(read_until, changed or site_day.start))
        orders = orders_to_plan(connection, site=site.site, before=site_day.end)
        under_way = set(orders.loc[orders["state"] == "in_progress", "order_id"])
        previous, begun = standing(
            assignments_of_plan(connection, site=site.site, before=site_day.day),
            own=assignments_on(connection, **site_day.where),
            order_ids=list(orders["order_id"]),
            start=start,
            under_way=under_way,
        )
        orders = orders[~orders["order_id"].isin(under_way - set(begun))]  # begun without a place: who is at it, no plan knows
        planned = plan(_for_planning(orders), site=site, start=start, previous=previous, locked=begun, seed=site.policy.training.seed)
        replace_plan(
            connection,
            {
                "start_at": start.to_pydatetime(),
                "status": planned.status,
                "objective": planned.objective,
                "gap": planned.gap,
            },
            **site_day.where,
            assigned=planned.assignments,
            unplanned=planned.unplanned,
        )
        assigned, left_over = plan_to_check(connection, **site_day.where)
    outcomes = validate_table(assigned, suite=assignments_suite()), validate_table(left_over, suite=unplanned_orders_suite())
    with ledger.begin() as connection:
        for outcome in outcomes:
            keep_validation(connection, outcome, site_day, run_id=run_id)
    return planned, outcomes


def _write_calendars(site: Site, *, ledger: LedgerResource, reports: ReportsResource) -> Path:
    """A calendar per technician of the plan in force, also of those without work."""
    with ledger.begin() as connection:
        assigned = assignments_in_force(connection, site=site.site)
    texts = {
        t.technician_id: calendar_text(assigned[assigned["technician_id"] == t.technician_id], name=f"{t.name}, {site.name}")
        for t in site.technicians
    }
    return reports.write_calendars(site.site, texts=texts)


def _read_until(lake: LakeResource, site: Site, site_day: SiteDay) -> datetime:
    """The end of the last window that the site-day has read; its start where there is none."""
    windows = lake.read("machine_features", site=site.site, day=site_day.day, columns=["window_start"])
    if windows is None or windows.empty:
        return site_day.start
    until: datetime = (windows["window_start"].max() + pd.Timedelta(minutes=site.window_minutes)).to_pydatetime()
    return until


def _for_planning(orders: pd.DataFrame) -> pd.DataFrame:
    not_before = orders["not_before"].where(orders["not_before"] > orders["ready_at"], orders["ready_at"])
    return orders.assign(
        ready_at=not_before,
        crew=orders["crew"].map(lambda crew: tuple(map(tuple, crew))),
        parts=orders["parts"].map(tuple),
        parts_ordered_at=orders["ready_at"],  # parts are ordered when the work is approved
    )
