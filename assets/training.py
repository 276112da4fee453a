"""What a training does around the detector: chooses its days, tells MLflow of it, and puts it to work."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from importlib.metadata import version as distribution_version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import pandas as pd
from sqlalchemy import Connection

import ml.detectors
from assets.champions import note_champion
from assets.contest import Comparison
from assets.training_plots import training_plots
from ml.gate import is_real
from ml.healthy import Remarks, Split, distrusted, healthy_rows, incident_spans, maintenance_spans, remarks_on
from ml.plant import Site
from resources.lake import LakeResource
from resources.ledger.findings import latest_assessments, maintenance_between, repaired_at
from resources.ledger.intake import days_with_readings, last_reading_at
from resources.ledger.learning import GATE, lock_promotions, record_promotion, record_version
from resources.ledger.ledger import LedgerResource
from resources.models import CHAMPION, ModelsResource, Registered, Training, data_hash

if TYPE_CHECKING:
    from ml.detectors.fleet import SiteDetector

MAX_TAG = 5000  # characters that MLflow keeps of a tag


@dataclass(frozen=True)
class Material:
    """What a training rests on: the features of its days, which of them are healthy, and what is known of the others.

    `real` are the incidents that a detector ought to find; `remarks` what is left out, and why.
    """

    split: Split
    features: pd.DataFrame
    healthy: pd.DataFrame
    real: pd.DataFrame
    maintenance: pd.DataFrame
    remarks: Remarks

    @property
    def learned(self) -> pd.DataFrame:
        """The healthy features that are fitted and calibrated on, of machines with enough days of their own."""
        found = _before(self.healthy, self.split.comparison_from)
        return found[~found["machine_id"].isin([*self.remarks.refused, *self.remarks.few_days])].reset_index(drop=True)

    def trainable(self, site: Site) -> Site:
        """The site with the machines that may have a model. Raises dg.Failure where none can be had."""
        machines = tuple(m for m in site.machines if m.machine_id not in self.remarks.refused)
        left_out = {**self.remarks.refused, **self.remarks.few_days}
        if all(m.machine_id in left_out for m in site.machines):
            reasons = "; ".join(f"{machine}: {why}" for machine, why in left_out.items())
            raise dg.Failure(f"No machine of {site.site} can be trained ({reasons}).", allow_retries=False)
        return site.model_copy(update={"machines": machines})

    @property
    def held_out_from(self) -> pd.Timestamp:
        return pd.Timestamp(self.split.held_out_from, tz="UTC")


def days_to_learn_from(connection: Connection, *, lake: LakeResource, site: Site, until: date | None) -> list[date]:
    """The latest finished days whose features are stored. Raises dg.Failure where there are too few.

    The newest day with readings may still go on: it is finished where its last reading is within a window, or within the longest interval
    of a sensor, of its end.
    """
    policy = site.policy.training
    finished = _finished(days_with_readings(connection, site=site.site), connection=connection, site=site)
    delivered = [day for day in finished if until is None or day <= until]
    stored = [day for day in delivered if lake.path("machine_features", site=site.site, day=day).exists()]
    if len(stored) < policy.min_healthy_days:
        raise dg.Failure(
            f"{site.site} has {len(delivered)} finished days of readings{f' until {until}' if until else ''}, {len(stored)} of them with "
            f"features; training needs {policy.min_healthy_days} with features (policy.training.min_healthy_days). "
            "Process the days that lack them, wait for more days, or deliver earlier ones.",
            allow_retries=False,
        )
    return stored[-policy.max_days :]


def _finished(days: list[date], *, connection: Connection, site: Site) -> list[date]:
    last = last_reading_at(connection, site=site.site)
    if last is None:
        return days
    short_of = pd.Timestamp(days[-1], tz="UTC") + pd.Timedelta(days=1) - pd.Timestamp(last)
    slack = max(pd.Timedelta(minutes=site.window_minutes), pd.Timedelta(seconds=max(s.interval_s for s in site.sensors)))
    return days if short_of <= slack else days[:-1]


def material_of(connection: Connection, *, lake: LakeResource, site: Site, split: Split) -> Material:
    days = split.days
    features = pd.concat([lake.read_days("machine_features", site=site.site, start=day, end=day) for day in days], ignore_index=True)
    start, end = pd.Timestamp(days[0], tz="UTC"), pd.Timestamp(days[-1] + timedelta(days=1), tz="UTC")
    assessed = latest_assessments(connection, site=site.site)
    within = (assessed["onset_at"] < end) & (assessed["last_window_at"] >= start)
    assessed = assessed[within & assessed["machine_id"].isin([m.machine_id for m in site.machines])]
    maintenance = maintenance_between(connection, site=site.site, start=start, end=end)
    spans = {
        "incidents": incident_spans(assessed, repaired_at=repaired_at(connection, site=site.site)),
        "maintenance": maintenance_spans(maintenance),
    }
    distrust = distrusted(_grades(lake, site=site, days=days), site=site)
    window = pd.Timedelta(minutes=site.window_minutes)
    healthy = healthy_rows(features, spans=pd.concat(spans.values()), distrust=distrust, window=window)
    remarks = remarks_on(features, healthy=_before(healthy, split.comparison_from), spans=spans, distrust=distrust, site=site)
    real = assessed[is_real(assessed)]
    return Material(split, features=features, healthy=healthy, real=real, maintenance=maintenance, remarks=remarks)


def _before(rows: pd.DataFrame, day: date | None) -> pd.DataFrame:
    return rows if day is None else rows[rows["window_start"] < pd.Timestamp(day, tz="UTC")]


def _grades(lake: LakeResource, *, site: Site, days: Sequence[date]) -> pd.DataFrame:
    """[day, sensor_id, grade] of the days that were graded."""
    graded = []
    for day in days:
        stored = lake.read("sensor_quality", site=site.site, day=day, columns=["sensor_id", "grade"])
        if stored is not None:
            graded.append(stored.assign(day=day))
    return pd.concat(graded, ignore_index=True) if graded else pd.DataFrame(columns=["sensor_id", "grade", "day"])


def put_to_work(
    registered: Registered,
    training: Training,
    comparison: Comparison,
    *,
    split: Split,
    ledger: LedgerResource,
    models: ModelsResource,
    site: Site,
) -> dict[str, Any]:
    """Ledger, alias, ledger, in this order: a champion that the ledger does not know could not be loaded. Returns the promotion's row.

    A death before the alias leaves a version that nobody uses; one after it, a champion that the next run notes. Only who passed the
    gate is promoted, and only over the champion that it was compared with.
    """
    version = {
        "site": site.site,
        "version": registered.version,
        "mlflow_run_id": registered.run_id,
        "artifact_sha256": registered.artifact_sha256,
        "data_sha256": training.tags["data_sha256"],
        "data_start": split.learned[0],
        "data_end": split.learned[-1],
        "metrics": dict(training.metrics),
    }
    with ledger.begin() as connection:
        record_version(connection, version)
    with ledger.begin() as connection:
        lock_promotions(connection, site=site.site)
        standing = models.version_of(site.site, CHAMPION)
        note_champion(connection, site=site.site, champion=standing, noticed_by="a training that was about to put its detector to work")
        is_promoted, why = comparison.is_better, comparison.why
        if is_promoted and standing != comparison.champion:
            is_promoted, why = False, f"refused: it was compared with champion {comparison.champion}, which is no longer the champion"
        put = models.promote if is_promoted else models.describe
        put(site.site, registered.version, description=f"{why}\n\n{comparison.table}")
        return record_promotion(
            connection,
            {
                "site": site.site,
                "from_version": standing,
                "to_version": registered.version,
                "is_promoted": is_promoted,
                "who": GATE,
                "why": why,
                "comparison": comparison.figures,
            },
        )


def code_hash() -> str:
    """sha256 over the sources of the detectors: the program's version says too little while it is worked on."""
    digest = hashlib.sha256()
    for path in sorted(Path(ml.detectors.__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def training_of(detector: "SiteDetector", material: Material, comparison: Comparison, *, site: Site, run_id: str) -> Training:
    """What MLflow is told."""
    learned, split = material.learned, material.split
    sample = learned[learned["window_start"] >= material.held_out_from].head(len(site.sensors) * 6).reset_index(drop=True)
    params: dict[str, str | int | float] = {
        "site": site.site,
        "data_start": split.learned[0].isoformat(),
        "data_end": split.learned[-1].isoformat(),
        "n_days": len(split.learned),
        "held_out_from": material.held_out_from.isoformat(),
        "compared_from": split.comparison_from.isoformat() if split.comparison_from else "not compared",
        "window_minutes": site.window_minutes,
        "seed": site.policy.training.seed,
        "on_threshold": site.policy.detection.on_threshold,
        "off_threshold": site.policy.detection.off_threshold,
    }
    return Training(
        name=f"{site.site} until {split.learned[-1]}",
        site=site,
        artifact=detector.to_bytes(),
        params=params,
        metrics={
            "machines_trained": float(len(detector.models)),
            "machines_untrained": float(len(material.remarks.without_model(detector.untrained))),
            "windows": float(len(learned)),
            **comparison.metrics,
        },
        tags={
            "data_sha256": data_hash(learned),
            "code_version": distribution_version("smart-maintenance"),
            "detector_code_sha256": code_hash(),
            "dagster_run_id": run_id,
            **{f"no_model.{m}": why[:MAX_TAG] for m, why in material.remarks.without_model(detector.untrained).items()},
            **{f"left_out.{s}": why[:MAX_TAG] for s, why in material.remarks.sensors.items()},
        },
        description=comparison.description,
        plots=training_plots(material, comparison, site=site),
        input_example=sample,
        output_example=detector.score(sample, site=site, model_version=1).drop(columns="model_version"),
    )
