"""Learning: a detector per site, trained on healthy days, compared with the champion; drift against what it has seen."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from importlib.metadata import version as distribution_version
from typing import Any

import dagster as dg
import pandas as pd
from pydantic import Field
from sqlalchemy import Connection

from assets.manipulation import machine_features
from assets.partitions import across_site, site, site_days, site_days_of
from assets.recording import OWNERS, report
from ml.drift import drift, reference_sample
from ml.incidents import false_alarms_per_machine_month
from ml.plant import Site
from resources.lake import LakeResource
from resources.ledger.findings import latest_assessments, maintenance_between
from resources.ledger.intake import days_with_readings
from resources.ledger.learning import record_promotion, record_version, version_record
from resources.ledger.ledger import LedgerResource
from resources.ledger.rows import replace_site_day
from resources.ledger.tables import drift_findings
from resources.models import CHAMPION, ModelsResource, Training, data_hash
from resources.plant import PlantResource

GROUP = "learning"


class TrainingConfig(dg.Config):
    until: str | None = Field(default=None, description="Last day (UTC, YYYY-MM-DD) to learn from. Left out: the newest day with readings.")


@dataclass(frozen=True)
class Healthy:
    """Features of the days to learn from, and where the held-out part begins."""

    features: pd.DataFrame
    days: tuple[date, ...]
    held_out_from: pd.Timestamp

    @property
    def held_out(self) -> pd.DataFrame:
        return self.features[self.features["window_start"] >= self.held_out_from]


@dataclass(frozen=True)
class Comparison:
    """Challenger against champion on the challenger's held-out days; `is_better` is the gate's word."""

    champion: int | None
    figures: dict[str, Any]
    is_better: bool
    why: str


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"scikitlearn", "mlflow"},
    code_version="1",
    partitions_def=site,
    deps=[across_site("machine_features")],
    check_specs=[
        dg.AssetCheckSpec(
            "challenger_passes_the_gate",
            asset="detector_model",
            description="On the same held-out days the challenger raises no more false alarms than the champion; else it is not promoted.",
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
    """The site's detector: robust z, PCA (T2 and Q) and Isolation Forest per machine, fused and calibrated on held-out days.

    Trained on healthy days (incidents, maintenance and sensors graded F cut out), logged and registered in MLflow as
    `detector-<site>`, promoted to champion if it passes the gate. The ledger keeps every promotion and each artifact's sha256.
    Source: `machine_features`. Consumer: `anomaly_scores`.
    """
    from ml.detectors.fleet import NotTrainable, SiteDetector

    plant_site = plant.site(context.partition_key)
    policy = plant_site.policy.training
    with ledger.begin() as connection:
        days = _days_to_learn_from(connection, site=plant_site, until=date.fromisoformat(config.until) if config.until else None)
        healthy = _healthy(connection, lake=lake, site=plant_site, days=days)
    try:
        detector = SiteDetector.fit(healthy.features, site=plant_site, held_out_from=healthy.held_out_from, seed=policy.seed)
    except NotTrainable as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    comparison = _compare(detector, healthy, ledger=ledger, models=models, site=plant_site)
    training = _training(detector, healthy, comparison, site=plant_site, run_id=context.run.run_id)
    registered = models.register(training)
    lake.write_reference(reference_sample(healthy.features), site=plant_site.site, version=registered.version)
    with ledger.begin() as connection:
        record_version(
            connection,
            {
                "site": plant_site.site,
                "version": registered.version,
                "mlflow_run_id": registered.run_id,
                "artifact_sha256": registered.artifact_sha256,
                "data_sha256": training.tags["data_sha256"],
                "data_start": days[0],
                "data_end": days[-1],
                "metrics": dict(training.metrics),
            },
        )
        record_promotion(
            connection,
            {
                "site": plant_site.site,
                "from_version": comparison.champion,
                "to_version": registered.version,
                "is_promoted": comparison.is_better,
                "who": "gate",
                "why": comparison.why,
                "comparison": comparison.figures,
            },
        )
    if comparison.is_better:
        models.promote(plant_site.site, registered.version, description=comparison.why)
    else:
        models.describe(plant_site.site, registered.version, comparison.why)
    for machine_id, why in detector.untrained.items():
        context.log.warning("%s has no detector: %s", machine_id, why)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(healthy.features),
            "version": registered.version,
            "is_champion": comparison.is_better,
            "days": dg.MetadataValue.text(f"{days[0]} to {days[-1]}"),
            "machines_trained": len(detector.models),
            "machines_untrained": len(detector.untrained),
            "false_alarms_per_machine_month": training.metrics["false_alarms_per_machine_month"],
            "artifact_sha256": registered.artifact_sha256,
        },
        check_results=[
            dg.AssetCheckResult(
                check_name="challenger_passes_the_gate",
                passed=comparison.is_better,
                severity=dg.AssetCheckSeverity.WARN,
                metadata={"why": comparison.why, **comparison.figures},
            )
        ],
    )


def _days_to_learn_from(connection: Connection, *, site: Site, until: date | None) -> list[date]:
    """Raises dg.Failure where there are too few."""
    policy = site.policy.training
    stored = [day for day in days_with_readings(connection, site=site.site) if until is None or day <= until]
    if len(stored) < policy.min_healthy_days:
        raise dg.Failure(
            f"{site.site} has {len(stored)} days of readings{f' until {until}' if until else ''}; training needs {policy.min_healthy_days} "
            "(policy.training.min_healthy_days). Wait for more days, or deliver earlier ones.",
            allow_retries=False,
        )
    return stored[-policy.max_days :]


def _healthy(connection: Connection, *, lake: LakeResource, site: Site, days: list[date]) -> Healthy:
    """The days' features without incidents (unless people called them false alarms), maintenance, and sensors graded F."""
    features = pd.concat([lake.read_days("machine_features", site=site.site, start=day, end=day) for day in days], ignore_index=True)
    window = pd.Timedelta(minutes=site.window_minutes)
    start, end = pd.Timestamp(days[0], tz="UTC"), pd.Timestamp(days[-1] + timedelta(days=1), tz="UTC")
    incidents = latest_assessments(connection, site=site.site)
    incidents = incidents[(incidents["verdict"] != "false_positive_suspected") & (incidents["label"] != "false_alarm")]
    stops = maintenance_between(connection, site=site.site, start=start, end=end).rename(
        columns={"started_at": "onset_at", "ended_at": "last_window_at"}
    )
    columns = ["machine_id", "onset_at", "last_window_at"]
    spans = [frame[columns] for frame in (incidents, stops) if len(frame)]
    is_healthy = pd.Series(data=True, index=features.index)
    for span in pd.concat(spans).to_dict("records") if spans else ():
        starts = features["window_start"]
        is_healthy &= ~(
            (features["machine_id"] == span["machine_id"]) & (starts > span["onset_at"] - window) & (starts <= span["last_window_at"])
        )
    features = features[is_healthy]
    for day in days:
        quality = lake.read("sensor_quality", site=site.site, day=day, columns=["sensor_id", "grade"])
        bad = set(quality.loc[quality["grade"] == "F", "sensor_id"]) if quality is not None else set()
        if bad:
            at = pd.Timestamp(day, tz="UTC")
            of_day = (features["window_start"] >= at) & (features["window_start"] < at + pd.Timedelta(days=1))
            features = features[~(of_day & features["sensor_id"].isin(bad))]
    n_held_out = max(1, round(len(days) * site.policy.training.held_out_share))
    return Healthy(features.reset_index(drop=True), tuple(days), pd.Timestamp(days[-n_held_out], tz="UTC"))


