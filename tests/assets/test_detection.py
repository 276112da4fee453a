"""Detection and what follows it, as assets: which days they say they read, and what a re-run leaves in the ledger."""

from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import numpy as np
import pandas as pd
import pytest
from sqlalchemy import select

from assets.detection import anomaly_scores, incidents
from assets.partitions import SiteDay
from assets.prognosis import failure_predictions
from expectations.contracts import MEMBERS
from resources.lake import LakeResource
from resources.ledger.findings import incidents_on
from resources.ledger.ledger import LedgerResource
from resources.ledger.tables import validations
from resources.plant import PlantResource
from tests.conftest import CHECKOUT

DAY = date(2026, 10, 20)


@pytest.mark.parametrize(
    ("asset", "upstream", "days"),
    [
        (anomaly_scores, "machine_features", 2),
        (incidents, "anomaly_scores", 7),
        (failure_predictions, "machine_health", 4),  # today and the three days within which health may have fallen
        (failure_predictions, "machine_features", 10),
    ],
)
def test_a_partition_depends_on_the_days_that_it_reads(asset: dg.AssetsDefinition, upstream: str, days: int) -> None:
    [spec] = asset.specs
    [dep] = [d for d in spec.deps if d.asset_key == dg.AssetKey(upstream)]
    assert isinstance(dep.partition_mapping, dg.MultiPartitionMapping)
    of_day = dep.partition_mapping.downstream_mappings_by_upstream_dimension["day"].partition_mapping
    assert isinstance(of_day, dg.TimeWindowPartitionMapping)
    assert (of_day.start_offset, of_day.end_offset) == (1 - days, 0)


def scores(machine_id: str, *, day: date, anomalous: slice, version: int) -> pd.DataFrame:
    score = np.full(144, 0.1)
    score[anomalous] = 0.95
    sensor = f"{machine_id}-TEMP"
    return pd.DataFrame(
        {
            "machine_id": machine_id,
            "window_start": pd.date_range(pd.Timestamp(day, tz="UTC"), periods=144, freq="10min", unit="us"),
            "state": "scored",
            "score": score,
            **dict.fromkeys(MEMBERS, score),
            "n_members_agreeing": np.int32(4),
            "n_sensors_moved": np.int32(1),
            "top_sensor_id": sensor,
            "moved_sensors": f'{{"{sensor}": {{"share": 1.0, "z": 9.0, "feature": "mean"}}}}',
            "model_version": np.int32(version),
        }
    )


class Detection:
    def __init__(self, root: Path, ledger: LedgerResource) -> None:
        self.ledger = ledger
        self.lake = LakeResource(root=str(root))

    def run(self, day: date) -> dg.ExecuteInProcessResult:
        with dg.DagsterInstance.ephemeral() as instance:
            instance.add_dynamic_partitions("site", ["hamburg"])
            resources = {"lake": self.lake, "ledger": self.ledger, "plant": PlantResource(folder=str(CHECKOUT / "plant"))}
            return dg.materialize([incidents], partition_key=SiteDay(day, "hamburg").key, resources=resources, instance=instance)

    def stored(self, *tables: pd.DataFrame, day: date) -> None:
        self.lake.write("anomaly_scores", pd.concat(tables).sort_values(["machine_id", "window_start"]), site="hamburg", day=day)

    def validation(self) -> tuple[int, bool]:
        with self.ledger.begin() as connection:
            row = (
                connection.execute(select(validations).where(validations.c.day == DAY, validations.c.suite == "incidents")).mappings().one()
            )
        return row["n_rows"], row["is_success"]


@pytest.fixture
def detection(tmp_path: Path, ledger: LedgerResource) -> Detection:
    return Detection(tmp_path / "lake", ledger)


def test_a_rerun_that_finds_nothing_leaves_no_earlier_verdict_standing(detection: Detection) -> None:
    detection.stored(scores("HH-P101", day=DAY, anomalous=slice(60, 80), version=1), day=DAY)
    assert detection.run(DAY).success
    assert detection.validation() == (1, True)
    detection.stored(scores("HH-P101", day=DAY, anomalous=slice(0, 0), version=2), day=DAY)
    result = detection.run(DAY)
    assert detection.validation() == (0, True)
    assert result.get_asset_check_evaluations()[0].metadata["site_days"].value == 1
    with detection.ledger.begin() as connection:
        assert incidents_on(connection, site="hamburg", day=DAY).empty


def test_each_incident_names_the_detector_that_scored_its_last_window(detection: Detection) -> None:
    """A new champion scored the machines that come first today, another version the others, and the day before."""
    before = DAY - timedelta(days=1)
    detection.stored(
        scores("HH-P101", day=before, anomalous=slice(130, 144), version=1),
        scores("HH-P102", day=before, anomalous=slice(130, 144), version=1),
        day=before,
    )
    detection.stored(
        scores("HH-P101", day=DAY, anomalous=slice(0, 50), version=3),
        scores("HH-P102", day=DAY, anomalous=slice(0, 50), version=2),
        day=DAY,
    )
    assert detection.run(DAY).success
    with detection.ledger.begin() as connection:
        found = incidents_on(connection, site="hamburg", day=DAY)
    assert dict(zip(found["machine_id"], found["model_version"], strict=True)) == {"HH-P101": 3, "HH-P102": 2}
