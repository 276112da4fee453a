"""The reports' figures against a week that can be counted by hand."""

import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from types import ModuleType

import pytest
from scipy import stats
from sqlalchemy import Connection, insert, select, update

from assets.reporting.report import Cell, Report, Table
from assets.reporting.reports import KINDS, build_report
from ml.plant import FAILURE_MODE_NAMES
from resources.ledger import tables as t
from resources.ledger.tables import notifications

Build = Callable[..., Report]


def figures(report: Report, section: str) -> dict[str, Cell]:
    (found,) = [s for s in report.sections if s.title == section]
    return {f.label: f.value for f in found.figures}


def find_table(report: Report, title: str) -> Table:
    (found,) = [t for s in report.sections for t in s.tables if t.title == title]
    return found


def column(table: Table, name: str) -> list[Cell]:
    return [row[table.columns.index(name)] for row in table.rows]


def test_performance_figures_are_those_of_the_week(build: Build) -> None:
    report = build("performance_summary")
    assert figures(report, "Readings") == {
        "Rows accepted": 7 * 17280,
        "Rows refused": 7 * 15,  # the five a day with a bad timestamp belong to no day
        "Readings stored": 7 * 12 * 1440 - 2 * 720,
        "Coverage": 98.8,  # 119,520 of 120,960
        "Sensors": 12,
    }
    assert figures(report, "Machine health") == {"Mean health": 76.8, "Lowest health": 42.0, "Machines below 60": 1}  # (42+95+88+82)/4
    health = find_table(report, "Health by machine, lowest first")
    assert column(health, "machine") == ["P-101", "K-301", "M-201", "P-102"]
    assert column(health, "change") == [-48, 0, 0, 0]
    assert column(health, "lowest") == [42, 82, 70, 95]
    assert figures(report, "Availability") == {"Running share": 91.7}  # (1 + 0.75 + 1) / 3
    assert find_table(report, "Running time by machine").rows[0] == ("P-102", 75.0, 126.0, 168.0)
    worst = find_table(report, "Each sensor's worst day, lowest grade first")
    assert worst.rows == (("K-301.temp", "K-301", "F", 0.3, 50.0, "half of the readings are missing"),)
    predicted = find_table(report, "Latest prediction for each machine and failure mode")
    assert column(predicted, "within 30 days (%)") == [93.0, 8.0]
    assert column(predicted, "p50 (days)") == [9.2, None]


def test_coverage_by_sensor_type_has_the_mean_and_the_worst_day(build: Build) -> None:
    coverage = find_table(build("performance_summary"), "Coverage by sensor type")
    # 28 sensor-days of temperature, two of them half covered
    assert coverage.rows == (("current", 4, 100.0, 100.0, 0.02), ("temperature", 4, 96.4, 50.0, 12.0), ("vibration", 4, 100.0, 100.0, 0.02))


def test_anomaly_figures_are_those_of_the_week(build: Build) -> None:
    report = build("anomaly_summary")
    assert figures(report, "Incidents") == {
        "Incidents active": 3,
        "Credible": 1,
        "Investigate": 1,
        "False positive suspected": 1,
        "Still going on": 1,
    }
    assert figures(report, "From onset to action") == {
        "Incidents with a work order": 1,
        "Mean time from onset to work order": 18.0,  # Friday 06:00 to Saturday 00:00
        "Mean time from onset to end": 16.0,  # 28 h and 4 h
        "Confirmed by people": 0,
        "False alarms by people": 1,
    }
    listed = find_table(report, "Incidents, the most credible first")
    assert column(listed, "machine")[0] == "P-101"
    assert (
        column(listed, "reasons for doubt")[1]
        == "only 1 of 4 detectors saw it (2 wanted); a sensor it rests on has grade F (A or B or C wanted)"
    )
    # 36 of 576 a day are stops, and of two days 72 have too few readings
    assert figures(report, "Scores") == {"Windows": 7 * 4 * 144, "Windows scored": 90.2}
    unwatched = find_table(report, "Machines not watched all the time")
    assert unwatched.rows == (("K-301", 7 * 144 - 144, 144, 14.3, "too few readings, or none that tells whether it runs"),)


