"""Detectors and failure models in MLflow: tracked as runs, registered as one model per site, addressed by alias, verified by hash.

MLflow's own patience is long: it tries a server that is gone for minutes. So it is asked whether it answers first (a few
milliseconds), and `ModelsUnreachable` says that it does not; verified artifacts lie in a local cache, for which nothing is asked.
"""

import hashlib
import json
import logging
import os
import tempfile
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import pandas as pd
from pydantic import Field

from ml.plant import Site
from resources.home import Home
from resources.whole_files import write_whole

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHAMPION = "champion"
CHALLENGER = "challenger"
URI_VARIABLE = "MLFLOW_TRACKING_URI"
STORE_VARIABLE = "MLFLOW_BACKEND_STORE_URI"  # what the tracking server serves, and what we use where no server is named
DESCRIPTION_TAG = "mlflow.note.content"  # MLflow's page of the run shows it as the description
EXPERIMENT_KIND = {"mlflow.experimentKind": "custom_model_development"}  # else its pages are those for language models
ANSWER_TIMEOUT_S = 5
SERVING_REQUIREMENTS = ("mlflow", "pandas", "pyarrow", "scipy", "pydantic", "scikit-learn", "threadpoolctl")


@dataclass(frozen=True)
class Family:
    """A kind of model, of which each site has one, `<prefix>-<site>`.

    `artifact` names its bytes, `code` the file beside this one by which MLflow serves them; `asset` is what trains it, `job` what
    runs that.
    """

    prefix: str
    artifact: str
    code: str
    asset: str
    job: str
    registered: str
    experiment: str

    def name_for(self, site: str) -> str:
        return f"{self.prefix}-{site}"

    @property
    def words(self) -> str:
        return self.artifact.replace("_", " ")

    @property
    def file_name(self) -> str:
        return f"{self.artifact}.bin"


DETECTOR = Family(
    prefix="detector",
    artifact="detector",
    code="detector_model.py",
    asset="detector_model",
    job="train_detectors",
    registered="Anomaly detector of the machines of one site; see the run of each version.",
    experiment="Trainings of the anomaly detector of one site, one run each; the run's page says what the gate said.",
)
FAILURE_MODEL = Family(
    prefix="failure-model",
    artifact="failure_model",
    code="failure_model.py",
    asset="failure_model",
    job="train_failure_model",
    registered="Probability that a machine of one site fails within the horizon, learned from labelled failures; see each version's run.",
    experiment="Trainings of the learned failure model of one site, one run each; judged on machines and on time held out.",
)


class ArtifactRefused(Exception):
    """A model's bytes are not those that the ledger knows; the message names version and hashes."""


class ModelsUnreachable(Exception):
    """MLflow does not answer; the message says where it was looked for, and what was heard."""


@dataclass(frozen=True)
class Training:
    """What a run in MLflow says about one trained model.

    `name` is what its list of runs shows, `description` (Markdown) heads its page, `plots` are PNG files by name.
    """

    name: str
    site: Site
    artifact: bytes
    params: Mapping[str, str | int | float]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    input_example: pd.DataFrame
    output_example: pd.DataFrame
    description: str = ""
    plots: Mapping[str, bytes] = field(default_factory=dict)
    family: Family = DETECTOR

    @property
    def artifact_sha256(self) -> str:
        return hashlib.sha256(self.artifact).hexdigest()


@dataclass(frozen=True)
class Fitted:
    """A model that an evaluation fitted, to be registered under `name` by its run; `code` is the file here by which MLflow serves it.

    Its bytes are the artifact that bears the name of that file.
    """

    name: str
    artifact: bytes
    code: str
    input_example: pd.DataFrame
    output_example: pd.DataFrame
    description: str


@dataclass(frozen=True)
class Registered:
    version: int
    run_id: str
    artifact_sha256: str


