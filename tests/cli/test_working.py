"""`decide ... modify`, `start`, `complete`: from a changed order to reported work, and one clear sentence where it makes no sense."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from sqlalchemy import select

from cli.environment import prepared
from resources.ledger.ledger import LedgerResource
from resources.ledger.tables import maintenance_log
from resources.ledger.work import order_row
from resources.postgres import URL_VARIABLE, database_url
from tests.cli.conftest import Say, emptied
from tests.ledger_states import waiting_order

WHO = ("--operator", "ada", "--reason", "production asked")
PLANT = """
site: s
name: Works
first_day: 2026-01-01
machines:
  - {machine_id: P1, machine_class: pump, sensors: [{sensor_id: P1-VIB, type: vibration, unit: mm/s}]}
technicians:
  - {technician_id: ben, name: Ben, skills: [mechanical, electrical], shifts: [{start: "06:00", end: "14:00"}]}
parts: [{part_id: bearing, name: Bearing, in_stock: 1}]
"""


@pytest.fixture
def say(postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: Say) -> Iterator[Say]:
    monkeypatch.setenv(URL_VARIABLE, postgres)
    monkeypatch.setenv("COLUMNS", "200")
    plant = tmp_path / "plant"
    plant.mkdir()
    (plant / "s.yaml").write_text(PLANT)

    def in_process(*words: str) -> tuple[int, str, str]:
        return typed(*words, "--plant", plant, "--home", tmp_path / "home")

    assert in_process("orders")[0] == 0  # which migrates the ledger
    emptied(postgres, "incidents", "work_orders", "plans", "validations")
    where = {"home": tmp_path / "home", "plant": plant}
    with prepared(**where), dg.DagsterInstance.get() as instance:
        instance.add_dynamic_partitions("site", ["s"])  # as the first drop of the site does
    yield in_process
    with prepared(**where), dg.DagsterInstance.get() as instance:
        instance.delete_dynamic_partition("site", "s")
    emptied(postgres, "incidents", "work_orders", "plans", "validations")


@pytest.fixture
def stored(say: Say, postgres: str) -> LedgerResource:
    return LedgerResource(url=database_url(postgres, "smart_maintenance"))


def sentence(said: tuple[int, str, str]) -> str:
    code, _, err = said
    assert code == 2, said
    assert "Traceback" not in err
    return err.removeprefix("error: ").strip()


def test_an_order_is_changed_approved_begun_and_reported(say: Say, stored: LedgerResource) -> None:
    order = waiting_order(stored, "s")
    changes = ("--priority", "low", "--skills", "mechanical, electrical", "--confidence", "0.7", "--not-after", "2099-01-01T00:00:00+00:00")
    code, out, err = say("decide", order, "modify", *WHO, *changes, "--request-id", "m")
    assert (code, out.strip()) == (0, f"{order} is awaiting decision."), err
    assert "already been carried out" in say("decide", order, "modify", *WHO, *changes, "--request-id", "m")[1]
    with stored.begin() as connection:
        row = order_row(connection, order)
    assert (row["priority"], row["crew"], row["due_at"].year) == ("low", [["mechanical", "electrical"]], 2099)
    assert say("decide", order, "approve", *WHO)[0] == 0
    code, out, err = say("start", order, "--technician", "ben", "--at", "2026-10-07T08:00:00+02:00")
    assert (code, out.strip()) == (0, f"{order} is in progress."), err
    assert "had already started" in say("start", order, "--technician", "ben")[1]
    found = ("--finding", "VIB", "--mechanism", "2.4", "--cause", "3.4", "--part", "bearing", "--part", "bearing", "--hours-worked", "1.5")
    code, out, err = say("complete", order, "--technician", "ben", *found, "--ended", "2026-10-07T10:00:00+02:00", "--note", "loud")
    assert (code, out.strip()) == (0, f"{order} is completed."), err
    with stored.begin() as connection:
        log = connection.execute(select(maintenance_log)).mappings().one()
    assert (log["started_at"].hour, log["ended_at"].hour, log["hours_worked"], log["note"]) == (6, 8, 1.5, "loud")
    assert (log["finding"], log["failure_mechanism"], log["failure_cause"], log["parts_used"]) == ("VIB", "2.4", "3.4", ["bearing"] * 2)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("decide", "{order}", "modify", *WHO, "--priority", "soon"), "priority is 'soon'; it must be one of urgent, high, medium, low."),
        (
            ("decide", "{order}", "modify", *WHO, "--skills", "magic"),
            "nobody at s has the skill magic; the skills there are electrical,",
        ),
        (("decide", "{order}", "modify", *WHO, "--skills", ","), "skills must name at least one skill"),
        (("decide", "{order}", "modify", *WHO, "--not-before", "soon"), "'soon' is not an ISO 8601 time"),
        (("start", "{order}", "--technician", "ben"), "a work order that is awaiting_decision cannot become in_progress"),
        (("start", "WO-0", "--technician", "ben"), "There is no work order 'WO-0'."),
        (("complete", "WO-0", "--technician", "ben", "--finding", "VIB"), "There is no work order 'WO-0'."),
        (("complete", "{order}", "--technician", "ben", "--finding", "gremlins"), "finding is 'gremlins'; it must be one of AIR (abnormal"),
        (("complete", "{order}", "--technician", "ben", "--finding", "VIB"), "nobody has said when the work on WO-P1-VIB-20261005 began"),
    ],
)
def test_what_makes_no_sense_is_said(say: Say, stored: LedgerResource, words: tuple[str, ...], said: str) -> None:
    order = waiting_order(stored, "s")
    assert sentence(say(*(word.format(order=order) for word in words))).startswith(said)
    with stored.begin() as connection:
        assert order_row(connection, order)["state"] == "awaiting_decision"
