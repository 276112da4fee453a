"""Validation as part of a run: what is kept, shown and linked, and that nonsense is neither stored nor built upon."""

from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pytest
import yaml
from sqlalchemy import insert, select, update

import assets.health
import assets.manipulation
from assets.advisory import maintenance_schedule, work_orders
from assets.health import machine_health
from assets.manipulation import machine_features, sensor_quality
from assets.partitions import SiteDay, range_tags
from expectations import pages
from resources.lake import LakeResource
from resources.ledger import tables as t
from resources.ledger.checked import orders_to_check, plan_to_check
from resources.ledger.deeds import Decision
from resources.ledger.ledger import LedgerResource
from resources.ledger.plans import replace_plan
from resources.ledger.work import decide
from resources.plant import PlantResource
from resources.reports import ReportsResource
from resources.validation_pages import ValidationPagesResource
from tests.conftest import CHECKOUT
from tests.html_page import Page
from tests.ledger_states import waiting_order

FIRST, DAYS = date(2026, 10, 5), 3
LAST = FIRST + timedelta(days=DAYS - 1)
NOON = pd.Timestamp(FIRST, tz="UTC") + pd.Timedelta(hours=12)


class Plant:
    """One pump of the demonstration plant with a reading of each sensor every ten minutes."""

    def __init__(self, root: Path, ledger: LedgerResource) -> None:
        self.ledger, self.lake = ledger, LakeResource(root=str(root / "lake"))
        self.pages = ValidationPagesResource(root=str(root / "validation"))
        self.reports = ReportsResource(root=str(root / "reports"))
        file = yaml.safe_load((CHECKOUT / "plant" / "hamburg.yaml").read_text("utf-8"))
        file["machines"] = [m for m in file["machines"] if m["machine_id"] == "HH-P101"]
        file.pop("travel")  # to areas where no machine is left
        (root / "plant").mkdir()
        (root / "plant" / "hamburg.yaml").write_text(yaml.safe_dump(file, allow_unicode=True), "utf-8")
        self.plant = PlantResource(folder=str(root / "plant"))
        sensors = sorted(s.sensor_id for s in self.plant.site("hamburg").sensors)
        for n in range(DAYS):
            times = pd.date_range(pd.Timestamp(FIRST, tz="UTC") + pd.Timedelta(days=n), periods=144, freq="10min", unit="us")
            readings = pd.DataFrame({"sensor_id": np.repeat(sensors, 144), "timestamp": np.tile(times, len(sensors)), "value": 20.0})
            self.lake.write("sensor_readings", readings.assign(drop_seq=1), site="hamburg", day=FIRST + timedelta(days=n))

    def run(self, assets: Sequence[dg.AssetsDefinition], *days: date) -> dg.ExecuteInProcessResult:
        resources = {
            "lake": self.lake, "ledger": self.ledger, "plant": self.plant, "validation_pages": self.pages, "reports": self.reports
        }  # fmt: skip
        with dg.DagsterInstance.ephemeral() as instance:
            instance.add_dynamic_partitions("site", ["hamburg"])
            tags = range_tags(SiteDay(day, "hamburg") for day in days)
            return dg.materialize(assets, tags=tags, resources=resources, instance=instance, raise_on_error=False)

    def kept(self, suite: str) -> dict[date, dict[str, Any]]:
        with self.ledger.begin() as connection:
            rows = connection.execute(select(t.validations).where(t.validations.c.suite == suite)).mappings().all()
        return {row["day"]: dict(row) for row in rows}

    def page(self, suite: str, day: date) -> str:
        return self.pages.day(site="hamburg", suite=suite, day=day).read_text("utf-8")


@pytest.fixture
def plant(tmp_path: Path, ledger: LedgerResource) -> Plant:
    return Plant(tmp_path, ledger)


def check_of(result: dg.ExecuteInProcessResult, name: str) -> dg.AssetCheckEvaluation:
    [evaluation] = [e for e in result.get_asset_check_evaluations() if e.check_name == name]
    return evaluation


