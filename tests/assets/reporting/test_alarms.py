"""Alarms, shelvings and the standard's measures in the reports, counted by hand from the week."""

from collections.abc import Callable
from types import ModuleType

import pandas as pd
import pytest
from sqlalchemy import Connection

from assets.reporting.alarms import alarms_of
from assets.reporting.render import to_html, to_text
from assets.reporting.report import Report, Section
from assets.reporting.reports import build_report
from resources.ledger import tables as t

Build = Callable[..., Report]


def section(report: Report, title: str) -> Section:
    return next(s for s in report.sections if s.title == title)


def rows(found: Section, title: str) -> dict[object, tuple[object, ...]]:
    [shown] = [x for x in found.tables if x.title == title]
    return {row[0]: row[1:] for row in shown.rows}


def test_each_alarm_is_told_once_and_what_was_shelved_with_who_and_why(build: Build) -> None:
    found = section(build("anomaly_summary"), "Alarms")
    assert {f.label: (f.value, f.unit) for f in found.figures} == {
        "Alarms raised": (2, ""), "Of high priority": (1, "of 2"), "Incidents held back": (1, "of 3"), "Shelvings": (1, ""),
    }  # fmt: skip
    assert rows(found, "Alarms, the latest first") == {
        "2026-03-06 06:30": ("high", "one machine", "P-101", "P-101@2026-03-06T06:00Z"),
        "2026-03-03 06:30": ("low", "one machine", "K-301", "K-301@2026-03-03T06:00Z"),
    }
    assert rows(found, "Shelved") == {
        "M-201": (
            "2026-03-05 05:00", "2026-03-05 20:00", "Kim <i>Ross</i>", "gearbox overhaul", 1, "2026-03-05 14:00 by Lee: done early",
        )
    }  # fmt: skip


def test_a_day_tells_only_its_own_alarms_and_what_was_shelved_on_it(build: Build, week: ModuleType) -> None:
    """P-101's alarm of Friday still stands on Saturday, and is not raised again."""
    saturday = section(build("anomaly_summary", start=week.DAYS[5], end=week.DAYS[5]), "Alarms")
    assert {f.label: f.value for f in saturday.figures} == {
        "Alarms raised": 0, "Of high priority": 0, "Incidents held back": 0, "Shelvings": 0,
    }  # fmt: skip
    assert saturday.tables == ()
    thursday = section(build("anomaly_summary", start=week.DAYS[3], end=week.DAYS[3]), "Alarms")
    assert [x.title for x in thursday.tables] == ["Shelved"]


def test_the_measures_stand_beside_the_benchmarks_of_the_standard(build: Build) -> None:
    found = section(build("system_health"), "Alarm system")
    assert {f.label: f.value for f in found.figures} == {"Alarms raised": 2, "Standing at the end": 1}
    assert rows(found, "Measures and benchmarks") == {
        "alarms per 10 minutes and operator, average": (0.002, "1 acceptable, 2 manageable", "met"),  # 2 of 1008
        "alarms per day and operator, average": (0.286, "150 acceptable, 300 manageable", "met"),  # 2 in 7 days
        "alarms per 10 minutes and operator, peak": (1.0, "at most 10", "met"),
        "time in flood (%)": (0.0, "below 1", "met"),
        "chattering (machine-days)": (0.0, "0", "met"),
        "fleeting alarms": (0.0, "0", "met"),
        "stale alarms, worst day": (1.0, "fewer than 5", "met"),
        "priority low (% of alarms)": (50.0, "about 80", "too few to say"),
        "priority medium (% of alarms)": (0.0, "about 15", "too few to say"),
        "priority high (% of alarms)": (50.0, "about 5", "too few to say"),
    }
    by_day = rows(found, "By day")
    assert len(by_day) == 7
    #                             alarms, peak, flood, chattering, fleeting, stale, standing, held back, high, medium, low
    assert by_day["2026-03-03"] == (1, 1.0, 0.0, 0, 0, 0, 1, 0, 0, 0, 1)
    assert by_day["2026-03-05"] == (0, 0.0, 0.0, 0, 0, 0, 0, 1, 0, 0, 0)
    assert by_day["2026-03-08"] == (0, 0.0, 0.0, 0, 0, 1, 1, 0, 0, 0, 0)


def test_one_day_needs_no_table_of_days(build: Build, week: ModuleType) -> None:
    found = section(build("system_health", start=week.DAYS[1], end=week.DAYS[1]), "Alarm system")
    assert [x.title for x in found.tables] == ["Measures and benchmarks"]
    assert found.figures[0].note == "in 24 hours read, 1 site-day"


def test_pages_show_results_as_badges_and_names_do_nothing(build: Build) -> None:
    assert '<span class="badge good">met</span>' in to_html(build("system_health"))
    assert '<span class="badge warn">high</span>' in to_html(build("anomaly_summary"))
    assert "<i>Ross" not in to_html(build("anomaly_summary"))
    assert "1 acceptable, 2 manageable" in to_text(build("system_health"))


def test_results_that_are_not_met_stand_out(ledger: Connection, week: ModuleType) -> None:
    """A day of chatter, in a transaction that is taken back."""
    nested = ledger.begin_nested()
    ledger.execute(t.alarm_kpis.update().where(t.alarm_kpis.c.day == week.DAYS[0]).values(n_chattering=1, n_alarms=1500))
    report = build_report(
        "system_health", connection=ledger, lake=week.lake(), sites=week.SITES, site="north", start=week.START, end=week.END
    )
    nested.rollback()
    measures = rows(section(report, "Alarm system"), "Measures and benchmarks")
    assert measures["chattering (machine-days)"] == (1.0, "0", "not met")
    assert measures["alarms per 10 minutes and operator, average"][2] == "manageable"  # 1502 of 1008
    html = to_html(report)
    assert '<span class="badge bad">not met</span>' in html
    assert '<span class="badge warn">manageable</span>' in html


def test_an_event_of_the_site_is_one_alarm_with_its_machines_and_the_highest_priority() -> None:
    moved = pd.DataFrame(
        {
            "site": "s", "day": pd.to_datetime(["2026-03-02"] * 3 + ["2026-03-03"]), "incident_id": ["a", "b", "c", "a"],
            "machine_id": ["P-2", "P-1", "P-3", "P-2"], "alarm_id": "site:s@x", "is_site_event": True,
            "priority": ["low", "medium", "low", "high"], "raised_at": pd.Timestamp("2026-03-02T10:30Z"),
        }
    )  # fmt: skip
    [alarm] = alarms_of(moved).to_dict("records")
    assert (alarm["machines"], alarm["what"]) == ("P-1, P-2, P-3", "event of the site, 3 machines")
    assert alarm["priority"] == "medium", "as on the day that raised it, not as later"


@pytest.mark.parametrize(("raised", "n"), [("2026-03-02T00:00Z", 0), ("2026-03-02T00:10Z", 1), ("2026-03-03T00:00Z", 1)])
def test_an_alarm_at_midnight_ends_its_day(raised: str, n: int) -> None:
    row = {"site": "s", "day": pd.Timestamp("2026-03-02"), "incident_id": "a", "machine_id": "P", "alarm_id": "a", "is_site_event": False}
    assert len(alarms_of(pd.DataFrame([row | {"priority": "low", "raised_at": pd.Timestamp(raised)}]))) == n
