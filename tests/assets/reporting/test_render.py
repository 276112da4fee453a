"""Rendering: everything is escaped, every figure is there in each form, the same report gives the same bytes."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from types import ModuleType

import pandas as pd
import pytest

from assets.reporting import charts
from assets.reporting.render import to_html, to_json, to_text
from assets.reporting.report import MAX_ROWS, Figure, Report, Section, Table, shown, table
from assets.reporting.reports import KINDS
from tests.html_page import Page

Build = Callable[..., Report]


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_is_well_formed_and_loads_nothing_from_anywhere(build: Build, kind: str) -> None:
    html = to_html(build(kind))
    page = Page(html)
    assert "script" not in page.tags
    assert all(link.startswith("#") for link in page.links)
    assert not re.search(r"(?:https?:)?//|@import|url\((?!#)", html)
    assert len(page.ids) == len(set(page.ids)), "two charts must not share an id"
    targets = set(re.findall(r'(?:href="|url\()#([^")]+)', html))
    assert targets <= set(page.ids)


def test_names_with_markup_are_shown_and_do_nothing(build: Build) -> None:
    performance, maintenance = to_html(build("performance_summary")), to_html(build("maintenance_summary"))
    assert "<script" not in performance
    assert "Feed pump &lt;script&gt;alert(1)&lt;/script&gt;" in performance
    assert "Feed pump <script>alert(1)</script>" in Page(performance).texts
    assert "<b>" not in maintenance
    assert maintenance.count("Ada &lt;b&gt;Berg&lt;/b&gt;") >= 2, "in the table and in the schedule's chart"


def test_hostile_text_is_escaped_wherever_a_report_can_hold_it() -> None:
    bad = '"><img src=x onerror=alert(1)> $x$'
    chart = charts.health_over_time(pd.DataFrame({"machine": [bad], "day": [date(2026, 1, 1)], "health": [50.0]}))
    assert chart
    section = Section(bad, bad, (Figure(bad, bad, bad, bad),), (Table(bad, ("state", bad), ((bad, bad),)),), (chart,))
    page = Page(to_html(Report("system_health", bad, bad, date(2026, 1, 1), date(2026, 1, 1), bad, (section,))))
    assert "img" not in page.tags
    assert " $x$</text>" in chart.svg, "a dollar sign is no mathematics"


@pytest.mark.parametrize("kind", KINDS)
def test_json_says_what_the_report_says(build: Build, kind: str) -> None:
    report = build(kind)
    read = json.loads(to_json(report))
    assert read == report.as_dict()
    assert read["start"] == "2026-03-02"
    assert [f["value"] for s in read["sections"] for f in s["figures"]] == [f.value for s in report.sections for f in s.figures]
    assert "<svg" not in to_json(report)


@pytest.mark.parametrize("kind", KINDS)
def test_text_and_page_contain_every_figure_and_every_cell(build: Build, kind: str) -> None:
    report = build(kind)
    text, page = to_text(report), " ".join(Page(to_html(report)).texts)
    for section in report.sections:
        for figure in section.figures:
            assert re.search(rf"{re.escape(figure.label)} +{re.escape(shown(figure.value))}(?!\w)", text)
            assert figure.label in page
        for found in section.tables:
            assert found.title in text
            for value in (v for row in found.rows for v in row):
                assert shown(value) in text or shown(value).replace("_", " ") in text
                assert shown(value) in page or shown(value).replace("_", " ") in page
        for chart in section.charts:
            assert chart.alt in text


def test_text_tables_are_aligned() -> None:
    found = Table("t", ("k", "n", "z"), (("a", 1, "x"), ("longer", 12_345, None)))
    report = Report("system_health", "T", "s", date(2026, 1, 1), date(2026, 1, 2), "ledger", (Section("S", tables=(found,)),))
    assert to_text(report).splitlines()[-4:] == ["k            n  z", "-----------------", "a            1  x", "longer  12,345  –"]


def test_the_same_data_gives_the_same_bytes_in_another_process(build: Build, week: ModuleType) -> None:
    first, second = build("performance_summary"), build("performance_summary")
    assert to_html(first) == to_html(second)
    program = """