def test_a_range_of_days_is_shown_day_by_day_with_one_history_and_one_index(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    rendered = []
    for name in ("day_page", "history_page", "index_page"):
        render = getattr(pages, name)
        monkeypatch.setattr(pages, name, lambda *a, name=name, render=render, **k: rendered.append(name) or render(*a, **k))
    days = [FIRST + timedelta(days=n) for n in range(DAYS)]
    result = plant.run([machine_features], *days)
    assert result.success
    assert sorted(rendered) == ["day_page"] * DAYS + ["history_page", "index_page"]
    check = check_of(result, "features_hold_their_contract")
    assert check.passed
    assert check.metadata["site_days"].value == DAYS
    assert check.metadata["history_of_hamburg"].value == str(plant.pages.history(site="hamburg", suite="machine_features"))
    linked = check.metadata["pages"].value
    assert linked == {f"{day}|hamburg": str(plant.pages.day(site="hamburg", suite="machine_features", day=day)) for day in days}
    assert result.run_id in plant.page("machine_features", LAST)
    assert plant.kept("machine_features")[LAST]["run_id"] == result.run_id


def test_every_link_leads_to_a_page_that_is_there(plant: Plant) -> None:
    assert plant.run([machine_features, sensor_quality], FIRST, LAST).success
    root = Path(plant.pages.root)
    found = sorted(root.rglob("*.html"))
    assert len(found) == 1 + 2 * (1 + DAYS), "the index; of each suite its history and days"
    for path in found:
        links = [link.split("#")[0] for link in Page(path.read_text("utf-8")).links]
        inner = [link for link in links if link and "//" not in link]
        assert inner
        assert [link for link in inner if not (path.parent / link).resolve().is_file()] == []
    assert list(root.rglob("*.tmp")) == []


def test_a_day_that_is_processed_again_has_a_newer_page_and_the_others_stay(plant: Plant) -> None:
    plant.run([machine_features], FIRST, LAST)
    before, pages_before = plant.kept("machine_features"), [plant.page("machine_features", day) for day in (FIRST, LAST)]
    again = plant.run([machine_features], FIRST)
    after = plant.kept("machine_features")
    assert after[FIRST]["validated_at"] > before[FIRST]["validated_at"]
    assert after[LAST] == before[LAST]
    assert again.run_id in plant.page("machine_features", FIRST)
    assert pages_before[1] == plant.page("machine_features", LAST)
    assert again.run_id[:16] in plant.pages.history(site="hamburg", suite="machine_features").read_text("utf-8")


def test_features_that_break_their_contract_are_not_stored_and_nothing_is_built_on_them(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert plant.run([machine_features], FIRST, LAST).success
    file = plant.lake.path("machine_features", site="hamburg", day=LAST)
    stored, build = file.read_bytes(), assets.manipulation.build_features

    def broken(readings: pd.DataFrame, *, day: date, **rest: Any) -> pd.DataFrame:
        made = build(readings, day=day, **rest)
        return pd.concat([made, made.iloc[[7]].assign(mean=np.nan)]) if day == LAST else made

    monkeypatch.setattr(assets.manipulation, "build_features", broken)
    result = plant.run([machine_features, sensor_quality], FIRST, LAST)
    assert not result.success
    check = check_of(result, "features_hold_their_contract")
    assert not check.passed
    assert check.metadata["failed"].value == [f"{LAST} hamburg: no_value_is_missing", f"{LAST} hamburg: rows_are_unique"]
    assert list(check.metadata["pages"].value) == [f"{LAST}|hamburg"], "of many days those that failed"
    assert {day: row["is_success"] for day, row in plant.kept("machine_features").items()} == {
        FIRST + timedelta(days=n): n < DAYS - 1 for n in range(DAYS)
    }
    assert file.read_bytes() == stored
    assert plant.kept("sensor_quality") == {}, "the chain has stopped"
    assert "mean 1 missing" in plant.page("machine_features", LAST)
    assert "hamburg/machine_features/2026-10-07.html" in plant.pages.index.read_text("utf-8")


def test_health_that_breaks_its_contract_leaves_the_day_as_it_was_and_is_kept_as_a_failure(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert plant.run([machine_features, machine_health], FIRST).success
    compute = assets.health.health_of_machines

    def stored() -> list[tuple[Any, ...]]:
        with plant.ledger.begin() as connection:
            return [tuple(row) for row in connection.execute(select(t.machine_health))]

    before = stored()
    assert [row[:3] for row in before] == [("hamburg", FIRST, "HH-P101")]
    for nonsense, rule in (({"health": np.nan}, "no_value_is_missing"), ({"health": 117.0}, "health_is_at_least_0_and_at_most_100")):
        monkeypatch.setattr(assets.health, "health_of_machines", lambda *a, bad=nonsense, **k: compute(*a, **k).assign(**bad))
        result = plant.run([machine_health], FIRST)
        assert not result.success
        assert check_of(result, "health_holds_its_contract").metadata["failed"].value == [f"{FIRST} hamburg: {rule}"]
        assert not plant.kept("machine_health")[FIRST]["is_success"]
        assert stored() == before
    monkeypatch.setattr(assets.health, "health_of_machines", lambda *a, **k: compute(*a, **k).iloc[:0])
    failed = check_of(plant.run([machine_health], FIRST), "health_holds_its_contract").metadata["failed"].value
    assert failed == [f"{FIRST} hamburg: the_table_has_its_rows"], "a machine that reported must have its health"


def test_an_order_that_makes_no_sense_stops_the_chain_before_it_is_planned(plant: Plant) -> None:
    order = waiting_order(plant.ledger, "hamburg", machine="HH-P101", on=FIRST)
    assert plant.run([work_orders, maintenance_schedule], FIRST).success
    assert set(plant.kept("assignments")) == {FIRST}
    with plant.ledger.begin() as connection:
        connection.execute(update(t.work_orders).values(due_at=NOON - pd.Timedelta(days=3), state="approved"))
    result = plant.run([work_orders, maintenance_schedule], LAST)
    assert not result.success
    failed = check_of(result, "orders_can_be_worked_with").metadata["failed"].value
    assert failed == [f"{LAST} hamburg: {rule}" for rule in ("orders_are_due_after_they_were_opened", "states_are_those_of_the_audit_log")]
    assert order in plant.page("work_orders", LAST)
    assert set(plant.kept("assignments")) == {FIRST}


def test_a_plan_that_double_books_is_found_as_it_stands_in_the_ledger(ledger: LedgerResource) -> None:
    """P1 by a crew of two, one of whom goes on to P2 at once; another works on P1, too, meanwhile.

    That one technician is in two places the ledger itself refuses, so that no test can store it.
    """
    orders = {m: waiting_order(ledger, "hamburg", machine=m, on=FIRST) for m in ("P1", "P2")}
    with ledger.begin() as connection:
        row = dict(connection.execute(select(t.work_orders).where(t.work_orders.c.order_id == orders["P1"])).mappings().one())
        connection.execute(insert(t.work_orders).values(**row | {"order_id": "other", "failure_mode": "OHE"}))
        connection.execute(insert(t.work_order_events).values(order_id="other", to_state=row["state"], at=NOON, who="p", why="o"))
        for order in (*orders.values(), "other"):
            decide(connection, Decision(order, "approve", "ada", "seen it", NOON.to_pydatetime()))
        slots = [(orders["P1"], "t1", 0, 2), (orders["P1"], "t2", 0, 2), (orders["P2"], "t2", 2, 4), ("other", "t3", 1, 2)]
        rows = [
            {"order_id": o, "technician_id": who, "start_at": NOON + pd.Timedelta(hours=a), "end_at": NOON + pd.Timedelta(hours=b)}
            for o, who, a, b in slots
        ]
        assigned = pd.DataFrame(rows).assign(is_overtime=False, is_late=False)
        plan = {"start_at": NOON.to_pydatetime(), "status": "optimal", "objective": 0.0, "gap": 0.0}
        replace_plan(connection, plan, site="hamburg", day=FIRST, assigned=assigned, unplanned=pd.DataFrame())
        found, left_over = plan_to_check(connection, site="hamburg", day=FIRST)
    counted = found.set_index(["order_id", "technician_id"])[["overlaps_of_technician", "overlaps_of_machine"]].T.to_dict("list")
    assert counted == {(orders["P1"], "t1"): [0, 1], (orders["P1"], "t2"): [0, 1], (orders["P2"], "t2"): [0, 0], ("other", "t3"): [0, 2]}
    assert set(found["state"]) == {"scheduled"}
    assert left_over.empty


def test_orders_are_checked_while_they_are_open_and_on_the_days_that_touched_them(ledger: LedgerResource) -> None:
    order = waiting_order(ledger, "hamburg", on=FIRST)
    waiting_order(ledger, "houston", machine="P9", on=FIRST)

    def checked(day: date) -> list[tuple[Any, ...]]:
        with ledger.begin() as connection:
            found = orders_to_check(connection, site="hamburg", day=day)
        return [tuple(row) for row in found[["order_id", "opened_at", "state", "logged_state"]].itertuples(index=False)]

    midnight = pd.Timestamp(FIRST, tz="UTC")
    assert checked(LAST) == [(order, midnight, "awaiting_decision", "awaiting_decision")]
    with ledger.begin() as connection:
        decide(connection, Decision(order, "reject", "ada", "seen it", NOON.to_pydatetime()))
    assert checked(LAST) == []
    assert checked(FIRST) == [(order, midnight, "rejected", "rejected")]
