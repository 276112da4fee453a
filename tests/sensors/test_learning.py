"""The learning sensors: a first detector when there is enough to learn from, a new champion at work at once."""

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from sqlalchemy import insert, update

from assets.partitions import LOOK_BACK_DAYS
from resources.ledger.findings import Label, label_incidents
from resources.ledger.ledger import LedgerResource
from resources.ledger.tables import detector_versions, drift_findings, incidents
from resources.plant import PlantResource
from sensors.learning import drift_sensor, first_detector_sensor, new_champion_sensor
from tests.conftest import CHECKOUT
from tests.ledger_states import days_from, deliver, judged, trained
from tests.sensors.conftest import Evaluate

FIRST = date(2026, 9, 1)
NEEDED = 14  # policy.training.min_healthy_days, where the plant file says nothing else


@pytest.fixture
def plant() -> PlantResource:
    return PlantResource(folder=str(Path(CHECKOUT, "plant")))


def test_a_site_asks_for_its_first_detector_when_enough_days_are_finished(
    evaluate: Evaluate, ledger: LedgerResource, plant: PlantResource
) -> None:
    assert {site.policy.training.min_healthy_days for site in plant.sites()} == {NEEDED}
    deliver(ledger, "houston", days_from(FIRST, 3), is_processed=True)
    deliver(ledger, "hamburg", days_from(FIRST, NEEDED), is_processed=True)
    assert isinstance(evaluate(first_detector_sensor, plant=plant)[0], str), "the newest of the days may still go on"
    deliver(ledger, "hamburg", [date(2026, 9, 15)], name="more.csv")
    assert isinstance(evaluate(first_detector_sensor, plant=plant)[0], str), "what was not processed has no features to learn from"
    deliver(ledger, "hamburg", [date(2026, 9, 16)], name="still-more.csv", is_processed=True)
    requests, _ = evaluate(first_detector_sensor, plant=plant)
    assert [r.partition_key for r in requests] == ["hamburg"]  # type: ignore[union-attr]


def test_after_a_refused_training_it_asks_again_with_the_next_day_only(
    evaluate: Evaluate, ledger: LedgerResource, plant: PlantResource
) -> None:
    run_keys = []
    for n in (NEEDED + 1, NEEDED + 1, NEEDED + 2):
        deliver(ledger, "hamburg", days_from(FIRST, n), name=f"{len(run_keys)}.csv", is_processed=True)
        [request] = evaluate(first_detector_sensor, plant=plant)[0]
        assert isinstance(request, dg.RunRequest)
        run_keys.append(request.run_key)
    assert run_keys[0] == run_keys[1] != run_keys[2]


def test_a_site_with_a_champion_asks_no_more(evaluate: Evaluate, ledger: LedgerResource, plant: PlantResource) -> None:
    deliver(ledger, "hamburg", days_from(FIRST, 30), is_processed=True)
    trained(ledger, "hamburg", until=date(2026, 9, 20))
    assert evaluate(first_detector_sensor, plant=plant)[0] == "Every site with enough days of readings has a detector."


def test_a_site_whose_detector_was_never_promoted_still_asks(evaluate: Evaluate, ledger: LedgerResource, plant: PlantResource) -> None:
    deliver(ledger, "hamburg", days_from(FIRST, 30), is_processed=True)
    trained(ledger, "hamburg", until=date(2026, 9, 20), is_promoted=False)
    assert [r.partition_key for r in evaluate(first_detector_sensor, plant=plant)[0]] == ["hamburg"]  # type: ignore[union-attr]


def train(instance: dg.DagsterInstance, site: str, *, is_champion: bool = True) -> None:
    """What a training leaves in Dagster's event log."""
    made = dg.AssetMaterialization("detector_model", partition=site, metadata={"is_champion": is_champion})
    instance.report_runless_asset_event(made)


def test_a_challenger_that_the_gate_refused_asks_for_nothing(
    evaluate: Evaluate, instance: dg.DagsterInstance, ledger: LedgerResource
) -> None:
    deliver(ledger, "hamburg", days_from(FIRST, 20), is_processed=True)
    train(instance, "hamburg", is_champion=False)
    assert evaluate(new_champion_sensor)[0] == "The training made no champion."


def test_a_training_asks_for_the_sites_latest_days_once(evaluate: Evaluate, instance: dg.DagsterInstance, ledger: LedgerResource) -> None:
    deliver(ledger, "hamburg", days_from(FIRST, 20), is_processed=True)
    deliver(ledger, "houston", days_from(FIRST, 25), is_processed=True)
    assert isinstance(evaluate(new_champion_sensor)[0], str)
    train(instance, "hamburg")
    requests, cursor = evaluate(new_champion_sensor)
    [request] = requests
    assert isinstance(request, dg.RunRequest)
    assert LOOK_BACK_DAYS == 7
    assert request.tags["dagster/asset_partition_range_start"] == "2026-09-14|hamburg"
    assert request.tags["dagster/asset_partition_range_end"] == "2026-09-20|hamburg"
    assert isinstance(evaluate(new_champion_sensor, cursor=cursor)[0], str)


