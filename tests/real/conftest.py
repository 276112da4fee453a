"""The whole program over files that nobody here invented: run as a person runs it, then looked into."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sqlalchemy import Select

from cli.environment import Environment, prepared
from resources.lake import LakeResource
from resources.ledger.ledger import LedgerResource
from resources.ledger.rows import read_frame
from resources.postgres import URL_VARIABLE, database_url

HERE = Path(__file__).parent
PROGRAM = Path(sys.executable).with_name("maintenance")
OURS = ("SMART_MAINTENANCE_", "MLFLOW_", "DAGSTER_", URL_VARIABLE)


@dataclass(frozen=True)
class Finished:
    """What a run to the end left in its data folder, and what it said."""

    environment: Environment
    said: str

    @property
    def lake(self) -> LakeResource:
        return LakeResource(root=str(self.environment.home.folder("lake")))

    @property
    def site(self) -> str:
        return self.environment.sites[0].site

    def command(self, *words: str | Path) -> str:
        """What `maintenance` says to these words, about the site; in a process of its own, for a code location knows one plant."""
        return program(*words, "--site", self.site, "--plant", self.environment.plant, "--home", self.environment.home.root)

    def query(self, query: Select[Any]) -> pd.DataFrame:
        ledger = LedgerResource(url=database_url(self.environment.server_url, "smart_maintenance"))
        with ledger.begin() as connection:
            return read_frame(connection, query)

    def stored(self, table: str, *, start: date, end: date) -> pd.DataFrame:
        return self.lake.read_days(table, site=self.site, start=start, end=end)

    def reports_of(self, day: date) -> set[str]:
        """Kind and form of the day's reports that hold something."""
        pages = self.environment.home.folder("reports").glob(f"*/{self.site}/{day}.*")
        return {f"{p.parent.parent.name}{p.suffix}" for p in pages if p.stat().st_size > 200}


REPORTS = {
    f"{kind}{form}"
    for kind in ("performance_summary", "anomaly_summary", "maintenance_summary", "system_health")
    for form in (".html", ".json", ".txt")
}


def program(*words: str | Path) -> str:
    """`maintenance` as a person types it; it must end well."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(OURS)}
    done = subprocess.run([PROGRAM, *words], env={**clean, "COLUMNS": "200"}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return done.stdout


@contextmanager
def finished(source: Path, *, plant: str, folder: Path) -> Iterator[Finished]:
    """`maintenance run` over one file, with a PostgreSQL of its own; afterwards the same server, to look into."""
    drops, home = folder / "drops", folder / "home"
    drops.mkdir()
    shutil.copyfile(source, drops / source.name)
    said = program("run", "--plant", HERE / plant, "--drops", drops, "--home", home)
    with pytest.MonkeyPatch.context() as patch:
        for name in [n for n in os.environ if n.startswith(OURS)]:
            patch.delenv(name)
        with prepared(home=home, plant=HERE / plant) as environment:
            yield Finished(environment, said)
    shutil.rmtree(folder)
