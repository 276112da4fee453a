"""Detectors in MLflow: tracked as runs, registered as one model per site, addressed by alias, verified by hash."""

import hashlib
import json
import logging
import os
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import pandas as pd
from pydantic import Field

from ml.plant import Site
from resources.whole_files import write_whole

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHAMPION = "champion"
CHALLENGER = "challenger"
URI_VARIABLE = "MLFLOW_TRACKING_URI"
STORE_VARIABLE = "MLFLOW_BACKEND_STORE_URI"  # what the tracking server serves, and what we use where no server is named
SERVING_REQUIREMENTS = ["mlflow", "pandas", "pyarrow", "scikit-learn", "scipy", "pydantic"]


class ArtifactRefused(Exception):
    """A detector's bytes are not those that the ledger knows; the message names version and hashes."""


@dataclass(frozen=True)
class Training:
    """What a run in MLflow says about one trained detector; `name` is what its list of runs shows."""

    name: str
    site: Site
    detector: bytes
    params: Mapping[str, str | int | float]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    input_example: pd.DataFrame
    output_example: pd.DataFrame

    @property
    def artifact_sha256(self) -> str:
        return hashlib.sha256(self.detector).hexdigest()


@dataclass(frozen=True)
class Registered:
    version: int
    run_id: str
    artifact_sha256: str


class ModelsResource(dg.ConfigurableResource):
    """MLflow's tracking store and registry, and a local cache of verified detectors."""

    tracking_uri: str
    artifacts: str
    cache: str
    pinned: dict[str, int] = Field(default={}, description="site -> version that counts as its champion, whichever bears the alias")

    @staticmethod
    def model_name(site: str) -> str:
        return f"detector-{site}"

    def register(self, training: Training) -> Registered:
        """Log the training as a run of the site's experiment and register its detector, as challenger."""
        mlflow = _mlflow(self.tracking_uri)
        name = self.model_name(training.site.site)
        with (
            mlflow.start_run(experiment_id=self._experiment_id(name), run_name=training.name) as run,
            tempfile.TemporaryDirectory() as folder,
        ):
            mlflow.log_params(dict(training.params))
            mlflow.log_metrics(dict(training.metrics))
            mlflow.set_tags(dict(training.tags) | {"artifact_sha256": training.artifact_sha256})
            detector, site = Path(folder, "detector.bin"), Path(folder, "site.json")
            detector.write_bytes(training.detector)
            site.write_text(training.site.model_dump_json(), encoding="utf-8")
            example = zoneless(training.input_example)
            with warnings.catch_warnings():
                # it fears integer columns that will lack values; ours are counts, and have none
                warnings.filterwarnings("ignore", message=".*integer column", category=UserWarning)
                signature = mlflow.models.infer_signature(example, zoneless(training.output_example))
            info = mlflow.pyfunc.log_model(
                name="detector",
                python_model=str(Path(__file__).with_name("detector_model.py")),
                artifacts={"detector": str(detector), "site": str(site)},
                signature=signature,
                input_example=example,
                pip_requirements=SERVING_REQUIREMENTS,
            )
        version = self._register(name, source=info.model_uri, run_id=run.info.run_id, model_id=info.model_id)
        client = self._client()
        client.set_registered_model_alias(name, CHALLENGER, str(version))
        client.set_model_version_tag(name, str(version), "artifact_sha256", training.artifact_sha256)
        return Registered(version, run.info.run_id, training.artifact_sha256)

    def _register(self, name: str, *, source: str, run_id: str, model_id: str) -> int:
        from mlflow.exceptions import MlflowException

        client = self._client()
        try:
            client.create_registered_model(name, description="Anomaly detector of the machines of one site; see the run of each version.")
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        return int(client.create_model_version(name, source=source, run_id=run_id, model_id=model_id).version)

    def version_of(self, site: str, alias: str) -> int | None:
        """The version that bears the alias, or None."""
        if alias == CHAMPION and site in self.pinned:
            return self.pinned[site]
        from mlflow.exceptions import MlflowException

        try:
            return int(self._client().get_model_version_by_alias(self.model_name(site), alias).version)
        except MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise

    def promote(self, site: str, version: int, *, description: str) -> None:
        """Make the version champion and say why in its description."""
        client = self._client()
        client.set_registered_model_alias(self.model_name(site), CHAMPION, str(version))
        client.update_model_version(self.model_name(site), str(version), description)

    def describe(self, site: str, version: int, *, description: str) -> None:
        self._client().update_model_version(self.model_name(site), str(version), description)

    def load(self, site: str, version: int, *, artifact_sha256: str) -> bytes:
        """The detector's bytes, from the cache or from MLflow. Raises ArtifactRefused where they have another hash."""
        kept = Path(self.cache, site, f"v{version}-{artifact_sha256[:16]}.bin")
        if kept.exists():
            return _verified(kept.read_bytes(), artifact_sha256, f"{kept}")
        mlflow = _mlflow(self.tracking_uri)
        with tempfile.TemporaryDirectory() as folder:
            fetched = Path(
                mlflow.artifacts.download_artifacts(
                    artifact_uri=f"models:/{self.model_name(site)}/{version}/artifacts/detector.bin", dst_path=folder
                )
            )
            content = _verified(fetched.read_bytes(), artifact_sha256, f"{self.model_name(site)} version {version}")
        write_whole(kept, content)
        return content

    def log_run(
        self,
        experiment: str,
        *,
        name: str,
        params: Mapping[str, str | int | float],
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        texts: Mapping[str, str],
    ) -> str:
        """A finished run with nothing to register; `texts` are its artifacts, by file name. The run's id."""
        mlflow = _mlflow(self.tracking_uri)
        with mlflow.start_run(experiment_id=self._experiment_id(experiment), run_name=name) as run:
            mlflow.log_params(dict(params))
            mlflow.log_metrics(dict(metrics))
            mlflow.set_tags(dict(tags))
            for file_name, text in texts.items():
                mlflow.log_text(text, file_name)
        return str(run.info.run_id)

    def _experiment_id(self, name: str) -> str:
        mlflow = _mlflow(self.tracking_uri)
        experiment = mlflow.get_experiment_by_name(name)
        return str(experiment.experiment_id if experiment else mlflow.create_experiment(name, artifact_location=self._location(name)))

    def _client(self) -> "MlflowClient":
        return _client(self.tracking_uri)

    def _location(self, name: str) -> str:
        return Path(self.artifacts, name).absolute().as_uri()


