"""Late and out-of-order data: once they are there, everything is as if they had come in order.

A plant learns from three days; its data folder is then copied, and both get the same files of four more days: one in order,
the other with a day after its successor, and with half a day and a correction three days late. The champion is the same, since
which one scores is what people and the gate decide, not a matter of the data.

Equal, byte for byte: quality, features, scores. Equal in every value: readings but for `drop_seq` (the order of intake), and what the
ledger knows of incidents, health, predictions, drift and plans, and of the checks of all these. Every order for work on what is known
of the plant is there in both and asks for the same. What may differ, since it is history: the day that opened an order, and so its number;
and an order for an incident that only gaps in the data had made. The policy opened it on what was known then; it waits for a
decision, and no order goes away but by one.
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest
import yaml
from sqlalchemy import select

from cli.environment import prepared
from cli.launch import Launcher
from jobs.requests import pending_requests
from ml.simulation.faults import Fault
from ml.simulator import simulate
from resources.lake import LakeResource
from resources.landing import drop_file
from resources.ledger.ledger import LedgerResource
from resources.ledger.tables import metadata
from resources.plant import read_plant
from resources.postgres import URL_VARIABLE, database_url

START, LEARNED, DAYS = date(2026, 10, 1), 3, 7
FOUR, FIVE, SIX, SEVEN = (START + timedelta(days=n) for n in range(LEARNED, DAYS))
MACHINES = ("HH-P101", "HH-C302")
SITE = "hamburg"
TABLES = ("sensor_quality", "machine_features", "anomaly_scores")
FINDINGS = ("incident_assessments", "machine_health", "predictions", "drift_findings", "validations", "plans", "assignments")
CLOCKS = ["run_id", "validated_at"]


@dataclass(frozen=True)
class Held:
    """What a plant holds once everything was delivered and nothing waits any more."""

    lake: dict[str, bytes]
    readings: dict[date, pd.DataFrame]
    findings: dict[str, pd.DataFrame]
    orders: pd.DataFrame
    links: pd.DataFrame


@dataclass(frozen=True)
class Plant:
    """A data folder that files are delivered to; after each delivery, the runs are made that the sensors would ask for."""

    home: Path
    started: Launcher
    ledger: LedgerResource

    def deliver(self, **files: bytes) -> None:
        for name, content in files.items():
            drop_file(content, self.home / "landing" / SITE, f"{name}.csv")
        config = dg.RunConfig(ops={"drops": {"config": {"files": [f"{SITE}/{name}.csv" for name in files]}}})
        self.started.run("intake", config=config)
        while requests := pending_requests(self.ledger, self.started.instance):
            for request in requests:
                self.started.run("process_site_day", partition_key=request.partition_key, tags=request.tags)

    def held(self) -> Held:
        lake = LakeResource(root=str(self.home / "lake"))
        days = [START + timedelta(days=n) for n in range(DAYS)]
        paths = {f"{table} {day}": lake.path(table, site=SITE, day=day) for table in TABLES for day in days}
        return Held(
            {name: path.read_bytes() for name, path in paths.items() if path.exists()},
            {day: stored for day in days if (stored := lake.read("sensor_readings", site=SITE, day=day)) is not None},
            {name: self._rows(name) for name in FINDINGS},
            self._rows("work_orders"),
            self._rows("work_order_incidents"),
        )

    def _rows(self, name: str) -> pd.DataFrame:
        table = metadata.tables[name]
        with self.ledger.begin() as connection:
            rows = [dict(row) for row in connection.execute(select(table).order_by(*table.primary_key)).mappings()]
        return pd.DataFrame(rows, columns=[c.name for c in table.columns if c.name not in CLOCKS])


@contextmanager
def plant_in(home: Path, plant: Path) -> Iterator[Plant]:
    """Lake, ledger and MLflow are real and kept; what Dagster remembers of its runs, which is not compared, is not kept."""
    from definitions import build_definitions

    with pytest.MonkeyPatch.context() as variables:
        variables.delenv(URL_VARIABLE, raising=False)  # it has a server of its own, whichever another test has running
        with prepared(home=home, plant=plant) as environment, dg.DagsterInstance.ephemeral() as instance:
            started = Launcher(build_definitions(environment.home, plant=plant), instance)
            yield Plant(home, started, LedgerResource(url=database_url(environment.server_url, "smart_maintenance")))


@pytest.fixture(scope="module")
def smaller_plant(small_plant: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two of its machines, with training from three days on."""
    folder = tmp_path_factory.mktemp("plant")
    site = yaml.safe_load((small_plant / "hamburg.yaml").read_text())
    site["machines"] = [m for m in site["machines"] if m["machine_id"] in MACHINES]
    site.pop("travel")  # to areas where no machine may be left
    site["policy"]["training"] = {"min_healthy_days": LEARNED, "held_out_share": 0.4}
    (folder / "hamburg.yaml").write_text(yaml.safe_dump(site, allow_unicode=True))
    return folder


@pytest.fixture(scope="module")
def files(smaller_plant: Path) -> dict[date, bytes]:
    """One file a day; a bearing wears out from the fourth on."""
    onset = datetime(2026, 10, 4, 3, tzinfo=UTC)
    fault = Fault(SITE, "HH-C302", "bearing_wear", onset, onset + timedelta(days=3))
    days = simulate(read_plant(smaller_plant), start=START, days=DAYS, seed=11, faults=[fault])
    return {day.day: b"".join([day.drops[0].content, *(without_header(drop.content) for drop in day.drops[1:])]) for day in days}