class ModelsResource(dg.ConfigurableResource):
    """MLflow's tracking store and registry, and a local cache of verified artifacts; a family left out is that of the detectors."""

    tracking_uri: str
    artifacts: str
    cache: str
    pinned: dict[str, int] = Field(default={}, description="site -> version that counts as its champion, whichever bears the alias")

    @staticmethod
    def model_name(site: str) -> str:
        return DETECTOR.name_for(site)

    def register(self, training: Training) -> Registered:
        """Log the training as a run of the site's experiment and register its model, as challenger. Raises ModelsUnreachable."""
        with self._answering() as client:
            return self._registered(training, client)

    def _registered(self, training: Training, client: "MlflowClient") -> Registered:
        mlflow = _mlflow(self.tracking_uri)
        family = training.family
        name = family.name_for(training.site.site)
        experiment_id = self._experiment_id(name)
        for tag, value in {**EXPERIMENT_KIND, DESCRIPTION_TAG: family.experiment}.items():
            client.set_experiment_tag(experiment_id, tag, value)
        with mlflow.start_run(experiment_id=experiment_id, run_name=training.name) as run, tempfile.TemporaryDirectory() as folder:
            mlflow.log_params(dict(training.params))
            mlflow.log_metrics(dict(training.metrics))
            description = {DESCRIPTION_TAG: spaced(training.description), "mlflow.source.name": f"asset {family.asset}"}
            mlflow.set_tags(dict(training.tags) | {"artifact_sha256": training.artifact_sha256} | description)
            for plot, content in training.plots.items():
                drawn = Path(folder, plot)
                drawn.write_bytes(content)
                mlflow.log_artifact(str(drawn), artifact_path="plots")
            stored, site = Path(folder, family.file_name), Path(folder, "site.json")
            stored.write_bytes(training.artifact)
            site.write_text(training.site.model_dump_json(), encoding="utf-8")
            info = _log_model(
                mlflow,
                name=family.artifact,
                code=family.code,
                artifacts={family.artifact: str(stored), "site": str(site)},
                examples=(training.input_example, training.output_example),
            )
        version = self._register(name, source=info.model_uri, run_id=run.info.run_id, model_id=info.model_id, description=family.registered)
        client.set_registered_model_alias(name, CHALLENGER, str(version))
        client.set_model_version_tag(name, str(version), "artifact_sha256", training.artifact_sha256)
        return Registered(version, run.info.run_id, training.artifact_sha256)

    def _register(self, name: str, *, source: str, run_id: str, model_id: str, description: str) -> int:
        from mlflow.exceptions import MlflowException

        client = self._client()
        try:
            client.create_registered_model(name, description=description)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        return int(client.create_model_version(name, source=source, run_id=run_id, model_id=model_id).version)

    def version_of(self, site: str, alias: str, *, family: Family = DETECTOR) -> int | None:
        """The version that bears the alias, or None. Raises ModelsUnreachable."""
        if alias == CHAMPION and family is DETECTOR and site in self.pinned:
            return self.pinned[site]
        found = self._asked(lambda client: client.get_model_version_by_alias(family.name_for(site), alias))
        return None if found is None else int(found.version)

    def aliases_of(self, site: str) -> dict[str, int]:
        """The version of the detector that each alias names. Raises ModelsUnreachable."""
        found = self._asked(lambda client: client.get_registered_model(self.model_name(site)))
        return {} if found is None else {alias: int(version) for alias, version in found.aliases.items()}

    def promote(self, site: str, version: int, *, description: str, family: Family = DETECTOR) -> None:
        """Make the version champion and say why in its description."""
        with self._answering() as client:
            client.set_registered_model_alias(family.name_for(site), CHAMPION, str(version))
            client.update_model_version(family.name_for(site), str(version), spaced(description))

    def describe(self, site: str, version: int, *, description: str, family: Family = DETECTOR) -> None:
        with self._answering() as client:
            client.update_model_version(family.name_for(site), str(version), spaced(description))

    def is_kept(self, site: str, version: int, *, artifact_sha256: str, family: Family = DETECTOR) -> bool:
        """Whether the cache has it, so that MLflow need not be asked."""
        return self._kept(site, version, artifact_sha256=artifact_sha256, family=family).exists()

    def load(self, site: str, version: int, *, artifact_sha256: str, family: Family = DETECTOR) -> bytes:
        """The model's bytes, from the cache or from MLflow.

        Raises ArtifactRefused where they have another hash, ModelsUnreachable where the cache lacks them and MLflow does not answer.
        """
        kept = self._kept(site, version, artifact_sha256=artifact_sha256, family=family)
        if kept.exists():
            mend = "Delete the file: it is fetched anew from MLflow."
            return _verified(kept.read_bytes(), artifact_sha256, what=f"{kept}, a cached {family.words},", mend=mend)
        return self.fetch(site, version, artifact_sha256=artifact_sha256, family=family)

    def fetch(self, site: str, version: int, *, artifact_sha256: str, family: Family = DETECTOR) -> bytes:
        """The model's bytes from MLflow, whatever the cache holds, which holds them afterwards. Raises as `load` does."""
        from mlflow.exceptions import MlflowException

        what = f"{family.name_for(site)} version {version}"
        with self._answering(), tempfile.TemporaryDirectory() as folder:
            uri = f"models:/{family.name_for(site)}/{version}/artifacts/{family.file_name}"
            try:
                fetched = Path(_mlflow(self.tracking_uri).artifacts.download_artifacts(artifact_uri=uri, dst_path=folder))
            except (OSError, MlflowException) as error:
                self.demand_answer()
                reason = f"{error}".strip().splitlines()[-1]
                raise ArtifactRefused(f"{what} is refused: MLflow's store does not give its artifact out ({reason}).") from error
            mend = "Restore the file in MLflow's artifact store or promote another version."
            content = _verified(fetched.read_bytes(), artifact_sha256, what=what, mend=mend)
        write_whole(self._kept(site, version, artifact_sha256=artifact_sha256, family=family), content)
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
        fitted: Fitted | None = None,
    ) -> str:
        """A finished run and what it fitted, which is registered; `texts` are its artifacts, by file name. The run's id."""
        mlflow = _mlflow(self.tracking_uri)
        with mlflow.start_run(experiment_id=self._experiment_id(experiment), run_name=name) as run:
            mlflow.log_params(dict(params))
            mlflow.log_metrics(dict(metrics))
            mlflow.set_tags(dict(tags))
            for file_name, text in texts.items():
                mlflow.log_text(text, file_name)
            if fitted is not None:
                self._register_fitted(fitted, run_id=run.info.run_id)
        return str(run.info.run_id)

    def _register_fitted(self, fitted: Fitted, *, run_id: str) -> None:
        mlflow = _mlflow(self.tracking_uri)
        with tempfile.TemporaryDirectory() as folder:
            name = Path(fitted.code).stem
            stored = Path(folder, f"{name}.bin")
            stored.write_bytes(fitted.artifact)
            examples = (fitted.input_example, fitted.output_example)
            info = _log_model(mlflow, name=name, code=fitted.code, artifacts={name: str(stored)}, examples=examples)
        version = self._register(fitted.name, source=info.model_uri, run_id=run_id, model_id=info.model_id, description=fitted.description)
        self._client().set_model_version_tag(fitted.name, str(version), "artifact_sha256", hashlib.sha256(fitted.artifact).hexdigest())

    def _experiment_id(self, name: str) -> str:
        mlflow = _mlflow(self.tracking_uri)
        experiment = mlflow.get_experiment_by_name(name)
        return str(experiment.experiment_id if experiment else mlflow.create_experiment(name, artifact_location=self._location(name)))

    def _kept(self, site: str, version: int, *, artifact_sha256: str, family: Family) -> Path:
        front = "" if family is DETECTOR else f"{family.prefix}-"
        return Path(self.cache, site, f"{front}v{version}-{artifact_sha256[:16]}.bin")

    def _asked(self, question: Callable[["MlflowClient"], Any]) -> Any:
        """The answer, or None where the registry does not know what was asked for."""
        from mlflow.exceptions import MlflowException

        with self._answering() as client:
            try:
                return question(client)
            except MlflowException as error:
                if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                    return None
                raise

    @contextmanager
    def _answering(self) -> Iterator["MlflowClient"]:
        """A client of an MLflow that answers. Raises ModelsUnreachable where it does not, or ceases to meanwhile."""
        self.demand_answer()
        client = self._client()
        from mlflow.exceptions import MlflowException

        try:
            yield client
        except MlflowException as error:
            if error.error_code in ("TEMPORARILY_UNAVAILABLE", "INTERNAL_ERROR"):
                raise ModelsUnreachable(f"MLflow at {_shown(self.tracking_uri)} did not answer as it should ({error}).") from error
            raise

    def demand_answer(self) -> None:
        """Raises ModelsUnreachable where MLflow does not answer."""
        said = _silence_of(self.tracking_uri)
        if said is not None:
            raise ModelsUnreachable(f"MLflow at {_shown(self.tracking_uri)} does not answer ({said}).")

    def _client(self) -> "MlflowClient":
        return _client(self.tracking_uri)

    def _location(self, name: str) -> str:
        return Path(self.artifacts, name).absolute().as_uri()


