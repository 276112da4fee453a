"""What the ledger says that people should know: from real states of it, and only what is so now."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sqlalchemy import insert, update

from ml.plant import Machine, Sensor, Site
from resources.ledger.deeds import Decision
from resources.ledger.ledger import LedgerResource
from resources.ledger.plans import replace_plan
from resources.ledger.tables import drift_findings, incident_alarms, validations, work_order_events, work_orders
from resources.ledger.telling import events_of
from resources.ledger.work import decide
from resources.links import LinksResource
from tests.ledger_states import judged, waiting_order

DAY = date(2026, 10, 5)
NOON = datetime(2026, 10, 5, 12, tzinfo=UTC)
HOUR, ONE_DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def links(tmp_path: Path) -> LinksResource:
    return LinksResource(reports=str(tmp_path), dagster_url="http://dagster")


def site(criticality: str = "critical") -> Site:
    sensors = (Sensor(sensor_id="P1-VIB", type="vibration", unit="mm/s"),)
    machine = Machine.model_validate({"machine_id": "P1", "machine_class": "pump", "criticality": criticality, "sensors": sensors})
    return Site(site="hamburg", name="Hamburg", first_day=date(2026, 9, 1), machines=(machine,))


def told(ledger: LedgerResource, links: LinksResource, *, now: datetime, where: Site | None = None) -> dict[str, str]:
    """kind -> body."""
    with ledger.begin() as connection:
        return {event.kind: event.body for event in events_of(connection, site=where or site(), now=now, links=links)}


def recorded(ledger: LedgerResource, order_id: str, at: datetime) -> None:
    """The order's history was written at this time."""
    with ledger.begin() as connection:
        connection.execute(update(work_order_events).where(work_order_events.c.order_id == order_id).values(recorded_at=at))


def planned(ledger: LedgerResource, order_id: str, *, start: datetime, day: date = DAY) -> None:
    slot = {
        "order_id": order_id,
        "technician_id": "ben",
        "start_at": start,
        "end_at": start + 2 * HOUR,
        "is_overtime": False,
        "is_late": False,
    }
    plan = {"start_at": NOON, "status": "optimal", "objective": 0.0, "gap": 0.0}
    with ledger.begin() as connection:
        replace_plan(connection, plan, site="hamburg", day=day, assigned=pd.DataFrame([slot]), unplanned=pd.DataFrame())


def test_an_empty_ledger_has_nothing_to_tell(ledger: LedgerResource, links: LinksResource) -> None:
    assert told(ledger, links, now=NOON) == {}


def test_an_order_that_waits_wants_a_decision_then_a_reminder_then_is_escalated(ledger: LedgerResource, links: LinksResource) -> None:
    recorded(ledger, waiting_order(ledger, "hamburg"), NOON)
    stages = {h: list(told(ledger, links, now=NOON + h * HOUR)) for h in (0, 23, 24, 71, 72)}  # the policy's defaults: 24 h and 72 h
    wanted, reminded = ["decision_wanted"], ["decision_reminder"]
    assert stages == {0: wanted, 23: wanted, 24: reminded, 71: reminded, 72: ["decision_escalated"]}


def test_the_wait_counts_from_when_people_could_know_of_it(ledger: LedgerResource, links: LinksResource) -> None:
    """An old day that is processed now makes no order that is overdue for a decision."""
    recorded(ledger, waiting_order(ledger, "hamburg"), NOON + 6 * ONE_DAY)
    assert list(told(ledger, links, now=NOON + 6 * ONE_DAY + HOUR)) == ["decision_wanted"]


def test_a_decided_order_wants_no_decision_and_other_sites_are_theirs(ledger: LedgerResource, links: LinksResource) -> None:
    order_id = waiting_order(ledger, "hamburg")
    waiting_order(ledger, "houston", machine="P9")
    with ledger.begin() as connection:
        decide(connection, Decision(order_id, "reject", "ada", "no", NOON))
    assert told(ledger, links, now=NOON) == {}


def test_the_plan_in_force_is_told_until_its_work_is_over(ledger: LedgerResource, links: LinksResource) -> None:
    order_id = waiting_order(ledger, "hamburg")
    with ledger.begin() as connection:
        decide(connection, Decision(order_id, "approve", "ada", "yes", NOON))
    assert told(ledger, links, now=NOON) == {}
    planned(ledger, order_id, start=NOON + 20 * HOUR)
    assert "ben: Repair P1, Tue 06 Oct 2026 08:00 UTC to Tue 06 Oct 2026 10:00 UTC. Look." in told(ledger, links, now=NOON)["scheduled"]
    planned(ledger, order_id, start=NOON + 40 * HOUR, day=DAY + ONE_DAY)
    assert "Wed 07 Oct 2026 04:00 UTC" in told(ledger, links, now=NOON)["scheduled"], "the newer plan is in force"
    assert "scheduled" not in told(ledger, links, now=NOON + 42 * HOUR)
    with ledger.begin() as connection:
        decide(connection, Decision(order_id, "cancel", "ada", "no", NOON))
    assert told(ledger, links, now=NOON) == {}


def test_open_work_is_overdue_once_its_time_has_passed(ledger: LedgerResource, links: LinksResource) -> None:
    order_id = waiting_order(ledger, "hamburg")  # due at noon a week later
    due = NOON + 7 * ONE_DAY
    assert "overdue" not in told(ledger, links, now=due)
    assert "it was due Mon 12 Oct 2026 12:00 UTC" in told(ledger, links, now=due + HOUR)["overdue"]
    with ledger.begin() as connection:
        decide(connection, Decision(order_id, "defer", "ada", "later", NOON, defer_until=due + 9 * ONE_DAY))
    assert told(ledger, links, now=due + HOUR) == {}, "somebody has put it off"


