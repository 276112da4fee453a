"""`explain`: an incident found by what a person types of its name, and told whole, for people and for machines."""

import json
import sys
from datetime import UTC, date, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from sqlalchemy import delete, insert, literal, select, update

from cli import labelling
from cli.environment import Environment
from cli.errors import CommandError
from cli.inspect import explanation, find_incident, page
from cli.labelling import put_label
from cli.main import main
from cli.revalidate import Span, apply
from ml.plant import Machine, Policy, Sensor, Site, VerdictPolicy
from resources.home import Home
from resources.lake import LakeResource
from resources.ledger.findings import Label, label_incidents, labels_of
from resources.ledger.ledger import LedgerResource
from resources.ledger.tables import incident_assessments, incidents, work_order_incidents
from resources.postgres import URL_VARIABLE, database_url
from tests.ledger_states import judged, waiting_order

ID = "P1@2026-10-05T06:00Z"
DAYS = [date(2026, 10, 5), date(2026, 10, 6), date(2026, 10, 7)]
MACHINE = Machine(
    machine_id="P1", name="Feed pump", machine_class="pump", sensors=(Sensor(sensor_id="P1-VIB", type="vibration", unit="mm/s"),)
)


def site(policy: VerdictPolicy | None = None) -> Site:
    policy = policy or VerdictPolicy()
    return Site(site="s", name="S", first_day=date(2026, 1, 1), machines=(MACHINE,), policy=Policy(verdict=policy))


@pytest.fixture
def history(ledger: LedgerResource) -> LedgerResource:
    """Doubtful on its first day, credible on the second, ended and distrusted on the third; an order waits for a decision."""
    judged(ledger, "s", DAYS[0], n_members_agreeing=1, peak_score=0.65)
    judged(ledger, "s", DAYS[1])
    judged(ledger, "s", DAYS[2], worst_grade="F", faulty_share=0.75, sensor_faults="P1-VIB stuck")
    order = waiting_order(ledger, "s", machine="P2")
    with ledger.begin() as connection:
        connection.execute(insert(work_order_incidents).values(incident_id=ID, order_id=order))
    return ledger


def told(ledger: LedgerResource, *, day: date | None = None, policy: VerdictPolicy | None = None) -> dict[str, Any]:
    with ledger.begin() as connection:
        return explanation(connection, ID, day=day, sites=[site(policy)])


def shown(found: dict[str, Any], *, width: int = 120) -> str:
    console = Console(file=StringIO(), width=width)
    console.print(page(found), highlight=False)
    return console.file.getvalue()  # type: ignore[attr-defined]


def also_judged(ledger: LedgerResource, incident_id: str) -> None:
    """As the latest day judged the one of P1."""
    a = incident_assessments
    same = [literal(incident_id).label(c.name) if c.name == "incident_id" else c for c in a.c]
    with ledger.begin() as connection:
        connection.execute(insert(a).from_select([c.name for c in a.c], select(*same).where(a.c.day == DAYS[2])))


def test_a_name_or_how_only_one_begins_is_found(history: LedgerResource) -> None:
    with history.begin() as connection:
        assert [find_incident(connection, words) for words in (ID, "P1", "P1@2026-10-05")] == [ID] * 3


def test_one_that_no_day_knows_any_more_is_meant_only_by_its_whole_name(history: LedgerResource) -> None:
    """P2's was known when its order was opened; its days, scored anew, do not know it."""
    with history.begin() as connection:
        assert find_incident(connection, "P") == ID
        assert find_incident(connection, "P2") == "P2@i", "there is no other"
        assert find_incident(connection, "P2@i") == "P2@i"


def test_another_name_is_answered_with_those_that_are_near(history: LedgerResource) -> None:
    also_judged(history, "P2@i")
    answers = {
        "P": "The names of 2 incidents begin with 'P'; name one of them: "
        "P1@2026-10-05T06:00Z (false positive suspected), P2@i (false positive suspected).",
        "P1@2026-10-05T07:00Z": "There is no incident 'P1@2026-10-05T07:00Z'; near it are P1@2026-10-05T06:00Z.",
        "P12": "There is no incident 'P12'; near it are P2, P1.",
        # an underscore is no wildcard
        "_": "There is no incident '_': a name is machine and onset; there are incidents of P1, P2.",
    }
    for words, sentence in answers.items():
        with history.begin() as connection, pytest.raises(CommandError) as error:
            find_incident(connection, words)
        assert str(error.value) == sentence


def test_of_many_incidents_the_latest_are_named(ledger: LedgerResource) -> None:
    with ledger.begin() as connection:
        rows = [
            {"incident_id": f"P1@2026-10-{n:02}", "site": "s", "machine_id": "P1", "onset_at": f"2026-10-{n:02}T00:00Z"}
            for n in range(1, 21)
        ]
        connection.execute(insert(incidents), rows)
        with pytest.raises(CommandError, match="The names of the latest 8 of 20 incidents begin") as error:
            find_incident(connection, "P1")
    assert "P1@2026-10-13, " in str(error.value)
    assert "P1@2026-10-12" not in str(error.value)


