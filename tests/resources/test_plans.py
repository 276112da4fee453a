"""Plans in the ledger: crews, what a technician was told before, and that nobody can be stored in two places."""

from datetime import UTC, date, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import icalendar
import pandas as pd
import pytest
from sqlalchemy import Connection, insert, select
from sqlalchemy.exc import IntegrityError

from assets.reporting.icalendar_text import calendar_text
from resources.ledger.deeds import Completion, Decision
from resources.ledger.ledger import LedgerResource
from resources.ledger.plans import assignments_in_force, replace_plan
from resources.ledger.tables import assignments, plans, work_orders
from resources.ledger.work import complete, decide
from resources.reports import ReportsResource
from tests.ledger_states import waiting_order

DAY = date(2026, 10, 5)
NOON = datetime(2026, 10, 5, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def approved(ledger: LedgerResource, *machines: str, site: str = "s") -> list[str]:
    orders = [waiting_order(ledger, site, machine=m) for m in machines]
    with ledger.begin() as connection:
        for order_id in orders:
            decide(connection, Decision(order_id, "approve", "ada", "seen it", NOON))
    return orders


def row(order_id: str, technician_id: str, start: int, end: int) -> dict[str, Any]:
    times = {"start_at": NOON + start * HOUR, "end_at": NOON + end * HOUR}
    return {"order_id": order_id, "technician_id": technician_id, **times, "is_overtime": False, "is_late": False}


def store(connection: Connection, *rows: dict[str, Any], day: date = DAY, site: str = "s") -> None:
    plan = {"start_at": NOON, "status": "optimal", "objective": 0.0, "gap": 0.0}
    replace_plan(connection, plan, site=site, day=day, assigned=pd.DataFrame(rows), unplanned=pd.DataFrame())


def test_nobody_can_be_stored_in_two_places_of_one_plan(ledger: LedgerResource) -> None:
    one, other = approved(ledger, "P1", "P2")
    with pytest.raises(IntegrityError, match="nobody_is_in_two_places"), ledger.begin() as connection:
        store(connection, row(one, "ann", 0, 2), row(other, "ann", 1, 3))
    with ledger.begin() as connection:
        store(connection, row(one, "ann", 0, 2), row(other, "ann", 2, 3))  # one right after the other
        store(connection, row(one, "ann", 1, 3), row(other, "bob", 1, 3), day=DAY + timedelta(days=1))  # a later plan, another technician
    [elsewhere] = approved(ledger, "P9", site="r")
    with ledger.begin() as connection:
        store(connection, row(elsewhere, "ann", 0, 2), site="r")  # a namesake of another site
    values = row(elsewhere, "bob", 2, 4) | {"site": "s", "day": DAY + timedelta(days=1), "revision": 0}
    with pytest.raises(IntegrityError, match="nobody_is_in_two_places"), ledger.begin() as connection:
        connection.execute(insert(assignments).values(**values))


def test_a_crew_is_one_order_of_the_plan(ledger: LedgerResource) -> None:
    one, other = approved(ledger, "P1", "P2")
    with ledger.begin() as connection:
        store(connection, row(one, "ann", 0, 2), row(one, "bob", 0, 2), row(other, "ann", 3, 4))
        counts = select(plans.c.n_orders, plans.c.n_planned)
        assert tuple(connection.execute(counts).one()) == (2, 2)
        found = assignments_in_force(connection, site="s")
        assert found[["order_id", "technician_id", "others"]].to_numpy().tolist() == [
            [one, "ann", "bob"],
            [one, "bob", "ann"],
            [other, "ann", ""],
        ]
        complete(connection, Completion(one, "ann", NOON, NOON + HOUR, "VIB"))
        assert tuple(connection.execute(counts).one()) == (1, 1)
        assert connection.scalars(select(assignments.c.order_id)).all() == [other]


def test_the_sequence_of_an_event_rises_when_its_time_changes_and_its_uid_stays(ledger: LedgerResource) -> None:
    [order] = approved(ledger, "P1")

    def event(day: date, *rows: dict[str, Any]) -> tuple[str, int, datetime]:
        with ledger.begin() as connection:
            store(connection, *rows, day=day)
            text = calendar_text(assignments_in_force(connection, site="s", technician_id="ann"), name="Ann")
        [found] = icalendar.Calendar.from_ical(text).walk("VEVENT")
        return str(found["UID"]), int(found["SEQUENCE"]), found["DTSTART"].dt

    first = event(DAY, row(order, "ann", 24, 26))
    assert first == (f"{order}.ann@s.smart-maintenance", 0, NOON + 24 * HOUR)
    assert event(DAY, row(order, "ann", 24, 26)) == first, "planned again"
    assert event(DAY, row(order, "ann", 25, 27))[1:] == (1, NOON + 25 * HOUR), "moved on the same day"
    assert event(DAY + timedelta(days=1), row(order, "ann", 25, 27))[1] == 1, "as it stood"
    assert event(DAY + timedelta(days=2), row(order, "ann", 30, 32), row(order, "bob", 30, 32))[:2] == (first[0], 2)
    with ledger.begin() as connection:
        revisions = select(assignments.c.technician_id, assignments.c.revision).where(assignments.c.day == DAY + timedelta(days=2))
        assert dict(connection.execute(revisions.order_by("technician_id")).all()) == {"ann": 2, "bob": 0}


def test_a_calendar_says_what_where_and_with_whom_in_lines_that_programs_read(ledger: LedgerResource) -> None:
    [order] = approved(ledger, "P1")
    title = "Spülpumpe reparieren; Dichtung, Lager \\ Kupplung — " + "ä" * 60
    with ledger.begin() as connection:
        steps = ["Lock out, drain", "Replace\nthe seal"]
        connection.execute(work_orders.update().values(title=title, actions=steps, parts=["seal"], priority="urgent"))
        store(connection, row(order, "ann", 0, 2) | {"is_overtime": True}, row(order, "bob", 0, 2) | {"is_overtime": True})
        text = calendar_text(assignments_in_force(connection, site="s", technician_id="ann"), name="Ann Süd")
    lines = text.encode().split(b"\r\n")
    assert b"\n" not in b"".join(lines)
    assert lines[-1] == b""
    assert max(map(len, lines)) <= 75
    for line in lines:
        line.decode()  # no character is torn apart
    calendar = icalendar.Calendar.from_ical(text)
    assert (str(calendar["VERSION"]), str(calendar["METHOD"]), str(calendar["X-WR-CALNAME"])) == ("2.0", "PUBLISH", "Ann Süd")
    [event] = calendar.walk("VEVENT")
    assert event.errors == []
    assert str(event["SUMMARY"]) == f"Call-out: {title}"
    assert (event["DTSTART"].dt, event["DTEND"].dt, event["DTSTAMP"].dt) == (NOON, NOON + 2 * HOUR, NOON)
    assert (str(event["LOCATION"]), str(event["STATUS"]), int(event["PRIORITY"])) == ("P1", "CONFIRMED", 1)
    said = str(event["DESCRIPTION"]).split("\n")
    assert said == [
        f"Order {order}", "Due: 20261012T120000Z", "Together with: bob", "Parts: seal", "1. Lock out, drain", "2. Replace", "the seal",
    ]  # fmt: skip


def test_a_technician_without_work_has_a_calendar_and_one_who_left_has_none(tmp_path: Path, ledger: LedgerResource) -> None:
    with ledger.begin() as connection:
        nothing = calendar_text(assignments_in_force(connection, site="s"), name="Ann")
    assert [c.name for c in icalendar.Calendar.from_ical(BytesIO(nothing.encode()).read()).subcomponents] == ["VTIMEZONE"]
    reports = ReportsResource(root=str(tmp_path))
    folder = reports.write_calendars("s", texts={"ann": nothing, "bob": nothing})
    assert sorted(p.name for p in folder.iterdir()) == ["ann.ics", "bob.ics"]
    reports.write_calendars("s", texts={"ann": nothing})
    assert [p.name for p in folder.iterdir()] == ["ann.ics"]
    assert (folder / "ann.ics").read_bytes() == nothing.encode(), "line breaks as they were written"
