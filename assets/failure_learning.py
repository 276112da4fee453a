"""Learning from labelled failures: a model per site of how likely each machine is to fail within the horizon."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from importlib.metadata import version as distribution_version

import dagster as dg
import numpy as np
import pandas as pd
from pydantic import Field

from assets.champions import training_told
from assets.partitions import across_site, site
from assets.recording import OWNERS
from ml.failure_figures import THRESHOLD, Labelled
from ml.failure_history import TELEMETRY_COLUMNS, Events, labelled, on_grid, step_of, tables_of, telemetry_of
from ml.failure_model import FailureModel, Judgement, Vocabulary, informative, judged_by_machine, judged_by_time
from ml.failure_windows import KEY, refuse_future, spread_instants
from ml.hazard import BOOSTING, RANDOMISED, TooFewFailures, fit_hazard
from ml.plant import Site
from resources.lake import LakeResource
from resources.ledger.failure_models import record_failure_model
from resources.ledger.ledger import LedgerResource
from resources.ledger.machine_events import failure_history
from resources.models import FAILURE_MODEL, ModelsResource, Registered, Training, data_hash
from resources.plant import PlantResource

N_SHOWN = 5  # rows of the example that MLflow keeps
MACHINES, TIME = "held_out_machines", "held_out_time"  # what the two judgements are called in MLflow
SHOWN_FIGURES = {
    "average_precision": "PR-AUC",
    "anomalous_share": "share of hours before a failure (PR-AUC of chance)",
    "n_events": "failures",
    "n_found": "failures found",
    "n_false_alarms": "false alarms",
    "false_alarms_per_machine_month": "false alarms per machine and month",
    "median_lead_time_h": "median lead time (h)",
    "calibration_error": "calibration error",
}


class FailureTrainingConfig(dg.Config):
    until: str | None = Field(default=None, description="Last day (UTC, YYYY-MM-DD) to learn from. Left out: the newest day with features.")


@dg.asset(
    group_name="learning",
    owners=OWNERS,
    kinds={"scikitlearn", "mlflow"},
    code_version="1",
    partitions_def=site,
    deps=[across_site("machine_features")],
)
def failure_model(
    context: dg.AssetExecutionContext,
    config: FailureTrainingConfig,
    lake: LakeResource,
    ledger: LedgerResource,
    models: ModelsResource,
    plant: PlantResource,
) -> dg.MaterializeResult:
    """The site's learned failure model: how likely a machine is to fail within the horizon (policy.failure_model), from all known so far.

    Telemetry by sensor type in hours (or the site's windows, where these are longer), counts of errors, hours since each component's
    last replacement, class and age of the machine. Labels are the imported history (`maintenance history import`) and the faults that
    completed work found. Judged on machines and on time held out, calibrated, registered in MLflow as `failure-model-<site>`; champion
    where its PR-AUC on machines held out exceeds chance by policy.failure_model.min_margin, challenger otherwise. Too few failures are
    no error: nothing is made then, and it says what is lacking. Source: `machine_features` and the ledger. Consumer:
    `learned_predictions`.
    """
    plant_site = plant.site(context.partition_key)
    days = days_with_features(lake, site=plant_site, until=date.fromisoformat(config.until) if config.until else None)
    try:
        material = material_of(lake, ledger, site=plant_site, days=days)
        with training_told(plant_site.site, family=FAILURE_MODEL):
            models.demand_answer()  # before minutes of fitting
        judged = judgements_of(material, site=plant_site)
        model = fit(material, site=plant_site)
    except TooFewFailures as error:
        said = (
            f"no failure model: {error}. Import the history of failures and replacements (maintenance history import), process the days "
            "of telemetry before them, or complete work orders with what was found."
        )
        context.log.info("%s: %s", plant_site.site, said)
        return dg.MaterializeResult(metadata={"dagster/row_count": 0, "is_champion": False, "state": said, "days": len(days)})
    is_champion, why = verdict_on(judged[MACHINES], site=plant_site)
    training = training_of(model, material, judged, why=why, site=plant_site, run_id=context.run.run_id)
    with training_told(plant_site.site, family=FAILURE_MODEL):
        registered = models.register(training)
        put_to_work(registered, training, material, ledger=ledger, models=models, site=plant_site, verdict=(is_champion, why))
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": int(material.labels.is_usable.sum()),
            "version": registered.version,
            "is_champion": is_champion,
            "why": why,
            "days": dg.MetadataValue.text(f"{days[0]} to {days[-1]}"),
            "judgement": dg.MetadataValue.md(table_of(judged)),
            "repairs_presumed": material.n_presumed,
            "artifact_sha256": registered.artifact_sha256,
            **{name: value for name, value in training.metrics.items() if name.endswith(("/average_precision", "/n_found", "/n_events"))},
        }
    )


@dataclass(frozen=True)
class FailureMaterial:
    """What is learned from: a row per machine and step, in order, with its features and labels."""

    days: Sequence[date]
    vocabulary: Vocabulary
    hours: pd.DataFrame
    events: Events
    features: pd.DataFrame
    labels: Labelled
    n_presumed: int

    @property
    def data_sha256(self) -> str:
        rows = self.labels.is_usable
        return data_hash(pd.concat([self.hours[KEY], self.features], axis=1)[rows].assign(fails=self.labels.fails[rows]))


def days_with_features(lake: LakeResource, *, site: Site, until: date | None) -> list[date]:
    stored = sorted(day for name, day in lake.site_days("machine_features") if name == site.site)
    return [day for day in stored if until is None or day <= until]


def telemetry_on_grid(lake: LakeResource, *, site: Site, start: date, end: date) -> pd.DataFrame:
    """The steps of the days, both inclusive, day by day: what is held is as small as the grid."""
    days = (start + timedelta(days=n) for n in range((end - start).days + 1))
    read = (lake.read("machine_features", site=site.site, day=day, columns=TELEMETRY_COLUMNS) for day in days)
    parts = [telemetry_of(features, site=site) for features in read if features is not None and len(features)]
    if not parts:
        empty = lake.read_days("machine_features", site=site.site, start=start, end=start, columns=TELEMETRY_COLUMNS)
        parts = [telemetry_of(empty, site=site)]
    first, last = (pd.Timestamp(day, tz="UTC") for day in (start, end))
    return on_grid(pd.concat(parts, ignore_index=True), site=site, start=first, end=last + pd.Timedelta(days=1))


def material_of(lake: LakeResource, ledger: LedgerResource, *, site: Site, days: Sequence[date]) -> FailureMaterial:
    """Raises TooFewFailures where there is nothing to learn from, KnowsTheFuture where a feature would."""
    if not days:
        raise TooFewFailures("no day of telemetry was processed")
    step = step_of(site)
    with ledger.begin() as connection:
        until = datetime.combine(days[-1] + timedelta(days=1), time(), tzinfo=UTC)
        happened = failure_history(connection, site=site.site, until=until)
    if happened.failures.empty:
        raise TooFewFailures("no failure is labelled")
    events = happened.on_grid(step)
    hours = telemetry_on_grid(lake, site=site, start=days[0], end=days[-1])
    vocabulary = Vocabulary.of(events, site=site, step=step)
    tables = tables_of(hours, events, site=site, classes=vocabulary.classes)
    labels, n_presumed = labelled(hours, events, horizon_h=site.policy.failure_model.horizon_h, step=step)
    if not (labels.is_usable & labels.fails).any():
        raise TooFewFailures(f"{len(events.failures)} labelled failures, none of them with telemetry before it")
    refuse_future(vocabulary.features, tables, at=spread_instants(hours))
    features = informative(vocabulary.features(tables), where=labels.is_usable)
    return FailureMaterial(days, vocabulary, hours, events, features, labels, n_presumed)


def judgements_of(material: FailureMaterial, *, site: Site) -> dict[str, Judgement]:
    """On machines held out, and on time held out where that can be judged. Raises TooFewFailures where not even the first can be."""
    seed, horizon_h = site.policy.training.seed, site.policy.failure_model.horizon_h
    judged = {MACHINES: judged_by_machine(material.features, material.labels, seed=seed)}
    try:
        judged[TIME] = judged_by_time(material.features, material.labels, horizon_h=horizon_h, seed=seed)
    except TooFewFailures as error:
        judged[TIME] = Judgement({}, [], f"not judged on later time: {error}")
    return judged


def fit(material: FailureMaterial, *, site: Site) -> FailureModel:
    """Learned from all rows that may be used. Raises TooFewFailures."""
    rows = material.labels.is_usable
    machines = material.hours["machine_id"].to_numpy()[rows]
    hazard = fit_hazard(material.features[rows], fails=material.labels.fails[rows], groups=machines, seed=site.policy.training.seed)
    return FailureModel(hazard, material.vocabulary, site.policy.failure_model.horizon_h)


def verdict_on(judged: Judgement, *, site: Site) -> tuple[bool, str]:
    """(whether it is put to work, why)"""
    reached, chance = judged.figures["average_precision"], judged.figures["anomalous_share"]
    margin = site.policy.failure_model.min_margin
    is_good = reached >= chance + margin
    said = f"its PR-AUC on machines held out is {reached:.3f}, chance reaches {chance:.3f}, and a margin of {margin:g} is asked for"
    return is_good, f"{'promoted' if is_good else 'not promoted'}: {said}"


def table_of(judged: dict[str, Judgement]) -> str:
    """Both judgements side by side, in Markdown."""

    def shown(judgement: Judgement, name: str) -> str:
        value = judgement.figures.get(name, math.nan)
        return "-" if math.isnan(value) else f"{value:.0f}" if name.startswith("n_") else f"{value:.3f}"

    rows = [f"| {words} | {shown(judged[MACHINES], name)} | {shown(judged[TIME], name)} |" for name, words in SHOWN_FIGURES.items()]
    return "\n".join(["| | on machines held out | on later time |", "| --- | --- | --- |", *rows])


def training_of(
    model: FailureModel, material: FailureMaterial, judged: dict[str, Judgement], *, why: str, site: Site, run_id: str
) -> Training:
    """What MLflow is told."""
    labels, first, last = material.labels, material.days[0], material.days[-1]
    figures = {f"{part}/{name}": value for part, judgement in judged.items() for name, value in judgement.figures.items()}
    examples = np.flatnonzero(labels.is_usable & labels.fails)[:N_SHOWN]
    example = material.features.iloc[examples].reset_index(drop=True)
    said = [f"{judgement.words}; missed: {', '.join(judgement.missed) or 'nothing'}" for judgement in judged.values()]
    return Training(
        name=f"{site.site} until {last}",
        site=site,
        artifact=model.to_bytes(),
        params={
            "site": site.site,
            "data_start": first.isoformat(),
            "data_end": last.isoformat(),
            "n_days": len(material.days),
            "labelled_until": str(material.events.known_until),
            "horizon_h": model.horizon_h,
            "step_minutes": int(material.vocabulary.step / pd.Timedelta(minutes=1)),
            "threshold": THRESHOLD,
            "min_margin": site.policy.failure_model.min_margin,
            "seed": site.policy.training.seed,
            "errors": ", ".join(material.vocabulary.errors),
            "components": ", ".join(material.vocabulary.components),
            "boosting": str(BOOSTING),
            "randomised": str(RANDOMISED),
        },
        metrics={
            "rows": float(labels.is_usable.sum()),
            "failures_labelled": float(len(material.events.failures[KEY].drop_duplicates())),
            "repairs_presumed": float(material.n_presumed),
            **{name: value for name, value in figures.items() if math.isfinite(value)},
        },
        tags={
            "data_sha256": material.data_sha256,
            "code_version": distribution_version("smart-maintenance"),
            "dagster_run_id": run_id,
        },
        description="\n\n".join([why, table_of(judged), *said]),
        input_example=example,
        output_example=pd.DataFrame({"probability": model.hazard.probability(example)}),
        family=FAILURE_MODEL,
    )


def put_to_work(
    registered: Registered,
    training: Training,
    material: FailureMaterial,
    *,
    ledger: LedgerResource,
    models: ModelsResource,
    site: Site,
    verdict: tuple[bool, str],
) -> None:
    """Ledger, then alias: a champion that the ledger does not know could not be loaded."""
    is_champion, why = verdict
    with ledger.begin() as connection:
        record_failure_model(
            connection,
            {
                "site": site.site,
                "version": registered.version,
                "mlflow_run_id": registered.run_id,
                "artifact_sha256": registered.artifact_sha256,
                "data_sha256": training.tags["data_sha256"],
                "data_start": material.days[0],
                "data_end": material.days[-1],
                "horizon_h": site.policy.failure_model.horizon_h,
                "metrics": dict(training.metrics),
                "is_champion": is_champion,
                "why": why,
            },
        )
    put = models.promote if is_champion else models.describe
    put(site.site, registered.version, description=training.description, family=FAILURE_MODEL)
