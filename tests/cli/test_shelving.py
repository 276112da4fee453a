"""`shelve`, `unshelve`, `shelved`: a planner's words, what they write, and one clear sentence where they make no sense."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from rich.console import Console
from sqlalchemy import text

from resources.ledger.ledger import LedgerResource
from resources.ledger.shelving import list_shelvings
from resources.postgres import URL_VARIABLE, database_url
from tests.cli.conftest import Say, emptied
from tests.ledger_states import judged

WHO = ("--operator", "Kim", "--why", "bearing is being changed")
PLANT = """
site: {site}
name: Works
first_day: 2026-01-01
policy: {{alarms: {{max_shelved_h: 24}}}}
machines:
  - {{machine_id: {machine}, machine_class: pump, sensors: [{{sensor_id: {machine}-VIB, type: vibration, unit: mm/s}}]}}
"""


@pytest.fixture
def say(postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: Say) -> Iterator[Say]:
    """The command over the session's PostgreSQL, with a plant of a machine at each of two sites."""
    monkeypatch.setenv(URL_VARIABLE, postgres)
    monkeypatch.setattr("cli.shelving.console", Console(width=200))
    plant = tmp_path / "plant"
    plant.mkdir()
    for site, machine in (("s", "P1"), ("u", "P2")):
        (plant / f"{site}.yaml").write_text(PLANT.format(site=site, machine=machine))

    def in_process(*words: str) -> tuple[int, str, str]:
        return typed(*words, "--plant", plant, "--home", tmp_path / "home")

    assert in_process("shelved")[0] == 0  # which migrates the ledger
    emptied(postgres, "shelvings", "incidents")
    yield in_process
    emptied(postgres, "shelvings", "incidents")


@pytest.fixture
def stored(say: Say, postgres: str) -> LedgerResource:
    return LedgerResource(url=database_url(postgres, "smart_maintenance"))


def sentence(said: tuple[int, str, str]) -> str:
    code, _, err = said
    assert code == 2, said
    assert err.startswith("error: ")
    return err.removeprefix("error: ").strip()


def test_a_machine_is_shelved_listed_and_taken_off(say: Say, stored: LedgerResource) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    code, out, _ = say("shelve", "P2", "--for", "8h", *WHO)
    after = datetime.now(UTC)
    assert code == 0
    assert out.startswith("P2 is shelved until ")
    with stored.begin() as connection:
        [row] = list_shelvings(connection).to_dict("records")
    assert before <= row["start_at"] <= after
    assert row["until"] - row["start_at"] == timedelta(hours=8)
    assert (row["site"], row["machine_id"], row["incident_id"]) == ("u", "P2", None)
    assert (row["who"], row["why"]) == ("Kim", "bearing is being changed")
    listed = say("shelved")[1]
    assert "P2" in listed
    assert "bearing is being changed" in listed
    assert "in force" in listed
    code, out, _ = say("unshelve", "P2", "--operator", "Lee", "--why", "it runs again")
    assert code == 0
    assert "P2 is off the shelf" in out
    assert say("shelved")[1].strip() == "Nothing is shelved."
    everything = " ".join(say("shelved", "--all")[1].split())
    assert "by Lee: it runs again" in everything


def test_an_incident_is_shelved_by_how_only_its_name_begins(say: Say, stored: LedgerResource) -> None:
    incident = judged(stored, "s", date(2026, 10, 5))
    until = (datetime.now(UTC) + timedelta(hours=3)).isoformat()
    code, out, _ = say("shelve", "P1@2026-10", "--until", until, *WHO)
    assert code == 0
    assert out.startswith(f"{incident} is shelved until ")
    assert "it is found and judged as ever, but raises no alarm" in out
    with stored.begin() as connection:
        [row] = list_shelvings(connection).to_dict("records")
    assert (row["site"], row["machine_id"], row["incident_id"]) == ("s", "P1", incident)
    assert sentence(say("unshelve", "P1", *WHO)) == "Nothing is ended: P1 is not shelved."
    assert say("unshelve", incident, *WHO)[0] == 0


def test_what_ran_out_is_no_longer_listed_but_kept(say: Say, stored: LedgerResource) -> None:
    say("shelve", "P2", "--for", "1h", *WHO)
    with stored.begin() as connection:
        connection.execute(text("update shelvings set start_at = start_at - interval '2 hours', until = until - interval '2 hours'"))
    assert say("shelved")[1].strip() == "Nothing is shelved."
    assert "its time is over" in say("shelved", "--all")[1]
    assert say("shelve", "P2", "--for", "1h", *WHO)[0] == 0, "and it can be shelved again"


NO_END = "Say when it is over, with either --until or --for: nothing is shelved without an end."
NO_OFFSET = "'2026-11-20T08:00' has no offset from UTC; write it as 2026-11-20T08:00:00+00:00 or with the site's offset."
NO_MACHINE = "There is no machine 'P9' in the plant; an incident is machine and onset: P9@2026-11-20T08:10Z."


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("shelve", "P2"), NO_END),
        (("shelve", "P2", "--for", "1h", "--until", "2026-11-20T08:00:00+00:00"), NO_END),
        (("shelve", "P2", "--for", "a while"), "'a while' is no length of time; write it as 90min, 8h or 3d."),
        (("shelve", "P2", "--until", "2026-11-20T08:00"), NO_OFFSET),
        (("shelve", "P9", "--for", "1h"), NO_MACHINE),
        (("shelve", "P9@2026", "--for", "1h"), "There is no incident 'P9@2026': the ledger has none."),
        (("unshelve", "P2"), "Nothing is ended: P2 is not shelved."),
    ],
)
def test_what_makes_no_sense_is_one_sentence(say: Say, words: tuple[str, ...], said: str) -> None:
    assert " ".join(sentence(say(*words, *WHO)).split()) == said


def test_the_policy_of_the_site_is_the_limit_and_names_are_asked_for(say: Say, stored: LedgerResource) -> None:
    said = sentence(say("shelve", "P2", "--for", "25h", *WHO))
    assert said.startswith("P2 is not shelved: 25 hours are asked for, 24 allowed (policy.alarms.max_shelved_h); until ")
    assert "operator and reason must be given" in sentence(say("shelve", "P2", "--for", "1h", "--operator", " ", "--why", "x"))
    assert say("shelve", "P2", "--for", "1h", "--operator", "Kim")[0] == 2, "a missing option"
    with stored.begin() as connection:
        assert list_shelvings(connection).empty
