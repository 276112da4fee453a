"""Data manipulation: a grade per sensor, features per machine and window."""

import dagster as dg

from assets.acquisition import sensor_readings
from assets.partitions import site_days, site_days_of
from assets.recording import OWNERS, column_schema, keep_validation, report, summed_up
from expectations.contracts import MACHINE_FEATURES, SENSOR_QUALITY
from ml.features import build_features
from ml.quality import assess_sensors
from resources.lake import LakeResource
from resources.ledger.intake import refused_by_sensor
from resources.ledger.ledger import LedgerResource
from resources.plant import PlantResource

GROUP = "data_manipulation"


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"pandas", "parquet", "greatexpectations"},
    code_version="1",
    partitions_def=site_days,
    deps=[sensor_readings],
    backfill_policy=dg.BackfillPolicy.single_run(),
    metadata={"dagster/column_schema": column_schema(SENSOR_QUALITY)},
    check_specs=[
        dg.AssetCheckSpec(
            "grades_hold_their_contract",
            asset="sensor_quality",
            description="Every sensor of the site has one row, with its figures in range and a grade of A, B, C or F.",
        ),
    ],
)
def sensor_quality(
    context: dg.AssetExecutionContext, lake: LakeResource, ledger: LedgerResource, plant: PlantResource
) -> dg.MaterializeResult:
    """How far each sensor can be trusted: one row per sensor of the site and day, with a grade and what cost points.

    Source: `sensor_readings`, and the count of rows refused for being outside the physical range. Consumers: the verdicts
    on incidents, training (a sensor graded F is left out), reports.
    """
    from expectations.suites import sensor_quality_suite
    from expectations.validation import validate_table

    outcomes = {}
    for site_day in site_days_of(context):
        where = site_day.where
        site = plant.site(site_day.site)
        readings = lake.read("sensor_readings", **where)
        if readings is None:
            context.log.info("%s has no readings on %s: nothing to grade.", site_day.site, site_day.day)
            continue
        with ledger.begin() as connection:
            refused = refused_by_sensor(connection, **where, reason="out_of_physical_range")
        graded = assess_sensors(readings, site=site, day=site_day.day, refused=refused)
        path = lake.write("sensor_quality", graded, **where)
        outcomes[site_day] = validate_table(graded, suite=sensor_quality_suite())
        with ledger.begin() as connection:
            keep_validation(connection, outcomes[site_day], site_day, run_id=context.run.run_id)
        grades = graded["grade"].value_counts()
        report(
            context,
            site_day,
            rows=len(graded),
            path=path,
            mean_score=float(graded["score"].mean()),
            mean_coverage=float(graded["coverage"].mean()),
            sensors_graded_f=int(grades.get("F", 0)),
        )
    return dg.MaterializeResult(check_results=[summed_up("grades_hold_their_contract", outcomes, severity=dg.AssetCheckSeverity.ERROR)])


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"pandas", "parquet"},
    code_version="1",
    partitions_def=site_days,
    deps=[sensor_readings],
    backfill_policy=dg.BackfillPolicy.single_run(),
    metadata={"dagster/column_schema": column_schema(MACHINE_FEATURES)},
)
def machine_features(context: dg.AssetExecutionContext, lake: LakeResource, plant: PlantResource) -> None:
    """What each machine did in each window: one row per machine, window and sensor, with mean, spread, slope and more.

    Windows have the length that the plant file gives (10 minutes by default); vibration has RMS, kurtosis and crest factor
    besides; `running_share` says whether the machine ran. Source: `sensor_readings`. Consumers: the detector, health, prognosis.
    """
    for site_day in site_days_of(context):
        where = site_day.where
        readings = lake.read("sensor_readings", **where, columns=["sensor_id", "timestamp", "value"])
        if readings is None:
            context.log.info("%s has no readings on %s: no features.", site_day.site, site_day.day)
            continue
        features = build_features(readings, site=plant.site(site_day.site), day=site_day.day)
        path = lake.write("machine_features", features, **where)
        report(
            context,
            site_day,
            rows=len(features),
            path=path,
            machines=int(features["machine_id"].nunique()),
            mean_coverage=float(features["coverage"].mean()),
            mean_running_share=float(features["running_share"].mean()),
        )
