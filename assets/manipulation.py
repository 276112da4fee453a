"""Data manipulation: a grade per sensor, features per machine and window."""

import dagster as dg

from assets.acquisition import sensor_readings
from assets.partitions import looking_back, site_days, site_days_of
from assets.recording import OWNERS, Validations, column_schema, report
from expectations.contracts import MACHINE_FEATURES, SENSOR_QUALITY
from ml.features import build_features
from ml.quality import assess_sensors
from ml.recent_windows import FEATURES, HISTORY_DAYS
from resources.lake import LakeResource
from resources.ledger.intake import refused_by_sensor
from resources.ledger.ledger import LedgerResource
from resources.plant import PlantResource
from resources.validation_pages import ValidationPagesResource

GROUP = "data_manipulation"
USUAL_DAYS = HISTORY_DAYS + 1  # the day and the week before it, which says what is usual


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"pandas", "parquet", "greatexpectations"},
    code_version="2",
    partitions_def=site_days,
    deps=[sensor_readings, looking_back("machine_features", days=USUAL_DAYS)],
    backfill_policy=dg.BackfillPolicy.single_run(),
    metadata={"dagster/column_schema": column_schema(SENSOR_QUALITY)},
    check_specs=[
        dg.AssetCheckSpec(
            "grades_hold_their_contract",
            asset="sensor_quality",
            description="Every sensor of the site has one row, with its figures in range and a grade of A, B, C or F. A failure is an "
            "error; the chain goes on, for a doubtful grade only weakens a verdict. A sensor graded F is a warning.",
        ),
    ],
)
def sensor_quality(
    context: dg.AssetExecutionContext,
    lake: LakeResource,
    ledger: LedgerResource,
    plant: PlantResource,
    validation_pages: ValidationPagesResource,
) -> dg.MaterializeResult:
    """How far each sensor can be trusted: one row per sensor of the site and day, with a grade, what cost points, and faults by name.

    Faults of the instrument: `dead`, `wrong_unit` (says which unit it looks like), `out_of_range`, `stuck`, `noisy`, `clock_drift`. What is
    usual for a sensor, the `machine_features` of the week before say; without them there is no `noisy` and no `wrong_unit`. Source:
    `sensor_readings`, `machine_features`, and the count of rows refused for being outside the physical range. Consumers: the verdicts on
    incidents, training (a sensor graded F is left out), reports.
    """
    from expectations.suites import sensor_quality_suite
    from expectations.validation import validate_table

    validations = Validations(ledger, validation_pages, context.run.run_id)
    for site_day in site_days_of(context):
        where = site_day.where
        site = plant.site(site_day.site)
        readings = lake.read("sensor_readings", **where)
        if readings is None:
            context.log.info("%s has no readings on %s: nothing to grade.", site_day.site, site_day.day)
            continue
        with ledger.begin() as connection:
            refused = refused_by_sensor(connection, **where, reason="out_of_physical_range")
        first = site_day.looking_back(USUAL_DAYS)
        features = lake.read_days("machine_features", site=site.site, start=first, end=site_day.day, columns=list(FEATURES))
        graded = assess_sensors(readings, site=site, day=site_day.day, refused=refused, features=features)
        path = lake.write("sensor_quality", graded, **where)
        outcome = validate_table(graded, suite=sensor_quality_suite(n_sensors=len(site.sensors)))
        with ledger.begin() as connection:
            validations.keep(connection, outcome, site_day)
        grades = graded["grade"].value_counts()
        faults = graded["faults"].str.split().explode().dropna().value_counts()
        report(
            context,
            site_day,
            rows=len(graded),
            path=path,
            mean_score=float(graded["score"].mean()),
            mean_coverage=float(graded["coverage"].mean()),
            sensors_graded_f=int(grades.get("F", 0)),
            sensors_with_a_fault=int((graded["faults"] != "").sum()),
            faults=dg.MetadataValue.json({str(code): int(n) for code, n in faults.items()}),
        )
    return dg.MaterializeResult(check_results=[validations.check("grades_hold_their_contract")])


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"pandas", "parquet", "greatexpectations"},
    code_version="1",
    partitions_def=site_days,
    deps=[sensor_readings],
    backfill_policy=dg.BackfillPolicy.single_run(),
    metadata={"dagster/column_schema": column_schema(MACHINE_FEATURES)},
    check_specs=[
        dg.AssetCheckSpec(
            "features_hold_their_contract",
            asset="machine_features",
            blocking=True,
            description="One row per machine, window and sensor, within the day and on the grid of windows, complete, finite and in range, "
            "minimum, mean and maximum in order. A failure is an error: the day's features stay as they were, and the chain stops. "
            "A sensor without features is a warning.",
        )
    ],
)
def machine_features(
    context: dg.AssetExecutionContext,
    lake: LakeResource,
    ledger: LedgerResource,
    plant: PlantResource,
    validation_pages: ValidationPagesResource,
) -> dg.MaterializeResult:
    """What each machine did in each window: one row per machine, window and sensor, with mean, spread, slope and more.

    Windows have the length that the plant file gives (10 minutes by default); vibration has RMS, kurtosis and crest factor
    besides; `running_share` says whether the machine ran. Source: `sensor_readings`. Consumers: the detector, health, prognosis.
    """
    from expectations.profiles import features_profile
    from expectations.suites import features_profile_suite
    from expectations.validation import validate_table

    validations = Validations(ledger, validation_pages, context.run.run_id)
    for site_day in site_days_of(context):
        where = site_day.where
        readings = lake.read("sensor_readings", **where, columns=["sensor_id", "timestamp", "value"])
        if readings is None:
            context.log.info("%s has no readings on %s: no features.", site_day.site, site_day.day)
            continue
        site = plant.site(site_day.site)
        features = build_features(readings, site=site, day=site_day.day)
        profile = features_profile(features, site=site, day=site_day.day)
        outcome = validate_table(profile, suite=features_profile_suite())
        with ledger.begin() as connection:
            validations.keep(connection, outcome, site_day)
        path = lake.write("machine_features", features, **where) if outcome.success else None
        report(
            context,
            site_day,
            rows=len(features),
            path=path,
            machines=int(features["machine_id"].nunique()),
            mean_coverage=float(features["coverage"].mean()),
            mean_running_share=float(features["running_share"].mean()),
        )
    return dg.MaterializeResult(check_results=[validations.check("features_hold_their_contract")])
