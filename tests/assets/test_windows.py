"""What people said of an order reaches the plan, and what nobody said in time closes it."""

from datetime import UTC, datetime, timedelta

import pandas as pd
from sqlalchemy import select

from assets.advisory import _follow_up, _for_planning
from ml.planning import plan
from ml.plant import Site
from resources.ledger.deeds import Decision
from resources.ledger.ledger import LedgerResource
from resources.ledger.plans import orders_to_plan
from resources.ledger.tables import work_order_events, work_orders
from resources.ledger.work import decide
from tests.ledger_states import waiting_order

NOON = datetime(2026, 10, 5, 12, tzinfo=UTC)  # a Monday


def site(**approval: float) -> Site:
    machines = [
        {"machine_id": m, "machine_class": "pump", "sensors": [{"sensor_id": f"{m}-VIB", "type": "vibration", "unit": "mm/s"}]}
        for m in ("P1", "P2")
    ]
    technicians = [
        {"technician_id": name, "name": name, "skills": [skill], "shifts": [{"start": "06:00", "end": "14:00"}]}
        for name, skill in (("ada", "mechanical"), ("bo", "electrical"))
    ]
    plant = {"site": "s", "name": "Works", "first_day": "2026-01-01", "machines": machines, "technicians": technicians}
    return Site.model_validate({**plant, "policy": {"approval": approval}})


def test_work_is_planned_within_its_window_by_who_has_the_skills_that_a_person_named(ledger: LedgerResource) -> None:
    changed, other = waiting_order(ledger, "s"), waiting_order(ledger, "s", machine="P2")
    window = {"not_before": NOON + timedelta(days=2), "not_after": NOON + timedelta(days=4)}
    with ledger.begin() as connection:
        decide(connection, Decision(changed, "modify", "ada", "stop on Wednesday", NOON, skills=["electrical"], **window))
        for order in (changed, other):
            decide(connection, Decision(order, "approve", "ada", "seen it", NOON))
        orders = orders_to_plan(connection, site="s", before=NOON + timedelta(days=1))
    ready = _for_planning(orders).set_index("order_id")
    assert ready.loc[changed, "ready_at"] == pd.Timestamp(window["not_before"])
    assert ready.loc[other, "ready_at"] == pd.Timestamp(NOON)
    assert set(ready["parts_ordered_at"]) == {pd.Timestamp(NOON)}, "parts are ordered when the work is approved"
    planned = plan(_for_planning(orders), site=site(), start=pd.Timestamp(NOON), seed=1)
    place = planned.assignments.set_index("order_id")
    assert place.loc[changed, "start_at"] >= pd.Timestamp(window["not_before"])
    assert place.loc[changed, "end_at"] <= pd.Timestamp(window["not_after"])
    assert place.loc[changed, "technician_id"] == "bo"
    assert place.loc[other, "start_at"] < pd.Timestamp(window["not_before"])


def test_an_unanswered_order_is_reminded_of_escalated_and_closed_and_a_day_again_changes_nothing(ledger: LedgerResource) -> None:
    order = waiting_order(ledger, "s")
    plant = site(expire_after_h=240)
    found = []
    for hours in (23, 24, 24, 72, 239, 240, 240):
        with ledger.begin() as connection:
            found.append(_follow_up(connection, site=plant, as_of=NOON + timedelta(hours=hours)))
    assert found == [(0, 0), (1, 0), (0, 0), (1, 0), (0, 0), (0, 1), (0, 0)]
    with ledger.begin() as connection:
        assert connection.scalar(select(work_orders.c.state)) == "cancelled"
        e = work_order_events
        said = connection.scalars(select(e.c.why).where(e.c.order_id == order).order_by(e.c.event_id.desc()).limit(1)).one()
    assert said == "expired: nobody decided on it for 240 h"


def test_without_a_word_in_the_plant_file_nothing_expires(ledger: LedgerResource) -> None:
    waiting_order(ledger, "s")
    with ledger.begin() as connection:
        assert _follow_up(connection, site=site(), as_of=NOON + timedelta(days=400)) == (1, 0)
