"""Grades and features as assets: which days a grade rests on, and that the order in which days are processed does not matter."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest
import yaml

from assets.manipulation import machine_features, sensor_quality
from assets.partitions import SiteDay, range_tags
from ml.plant import Site
from ml.simulation.faults import Fault
from ml.simulator import simulate
from resources.lake import LakeResource
from resources.ledger.ledger import LedgerResource
from resources.plant import PlantResource
from resources.validation_pages import ValidationPagesResource
from tests.conftest import CHECKOUT

FIRST, DAYS = date(2026, 10, 1), 4
LAST = FIRST + timedelta(days=DAYS - 1)


def test_a_grade_depends_on_the_features_of_its_day_and_of_the_week_before() -> None:
    [spec] = sensor_quality.specs
    deps = {d.asset_key.to_user_string(): d.partition_mapping for d in spec.deps}
    assert set(deps) == {"sensor_readings", "machine_features"}
    mapping = deps["machine_features"]
    assert isinstance(mapping, dg.MultiPartitionMapping)
    of_day = mapping.downstream_mappings_by_upstream_dimension["day"].partition_mapping
    assert isinstance(of_day, dg.TimeWindowPartitionMapping)
    assert (of_day.start_offset, of_day.end_offset) == (-7, 0)


class Manipulation:
    """A plant of one pump; the temperature of its last day is in another unit from two in the afternoon on."""

    def __init__(self, root: Path, ledger: LedgerResource) -> None:
        plant = yaml.safe_load((CHECKOUT / "plant" / "hamburg.yaml").read_text("utf-8"))
        plant["machines"] = [m for m in plant["machines"] if m["machine_id"] == "HH-P101"]
        plant.pop("travel")  # to areas where no machine is left
        (root / "plant").mkdir(parents=True)
        (root / "plant" / "hamburg.yaml").write_text(yaml.safe_dump(plant, allow_unicode=True), "utf-8")
        self.lake = LakeResource(root=str(root / "lake"))
        self.resources = {
            "lake": self.lake,
            "ledger": ledger,
            "plant": PlantResource(folder=str(root / "plant")),
            "validation_pages": ValidationPagesResource(root=str(root / "validation")),
        }
        onset = datetime(LAST.year, LAST.month, LAST.day, 14, tzinfo=UTC)
        fault = Fault("hamburg", "HH-P101", "wrong_unit", onset, sensor_id="HH-P101-TEMP", shown_as="°F")
        for day in simulate([Site.model_validate(plant)], start=FIRST, days=DAYS, seed=5, faults=[fault]):
            self.lake.write("sensor_readings", day.readings.assign(drop_seq=1), site="hamburg", day=day.day)

    def run(self, assets: Sequence[dg.AssetsDefinition], *days: date) -> None:
        """One run over a range of days."""
        with dg.DagsterInstance.ephemeral() as instance:
            instance.add_dynamic_partitions("site", ["hamburg"])
            tags = range_tags(SiteDay(day, "hamburg") for day in days)
            assert dg.materialize(assets, tags=tags, resources=self.resources, instance=instance).success

    def grades(self, day: date) -> pd.DataFrame:
        stored = self.lake.read("sensor_quality", site="hamburg", day=day)
        assert stored is not None
        return stored.set_index("sensor_id")


@pytest.fixture
def manipulation(tmp_path: Path, ledger: LedgerResource) -> Manipulation:
    return Manipulation(tmp_path / "one", ledger)


def test_grades_name_the_fault_and_are_the_same_in_whichever_order_days_are_processed(
    manipulation: Manipulation, tmp_path: Path, ledger: LedgerResource
) -> None:
    days = [FIRST + timedelta(days=n) for n in range(DAYS)]
    manipulation.run([machine_features, sensor_quality], *days)
    told = dict(manipulation.grades(LAST).loc["HH-P101-TEMP"])
    assert (told["grade"], told["faults"]) == ("F", "wrong_unit")
    assert told["findings"].startswith("wrong unit since 2026-10-04 14:00 UTC: looks like °F instead of °C (")
    assert [set(manipulation.grades(day)["faults"]) for day in days[:-1]] == [{""}] * 3

    other = Manipulation(tmp_path / "other", ledger)
    for day in days[::-1]:
        other.run([machine_features], day)
    for day in days[::-1]:
        other.run([sensor_quality], day)
    for day in days:
        path = (m.lake.path("sensor_quality", site="hamburg", day=day) for m in (manipulation, other))
        first, second = (p.read_bytes() for p in path)
        assert first == second


def test_a_day_without_the_week_before_is_graded_all_the_same(manipulation: Manipulation) -> None:
    manipulation.run([sensor_quality], LAST)
    alone = manipulation.grades(LAST)
    assert set(alone["faults"]) == {""}
    assert alone["usual_level"].isna().all()
