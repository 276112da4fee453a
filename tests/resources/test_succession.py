"""A new champion moves the onset of an incident: the event stays one, and keeps its label, its order and its shelving."""

from datetime import UTC, date, datetime, timedelta

import pandas as pd
import pytest
from sqlalchemy import insert, select

from ml.incidents import incident_id
from ml.plant import AlarmPolicy, ApprovalPolicy
from ml.policy import OrderProposal
from resources.ledger.deeds import Decision
from resources.ledger.findings import (
    Label,
    false_alarms,
    incidents_of_order,
    label_incidents,
    labelled_incidents,
    labels_of,
    latest_assessments,
    replace_incidents,
)
from resources.ledger.ledger import LedgerResource
from resources.ledger.opening import open_or_join
from resources.ledger.shelving import Target, shelve, shelvings_between
from resources.ledger.tables import incidents, notifications, work_order_incidents
from resources.ledger.work import decide
from tests.ledger_states import waiting_order

DAY = date(2026, 10, 5)
AT = pd.Timestamp(DAY, tz="UTC")
NAMES = {hour: incident_id("P1", AT + pd.Timedelta(hours=hour)) for hour in (5, 6, 6.5, 7, 8)}


def find(ledger: LedgerResource, *hours: tuple[float, float], day: date = DAY, version: int = 1) -> dict[str, str]:
    """The day's incidents on P1, from hour to hour of the fifth; returns which of those before goes on under another name."""
    spans = [(AT + pd.Timedelta(hours=first), AT + pd.Timedelta(hours=last)) for first, last in hours]
    rows = [
        {
            "incident_id": incident_id("P1", onset), "machine_id": "P1", "onset_at": onset, "last_window_at": last,
            "ended_at": None, "n_windows": 12, "duration_s": 7200.0, "peak_score": 0.9,
            "mean_score": 0.8, "n_members_agreeing": 3, "n_sensors_moved": 1, "top_sensor_id": "P1-VIB", "direction": 1,
            "failure_mode": "VIB", "moved_sensors": {}, "evidence": {}, "confidence_before": 0.9, "confidence_by_rules": 0.9,
            "confidence": 0.9, "verdict": "credible", "failed": [], "reasons": [], "rules": [], "model_version": version,
        }
        for onset, last in spans
    ]  # fmt: skip
    columns = ["incident_id", "machine_id", "onset_at", "last_window_at"]
    with ledger.begin() as connection:
        return dict(replace_incidents(connection, pd.DataFrame(rows, columns=None if rows else columns), site="s", day=day))


def label(ledger: LedgerResource, name: str, words: str) -> None:
    with ledger.begin() as connection:
        label_incidents(connection, [name], Label(words, "person", "ada", "looked at it", datetime(2026, 10, 6, tzinfo=UTC)))


def counted(ledger: LedgerResource) -> dict[str, int]:
    with ledger.begin() as connection:
        return false_alarms(connection, site="s", until=DAY + timedelta(days=1), days=30)


def known(ledger: LedgerResource) -> dict[str, str | None]:
    with ledger.begin() as connection:
        return {row.incident_id: row.label for row in connection.execute(select(incidents.c.incident_id, incidents.c.label))}


@pytest.mark.parametrize("hour", [5, 7])
def test_a_false_alarm_counts_once_though_its_onset_has_moved_and_somebody_says_it_again(ledger: LedgerResource, hour: int) -> None:
    find(ledger, (6, 9))
    label(ledger, NAMES[6], "false_alarm")
    assert counted(ledger) == {"P1": 1}
    assert find(ledger, (hour, 9), version=2) == {NAMES[6]: NAMES[hour]}
    assert known(ledger) == {NAMES[hour]: "false_alarm"}, "there is one event, and what was said of it holds"
    assert counted(ledger) == {"P1": 1}
    label(ledger, NAMES[hour], "false_alarm")
    assert counted(ledger) == {"P1": 1}
    with ledger.begin() as connection:
        assert len(labels_of(connection, NAMES[hour])) == 2, "both words are kept"
        assert labelled_incidents(connection, site="s", before=DAY + timedelta(days=1))["incident_id"].tolist() == [NAMES[hour]]
        assert latest_assessments(connection, site="s")["label"].tolist() == ["false_alarm"]
    assert find(ledger, (6, 9), version=1) == {NAMES[hour]: NAMES[6]}, "rolled back"
    assert known(ledger) == {NAMES[6]: "false_alarm"}


def test_found_as_before_nothing_is_handed_over(ledger: LedgerResource) -> None:
    find(ledger, (6, 9))
    label(ledger, NAMES[6], "confirmed")
    assert find(ledger, (5, 5.5), (6, 7)) == {}
    assert known(ledger) == {NAMES[5]: None, NAMES[6]: "confirmed"}


