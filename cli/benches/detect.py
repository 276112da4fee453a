"""Detection beside its bare members, on a made-up site of 200 machines: the members' own speed, a whole site-day, and a training.

CPU seconds of one core, so that the figures hold on a machine that does other things, too. `detect.asset_ratio` is the asset as a run
executes it (Dagster's step, reading and writing Parquet, the champion's file, validation and the ledger) over the members on the same
matrix, both from the second time on: the imports have been paid.
"""

import hashlib
import os
from collections.abc import Iterator
from datetime import date, timedelta
from functools import partial

import dagster as dg
import numpy as np
import pandas as pd

from assets.detection import anomaly_scores
from assets.partitions import SiteDay
from cli.benches.false_alarms import false_alarms
from cli.benches.figures import RUNS, Measured, alone, figure, side_by_side, timed
from cli.environment import Environment
from expectations.contracts import MACHINE_FEATURES
from ml.detectors.fleet import SiteDetector
from ml.detectors.look_back import remembered_days
from ml.detectors.robust_z import largest
from ml.detectors.windows import MachineWindows, each_machine, joined
from ml.plant import Machine, Sensor, SensorType, Site
from resources.lake import LakeResource
from resources.ledger.learning import record_version
from resources.ledger.ledger import LEDGER_VARIABLE, LedgerResource
from resources.models import STORE_VARIABLE, ModelsResource, Training
from resources.plant import PlantResource
from resources.validation_pages import ValidationPagesResource

MACHINES, TRAINING_DAYS = 200, 28
TYPES: tuple[SensorType, ...] = ("temperature", "vibration", "pressure", "flow")
FIRST_DAY = date(2026, 9, 1)
DAY = FIRST_DAY + timedelta(days=TRAINING_DAYS)
PER_DAY = 144


def detect() -> Iterator[Measured]:
    site = site_of(MACHINES)
    features = features_of(site, days=TRAINING_DAYS + 1, seed=1)
    learned = features[features["window_start"] < pd.Timestamp(DAY, tz="UTC")]
    held_out_from = pd.Timestamp(FIRST_DAY + timedelta(days=round(0.7 * TRAINING_DAYS)), tz="UTC")
    trained: list[SiteDetector] = []

    def train() -> None:
        trained.append(SiteDetector.fit(learned, site=site, held_out_from=held_out_from, seed=7))

    spent = timed(train)
    yield figure(f"detect.training_of_{MACHINES}_machines", [spent.cpu], "CPU-s", at_most=60)
    detector = trained[0]
    yield from members(detector, learned.head(20 * TRAINING_DAYS * PER_DAY * len(TYPES)), site=site)
    since = pd.Timestamp(DAY - timedelta(days=remembered_days(site)), tz="UTC")
    with alone() as environment:
        yield from asset(detector, features[features["window_start"] >= since], site=site, environment=environment)
    yield from false_alarms()


def members(detector: SiteDetector, features: pd.DataFrame, *, site: Site) -> Iterator[Measured]:
    """Robust z with PCA, and the forest, over the same windows as one long matrix."""
    windows = joined(list(each_machine(features, site=site)))
    of_machine = next(iter(detector.models.values())).members
    complete = of_machine.pca.impute(of_machine.baseline.view(windows).z)

    def z_and_pca() -> None:
        view = of_machine.baseline.view(windows)
        largest(of_machine.robust_z.telling(view))
        for contributions in of_machine.pca.contributions(of_machine.pca.impute(view.z)):
            contributions.sum(axis=1)

    n = len(windows.starts)
    z_spent = [timed(z_and_pca).cpu for _ in range(RUNS)]
    yield figure("detect.z_and_pca", [n * len(TYPES) / cpu for cpu in z_spent], "windows x sensors/CPU-s", at_least=1_000_000)
    forest_spent = [timed(lambda: of_machine.forest.statistic(complete)).cpu for _ in range(RUNS)]
    yield figure("detect.isolation_forest", [n / cpu for cpu in forest_spent], "rows/CPU-s", at_least=150_000)


