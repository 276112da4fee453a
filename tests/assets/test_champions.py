"""Which detector a run uses: MLflow's; with MLflow gone, the last one that is known to be good, and it says so. Changed bytes: none."""

import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import dagster as dg
import pytest
from sqlalchemy import text

from assets.champions import Champion, champion_of, load_champion
from assets.checks import promotions_form_a_chain
from cli.serve import free_port
from cli.server import answers
from resources.ledger.learning import promotions_of, record_promotion, record_version
from resources.ledger.ledger import LedgerResource
from resources.models import ModelsResource, ModelsUnreachable, Registered
from tests.resources.test_models import SITE, flip_a_byte, store, training

__all__ = ["store"]  # the fixture
START_WITHIN_S = 240


class Server:
    """A tracking server of its own process, as `maintenance up` runs it."""

    def __init__(self, store: str, root: Path) -> None:
        self.store = store
        self.url = f"http://127.0.0.1:{free_port()}"
        command = [str(Path(sys.executable).with_name("mlflow")), "server", "--host", "127.0.0.1", "--port", self.url.rsplit(":", 1)[1]]
        command += ["--workers", "1", "--default-artifact-root", (root / "mlflow").as_uri()]
        quiet = {"MLFLOW_BACKEND_STORE_URI": store, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        with (root / "server.log").open("wb") as log:
            self.process = subprocess.Popen(
                command, env={**os.environ, **quiet}, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        until = time.monotonic() + START_WITHIN_S
        while not answers(f"{self.url}/health"):
            assert self.process.poll() is None, (root / "server.log").read_text()
            assert time.monotonic() < until, "the tracking server did not start"
            time.sleep(0.5)

    def stop(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@pytest.fixture
def server(store: str, tmp_path: Path) -> Iterator[Server]:
    started = Server(store, tmp_path)
    yield started
    started.stop()


def known(ledger: LedgerResource, registered: Registered) -> None:
    row = {"site": "plant", "version": registered.version, "mlflow_run_id": registered.run_id, "data_sha256": "d", "metrics": {}}
    with ledger.begin() as connection:
        record_version(
            connection,
            {**row, "artifact_sha256": registered.artifact_sha256, "data_start": date(2026, 3, 2), "data_end": date(2026, 3, 5)},
        )


def use(models: ModelsResource, ledger: LedgerResource) -> Champion | None:
    return champion_of("plant", ledger=ledger, models=models, noticed_by="run 7")


def history(ledger: LedgerResource) -> list[tuple[int | None, int | None, str]]:
    with ledger.begin() as connection:
        return [(row["from_version"], row["to_version"], row["who"]) for row in promotions_of(connection, site="plant")]


def test_scoring_goes_on_when_the_tracking_server_is_gone_and_refuses_what_was_changed(
    server: Server, ledger: LedgerResource, tmp_path: Path
) -> None:
    models = ModelsResource(tracking_uri=server.url, artifacts=str(tmp_path / "mlflow"), cache=str(tmp_path / "cache"))
    assert use(models, ledger) is None
    trainings = (training(1), training(2))
    first, second = (models.register(t) for t in trainings)
    known(ledger, first)
    known(ledger, second)
    for version in (1, 2):  # by hand, as in the UI
        models.promote("plant", version, description="by hand")
        assert use(models, ledger) == Champion(version)
        assert use(models, ledger) == Champion(version)
    assert history(ledger) == [(None, 1, "mlflow"), (1, 2, "mlflow")]

    champion = use(models, ledger)
    assert champion is not None
    assert load_champion(champion, ledger=ledger, models=models, site=SITE).to_bytes() == trainings[1].artifact
    server.stop()
    began = time.monotonic()
    offline = use(models, ledger)
    assert time.monotonic() - began < 20, "a run is not held up"
    assert offline is not None
    assert offline.version == 2
    assert offline.warning is not None
    assert f"MLflow at {server.url} does not answer" in offline.warning
    assert "Version 2 is used, the last champion among the detectors of plant that the ledger knows" in offline.warning
    assert load_champion(offline, ledger=ledger, models=models, site=SITE).to_bytes() == trainings[1].artifact
    assert len(history(ledger)) == 2, "nothing was learned of a champion, so nothing is noted"

    kept = tmp_path / "cache" / "plant" / f"v2-{second.artifact_sha256[:16]}.bin"
    flip_a_byte(kept)
    with pytest.raises(dg.Failure, match=r"is refused: its sha256 is .* Delete the file: it is fetched anew from MLflow"):
        load_champion(offline, ledger=ledger, models=models, site=SITE)
    kept.unlink()
    with pytest.raises(dg.Failure, match="Version 2 does not lie in the cache either, so nothing can be scored"):
        load_champion(offline, ledger=ledger, models=models, site=SITE)

    # the store itself is still there: its artifact, changed, is refused as well
    direct = ModelsResource(tracking_uri=server.store, artifacts=models.artifacts, cache=models.cache)
    [stored] = [p for p in (tmp_path / "mlflow").rglob("detector.bin") if p.read_bytes() == trainings[1].artifact]
    before = flip_a_byte(stored)
    with pytest.raises(dg.Failure, match=r"detector-plant version 2 is refused: .* Restore the file in MLflow's artifact store"):
        load_champion(Champion(2), ledger=ledger, models=direct, site=SITE)
    assert not kept.exists()
    stored.unlink()
    with pytest.raises(dg.Failure, match="detector-plant version 2 is refused: MLflow's store does not give its artifact out"):
        load_champion(Champion(2), ledger=ledger, models=direct, site=SITE)
    stored.write_bytes(before)
    assert load_champion(Champion(2), ledger=ledger, models=direct, site=SITE).to_bytes() == trainings[1].artifact
    assert kept.exists()


def gone(tmp_path: Path) -> ModelsResource:
    """Where nobody listens."""
    return ModelsResource(tracking_uri=f"http://127.0.0.1:{free_port()}", artifacts=str(tmp_path), cache=str(tmp_path / "cache"))


def test_with_mlflow_gone_a_champion_that_was_not_trained_here_is_passed_over(ledger: LedgerResource, tmp_path: Path) -> None:
    assert use(gone(tmp_path), ledger) is None, "none is known"
    known(ledger, Registered(1, "r", "a" * 64))
    row = {"site": "plant", "is_promoted": True, "who": "w", "why": "w", "comparison": {}}
    with ledger.begin() as connection:
        record_promotion(connection, row | {"from_version": None, "to_version": 1})
        record_promotion(connection, row | {"from_version": 1, "to_version": 9})
    champion = use(gone(tmp_path), ledger)
    assert champion is not None
    assert champion.version == 1
    with ledger.begin() as connection:
        record_promotion(connection, row | {"from_version": 9, "to_version": None})
    assert use(gone(tmp_path), ledger) is None, "the alias was taken away"


def test_with_mlflow_gone_before_a_new_champion_was_fetched_the_one_before_it_goes_on(ledger: LedgerResource, tmp_path: Path) -> None:
    models = gone(tmp_path)
    row = {"site": "plant", "is_promoted": True, "who": "w", "why": "w", "comparison": {}}
    trainings = {version: training(version) for version in (1, 2, 3)}
    for version, trained in trainings.items():
        known(ledger, Registered(version, "r", trained.artifact_sha256))
        with ledger.begin() as connection:
            record_promotion(connection, row | {"from_version": version - 1 or None, "to_version": version})
    for version in (1, 2):
        kept = Path(models.cache, "plant", f"v{version}-{trainings[version].artifact_sha256[:16]}.bin")
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(trainings[version].artifact)
    champion = use(models, ledger)
    assert champion is not None
    assert champion.version == 2
    assert champion.warning is not None
    assert "Version 2 is used, the last champion that lies in the cache: version 3, the last champion among" in champion.warning
    assert load_champion(champion, ledger=ledger, models=models, site=SITE).to_bytes() == trainings[2].artifact


def test_a_version_that_the_ledger_does_not_know_is_refused(ledger: LedgerResource, tmp_path: Path) -> None:
    with pytest.raises(dg.Failure, match="version 9, which the ledger does not know: it was not trained here"):
        load_champion(Champion(9), ledger=ledger, models=gone(tmp_path), site=SITE)


def test_detectors_of_another_version_of_the_program_are_named_as_such(ledger: LedgerResource, tmp_path: Path) -> None:
    content = b"not a detector of this version"
    registered = Registered(1, "r", hashlib.sha256(content).hexdigest())
    known(ledger, registered)
    models = gone(tmp_path)
    kept = Path(models.cache, "plant", f"v1-{registered.artifact_sha256[:16]}.bin")
    kept.parent.mkdir(parents=True)
    kept.write_bytes(content)
    with pytest.raises(dg.Failure, match="made by another version of the program"):
        load_champion(Champion(1), ledger=ledger, models=models, site=SITE)


def test_nobody_waits_for_a_store_that_is_not_there_or_does_not_say_a_word(tmp_path: Path) -> None:
    """Left to itself MLflow tries a database that is gone for a minute and a half, and a silent server for a quarter of an hour."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        addresses = (
            f"http://127.0.0.1:{silent.getsockname()[1]}",
            f"http://127.0.0.1:{free_port()}",
            "postgresql+psycopg2://someone:hidden@127.0.0.1:1/none",
            f"postgresql+psycopg2://someone:hidden@127.0.0.1:{silent.getsockname()[1]}/none",
        )
        for address in addresses:
            began = time.monotonic()
            models = ModelsResource(tracking_uri=address, artifacts=str(tmp_path), cache=str(tmp_path))
            with pytest.raises(ModelsUnreachable, match="does not answer") as said:
                models.version_of("plant", "champion")
            assert time.monotonic() - began < 20
            assert "hidden" not in str(said.value), "a password is not for logs"


def test_the_nightly_check_names_a_broken_chain_and_what_it_could_not_ask(ledger: LedgerResource, tmp_path: Path) -> None:
    row = {"site": "plant", "is_promoted": True, "who": "w", "why": "w", "comparison": {}, "from_version": None}
    with ledger.begin() as connection:
        record_promotion(connection, row | {"to_version": 1})
        record_promotion(connection, row | {"to_version": 2})
    good = promotions_form_a_chain(ledger=ledger, models=gone(tmp_path))
    assert isinstance(good, dg.AssetCheckResult)
    assert (good.passed, good.metadata["promotions"].value, good.metadata["n_left_over"].value) == (True, 2, 1)
    with ledger.begin() as connection:
        connection.execute(text("alter table promotions disable trigger promotions_are_history"))
        connection.execute(text("update promotions set to_version = 7 where place = 1"))
    bad = promotions_form_a_chain(ledger=ledger, models=gone(tmp_path))
    assert isinstance(bad, dg.AssetCheckResult)
    assert (bad.passed, bad.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert str(bad.description).startswith("promotion 1 of plant")
