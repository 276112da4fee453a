"""The whole chain over a small plant: what went in comes out, and each step rests on the one before."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import dagster as dg
import numpy as np
import pandas as pd
import pytest
import yaml
from rich.console import Console
from sqlalchemy import func, select

from assets.advisory import _plan
from assets.partitions import SiteDay, range_tags
from cli.process import Stages
from cli.revalidate import Revalidation, Span, apply, bring_up_to_date, look
from ml.detectors.look_back import remembered_days
from ml.plant import ApprovalPolicy
from ml.policy import OrderProposal
from resources.ledger.deeds import Decision
from resources.ledger.findings import incidents_on
from resources.ledger.intake import pending_site_days
from resources.ledger.opening import open_or_join
from resources.ledger.plans import newest_plan
from resources.ledger.tables import (
    assignments,
    decisions,
    detector_versions,
    drops,
    incident_assessments,
    machine_health,
    plans,
    predictions,
    promotions,
    quarantine_counts,
    segments,
    validations,
    work_order_events,
    work_order_incidents,
    work_orders,
)
from resources.ledger.work import decide
from resources.models import CHALLENGER, CHAMPION
from resources.plant_files import read_plant
from tests.chain.conftest import DAYS, MACHINES, START, Chain

LAST = START + timedelta(days=DAYS - 1)
TRAINED_UNTIL = START + timedelta(days=4)


def test_intake_counts_what_the_gateways_delivered(chain: Chain) -> None:
    with chain.ledger.begin() as connection:
        counted = connection.execute(
            select(*(func.sum(drops.c[f"rows_{n}"]) for n in ("in", "accepted", "duplicate", "quarantined")))
        ).one()
        reasons = dict(
            connection.execute(
                select(quarantine_counts.c.reason, func.sum(quarantine_counts.c.rows)).group_by(quarantine_counts.c.reason)
            ).all()  # type: ignore[arg-type]
        )
    sent = chain.delivered
    assert tuple(int(n) for n in counted) == (sent.rows, sent.accepted, sent.duplicate, sent.quarantined)
    assert {k: int(v) for k, v in reasons.items()} == {
        "not_a_number": sent.not_a_number,
        "out_of_physical_range": sent.out_of_physical_range,
        "unknown_sensor": sent.unknown_sensor,
    }


def test_stored_readings_are_the_true_values_at_their_times(chain: Chain) -> None:
    for day, truth in chain.readings.items():
        stored = chain.lake.read("sensor_readings", site="hamburg", day=day)
        assert stored is not None
        both = stored.merge(truth, on=["sensor_id", "timestamp"], suffixes=("", "_true"))
        assert len(both) == len(stored)
        np.testing.assert_array_equal(both["value"], both["value_true"])
        assert not stored.duplicated(["sensor_id", "timestamp"]).any()
        assert len(stored) > 0.95 * len(truth)


def test_every_segment_is_merged(chain: Chain) -> None:
    with chain.ledger.begin() as connection:
        assert connection.scalars(select(func.count()).select_from(segments).where(segments.c.merged_at.is_(None))).one() == 0


def test_days_behind_what_is_processed_train_no_challenger(chain: Chain) -> None:
    """A late file opens a week again that the plant has long gone past."""
    assert list(chain.job._train_again(chain.environment.sites[0], until=LAST - timedelta(days=1))) == []
    with chain.ledger.begin() as connection:
        assert len(connection.execute(select(detector_versions)).all()) == 1


def test_the_champion_comes_from_mlflow_and_its_bytes_are_known_to_the_ledger(chain: Chain) -> None:
    models = chain.models
    assert models.version_of("hamburg", CHAMPION) == models.version_of("hamburg", CHALLENGER) == 1
    with chain.ledger.begin() as connection:
        version = connection.execute(select(detector_versions)).mappings().one()
        promotion = connection.execute(select(promotions)).mappings().one()
    assert (version["data_start"], version["data_end"]) == (START, TRAINED_UNTIL)
    assert promotion["is_promoted"]
    content = models.load("hamburg", 1, artifact_sha256=version["artifact_sha256"])
    assert hashlib.sha256(content).hexdigest() == version["artifact_sha256"]
    client = models._client()
    run = client.get_run(version["mlflow_run_id"])
    assert run.data.params["data_end"] == TRAINED_UNTIL.isoformat()
    assert run.data.tags["data_sha256"] == version["data_sha256"]
    assert run.data.metrics["machines_trained"] == len(MACHINES)


def test_the_served_model_scores_as_the_asset_did(chain: Chain) -> None:
    import mlflow

    from resources.models import zoneless

    [site] = chain.environment.sites
    features = chain.lake.read_days("machine_features", site="hamburg", start=LAST - timedelta(days=remembered_days(site)), end=LAST)
    loaded = mlflow.pyfunc.load_model("models:/detector-hamburg@champion")
    assert {c.name for c in loaded.metadata.get_input_schema()} == set(features.columns)
    served = loaded.predict(zoneless(features))
    stored = chain.lake.read("anomaly_scores", site="hamburg", day=LAST)
    assert stored is not None
    served = served[served["window_start"] >= pd.Timestamp(LAST)].reset_index(drop=True)
    np.testing.assert_allclose(served["score"], stored["score"])


def test_days_before_the_champion_have_no_scores_and_days_after_have(chain: Chain) -> None:
    for offset in range(DAYS):
        day = START + timedelta(days=offset)
        scores = chain.lake.read("anomaly_scores", site="hamburg", day=day)
        assert (scores is not None) == (day > TRAINED_UNTIL)


def test_the_worn_bearing_is_found_before_it_fails_with_its_failure_mode(chain: Chain) -> None:
    assert chain.fault.failure_at
    with chain.ledger.begin() as connection:
        found = incidents_on(connection, site="hamburg", day=chain.fault.failure_at.date() - timedelta(days=1))
    worn = found[found["machine_id"] == "HH-C302"]
    assert len(worn) == 1
    incident = worn.iloc[0]
    assert chain.fault.onset_at <= incident["onset_at"] < chain.fault.failure_at - timedelta(days=1)
    assert (incident["verdict"], incident["failure_mode"], incident["top_sensor_id"]) == ("credible", "VIB", "HH-C302-VIB")
    assert set(incident["evidence"]) >= {"n_members_agreeing", "peak_score", "worst_grade", "site_share"}


def test_health_falls_with_the_fault_and_stays_high_elsewhere(chain: Chain) -> None:
    with chain.ledger.begin() as connection:
        rows = connection.execute(select(machine_health.c.machine_id, machine_health.c.day, machine_health.c.health)).all()
    health = {(m, d): h for m, d, h in rows}
    assert health["HH-C302", date(2026, 10, 8)] < 50 < 90 < health["HH-C302", TRAINED_UNTIL]


def test_a_prediction_rests_on_the_incident_and_sees_the_failure_coming(chain: Chain) -> None:
    day = date(2026, 10, 8)
    with chain.ledger.begin() as connection:
        row = (
            connection.execute(
                select(predictions).where(
                    predictions.c.machine_id == "HH-C302", predictions.c.day == day, predictions.c.failure_mode == "VIB"
                )
            )
            .mappings()
            .one()
        )
    assert row["probability_30d"] > 0.8
    assert row["limit_side"] == "high"
    assert row["leading_sensor_id"] == "HH-C302-VIB"
    assert row["incident_ids"]
    assert row["ttf_p10_days"] <= row["ttf_p50_days"]


def test_the_work_order_links_its_incidents_and_its_history_is_audited(chain: Chain) -> None:
    with chain.ledger.begin() as connection:
        order = (
            connection.execute(select(work_orders).where(work_orders.c.machine_id == "HH-C302", work_orders.c.failure_mode == "VIB"))
            .mappings()
            .one()
        )
        linked = connection.scalars(
            select(work_order_incidents.c.incident_id).where(work_order_incidents.c.order_id == order["order_id"])
        ).all()
        moves = connection.execute(
            select(work_order_events.c.from_state, work_order_events.c.to_state)
            .where(work_order_events.c.order_id == order["order_id"])
            .order_by(work_order_events.c.event_id)
        ).all()
    assert linked
    assert tuple(moves[0]) == (None, "proposed")
    assert moves[-1][1] == order["state"]
    assert all(a[1] == b[0] for a, b in pairwise(moves)), "each change begins where the one before ended"


def test_processing_a_site_day_again_changes_nothing(chain: Chain) -> None:
    def state() -> dict[str, object]:
        with chain.ledger.begin() as connection:
            tables = (incident_assessments, machine_health, predictions, work_orders, work_order_events, plans, assignments, validations)
            of_the_run = ("run_id", "validated_at")
            rows = {
                t.name: sorted(str({k: v for k, v in r.items() if k not in of_the_run}) for r in connection.execute(select(t)).mappings())
                for t in tables
            }
        files = {
            str(p.relative_to(chain.lake.root)): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in Path(chain.lake.root).rglob("*.parquet")
        }
        return {**rows, "lake": files}

    before = state()
    chain.launcher.run("process_site_day", partition_key=SiteDay(LAST - timedelta(days=2), "hamburg").key)
    chain.launcher.run("process_site_day", tags=range_tags([SiteDay(LAST - timedelta(days=1), "hamburg"), SiteDay(LAST, "hamburg")]))
    after = state()
    for name, rows in before.items():
        assert after[name] == rows, name


def test_a_day_that_is_run_again_takes_its_fits_from_the_cache(chain: Chain) -> None:
    site_day, asset = SiteDay(LAST - timedelta(days=1), "hamburg"), dg.AssetKey("failure_predictions")

    def stored() -> list[dict[str, object]]:
        with chain.ledger.begin() as connection:
            query = select(predictions).where(predictions.c.day == site_day.day).order_by(predictions.c.machine_id)
            return [dict(row) for row in connection.execute(query).mappings()]

    def run() -> tuple[list[dict[str, object]], dict[str, object]]:
        result = chain.launcher.run("process_site_day", partition_key=site_day.key, assets=[asset])
        [event] = result.asset_materializations_for_node("failure_predictions")
        return stored(), {name: value.value for name, value in event.metadata.items()}

    before, again = run()
    assert "prophet" in {row["method"] for row in before}
    assert (again["fits_made"], again["linear_fallbacks"]) == (0, 0), "the fixture's run made them"
    assert again["fits_from_cache"] > 0
    for file in chain.environment.home.folder("fits").iterdir():
        file.unlink()
    anew, made = run()
    assert (made["fits_made"], made["fits_from_cache"]) == (again["fits_from_cache"], 0)
    assert anew == before
    assert again["calibration_asked_n"] == 200
    assert again["calibration_coverage_80"] == pytest.approx(150 / 200)
    shown = {record.data["failure_mode"]: record.data for record in again["calibration"].records}
    assert shown["VIB"] == {"failure_mode": "VIB", "put_right_by_n": 94, "asked_n": 67, "coverage_80": pytest.approx(46 / 67, abs=1e-3)}


def test_a_late_reading_reopens_its_day_and_the_later_drop_wins(chain: Chain) -> None:
    from assets.acquisition import merge_site_day
    from jobs.requests import pending_requests
    from resources.landing import drop_file

    day = START + timedelta(days=1)
    old = chain.lake.read("sensor_readings", site="hamburg", day=day)
    assert old is not None
    at = pd.Timestamp(day, tz="UTC") + pd.Timedelta(hours=3)
    text = f"timestamp,sensor_id,value,unit\n{at:%Y-%m-%dT%H:%M:%SZ},HH-P101-TEMP,47.11,°C\n"
    folder = chain.environment.home.folder("landing") / "hamburg"
    name = drop_file(text.encode(), folder, "late.csv").name
    chain.launcher.run("intake", config=dg.RunConfig(ops={"drops": {"config": {"files": [f"hamburg/{name}"]}}}))
    requests = pending_requests(chain.ledger, chain.launcher.instance)
    assert len(requests) == 1, "one run, in order of time, for the day and the days that look back on it"
    assert requests[0].tags["dagster/asset_partition_range_end"] == SiteDay(LAST, "hamburg").key
    merge_site_day(SiteDay(day, "hamburg"), lake=chain.lake, ledger=chain.ledger)  # as a run that died right after leaves it
    [again] = pending_requests(chain.ledger, chain.launcher.instance)
    assert again.tags == requests[0].tags
    asked = {(r.partition_key or r.tags["dagster/asset_partition_range_start"]) for r in requests}
    assert any("2026-10-02|hamburg" in key for key in asked), "the day is processed again"
    chain.launcher.run("process_site_day", partition_key=SiteDay(day, "hamburg").key)
    new = chain.lake.read("sensor_readings", site="hamburg", day=day)
    assert new is not None
    changed = new[(new["sensor_id"] == "HH-P101-TEMP") & (new["timestamp"] == at)]
    assert changed["value"].tolist() == [47.11]
    assert len(new) - len(old) in (0, 1)
    [left] = pending_requests(chain.ledger, chain.launcher.instance)
    assert left.tags["dagster/asset_partition_range_start"] == SiteDay(day + timedelta(days=1), "hamburg").key, "they wait"


def test_reports_exist_in_three_forms_with_figures_from_the_ledger(chain: Chain) -> None:
    for kind in ("performance_summary", "anomaly_summary", "maintenance_summary", "system_health"):
        folder = chain.environment.home.folder("reports") / kind / "hamburg"
        page = (folder / f"{LAST}.html").read_text()
        assert "<svg" in page or kind in ("maintenance_summary", "system_health")
        assert "http://" not in page.replace("http://www.w3.org", "")
        assert (folder / f"{LAST}.txt").read_text().strip()
        assert json.loads((folder / f"{LAST}.json").read_text())["kind"] == kind
    with chain.ledger.begin() as connection:
        open_orders = connection.scalars(
            select(func.count()).select_from(work_orders).where(work_orders.c.state.in_(("awaiting_decision", "approved", "scheduled")))
        ).one()
    text = (chain.environment.home.folder("reports") / "maintenance_summary" / "hamburg" / f"{LAST}.txt").read_text()
    assert str(open_orders) in text.split("Urgent")[0]


def test_every_check_of_the_chain_was_recorded_and_held(chain: Chain) -> None:
    with chain.ledger.begin() as connection:
        rows = connection.execute(
            select(validations.c.suite, func.count(), func.bool_and(validations.c.is_success)).group_by(validations.c.suite)
        ).all()
    assert {suite for suite, _, _ in rows} == {
        "sensor_readings", "sensor_quality", "machine_features", "anomaly_scores", "incidents", "machine_health", "predictions",
        "work_orders", "assignments", "unplanned_orders", "drift_findings",
    }  # fmt: skip
    assert all(is_success for _, _, is_success in rows)
    records = chain.launcher.instance.get_run_records(dg.RunsFilter(job_name="process_site_day"))
    assert len(records) >= 2
    assert all(r.dagster_run.status is dg.DagsterRunStatus.SUCCESS for r in records)


def test_the_check_of_a_training_says_of_which_site_and_version_it_speaks(chain: Chain) -> None:
    [record] = chain.launcher.instance.get_run_records(dg.RunsFilter(job_name="train_detectors"))
    entries = chain.launcher.instance.all_logs(record.dagster_run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    [said] = [e.dagster_event.event_specific_data for e in entries if e.dagster_event]
    assert said.check_name == "challenger_passes_the_gate"
    assert said.passed
    assert (said.metadata["site"].value, said.metadata["version"].value) == ("hamburg", 1)


def test_a_decision_gates_the_schedule(chain: Chain) -> None:
    with chain.ledger.begin() as connection:
        waiting = connection.scalars(
            select(work_orders.c.order_id).where(work_orders.c.state == "awaiting_decision").order_by(work_orders.c.order_id)
        ).all()
        planned = set(connection.scalars(select(assignments.c.order_id)))
    assert waiting, "the small plant leaves an order to decide on"
    assert not planned & set(waiting), "nobody approved it, so nobody plans it"
    order = waiting[0]
    now = datetime.now(UTC)
    with chain.ledger.begin() as connection:
        decide(connection, Decision(order, "approve", "ada", "seen it", now, request_id="gate"))
        assert connection.scalars(select(func.count()).select_from(decisions)).one() == 1
    chain.launcher.run("plan_site_day", partition_key=SiteDay(now.date(), "hamburg").key)
    with chain.ledger.begin() as connection:
        assert connection.scalars(select(work_orders.c.state).where(work_orders.c.order_id == order)).one() == "scheduled"
        assert (
            connection.scalars(
                select(func.count()).select_from(assignments).where(assignments.c.order_id == order, assignments.c.day == now.date())
            ).one()
            == 1
        )


def plan_of(chain: Chain, day: date) -> list[tuple[object, ...]]:
    with chain.ledger.begin() as connection:
        a = assignments
        query = select(a.c.order_id, a.c.technician_id, a.c.start_at, a.c.end_at, a.c.is_overtime).where(a.c.day == day)
        return [tuple(row) for row in connection.execute(query.order_by(a.c.order_id))]


def newest_day(chain: Chain) -> date:
    with chain.ledger.begin() as connection:
        day = newest_plan(connection, site="hamburg")
    assert day is not None
    return day


def test_work_approved_by_an_earlier_day_is_in_the_plan_in_force(chain: Chain) -> None:
    newest = newest_day(chain)
    assert newest > LAST, "a decision was made since"
    wanted = OrderProposal(
        machine_id="HH-P101", failure_mode="ELE", priority="urgent", risk_cost=1e5, probability_7d=0.9, probability_30d=0.95,
        confidence=0.99, is_urgent=True, due_at=pd.Timestamp(LAST, tz="UTC"), title="Repair", actions=("Look",), reason="late data",
        incident_ids=(), crew=(("mechanical",),), duration_h=2.0, parts=(),
    )  # fmt: skip
    approved = ("approved", "approved by policy")
    with chain.ledger.begin() as connection:
        as_of = SiteDay(LAST, "hamburg").end - timedelta(hours=1)
        order = open_or_join(connection, wanted, site="hamburg", day=LAST, state=approved, as_of=as_of, policy=ApprovalPolicy())
    chain.launcher.run("plan_site_day", partition_key=SiteDay(LAST, "hamburg").key)
    with chain.ledger.begin() as connection:
        assert connection.scalars(select(work_orders.c.state).where(work_orders.c.order_id == order)).one() == "scheduled"
    assert order in {row[0] for row in plan_of(chain, newest)}


def test_planning_the_day_again_moves_nothing_and_what_has_begun_stays_the_next_days(chain: Chain) -> None:
    newest = newest_day(chain)
    before = plan_of(chain, newest)
    assert before
    chain.launcher.run("plan_site_day", partition_key=SiteDay(newest, "hamburg").key)
    assert plan_of(chain, newest) == before
    site = next(s for s in chain.environment.sites if s.site == "hamburg")
    for n in range(1, 15):
        _plan(SiteDay(newest + timedelta(days=n), "hamburg"), site=site, lake=chain.lake, ledger=chain.ledger, run_id="test")
        assert plan_of(chain, newest + timedelta(days=n)) == before


def test_planners_at_once_and_a_decision_between_them_leave_a_consistent_plan(chain: Chain) -> None:
    newest = newest_day(chain)
    site = next(s for s in chain.environment.sites if s.site == "hamburg")
    dropped = str(plan_of(chain, newest)[0][0])

    def act(n: int) -> None:
        if n == 2:
            with chain.ledger.begin() as connection:
                decide(connection, Decision(dropped, "cancel", "ada", "not needed", datetime.now(UTC)))
        else:
            _plan(SiteDay(newest, "hamburg"), site=site, lake=chain.lake, ledger=chain.ledger, run_id="test")

    with ThreadPoolExecutor(5) as pool:
        list(pool.map(act, range(5)))
    left = {str(row[0]) for row in plan_of(chain, newest)}
    with chain.ledger.begin() as connection:
        scheduled = set(connection.scalars(select(work_orders.c.order_id).where(work_orders.c.state == "scheduled")))
        n_planned = connection.scalars(select(plans.c.n_planned).where(plans.c.day == newest)).one()
    assert dropped not in left
    assert left == scheduled
    assert n_planned == len(left)


def judged_days(chain: Chain) -> dict[str, list[tuple[object, ...]]]:
    """Verdicts of the last two days, and what rests on them."""
    with chain.ledger.begin() as connection:
        return {
            table.name: [
                tuple(row)
                for row in connection.execute(select(table).where(table.c.day >= LAST - timedelta(days=1)).order_by(*table.primary_key))
            ]
            for table in (incident_assessments, machine_health, predictions)
        }


def test_a_changed_rule_is_run_again_over_history_and_back(chain: Chain) -> None:
    plant, days = chain.environment.plant / "hamburg.yaml", (LAST - timedelta(days=1), LAST)
    as_it_was, quiet = plant.read_text(), Stages(Console(quiet=True))
    chain.launcher.run("process_site_day", tags=range_tags(SiteDay(day, "hamburg") for day in days))
    before = judged_days(chain)

    def waiting() -> list[date]:
        with chain.ledger.begin() as connection:
            return [p.day for p in pending_site_days(connection) if p.day in days]

    def worn() -> list[tuple[str, float]]:
        with chain.ledger.begin() as connection:
            found = pd.concat([incidents_on(connection, site="hamburg", day=day) for day in days])
        return [(row["verdict"], row["confidence"]) for row in found[found["machine_id"] == "HH-C302"].to_dict("records")]

    def revalidated() -> Revalidation:
        """Under the plant file as it is now, and everything that rests on it made anew."""
        span = Span(read_plant(plant.parent)[0], *days)
        would = look(chain.ledger, span, lake=chain.lake)
        done = apply(chain.ledger, span, lake=chain.lake, operator="ada", why="tried out")
        assert done.rejudged == would.rejudged, "what was shown is what was written"
        assert waiting() == list(days) == list(done.days)
        bring_up_to_date(chain.launcher, site="hamburg", days=done.days, stages=quiet)
        assert waiting() == []
        assert look(chain.ledger, span, lake=chain.lake).rejudged.changes == ()
        return done

    assert {verdict for verdict, _ in worn()} == {"credible"}
    strict = yaml.safe_load(as_it_was)
    strict["policy"]["verdict"] = {"min_duration_windows": 5000, "adjustments": {"lasts_long_enough": -0.25}}
    try:
        plant.write_text(yaml.safe_dump(strict, allow_unicode=True))
        done = revalidated()
        assert {verdict for verdict, _ in worn()} == {"investigate"}
        assert {rule for change in done.rejudged.felt for rule in change.after.failed} >= {"lasts_long_enough"}
        after = judged_days(chain)
        assert after["machine_health"] != before["machine_health"], "an incident in doubt costs less health"
        chain.launcher.run("process_site_day", partition_key=SiteDay(LAST, "hamburg").key)
        assert judged_days(chain) == after, "a day that is processed anew finds the same verdicts"
    finally:
        plant.write_text(as_it_was)
    revalidated()
    assert judged_days(chain) == before


def test_changed_thresholds_find_the_incidents_of_past_days_again_and_back(chain: Chain) -> None:
    plant, quiet = chain.environment.plant / "hamburg.yaml", Stages(Console(quiet=True))
    as_it_was = plant.read_text()

    def pending() -> list[SiteDay]:
        with chain.ledger.begin() as connection:
            return [SiteDay(p.day, p.site) for p in pending_site_days(connection)]

    for site_day in pending():  # what other tests have left
        chain.launcher.run("process_site_day", partition_key=site_day.key)
    before = judged_days(chain)

    def found_anew() -> Revalidation:
        span = Span(read_plant(plant.parent)[0], START, LAST)
        done = apply(chain.ledger, span, lake=chain.lake, operator="ada", why="tried out")
        bring_up_to_date(chain.launcher, site="hamburg", days=done.days, stages=quiet, is_found_anew=bool(done.refound))
        assert look(chain.ledger, span, lake=chain.lake).refound == ()
        assert pending() == []
        return done

    higher = yaml.safe_load(as_it_was)
    higher["policy"]["detection"] = {"on_threshold": 0.95, "off_threshold": 0.9}
    try:
        plant.write_text(yaml.safe_dump(higher, allow_unicode=True))
        assert LAST in [found.day for found in found_anew().refound]
        assert judged_days(chain)["incident_assessments"] != before["incident_assessments"]
    finally:
        plant.write_text(as_it_was)
    assert found_anew().refound
    assert judged_days(chain) == before
