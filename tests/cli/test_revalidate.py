"""Rules run again over history: shown before anything changes, written whole or not at all, once, and by one at a time."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from io import StringIO
from typing import Any

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError

from assets.partitions import SITE_TAG
from cli.environment import Environment
from cli.errors import CommandError
from cli.revalidate import Span, apply, demand_idle, judge_again, look, resting_on, show
from expectations.rejudging import Change, Verdict, rejudge
from ml.plant import Machine, Policy, Sensor, Site, VerdictPolicy
from resources.home import Home
from resources.lake import LakeResource
from resources.ledger.findings import Label, label_incidents
from resources.ledger.intake import pending_site_days
from resources.ledger.ledger import LedgerResource
from resources.ledger.tables import incident_assessments, incidents, revalidations, validations
from resources.ledger.verdicts import GIVEN, lock_verdicts, verdicts_between
from tests.conftest import CHECKOUT
from tests.ledger_states import days_from, deliver, judged

FIRST = date(2026, 10, 5)
DAYS = days_from(FIRST, 6)
STRICT = VerdictPolicy(min_members_agreeing=4, adjustments={"members_agree": -0.25})
NO_SCORES = LakeResource(root="/nowhere")  # so no incident can be found again
LACKING = [{"evidence": {}, "incident_id": "i", "failure_mode": "VIB", "day": FIRST, "verdict": "credible"}]


def site(policy: VerdictPolicy) -> Site:
    machine = Machine(machine_id="P1", machine_class="pump", sensors=(Sensor(sensor_id="P1-VIB", type="vibration", unit="mm/s"),))
    return Site(site="s", name="S", first_day=date(2026, 1, 1), machines=(machine,), policy=Policy(verdict=policy))


def span(policy: VerdictPolicy = STRICT, *, end: date = DAYS[-1]) -> Span:
    return Span(site(policy), FIRST, end)


@pytest.fixture
def history(ledger: LedgerResource) -> LedgerResource:
    """Six processed days, an incident judged on the first three: by three detectors, by four, by three and at a lower peak."""
    deliver(ledger, "s", DAYS, is_processed=True)
    judged(ledger, "s", DAYS[0])
    judged(ledger, "s", DAYS[1], n_members_agreeing=4)
    judged(ledger, "s", DAYS[2], peak_score=0.5)
    return ledger


def state(ledger: LedgerResource) -> dict[str, list[tuple[Any, ...]]]:
    a, r, v = incident_assessments, revalidations, validations
    queries = {
        "verdicts": select(a.c.day, *(a.c[name] for name in GIVEN), a.c.evidence).order_by(a.c.day),
        "revalidations": select(r.c.who, r.c.why, r.c.first_day, r.c.last_day, r.c.policy, r.c.changes),
        "validations": select(v.c.day, v.c.suite, v.c.n_failed, v.c.results).order_by(v.c.day),
        "labels": select(incidents.c.incident_id, incidents.c.label),
    }
    with ledger.begin() as connection:
        found = {name: [tuple(row) for row in connection.execute(query)] for name, query in queries.items()}
        return {**found, "pending": [(p.day,) for p in pending_site_days(connection)]}


def verdicts(ledger: LedgerResource) -> list[tuple[str, float]]:
    with ledger.begin() as connection:
        return [(row["verdict"], row["confidence"]) for row in verdicts_between(connection, site="s", start=FIRST, end=DAYS[-1])]


def said(found: Any, *, width: int = 80) -> list[str]:
    console = Console(file=StringIO(), width=width)
    show(found, span=span(), console=console)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def test_looking_says_what_would_change_and_changes_nothing(history: LedgerResource) -> None:
    before = state(history)
    found = look(history, span(), lake=NO_SCORES)
    assert said(found) == [
        "s, 2026-10-05 to 2026-10-10: 3 verdicts on 1 incident from stored evidence",
        "P1@2026-10-05T06:00Z",
        "  2026-10-05  credible 0.90 → investigate 0.65",
        "      members_agree now fails: only 3 of 7 detectors saw it (4 wanted)",
        "  2026-10-07  credible 0.75 → investigate 0.50",
        "      members_agree now fails: only 3 of 7 detectors saw it (4 wanted)",
        "2 verdicts change, or their confidence; 1 keep verdict and confidence.",
    ]
    assert found.revalidation_id is None
    assert state(history) == before


def test_applied_it_is_written_with_who_and_why_and_the_days_that_rest_on_it_wait(history: LedgerResource) -> None:
    with history.begin() as connection:
        connection.execute(update(incidents).values(label="confirmed"))
    done = apply(history, span(), lake=NO_SCORES, operator="ada", why="three are not enough")
    assert verdicts(history) == [("investigate", 0.65), ("credible", 0.9), ("investigate", 0.5)]
    after = state(history)
    assert after["labels"] == [("P1@2026-10-05T06:00Z", "confirmed")], "what people found stays"
    [(who, why, first, last, policy, changes)] = after["revalidations"]
    assert (who, why, first, last) == ("ada", "three are not enough", DAYS[0], DAYS[-1])
    assert VerdictPolicy(**policy) == STRICT
    assert [(c["day"], c["verdict_before"], c["verdict_after"], c["confidence_after"]) for c in changes] == [
        ("2026-10-05", "credible", "investigate", 0.65),
        ("2026-10-07", "credible", "investigate", 0.5),
    ]
    assert [(day, suite, n_failed) for day, suite, n_failed, _ in after["validations"]] == [
        (DAYS[0], "incidents", 1), (DAYS[1], "incidents", 0), (DAYS[2], "incidents", 2),
    ]  # fmt: skip
    # a fall of health is looked for on the three days after: the sixth day rests on the third
    assert done.days == tuple(DAYS)
    assert after["pending"] == [(day,) for day in DAYS]


def test_applied_again_nothing_changes(history: LedgerResource) -> None:
    apply(history, span(), lake=NO_SCORES, operator="ada", why="why")
    before = state(history)
    again = apply(history, span(), lake=NO_SCORES, operator="bob", why="again")
    assert again.revalidation_id is None
    assert said(again)[-1] == "Nothing changes."
    assert state(history) == before


def test_a_new_threshold_that_all_keep_is_noted_and_nothing_rests_on_it(history: LedgerResource) -> None:
    before = verdicts(history)
    done = apply(history, span(VerdictPolicy(min_members_agreeing=3)), lake=NO_SCORES, operator="ada", why="why")
    assert verdicts(history) == before
    assert (done.days, done.waiting) == ((), ())
    with history.begin() as connection:
        stored = verdicts_between(connection, site="s", start=FIRST, end=DAYS[-1])
    assert {rule["claim"] for row in stored for rule in row["rules"] if rule["name"] == "members_agree"} == {
        "at least 3 of 7 detectors saw it"
    }


def test_a_write_that_fails_leaves_everything_as_it_was(history: LedgerResource) -> None:
    before = state(history)
    with pytest.raises(IntegrityError):
        apply(history, span(), lake=NO_SCORES, operator=None, why="nobody")  # type: ignore[arg-type]
    assert state(history) == before


def test_only_the_days_of_the_range_change(history: LedgerResource) -> None:
    apply(history, span(end=DAYS[1]), lake=NO_SCORES, operator="ada", why="why")
    assert verdicts(history) == [("investigate", 0.65), ("credible", 0.9), ("credible", 0.75)]


def test_two_at_once_write_once(history: LedgerResource) -> None:
    together = threading.Barrier(2)

    def act(name: str) -> int | None:
        together.wait()
        return apply(history, span(), lake=NO_SCORES, operator=name, why="why").revalidation_id

    with ThreadPoolExecutor(2) as pool:
        ids = list(pool.map(act, ("ada", "bob")))
    assert sorted(i is None for i in ids) == [False, True]
    assert len(state(history)["revalidations"]) == 1


def test_it_waits_for_a_day_that_is_being_judged_and_judges_what_that_wrote(history: LedgerResource) -> None:
    with ThreadPoolExecutor(1) as pool:
        with history.begin() as connection:
            lock_verdicts(connection, "s")
            waiting = pool.submit(apply, history, span(), lake=NO_SCORES, operator="ada", why="why")
            with pytest.raises(TimeoutError):
                waiting.result(timeout=0.5)
            of_day = incident_assessments.c.day == DAYS[1]
            evidence = connection.scalars(select(incident_assessments.c.evidence).where(of_day)).one()
            connection.execute(update(incident_assessments).where(of_day).values(evidence={**evidence, "n_members_agreeing": 1}))
        waiting.result(timeout=30)
    assert verdicts(history)[1] == ("investigate", 0.65)


def test_evidence_older_than_a_rule_is_judged_without_it_and_said_so(ledger: LedgerResource) -> None:
    deliver(ledger, "s", DAYS, is_processed=True)
    judged(ledger, "s", DAYS[0], without=("coverage", "anomalous_share"))
    found = look(ledger, span(), lake=NO_SCORES)
    assert found.rejudged.not_gathered == {"readings_are_complete": 1, "is_sustained": 1}
    assert "is_sustained, readings_are_complete." in " ".join(said(found))
    apply(ledger, span(), lake=NO_SCORES, operator="ada", why="why")
    assert verdicts(ledger) == [("investigate", 0.65)], "the new rule that can be judged costs, those that cannot cost nothing"


def test_an_assessment_without_evidence_stays_as_it_is() -> None:
    found = rejudge(LACKING, policy=STRICT)
    assert (found.n_judged, found.changes, found.without_evidence) == (0, (), 1)


def test_verdicts_from_before_rules_were_kept_get_them(history: LedgerResource) -> None:
    with history.begin() as connection:
        connection.execute(update(incident_assessments).values(rules=[]))
    found = look(history, span(VerdictPolicy()), lake=NO_SCORES)
    assert said(found)[1:] == ["No verdict or confidence changes; 3 verdicts would be explained by the rules as", "they are now."]
    assert found.days == (), "nobody sees a difference but `explain`"
    felt = look(history, span(VerdictPolicy(min_peak_score=0.5)), lake=NO_SCORES).rejudged.felt
    assert [change.rules() for change in felt] == [["peak_is_high no longer fails"]]


def test_a_day_that_waits_for_readings_is_left_to_the_whole_chain(history: LedgerResource) -> None:
    deliver(history, "s", [DAYS[1]], name="late.csv")
    done = apply(history, span(), lake=NO_SCORES, operator="ada", why="why")
    assert done.waiting == (DAYS[1],)
    assert DAYS[1] not in done.days


def test_what_makes_a_verdict_change_is_named(history: LedgerResource) -> None:
    words = {
        "the bands of the verdicts moved": VerdictPolicy(credible_from=0.95),
        "confidence begins at 0.6, not 0.9": VerdictPolicy(base_confidence=0.6),
        "peak_is_high takes 0.3 off, not 0.15": VerdictPolicy(adjustments={"peak_is_high": -0.3}),
    }
    for sentence, policy in words.items():
        assert look(history, span(policy), lake=NO_SCORES).rejudged.felt[-1].rules() == [sentence]


VERDICT = Verdict(0.9, 0.9, 0.9, "credible", [], [], [])
FELT = Verdict(0.9, 0.6, 0.6, "investigate", ["x"], ["because"], [])
SHOWN = Verdict(0.9, 0.9, 0.9, "credible", ["x"], ["because"], [])


@given(
    stored=st.sets(st.integers(0, 20)),
    felt=st.sets(st.integers(0, 20)),
    shown=st.sets(st.integers(0, 20)),
)
def test_what_rests_on_a_change_is_its_day_and_where_it_is_felt_the_three_after(stored: set[int], felt: set[int], shown: set[int]) -> None:
    def day(n: int) -> date:
        return FIRST + timedelta(days=n)

    changes = [*(Change("i", day(n), VERDICT, FELT) for n in felt), *(Change("i", day(n), VERDICT, SHOWN) for n in shown)]
    expected = [day(n) for n in sorted(stored) if n in shown or any(n - back in felt for back in range(4))]
    assert resting_on(changes, stored={day(n) for n in stored}) == expected


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.mark.parametrize("tag", [SITE_TAG, "dagster/partition/site"])
def test_it_does_not_write_beside_a_run_of_the_site(instance: dg.DagsterInstance, tag: str) -> None:
    def run(site: str, status: dg.DagsterRunStatus) -> None:
        instance.add_run(dg.DagsterRun(job_name="process_site_day", status=status, tags={tag: site}))

    for status in (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE):
        run("s", status)
    run("t", dg.DagsterRunStatus.STARTED)
    demand_idle(instance, "s")
    run("s", dg.DagsterRunStatus.STARTED)
    with pytest.raises(CommandError, match="A run of s is under way"):
        demand_idle(instance, "s")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"site": "atlantis"}, "The plant has no site 'atlantis'; it has s."),
        ({"end": date(2026, 10, 1)}, r"The range ends \(2026-10-01\) before it starts \(2026-10-05\)\."),
        ({"is_applied": True, "operator": "ada"}, "--apply needs --operator and --why"),
        ({"is_applied": True, "operator": " ", "why": "because"}, "--apply needs --operator and --why"),
        ({"operator": "ada"}, "--operator and --why go with --apply"),
    ],
)
def test_a_command_that_makes_no_sense_is_refused(tmp_path: Any, wrong: dict[str, Any], words: str) -> None:
    environment = Environment(Home(tmp_path), CHECKOUT / "plant", (site(STRICT),), "postgresql://nowhere")
    right = {"start": FIRST, "end": DAYS[-1], "site": None, "is_applied": False, "operator": "", "why": ""}
    with pytest.raises(CommandError, match=words):
        judge_again(environment, **{**right, **wrong}, console=Console(file=StringIO()))  # type: ignore[arg-type]


def test_labels_that_came_since_change_a_verdict_and_are_named_as_the_reason(history: LedgerResource) -> None:
    a = incident_assessments
    with history.begin() as connection:
        known = dict(connection.execute(select(a).where(a.c.day == DAYS[0])).mappings().one())
        for n in range(20):
            onset = datetime(2026, 10, 4, 7, n, tzinfo=UTC)
            connection.execute(insert(incidents).values(incident_id=f"x{n}", site="s", machine_id="P2", onset_at=onset))
            connection.execute(insert(a).values({**known, "incident_id": f"x{n}", "day": FIRST - timedelta(days=1)}))
            label_incidents(connection, [f"x{n}"], Label("false_alarm", "person", "ada", "looked at it", onset))
    felt = look(history, span(VerdictPolicy()), lake=NO_SCORES).rejudged.felt
    assert [change.day for change in felt] == DAYS[:3]
    assert {tuple(change.rules()) for change in felt} == {("what people found of earlier incidents calibrates it otherwise",)}
    assert all(change.after.confidence < change.before.confidence for change in felt)
