"""Settings that the chain could not honour are refused where they are written."""

from datetime import date

import pytest
from pydantic import ValidationError

from ml.plant import (
    DetectionPolicy,
    Machine,
    PlanningPolicy,
    Policy,
    PrognosisPolicy,
    RepairPlan,
    Sensor,
    Site,
    StopWindow,
    TrainingPolicy,
)
from tests.conftest import CHECKOUT


@pytest.mark.parametrize(("field", "value"), [("horizon_days", 29), ("horizon_days", 91), ("history_days", 11), ("history_days", 1)])
def test_a_horizon_or_history_that_prognosis_cannot_honour_is_refused(field: str, value: int) -> None:
    with pytest.raises(ValidationError, match=field):
        PrognosisPolicy(**{field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "field",
    sorted({*DetectionPolicy.model_fields, *TrainingPolicy.model_fields, *PrognosisPolicy.model_fields, *PlanningPolicy.model_fields}),
)
def test_every_setting_of_these_policies_is_read_somewhere(field: str) -> None:
    sources = [p for room in ("ml", "assets") for p in (CHECKOUT / room).rglob("*.py") if p.name != "plant.py"]
    assert any(f".{field}" in p.read_text() for p in sources)


def test_a_crew_is_short_for_equals_or_named_role_by_role():
    base = {"duration_h": 2, "actions": ["Do"]}
    pair = RepairPlan.model_validate({**base, "crew": [{"skills": ["mechanical"]}, {"skills": ["electrical"]}]})
    assert [role.skills for role in pair.crew] == [("mechanical",), ("electrical",)]
    equals = RepairPlan.model_validate({**base, "skills": ["mechanical"], "technicians": 2})
    assert [role.skills for role in equals.crew] == [("mechanical",), ("mechanical",)]
    with pytest.raises(ValidationError, match="technicians must be a whole number from 1 on"):
        RepairPlan.model_validate({**base, "skills": ["mechanical"], "technicians": 0})
    with pytest.raises(ValidationError, match=r"skills\n  Extra inputs are not permitted"):
        RepairPlan.model_validate({**base, "skills": ["mechanical"], "crew": [{"skills": ["electrical"]}]})
    with pytest.raises(ValidationError, match=r"crew\n  Field required"):
        RepairPlan.model_validate(base)


def test_travel_is_between_areas_that_there_are_and_the_same_both_ways():
    def site(**more):
        sensor = Sensor(sensor_id="s", type="flow", unit="m3/h")
        areas = ("mill", "yard", "dock")
        machines = tuple(
            Machine(machine_id=a, machine_class="pump", area=a, sensors=(sensor.model_copy(update={"sensor_id": a}),)) for a in areas
        )
        policy = Policy(planning=PlanningPolicy(travel_minutes=5))
        return Site(site="a", name="A", first_day=date(2026, 1, 1), machines=machines, policy=policy, **more)

    near = site(travel=({"between": ("mill", "yard"), "minutes": 15},))
    assert [near.travel_minutes(*areas) for areas in (("mill", "yard"), ("yard", "mill"), ("mill", "dock"), ("mill", "mill"))] == [
        15,
        15,
        5,
        0,
    ]
    with pytest.raises(ValidationError, match="no machine stands in moon; areas: dock, mill, yard"):
        site(travel=({"between": ("mill", "moon"), "minutes": 15},))
    with pytest.raises(ValidationError, match="yard and mill are named twice"):
        site(travel=({"between": ("mill", "yard"), "minutes": 1}, {"between": ("yard", "mill"), "minutes": 2}))


def test_the_days_of_a_stop_window_are_in_order():
    with pytest.raises(ValidationError, match=r"first_day \(2026-11-03\) must not be after last_day \(2026-11-02\)"):
        StopWindow(start="06:00", end="09:00", first_day=date(2026, 11, 3), last_day=date(2026, 11, 2))
