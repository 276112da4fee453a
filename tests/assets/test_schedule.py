"""The schedule as it is stored: a crew for the work that takes one, and a calendar for everybody in the plant file."""

from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import icalendar
import pandas as pd
import yaml
from sqlalchemy import select

from assets.advisory import maintenance_schedule
from assets.partitions import SiteDay
from resources.lake import LakeResource
from resources.ledger.deeds import Decision, Start
from resources.ledger.ledger import LedgerResource
from resources.ledger.tables import assignments, plans, work_orders
from resources.ledger.work import decide, start
from resources.plant import PlantResource
from resources.reports import ReportsResource
from resources.validation_pages import ValidationPagesResource
from tests.conftest import CHECKOUT
from tests.ledger_states import waiting_order

DAY = date(2026, 10, 5)  # a Monday


def test_a_crew_is_planned_together_and_each_of_it_has_a_calendar(tmp_path: Path, ledger: LedgerResource) -> None:
    folder = tmp_path / "plant"
    folder.mkdir()
    file = yaml.safe_load((CHECKOUT / "plant" / "hamburg.yaml").read_text("utf-8"))
    (folder / "hamburg.yaml").write_text(yaml.safe_dump(file, allow_unicode=True), "utf-8")
    order = waiting_order(ledger, "hamburg", machine="HH-P101", on=DAY)
    with ledger.begin() as connection:
        connection.execute(work_orders.update().values(crew=[["mechanical"], ["electrical"]]))
        decide(connection, Decision(order, "approve", "ada", "seen it", pd.Timestamp("2026-10-05T12:00Z").to_pydatetime()))
    reports = ReportsResource(root=str(tmp_path / "reports"))
    resources = {
        "lake": LakeResource(root=str(tmp_path / "lake")), "ledger": ledger, "plant": PlantResource(folder=str(folder)), "reports": reports,
        "validation_pages": ValidationPagesResource(root=str(tmp_path / "validation")),
    }  # fmt: skip
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("site", ["hamburg"])
        key = SiteDay(DAY, "hamburg").key
        assert dg.materialize([maintenance_schedule], partition_key=key, resources=resources, instance=instance).success
    with ledger.begin() as connection:
        rows = connection.execute(select(assignments).order_by(assignments.c.technician_id)).mappings().all()
        assert connection.execute(select(plans.c.n_orders, plans.c.n_planned, plans.c.gap)).one() == (1, 1, 0.0)
    skills = {t["technician_id"]: set(t["skills"]) for t in file["technicians"]}
    one, other = (skills[row["technician_id"]] for row in rows)
    assert ("mechanical" in one and "electrical" in other) or ("electrical" in one and "mechanical" in other)
    assert {row["start_at"] for row in rows} == {rows[0]["start_at"]}
    assert rows[0]["start_at"] >= pd.Timestamp("2026-10-05T12:00Z")
    assert rows[0]["end_at"] - rows[0]["start_at"] == timedelta(hours=2)
    calendars = {
        p.stem: icalendar.Calendar.from_ical(p.read_bytes()).walk("VEVENT") for p in (tmp_path / "reports/calendars/hamburg").iterdir()
    }
    assert set(calendars) == set(skills)
    assert {who for who, events in calendars.items() if events} == {row["technician_id"] for row in rows}
    assert [calendars[row["technician_id"]][0]["DTSTART"].dt for row in rows] == [row["start_at"] for row in rows]


def test_work_under_way_keeps_its_place_and_its_technician(tmp_path: Path, ledger: LedgerResource) -> None:
    """The site's only mechanic begins early; what is approved next finds room after that work, not over it."""
    folder = tmp_path / "plant"
    folder.mkdir()
    file = yaml.safe_load((CHECKOUT / "plant" / "hamburg.yaml").read_text("utf-8"))
    mechanic = next(t for t in file["technicians"] if "mechanical" in t["skills"])
    (folder / "hamburg.yaml").write_text(yaml.safe_dump({**file, "technicians": [mechanic]}, allow_unicode=True), "utf-8")
    noon = pd.Timestamp("2026-10-05T12:00Z").to_pydatetime()
    resources = {
        "lake": LakeResource(root=str(tmp_path / "lake")), "ledger": ledger, "plant": PlantResource(folder=str(folder)),
        "reports": ReportsResource(root=str(tmp_path / "reports")),
        "validation_pages": ValidationPagesResource(root=str(tmp_path / "validation")),
    }  # fmt: skip

    def approved(machine: str) -> str:
        order = waiting_order(ledger, "hamburg", machine=machine, on=DAY)
        with ledger.begin() as connection:
            decide(connection, Decision(order, "approve", "ada", "seen it", noon))
        return order

    def places(day: date) -> dict[str, tuple[object, ...]]:
        with dg.DagsterInstance.ephemeral() as instance:
            instance.add_dynamic_partitions("site", ["hamburg"])
            assert dg.materialize(
                [maintenance_schedule], partition_key=SiteDay(day, "hamburg").key, resources=resources, instance=instance
            ).success
        with ledger.begin() as connection:
            rows = connection.execute(select(assignments).where(assignments.c.day == day)).mappings().all()
        return {row["order_id"]: (row["technician_id"], row["start_at"], row["end_at"]) for row in rows}

    first = approved("HH-P101")
    place = places(DAY)[first]
    with ledger.begin() as connection:
        start(connection, Start(first, mechanic["technician_id"], noon + timedelta(minutes=5)))
    second = approved("HH-P102")
    for day in (DAY, DAY + timedelta(days=1)):
        found = places(day)
        assert found[first] == place
        assert found[second][1] >= place[2] or found[second][2] <= place[1]