def zoneless(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with UTC times without their zone: MLflow's schemas know no other."""
    zoned = frame.select_dtypes("datetimetz")
    return frame.assign(**{str(name): zoned[name].dt.tz_localize(None) for name in zoned.columns})


def data_hash(frame: pd.DataFrame) -> str:
    """sha256 over the frame's columns and values, in their order."""
    digest = hashlib.sha256(json.dumps(list(frame.columns)).encode())
    digest.update(pd.util.hash_pandas_object(frame, index=False).to_numpy().tobytes())
    return digest.hexdigest()


def _verified(content: bytes, expected: str, what: str) -> bytes:
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise ArtifactRefused(
            f"{what} is refused: its sha256 is {found}, the ledger knows {expected}. Restore the file or promote another version."
        )
    return content


def _mlflow(tracking_uri: str) -> Any:
    """The library, with its process-wide address set to this store: another resource, or someone's own code, may have set another."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    import mlflow

    logging.getLogger("mlflow").setLevel(logging.WARNING)
    if mlflow.get_tracking_uri() != tracking_uri:
        named = os.environ.pop(URI_VARIABLE, None)
        mlflow.set_tracking_uri(tracking_uri)
        # It names the store in the environment, too, where only people name theirs: another data folder would take it for its own.
        os.environ.pop(URI_VARIABLE, None)
        if named is not None:
            os.environ[URI_VARIABLE] = named
    if mlflow.get_registry_uri() != tracking_uri:
        mlflow.set_registry_uri(tracking_uri)
    return mlflow


@cache
def _client(tracking_uri: str) -> "MlflowClient":
    client: MlflowClient = _mlflow(tracking_uri).MlflowClient(tracking_uri=tracking_uri)
    return client
