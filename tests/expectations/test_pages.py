"""Validation pages: everything is escaped, nothing is loaded, each result is told in words, and the same results give the same bytes."""

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from expectations.pages import SuiteSummary, Validation, day_page, history_page, index_page
from expectations.rules import between, one_of
from expectations.style import STYLE
from expectations.validation import MAX_EXAMPLES, Suite, validate_table
from tests.html_page import Page

DAY = date(2026, 10, 1)
RUN = "0aa58f92-7ad0-4a56-b2c7-1c2a36f5bd23"
URL = "http://127.0.0.1:3000"
WORDS = ("every share lies between 0 and 1", "nobody has grade F")
SUITE = Suite(
    "shares",
    "shares, a row per sensor",
    "shares",
    (
        between("share", 0, 1, words=WORDS[0]),
        one_of("grade", ("A", "B"), name="all_are_usable", severity="warning", words=WORDS[1], shown=("findings",)),
    ),
    ("sensor_id",),
)


def table(n: int = 3, **changed: Any) -> pd.DataFrame:
    good = {"sensor_id": [f"s{i}" for i in range(n)], "share": 0.5, "grade": "A", "findings": ""}
    return pd.DataFrame(good | changed)


def validation(frame: pd.DataFrame | None = None, *, day: date = DAY, run_id: str = RUN) -> Validation:
    o = validate_table(table() if frame is None else frame, suite=SUITE)
    at = datetime(2026, 10, 2, 3, 4, 5, tzinfo=UTC)
    return Validation("hamburg", day, o.suite, o.success, o.n_rows, o.n_failed, o.as_dict(), run_id, at)


FAILED = table(share=[0.5, 2.0, -1.0], grade=["A", "F", "A"], findings=["", "stuck", ""])


def shown(html: str) -> str:
    """The text that a reader sees, on one line; without the title, which the browser shows elsewhere."""
    body = re.sub(r"<(title|style)>.*?</\1>", "", html, flags=re.DOTALL)
    return re.sub(r"\s+", " ", " ".join(Page(body).texts)).strip()


def pages() -> dict[str, str]:
    validations = [validation(), validation(FAILED, day=DAY + timedelta(days=1))]
    return {
        "day": day_page(validations[1], dagster_url=URL),
        "history": history_page(validations, n_days=2, dagster_url=URL),
        "index": index_page([summary()]),
    }


def summary(**changed: Any) -> SuiteSummary:
    known: dict[str, Any] = {
        "site": "hamburg", "suite": "shares", "description": SUITE.description, "day": DAY, "is_success": True, "n_failed": 0, "n_rows": 3,
        "n_days": 9, "n_days_failed": 2, "n_days_warned": 1, "last_failed_on": date(2026, 9, 3),
    }  # fmt: skip
    return SuiteSummary(**known | changed)


@pytest.mark.parametrize("name", ["day", "history", "index"])
def test_a_page_is_well_formed_and_loads_nothing_from_anywhere(name: str) -> None:
    html = pages()[name]
    page = Page(html)
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    assert not re.search(r"@import|url\(", html)
    assert {link for link in page.links if "//" in link} <= {f"{URL}/runs/{RUN}"}, "the run is the only thing that lies elsewhere"
    assert html.count("<style>") == 1
    assert STYLE in html, "the look of the reports"
    assert page.tags.count("h1") == 1


def test_the_same_results_give_the_same_bytes() -> None:
    assert pages() == pages()


def test_a_day_tells_each_expectation_in_words_and_shows_the_rows_that_fail_with_their_evidence() -> None:
    text = shown(pages()["day"])
    assert "shares failed hamburg · 2026-10-02 (UTC) · shares, a row per sensor" in text
    assert "3 rows checked at 2026-10-02 03:04:05, 2 of 3 expectations failed" in text
    failed, every = text.split("What failed")[1].split("Every expectation")
    assert f"{WORDS[0]} failed share_is_at_least_0_and_at_most_1 : 2 rows of 3: sensor_id share s1 2 s2 -1" in failed
    assert f"{WORDS[1]} warned all_are_usable : 1 row of 3: sensor_id grade findings s1 F stuck" in failed
    assert f"{WORDS[0]} share_is_at_least_0_and_at_most_1 the table is wrong failed 2" in every
    assert f"{WORDS[1]} all_are_usable a warning warned 1" in every
    assert "the table has at least 1 row the_table_has_its_rows the table is wrong passed 0" in every


def test_a_day_on_which_all_holds_has_nothing_that_failed() -> None:
    text = shown(day_page(validation(), dagster_url=URL))
    assert "every expectation holds" in text
    assert "What failed" not in text


def test_a_failure_of_the_whole_table_says_what_was_observed() -> None:
    text = shown(day_page(validation(table().iloc[:0]), dagster_url=URL))
    assert "the table has at least 1 row failed the_table_has_its_rows : the whole table. Observed: 0" in text
    assert "0 rows checked" in text


def test_of_many_failing_rows_the_first_are_shown_and_all_are_counted() -> None:
    text = shown(day_page(validation(table(1500, share=2.0)), dagster_url=URL))
    assert f"1,500 rows of 1,500, of which the first {MAX_EXAMPLES}:" in text
    assert "s19 2" in text
    assert "s20" not in text


