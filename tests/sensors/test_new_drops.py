"""The new-drop sensor: an intake's event becomes the runs that its segments call for."""

from datetime import date

import dagster as dg

from resources.ledger.ledger import LedgerResource
from sensors.new_drops import new_drops_sensor
from tests.ledger_states import days_from, deliver
from tests.sensors.conftest import Evaluate

FIRST = date(2026, 9, 1)


def take_in(instance: dg.DagsterInstance, ledger: LedgerResource, site: str, days: list[date], *, name: str = "a.csv") -> None:
    deliver(ledger, site, days, name=name)
    instance.report_runless_asset_event(dg.AssetMaterialization("drops"))


def test_without_an_intake_nothing_is_asked_for(evaluate: Evaluate, ledger: LedgerResource) -> None:
    deliver(ledger, "hamburg", [FIRST])
    requests, _ = evaluate(new_drops_sensor)
    assert isinstance(requests, str)


def test_the_site_days_that_got_readings_are_asked_for_once(
    evaluate: Evaluate, instance: dg.DagsterInstance, ledger: LedgerResource
) -> None:
    take_in(instance, ledger, "hamburg", [FIRST, date(2026, 9, 20)])
    take_in(instance, ledger, "houston", [FIRST])
    requests, cursor = evaluate(new_drops_sensor)
    assert {str(r.partition_key) for r in requests} == {"2026-09-01|hamburg", "2026-09-20|hamburg", "2026-09-01|houston"}  # type: ignore[union-attr]
    again, _ = evaluate(new_drops_sensor, cursor=cursor)
    assert isinstance(again, str), "the cursor is past the event"


def test_a_month_delivered_at_once_is_one_run(evaluate: Evaluate, instance: dg.DagsterInstance, ledger: LedgerResource) -> None:
    take_in(instance, ledger, "hamburg", days_from(FIRST, 30))
    requests, _ = evaluate(new_drops_sensor)
    [request] = requests
    assert isinstance(request, dg.RunRequest)
    assert request.tags["dagster/asset_partition_range_start"] == "2026-09-01|hamburg"
    assert request.tags["dagster/asset_partition_range_end"] == "2026-09-30|hamburg"


def test_late_data_asks_for_its_day_and_the_stored_days_that_look_back_on_it(
    evaluate: Evaluate, instance: dg.DagsterInstance, ledger: LedgerResource
) -> None:
    deliver(ledger, "hamburg", [*days_from(FIRST, 2), date(2026, 9, 5), date(2026, 9, 19)], is_processed=True)
    take_in(instance, ledger, "hamburg", [date(2026, 9, 2)], name="late.csv")
    requests, _ = evaluate(new_drops_sensor)
    assert {str(r.partition_key) for r in requests} == {"2026-09-02|hamburg", "2026-09-05|hamburg"}  # type: ignore[union-attr]


def test_an_intake_of_duplicates_asks_for_nothing(evaluate: Evaluate, instance: dg.DagsterInstance, ledger: LedgerResource) -> None:
    deliver(ledger, "hamburg", [FIRST], is_processed=True)
    instance.report_runless_asset_event(dg.AssetMaterialization("drops"))
    requests, _ = evaluate(new_drops_sensor)
    assert requests == "Nothing waits, or a queued run takes it along."