def alarmed(ledger: LedgerResource, incident_id: str, day: date = DAY, *, is_held_back: bool = False, alarm_id: str | None = None) -> None:
    """The incident's alarm, as it stands at the end of the day."""
    opened = datetime(2026, 10, 5, 6, 30, tzinfo=UTC)
    with ledger.begin() as connection:
        connection.execute(
            insert(incident_alarms).values(
                site="hamburg", day=day, incident_id=incident_id, machine_id="P1", alarm_id=alarm_id or incident_id,
                is_site_event=alarm_id is not None, priority="high", opened_at=opened, raised_at=None if is_held_back else opened,
            )
        )  # fmt: skip


def test_an_incident_that_is_shelved_tells_nobody(ledger: LedgerResource, links: LinksResource) -> None:
    alarmed(ledger, judged(ledger, "hamburg", DAY), is_held_back=True)
    assert told(ledger, links, now=NOON) == {}


def test_an_event_of_the_whole_site_is_told_once(ledger: LedgerResource, links: LinksResource) -> None:
    alarmed(ledger, judged(ledger, "hamburg", DAY), alarm_id="site:hamburg@2026-10-05T06:00Z")
    with ledger.begin() as connection:
        [event] = events_of(connection, site=site(), now=NOON, links=links)
    assert event.key == "critical_incident:site:hamburg@2026-10-05T06:00Z"
    assert event.title.endswith("and others of the site")


def test_a_credible_incident_on_a_critical_machine_is_told_while_it_is_fresh(ledger: LedgerResource, links: LinksResource) -> None:
    alarmed(ledger, judged(ledger, "hamburg", DAY))  # last seen at 20:00
    seen = datetime(2026, 10, 5, 20, tzinfo=UTC)
    assert "P1-VIB went up most" in told(ledger, links, now=seen + 47 * HOUR)["critical_incident"]
    assert told(ledger, links, now=seen + 49 * HOUR) == {}
    assert told(ledger, links, now=seen, where=site("high")) == {}


def test_a_later_day_that_doubts_the_incident_has_the_last_word(ledger: LedgerResource, links: LinksResource) -> None:
    alarmed(ledger, judged(ledger, "hamburg", DAY))
    assert "critical_incident" in told(ledger, links, now=NOON)
    name = judged(ledger, "hamburg", DAY + ONE_DAY, n_members_agreeing=1, n_sensors_moved=0, in_maintenance=True)
    alarmed(ledger, name, DAY + ONE_DAY)
    assert told(ledger, links, now=NOON + ONE_DAY) == {}


def drifted(ledger: LedgerResource, days: dict[int, bool], *, version: int = 1) -> None:
    rows = [
        {"site": "hamburg", "day": DAY + n * ONE_DAY, "sensor_id": "P1-VIB", "machine_id": "P1", "ks": 0.5,
         "ks_p": 0.0 if is_drifted else 0.9,
         "psi": 0.5 + n / 10, "spread_ks": 0.0, "spread_ks_p": 1.0, "spread_psi": 0.0, "n": 144,
         "is_drifted": is_drifted, "model_version": version}
        for n, is_drifted in days.items()
    ]  # fmt: skip
    with ledger.begin() as connection:
        connection.execute(insert(drift_findings), rows)


def test_drift_is_told_after_three_days_of_five_against_one_version(ledger: LedgerResource, links: LinksResource) -> None:
    drifted(ledger, {0: False, 1: True, 2: True})
    assert told(ledger, links, now=NOON + 2 * ONE_DAY) == {}
    drifted(ledger, {3: True})
    assert "on 3 of the 5 days up to 2026-10-08" in told(ledger, links, now=NOON + 3 * ONE_DAY)["drift"]
    assert told(ledger, links, now=NOON + 9 * ONE_DAY) == {}, "that is history"
    drifted(ledger, {4: True}, version=2)
    assert told(ledger, links, now=NOON + 4 * ONE_DAY) == {}, "the new version has seen one day of it"


def test_an_event_links_the_report_that_is_there_and_the_run_that_found_it(ledger: LedgerResource, links: LinksResource) -> None:
    waiting_order(ledger, "hamburg")
    assert not {"Report", "Run"} & fields(told(ledger, links, now=NOON)["decision_wanted"])
    page = Path(links.reports, "maintenance_summary", "hamburg", "2026-10-05.html")
    page.parent.mkdir(parents=True)
    page.touch()
    with ledger.begin() as connection:
        values: dict[str, Any] = {"is_success": True, "n_rows": 1, "n_failed": 0, "results": {}}
        connection.execute(insert(validations).values(site="hamburg", day=DAY, suite="work_orders", run_id="r1", **values))
    body = told(ledger, links, now=NOON)["decision_wanted"]
    assert f"Report: {page}" in body
    assert "Run: http://dagster/runs/r1" in body
    served = LinksResource(reports=links.reports, reports_url="https://plant.example/reports/")
    assert (
        "Report: https://plant.example/reports/maintenance_summary/hamburg/2026-10-05.html"
        in told(ledger, served, now=NOON)["decision_wanted"]
    )


def fields(body: str) -> set[str]:
    return {line.partition(":")[0] for line in body.splitlines()}


def test_the_same_state_tells_the_same_events(ledger: LedgerResource, links: LinksResource) -> None:
    waiting_order(ledger, "hamburg")
    alarmed(ledger, judged(ledger, "hamburg", DAY))
    with ledger.begin() as connection:
        first, second = (events_of(connection, site=site(), now=NOON, links=links) for _ in range(2))
        connection.execute(update(work_orders).values(risk_cost=999.0))
        assert [e.key for e in events_of(connection, site=site(), now=NOON, links=links)] == [e.key for e in first]
    assert first == second
    assert len(first) == 2
