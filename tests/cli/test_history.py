"""`maintenance history`: what is imported once is there once, and what cannot be read leaves nothing behind."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console
from sqlalchemy import select

from resources.ledger.ledger import LedgerResource
from resources.ledger.rows import read_frame
from resources.ledger.tables import machine_events
from resources.postgres import URL_VARIABLE, database_url
from tests.cli.conftest import Say, emptied

PLANT = """
site: works
name: Works
time_zone: America/Chicago
first_day: 2026-01-01
machines:
  - {machine_id: P1, source_name: "1", machine_class: pump, sensors: [{sensor_id: P1-VIB, type: vibration, unit: mm/s}]}
  - {machine_id: P2, source_name: "2", machine_class: pump, sensors: [{sensor_id: P2-VIB, type: vibration, unit: mm/s}]}
"""


@pytest.fixture
def say(postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: Say) -> Iterator[Say]:
    monkeypatch.setenv(URL_VARIABLE, postgres)
    monkeypatch.setattr("cli.history.console", Console(width=200))
    (tmp_path / "plant").mkdir()
    (tmp_path / "plant" / "works.yaml").write_text(PLANT)

    def in_process(*words: str) -> tuple[int, str, str]:
        return typed("history", *words, "--plant", tmp_path / "plant", "--home", tmp_path / "h")

    assert in_process("list")[0] == 0  # which migrates the ledger
    emptied(postgres, "machine_events")
    yield in_process
    emptied(postgres, "machine_events")


def stored(postgres: str) -> list[dict[str, object]]:
    with LedgerResource(url=database_url(postgres, "smart_maintenance")).begin() as connection:
        return read_frame(connection, select(machine_events).order_by(machine_events.c.event_id)).to_dict("records")


def test_a_file_is_imported_once_however_often_it_is_given(say: Say, postgres: str, tmp_path: Path) -> None:
    file = tmp_path / "failures.csv"
    file.write_text("datetime,machineID,failure\n2026-02-01 06:00:00,1,comp1\n2026-02-01 06:00:00,1,comp2\n2026-02-03T06:00Z,P2,comp1\n")
    names = ("--machine-column", "machineID", "--at-column", "datetime", "--code-column", "failure")
    code, out, _ = say("import", "--site", "works", "--kind", "failure", *names, str(file))
    assert (code, out) == (0, "3 failure events of 2 machines of works imported, 2026-02-01 to 2026-02-03.\n")
    before = stored(postgres)
    assert [(row["machine_id"], f"{row['at']:%d %H:%M}", row["code"]) for row in before] == [
        ("P1", "01 12:00", "comp1"),  # Chicago is six hours behind
        ("P1", "01 12:00", "comp2"),
        ("P2", "03 06:00", "comp1"),
    ]
    assert {row["source_name"] for row in before} == {"failures.csv"}
    again = say("import", "--site", "works", "--kind", "failure", *names, str(file))
    assert again[1] == "0 failure events of 2 machines of works imported, 2026-02-01 to 2026-02-03; 3 were known already.\n"
    assert stored(postgres) == before
    file.write_text(file.read_text() + "2026-02-05T06:00Z,2,comp4\n")
    assert say("import", "--site", "works", "--kind", "failure", *names, str(file))[1].startswith("1 failure events of 2 machines")
    assert stored(postgres)[:3] == before
    assert say("import", "--site", "works", "--kind", "error", *names, str(file))[1].startswith("4 error events"), "of another kind, others"
    listed = say("list", "--kind", "failure", "--machine", "P2", "--limit", "1")[1]
    assert "2026-02-05 06:00" in listed
    assert "1 earlier ones are not shown" in listed


@pytest.mark.parametrize(
    ("text", "words", "said"),
    [
        (
            "machine_id,at,code\nP1,2026-02-01,a\nP7,2026-02-01,b\n",
            (),
            ", line 3: works has no machine 'P7'; it has 1, 2, P1, P2. Nothing was",
        ),
        ("machine_id,at,code\nP1,2026-02-01,a\nP1,soon,b\n", (), ", line 3: the time 'soon' cannot be read"),
        ("machine_id,at\nP1,2026-02-01\n", (), ", line 1: there is no column code; the columns are machine_id, at. Nothing was imported."),
    ],
)
def test_a_file_with_a_wrong_row_is_refused_whole(
    say: Say, postgres: str, tmp_path: Path, text: str, words: tuple[str, ...], said: str
) -> None:
    file = tmp_path / "bad.csv"
    file.write_text(text)
    code, _, err = say("import", "--site", "works", "--kind", "failure", *words, str(file))
    assert code == 2
    assert err.startswith(f"error: {file}{said}")
    assert stored(postgres) == []


def test_an_unknown_site_and_a_missing_file_are_one_sentence(say: Say, tmp_path: Path) -> None:
    assert say("import", "--site", "w", "--kind", "error", str(tmp_path))[2] == "error: The plant has no site 'w'; it has works.\n"
    missing = tmp_path / "no.csv"
    assert say("import", "--site", "works", "--kind", "error", str(missing))[2].startswith(f"error: {missing} cannot be read (No such file")


def test_a_site_without_readings_has_nothing_to_learn_from(say: Say) -> None:
    code, _, err = say("train", "--site", "works")
    assert (code, err) == (2, "error: works has no readings yet: a failure model learns from telemetry before failures.\n")
