"""Prognostics: how long a machine that shows signs of failing has left."""

import hashlib
import json
from collections.abc import Collection
from dataclasses import asdict
from datetime import timedelta
from importlib.metadata import version as distribution_version
from typing import Any

import dagster as dg
import pandas as pd
from sqlalchemy import Connection, select

from assets.detection import incidents
from assets.partitions import HEALTH_FALLS_WITHIN_DAYS, SiteDay, looking_back, site_days, site_days_of
from assets.recording import OWNERS, Validations, column_schema, report
from expectations.ledger_contracts import PREDICTIONS
from ml.coverage import whole
from ml.failure_calibration import SIMULATED, SIMULATED_COVERAGE
from ml.modes import failure_mode_of
from ml.plant import MAX_HISTORY_DAYS, Site
from ml.prognosis import MachinePrognosis, predict_machine, predictions_frame
from resources.fits import FitsResource, Fitting
from resources.lake import LakeResource
from resources.ledger.findings import incidents_on
from resources.ledger.ledger import LedgerResource
from resources.ledger.rows import read_frame, replace_site_day
from resources.ledger.tables import machine_health as health_table
from resources.ledger.tables import predictions as predictions_table
from resources.plant import PlantResource
from resources.validation_pages import ValidationPagesResource


@dg.asset(
    group_name="prognostics",
    owners=OWNERS,
    kinds={"prophet", "greatexpectations", "postgres"},
    code_version="3",
    partitions_def=site_days,
    deps=[
        incidents,
        looking_back("machine_health", days=HEALTH_FALLS_WITHIN_DAYS + 1),
        looking_back("machine_features", days=MAX_HISTORY_DAYS),
    ],
    backfill_policy=dg.BackfillPolicy.single_run(),
    metadata={"dagster/column_schema": column_schema(PREDICTIONS)},
    check_specs=[
        dg.AssetCheckSpec(
            "predictions_are_coherent",
            asset="failure_predictions",
            blocking=True,
            description="Probabilities lie in [0, 1] and grow with the horizon, times to failure are in order. A failure is an error: the "
            "day's predictions stay as they were, and the chain stops, for work must not rest on less.",
        )
    ],
)
def failure_predictions(
    context: dg.AssetExecutionContext,
    lake: LakeResource,
    ledger: LedgerResource,
    plant: PlantResource,
    fits: FitsResource,
    validation_pages: ValidationPagesResource,
) -> dg.MaterializeResult:
    """When a machine is likely to fail: one row per machine and failure mode that was asked about on the day.

    Asked for a machine with an incident not suspected to be false, or with low or falling health. Prophet follows each
    limited sensor's recent hours forward; the first passage of its trip limit (its alarm limit where it has no trip), up or
    down, is the failure. No passage within the horizon is a result: probability near 0 and no time. Prophet's times are put right by
    what simulated failures of the same mode took (`ml.conformal`). Consumer: `work_orders`.
    """
    from expectations.suites import predictions_suite
    from expectations.validation import validate_table

    validations = Validations(ledger, validation_pages, context.run.run_id)
    with fits.fitting() as fit:
        for site_day in site_days_of(context):
            site = plant.site(site_day.site)
            with ledger.begin() as connection:
                asked = _asked(connection, site=site, site_day=site_day)
            known, made = fit.n_known, fit.n_made
            predicted, unknown, fallbacks = _predict(asked, lake=lake, site=site, site_day=site_day, fit=fit)
            for note in unknown:
                context.log.info(note)
            outcome = validate_table(predicted, suite=predictions_suite())
            with ledger.begin() as connection:
                validations.keep(connection, outcome, site_day)
                if outcome.success:
                    replace_site_day(connection, predictions_table, predicted, **site_day.where)
            report(
                context,
                site_day,
                rows=len(predicted),
                likely_within_7_days=int((predicted["probability_7d"] >= 0.5).sum()),
                linear_fallbacks=fallbacks,
                fits_made=fit.n_made - made,
                fits_from_cache=fit.n_known - known,
                not_forecast=len(unknown),
                **_calibration_shown(),
            )
    return dg.MaterializeResult(check_results=[validations.check("predictions_are_coherent")])


def _calibration_shown() -> dict[str, Any]:
    """What the times are worth that simulated failures put right: per failure mode, and in all."""
    modes = sorted(SIMULATED_COVERAGE.items())
    records = [
        dg.TableRecord({"failure_mode": mode, "put_right_by_n": SIMULATED[mode].n, "asked_n": c.n, "coverage_80": round(c.n_true / c.n, 3)})
        for mode, c in modes
    ]
    asked = whole(SIMULATED_COVERAGE)
    return {
        "calibration": dg.MetadataValue.table(records),
        "calibration_coverage_80": asked.n_true / asked.n,
        "calibration_asked_n": asked.n,
    }


Asked = tuple[str, str | None, tuple[str, ...], tuple[str, ...]]  # machine, failure mode, sensors, incidents