def test_a_machine_without_any_score_is_named_first_of_those_not_watched(build: Build) -> None:
    unwatched = find_table(build("anomaly_summary", site=None), "Machines not watched all the time")
    assert [row[:2] for row in unwatched.rows] == [("south", "P-1"), ("north", "K-301")]
    assert unwatched.rows[0][2:] == (0, 0, None, "no detector, or no readings")


def test_an_incident_is_told_as_it_was_known_in_the_range(build: Build, week: ModuleType) -> None:
    report = build("anomaly_summary", end=week.DAYS[4])
    assert figures(report, "Incidents")["Credible"] == 0, "it became credible two days later"
    assert figures(report, "Incidents")["Investigate"] == 2


def test_maintenance_figures_are_those_of_the_week(build: Build) -> None:
    report = build("maintenance_summary")
    assert figures(report, "Work orders") == {
        "Open": 2,
        "Urgent": 1,
        "Past their due date": 0,
        "Risk of the open ones": 24_650,
        "Closed in the range": 2,
    }
    assert find_table(report, "Orders by state and priority").rows == (
        ("awaiting_decision", 1, 0, 0, 1, 0), ("scheduled", 1, 1, 0, 0, 0), ("completed", 1, 0, 1, 0, 0), ("rejected", 1, 0, 0, 0, 1)
    )  # fmt: skip
    assert figures(report, "Waiting for a decision") == {"Waiting": 1, "Longest wait": 72.0}, "a reminder does not start the wait anew"
    assert figures(report, "Schedule") == {
        "Optimality gap, North works": 0.0, "Planned": 1, "Hours planned": 4.0, "In overtime": 0, "Later than due": 0,
        "Begun, not reported": 0, "Without a place": 1,
    }  # fmt: skip
    assert column(find_table(report, "Assignments"), "technician") == ["Ada <b>Berg</b>"], "of the newest plan, not of the one before"
    assert figures(report, "Work done") == {
        "Work done": 2,
        "Mean duration": 2.0,  # 3 h and 1 h
        "No fault found": 1,
        "Mean time from order to end": 1.3,  # 32 h
    }


def test_orders_are_in_the_state_they_had_at_the_end_of_the_range(build: Build, week: ModuleType) -> None:
    report = build("maintenance_summary", end=week.DAYS[2])
    table = find_table(report, "Orders by state and priority")
    assert dict(zip(column(table, "state"), column(table, "total"), strict=True)) == {"awaiting_decision": 1, "completed": 1}
    later = build("maintenance_summary", start=week.DAYS[4])
    assert figures(later, "Work orders")["Closed in the range"] == 0, "both were closed before"


def test_system_figures_are_those_of_the_week(build: Build) -> None:
    report = build("system_health")
    assert figures(report, "Deliveries") == {
        "Drops accepted": 7,
        "Drops refused": 1,
        "Rows delivered": 7 * 17300 + 21,
        "Rows accepted": 7 * 17280,
        "Rows duplicate": 21,
        "Rows quarantined": 140,
        "Median delay": 34.0,  # the fourth of seven: 33 min after midnight, the last reading at 23:59
        "Longest delay": 52.0,
    }
    assert find_table(report, "Quarantined rows by reason").rows == (("out of physical range", 105, 1, 7), ("bad timestamp", 35, 1, 7))
    assert find_table(report, "Refused drops").rows == (("holiday <pictures>.csv", "2026-03-06 09:00", "the column timestamp is missing"),)
    assert find_table(report, "Sensor-days by grade").rows == (("A", 82, 97.6), ("B", 0, 0.0), ("C", 0, 0.0), ("F", 2, 2.4))
    assert find_table(report, "In use").rows == ((3, 4032, "2026-01-01 to 2026-02-20"),)
    assert figures(report, "Validations") == {"Validations": 7, "Failed": 1, "Expectations not met": 2}
    assert column(find_table(report, "Expectations not met"), "result") == ["failed", "warning"]
    assert find_table(report, "Most days drifted first").rows == (("P-101.vib", "P-101", "level", 2, 7, 0.3, 0.15),)


