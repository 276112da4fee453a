"""The operator jobs, executed as the launch pad does: carried out once, refused with a sentence and without a retry."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from sqlalchemy import func, select

from assets.reporting.reports import KINDS
from jobs.operator import (
    complete_work_order,
    generate_report,
    start_work_order,
    submit_decision,
    write_completion,
    write_decision,
    write_start,
)
from resources.lake import LakeResource
from resources.ledger.ledger import LedgerResource
from resources.ledger.tables import decisions, incidents, maintenance_log, work_order_events
from resources.ledger.work import order_row
from resources.plant import PlantResource
from resources.reports import ReportsResource
from tests.conftest import CHECKOUT
from tests.ledger_states import waiting_order


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


class Desk:
    """Launches an operator job and says how it ended."""

    def __init__(self, ledger: LedgerResource, instance: dg.DagsterInstance, root: Path) -> None:
        self.ledger = ledger
        self.instance = instance
        self.reports = root / "reports"
        self.resources = {
            "ledger": ledger,
            "lake": LakeResource(root=str(root / "lake")),
            "plant": PlantResource(folder=str(CHECKOUT / "plant")),
            "reports": ReportsResource(root=str(self.reports)),
        }

    def launch(self, job: dg.JobDefinition, **config: Any) -> dg.ExecuteInProcessResult:
        [op] = [node.name for node in job.all_node_defs]
        return job.execute_in_process(
            run_config={"ops": {op: {"config": config}}, "loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            resources={name: self.resources[name] for name in job.required_resource_keys if name in self.resources},
            instance=self.instance,
            raise_on_error=False,
        )

    def refusal(self, job: dg.JobDefinition, **config: Any) -> str:
        """The sentence of a run that failed at its first attempt."""
        result = self.launch(job, **config)
        assert not result.success
        assert not [e for e in result.all_events if e.event_type is dg.DagsterEventType.STEP_UP_FOR_RETRY]
        [failure] = [e.step_failure_data for e in result.all_events if e.is_step_failure]
        assert failure.error and failure.error.cls_name == "Failure", failure.error
        message = failure.error.message.removeprefix("dagster._core.definitions.events.Failure: ").strip()
        assert "\n" not in message
        return message

    def state(self, order_id: str) -> str:
        with self.ledger.begin() as connection:
            return str(order_row(connection, order_id)["state"])

    def count(self, table: Any) -> int:
        with self.ledger.begin() as connection:
            return int(connection.scalars(select(func.count()).select_from(table)).one())

    def logged(self, result: dg.ExecuteInProcessResult) -> list[str]:
        return [e.user_message for e in self.instance.all_logs(result.run_id) if not e.is_dagster_event]


@pytest.fixture
def desk(ledger: LedgerResource, instance: dg.DagsterInstance, tmp_path: Path) -> Desk:
    return Desk(ledger, instance, tmp_path)


@dg.job(op_retry_policy=dg.RetryPolicy(max_retries=2))
def decide_with_retries() -> None:
    write_decision()


@dg.job(op_retry_policy=dg.RetryPolicy(max_retries=2))
def complete_with_retries() -> None:
    write_completion()


WORDS = {"operator": "ada", "reason": "seen it"}
WORK = {"technician": "ben", "started_at": "2026-10-07T08:00:00+02:00", "ended_at": "2026-10-07T10:30:00+02:00", "finding": "VIB"}


def test_an_approval_moves_the_order_and_is_audited_under_the_run(desk: Desk) -> None:
    order = waiting_order(desk.ledger, "hamburg")
    before = datetime.now(UTC)
    result = desk.launch(submit_decision, order_id=order, decision="approve", **WORDS)
    assert result.success
    assert desk.logged(result) == ["Decision written."]
    assert desk.state(order) == "approved"
    with desk.ledger.begin() as connection:
        written = connection.execute(select(decisions)).mappings().one()
        last = connection.execute(select(work_order_events).order_by(work_order_events.c.event_id.desc())).mappings().first()
    assert (written["operator"], written["reason"], written["request_id"]) == ("ada", "seen it", result.run_id)
    assert before <= written["decided_at"] <= datetime.now(UTC)
    assert last is not None
    assert (last["from_state"], last["to_state"], last["who"], last["request_id"]) == (
        "awaiting_decision",
        "approved",
        "ada",
        result.run_id,
    )


def test_a_deferral_keeps_its_time(desk: Desk) -> None:
    order = waiting_order(desk.ledger, "hamburg")
    assert desk.launch(submit_decision, order_id=order, decision="defer", defer_until="2026-10-20T08:00:00+02:00", **WORDS).success
    with desk.ledger.begin() as connection:
        assert order_row(connection, order)["deferred_until"] == datetime(2026, 10, 20, 6, tzinfo=UTC)


def test_a_rejection_labels_the_incident_only_where_it_says_false_alarm(desk: Desk) -> None:
    for machine, said, label in (("P1", {}, None), ("P2", {"is_false_alarm": True}, "false_alarm")):
        order = waiting_order(desk.ledger, "hamburg", machine=machine)
        assert desk.launch(submit_decision, order_id=order, decision="reject", **WORDS, **said).success
        with desk.ledger.begin() as connection:
            assert connection.scalar(select(incidents.c.label).where(incidents.c.machine_id == machine)) == label


def test_a_repeated_request_changes_nothing_and_says_so(desk: Desk) -> None:
    order = waiting_order(desk.ledger, "hamburg")
    assert desk.launch(submit_decision, order_id=order, decision="approve", request_id="r", **WORDS).success
    n = desk.count(work_order_events)
    again = desk.launch(submit_decision, order_id=order, decision="approve", request_id="r", **WORDS)
    assert again.success
    assert desk.logged(again) == ["This request had already been carried out; nothing changed."]
    assert (desk.count(decisions), desk.count(work_order_events)) == (1, n)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"decision": "perhaps"}, "must be one of approve, reject, defer, cancel, modify"),
        ({"decision": "approve", "operator": "  "}, "operator and reason must be given"),
        ({"decision": "approve", "is_false_alarm": True}, "only a rejection can say"),
        ({"decision": "defer"}, "defer_until belongs to the decision defer"),
        ({"decision": "approve", "defer_until": "2026-10-20T08:00:00+02:00"}, "defer_until belongs to the decision defer"),
        ({"decision": "defer", "defer_until": "tomorrow"}, "'tomorrow' is not an ISO 8601 time"),
        ({"decision": "defer", "defer_until": "2026-10-20T08:00:00"}, "has no offset from UTC"),
        ({"decision": "approve", "order_id": "WO-0"}, "There is no work order 'WO-0'"),
        ({"decision": "modify"}, "needs at least one of them"),
        ({"decision": "modify", "skills": ["magic"]}, "nobody at hamburg has the skill magic; the skills there are "),
        ({"decision": "modify", "not_before": "2026-10-12T13:30:00+02:00"}, "does not fit into the window"),
        ({"decision": "approve", "confidence": 80}, "must be a number from 0 to 1"),
    ],
)
def test_a_wrong_decision_is_refused_with_a_sentence_and_not_tried_again(desk: Desk, config: dict[str, Any], words: str) -> None:
    order = waiting_order(desk.ledger, "hamburg")
    assert words in desk.refusal(decide_with_retries, **{"order_id": order, **WORDS, **config})
    assert desk.state(order) == "awaiting_decision"
    assert desk.count(decisions) == 0


def test_a_closed_order_takes_no_further_decision(desk: Desk) -> None:
    order = waiting_order(desk.ledger, "hamburg")
    assert desk.launch(submit_decision, order_id=order, decision="reject", **WORDS).success
    said = desk.refusal(decide_with_retries, order_id=order, decision="approve", **WORDS)
    assert said.startswith("a work order that is rejected cannot become approved")
    assert desk.count(decisions) == 1, "the refused decision left no row"


def test_finished_work_is_logged_once_closes_the_order_and_labels_its_incident(desk: Desk) -> None:
    order = waiting_order(desk.ledger, "hamburg")
    desk.launch(submit_decision, order_id=order, decision="approve", **WORDS)
    first = desk.launch(complete_work_order, order_id=order, request_id="c", note="new bearing", **WORK)
    again = desk.launch(complete_work_order, order_id=order, request_id="c", note="new bearing", **WORK)
    assert desk.logged(first) == ["Work logged, order closed."]
    assert desk.logged(again) == ["This request had already been carried out; nothing changed."]
    assert desk.state(order) == "completed"
    with desk.ledger.begin() as connection:
        log = connection.execute(select(maintenance_log)).mappings().one()
        label = connection.scalars(select(incidents.c.label)).one()
    assert (log["machine_id"], log["technician"], log["finding"], log["note"]) == ("P1", "ben", "VIB", "new bearing")
    assert log["ended_at"] - log["started_at"] == timedelta(hours=2, minutes=30)
    assert label == "confirmed"


def test_begun_work_is_in_progress_and_its_report_need_not_repeat_the_start(desk: Desk) -> None:
    order = waiting_order(desk.ledger, "hamburg")
    desk.launch(submit_decision, order_id=order, decision="approve", **WORDS)
    began = "2026-10-07T08:00:00+02:00"
    first = desk.launch(start_work_order, order_id=order, technician="ben", started_at=began)
    again = desk.launch(start_work_order, order_id=order, technician="ben", started_at=began)
    assert (desk.logged(first), desk.logged(again)) == (["Work started."], ["This technician had already started; nothing changed."])
    assert desk.state(order) == "in_progress"
    said = {**WORK, "started_at": "", "failure_mechanism": "2.4", "failure_cause": "3.4", "parts_used": ["bearing-6309"], "hours_worked": 2}
    assert desk.launch(complete_work_order, order_id=order, **said).success
    with desk.ledger.begin() as connection:
        log = connection.execute(select(maintenance_log)).mappings().one()
    assert log["started_at"] == datetime(2026, 10, 7, 6, tzinfo=UTC)
    assert (log["failure_mechanism"], log["failure_cause"], log["parts_used"], log["hours_worked"]) == ("2.4", "3.4", ["bearing-6309"], 2.0)


def test_a_modification_changes_priority_window_and_skills(desk: Desk) -> None:
    order = waiting_order(desk.ledger, "hamburg")
    window = {"not_before": "2026-10-08T08:00:00+02:00", "not_after": "2026-10-09T08:00:00+02:00"}
    changes = {"priority": "low", "skills": ["electrical"], "confidence": 0.6, **window}
    assert desk.launch(submit_decision, order_id=order, decision="modify", **WORDS, **changes).success
    with desk.ledger.begin() as connection:
        row = order_row(connection, order)
        assert connection.scalar(select(decisions.c.confidence)) == 0.6
    assert (row["state"], row["priority"], row["crew"]) == ("awaiting_decision", "low", [["electrical"]])
    assert (row["not_before"], row["due_at"]) == (datetime(2026, 10, 8, 6, tzinfo=UTC), datetime(2026, 10, 9, 6, tzinfo=UTC))


def test_work_that_found_nothing_marks_the_incident_a_false_alarm(desk: Desk) -> None:
    order = waiting_order(desk.ledger, "hamburg")
    desk.launch(submit_decision, order_id=order, decision="approve", **WORDS)
    assert desk.launch(complete_work_order, order_id=order, **{**WORK, "finding": "no_fault_found"}).success
    with desk.ledger.begin() as connection:
        assert connection.scalars(select(incidents.c.label)).one() == "false_alarm"


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"order_id": "WO-0"}, "There is no work order 'WO-0'"),
        ({"started_at": "2026-10-07"}, "has no offset from UTC"),
        ({"ended_at": "later"}, "'later' is not an ISO 8601 time"),
        ({"ended_at": "2026-10-07T07:00:00+02:00"}, "ended before it started"),
        ({"finding": "gremlins"}, "no_fault_found"),
        ({"technician": ""}, "technician"),
        ({"started_at": ""}, "nobody has said when the work on WO-P1-VIB-20261005 began"),
        ({"failure_mechanism": "9.9"}, "failure_mechanism is '9.9'; it must be one of 1.0 (mechanical failure, general), 1.1 (leakage)"),
        ({"failure_cause": "2.4"}, "failure_cause is '2.4'; it must be one of 1.0 (design, general)"),
        ({"finding": "no_fault_found", "failure_cause": "3.4"}, "where no fault was found"),
        ({"parts_used": ["gold"]}, "gold is no part of the site; its parts are bearing-6309"),
        ({"hours_worked": 3}, "from 0 to the 2.50 h between start and end"),
    ],
)
def test_a_wrong_completion_is_refused_with_a_sentence_and_not_tried_again(desk: Desk, config: dict[str, str], words: str) -> None:
    order = waiting_order(desk.ledger, "hamburg")
    desk.launch(submit_decision, order_id=order, decision="approve", **WORDS)
    assert words in desk.refusal(complete_with_retries, **{"order_id": order, **WORK, **config})
    assert desk.state(order) == "approved"
    assert desk.count(maintenance_log) == 0


def test_work_on_an_order_that_nobody_approved_is_refused(desk: Desk) -> None:
    order = waiting_order(desk.ledger, "hamburg")
    assert "cannot become in_progress" in desk.refusal(complete_with_retries, order_id=order, **WORK)
    assert desk.count(maintenance_log) == 0


@dg.job(op_retry_policy=dg.RetryPolicy(max_retries=2))
def start_with_retries() -> None:
    write_start()


def test_a_start_without_an_approval_is_refused_with_a_sentence(desk: Desk) -> None:
    order = waiting_order(desk.ledger, "hamburg")
    words = "a work order that is awaiting_decision cannot become in_progress"
    assert desk.refusal(start_with_retries, order_id=order, technician="ben").startswith(words)
    assert desk.state(order) == "awaiting_decision"


def test_a_report_over_a_range_is_written_in_three_forms_per_kind(desk: Desk) -> None:
    result = desk.launch(generate_report, start="2026-09-01", end="2026-09-30", site="hamburg")
    assert result.success
    written = {str(p.relative_to(desk.reports)) for p in desk.reports.rglob("*") if p.is_file()}
    assert written == {f"{kind}/hamburg/2026-09-01_2026-09-30.{suffix}" for kind in KINDS for suffix in ("html", "json", "txt")}
    assert len(desk.logged(result)) == len(KINDS)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"end": "2026-08-31"}, "The range ends (2026-08-31) before it starts (2026-09-01)."),
        ({"start": "September"}, "'September' and '2026-09-30' must both be days such as 2026-11-20"),
        ({"site": "atlantis"}, "The plant has no site 'atlantis'; it has hamburg, houston."),
        ({"kinds": ["gossip"]}, "Unknown kinds of report: gossip; there are performance_summary"),
    ],
)
def test_a_wrong_report_is_refused_with_a_sentence(desk: Desk, config: dict[str, Any], words: str) -> None:
    assert words in desk.refusal(generate_report, **{"start": "2026-09-01", "end": "2026-09-30", **config})
    assert not desk.reports.exists()
