"""A training that MLflow breaks off: a failure that says what, where and what to do, tried again only where that may help."""

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from assets.failure_learning import failure_model
from assets.learning import detector_model
from resources.lake import LakeResource
from resources.ledger.learning import promotions_of, versions_of
from resources.ledger.ledger import LedgerResource
from resources.models import CHAMPION, ModelsResource, ModelsUnreachable
from resources.plant import PlantResource
from tests.assets.test_champions import gone
from tests.assets.test_failure_learning import Works, artifacts, label_all, works
from tests.assets.test_learning import FIRST, N_DAYS, SITE, stored_features
from tests.ledger_states import days_from, deliver
from tests.resources.test_models import flip_a_byte, store, training

__all__ = ["artifacts", "store", "works"]  # fixtures

MAX_RETRIES = 1


@dataclass(frozen=True)
class School:
    """A site with days enough for a detector, and a Dagster instance."""

    ledger: LedgerResource
    resources: Mapping[str, Any]
    instance: dg.DagsterInstance

    def train(self, models: ModelsResource) -> dg.ExecuteInProcessResult:
        return trained(detector_model, self.resources, models=models, instance=self.instance)


def trained(
    asset: dg.AssetsDefinition, resources: Mapping[str, Any], *, models: ModelsResource, instance: dg.DagsterInstance
) -> dg.ExecuteInProcessResult:
    job = dg.define_asset_job("train", [asset], op_retry_policy=dg.RetryPolicy(max_retries=MAX_RETRIES))
    definitions = dg.Definitions([asset], jobs=[job], resources={**resources, "models": models})
    return definitions.resolve_job_def("train").execute_in_process(partition_key="s", instance=instance, raise_on_error=False)


def told(result: dg.ExecuteInProcessResult) -> tuple[str, int]:
    """What the failed step says of itself, and how often it was tried again."""
    [failed] = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    assert failed.user_failure_data is not None, f"not a failure in words: {failed.error}"
    return str(failed.user_failure_data.description), sum(event.is_step_restarted for event in result.all_events)


@pytest.fixture
def school(ledger: LedgerResource, tmp_path: Path) -> Iterator[School]:
    lake = LakeResource(root=str(tmp_path / "lake"))
    stored_features(lake)
    deliver(ledger, "s", days_from(FIRST, N_DAYS))
    (tmp_path / "plant").mkdir()
    (tmp_path / "plant" / "s.yaml").write_text(yaml.safe_dump(SITE.model_dump(mode="json", exclude_defaults=True)))
    resources = {"lake": lake, "ledger": ledger, "plant": PlantResource(folder=str(tmp_path / "plant"))}
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("site", ["s"])
        yield School(ledger, resources, instance)


def test_a_detector_cannot_be_trained_while_mlflow_is_gone_and_that_is_tried_again(school: School, tmp_path: Path) -> None:
    models = gone(tmp_path)
    words, n_retries = told(school.train(models))
    assert words.startswith(f"MLflow at {models.tracking_uri} does not answer (")
    assert "The training of the detector of s ended here; the champion, if there is one, stays at work." in words
    assert words.endswith("Bring MLflow back, or mend what MLFLOW_TRACKING_URI names, and run `train_detectors` for s again.")
    assert n_retries == MAX_RETRIES


def test_a_champion_with_changed_bytes_is_not_compared_with_and_nothing_is_tried_again(school: School, store: str, tmp_path: Path) -> None:
    models = ModelsResource(tracking_uri=store, artifacts=str(tmp_path / "mlflow"), cache=str(tmp_path / "cache"))
    assert school.train(models).success
    [stored] = (tmp_path / "mlflow").rglob("detector.bin")
    before = flip_a_byte(stored)
    words, n_retries = told(school.train(models))
    assert words.startswith("detector-s version 1 is refused: its sha256 is ")
    assert "Restore the file in MLflow's artifact store or promote another version." in words
    assert words.endswith("Then run `train_detectors` for s again.")
    assert n_retries == 0
    assert models.version_of("s", CHAMPION) == 1
    with school.ledger.begin() as connection:
        assert len(promotions_of(connection, site="s")) == len(versions_of(connection, site="s")) == 1
    stored.write_bytes(before)
    assert school.train(models).success, "as the sentence says"


def test_a_failure_model_that_mlflow_cannot_take_is_told_so_and_tried_again(works: Works, tmp_path: Path) -> None:
    label_all(works)
    words, n_retries = told(trained(failure_model, works.resources, models=gone(tmp_path), instance=works.instance))
    assert "does not answer" in words
    assert "The training of the failure model of s ended here;" in words
    assert words.endswith("run `train_failure_model` for s again.")
    assert n_retries == MAX_RETRIES


class _Failing(BaseHTTPRequestHandler):
    """Well, by its own word; every question ends in an error."""

    def _answer(self) -> None:
        self.send_response(200 if self.path == "/health" else 500)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST = do_PATCH = _answer  # noqa: N815 - the names are the base class's

    def log_message(self, *args: object) -> None:
        """Not on the terminal."""


@pytest.fixture
def failing_server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Failing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_an_mlflow_that_ceases_to_answer_while_a_version_is_registered_is_unreachable(failing_server: str, tmp_path: Path) -> None:
    models = ModelsResource(tracking_uri=failing_server, artifacts=str(tmp_path), cache=str(tmp_path / "cache"))
    with pytest.raises(ModelsUnreachable, match=f"MLflow at {failing_server} did not answer as it should"):
        models.register(training(1))