def models_of(home: Home) -> ModelsResource:
    """For commands: over the data folder, with the store or server that the environment names."""
    uri = os.environ.get(URI_VARIABLE) or os.environ[STORE_VARIABLE]
    return ModelsResource(tracking_uri=uri, artifacts=str(home.folder("mlflow")), cache=str(home.folder("models")))


def zoneless(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with UTC times without their zone: MLflow's schemas know no other."""
    zoned = frame.select_dtypes("datetimetz")
    return frame.assign(**{str(name): zoned[name].dt.tz_localize(None) for name in zoned.columns})


def spaced(markdown: str) -> str:
    """The Markdown with room between the columns of its tables, which MLflow's pages set side by side without any."""
    lines = markdown.split("\n")
    return "\n".join(line if set(line) <= set("|- ") else line.replace(" | ", "&emsp; | ") for line in lines)


def data_hash(frame: pd.DataFrame) -> str:
    """sha256 over the frame's columns and values, in their order."""
    digest = hashlib.sha256(json.dumps(list(frame.columns)).encode())
    digest.update(pd.util.hash_pandas_object(frame, index=False).to_numpy().tobytes())
    return digest.hexdigest()


def _log_model(mlflow: Any, *, name: str, code: str, artifacts: Mapping[str, str], examples: tuple[pd.DataFrame, pd.DataFrame]) -> Any:
    """A pyfunc model of the running run, with its signature by example: what goes in, and what comes out."""
    given, made = (zoneless(example) for example in examples)
    with warnings.catch_warnings():
        # it fears integer columns that will lack values; ours are counts, and have none
        warnings.filterwarnings("ignore", message=".*integer column", category=UserWarning)
        signature = mlflow.models.infer_signature(given, made)
    return mlflow.pyfunc.log_model(
        name=name,
        python_model=str(Path(__file__).with_name(code)),
        artifacts=dict(artifacts),
        signature=signature,
        input_example=given,
        pip_requirements=list(SERVING_REQUIREMENTS),
    )


def _verified(content: bytes, expected: str, *, what: str, mend: str) -> bytes:
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise ArtifactRefused(f"{what} is refused: its sha256 is {found}, the ledger knows {expected}. {mend}")
    return content


def _silence_of(tracking_uri: str) -> str | None:
    """Why the store or server cannot be asked, in one line; None where it answers. Files are always there to be asked."""
    if tracking_uri.startswith(("http://", "https://")):
        try:
            with urllib.request.urlopen(f"{tracking_uri.rstrip('/')}/health", timeout=ANSWER_TIMEOUT_S):  # noqa: S310 - http or https
                return None
        except urllib.error.HTTPError as error:
            return f"{error}" if error.code >= 500 else None
        except OSError as error:
            return f"{getattr(error, 'reason', error)}"
    if tracking_uri.startswith("postgresql"):
        from sqlalchemy import NullPool, create_engine
        from sqlalchemy.exc import OperationalError

        engine = create_engine(tracking_uri, poolclass=NullPool, connect_args={"connect_timeout": ANSWER_TIMEOUT_S})
        try:
            engine.connect().close()
        except OperationalError as error:
            return " ".join(f"{error.orig}".split())
    return None


def _shown(tracking_uri: str) -> str:
    """Without the password that it may have."""
    from sqlalchemy import make_url

    return make_url(tracking_uri).render_as_string() if "@" in tracking_uri else tracking_uri


def _mlflow(tracking_uri: str) -> Any:
    """The library, with its process-wide address set to this store: another resource, or someone's own code, may have set another."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    # a server that ceases to answer holds a run up for seconds; as delivered, 7 retries of 120 s each
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
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