def _compare(detector: Any, healthy: Healthy, *, ledger: LedgerResource, models: ModelsResource, site: Site) -> Comparison:
    """The gate: no more false alarms than the champion on the same held-out days; without a champion, it is passed."""
    from ml.detectors.fleet import SiteDetector

    challenger_rate = false_alarms_per_machine_month(detector.score(healthy.held_out, site=site, model_version=1), site=site)
    figures: dict[str, Any] = {"challenger_false_alarms_per_machine_month": challenger_rate}
    champion = models.version_of(site.site, CHAMPION)
    if champion is None:
        why = (
            f"promoted: first detector of the site, with {challenger_rate:.2f} false alarms per machine-month on "
            f"{healthy.held_out_from:%Y-%m-%d} to {healthy.days[-1]}"
        )
        return Comparison(None, figures, is_better=True, why=why)
    with ledger.begin() as connection:
        known = version_record(connection, site=site.site, version=champion)
    if known is None:
        return Comparison(champion, figures, is_better=True, why=f"promoted: champion {champion} was not trained here")
    standing = SiteDetector.from_bytes(models.load(site.site, champion, artifact_sha256=known["artifact_sha256"]))
    champion_rate = false_alarms_per_machine_month(standing.score(healthy.held_out, site=site, model_version=1), site=site)
    figures["champion_false_alarms_per_machine_month"] = champion_rate
    is_better = challenger_rate <= champion_rate and len(detector.models) >= len(standing.models)
    why = (
        f"{challenger_rate:.2f} false alarms per machine-month on {healthy.held_out_from:%Y-%m-%d} to {healthy.days[-1]}, "
        f"champion {champion} has {champion_rate:.2f}; {len(detector.models)} machines covered, champion {len(standing.models)}"
    )
    return Comparison(champion, figures, is_better=is_better, why=("promoted: " if is_better else "refused: ") + why)