def test_notifications_that_wait_and_that_failed_are_counted_by_receiver(build: Build, ledger: Connection) -> None:
    at = [datetime(2026, 3, 6, hour, tzinfo=UTC) for hour in range(6)]
    given = [("ada", "pending", "north"), ("ada", "sent", "north"), ("ada", "failed", "south"), ("ben", "withdrawn", "north"),
             ("ben", "pending", "north"), ("ben", "failed", None)]  # fmt: skip
    rows = [
        {"event_key": f"e{n}", "receiver_id": who, "kind": "overdue", "severity": "info", "site": site, "subject": "s", "body": "b",
         "state": state, "created_at": at[n], "next_attempt_at": at[n]}
        for n, (who, state, site) in enumerate(given)
    ]  # fmt: skip
    with ledger.begin_nested() as transaction:
        ledger.execute(insert(notifications), rows)
        north, everywhere = build("system_health"), build("system_health", site=None)
        transaction.rollback()
    assert figures(north, "Notifications") == {"Waiting to be sent": 2, "Failed for good": 0, "Sent": 1}
    assert figures(everywhere, "Notifications") == {"Waiting to be sent": 2, "Failed for good": 2, "Sent": 1}
    listed = find_table(everywhere, "Notifications by receiver")
    assert listed.rows == (("ada", 1, 1, 1, "2026-03-06 00:00"), ("ben", 1, 1, 0, "2026-03-06 04:00"))


def test_drops_of_other_days_are_left_out(build: Build, week: ModuleType) -> None:
    one_day = figures(build("system_health", start=week.DAYS[4], end=week.DAYS[4]), "Deliveries")
    assert (one_day["Drops accepted"], one_day["Drops refused"], one_day["Rows duplicate"]) == (1, 1, 4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_site_without_data_gets_words_instead_of_empty_tables(build: Build, kind: str) -> None:
    for section in build(kind, site="south").sections:
        assert section.text
        assert (section.figures, section.tables, section.charts) == ((), (), ())


@pytest.mark.parametrize("kind", KINDS)
def test_a_report_of_all_sites_names_the_site_in_each_row(build: Build, kind: str) -> None:
    report = build(kind, site=None)
    assert report.scope == "all sites"
    by_site = [t for s in report.sections for t in s.tables if "site" in t.columns]
    assert by_site
    assert all({"north"} <= set(column(t, "site")) <= {"north", "south"} for t in by_site)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"kind": "cost_summary"}, "no report 'cost_summary'; choose one of performance_summary, anomaly_summary"),
        ({"site": "west"}, "no site 'west' to report on; known: north, south"),
        ({"start": date(2026, 3, 9)}, "starts on 2026-03-09, after its end on 2026-03-08"),
    ],
)
def test_a_wrong_request_is_refused_with_the_way_out(
    ledger: Connection, week: ModuleType, changed: dict[str, object], message: str
) -> None:
    asked = {"kind": KINDS[0], "site": "north", "start": week.START, "end": week.END} | changed
    with pytest.raises(ValueError, match=message):
        build_report(asked.pop("kind"), connection=ledger, lake=week.lake(), sites=week.SITES, **asked)


def test_importing_the_reports_loads_no_drawing_library() -> None:
    program = "import sys, assets.reporting.reports, assets.reporting.render; assert not {'matplotlib', 'jinja2'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_few_labels_are_said_to_be_insufficient_evidence(build: Build) -> None:
    report = build("anomaly_summary")
    assert figures(report, "Measured precision") == {"Confirmed, of labelled incidents": "insufficient evidence", "Incidents labelled": 1}
    section = next(s for s in report.sections if s.title == "Measured precision")
    assert section.figures[0].note == "insufficient evidence: 1 of the 20 labelled incidents needed"
    assert "North works not calibrated: 1 of the 20 labelled incidents needed" in section.text
    assert find_table(report, "By verdict").rows == (("false positive suspected", 1, 0, None, None, None, "insufficient"),)


