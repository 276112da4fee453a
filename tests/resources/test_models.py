"""Detectors in a real MLflow store: registered, addressed by alias, and loaded only as the bytes that were registered."""

import hashlib
import os
import uuid
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import create_engine, make_url, text

from ml.detectors.fleet import SiteDetector
from ml.plant import Site
from resources.models import CHALLENGER, CHAMPION, URI_VARIABLE, ArtifactRefused, ModelsResource, Registered, Training, zoneless

START = pd.Timestamp("2026-03-02", tz="UTC")
SITE = Site.model_validate(
    {
        "site": "plant",
        "name": "Plant",
        "first_day": date(2026, 1, 1),
        "machines": [
            {
                "machine_id": "P1",
                "machine_class": "pump",
                "sensors": [
                    {"sensor_id": "P1-T", "type": "temperature", "unit": "°C"},
                    {"sensor_id": "P1-F", "type": "flow", "unit": "m3/h"},
                ],
            }
        ],
    }
)


def healthy_features(days: int = 4) -> pd.DataFrame:
    """Windows of a pump whose two sensors follow one load."""
    rng = np.random.default_rng(3)
    n = days * 144
    load = np.cos(2 * np.pi * np.arange(n) / 144) + 0.3 * rng.standard_normal(n)
    parts = [
        pd.DataFrame(
            {
                "machine_id": "P1",
                "window_start": (START + pd.to_timedelta(np.arange(n) * 10, unit="min")).as_unit("us"),
                "sensor_id": sensor.sensor_id,
                "coverage": 1.0,
                "mean": level + scale * load + 0.2 * scale * rng.standard_normal(n),
                "std": 0.2 * scale * np.sqrt(rng.chisquare(9, n) / 9),
                "slope_per_h": rng.standard_normal(n),
                "running_share": 1.0,
            }
        )
        for sensor, level, scale in zip(SITE.sensors, (50.0, 100.0), (3.0, 8.0), strict=True)
    ]
    return pd.concat(parts).sort_values(["machine_id", "window_start", "sensor_id"], ignore_index=True)


def training(seed: int) -> Training:
    features = healthy_features()
    detector = SiteDetector.fit(features, site=SITE, held_out_from=START + pd.Timedelta(days=3), seed=seed)
    example = features.head(12)
    return Training(
        name=f"plant, seed {seed}",
        site=SITE,
        artifact=detector.to_bytes(),
        params={"seed": seed, "n_days": 4},
        metrics={"false_alarms_per_machine_month": 0.25},
        description="| | challenger |\n| --- | --- |",
        plots={"reliability.png": b"\x89PNG"},
        tags={"data_sha256": "d" * 64},
        input_example=example,
        output_example=detector.score(example, site=SITE, model_version=1).drop(columns="model_version"),
    )