def test_days_that_were_not_delivered_are_not_asked_for(evaluate: Evaluate, instance: dg.DagsterInstance, ledger: LedgerResource) -> None:
    deliver(ledger, "hamburg", [date(2026, 9, 3), date(2026, 9, 13), date(2026, 9, 14), date(2026, 9, 20)], is_processed=True)
    train(instance, "hamburg")
    requests, _ = evaluate(new_champion_sensor)
    keys = [(r.partition_key, r.tags.get("dagster/asset_partition_range_end")) for r in requests]  # type: ignore[union-attr]
    assert keys == [("2026-09-14|hamburg", None), ("2026-09-20|hamburg", None)]


# --- drift ---


def drifted(
    ledger: LedgerResource, site: str, marks: str, *, sensor: str = "HH-P101-TEMP", version: int = 1, first: date = date(2026, 10, 1)
) -> None:
    """The findings of days from `first` on: x drifted, . not."""
    rows = [
        {"site": site, "day": first + timedelta(days=n), "sensor_id": sensor, "machine_id": "HH-P101", "ks": 0.9,
         "ks_p": 0.0 if mark == "x" else 0.9, "psi": 2.0,
         "spread_ks": 0.1, "spread_ks_p": 0.9, "spread_psi": 0.0, "n": 144, "is_drifted": mark == "x",
         "drifted_in": "level" if mark == "x" else None, "model_version": version}
        for n, mark in enumerate(marks)
    ]  # fmt: skip
    with ledger.begin() as connection:
        connection.execute(insert(drift_findings), rows)


def trained_ago(ledger: LedgerResource, site: str, *, days: float) -> None:
    trained(ledger, site, until=date(2026, 9, 20))
    with ledger.begin() as connection:
        connection.execute(update(detector_versions).values(trained_at=datetime.now(UTC) - timedelta(days=days)))


def test_lasting_drift_asks_for_a_training_once_and_says_why(evaluate: Evaluate, ledger: LedgerResource, plant: PlantResource) -> None:
    trained_ago(ledger, "hamburg", days=8)
    drifted(ledger, "hamburg", "..xx.x")
    requests, cursor = evaluate(drift_sensor, plant=plant)
    [request] = requests
    assert isinstance(request, dg.RunRequest)
    assert request.partition_key == "hamburg"
    assert request.tags["smart_maintenance/why"] == "sustained drift: HH-P101-TEMP (3 days)"
    said, _ = evaluate(drift_sensor, plant=plant, cursor=cursor)
    assert isinstance(said, str)
    assert said.startswith("hamburg: HH-P101-TEMP (3 days), but the latest training or request is from ")


def test_a_request_is_made_again_when_its_cool_down_is_over(evaluate: Evaluate, ledger: LedgerResource, plant: PlantResource) -> None:
    trained_ago(ledger, "hamburg", days=30)
    drifted(ledger, "hamburg", "xxxxx")
    asked = {days: json.dumps({"hamburg": (datetime.now(UTC) - timedelta(days=days)).isoformat()}) for days in (6, 8)}
    assert isinstance(evaluate(drift_sensor, plant=plant, cursor=asked[6])[0], str)
    requests, cursor = evaluate(drift_sensor, plant=plant, cursor=asked[8])
    assert [r.partition_key for r in requests] == ["hamburg"]  # type: ignore[union-attr]
    assert cursor
    assert datetime.now(UTC) - datetime.fromisoformat(json.loads(cursor)["hamburg"]) < timedelta(minutes=5)


def test_a_young_detector_is_not_trained_anew(evaluate: Evaluate, ledger: LedgerResource, plant: PlantResource) -> None:
    trained_ago(ledger, "hamburg", days=2)
    drifted(ledger, "hamburg", "xxxxx")
    assert "latest training or request" in evaluate(drift_sensor, plant=plant)[0]


@pytest.mark.parametrize("marks", ["....x", "x...x", "xxx.....", "...xx"])
def test_an_odd_day_asks_for_nothing(evaluate: Evaluate, ledger: LedgerResource, plant: PlantResource, marks: str) -> None:
    trained_ago(ledger, "hamburg", days=30)
    drifted(ledger, "hamburg", marks)
    assert evaluate(drift_sensor, plant=plant)[0] == "No site has sustained drift against its champion."


def test_drift_against_another_version_than_the_champion_asks_for_nothing(
    evaluate: Evaluate, ledger: LedgerResource, plant: PlantResource
) -> None:
    trained_ago(ledger, "hamburg", days=30)
    drifted(ledger, "hamburg", "xxxxx", version=2)
    assert evaluate(drift_sensor, plant=plant)[0] == "No site has sustained drift against its champion."


@pytest.mark.parametrize(("label", "asks"), [(None, False), ("confirmed", False), ("false_alarm", True)])
def test_drift_that_an_incident_explains_asks_only_after_people_called_it_a_false_alarm(
    evaluate: Evaluate, ledger: LedgerResource, plant: PlantResource, label: str | None, asks: bool
) -> None:
    trained_ago(ledger, "hamburg", days=30)
    drifted(ledger, "hamburg", "xxxxx", first=date(2026, 10, 5))
    incident = judged(ledger, "hamburg", date(2026, 10, 8))  # from the 5th on, of P1
    with ledger.begin() as connection:
        connection.execute(update(incidents).values(machine_id="HH-P101"))
        if label:
            label_incidents(connection, [incident], Label(label, "person", "ada", "seen it", datetime.now(UTC)))
    assert isinstance(evaluate(drift_sensor, plant=plant)[0], list) == asks