def test_enough_labels_give_a_precision_with_its_interval_and_n(ledger: Connection, build: Build, week: ModuleType) -> None:
    with ledger.begin_nested() as undone:
        known = ledger.execute(select(t.incident_assessments).where(t.incident_assessments.c.verdict == "credible")).mappings().first()
        assert known
        for n in range(24):
            name = {"incident_id": f"x{n}", "day": week.DAYS[0]}
            label = "confirmed" if n < 18 else "false_alarm"
            ledger.execute(
                insert(t.incidents).values(incident_id=f"x{n}", site="north", machine_id=f"m{n}", onset_at=week.at(0, 1), label=label)
            )
            ledger.execute(insert(t.incident_assessments).values({**known, **name}))
        report = build("anomaly_summary")
        undone.rollback()
    section = next(s for s in report.sections if s.title == "Measured precision")
    low, high = stats.binomtest(18, 25).proportion_ci(0.95, method="wilson")
    assert section.figures[0].value == 72.0
    assert section.figures[0].note == f"72% of n = 25 labelled incidents, 95 % Wilson interval {low:.0%} to {high:.0%}"
    low, high = stats.binomtest(18, 24).proportion_ci(0.95, method="wilson")
    assert find_table(report, "By verdict").rows[0] == ("credible", 24, 18, 75.0, round(100 * low, 1), round(100 * high, 1), "sufficient")
    assert "North works calibrated by 25 labelled incidents" in section.text


def test_few_repairs_make_no_figure_of_reliability(build: Build) -> None:
    section = next(s for s in build("maintenance_summary").sections if s.title == "Reliability and maintenance work")
    assert {f.label: (f.value, f.note) for f in section.figures} == {
        "MTBF": (None, "insufficient evidence: n = 1 of the 5 needed"),
        "MTTR": (None, "insufficient evidence: n = 1 of the 5 needed"),
        "Wrench time": (None, "insufficient evidence: n = 0 of the 5 needed"),
        "Schedule compliance": (None, "insufficient evidence: n = 0 of the 5 needed"),
    }


def test_enough_repairs_give_figures_of_reliability_with_their_n(ledger: Connection, build: Build, week: ModuleType) -> None:
    """4 machines for 168 h, 6 faults: 112 h; (3 + 5 x 2) h / 6; 5 x 1 h of 5 x 2 h; 5 places, of them 4 done on their day."""
    with ledger.begin_nested() as undone:
        plan = {"site": "north", "day": week.DAYS[1], "start_at": week.at(2), "n_orders": 5, "n_planned": 5, "status": "optimal"}
        ledger.execute(insert(t.plans).values(**plan, objective=1, gap=0))
        for n in range(1, 6):
            place = {"start_at": week.at(2, 6 + n), "end_at": week.at(2, 7 + n), "is_overtime": False, "is_late": False, "revision": 0}
            key = {"site": "north", "day": week.DAYS[1], "order_id": f"WO-{n}"}
            ledger.execute(insert(t.assignments).values(**key, technician_id="ada", **place))
            begun = week.at(2 if n < 5 else 3, 8)
            work = {"site": "north", "machine_id": "P-101", "technician": "Bo Lind", "finding": "VIB", "note": "", "request_id": f"w{n}"}
            said = {"failure_mechanism": "2.4", "failure_cause": "x9", "parts_used": ["seal", "seal"], "hours_worked": 1.0}
            times = {"started_at": begun, "ended_at": begun + timedelta(hours=2)}
            ledger.execute(insert(t.maintenance_log).values(order_id=f"WO-{n}", **work, **said, **times))
        report = build("maintenance_summary")
        everywhere = build("maintenance_summary", site=None)
        undone.rollback()
    assert figures(report, "Reliability and maintenance work") == {
        "MTBF": 112.0, "MTTR": 2.2, "Wrench time": 50.0, "Schedule compliance": 80.0,
    }  # fmt: skip
    section = next(s for s in report.sections if s.title == "Reliability and maintenance work")
    low, high = (2 * 672 / stats.chi2.ppf(p, df) for p, df in ((0.95, 14), (0.05, 12)))
    assert section.figures[0].note == f"n = 6, 90 % interval {low:,.0f} to {high:,.0f}; calendar time of 4 machines over 7 days"
    assert section.figures[3].note == "n = 5; places in the plan"
    assert figures(everywhere, "Reliability and maintenance work")["North works: MTBF"] == 112.0
    assert figures(everywhere, "Reliability and maintenance work")["South works: MTBF"] is None
    rows = find_table(report, "In the order in which it ended").rows
    told = dict(zip(find_table(report, "In the order in which it ended").columns, rows[-1], strict=True))
    assert (told["finding"], told["mechanism"], told["cause"], told["parts"]) == ("vibration (bearing wear)", "wear", "x9", "seal; seal")


