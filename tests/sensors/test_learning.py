"""The learning sensors: a first detector when there is enough to learn from, a new champion at work at once."""

from datetime import date
from pathlib import Path

import dagster as dg
import pytest

from assets.partitions import LOOK_BACK_DAYS
from resources.ledger.ledger import LedgerResource
from resources.plant import PlantResource
from sensors.learning import first_detector_sensor, new_champion_sensor
from tests.conftest import CHECKOUT
from tests.ledger_states import days_from, deliver, trained
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
