"""Learning: a detector per site, trained on healthy days, compared with the champion; drift against what it has seen."""

from datetime import date

import dagster as dg
from pydantic import Field

from assets.champions import champion_of, note_champion, training_told
from assets.contest import compare
from assets.manipulation import machine_features
from assets.partitions import across_site, site, site_days, site_days_of
from assets.recording import OWNERS, Validations, column_schema, report
from assets.training import days_to_learn_from, material_of, put_to_work, training_of
from expectations.ledger_contracts import DRIFT_FINDINGS
from ml.drift import REFERENCE_COLUMNS, drift, reference_sample
from ml.healthy import split_days
from resources.lake import LakeResource
from resources.ledger.drift import sustained_drift
from resources.ledger.ledger import LedgerResource
from resources.ledger.rows import replace_site_day
from resources.ledger.tables import drift_findings
from resources.models import CHAMPION, DETECTOR, ModelsResource
from resources.plant import PlantResource
from resources.validation_pages import ValidationPagesResource

GROUP = "learning"


class TrainingConfig(dg.Config):
    until: str | None = Field(default=None, description="Last day (UTC, YYYY-MM-DD) to learn from. Left out: the newest day with readings.")


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"numpy", "mlflow"},
    code_version="1",
    partitions_def=site,
    deps=[across_site("machine_features")],
    check_specs=[
        dg.AssetCheckSpec(
            "challenger_passes_the_gate",
            asset="detector_model",
            description="Without it no promotion. On days that the challenger has not learned from it raises at most one false alarm more "
            "than the champion, it finds as many of the known incidents and of the faults replayed into these days, on as many machines, "
            "and it scores in at most 1.5 times the time. A failure is a warning: the champion stays, and scoring goes on with it.",
        )
    ],
)
def detector_model(
    context: dg.AssetExecutionContext,
    config: TrainingConfig,
    lake: LakeResource,
    ledger: LedgerResource,
    models: ModelsResource,
    plant: PlantResource,
) -> dg.MaterializeResult:
    """The site's detector: robust z, EWMA, CUSUM, PCA (T2 and Q), Isolation Forest and a forecast, fused and calibrated on held-out days.

    Trained on finished, healthy days (incidents, maintenance and machine-days with a distrusted sensor cut out; machines with a
    leaking column or nothing but constant sensors refused by name), logged and registered in MLflow as
    `detector-<site>`, promoted to champion if it passes the gate: the first one at once, a later one after a comparison with
    the champion on the latest days, which it has not learned from. The ledger keeps every promotion and each artifact's sha256.
    Source: `machine_features`. Consumer: `anomaly_scores`.
    """
    from ml.detectors.fleet import NotTrainable, SiteDetector

    plant_site = plant.site(context.partition_key)
    policy = plant_site.policy.training
    with training_told(plant_site.site, family=DETECTOR):
        champion = models.version_of(plant_site.site, CHAMPION)
    with ledger.begin() as connection:
        note_champion(connection, site=plant_site.site, champion=champion, noticed_by=f"training run {context.run.run_id}")
    with ledger.begin() as connection:
        until = date.fromisoformat(config.until) if config.until else None
        days = days_to_learn_from(connection, lake=lake, site=plant_site, until=until)
        split = split_days(days, held_out_share=policy.held_out_share, has_champion=champion is not None)
        material = material_of(connection, lake=lake, site=plant_site, split=split)
    trainable = material.trainable(plant_site)
    try:
        detector = SiteDetector.fit(material.learned, site=trainable, held_out_from=material.held_out_from, seed=policy.seed)
    except NotTrainable as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    with training_told(plant_site.site, family=DETECTOR):
        comparison = compare(detector, material, champion=champion, ledger=ledger, models=models, site=plant_site)
        training = training_of(detector, material, comparison, site=plant_site, run_id=context.run.run_id)
        registered = models.register(training)
        lake.write_reference(reference_sample(material.learned), site=plant_site.site, version=registered.version)
        promotion = put_to_work(registered, training, comparison, split=split, ledger=ledger, models=models, site=plant_site)
    without_model = material.remarks.without_model(detector.untrained)
    for machine_id, why in without_model.items():
        context.log.warning("%s has no detector: %s", machine_id, why)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(material.learned),
            "version": registered.version,
            "is_champion": promotion["is_promoted"],
            "days": dg.MetadataValue.text(f"{split.learned[0]} to {split.learned[-1]}"),
            "machines_trained": len(detector.models),
            "machines_untrained": len(without_model),
            "machines_without_model": dg.MetadataValue.json(without_model),
            "sensors_left_out": dg.MetadataValue.json(dict(material.remarks.sensors)),
            "comparison": dg.MetadataValue.md(comparison.table),
            "artifact_sha256": registered.artifact_sha256,
            "promotion_sha256": promotion["sha256"],
            **comparison.metrics,
        },
        check_results=[
            dg.AssetCheckResult(
                check_name="challenger_passes_the_gate",
                passed=promotion["is_promoted"],
                severity=dg.AssetCheckSeverity.WARN,
                # the check's latest result may be of any site
                description=f"{context.partition_key}, version {registered.version}: {promotion['why']}",
                metadata={
                    "site": context.partition_key,
                    "version": registered.version,
                    "why": promotion["why"],
                    "table": dg.MetadataValue.md(comparison.table),
                    **comparison.figures,
                },
            )
        ],
    )


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"scipy", "postgres", "greatexpectations"},
    code_version="2",
    partitions_def=site_days,
    deps=[machine_features, across_site("detector_model")],
    backfill_policy=dg.BackfillPolicy.single_run(),
    metadata={"dagster/column_schema": column_schema(DRIFT_FINDINGS)},
    check_specs=[
        dg.AssetCheckSpec(
            "drift_holds_its_contract",
            asset="drift_report",
            description="One row per sensor, distances and p-values in [0, 1]. A failure is an error: the day's findings stay as they "
            "were. It holds nothing up, for nothing rests on them. A sensor that has drifted is a warning.",
        )
    ],
)
def drift_report(
    context: dg.AssetExecutionContext,
    lake: LakeResource,
    ledger: LedgerResource,
    models: ModelsResource,
    plant: PlantResource,
    validation_pages: ValidationPagesResource,
) -> dg.MaterializeResult:
    """How far each sensor's day lies from what the champion was trained on: one row per sensor, with KS, PSI and a verdict.

    Of its level and of its spread; corrected for the number of tests and for windows that resemble each other. Consumers: reports,
    and `drift_sensor`, which asks for a training where drift is sustained (policy.drift).
    """
    from expectations.suites import drift_suite
    from expectations.validation import validate_table

    validations = Validations(ledger, validation_pages, context.run.run_id)
    for site_day in site_days_of(context):
        where = site_day.where
        plant_site = plant.site(site_day.site)
        champion = champion_of(site_day.site, ledger=ledger, models=models, noticed_by=f"run {context.run.run_id}")
        reference = lake.read_reference(site=site_day.site, version=champion.version) if champion is not None else None
        features = lake.read("machine_features", **where)
        if champion is None or reference is None or features is None or not REFERENCE_COLUMNS.keys() <= set(reference.columns):
            missing = "no readings" if features is None else "no champion with a reference yet: train_detectors makes one"
            report(context, site_day, rows=0, state=missing)
            continue
        found = drift(features, reference, site=plant_site).assign(model_version=champion.version)
        outcome = validate_table(found, suite=drift_suite())
        with ledger.begin() as connection:
            validations.keep(connection, outcome, site_day)
            if outcome.success:
                replace_site_day(connection, drift_findings, found, **where)
            lasting = sustained_drift(connection, site=plant_site, until=site_day.day)
        figures = {"sensors_drifted": int(found["is_drifted"].sum()), "sustained_drift": lasting.words if lasting else "none"}
        report(context, site_day, rows=len(found), figures={**figures, **champion.metadata}, model_version=champion.version)
    return dg.MaterializeResult(check_results=[validations.check("drift_holds_its_contract")])