def test_lasting_drift_is_said_to_ask_for_retraining(build: Build, week: ModuleType) -> None:
    def said(end: date) -> str:
        return next(s for s in build("system_health", end=end).sections if s.title == "Drift").text

    assert said(week.END) == "No sensor's drift is sustained: nothing asks for retraining.", "two days of seven, with an incident of P-101"


def test_drift_on_three_days_of_five_asks_for_retraining(ledger: Connection, build: Build, week: ModuleType) -> None:
    with ledger.begin_nested() as undone:
        of_sensor = (t.drift_findings.c.sensor_id == "P-102.vib", t.drift_findings.c.day >= week.DAYS[4])
        ledger.execute(update(t.drift_findings).where(*of_sensor).values(is_drifted=True, drifted_in="spread"))
        report = build("system_health")
        undone.rollback()
    text = next(s for s in report.sections if s.title == "Drift").text
    assert text.startswith(
        "North works: sustained drift against version 3, on 3 or more of the 5 days to 2026-03-08: P-102.vib (3 days). "
        "This asks for retraining, at most once in 7 days;"
    )


def test_a_sensor_that_is_off_by_itself_for_days_is_listed_too(ledger: Connection, build: Build, week: ModuleType) -> None:
    before = find_table(build("system_health"), "Most days drifted first")
    with ledger.begin_nested() as undone:
        of_sensor = (t.drift_findings.c.sensor_id == "P-102.vib", t.drift_findings.c.day >= week.DAYS[4])
        ledger.execute(update(t.drift_findings).where(*of_sensor).values(ks_p=0.0005, psi=2.0))
        report = build("system_health")
        undone.rollback()
    assert "P-102.vib (3 days)" in next(s for s in report.sections if s.title == "Drift").text
    listed = find_table(report, "Most days drifted first")
    assert set(column(listed, "sensor")) - set(column(before, "sensor")) == {"P-102.vib"}


FORESIGHT = "Were the predicted times right?"
SHARES = "Share of true failures within the predicted interval"


def test_the_predicted_times_stand_beside_what_they_are_worth(build: Build) -> None:
    report = build("performance_summary")
    assert figures(report, FORESIGHT) == {
        "Simulated failures within p10 to p90": 75.0,
        "Failures found here within p10 to p90": "insufficient evidence",
        "Repaired before the limit": 0,
    }
    section = next(s for s in report.sections if s.title == FORESIGHT)
    low, high = stats.binomtest(150, 200).proportion_ci(0.95, method="wilson")
    assert section.figures[0].note == f"n = 200, 95 % Wilson interval {low:.0%} to {high:.0%}"
    assert section.figures[1].note == "insufficient evidence: 0 of the 20 failures needed"
    shares = find_table(report, SHARES)
    assert column(shares, "held against") == ["simulated failures"] * 4
    assert column(shares, "failure mode") == [*(FAILURE_MODE_NAMES[mode] for mode in ("ELP", "PLU", "VIB")), "all"]
    assert column(shares, "failures") == [67, 66, 67, 200]
    assert column(shares, "within p10 to p90 (%)") == [74.6, 81.8, 68.7, 75.0]
    assert column(shares, "times put right by") == ["100 simulated failures", "100 simulated failures", "94 simulated failures", None]


