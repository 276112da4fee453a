"""The alert sensors and the sending job: from a ledger and a Dagster instance to a receiver's inbox."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from sqlalchemy import select

from assets.partitions import SITE_TAG
from definitions import defs
from resources.ledger.deeds import Decision
from resources.ledger.ledger import LedgerResource
from resources.ledger.tables import notifications
from resources.ledger.work import decide
from resources.links import LinksResource
from resources.notifier import NotifierResource
from resources.plant import PlantResource
from sensors.alerts import NOBODY, failures_sensor, notifications_sensor
from tests.conftest import CHECKOUT
from tests.ledger_states import waiting_order
from tests.receivers import HttpReceiver
from tests.sensors.conftest import TODAY, Evaluate

RECEIVERS = [
    {"receiver_id": "planners", "role": "planner", "url_variable": "PLANNERS_URL"},
    {"receiver_id": "engineers", "role": "data_engineer", "url_variable": "ENGINEERS_URL"},
]
PARTITION = "2026-10-05|hamburg"


@pytest.fixture
def plant(tmp_path: Path) -> PlantResource:
    """The demonstration plant, with receivers in Hamburg."""
    for path in (CHECKOUT / "plant").glob("*.yaml"):
        content = yaml.safe_load(path.read_text())
        if path.stem == "hamburg":
            content["receivers"] = RECEIVERS
        (tmp_path / path.name).write_text(yaml.safe_dump(content))
    return PlantResource(folder=str(tmp_path))


@pytest.fixture
def links(tmp_path: Path) -> LinksResource:
    return LinksResource(reports=str(tmp_path / "reports"), dagster_url="http://dagster")


@pytest.fixture
def inbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpReceiver]:
    with HttpReceiver().serving() as server:
        monkeypatch.setenv("PLANNERS_URL", server.url)
        yield server


def rows(ledger: LedgerResource) -> list[Any]:
    with ledger.begin() as connection:
        return list(connection.execute(select(notifications).order_by(notifications.c.notification_id)))


def keys(ledger: LedgerResource) -> list[str]:
    return [row.event_key for row in rows(ledger)]


def send(ledger: LedgerResource, plant: PlantResource, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    job = defs.resolve_job_def("send_notifications")
    resources = {"ledger": ledger, "plant": plant, "notifier": NotifierResource()}
    return job.execute_in_process(instance=instance, resources=resources)


def test_without_receivers_the_sensors_do_nothing_and_nothing_breaks(
    evaluate: Evaluate, ledger: LedgerResource, instance: dg.DagsterInstance, links: LinksResource
) -> None:
    plain = PlantResource(folder=str(CHECKOUT / "plant"))
    assert not any(site.receivers for site in plain.sites()), "the demonstration tells nobody"
    waiting_order(ledger, "hamburg")
    assert evaluate(notifications_sensor, plant=plain, links=links)[0] == NOBODY
    _, cursor = evaluate(failures_sensor, plant=plain, links=links)
    fail(instance)
    assert evaluate(failures_sensor, cursor=cursor, plant=plain, links=links)[0] == "0 new messages about failures."
    assert rows(ledger) == []
    assert send(ledger, plain, instance).success


def test_an_order_that_waits_reaches_the_planner_once(
    evaluate: Evaluate,
    ledger: LedgerResource,
    plant: PlantResource,
    links: LinksResource,
    inbox: HttpReceiver,
    instance: dg.DagsterInstance,
) -> None:
    order_id = waiting_order(ledger, "hamburg")
    [request] = evaluate(notifications_sensor, plant=plant, links=links)[0]
    assert isinstance(request, dg.RunRequest)
    again, _ = evaluate(notifications_sensor, plant=plant, links=links)
    assert isinstance(again, list), "what was not sent is asked for again"
    assert len(rows(ledger)) == 2  # a decision wanted, and overdue since October
    assert send(ledger, plant, instance).success
    assert [order_id in title for title in inbox.titles] == [True, True]
    assert evaluate(notifications_sensor, plant=plant, links=links)[0] == "Nothing is due."


def test_a_sending_that_is_under_way_is_not_asked_for_twice(
    evaluate: Evaluate, ledger: LedgerResource, plant: PlantResource, links: LinksResource, instance: dg.DagsterInstance
) -> None:
    waiting_order(ledger, "hamburg")
    instance.add_run(dg.DagsterRun(job_name="send_notifications", status=dg.DagsterRunStatus.STARTED))
    assert "under way" in evaluate(notifications_sensor, plant=plant, links=links)[0]


def test_what_was_decided_before_it_was_sent_is_not_sent(
    evaluate: Evaluate, ledger: LedgerResource, plant: PlantResource, links: LinksResource
) -> None:
    order_id = waiting_order(ledger, "hamburg")
    evaluate(notifications_sensor, plant=plant, links=links)
    with ledger.begin() as connection:
        decide(connection, Decision(order_id, "reject", "ada", "no", TODAY))
    assert evaluate(notifications_sensor, plant=plant, links=links)[0] == "Nothing is due."
    assert {row.state for row in rows(ledger)} == {"withdrawn"}


def test_a_receiver_that_cannot_be_reached_fails_no_run(
    evaluate: Evaluate, ledger: LedgerResource, plant: PlantResource, links: LinksResource, instance: dg.DagsterInstance
) -> None:
    waiting_order(ledger, "hamburg")
    evaluate(notifications_sensor, plant=plant, links=links)
    assert send(ledger, plant, instance).success
    assert rows(ledger)[0].last_error == "the environment variable PLANNERS_URL is not set"
    assert evaluate(notifications_sensor, plant=plant, links=links)[0] == "Nothing is due."


@dg.op
def break_down() -> None:
    raise dg.Failure("the disk is full", allow_retries=False)


@dg.job(executor_def=dg.in_process_executor)
def doomed() -> None:
    break_down()


@dg.job(name="send_notifications", executor_def=dg.in_process_executor)
def doomed_sending() -> None:
    break_down()


def fail(instance: dg.DagsterInstance, job: dg.JobDefinition = doomed, **tags: str) -> str:
    return job.execute_in_process(instance=instance, raise_on_error=False, tags=tags).run_id


def test_a_failed_run_is_told_once_with_the_steps_own_words(
    evaluate: Evaluate, ledger: LedgerResource, plant: PlantResource, links: LinksResource, instance: dg.DagsterInstance
) -> None:
    before = fail(instance)
    _, cursor = evaluate(failures_sensor, plant=plant, links=links)
    run_id = fail(instance, **{SITE_TAG: "hamburg", "dagster/partition": PARTITION})
    fail(instance, doomed_sending)
    for _ in range(2):
        _, cursor = evaluate(failures_sensor, cursor=cursor, plant=plant, links=links)
    [told] = [row for row in rows(ledger) if run_id in row.event_key]
    assert (told.receiver_id, told.subject) == ("engineers", f"[warning] Hamburg Ingredients: Run failed: doomed of {PARTITION}")
    assert "Why: break_down: the disk is full" in told.body
    assert f"Run: http://dagster/runs/{run_id}" in told.body
    assert len([key for key in keys(ledger) if before not in key]) == 1, "no word of a failed sending: it could not be sent"


def test_a_tick_that_fails_loses_no_failure(
    evaluate: Evaluate, ledger: LedgerResource, plant: PlantResource, links: LinksResource, instance: dg.DagsterInstance
) -> None:
    _, cursor = evaluate(failures_sensor, plant=plant, links=links)
    fail(instance)
    missing = LedgerResource(url=ledger.url.replace("ledger_", "gone_"))
    with pytest.raises(Exception, match="gone_"):
        evaluate(failures_sensor, cursor=cursor, plant=plant, links=links, ledger=missing)
    evaluate(failures_sensor, cursor=cursor, plant=plant, links=links)
    assert len(rows(ledger)) == 1


CHECKS = {
    "holds": dg.AssetCheckResult(check_name="holds", passed=True),
    "is_wrong": dg.AssetCheckResult(check_name="is_wrong", passed=False, description="7 rows too many"),
    "is_odd": dg.AssetCheckResult(
        check_name="is_odd", passed=False, severity=dg.AssetCheckSeverity.WARN, metadata={"failed": dg.MetadataValue.json(["day 3"])}
    ),
    "stops": dg.AssetCheckResult(check_name="stops", passed=False),
    "warns": dg.AssetCheckResult(check_name="warns", passed=False, severity=dg.AssetCheckSeverity.WARN),
}


def checked(instance: dg.DagsterInstance, *names: str) -> bool:
    """A real materialization with these checks, of which `stops` and `warns` are blocking."""
    specs = [dg.AssetCheckSpec(name, asset="table", blocking=name in ("stops", "warns")) for name in names]

    @dg.asset(check_specs=specs)
    def table() -> dg.MaterializeResult:
        return dg.MaterializeResult(check_results=[CHECKS[name] for name in names])

    tags = {SITE_TAG: "hamburg"}
    return dg.materialize([table], instance=instance, raise_on_error=False, tags=tags).success


def test_a_failed_check_that_stopped_nothing_is_told_and_one_that_failed_its_run_is_told_as_that(
    evaluate: Evaluate, ledger: LedgerResource, plant: PlantResource, links: LinksResource, instance: dg.DagsterInstance
) -> None:
    _, cursor = evaluate(failures_sensor, plant=plant, links=links)
    assert checked(instance, "holds", "is_wrong", "is_odd", "warns"), "the run went on"
    _, cursor = evaluate(failures_sensor, cursor=cursor, plant=plant, links=links)
    told = {row.subject: (row.severity, next(line for line in row.body.splitlines() if line.startswith("Why"))) for row in rows(ledger)}
    assert told == {
        "[warning] Hamburg Ingredients: Check failed: table, is wrong": ("warning", "Why: 7 rows too many"),
        "[info] Hamburg Ingredients: Check failed: table, is odd": ("info", "Why: ['day 3']"),
        "[info] Hamburg Ingredients: Check failed: table, warns": ("info", "Why: it gives no reason"),
    }
    assert not checked(instance, "stops")
    evaluate(failures_sensor, cursor=cursor, plant=plant, links=links)
    assert sorted(key.partition(":")[0] for key in keys(ledger)) == ["check_failed"] * 3 + ["run_failed"]


def test_the_same_check_of_the_same_day_is_told_once(
    evaluate: Evaluate, ledger: LedgerResource, plant: PlantResource, links: LinksResource, instance: dg.DagsterInstance
) -> None:
    _, cursor = evaluate(failures_sensor, plant=plant, links=links)
    for _ in range(3):
        checked(instance, "is_wrong")
        _, cursor = evaluate(failures_sensor, cursor=cursor, plant=plant, links=links)
    assert len({key.rpartition(":")[2] for key in keys(ledger)}) == len(keys(ledger)) <= 2  # two where a midnight lies between
    assert date.fromisoformat(keys(ledger)[0].rpartition(":")[2])