def without_header(content: bytes) -> bytes:
    return content.split(b"\n", 1)[1]


def parted(content: bytes, *, hours: range) -> tuple[bytes, bytes]:
    """The file without these hours, and these hours."""
    header, *lines = content.splitlines(keepends=True)
    late = [line for line in lines if int(line[11:13]) in hours]
    return header + b"".join(line for line in lines if int(line[11:13]) not in hours), header + b"".join(late)


def corrected(content: bytes) -> bytes:
    """Three hours of one sensor again, with other values."""
    header, *lines = content.splitlines(keepends=True)
    wanted = [line.split(b",") for line in lines if b"HH-C302-VIB" in line and int(line[11:13]) in (9, 10, 11)]
    numbers = [cells for cells in wanted if cells[2].replace(b".", b"").isdigit()]
    return header + b"".join(b",".join([*cells[:2], b"%.2f" % (float(cells[2]) + 1), *cells[3:]]) for cells in numbers)


@pytest.fixture(scope="module")
def held(smaller_plant: Path, files: dict[date, bytes], tmp_path_factory: pytest.TempPathFactory) -> tuple[Held, Held]:
    """What the plant holds that got its files in order, and the one that did not."""
    in_order, late = (tmp_path_factory.mktemp(name) / "home" for name in ("a", "b"))
    with plant_in(in_order, smaller_plant) as plant:
        plant.deliver(**{f"{day}": files[day] for day in files if day < FOUR})
        config = dg.RunConfig(ops={"detector_model": {"config": {"until": (FOUR - timedelta(days=1)).isoformat()}}})
        plant.started.run("train_detectors", partition_key=SITE, config=config)
    subprocess.run(["cp", "--archive", in_order, late], check=True)  # PostgreSQL's folder has an owner of its own
    most, half = parted(files[FOUR], hours=range(6, 18))
    correction = corrected(files[FIVE])
    with plant_in(in_order, smaller_plant) as plant:
        plant.deliver(four=most, half=half)
        plant.deliver(five=files[FIVE], correction=correction)
        plant.deliver(six=files[SIX])
        plant.deliver(seven=files[SEVEN])
        first = plant.held()
    with plant_in(late, smaller_plant) as plant:
        plant.deliver(four=most)
        plant.deliver(six=files[SIX])
        plant.deliver(five=files[FIVE])
        plant.deliver(seven=files[SEVEN])
        between = plant.held()
        plant.deliver(correction=correction, half=half)
        second = plant.held()
    differ = {name for name in FINDINGS if not between.findings[name].equals(first.findings[name])}
    assert {"incident_assessments", "machine_health", "predictions"} <= differ, "what comes late makes a difference"
    return first, second


def test_readings_are_equal_but_for_the_order_of_intake(held: tuple[Held, Held]) -> None:
    in_order, late = held
    assert list(in_order.readings) == list(late.readings) == [START + timedelta(days=n) for n in range(DAYS)]
    for day, stored in in_order.readings.items():
        pd.testing.assert_frame_equal(stored.drop(columns="drop_seq"), late.readings[day].drop(columns="drop_seq"))
    assert any(not stored.equals(late.readings[day]) for day, stored in in_order.readings.items())


def test_quality_features_and_scores_are_equal_byte_for_byte(held: tuple[Held, Held]) -> None:
    in_order, late = held
    assert sorted(in_order.lake) == sorted(late.lake)
    assert len(in_order.lake) == 2 * DAYS + (DAYS - LEARNED)
    assert [name for name, content in in_order.lake.items() if content != late.lake[name]] == []


@pytest.mark.parametrize("name", FINDINGS)
def test_what_the_ledger_knows_of_the_plant_is_equal(held: tuple[Held, Held], name: str) -> None:
    in_order, late = (h.findings[name] for h in held)
    if name == "validations":  # of the orders, others than these are compared below
        in_order, late = (rows[rows["suite"] != "work_orders"].reset_index(drop=True) for rows in (in_order, late))
    assert len(in_order) or name == "assignments"
    pd.testing.assert_frame_equal(in_order, late)


def founded(h: Held) -> pd.DataFrame:
    """The orders for incidents that some day knows."""
    known = h.findings["incident_assessments"]["incident_id"]
    return h.orders[h.orders["order_id"].isin(h.links["order_id"][h.links["incident_id"].isin(known)])]


def test_work_on_what_is_known_is_asked_for_alike(held: tuple[Held, Held]) -> None:
    key = ["machine_id", "failure_mode"]
    in_order, late = (founded(h).drop(columns=["order_id", "opened_on"]).set_index(key, verify_integrity=True).sort_index() for h in held)
    assert len(in_order)
    pd.testing.assert_frame_equal(in_order, late)


def test_an_order_for_what_turned_out_to_be_a_gap_waits_for_a_decision(held: tuple[Held, Held]) -> None:
    in_order, late = held
    assert len(founded(in_order)) == len(in_order.orders)
    unfounded = late.orders.drop(founded(late).index)
    assert set(unfounded["state"]) <= {"awaiting_decision"}


def test_the_worn_bearing_is_among_what_was_compared(held: tuple[Held, Held]) -> None:
    for h in held:
        assert set(h.findings["incident_assessments"]["day"]) >= {FIVE, SIX, SEVEN}
        assert "HH-C302" in set(h.orders["machine_id"])
        assert len(h.findings["predictions"])
