"""Reliability figures against sums done by hand and the published table of chi-square."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pytest

from ml.reliability import (
    MIN_EVENTS,
    failures,
    mean_time_between_failures_h,
    mean_time_to_repair_h,
    schedule_compliance,
    wrench_time,
)

MONDAY = datetime(2026, 10, 5, tzinfo=UTC)


def work(*rows: tuple[float, float | None, str], start: datetime = MONDAY) -> pd.DataFrame:
    """Of (hours between start and end, hands-on hours, finding)."""
    told = [
        {"order_id": f"o{n}", "started_at": start, "ended_at": start + timedelta(hours=h), "finding": found, "hours_worked": hands}
        for n, (h, hands, found) in enumerate(rows)
    ]
    return pd.DataFrame(told, columns=["order_id", "started_at", "ended_at", "finding", "hours_worked"])


def test_mtbf_is_time_in_service_over_failures_with_the_interval_of_the_chi_square_table() -> None:
    """2 machines x 90 days = 4320 h, 6 failures: 720 h. Table: chi2(0.05; 12) = 5.226, chi2(0.95; 14) = 23.685."""
    found = mean_time_between_failures_h(6, service_h=2 * 90 * 24)
    assert (found.value, found.n) == (720.0, 6)
    assert found.low == pytest.approx(2 * 4320 / 23.685, rel=1e-4)
    assert found.high == pytest.approx(2 * 4320 / 5.226, rel=1e-4)
    assert found.words == "n = 6, 90 % interval 365 to 1,653"


@pytest.mark.parametrize(("n", "service_h"), [(MIN_EVENTS - 1, 4320.0), (0, 4320.0), (9, 0.0)])
def test_mtbf_of_few_failures_or_of_no_time_is_not_claimed(n: int, service_h: float) -> None:
    found = mean_time_between_failures_h(n, service_h=service_h)
    assert (found.value, found.low, found.high) == (None, None, None)
    assert "insufficient evidence" in found.words


def test_time_in_service_cannot_be_negative() -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        mean_time_between_failures_h(6, service_h=-1)


def test_mttr_is_the_mean_of_repairs_and_no_fault_found_is_no_repair() -> None:
    """(1 + 2 + 3 + 4 + 7.5) / 5 = 3.5; the 20 h that found nothing do not count."""
    log = work((1, None, "VIB"), (2, None, "OHE"), (3, None, "VIB"), (4, None, "NOI"), (7.5, None, "ELP"), (20, None, "no_fault_found"))
    assert list(failures(log)["order_id"]) == ["o0", "o1", "o2", "o3", "o4"]
    found = mean_time_to_repair_h(log)
    assert (found.value, found.n) == (3.5, 5)
    few = mean_time_to_repair_h(log.iloc[1:])
    assert (few.value, few.words) == (None, "insufficient evidence: n = 4 of the 5 needed")


def test_wrench_time_is_hands_on_hours_over_hours_of_the_work_whose_hours_were_told() -> None:
    """(1 + 1 + 2 + 0 + 3) / (2 + 2 + 4 + 1 + 5) = 7 / 14; what told no hours, or took no time, is left out."""
    log = work((2, 1, "VIB"), (2, 1, "VIB"), (4, 2, "OHE"), (1, 0, "no_fault_found"), (5, 3, "VIB"), (9, None, "VIB"), (0, 0, "VIB"))
    found = wrench_time(log)
    assert (found.value, found.n) == (0.5, 5)
    assert wrench_time(log.iloc[1:]).value is None
    assert wrench_time(work()).n == 0


def scheduled(*rows: tuple[str, datetime, float]) -> pd.DataFrame:
    return pd.DataFrame([{"order_id": o, "start_at": at, "end_at": at + timedelta(hours=h)} for o, at, h in rows])


def done(*rows: tuple[str, datetime, float]) -> pd.DataFrame:
    told: list[dict[str, Any]] = [
        {"order_id": o, "started_at": at, "ended_at": at + timedelta(hours=h), "finding": "VIB", "hours_worked": None} for o, at, h in rows
    ]
    return pd.DataFrame(told, columns=["order_id", "started_at", "ended_at", "finding", "hours_worked"])


def at(day: int, hour: float) -> datetime:
    return MONDAY + timedelta(days=day, hours=hour)


def test_schedule_compliance_is_the_share_of_places_whose_work_was_done_on_their_day() -> None:
    """Of six places: on time, later on the day, a day late, the day before, never; and a night's work that ends next morning."""
    plan = scheduled(
        ("a", at(0, 8), 2), ("b", at(0, 10), 2), ("c", at(1, 8), 2), ("d", at(2, 8), 2), ("e", at(2, 10), 2), ("f", at(3, 22), 4),
    )  # fmt: skip
    log = done(("a", at(0, 8), 2), ("b", at(0, 15), 3), ("c", at(2, 8), 2), ("d", at(1, 8), 2), ("f", at(3, 23), 3))
    found = schedule_compliance(plan, log, zone="UTC")
    assert (found.value, found.n) == (3 / 6, 6)
    assert schedule_compliance(plan.iloc[:4], log, zone="UTC").value is None


def test_the_day_of_a_place_is_that_of_the_site() -> None:
    """18:00 in Houston on Monday is 23:00 UTC; work from 19:30 to 21:30 there ends on Tuesday by UTC, and on its day by Houston."""
    plan = scheduled(*((name, at(0, 21), 2) for name in "abcde"))
    log = done(*((name, at(1, 0.5), 2) for name in "abcde"))
    assert schedule_compliance(plan, log, zone="America/Chicago").value == 1.0
    assert schedule_compliance(plan, log, zone="UTC").value == 0.0


def test_an_order_that_was_put_off_and_done_counts_once_missed_and_once_done() -> None:
    places = scheduled(("a", at(0, 8), 2), ("a", at(1, 8), 2), *((name, at(1, 8), 2) for name in "bcd"))
    assert schedule_compliance(places, done(("a", at(1, 8), 2)), zone="UTC").value == 1 / 5


def test_a_log_without_its_columns_is_refused() -> None:
    with pytest.raises(ValueError, match="work lacks the columns hours_worked"):
        wrench_time(work().drop(columns="hours_worked"))
