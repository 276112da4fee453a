"""`maintenance schedule`: the plans in force, in the site's time, and a technician's calendar."""

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import icalendar
import pandas as pd
import pytest
from rich.console import Console
from sqlalchemy import delete, select, update

from cli.main import main
from resources.ledger.deeds import Decision
from resources.ledger.ledger import LedgerResource
from resources.ledger.plans import replace_plan
from resources.ledger.tables import assignments, decisions, incidents, plans, work_order_events, work_order_incidents, work_orders
from resources.ledger.work import decide
from resources.postgres import URL_VARIABLE, database_url
from tests.ledger_states import waiting_order

NOON = datetime(2026, 10, 23, 12, tzinfo=UTC)  # a Friday in summer time; Monday is in winter time


def test_the_plan_in_force_is_shown_in_the_sites_time_and_as_a_calendar(
    postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.setenv(URL_VARIABLE, postgres)
    monkeypatch.setattr("cli.main.console", Console(width=80))

    def say(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["maintenance", "schedule", *words, "--home", str(tmp_path)])
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        out, err = capsysbinary.readouterr()
        return code, out.decode(), err.decode()

    code, _, err = say("--technician", "nobody")
    assert (code, "error: There is no technician 'nobody'; there are hh-brandt, " in err) == (2, True)
    code, _, err = say("--ics")
    assert (code, "name one with --technician" in err) == (2, True)
    ledger = LedgerResource(url=database_url(postgres, "smart_maintenance"))
    order = waiting_order(ledger, "hamburg", machine="HH-P101", on=NOON.date())
    try:
        title = "Inspect Main cooling water pump 101: vibration rises on the drive end and on the fan end"
        with ledger.begin() as connection:
            decide(connection, Decision(order, "approve", "ada", "seen it", NOON))
            rows = [
                {"order_id": order, "technician_id": who, "start_at": NOON + timedelta(hours=h), "end_at": NOON + timedelta(hours=h + 2)}
                for who, h in (("hh-brandt", 65), ("hh-petersen", 65))
            ]
            assigned = pd.DataFrame(rows).assign(is_overtime=False, is_late=True)
            plan = {"start_at": NOON, "status": "optimal", "objective": 0.0, "gap": 0.0}
            connection.execute(update(work_orders).values(title=title))
            priority = connection.execute(select(work_orders.c.priority)).scalar_one()
            replace_plan(connection, plan, site="hamburg", day=NOON.date(), assigned=assigned, unplanned=pd.DataFrame())
        code, out, _ = say("--site", "hamburg")
        lines = out.splitlines()[1:]
        assert [line.split()[:6] for line in lines if line.startswith(" Mon")] == [
            ["Mon", "10-26", "06:00", "08:00", "Anke", "Brandt"], ["Mon", "10-26", "06:00", "08:00", "Ole", "Petersen"]
        ]  # fmt: skip
        at = out.index("what")
        cells = " ".join(line[at:].strip() for line in lines)
        assert cells == " ".join([f"{title} {order}, {priority}, late"] * 2), "nothing of what is to be done is cut off"
        assert max(map(len, out.splitlines())) <= 80
        assert len(say("--technician", "hh-petersen")[1].splitlines()) == 1 + len(lines) / 2
        code, out, _ = say("--technician", "hh-petersen", "--ics")
        [event] = icalendar.Calendar.from_ical(out).walk("VEVENT")
        assert (code, event["DTSTART"].dt) == (0, NOON + timedelta(hours=65))
        assert "\r\n" in out
    finally:
        with ledger.begin() as connection:
            for table in (assignments, plans, work_order_events, decisions, work_order_incidents, work_orders, incidents):
                connection.execute(delete(table))