import sys
import pandas as pd
from datetime import date
from assets.reporting import charts
days = [date(2026, 1, 1 + n // 2) for n in range(4)]
chart = charts.health_over_time(pd.DataFrame({"machine": ["a", "b"] * 2, "day": days, "health": [9.0, 8, 7, 6]}))
sys.stdout.write(chart.svg)
"""
    runs = {subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, timeout=60).stdout for _ in range(2)}
    assert len(runs) == 1
    assert b"2026" not in runs.pop(), "no date but the labels', which carry no year"


def test_states_and_verdicts_are_badges_that_carry_their_words(build: Build) -> None:
    assert '<span class="badge bad">credible</span>' in to_html(build("anomaly_summary"))
    assert '<span class="badge warn">awaiting decision</span>' in to_html(build("maintenance_summary"))


def test_a_long_table_is_cut_and_says_so() -> None:
    cut = table("Rows", pd.DataFrame({"n": range(MAX_ROWS + 12)}), {"n": "number"})
    assert len(cut.rows) == MAX_ROWS
    assert cut.title == "Rows (the first 100 of 112)"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "–"),
        (0, "0"),
        (1234567, "1,234,567"),
        (1234.56, "1,235"),
        (0.9, "0.9"),
        (12.34, "12.3"),
        (100.0, "100"),
        (10.0, "10"),
        (0.0, "0"),
        (-48.0, "-48"),
    ],
)
def test_numbers_read_well(value: float | None, words: str) -> None:
    assert shown(value) == words


# --- charts ---


def test_a_chart_of_nothing_is_no_chart() -> None:
    days = [date(2026, 1, 1), date(2026, 1, 2)]
    empty = pd.DataFrame
    assert charts.readings_per_day(empty(columns=["day", "accepted", "quarantined"]), days=days) is None
    assert charts.incidents_by_verdict(empty(columns=["day", "verdict", "n"]), days=days) is None
    assert charts.score_heatmap(pd.DataFrame({"machine": ["a"], "at": days[:1], "score": [float("nan")]})) is None
    assert charts.health_over_time(empty(columns=["machine", "day", "health"])) is None
    assert charts.work_orders_by_state(empty(columns=["state", "priority", "n"])) is None
    assert charts.gantt(empty(columns=["technician", "machine_id", "priority", "start_at", "end_at", "is_overtime"])) is None
    history = pd.DataFrame({"at": pd.to_datetime(["2026-01-01"], utc=True), "value": [1.0]})
    as_of = pd.Timestamp("2026-01-02", tz="UTC")
    about = {"name": "s", "unit": "", "as_of": as_of, "limit": 2, "horizon_days": 30, "put_right": True}
    assert charts.prediction_fan(history, ttf_days=(None, None, None), **about) is None
    assert charts.prediction_fan(history, ttf_days=(1.0, None, None), **about) is not None


@pytest.mark.parametrize(
    ("ttf_days", "put_right", "on_the_chart", "told"),
    [
        (
            (4.5, 9.25, 21.0),
            True,
            {"p10 4.5 days · p50 9.2 days · p90 21.0 days", "reaches the limit, p10 to p90, put right by simulated failures"},
            "is reached: p10 in 4.5 days, p50 in 9.2 days, p90 in 21.0 days, put right by simulated failures.",
        ),
        (
            (4.5, None, None),
            False,
            {"p10 4.5 days · p50 beyond · p90 beyond", "reaches the limit, p10 to p90, by the trend alone"},
            "is reached: p10 in 4.5 days, p50 beyond the horizon, p90 beyond the horizon, by the trend alone.",
        ),
        ((0.0, 0.0, 0.0), False, set(), "is reached already."),
    ],
)
def test_the_chart_of_a_prediction_says_the_times_of_the_table_and_where_they_are_from(
    ttf_days: tuple[float | None, ...], put_right: bool, on_the_chart: set[str], told: str
) -> None:
    as_of = pd.Timestamp("2026-01-11", tz="UTC")
    history = pd.DataFrame({"at": pd.date_range("2026-01-01", periods=240, freq="h", tz="UTC"), "value": 4.0})
    chart = charts.prediction_fan(
        history, name="s", unit="mm/s", as_of=as_of, limit=7, ttf_days=ttf_days, horizon_days=30, put_right=put_right
    )
    assert chart
    assert chart.alt == f"s now at 4 mm/s; the limit of 7 mm/s {told}"
    said = {text for text in re.findall(r"<text[^>]*>([^<]*)</text>", chart.svg) if "p10" in text}
    assert said == on_the_chart


def test_the_bar_on_the_limit_lies_at_the_times_that_are_told() -> None:
    """From p10 to p90, or to the horizon; measured on the drawn axis, whose ticks say where days are."""
    as_of = pd.Timestamp("2026-01-11", tz="UTC")
    history = pd.DataFrame({"at": pd.date_range("2026-01-01", periods=240, freq="h", tz="UTC"), "value": 4.0})

    def bar(ttf_days: tuple[float | None, ...]) -> tuple[float, float]:
        chart = charts.prediction_fan(history, name="s", unit="", as_of=as_of, limit=7, ttf_days=ttf_days, horizon_days=30, put_right=True)
        assert chart
        ticks = re.findall(r'text-anchor: middle[^>]* x="([\d.]+)"[^>]*>(−?\d+)</text>', chart.svg)
        known = {float(word.replace("−", "-")): float(x) for x, word in ticks}
        per_day = (known[10] - known[0]) / 10
        [drawn] = re.findall(r'd="M ([\d.]+) [\d.]+\s+L ([\d.]+) [\d.]+\s*"[^>]*stroke-width: 5"', chart.svg)
        return tuple((float(x) - known[0]) / per_day for x in drawn)  # type: ignore[return-value]

    assert bar((4.5, 9.25, 21.0)) == pytest.approx((4.5, 21.0), abs=0.05)
    assert bar((4.5, 9.25, None)) == pytest.approx((4.5, 30.0), abs=0.05)


def test_charts_are_drawn_for_every_section_that_has_data(build: Build) -> None:
    drawn = {c.title.split(" for ")[0].split(",")[0] for kind in KINDS for s in build(kind).sections for c in s.charts}
    assert drawn == {
        "Rows delivered per day", "Machine health", "Prediction", "Incidents active per day", "Highest anomaly score per machine and day",
        "Work orders by state", "Schedule",
    }  # fmt: skip


def test_a_chart_has_real_text_and_its_words_are_its_data() -> None:
    orders = pd.DataFrame({"state": ["approved", "approved", "completed"], "priority": ["urgent", "low", "low"], "n": [2, 3, 4]})
    chart = charts.work_orders_by_state(orders)
    assert chart
    assert chart.alt == "Work orders by state: approved 5, completed 4."
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", chart.svg)
    assert {"approved", "completed", "urgent", "low"} <= set(texts)
    assert [t.strip() for t in texts if t.strip() in ("5", "4")]


def test_the_heatmap_paints_each_score_in_its_step_and_no_others() -> None:
    day = date(2026, 1, 1)
    frame = pd.DataFrame({"machine": ["a", "b", "c"], "at": [day] * 3, "score": [1.0, 0.0, float("nan")]})
    chart = charts.score_heatmap(frame)
    assert chart
    assert f"fill: {charts.HEAT[-1]}" in chart.svg, "a score of 1 belongs to the last step"
    assert "highest is 1.00 on a" in chart.alt
    assert "2 machines" in chart.alt
