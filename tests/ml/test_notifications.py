"""Who is told of what, in which words."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from ml.notifications import (
    Event,
    Links,
    check_failed,
    critical_incident,
    decision_wanted,
    is_critical,
    lasting_drift,
    overdue,
    run_failed,
    scheduled,
    summary,
    told,
    trial,
)
from ml.plant import Machine, Sensor, Shift, Site, Technician
from ml.receivers import EVENT_KINDS, EVENTS_OF, NotificationPolicy, QuietHours, Receiver

SINCE = datetime(2026, 11, 20, 23, 30, tzinfo=UTC)  # 00:30 on the 21st in Berlin
LINKS = Links(report="/reports/x.html", run="http://dagster/runs/r1")
ORDER: dict[str, Any] = {
    "order_id": "WO-P1-VIB-20261120", "machine_id": "P1", "title": "Repair Feed pump: vibration (bearing wear)", "priority": "high",
    "state": "awaiting_decision", "reason": "1 incident, confidence 90%.", "risk_cost": 12345.6,
    "due_at": datetime(2026, 11, 25, 13, tzinfo=UTC), "actions": ["Lock out", "Replace the bearing"], "parts": ["bearing"],
}  # fmt: skip
INCIDENT: dict[str, Any] = {
    "incident_id": "P1@x", "alarm_id": "P1@x", "machine_id": "P1", "onset_at": SINCE, "last_window_at": SINCE, "ended_at": None,
    "label": None,
    "verdict": "credible", "failure_mode": "VIB", "top_sensor_id": "P1-VIB", "direction": 1, "peak_score": 0.97, "confidence": 0.9,
    "day": date(2026, 11, 20),
}  # fmt: skip


def machine(machine_id: str, criticality: str) -> Machine:
    sensor = Sensor(sensor_id=f"{machine_id}-VIB", type="vibration", unit="mm/s")
    return Machine.model_validate(
        {
            "machine_id": machine_id,
            "name": "Feed pump",
            "machine_class": "pump",
            "area": "process",
            "criticality": criticality,
            "sensors": [sensor],
        }
    )


def site(*receivers: Receiver, site_id: str = "works") -> Site:
    ada = Technician(
        technician_id="t-ada", name="Ada King", skills=("mechanical",), shifts=(Shift.model_validate({"start": "06:00", "end": "14:00"}),)
    )
    return Site(
        site=site_id,
        name="The Works",
        time_zone="Europe/Berlin",
        first_day=date(2026, 1, 1),
        machines=(machine("P1", "critical"), machine("P2", "medium")),
        technicians=(ada,),
        receivers=receivers,
    )


def receiver(name: str = "r", **fields: Any) -> Receiver:
    return Receiver.model_validate({"receiver_id": name, "role": "planner", "url_variable": "URL", **fields})


def event(kind: str = "overdue", severity: str = "warning", where: str | None = "works", technician_id: str | None = None) -> Event:
    return Event("k", kind, severity, where, "t", "w", "p", "y", "b", technician_id=technician_id)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "given", "is_told"),
    [
        ({}, event(), True),
        ({}, event("run_failed"), False),
        ({"role": "data_engineer"}, event("run_failed", where=None), True),
        ({"role": "data_engineer"}, event(), False),
        ({"role": "manager"}, event("decision_wanted"), False),
        ({"role": "manager"}, event("decision_escalated"), True),
        ({"events": ["drift"]}, event("drift"), True),
        ({"events": ["drift"]}, event(), False),
        ({"min_severity": "warning"}, event(severity="info"), False),
        ({"min_severity": "warning"}, event(severity="warning"), True),
        ({"min_severity": "warning"}, event(severity="critical"), True),
        ({}, event(where="elsewhere"), False),
        ({"sites": ["elsewhere"]}, event(where="elsewhere"), True),
        ({"sites": ["elsewhere"]}, event(), True),
        ({"role": "technician", "technician_id": "t-ada"}, event("scheduled", technician_id="t-ada"), True),
        ({"role": "technician", "technician_id": "t-ada"}, event("scheduled", technician_id="t-ben"), False),
        ({"role": "technician"}, event("scheduled", technician_id="t-ben"), True),
    ],
)
def test_who_is_told_follows_from_role_severity_site_and_person(fields: Mapping[str, Any], given: Event, is_told: bool) -> None:
    assert bool(told(given, [site(receiver(**fields))])) is is_told


def test_every_event_has_a_role_that_is_told_of_it() -> None:
    assert {kind for kinds in EVENTS_OF.values() for kind in kinds} == set(EVENT_KINDS)


def test_what_concerns_no_single_site_is_told_at_every_site() -> None:
    sites = [site(receiver("a", role="data_engineer")), site(receiver("b", role="data_engineer"), site_id="other")]
    assert [r.receiver_id for r in told(event("run_failed", where=None), sites)] == ["a", "b"]


def prediction(machine_id: str, p7: float) -> dict[str, Any]:
    return {"machine_id": machine_id, "probability_7d": p7, "probability_30d": max(p7, 0.9), "ttf_p10_days": 2.5}


@pytest.mark.parametrize(
    ("changes", "predicted", "expected"),
    [
        ({}, [], True),
        ({"machine_id": "P2"}, [], False),
        ({"machine_id": "P2"}, [prediction("P2", 0.7)], True),  # the default of auto_approve_probability
        ({"machine_id": "P2"}, [prediction("P2", 0.69)], False),
        ({"machine_id": "P2"}, [prediction("P1", 0.99)], False),
        ({"verdict": "investigate"}, [], False),
        ({"ended_at": SINCE}, [], False),
        ({"label": "false_alarm"}, [], False),
        ({"label": "confirmed"}, [], True),
        ({"machine_id": "gone"}, [], False),
    ],
)
def test_an_incident_is_critical_by_its_machine_or_by_how_soon_it_may_fail(
    changes: dict[str, Any], predicted: list[dict[str, Any]], expected: bool
) -> None:
    assert is_critical({**INCIDENT, **changes}, predicted, site=site()) is expected


def test_a_critical_incident_says_what_where_why_by_when_and_where_to_read_on() -> None:
    made = critical_incident(INCIDENT, [prediction("P1", 0.4)], site=site(), links=LINKS)
    assert made.subject("The Works") == "[critical] The Works: Critical incident: Feed pump (P1), vibration (bearing wear)"
    assert made.body == (
        "Feed pump (P1) behaves abnormally since Sat 21 Nov 2026 00:30 CET: vibration (bearing wear).\n\n"
        "Where: Feed pump (P1), area process, The Works\n"
        "Why: P1-VIB went up most; peak score 0.97, confidence 90%; failure within 7 days with probability 40%.\n"
        "By when: one chance in ten of failure within 2.5 days from 2026-11-20\n"
        "Report: /reports/x.html\n"
        "Run: http://dagster/runs/r1"
    )
    assert "By when: as soon as possible" in critical_incident(INCIDENT, [], site=site(), links=Links()).body
    assert "Report:" not in critical_incident(INCIDENT, [], site=site(), links=Links()).body


@pytest.mark.parametrize(
    ("stage", "priority", "kind", "severity"),
    [
        (None, "low", "decision_wanted", "info"),
        (None, "urgent", "decision_wanted", "warning"),
        ("remind", "low", "decision_reminder", "warning"),
        ("escalate", "high", "decision_escalated", "warning"),
        ("escalate", "urgent", "decision_escalated", "critical"),
    ],
)
def test_a_decision_grows_in_severity_with_the_wait(stage: Any, priority: str, kind: str, severity: str) -> None:
    made = decision_wanted({**ORDER, "priority": priority}, since=SINCE, stage=stage, site=site(), links=LINKS)
    assert (made.kind, made.severity) == (kind, severity)
    assert "due Wed 25 Nov 2026 14:00 CET" in made.title
    assert "maintenance decide WO-P1-VIB-20261120" in made.body
    assert "Risk 12,346 EUR" in made.body


def test_each_wait_and_each_stage_is_an_event_of_its_own() -> None:
    waits = [(SINCE, None), (SINCE, "remind"), (SINCE, "escalate"), (SINCE + timedelta(days=9), None)]
    keys = {decision_wanted(ORDER, since=since, stage=stage, site=site(), links=LINKS).key for since, stage in waits}  # type: ignore[arg-type]
    assert len(keys) == 4


def assignment(**changes: Any) -> dict[str, Any]:
    times = {"start_at": SINCE, "end_at": SINCE + timedelta(hours=4), "is_overtime": False, "is_late": False}
    return {**ORDER, "technician_id": "t-ada", **times, **changes}


def test_scheduled_work_names_who_and_when_and_a_call_out_is_critical() -> None:
    made = scheduled(assignment(), site=site(), links=LINKS)
    assert (made.severity, made.technician_id) == ("info", "t-ada")
    assert made.title == "Scheduled Sat 21 Nov 2026 00:30 CET: Repair Feed pump: vibration (bearing wear) (WO-P1-VIB-20261120), Ada King"
    assert "00:30 CET to Sat 21 Nov 2026 04:30 CET. Lock out; Replace the bearing. Parts: bearing." in made.body
    assert "after the work is due" not in made.body
    called = scheduled(assignment(is_overtime=True, is_late=True), site=site(), links=LINKS)
    assert (called.severity, called.title.startswith("Call-out Sat")) == ("critical", True)
    assert "It ends after the work is due." in called.body


def test_work_that_is_moved_is_told_again_and_work_that_stays_is_not() -> None:
    first, moved, other = (
        scheduled(assignment(**c), site=site(), links=LINKS).key
        for c in ({}, {"start_at": SINCE + timedelta(days=1)}, {"technician_id": "t"})
    )
    assert scheduled(assignment(end_at=SINCE + timedelta(hours=5)), site=site(), links=LINKS).key == first
    assert len({first, moved, other}) == 3


def test_overdue_work_says_since_when_and_in_which_state() -> None:
    made = overdue({**ORDER, "priority": "urgent", "machine_id": "gone"}, site=site(), links=LINKS)
    assert made.severity == "critical"
    assert made.title.startswith("Overdue since Wed 25 Nov 2026 14:00 CET: Repair")
    assert "is awaiting decision" in made.body
    assert "Where: gone, The Works" in made.body
    assert overdue(ORDER, site=site(), links=LINKS).severity == "warning"


def test_drift_names_sensor_version_and_days() -> None:
    made = lasting_drift("P1-VIB", n_days=4, version=3, last_day=date(2026, 11, 20), site=site(), links=LINKS)
    assert made.key == "drift:works:P1-VIB:v3"
    assert "detector version 3 was trained on, on 4 of the 5 days up to 2026-11-20." in made.body


def test_failures_say_which_run_of_what_and_cut_long_errors() -> None:
    made = run_failed(run_id="0123456789", job="process_site_day", scope="2026-11-20|works", error="x" * 9999, site=site(), links=LINKS)
    assert made.subject("The Works") == "[warning] The Works: Run failed: process_site_day of 2026-11-20|works"
    assert "The run 01234567 of process_site_day failed for 2026-11-20|works." in made.body
    assert len(made.body) < 1000
    plain = run_failed(run_id="r", job="intake", scope="", error="a\n  b", site=None, links=Links())
    assert plain.subject(None) == "[warning] Run failed: intake"
    assert "Where: the whole plant\nWhy: a b\n" in plain.body


def test_a_failed_check_is_one_event_per_site_day_and_without_one_per_day() -> None:
    def key(scope: str, day: date = date(2026, 11, 20)) -> str:
        return check_failed(asset="a", check="c_d", is_error=True, scope=scope, day=day, why="w", site=None, links=LINKS).key

    assert key("2026-11-20|works") == key("2026-11-20|works", date(2026, 11, 21)) != key("2026-11-21|works")
    assert key("") != key("", date(2026, 11, 21))
    warned = check_failed(asset="a", check="c_d", is_error=False, scope="", day=date(2026, 11, 20), why="w", site=site(), links=LINKS)
    assert (warned.severity, warned.title) == ("info", "Check failed: a, c d")


def test_a_summary_lists_the_worst_first_and_says_how_many_it_leaves_out() -> None:
    subject, body = summary([("info", f"[info] {n}") for n in range(45)] + [("critical", "[critical] worst")])  # type: ignore[list-item]
    assert subject == "[critical] 46 notifications in one message"
    lines = body.splitlines()
    assert lines[:2] == ["- [critical] worst", "- [info] 0"]
    assert lines[40] == "and 6 more"


def test_a_trial_says_what_its_receiver_will_be_told_of() -> None:
    subject, body = trial(receiver("ops", role="operator", min_severity="critical"), site=site())
    assert subject == "[test] The Works: messages reach ops"
    assert body.endswith("told of: critical incident; from severity critical on.")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"url_variable": "slack://a/b/c"}, "a plant file holds no secret"),
        ({"url_variable": "lower"}, "pattern"),
        ({"role": "king"}, "planner"),
        ({"events": []}, "at least 1"),
        ({"events": ["sunrise"]}, "critical_incident"),
        ({"quiet_hours": {"start": 1320, "end": "06:00"}}, "write a time in quotes"),
        ({"quiet_hours": {"start": "06:00", "end": "06:00"}}, "leave them out"),
    ],
)
def test_a_receiver_that_cannot_be_is_refused_in_words(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        receiver(**fields)


def test_a_site_refuses_receivers_that_share_a_name_or_name_a_stranger() -> None:
    with pytest.raises(ValidationError, match="receiver_id used twice: a"):
        Site.model_validate({**site().model_dump(), "receivers": [receiver("a"), receiver("a")]})
    with pytest.raises(ValidationError, match="a names t-ben, who is no technician of the site"):
        Site.model_validate({**site().model_dump(), "receivers": [receiver("a", technician_id="t-ben")]})


def test_the_defaults_are_five_messages_in_a_quarter_of_an_hour() -> None:
    assert NotificationPolicy() == NotificationPolicy(flood_limit=5, flood_minutes=15)
    assert QuietHours.model_validate({"start": "22:00", "end": "06:00"}).end.hour == 6