def _asked(connection: Connection, *, site: Site, site_day: SiteDay) -> list[Asked]:
    """What to predict: each failure mode that incidents point to, and machines whose health is low or falls."""
    known = {machine.machine_id for machine in site.machines}
    active = incidents_on(connection, site=site.site, day=site_day.day)
    active = active[(active["verdict"] != "false_positive_suspected") & active["machine_id"].isin(known)]
    asked: list[Asked] = []
    for (machine_id, mode), group in active.groupby(["machine_id", "failure_mode"], sort=True):
        sensors = sorted({sensor for moved in group["moved_sensors"] for sensor in moved} | set(group["top_sensor_id"]))
        asked.append((str(machine_id), str(mode), tuple(sensors), tuple(group["incident_id"])))
    policy = site.policy.prognosis
    health = read_frame(
        connection,
        select(health_table.c.machine_id, health_table.c.day, health_table.c.health)
        .where(
            health_table.c.site == site.site,
            health_table.c.day.between(site_day.day - timedelta(days=HEALTH_FALLS_WITHIN_DAYS), site_day.day),
        )
        .order_by(health_table.c.machine_id, health_table.c.day),
    )
    for machine_id, days in health.groupby("machine_id", sort=True):
        now = days[days["day"] == site_day.day]["health"]
        if machine_id in set(active["machine_id"]) or machine_id not in known or now.empty:
            continue
        if now.iloc[0] < policy.health_below or days["health"].max() - now.iloc[0] >= policy.health_drop:
            asked.append((str(machine_id), None, (), ()))
    return asked


def _predict(
    asked: Collection[Asked], *, lake: LakeResource, site: Site, site_day: SiteDay, fit: Fitting
) -> tuple[pd.DataFrame, list[str], int]:
    """The predictions, why some questions have no answer, and of how many sensors Prophet should have spoken and did not."""
    policy = site.policy.prognosis
    start = site_day.looking_back(policy.history_days)
    columns = ["machine_id", "window_start", "sensor_id", "mean", "running_share"]
    features = (
        lake.read_days("machine_features", site=site.site, start=start, end=site_day.day, columns=columns) if asked else pd.DataFrame()
    )
    answered: list[tuple[str, MachinePrognosis]] = []
    links: list[list[str]] = []
    unknown: list[str] = []
    fallbacks = 0
    as_of = (
        min(features["window_start"].max() + pd.Timedelta(minutes=site.window_minutes), pd.Timestamp(site_day.end))
        if len(features)
        else None
    )
    for machine_id, mode, sensors, incident_ids in asked:
        if as_of is None:
            break
        prognosis = predict_machine(
            _hourly(features[features["machine_id"] == machine_id]),
            machine=site.machine(machine_id),
            as_of=as_of,
            seed=site.policy.training.seed,
            budget_s=policy.budget_s / len(asked),
            only=sensors or None,
            horizon_days=policy.horizon_days,
            history_days=policy.history_days,
            calibration=SIMULATED,
            fit=fit,
        )
        fallbacks += prognosis.n_fallback
        if prognosis.probability_30d is None:
            unknown.append(f"{machine_id} on {site_day.day}: no forecast ({prognosis.note})")
            continue
        answered.append((mode or _mode_of(prognosis, site=site), prognosis))
        links.append(list(incident_ids))
    predicted = predictions_frame(answered).assign(incident_ids=pd.Series(links, dtype=object))
    predicted["as_of"] = pd.Series(as_of, index=predicted.index, dtype="datetime64[us, UTC]")
    dates = {
        f"fails_{p}_at": predicted["as_of"] + pd.to_timedelta((predicted[f"ttf_{p}_days"] * 86_400).round(), unit="s")
        for p in ("p10", "p50", "p90")
    }
    return predicted.assign(**dates, model_version=predicted["method"].map(_model_versions()).astype("str")), unknown, fallbacks


def _model_versions() -> dict[str, str]:
    """What computes a prediction, by its method: the library or our own code with its version, and the calibration by its hash."""
    kept = hashlib.sha256(json.dumps({mode: asdict(stretch) for mode, stretch in SIMULATED.items()}, sort_keys=True).encode())
    own = f"smart-maintenance {distribution_version('smart-maintenance')}"
    return {
        "prophet": f"prophet {distribution_version('prophet')}, calibration {kept.hexdigest()[:12]}",
        "linear": f"robust line, {own}",
        "observed": f"observed, {own}",
    }


def _hourly(features: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Hourly means of each sensor over the windows in which the machine ran throughout."""
    running = features[features["running_share"] >= 1 - 1e-9]
    hours = running.assign(timestamp=running["window_start"].dt.floor("h")).groupby(["sensor_id", "timestamp"], sort=True)["mean"].mean()
    frame = hours.rename("value").reset_index()
    return {str(sensor): rows[["timestamp", "value"]].reset_index(drop=True) for sensor, rows in frame.groupby("sensor_id")}


def _mode_of(prognosis: MachinePrognosis, *, site: Site) -> str:
    """The failure mode that the leading sensor's limit stands for."""
    kinds = {sensor.sensor_id: sensor.type for sensor in site.sensors}
    if prognosis.leading_sensor_id is None:
        return "PDE"
    return failure_mode_of(kinds[prognosis.leading_sensor_id], direction=1 if prognosis.limit_side == "high" else -1, feature="mean")
