"""Prognostics by what was learned: how likely each machine is to fail within the horizon, at the end of a day."""

from dataclasses import dataclass

import dagster as dg
import pandas as pd

from assets.champions import Champion, champion_without_mlflow, of_another_version, verified_bytes
from assets.failure_learning import telemetry_on_grid
from assets.partitions import SiteDay, across_site, looking_back, site_days, site_days_of
from assets.recording import OWNERS, Validations, column_schema, report
from expectations.ledger_contracts import LEARNED_PREDICTIONS
from ml.failure_figures import THRESHOLD
from ml.failure_history import LOOK_BACK_DAYS
from ml.failure_model import FailureModel
from ml.plant import Site
from resources.lake import LakeResource
from resources.ledger.failure_models import failure_champions, failure_model_record, has_failure_model
from resources.ledger.ledger import LedgerResource
from resources.ledger.machine_events import failure_history
from resources.ledger.rows import replace_site_day
from resources.ledger.tables import learned_predictions as predictions_table
from resources.models import CHAMPION, FAILURE_MODEL, ModelsResource, ModelsUnreachable
from resources.plant import PlantResource
from resources.validation_pages import ValidationPagesResource

NO_MODEL = "no failure model is champion: import labelled failures (maintenance history import) and train one (train_failure_model)"


@dg.asset(
    group_name="prognostics",
    owners=OWNERS,
    kinds={"scikitlearn", "greatexpectations", "postgres"},
    code_version="1",
    partitions_def=site_days,
    deps=[looking_back("machine_features", days=LOOK_BACK_DAYS), across_site("failure_model")],
    backfill_policy=dg.BackfillPolicy.single_run(),
    metadata={"dagster/column_schema": column_schema(LEARNED_PREDICTIONS)},
    check_specs=[
        dg.AssetCheckSpec(
            "learned_predictions_hold_their_contract",
            asset="learned_predictions",
            description="One row per machine that reported, its probability in [0, 1], with the model's version and hash. A failure is an "
            "error: the day's rows stay as they were. It holds nothing up, for no work rests on them.",
        )
    ],
)
def learned_predictions(
    context: dg.AssetExecutionContext,
    lake: LakeResource,
    ledger: LedgerResource,
    models: ModelsResource,
    plant: PlantResource,
    validation_pages: ValidationPagesResource,
) -> dg.MaterializeResult:
    """How likely each machine is to fail within the horizon, as known at the end of the day: one row per machine that reported.

    By the champion of `failure_model`; nothing, where the site has none. From the day's telemetry and that of the days before it, and
    the errors and replacements known by then. Shown in the maintenance summary; work orders do not rest on it.
    """
    from expectations.suites import learned_predictions_suite
    from expectations.validation import validate_table

    validations = Validations(ledger, validation_pages, context.run.run_id)
    champions = _Champions(ledger, models)
    for site_day in site_days_of(context):
        site = plant.site(site_day.site)
        loaded = champions.of(site)
        if loaded is None:
            with ledger.begin() as connection:  # what a model foresaw that is champion no longer
                replace_site_day(connection, predictions_table, pd.DataFrame(), **site_day.where)
            report(context, site_day, rows=0, state=NO_MODEL)
            continue
        version, model = loaded.champion.version, loaded.model
        found = _foreseen(model, lake=lake, ledger=ledger, site=site, site_day=site_day)
        found = found.assign(horizon_h=model.horizon_h, model_version=version, artifact_sha256=loaded.sha256)
        outcome = validate_table(found, suite=learned_predictions_suite())
        with ledger.begin() as connection:
            validations.keep(connection, outcome, site_day)
            if outcome.success:
                replace_site_day(connection, predictions_table, found, **site_day.where)
        highest = found.nlargest(1, "probability").to_dict("records")
        report(
            context,
            site_day,
            rows=len(found),
            model_version=version,
            likely_within_the_horizon=int((found["probability"] >= THRESHOLD).sum()),
            figures=loaded.champion.metadata,
            most_likely=f"{highest[0]['machine_id']}: {highest[0]['probability']:.0%}" if highest else "nobody reported",
        )
    return dg.MaterializeResult(check_results=[validations.check("learned_predictions_hold_their_contract")])


@dataclass(frozen=True)
class _Loaded:
    """A site's champion and its model, whose bytes have that hash."""

    champion: Champion
    sha256: str
    model: FailureModel


class _Champions:
    """Each site's champion, asked for and loaded once; None where the site has none."""

    def __init__(self, ledger: LedgerResource, models: ModelsResource) -> None:
        self._ledger, self._models = ledger, models
        self._found: dict[str, _Loaded | None] = {}

    def of(self, site: Site) -> _Loaded | None:
        if site.site not in self._found:
            champion = self._champion(site.site)
            self._found[site.site] = None if champion is None else self._loaded(champion, site=site.site)
        return self._found[site.site]

    def _champion(self, site: str) -> Champion | None:
        with self._ledger.begin() as connection:
            if not has_failure_model(connection, site=site):  # MLflow is asked only where it could have one
                return None
            trained = failure_champions(connection, site=site)
        try:
            version = self._models.version_of(site, CHAMPION, family=FAILURE_MODEL)
        except ModelsUnreachable as error:
            return champion_without_mlflow(error, trained, models=self._models, site=site, family=FAILURE_MODEL)
        return Champion(version) if version is not None else None

    def _loaded(self, champion: Champion, *, site: str) -> _Loaded:
        version = champion.version
        with self._ledger.begin() as connection:
            known = failure_model_record(connection, site=site, version=version)
        stored = verified_bytes(version, known=known, models=self._models, site=site, family=FAILURE_MODEL)
        try:
            return _Loaded(champion, str(known["artifact_sha256"]) if known else "", FailureModel.from_bytes(stored))
        except ValueError as error:
            raise of_another_version(error, version, site=site, family=FAILURE_MODEL) from error


def _foreseen(model: FailureModel, *, lake: LakeResource, ledger: LedgerResource, site: Site, site_day: SiteDay) -> pd.DataFrame:
    """[machine_id, as_of, probability] of the machines that reported on the day."""
    hours = telemetry_on_grid(lake, site=site, start=site_day.looking_back(LOOK_BACK_DAYS), end=site_day.day)
    with ledger.begin() as connection:
        events = failure_history(connection, site=site.site, until=site_day.end)
    found = model.latest(hours, events, site=site)
    return found[found["as_of"] > pd.Timestamp(site_day.start)].reset_index(drop=True)