def test_an_empty_ledger_is_said(ledger: LedgerResource) -> None:
    with ledger.begin() as connection, pytest.raises(CommandError, match=r"There is no incident 'P1': the ledger has none\."):
        find_incident(connection, "P1")


def test_the_explanation_is_that_of_the_latest_day_and_survives_json(history: LedgerResource) -> None:
    found = told(history)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert (found["machine"], found["machine_id"], found["site"], found["day"]) == ("Feed pump", "P1", "s", "2026-10-07")
    assert (found["onset_at"], found["ended_at"], found["peak_score"]) == ("2026-10-05T06:00:00+00:00", None, 0.9)
    assert (found["confidence_before"], found["confidence"], found["verdict"]) == (0.9, 0.2, "false_positive_suspected")
    assert found["bands"] == {"credible": 0.7, "investigate": 0.4}
    assert found["moved_sensors"]["P1-VIB"] == {"share": 0.75, "z": 11.0, "feature": "kurtosis"}
    assert found["evidence"]["sensor_faults"] == "P1-VIB stuck"
    assert {rule["name"]: rule["adjustment"] for rule in found["rules"] if not rule["holds"]} == {
        "sensors_are_trustworthy": -0.35, "no_sensor_fault_explains_it": -0.35,
    }  # fmt: skip
    assert [(order["state"], order["failure_mode"]) for order in found["orders"]] == [("awaiting_decision", "VIB")]
    assert [(day["day"], day["verdict"], day["confidence"], day["failed"]) for day in found["days"]] == [
        ("2026-10-05", "investigate", 0.55, ["members_agree", "peak_is_high"]),
        ("2026-10-06", "credible", 0.9, []),
        ("2026-10-07", "false_positive_suspected", 0.2, ["sensors_are_trustworthy", "no_sensor_fault_explains_it"]),
    ]


def test_a_day_can_be_asked_for_and_another_is_refused_with_those_there_are(history: LedgerResource) -> None:
    assert told(history, day=DAYS[0])["verdict"] == "investigate"
    with pytest.raises(CommandError, match=r"was not judged on 2026-10-09; it was on 2026-10-05, 2026-10-06, 2026-10-07\."):
        told(history, day=date(2026, 10, 9))


def test_people_read_all_of_it_at_any_width(history: LedgerResource) -> None:
    with history.begin() as connection:
        label_incidents(connection, [ID], Label("false_alarm", "person", "ada", "a loose cable", datetime(2026, 10, 8, 9, tzinfo=UTC)))
    found = told(history, day=DAYS[2])
    for width in (80, 120):
        read_all_of_it(shown(found, width=width), width=width)


def read_all_of_it(text: str, *, width: int) -> None:
    assert max(map(len, text.splitlines())) <= width
    flat = " ".join(text.split())
    for words in (
        "P1@2026-10-05T06:00Z Feed pump, s",
        "verdict false positive suspected, confidence 0.20",
        "onset 2026-10-05 06:00 UTC",
        "goes on, last anomalous window 2026-10-07 20:00 UTC",
        "failure mode VIB, vibration (bearing wear)",
        "label false alarm, ada, 2026-10-08 09:00 UTC: a loose cable",
        "work order WO-P2-VIB-20261005, awaiting decision",
        "P1-VIB 75% +11.0 kurtosis P1-TEMP 25% +4.1 mean",  # the largest first
        "confidence 0.90 - 0.35 - 0.35 = 0.20: false positive suspected",
        "(credible from 0.70, investigate from 0.40)",
        "2026-10-06 credible 0.90",
    ):
        assert words in flat, words
    assert sum(line.startswith("  ✓") for line in text.splitlines()) == 11
    assert sum(line.startswith("  ✗") for line in text.splitlines()) == 2
    assert "75% of the movement comes from faulty sensors" in flat


def test_brackets_in_what_people_wrote_are_shown_as_they_are(history: LedgerResource) -> None:
    span = Span(site(VerdictPolicy(worst_grade_allowed="A", base_confidence=1)), DAYS[0], DAYS[2])
    apply(history, span, lake=LakeResource(root="/nowhere"), operator="ada", why="[bold]why")
    assert "judged anew by ada on" in (text := shown(told(history)))
    assert "(it was false positive suspected 0.20): [bold]why" in " ".join(text.split())


def test_confidence_below_nothing_is_shown_as_nothing(ledger: LedgerResource) -> None:
    judged(ledger, "s", DAYS[0], worst_grade="F", in_maintenance=True)
    assert "confidence 0.90 - 0.35 - 0.60 = -0.05, at least 0 = 0.00: false positive suspected" in shown(told(ledger))


def test_a_verdict_that_todays_bands_would_not_give_is_pointed_out(history: LedgerResource) -> None:
    assert "plant file as it is now" not in shown(told(history, day=DAYS[1]))
    text = shown(told(history, day=DAYS[1], policy=VerdictPolicy(credible_from=0.95)))
    assert "by the plant file as it is now: investigate; see `maintenance revalidate`" in text


