"""One run of the whole chain over a small simulated plant, for the tests that look at what came of it."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
import yaml
from rich.console import Console

from cli.environment import Environment, prepared
from cli.launch import Launcher, launcher
from cli.process import MainJob, Stages
from ml.simulation.faults import Fault
from ml.simulation.gateway import DropCounts
from ml.simulator import simulate
from resources.lake import LakeResource
from resources.landing import drop_file
from resources.ledger.ledger import LedgerResource
from resources.models import ModelsResource
from resources.postgres import database_url
from tests.conftest import CHECKOUT

START = date(2026, 10, 1)
DAYS = 9
MACHINES = ("HH-P101", "HH-P102", "HH-C302")


@dataclass(frozen=True)
class Chain:
    environment: Environment
    launcher: Launcher
    job: MainJob
    delivered: DropCounts
    readings: dict[date, pd.DataFrame]
    fault: Fault
    files: tuple[str, ...]

    @property
    def ledger(self) -> LedgerResource:
        return self.job.ledger

    @property
    def models(self) -> ModelsResource:
        folder = self.environment.home.folder
        return ModelsResource(
            tracking_uri=database_url(self.environment.server_url, "mlflow"), artifacts=str(folder("mlflow")), cache=str(folder("models"))
        )

    @property
    def lake(self) -> LakeResource:
        return LakeResource(root=str(self.environment.home.folder("lake")))


@pytest.fixture(scope="session")
def small_plant(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three machines of the demonstration plant, with training from five days on."""
    folder = tmp_path_factory.mktemp("plant")
    site = yaml.safe_load((CHECKOUT / "plant" / "hamburg.yaml").read_text())
    site["machines"] = [m for m in site["machines"] if m["machine_id"] in MACHINES]
    site["policy"] = {
        **site.get("policy", {}),
        "training": {"min_healthy_days": 5, "held_out_share": 0.4},
        "approval": {"auto_approve_confidence": 0.95},  # above what any incident reaches: a person must decide
    }
    (folder / "hamburg.yaml").write_text(yaml.safe_dump(site, allow_unicode=True))
    return folder


@pytest.fixture(scope="session")
def chain(small_plant: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    """Nine days, a bearing that wears out from the sixth on; five days to learn from, four to score."""
    home = tmp_path_factory.mktemp("home")
    with prepared(home=home, plant=small_plant) as environment, launcher(environment) as started:
        onset = datetime(2026, 10, 6, 6, tzinfo=UTC)
        fault = Fault("hamburg", "HH-C302", "bearing_wear", onset, onset + timedelta(days=3))
        delivered, readings, files = DropCounts(), {}, []
        for day in simulate(environment.sites, start=START, days=DAYS, seed=11, faults=[fault]):
            readings[day.day] = day.readings
            delivered += day.counts
            for drop in day.drops:
                path = drop_file(drop.content, environment.home.folder("landing") / day.site_id, drop.name)
                files.append(str(path.relative_to(environment.home.folder("landing"))))
        job = MainJob(environment, started, Stages(Console(quiet=True)))
        assert job.run(files) == []
        yield Chain(environment, started, job, delivered, readings, fault, tuple(files))
    shutil.rmtree(home, ignore_errors=True)
