"""Health assessment: how well each machine is, from 0 to 100."""

import dagster as dg

from assets.detection import anomaly_scores, incidents
from assets.manipulation import machine_features
from assets.partitions import site_days, site_days_of
from assets.recording import OWNERS, Validations, column_schema, report
from expectations.contracts import ANOMALY_SCORES
from expectations.ledger_contracts import MACHINE_HEALTH
from ml.health import machine_health as health_of_machines
from resources.lake import LakeResource
from resources.ledger.findings import incidents_on
from resources.ledger.ledger import LedgerResource
from resources.ledger.rows import replace_site_day
from resources.ledger.tables import machine_health as health_table
from resources.plant import PlantResource
from resources.validation_pages import ValidationPagesResource


@dg.asset(
    group_name="health_assessment",
    owners=OWNERS,
    kinds={"pandas", "postgres", "greatexpectations"},
    code_version="2",
    partitions_def=site_days,
    deps=[anomaly_scores, incidents, machine_features],
    backfill_policy=dg.BackfillPolicy.single_run(),
    metadata={"dagster/column_schema": column_schema(MACHINE_HEALTH)},
    check_specs=[
        dg.AssetCheckSpec(
            "health_holds_its_contract",
            asset="machine_health",
            blocking=True,
            description="Every machine that reported has one row, its health and the parts in range, with an explanation. A failure is an "
            "error: the day's health stays as it was, and the chain stops, for predictions are asked where health falls.",
        )
    ],
)
def machine_health(
    context: dg.AssetExecutionContext,
    lake: LakeResource,
    ledger: LedgerResource,
    plant: PlantResource,
    validation_pages: ValidationPagesResource,
) -> dg.MaterializeResult:
    """Health of each machine on the day, from 100 (well) to 0, with the parts that cost points, in words.

    One row per machine in the ledger. Parts: the day's scores, how near the sensors come to their limits, the incidents by
    verdict; a higher score, a nearer limit or a further incident never raises it. Consumers: `failure_predictions`, reports.
    """
    from expectations.suites import machine_health_suite
    from expectations.validation import validate_table

    validations = Validations(ledger, validation_pages, context.run.run_id)
    for site_day in site_days_of(context):
        where = site_day.where
        site = plant.site(site_day.site)
        features = lake.read("machine_features", **where)
        if features is None:
            context.log.info("%s has no features on %s: no health.", site_day.site, site_day.day)
            continue
        scores = lake.read("anomaly_scores", **where)
        if scores is None:
            scores = ANOMALY_SCORES.schema.empty_table().to_pandas()
        with ledger.begin() as connection:
            active = incidents_on(connection, **where)
        health = health_of_machines(scores, features=features, incidents=active, site=site, day=site_day.day)
        reporting = {machine.machine_id for machine in site.machines} & set(features["machine_id"])
        outcome = validate_table(health, suite=machine_health_suite(n_reporting=len(reporting)))
        with ledger.begin() as connection:
            validations.keep(connection, outcome, site_day)
            if outcome.success:
                replace_site_day(connection, health_table, health, **where)
        worst = health.nsmallest(1, "health").to_dict("records")
        report(
            context,
            site_day,
            rows=len(health),
            mean_health=float(health["health"].mean()) if len(health) else 100.0,
            worst_machine=f"{worst[0]['machine_id']}: {worst[0]['health']:.0f}" if worst else "none",
        )
    return dg.MaterializeResult(check_results=[validations.check("health_holds_its_contract")])
