"""Data folders in which intake and merge are killed, and what is left of them afterwards."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text

from resources.home import Home
from resources.ledger.ledger import LedgerResource
from resources.ledger.tables import deliveries, drops, quarantine_counts, segments

CHECKOUT = Path(__file__).resolve().parents[2]
PLANT = """
site: s
name: S
first_day: 2026-09-01
machines:
  - machine_id: P1
    machine_class: pump
    sensors:
      - {sensor_id: P1-T, type: temperature, unit: °C, physical: {low: -50, high: 150}}
      - {sensor_id: P1-V, type: vibration, unit: mm/s, physical: {low: 0}}
      - {sensor_id: P1-X, type: other, unit: "1"}
"""
# Different in each life, and no property of the data: run ids, the numbers that PostgreSQL gives to rows, and clocks, of which
# only counts whether they are set.
OF_THE_RUN = {"run_id", "delivery_id", "count_id"}
CLOCKS = {"taken_in_at", "merged_at", "assessed_at", "processed_at", "reopened_at"}


@dataclass(frozen=True)
class Remains:
    """Every file but for its times, and every row of the ledger but for OF_THE_RUN."""

    files: dict[str, str]
    rows: dict[str, list[tuple[Any, ...]]]

    def differences(self, other: "Remains") -> list[str]:
        """One line for each file and row that is not the same in both."""
        mine, theirs = ({*r.files.items(), *((t, str(row)) for t, rows in r.rows.items() for row in rows)} for r in (self, other))
        return [*(f"only here: {entry}" for entry in sorted(mine - theirs)), *(f"only there: {entry}" for entry in sorted(theirs - mine))]


class Nursery:
    """The process that forks; `live` is one life of one child, or several children at once."""

    def __init__(self) -> None:
        environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "OPENBLAS_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("nursery.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            cwd=CHECKOUT,
            text=True,
        )

    def live(self, home: Path, **order: Any) -> tuple[list[int], float]:
        """How the children ended (0, or -9 for a kill), and after how many seconds."""
        answer = self._ask({"home": str(home), **order})
        if any(status > 0 for status in answer["exits"]):
            pytest.fail((home / "error.txt").read_text())
        return answer["exits"], answer["seconds"]

    def warm_up(self, home: Path, *, url: str) -> None:
        self._ask({"home": str(home), "url": url, "warm_up": True})

    def _ask(self, order: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps({"plant": PLANT, "rows_in_memory": 200, **order}) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def close(self) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


class Graveyard:
    """One ledger, emptied for each data folder that is set up."""

    def __init__(self, root: Path, ledger: LedgerResource, nursery: Nursery) -> None:
        self.root = root
        self.ledger = ledger
        self.nursery = nursery
        self._n = 0

    def set_up(self, landed: dict[str, bytes]) -> Path:
        """A data folder with these files in landing/s/, each modified a second after the one before, in a time to come.

        So what intake takes for their arrival is the same in each data folder.
        """
        with self.ledger.begin() as connection:
            connection.execute(text("truncate drops, deliveries, segments, quarantine_counts restart identity cascade"))
        self._n += 1
        home = Home(self.root / str(self._n))
        home.prepare(sites=["s"])
        for n, (name, content) in enumerate(landed.items()):
            path = home.folder("landing") / "s" / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
            os.utime(path, (4_000_000_000 + n, 4_000_000_000 + n))
        return home.root

    def live(self, home: Path, **order: Any) -> tuple[list[int], float]:
        return self.nursery.live(home, url=self.ledger.url, **order)

    def remains(self, home: Path) -> Remains:
        files = {}
        for folder in ("landing", "archive", "quarantine", "lake"):
            for path in sorted((home / folder).rglob("*")):
                content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "a folder"
                files[str(path.relative_to(home))] = content
        rows = {}
        with self.ledger.begin() as connection:
            for table in (drops, deliveries, segments, quarantine_counts):
                columns = [
                    column.is_not(None).label(column.name) if column.name in CLOCKS else column
                    for column in table.c
                    if column.name not in OF_THE_RUN
                ]
                rows[table.name] = sorted((tuple(row) for row in connection.execute(select(*columns))), key=str)
        return Remains(files, rows)


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    nursery = Nursery()
    yield nursery
    nursery.close()


@pytest.fixture
def graveyard(tmp_path: Path, ledger: LedgerResource, nursery: Nursery) -> Graveyard:
    return Graveyard(tmp_path, ledger, nursery)