def test_an_event_over_several_days_hands_over_at_the_first_that_is_made_anew(ledger: LedgerResource) -> None:
    second = DAY + timedelta(days=1)
    find(ledger, (6, 23))
    find(ledger, (6, 40), day=second)
    label(ledger, NAMES[6], "confirmed")
    find(ledger, (7, 23), version=2)
    assert known(ledger) == {NAMES[6]: None, NAMES[7]: "confirmed"}
    find(ledger, (7, 40), day=second, version=2)
    assert known(ledger) == {NAMES[7]: "confirmed"}


def test_a_fault_that_swallows_a_false_alarm_is_none_but_what_was_confirmed_lies_in_whatever_covers_it(ledger: LedgerResource) -> None:
    find(ledger, (6, 6.25), (8, 20))
    label(ledger, NAMES[6], "false_alarm")
    label(ledger, NAMES[8], "confirmed")
    assert find(ledger, (5, 20), version=2) == {NAMES[8]: NAMES[5]}
    assert known(ledger) == {NAMES[5]: "confirmed", NAMES[6]: "false_alarm"}


def test_incidents_at_other_times_and_on_days_without_any_have_no_successor(ledger: LedgerResource) -> None:
    find(ledger, (5, 5.5))
    label(ledger, NAMES[5], "false_alarm")
    assert find(ledger, (6, 9), version=2) == {}
    assert find(ledger) == {}
    assert known(ledger) == {NAMES[5]: "false_alarm"}
    assert counted(ledger) == {"P1": 1}, "the machine has cried wolf, though this detector does not hear it any more"


def test_the_order_and_the_shelving_go_with_the_event(ledger: LedgerResource) -> None:
    find(ledger, (6, 9))
    order_id = waiting_order(ledger, "s")  # with an incident of its own
    with ledger.begin() as connection:
        connection.execute(insert(work_order_incidents).values(incident_id=NAMES[6], order_id=order_id))
        start = datetime(2026, 10, 5, 7, tzinfo=UTC)
        until = start + timedelta(hours=8)
        shelve(connection, Target("s", "P1", NAMES[6]), start_at=start, until=until, who="kim", why="known", policy=AlarmPolicy())
    find(ledger, (6.5, 9), version=2)
    with ledger.begin() as connection:
        assert incidents_of_order(connection, order_id) == sorted([NAMES[6.5], "P1@i"])
        assert [s.incident_id for s in shelvings_between(connection, site="s", start=start, end=until)] == [NAMES[6.5]]
    assert NAMES[6] not in known(ledger)


def proposed(ledger: LedgerResource, name: str, *, day: date) -> str | None:
    """The order that the day's incident calls for."""
    end = AT + pd.Timedelta(days=(day - DAY).days + 1)
    wanted = OrderProposal(
        machine_id="P1", failure_mode="VIB", priority="high", risk_cost=100.0, probability_7d=0.2, probability_30d=0.4, confidence=0.9,
        is_urgent=False, due_at=end + pd.Timedelta(days=7), title="Repair P1", actions=("Look",), reason="because", incident_ids=(name,),
        crew=(("mechanical",),), duration_h=2.0, parts=(),
    )  # fmt: skip
    with ledger.begin() as connection:
        as_of, state = end.to_pydatetime(), ("awaiting_decision", "needs a decision")
        return open_or_join(connection, wanted, site="s", day=day, state=state, as_of=as_of, policy=ApprovalPolicy())


def test_an_order_that_people_rejected_does_not_come_back_because_the_incident_has_another_name(ledger: LedgerResource) -> None:
    third = DAY + timedelta(days=2)
    find(ledger, (6, 70), day=third)
    order_id = proposed(ledger, NAMES[6], day=DAY)
    assert order_id is not None
    with ledger.begin() as connection:
        decide(connection, Decision(order_id, "reject", "ada", "we replace it anyway", datetime(2026, 10, 6, 12, tzinfo=UTC)))
    assert proposed(ledger, NAMES[6], day=third) is None
    find(ledger, (6.5, 70), day=third, version=2)
    assert proposed(ledger, NAMES[6.5], day=third) is None


def test_who_was_told_of_an_incident_is_not_told_again_under_its_new_name(ledger: LedgerResource) -> None:
    def notices() -> list[tuple[str, str, str]]:
        columns = (notifications.c.event_key, notifications.c.receiver_id, notifications.c.state)
        with ledger.begin() as connection:
            return sorted(tuple(row) for row in connection.execute(select(*columns)))

    def told(name: str, receiver_id: str, state: str) -> None:
        said = {"kind": "critical_incident", "severity": "critical", "site": "s", "subject": "x", "body": "x", "created_at": AT}
        with ledger.begin() as connection:
            where = {"event_key": f"critical_incident:{name}", "receiver_id": receiver_id, "state": state}
            connection.execute(insert(notifications).values(**said, **where, next_attempt_at=AT))

    find(ledger, (6, 9))
    told(NAMES[6], "ada", "sent")
    told(NAMES[6], "bo", "sent")
    told(NAMES[7], "bo", "pending")
    find(ledger, (7, 9), version=2)
    before, after = (f"critical_incident:{NAMES[hour]}" for hour in (6, 7))
    assert notices() == [(before, "bo", "sent"), (after, "ada", "sent"), (after, "bo", "pending")]