def test_verdicts_from_before_rules_were_kept_are_told_by_their_reasons(history: LedgerResource) -> None:
    with history.begin() as connection:
        connection.execute(update(incident_assessments).values(rules=[]))
    text = shown(told(history, day=DAYS[0]))
    assert "  only 1 of 7 detectors saw it (2 wanted)" in text.splitlines()
    assert "confidence 0.90 before, 0.55 after: investigate" in text


def test_a_site_that_left_the_plant_is_still_explained(history: LedgerResource) -> None:
    with history.begin() as connection:
        found = explanation(connection, ID, day=None, sites=[])
    assert (found["machine"], found["bands"], found["verdict_by_todays_bands"]) == (None, None, None)
    assert "the site has no plant file" in shown(found)


def test_the_commands_on_a_terminal(
    postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(URL_VARIABLE, postgres)
    monkeypatch.setenv("COLUMNS", "120")

    def say(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["maintenance", *words, "--home", str(tmp_path)])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), *capsys.readouterr()

    code, _, err = say("explain", "NOSUCH")
    assert (code, "error: There is no incident 'NOSUCH'" in err) == (2, True)
    ledger = LedgerResource(url=database_url(postgres, "smart_maintenance"))
    judged(ledger, "hamburg", DAYS[0])
    try:
        code, out, _ = say("explain", ID, "--format", "json")
        assert (code, json.loads(out)["confidence"]) == (0, 0.9)
        code, out, _ = say("explain", ID, "--day", "2026-10-05")
        assert (code, out.splitlines()[0]) == (0, f"{ID}  hamburg")
        code, out, _ = say("revalidate", "--from", "2026-10-05", "--to", "2026-10-06", "--site", "hamburg")
        assert (code, out.splitlines()) == (
            0, ["hamburg, 2026-10-05 to 2026-10-06: 1 verdict on 1 incident from stored evidence", "Nothing changes."],
        )  # fmt: skip
        code, _, err = say("revalidate", "--from", "2026-10-05", "--to", "2026-10-06", "--apply", "--operator", "ada")
        assert (code, "--apply needs --operator and --why" in err) == (2, True)
    finally:
        with ledger.begin() as connection:
            for table in (incident_assessments, incidents):
                connection.execute(delete(table).where(table.c.incident_id == ID))


def test_labels_are_told_the_latest_first_with_who_and_why(history: LedgerResource) -> None:
    assert "nobody said yet" in shown(told(history))
    at = datetime(2026, 10, 9, 8, tzinfo=UTC)
    with history.begin() as connection:
        label_incidents(connection, [ID], Label("false_alarm", "person", "ada", "looked at it", at))
        label_incidents(connection, [ID], Label("confirmed", "person", "bea", "heard it", at + timedelta(days=1)))
    page_of = shown(told(history))
    assert page_of.index("confirmed, bea, 2026-10-10 08:00 UTC: heard it") < page_of.index(
        "false alarm, ada, 2026-10-09 08:00 UTC: looked at it"
    )
    assert [said["who"] for said in told(history)["labels"]] == ["ada", "bea"]


def test_a_calibrated_confidence_says_what_the_rules_gave(history: LedgerResource) -> None:
    with history.begin() as connection:
        connection.execute(update(incident_assessments).where(incident_assessments.c.day == DAYS[1]).values(confidence=0.55))
    assert "confidence 0.90, nothing taken off, by what people found of earlier incidents 0.55: credible" in shown(
        told(history, day=DAYS[1])
    )


def test_label_writes_who_and_why_and_says_what_the_labels_amount_to(history: LedgerResource, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labelling, "ledger_of", lambda environment: history)
    environment = Environment(Home(Path()), Path(), (site(),), "")
    assert put_label(environment, "P1", "false_alarm", operator="ada", why="a loose cable") == (
        f"{ID} is labelled false alarm.\nMeasured precision of s: insufficient evidence: 1 of the 20 labelled incidents needed."
    )
    again = put_label(environment, ID, "confirmed", operator="bea", why="it broke")
    assert again.startswith(f"{ID} is labelled confirmed (before: false alarm, by ada).")
    with history.begin() as connection:
        assert [(x["label"], x["source"], x["who"], x["why"]) for x in labels_of(connection, ID)] == [
            ("false_alarm", "person", "ada", "a loose cable"),
            ("confirmed", "person", "bea", "it broke"),
        ]
    for label, operator, words in (("perhaps", "ada", "must be confirmed or false_alarm"), ("confirmed", " ", "cannot be audited")):
        with pytest.raises(CommandError, match=words):
            put_label(environment, ID, label, operator=operator, why="x")


def test_an_incident_that_no_day_knows_any_more_gets_no_label(history: LedgerResource, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labelling, "ledger_of", lambda environment: history)
    with pytest.raises(CommandError, match=r"No day knows P2@i any more: since its days were scored anew"):
        put_label(Environment(Home(Path()), Path(), (site(),), ""), "P2@i", "confirmed", operator="ada", why="x")
    with history.begin() as connection:
        assert labels_of(connection, "P2@i") == []