NASTY = '<script>alert("1")</script>&<b>\'"'


def test_text_from_data_cannot_become_part_of_a_page() -> None:
    frame = table(sensor_id=[NASTY, "s1", "s2"], share=[9.0, 0.5, 0.5], grade=["F", "A", "A"], findings=[NASTY, "", ""])
    nasty = replace(validation(frame, run_id=NASTY), site=NASTY, suite=NASTY)
    for html in (
        day_page(nasty, dagster_url=URL),
        history_page([nasty], n_days=1, dagster_url=URL),
        index_page([summary(site=NASTY, suite=NASTY, description=NASTY)]),
    ):
        page = Page(html)
        assert not {"script", "b"} & set(page.tags)
        assert NASTY in "".join(page.texts), "it is shown as it is"
        assert all(not link.lower().startswith("javascript:") for link in page.links)


def test_what_no_run_kept_has_no_link_to_a_run() -> None:
    html = day_page(validation(run_id="revalidation-7"), dagster_url=URL)
    assert "revalidation-7" in html
    assert "/runs/" not in html


def history(frames: Sequence[pd.DataFrame], *, n_days: int | None = None) -> str:
    days = [validation(frame, day=date(2026, 9, 29) + timedelta(days=n)) for n, frame in enumerate(frames)]
    return history_page(days, n_days=n_days or len(days), dagster_url=URL)


def test_a_history_has_a_square_for_each_expectation_and_day_that_says_how_it_went() -> None:
    html = history([table(), FAILED, table(2500, grade="F")])
    rows = re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', html, re.DOTALL)
    grid = {words: [shown(f"<body>{cell}</body>") for cell in re.findall(r"<td.*?</td>", cells, re.DOTALL)] for words, cells in rows}
    assert grid == {
        "the table has at least 1 row": ["✓", "✓", "✓"],
        WORDS[0]: ["✓", "✕2", "✓"],
        WORDS[1]: ["✓", "!1", "!2k"],
    }
    classes = re.findall(r'<td class="(\w+)"><a href="(.*?)"', html)
    assert ("bad", "2026-09-30.html#share_is_at_least_0_and_at_most_1") in classes
    assert ("warn", "2026-10-01.html#all_are_usable") in classes
    assert ("good", "2026-09-29.html") in classes
    text = shown(html)
    assert "✕ failed 1 day ! warned 1 day ✓ passed 1 day" in text
    assert "September 2026 October 2026 expectation 29 30 01" in text
    assert f"2026-09-30 failed 3 {WORDS[0]}; {WORDS[1]} 2026-10-02 03:04:05 0aa58f92" in text


def test_an_expectation_that_came_later_has_no_square_on_earlier_days() -> None:
    earlier = validation()
    fewer = dict(earlier.results) | {"results": earlier.results["results"][:2]}
    old = replace(earlier, results=fewer)
    html = history_page([old, validation(day=DAY + timedelta(days=1))], n_days=2, dagster_url=URL)
    (cells,) = re.findall(rf'<th scope="row">{WORDS[1]}</th>(.*?)</tr>', html, re.DOTALL)
    assert re.findall(r"<td", cells) == ["<td", "<td"]
    assert cells.count("✓") == 1


def test_a_history_says_that_it_shows_the_newest_days_only() -> None:
    assert "The newest 2 of 400 days." in shown(history([table(), table()], n_days=400))
    assert "2 days." in shown(history([table(), table()]))


def test_the_index_lists_each_suite_of_each_site_with_its_latest_result_and_the_days_that_failed() -> None:
    failed, warned = summary(site="houston", is_success=False, n_failed=1), summary(n_failed=1)
    html = index_page([failed, warned, summary(suite="aa", last_failed_on=None)])
    text = shown(html)
    assert "hamburg" in text.split("houston")[0]
    assert (
        "aa shares, a row per sensor 2026-10-01 passed 3 9 2 1 shares shares, a row per sensor 2026-10-01 warned 3 9 2 1 2026-09-03" in text
    )
    assert text.endswith("2026-10-01 failed 3 9 2 1 2026-09-03 From the ledger's validations . Days are UTC days.")
    assert Page(html).links.count("houston/shares/2026-09-03.html") == 1
    assert "hamburg/aa/index.html" in Page(html).links


def test_a_result_kept_by_a_version_without_descriptions_is_shown_without() -> None:
    kept = validation()
    old = replace(kept, results={k: v for k, v in kept.results.items() if k != "description"})
    assert "2026-10-01 (UTC) ·" in shown(day_page(old, dagster_url=URL))


def luminance(colour: str) -> float:
    """Of sRGB, as WCAG 2.2 defines it."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("tone", ["bad", "warn", "info", "good", "plain"])
def test_the_words_on_a_badge_can_be_read(tone: str) -> None:
    found = re.search(rf"^\.{tone} {{ color: (#\w{{6}}); background: (#\w{{6}})", STYLE, re.MULTILINE)
    assert found
    assert contrast(*found.groups()) >= 7, "WCAG level AAA"