@pytest.fixture(scope="module")
def store(postgres: str) -> Iterator[str]:
    """URL of a database for MLflow alone; afterwards the process asks the store that it asked before."""
    import mlflow

    before, named = (mlflow.get_tracking_uri(), mlflow.get_registry_uri()), os.environ.get(URI_VARIABLE)
    admin = create_engine(make_url(postgres).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    name = f"mlflow_{uuid.uuid4().hex[:12]}"
    with admin.connect() as connection:
        connection.execute(text(f"create database {name}"))
    yield make_url(postgres).set(drivername="postgresql+psycopg2", database=name).render_as_string(hide_password=False)
    mlflow.set_tracking_uri(before[0])
    mlflow.set_registry_uri(before[1])
    os.environ.pop(URI_VARIABLE, None)  # MLflow names it there, and what is set up next would take it for a server that a person named
    if named is not None:
        os.environ[URI_VARIABLE] = named
    with admin.connect() as connection:
        connection.execute(text(f"drop database {name} with (force)"))
    admin.dispose()


@pytest.fixture(scope="module")
def shared(
    store: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[ModelsResource, tuple[Registered, Registered], tuple[Training, Training]]:
    """A store with two versions of the site's detector; tests take caches of their own."""
    root = tmp_path_factory.mktemp("models")
    models = ModelsResource(tracking_uri=store, artifacts=str(root / "mlflow"), cache=str(root / "cache"))
    assert models.version_of("plant", CHAMPION) is None, "a store without the model has no version of it"
    trainings = (training(1), training(2))
    assert trainings[0].artifact != trainings[1].artifact
    first, second = (models.register(t) for t in trainings)
    return models, (first, second), trainings


@pytest.fixture
def models(shared: tuple, tmp_path: Path) -> ModelsResource:
    found: ModelsResource = shared[0]
    return ModelsResource(tracking_uri=found.tracking_uri, artifacts=found.artifacts, cache=str(tmp_path / "cache"))


@pytest.fixture
def registered(shared: tuple) -> tuple[Registered, Registered]:
    found: tuple[Registered, Registered] = shared[1]
    return found


@pytest.fixture
def trainings(shared: tuple) -> tuple[Training, Training]:
    found: tuple[Training, Training] = shared[2]
    return found


def test_each_registration_is_the_next_version_and_the_challenger(
    models: ModelsResource, registered: tuple[Registered, Registered], trainings: tuple[Training, Training]
) -> None:
    assert [r.version for r in registered] == [1, 2]
    assert models.version_of("plant", CHALLENGER) == 2
    assert [r.artifact_sha256 for r in registered] == [hashlib.sha256(t.artifact).hexdigest() for t in trainings]


def test_the_run_says_what_was_trained_on_what(models: ModelsResource, registered: tuple[Registered, Registered]) -> None:
    client = models._client()
    run = client.get_run(registered[0].run_id)
    assert run.info.run_name == "plant, seed 1"
    assert run.data.params == {"seed": "1", "n_days": "4"}
    assert run.data.metrics["false_alarms_per_machine_month"] == 0.25
    assert run.data.tags["mlflow.note.content"] == "|&emsp; | challenger |\n| --- | --- |", "with room between the columns"
    assert [f.path for f in client.list_artifacts(run.info.run_id, "plots")] == ["plots/reliability.png"]
    kind = client.get_experiment(run.info.experiment_id).tags["mlflow.experimentKind"]
    assert kind == "custom_model_development", "its page is not one for language models"
    assert run.data.tags["data_sha256"] == "d" * 64
    assert run.data.tags["artifact_sha256"] == registered[0].artifact_sha256
    version = client.get_model_version("detector-plant", "1")
    assert version.run_id == registered[0].run_id
    assert version.tags["artifact_sha256"] == registered[0].artifact_sha256


def test_promoting_moves_the_champion_says_why_and_can_be_taken_back(
    models: ModelsResource, registered: tuple[Registered, Registered]
) -> None:
    for version in (1, 2, 1):
        models.promote("plant", version, description=f"promoted: {version}")
        assert models.version_of("plant", CHAMPION) == version
        assert models._client().get_model_version("detector-plant", str(version)).description == f"promoted: {version}"
    assert models.version_of("plant", CHALLENGER) == 2, "the challenger stays who it is"


def test_an_unknown_model_and_an_unknown_alias_have_no_version(models: ModelsResource, registered: tuple[Registered, Registered]) -> None:
    assert models.version_of("elsewhere", CHAMPION) is None
    assert models.version_of("plant", "retired") is None


def test_loading_returns_the_registered_bytes_from_mlflow_and_then_from_the_cache(
    models: ModelsResource, registered: tuple[Registered, Registered], trainings: tuple[Training, Training]
) -> None:
    for known, trained in zip(registered, trainings, strict=True):
        assert models.load("plant", known.version, artifact_sha256=known.artifact_sha256) == trained.artifact
    kept = sorted(p.name for p in Path(models.cache, "plant").iterdir())
    assert kept == [f"v{r.version}-{r.artifact_sha256[:16]}.bin" for r in registered]
    offline = ModelsResource(
        tracking_uri="postgresql+psycopg2://nobody@/none?host=/nonexistent", artifacts=models.artifacts, cache=models.cache
    )
    assert offline.load("plant", 1, artifact_sha256=registered[0].artifact_sha256) == trainings[0].artifact


def test_bytes_with_another_hash_than_the_ledgers_are_refused_and_not_kept(
    models: ModelsResource, registered: tuple[Registered, Registered]
) -> None:
    other = registered[1].artifact_sha256
    with pytest.raises(ArtifactRefused, match=f"detector-plant version 1 is refused: its sha256 is .*the ledger knows {other}"):
        models.load("plant", 1, artifact_sha256=other)
    assert not Path(models.cache, "plant").exists()


def flip_a_byte(path: Path) -> bytes:
    """Change one byte in the middle; returns what it was before."""
    before = path.read_bytes()
    changed = bytearray(before)
    changed[len(changed) // 2] ^= 1
    path.write_bytes(bytes(changed))
    return before


def test_a_byte_changed_in_the_artifact_store_is_refused(
    models: ModelsResource, registered: tuple[Registered, Registered], trainings: tuple[Training, Training]
) -> None:
    [stored] = [p for p in Path(models.artifacts).rglob("detector.bin") if p.read_bytes() == trainings[0].artifact]
    before = flip_a_byte(stored)
    try:
        with pytest.raises(ArtifactRefused, match="Restore the file in MLflow's artifact store or promote another version"):
            models.load("plant", 1, artifact_sha256=registered[0].artifact_sha256)
        assert not Path(models.cache, "plant").exists()
        assert models.load("plant", 2, artifact_sha256=registered[1].artifact_sha256) == trainings[1].artifact
    finally:
        stored.write_bytes(before)
    assert models.load("plant", 1, artifact_sha256=registered[0].artifact_sha256) == trainings[0].artifact, "restored, it is good again"


def test_whatever_else_the_process_told_mlflow_the_resource_asks_its_own_store(
    models: ModelsResource, registered: tuple[Registered, Registered], trainings: tuple[Training, Training], tmp_path: Path
) -> None:
    import mlflow

    mlflow.set_tracking_uri((tmp_path / "elsewhere").as_uri())
    mlflow.set_registry_uri((tmp_path / "elsewhere").as_uri())
    assert models.load("plant", 1, artifact_sha256=registered[0].artifact_sha256) == trainings[0].artifact


def test_a_byte_changed_in_the_cache_is_refused(models: ModelsResource, registered: tuple[Registered, Registered]) -> None:
    models.load("plant", 1, artifact_sha256=registered[0].artifact_sha256)
    [kept] = Path(models.cache, "plant").iterdir()
    flip_a_byte(kept)
    with pytest.raises(ArtifactRefused, match=str(kept)):
        models.load("plant", 1, artifact_sha256=registered[0].artifact_sha256)


def test_the_served_model_scores_as_the_detector_does(
    models: ModelsResource, registered: tuple[Registered, Registered], trainings: tuple[Training, Training]
) -> None:
    import mlflow

    mlflow.set_tracking_uri(models.tracking_uri)
    mlflow.set_registry_uri(models.tracking_uri)
    features = healthy_features()
    served = mlflow.pyfunc.load_model("models:/detector-plant/2").predict(zoneless(features))
    scored = SiteDetector.from_bytes(trainings[1].artifact).score(features, site=SITE, model_version=1)
    np.testing.assert_array_equal(served["score"], scored["score"])
    assert served["score"].notna().sum() > 400
