"""Detection and what follows it, as assets: which days they say they read, and what a re-run leaves in the ledger."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pytest
from sqlalchemy import insert, select

from assets.advisory import work_orders
from assets.detection import anomaly_scores, incidents
from assets.partitions import SiteDay
from assets.prognosis import failure_predictions
from expectations.contracts import CONTRACTS, MEMBERS
from ml.plant import AlarmPolicy
from resources.lake import LakeResource
from resources.ledger.findings import Label, incidents_on, label_incidents
from resources.ledger.ledger import LedgerResource
from resources.ledger.shelving import Target, shelve
from resources.ledger.tables import alarm_kpis, incident_alarms, incident_assessments, validations
from resources.ledger.tables import incidents as incidents_table
from resources.ledger.work import list_orders
from resources.plant import PlantResource
from resources.validation_pages import ValidationPagesResource
from tests.conftest import CHECKOUT
from tests.ledger_states import judged

DAY = date(2026, 10, 20)


@pytest.mark.parametrize(
    ("asset", "upstream", "days"),
    [
        (anomaly_scores, "machine_features", 8),  # as many as the coarsest windows make it read
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


def beside(scored: pd.DataFrame, *, table: str) -> pd.DataFrame:
    """Features or grades of the one sensor of each machine: running, complete, faultless; figures that nothing here reads are 1."""
    one = scored if table == "machine_features" else scored.drop_duplicates("machine_id")
    facts: dict[str, object] = {"sensor_id": one["top_sensor_id"], "machine_id": one["machine_id"], "window_start": one["window_start"]}
    facts |= {"running_share": 1.0, "coverage": 1.0, "grade": "A", "faults": "", "findings": ""}
    made = {column.name: facts.get(column.name, 1) for column in CONTRACTS[table].columns}
    return pd.DataFrame(made, index=one.index)


class Detection:
    def __init__(self, root: Path, ledger: LedgerResource, *, plant: Path = CHECKOUT / "plant") -> None:
        self.ledger, self.root, self.plant = ledger, root, plant
        self.lake = LakeResource(root=str(root / "lake"))

    def run(self, day: date, asset: dg.AssetsDefinition = incidents) -> dg.ExecuteInProcessResult:
        with dg.DagsterInstance.ephemeral() as instance:
            instance.add_dynamic_partitions("site", ["hamburg"])
            resources = {
                "lake": self.lake,
                "ledger": self.ledger,
                "plant": PlantResource(folder=str(self.plant)),
                "validation_pages": ValidationPagesResource(root=str(self.root / "validation")),
            }
            return dg.materialize([asset], partition_key=SiteDay(day, "hamburg").key, resources=resources, instance=instance)

    def stored(self, *tables: pd.DataFrame, day: date) -> None:
        scored = pd.concat(tables, ignore_index=True).sort_values(["machine_id", "window_start"])
        self.lake.write("anomaly_scores", scored, site="hamburg", day=day)
        for table in ("machine_features", "sensor_quality"):
            self.lake.write(table, beside(scored, table=table), site="hamburg", day=day)

    def shelve(self, machine_id: str, *, start: float, until: float) -> int:
        """Hours of DAY."""
        times = {name: pd.Timestamp(DAY, tz="UTC") + pd.Timedelta(hours=h) for name, h in (("start_at", start), ("until", until))}
        with self.ledger.begin() as connection:
            return shelve(connection, Target("hamburg", machine_id), **times, who="Kim", why="overhaul", policy=AlarmPolicy())

    def alarms(self, day: date) -> list[tuple[str, str, str | None]]:
        """(incident, alarm, when it was raised) as known at the end of the day."""
        a = incident_alarms.c
        query = select(a.incident_id, a.alarm_id, a.raised_at).where(a.day == day).order_by(a.incident_id)
        with self.ledger.begin() as connection:
            return [(i, alarm, raised and f"{raised:%d %H:%M}") for i, alarm, raised in connection.execute(query)]

    def kpis(self, day: date) -> dict[str, Any]:
        with self.ledger.begin() as connection:
            return dict(connection.execute(select(alarm_kpis).where(alarm_kpis.c.day == day)).mappings().one())

    def validation(self) -> tuple[int, bool]:
        with self.ledger.begin() as connection:
            row = (
                connection.execute(select(validations).where(validations.c.day == DAY, validations.c.suite == "incidents")).mappings().one()
            )
        return row["n_rows"], row["is_success"]


@pytest.fixture
def detection(tmp_path: Path, ledger: LedgerResource) -> Detection:
    return Detection(tmp_path, ledger)


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


def test_what_is_not_stored_is_not_known_and_costs_the_confidence(detection: Detection) -> None:
    """Neither grades nor features of the day: the verdict says so, and the check is a warning."""
    detection.stored(scores("HH-P101", day=DAY, anomalous=slice(60, 80), version=1), day=DAY)
    for table in ("machine_features", "sensor_quality"):
        detection.lake.path(table, site="hamburg", day=DAY).unlink()
    result = detection.run(DAY)
    assert result.success
    [check] = result.get_asset_check_evaluations()
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    with detection.ledger.begin() as connection:
        row = connection.execute(select(incident_assessments)).mappings().one()
    assert row["failure_mode"] == "AIR", "so that grade and faults of the sensor do not speak against it"
    unknown = {"readings_are_complete", "machine_was_running", "machine_had_settled"}
    assert set(row["failed"]) == unknown
    assert all(reason.endswith(" is not known") for reason in row["reasons"])
    assert row["evidence"]["worst_grade"] is None
    assert (row["verdict"], row["confidence"]) == ("false_positive_suspected", 0.2)
    assert [rule["name"] for rule in row["rules"] if rule["holds"] is False] == row["failed"]


def labelled_false_alarms(ledger: LedgerResource, n: int) -> None:
    """Incidents of another machine, judged a week before with a confidence of 0.9, that people called false alarms."""
    judged(ledger, "hamburg", DAY - timedelta(days=7))
    a = incident_assessments
    with ledger.begin() as connection:
        known = dict(connection.execute(select(a)).mappings().one())
        assert known["confidence_by_rules"] == 0.9
        for i in range(n):
            name, onset = f"x{i}", datetime(2026, 10, 5, 7, i, tzinfo=UTC)
            connection.execute(insert(incidents_table).values(incident_id=name, site="hamburg", machine_id="P1", onset_at=onset))
            connection.execute(insert(a).values({**known, "incident_id": name}))
            label_incidents(connection, [name], Label("false_alarm", "person", "ada", "looked at it", onset))


@pytest.mark.parametrize(("n_labels", "is_corrected"), [(19, False), (20, True)])
def test_with_twenty_labels_what_people_found_corrects_the_confidence(detection: Detection, n_labels: int, is_corrected: bool) -> None:
    labelled_false_alarms(detection.ledger, n_labels)
    detection.stored(scores("HH-P101", day=DAY, anomalous=slice(60, 80), version=1), day=DAY)
    result = detection.run(DAY)
    with detection.ledger.begin() as connection:
        row = incidents_on(connection, site="hamburg", day=DAY).set_index("machine_id").loc["HH-P101"]
    [made] = result.asset_materializations_for_node("incidents")
    by_rules = row["confidence_before"] + sum(rule["adjustment"] for rule in row["rules"])
    assert row["confidence_by_rules"] == pytest.approx(by_rules)
    if is_corrected:
        assert row["confidence"] < by_rules - 0.3, "twenty false alarms at 0.9"
        assert made.metadata["confidence"].value == "calibrated by 20 labelled incidents"
    else:
        assert row["confidence"] == row["confidence_by_rules"]
        assert made.metadata["confidence"].value == "not calibrated: 19 of the 20 labelled incidents needed"


# --- alarms ---

NEXT = DAY + timedelta(days=1)


def two_days(detection: Detection) -> None:
    """HH-P101 anomalous from 10:00 of the first day to 10:00 of the next."""
    detection.stored(scores("HH-P101", day=DAY, anomalous=slice(60, 144), version=1), day=DAY)
    detection.stored(scores("HH-P101", day=NEXT, anomalous=slice(0, 60), version=1), day=NEXT)


INCIDENT = "HH-P101@2026-10-20T10:00Z"


def test_an_incident_of_two_days_raises_one_alarm_whichever_day_is_made_again(detection: Detection) -> None:
    two_days(detection)
    for day in (DAY, NEXT, DAY, NEXT, NEXT):
        assert detection.run(day).success
    assert detection.alarms(DAY) == detection.alarms(NEXT) == [(INCIDENT, INCIDENT, "20 10:30")]
    assert [detection.kpis(day)["n_alarms"] for day in (DAY, NEXT)] == [1, 0]
    first = detection.kpis(DAY)
    assert (first["rate_peak"], first["rate_mean"], first["n_standing"], first["n_periods"]) == (1, pytest.approx(1 / 144), 1, 144)


def test_a_day_made_before_the_day_before_it_finds_the_same(detection: Detection) -> None:
    two_days(detection)
    assert detection.run(NEXT).success
    alone = (detection.alarms(NEXT), detection.kpis(NEXT))
    assert detection.run(DAY).success
    assert detection.run(NEXT).success
    assert (detection.alarms(NEXT), detection.kpis(NEXT)) == alone


def test_what_was_found_no_more_leaves_no_alarm(detection: Detection) -> None:
    detection.stored(scores("HH-P101", day=DAY, anomalous=slice(60, 80), version=1), day=DAY)
    assert detection.run(DAY).success
    detection.stored(scores("HH-P101", day=DAY, anomalous=slice(0, 0), version=2), day=DAY)
    assert detection.run(DAY).success
    assert detection.alarms(DAY) == []
    assert detection.kpis(DAY)["n_alarms"] == 0


def test_a_shelved_machine_is_judged_and_heard_when_its_time_is_over(detection: Detection) -> None:
    two_days(detection)
    n = detection.shelve("HH-P101", start=9, until=24 + 6)
    assert detection.run(DAY).success
    assert detection.run(NEXT).success
    assert detection.alarms(DAY) == [(INCIDENT, INCIDENT, None)]
    assert detection.alarms(NEXT) == [(INCIDENT, INCIDENT, "21 06:00")]
    assert [(k["n_alarms"], k["n_held_back"]) for k in (detection.kpis(DAY), detection.kpis(NEXT))] == [(0, 1), (1, 0)]
    with detection.ledger.begin() as connection:
        assert incidents_on(connection, site="hamburg", day=DAY)["verdict"].notna().all()
        assert connection.scalars(select(incident_alarms.c.shelving_id).where(incident_alarms.c.day == DAY)).one() == n


def test_most_of_a_site_at_once_is_one_alarm(detection: Detection) -> None:
    machines = ["HH-P101", "HH-P102", "HH-P103", "HH-M201", "HH-C301"]
    moved = [scores(m, day=DAY, anomalous=slice(60 + i % 2, 80), version=1) for i, m in enumerate(machines[:4])]
    detection.stored(*moved, scores("HH-C301", day=DAY, anomalous=slice(0, 0), version=1), day=DAY)
    assert detection.run(DAY).success
    found = detection.alarms(DAY)
    assert {alarm for _, alarm, _ in found} == {"site:hamburg@2026-10-20T10:00Z"}
    assert [raised for _, _, raised in found] == ["20 10:40"] * 4, "60 % of five scored machines are three: the third was there at 10:40"
    kpis = detection.kpis(DAY)
    assert (kpis["n_alarms"], kpis["n_site_events"], kpis["rate_peak"]) == (1, 1, 1)


@pytest.mark.parametrize(("until", "n_orders"), [(24, 1), (25, 0)])
def test_no_work_is_proposed_for_what_is_shelved_at_the_end_of_what_was_read(detection: Detection, until: float, n_orders: int) -> None:
    detection.stored(scores("HH-P101", day=DAY, anomalous=slice(60, 144), version=1), day=DAY)
    detection.shelve("HH-P101", start=9, until=until)
    assert detection.run(DAY).success
    result = detection.run(DAY, work_orders)
    assert result.success
    with detection.ledger.begin() as connection:
        assert incidents_on(connection, site="hamburg", day=DAY)["verdict"].tolist() == ["credible"]
        assert len(list_orders(connection, site="hamburg")) == n_orders
    [event] = result.asset_materializations_for_node("work_orders")
    assert event.metadata["incidents_shelved"].value == 1 - n_orders