def test_the_chart_of_a_prediction_says_whether_its_times_were_put_right(build: Build, ledger: Connection) -> None:
    def told() -> str:
        return next(c.alt for s in build("performance_summary").sections for c in s.charts if c.title.startswith("Prediction for"))

    assert told().endswith("p10 in 4.5 days, p50 in 9.2 days, p90 in 21.0 days, put right by simulated failures.")
    with ledger.begin_nested() as undone:
        ledger.execute(update(t.predictions).values(calibrated_on=None))
        assert told().endswith("p90 in 21.0 days, by the trend alone.")
        undone.rollback()


def predicted_fault(ledger: Connection, week: ModuleType, n: int, *, p10: float | None, p90: float | None, reached_on: int) -> None:
    """An order of day 0 for a machine of its own, repaired on day 5; from a day on its limit is seen to be reached."""
    order = ledger.execute(select(t.work_orders).where(t.work_orders.c.order_id == "WO-1")).mappings().one()
    names = {"machine_id": f"m{n}", "failure_mode": "VIB"}
    ledger.execute(insert(t.work_orders).values({**order, **names, "order_id": f"X{n}", "opened_on": week.DAYS[0], "state": "completed"}))
    known = ledger.execute(select(t.predictions).where(t.predictions.c.machine_id == "P-101")).mappings().one()
    foreseen = {"day": week.DAYS[0], "as_of": week.at(1), "ttf_p10_days": p10, "ttf_p50_days": None, "ttf_p90_days": p90}
    ledger.execute(insert(t.predictions).values({**known, **names, **foreseen}))
    for day in range(reached_on, 7):
        seen = {"day": week.DAYS[day], "as_of": week.at(day + 1), "method": "observed"}
        ledger.execute(insert(t.predictions).values({**known, **names, **seen}))
    said = {"technician": "Bo", "finding": "VIB", "note": "", "request_id": f"x{n}"}
    times = {"started_at": week.at(5, 8), "ended_at": week.at(5, 12)}
    ledger.execute(insert(t.maintenance_log).values(order_id=f"X{n}", site="north", machine_id=f"m{n}", **said, **times))


def test_failures_that_came_are_held_against_what_had_been_predicted(ledger: Connection, build: Build, week: ModuleType) -> None:
    """Reached on day 3, seen at its end, 3 days after the prediction: 2.5 days, the middle of the day."""
    with ledger.begin_nested() as undone:
        for n in range(14):
            predicted_fault(ledger, week, n, p10=2.4, p90=2.6, reached_on=3)
        for n in range(14, 19):
            predicted_fault(ledger, week, n, p10=2.6, p90=9.0, reached_on=3)
        for n in range(19, 22):
            predicted_fault(ledger, week, n, p10=None, p90=None, reached_on=3)
        for n in range(22, 24):
            predicted_fault(ledger, week, n, p10=1.0, p90=None, reached_on=6)
        report = build("performance_summary")
        before = build("performance_summary", end=week.DAYS[4])
        elsewhere = build("performance_summary", site="south")
        ledger.execute(update(t.maintenance_log).where(t.maintenance_log.c.order_id == "X0").values(finding="no_fault_found"))
        one_less = build("performance_summary")
        undone.rollback()
    interval = tuple(round(100 * p, 1) for p in stats.binomtest(14, 22).proportion_ci(0.95, method="wilson"))
    assert figures(report, FORESIGHT) == {
        "Simulated failures within p10 to p90": 75.0,
        "Failures found here within p10 to p90": 63.6,
        "Repaired before the limit": 2,
    }
    assert find_table(report, SHARES).rows[-2:] == (
        ("failures found here", FAILURE_MODE_NAMES["VIB"], 22, 63.6, *interval, "94 simulated failures", "sufficient"),
        ("failures found here", "all", 22, 63.6, *interval, None, "sufficient"),
    )
    assert "Simulated failures within p10 to p90" in figures(before, FORESIGHT)
    assert figures(before, FORESIGHT)["Failures found here within p10 to p90"] == "insufficient evidence", "the work had not ended"
    assert next(s for s in elsewhere.sections if s.title == FORESIGHT).text == "Nothing in this range."
    assert figures(one_less, FORESIGHT)["Failures found here within p10 to p90"] == 61.9, "13 of 21"