def _training(detector: Any, healthy: Healthy, comparison: Comparison, *, site: Site, run_id: str) -> Training:
    """What MLflow is told."""
    sample = healthy.held_out.head(len(site.sensors) * 6).reset_index(drop=True)
    params: Mapping[str, str | int | float] = {
        "site": site.site,
        "data_start": healthy.days[0].isoformat(),
        "data_end": healthy.days[-1].isoformat(),
        "n_days": len(healthy.days),
        "held_out_from": healthy.held_out_from.isoformat(),
        "window_minutes": site.window_minutes,
        "seed": site.policy.training.seed,
        "on_threshold": site.policy.detection.on_threshold,
        "off_threshold": site.policy.detection.off_threshold,
    }
    return Training(
        name=f"{site.site} until {healthy.days[-1]}",
        site=site,
        detector=detector.to_bytes(),
        params=params,
        metrics={
            "false_alarms_per_machine_month": comparison.figures["challenger_false_alarms_per_machine_month"],
            "machines_trained": float(len(detector.models)),
            "machines_untrained": float(len(detector.untrained)),
            "windows": float(len(healthy.features)),
        },
        tags={
            "data_sha256": data_hash(healthy.features),
            "code_version": distribution_version("smart-maintenance"),
            "dagster_run_id": run_id,
        },
        input_example=sample,
        output_example=detector.score(sample, site=site, model_version=1).drop(columns="model_version"),
    )


@dg.asset(
    group_name=GROUP,
    owners=OWNERS,
    kinds={"scipy", "postgres"},
    code_version="1",
    partitions_def=site_days,
    deps=[machine_features, across_site("detector_model")],
    backfill_policy=dg.BackfillPolicy.single_run(),
)
def drift_report(
    context: dg.AssetExecutionContext, lake: LakeResource, ledger: LedgerResource, models: ModelsResource, plant: PlantResource
) -> None:
    """How far each sensor's day lies from what the champion was trained on: one row per sensor, with KS, PSI and a verdict.

    Corrected for the number of sensors and for windows that resemble their neighbours. Consumers: reports, whoever decides
    on retraining.
    """
    for site_day in site_days_of(context):
        where = site_day.where
        plant_site = plant.site(site_day.site)
        version = models.version_of(site_day.site, CHAMPION)
        reference = lake.read_reference(site=site_day.site, version=version) if version is not None else None
        features = lake.read("machine_features", **where)
        if reference is None or features is None:
            report(context, site_day, rows=0, state="no champion yet" if reference is None else "no readings")
            continue
        found = drift(features, reference, site=plant_site)
        with ledger.begin() as connection:
            replace_site_day(connection, drift_findings, found.assign(model_version=version), **where)
        report(context, site_day, rows=len(found), sensors_drifted=int(found["is_drifted"].sum()), model_version=version)