def asset(detector: SiteDetector, features: pd.DataFrame, *, site: Site, environment: Environment) -> Iterator[Measured]:
    """A site-day of `anomaly_scores`, features in the lake, beside the members on the same matrix."""
    home = environment.home
    ledger, lake = LedgerResource(url=os.environ[LEDGER_VARIABLE]), LakeResource(root=str(home.folder("lake")))
    models = ModelsResource(tracking_uri=os.environ[STORE_VARIABLE], artifacts=str(home.folder("mlflow")), cache=str(home.root / "cache"))
    plant = home.root / "plant"
    plant.mkdir()
    (plant / f"{site.site}.yaml").write_text(site.model_dump_json(exclude_defaults=True), encoding="utf-8")  # JSON is YAML
    for day, of_day in features.groupby(features["window_start"].dt.date):
        lake.write("machine_features", of_day, site=site.site, day=day)
    put_to_work(detector, features, site=site, ledger=ledger, models=models)
    resources = {
        "lake": lake,
        "ledger": ledger,
        "models": models,
        "plant": PlantResource(folder=str(plant)),
        "validation_pages": ValidationPagesResource(root=str(home.folder("validation"))),
    }
    windows = list(each_machine(features, site=site))
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("site", [site.site])

        def score_day() -> None:
            key = SiteDay(DAY, site.site).key
            quiet = {"loggers": {"console": {"config": {"log_level": "ERROR"}}}}
            run = dg.materialize([anomaly_scores], partition_key=key, resources=resources, instance=instance, run_config=quiet)
            if not run.success:
                raise RuntimeError("the bench's own site-day was not scored")

        pairs = side_by_side(lambda _: (score_day, partial(judge_all, detector, windows)))
    yield figure(f"detect.site_day_of_{site.site}", [ours.cpu for ours, _ in pairs], "CPU-s", at_most=3)
    yield figure("detect.site_day_wall", [ours.wall for ours, _ in pairs], "s")
    yield figure("detect.asset_ratio", [ours.cpu / bare.cpu for ours, bare in pairs], "x bare members", at_most=1.5)
    scored = [timed(lambda: detector.score(features, site=site, model_version=1)).cpu for _ in range(RUNS)]
    bare = [timed(partial(judge_all, detector, windows)).cpu for _ in range(RUNS)]
    yield figure("detect.score_ratio", [s / b for s, b in zip(scored, bare, strict=True)], "x bare members", at_most=1.5)


def judge_all(detector: SiteDetector, windows: list[MachineWindows]) -> None:
    """All members over all days that the asset reads."""
    for of_machine in windows:
        detector.models[of_machine.machine_id].members.judge(of_machine)


def put_to_work(detector: SiteDetector, features: pd.DataFrame, *, site: Site, ledger: LedgerResource, models: ModelsResource) -> None:
    """Registered in MLflow, known to the ledger, champion."""
    example = features.head(6 * len(TYPES)).reset_index(drop=True)
    training = Training(
        name="bench",
        site=site,
        artifact=detector.to_bytes(),
        params={"site": site.site},
        metrics={"machines_trained": float(len(detector.models))},
        tags={"data_sha256": hashlib.sha256(b"bench").hexdigest()},
        input_example=example,
        output_example=detector.score(example, site=site, model_version=1).drop(columns="model_version"),
    )
    registered = models.register(training)
    version = {
        "site": site.site,
        "version": registered.version,
        "mlflow_run_id": registered.run_id,
        "artifact_sha256": registered.artifact_sha256,
        "data_sha256": training.tags["data_sha256"],
        "data_start": FIRST_DAY,
        "data_end": DAY - timedelta(days=1),
        "metrics": dict(training.metrics),
    }
    with ledger.begin() as connection:
        record_version(connection, version)
    models.promote(site.site, registered.version, description="the bench's own")


def site_of(machines: int) -> Site:
    def machine(number: int) -> Machine:
        name = f"M{number:03d}"
        sensors = tuple(Sensor(sensor_id=f"{name}-{kind}", type=kind, unit="u") for kind in TYPES)
        return Machine(machine_id=name, machine_class="bench", sensors=sensors)

    return Site(site=f"bench{machines}", name="Bench", first_day=FIRST_DAY, machines=tuple(map(machine, range(machines))))


def features_of(site: Site, *, days: int, seed: int) -> pd.DataFrame:
    """Windows of machines whose sensors follow a load that wanders, each with noise of its own; figures that no detector reads are 0."""
    rng = np.random.default_rng(seed)
    n, machines, width = days * PER_DAY, len(site.machines), len(TYPES)
    load = np.cumsum(rng.standard_normal((machines, n)), axis=1)
    load = (load - load.mean(axis=1, keepdims=True)) / load.std(axis=1, keepdims=True)
    mean = 50 + load[:, :, None] * rng.uniform(0.5, 2, (machines, 1, width)) + 0.5 * rng.standard_normal((machines, n, width))
    starts = pd.date_range(pd.Timestamp(FIRST_DAY, tz="UTC"), periods=n, freq="10min", unit="us")
    rows = mean.size
    told: dict[str, object] = {
        "machine_id": pd.array(np.repeat([m.machine_id for m in site.machines], n * width), dtype="str"),
        "window_start": np.tile(np.repeat(starts, width), machines),
        "sensor_id": pd.array(np.repeat([[s.sensor_id for s in m.sensors] for m in site.machines], n, axis=0).ravel(), dtype="str"),
        "n_readings": np.int32(10),
        "mean": mean.ravel(),
        "std": np.sqrt(rng.chisquare(9, rows) / 9),
        "slope_per_h": rng.standard_normal(rows),
        "coverage": 1.0,
        "running_share": 1.0,
    }
    return pd.DataFrame(dict.fromkeys(MACHINE_FEATURES.names, 0.0) | told, index=range(rows))
