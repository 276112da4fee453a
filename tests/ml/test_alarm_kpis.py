"""Alarm figures after ISA-18.2, each counted by hand."""

from datetime import date, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.alarm_kpis import COLUMNS, alarm_kpis, assessment, in_flood

DAY = date(2026, 3, 8)
MIDNIGHT = pd.Timestamp(DAY, tz="UTC")
BEFORE = ["alarm_id", "machine_id", "is_site_event", "raised_at"]


def alarm(
    hour: float | None,
    *,
    machine: str = "A",
    until: float | None = None,
    priority: str = "low",
    event: str | None = None,
    shelved: bool = False,
) -> dict[str, object]:
    """Raised at that hour of the day, over at the other; None: held back, and still going on."""
    raised, ended = (None if h is None else MIDNIGHT + pd.Timedelta(hours=h) for h in (hour, until))
    return {
        "incident_id": f"{machine}@{hour}",
        "machine_id": machine,
        "alarm_id": event or f"{machine}@{hour}",
        "is_site_event": event is not None,
        "priority": priority,
        "raised_at": raised,
        "ended_at": ended,
        "is_shelved": shelved,
    }


def frame(rows: list[dict[str, object]]) -> pd.DataFrame:
    columns = ["incident_id", "machine_id", "alarm_id", "is_site_event", "priority", "raised_at", "ended_at", "is_shelved"]
    table = pd.DataFrame(rows, columns=columns)
    for name in ("raised_at", "ended_at"):
        table[name] = pd.to_datetime(table[name], utc=True)
    return table.astype({"is_site_event": bool, "is_shelved": bool})


def kpis(
    today: list[dict[str, object]], *, before: list[dict[str, object]] | None = None, read_hours: float = 24, operators: int = 1
) -> dict[str, float]:
    as_of: datetime = (MIDNIGHT + timedelta(hours=read_hours)).to_pydatetime()
    return alarm_kpis(frame(today), before=frame(before or [])[BEFORE], day=DAY, as_of=as_of, operators=operators)


def burst(n: int, *, hour: float, name: str = "M") -> list[dict[str, object]]:
    return [alarm(hour, machine=f"{name}{i}") for i in range(n)]


def test_rates_count_periods_of_ten_minutes_each_ended_by_its_edge() -> None:
    """00:10 ends the first period, 00:11 and 00:20 lie in the second; four alarms of 144 periods."""
    found = kpis([alarm(10 / 60), alarm(11 / 60, machine="B"), alarm(20 / 60, machine="C"), alarm(24, machine="D")])
    assert (found["n_alarms"], found["n_periods"], found["rate_peak"]) == (4, 144, 2)
    assert found["rate_mean"] == pytest.approx(4 / 144)


def test_an_alarm_at_midnight_ends_the_day_before() -> None:
    assert kpis([alarm(0), alarm(24, machine="B")])["n_alarms"] == 1


def test_alarms_of_days_before_that_still_stand_are_not_raised_again() -> None:
    found = kpis([alarm(-30), alarm(5, machine="B")])
    assert (found["n_alarms"], found["n_standing"], found["n_stale"]) == (1, 2, 1)


def test_a_day_that_is_read_in_part_counts_its_own_periods_and_operators_share_the_load() -> None:
    found = kpis(burst(6, hour=1), read_hours=3, operators=2)
    assert (found["n_periods"], found["rate_peak"], found["n_operators"]) == (18, 3, 2)
    assert found["rate_mean"] == pytest.approx(6 / 2 / 18)
    nothing = kpis([], read_hours=0)
    assert (nothing["n_periods"], nothing["rate_mean"], nothing["rate_peak"]) == (0, 0, 0)


def test_a_flood_begins_above_ten_and_ends_below_five() -> None:
    """Periods of 11, 5, 4, 10 alarms: the first two lie in the flood."""
    rows = [r for i, n in enumerate((11, 5, 4, 10)) for r in burst(n, hour=6 + i / 6, name=f"P{i}-")]
    assert kpis(rows)["n_flood_periods"] == 2
    assert kpis(burst(10, hour=6))["n_flood_periods"] == 0, "ten are no flood"
    assert kpis(burst(20, hour=6), operators=2)["n_flood_periods"] == 0, "ten for each of two operators"
    assert kpis(burst(21, hour=6), operators=2)["n_flood_periods"] == 1


def test_a_flood_goes_on_over_midnight() -> None:
    before = burst(11, hour=0)  # the last period of the day before
    assert kpis(burst(5, hour=1 / 6), before=before)["n_flood_periods"] == 1
    assert kpis(burst(5, hour=1 / 6))["n_flood_periods"] == 0


@given(st.lists(st.integers(0, 14), max_size=60))
def test_floods_are_those_said_aloud(counts: list[int]) -> None:
    is_flood, said = False, []
    for n in counts:
        is_flood = True if n > 10 else False if n < 5 else is_flood
        said.append(is_flood)
    assert in_flood(np.array(counts, dtype=float)).tolist() == said


def test_a_machine_chatters_on_the_day_of_its_third_alarm_within_24_hours() -> None:
    thrice = [alarm(2, until=3), alarm(10, until=11), alarm(20, until=22)]
    assert kpis(thrice)["n_chattering"] == 1
    assert kpis(thrice[1:])["n_chattering"] == 0
    assert kpis([alarm(2), alarm(10, machine="B"), alarm(20, machine="C")])["n_chattering"] == 0, "of one machine"
    assert kpis([alarm(8), alarm(16)], before=[alarm(-8)])["n_chattering"] == 1, "exactly 24 hours"
    assert kpis([alarm(8), alarm(16)], before=[alarm(-8.1)])["n_chattering"] == 0
    assert kpis([alarm(8)], before=[alarm(-8), alarm(-1)])["n_chattering"] == 1
    assert kpis([], before=[alarm(-20), alarm(-10), alarm(-1)])["n_chattering"] == 0, "that was the day before's"


def test_events_of_the_site_are_one_alarm_and_no_machines_chatter() -> None:
    events = [alarm(hour, machine=m, event=f"site@{hour}") for hour in (2, 10, 20) for m in "ABC"]
    found = kpis(events)
    assert (found["n_alarms"], found["n_site_events"], found["n_chattering"], found["rate_peak"]) == (3, 3, 0, 1)


def test_fleeting_is_what_is_over_within_half_an_hour_and_does_not_come_back() -> None:
    assert kpis([alarm(2, until=2.5), alarm(4, machine="B", until=4.6), alarm(6, machine="C")])["n_fleeting"] == 1
    assert kpis([alarm(2, until=2.1), alarm(10, until=10.1), alarm(20, until=20.1)])["n_fleeting"] == 0, "that is chattering"
    event = [alarm(2, machine="A", event="s", until=2.1), alarm(2, machine="B", event="s", until=9)]
    assert kpis(event)["n_fleeting"] == 0, "an event is over with the last of its incidents"


def test_stale_is_what_has_stood_for_more_than_24_hours_unless_shelved() -> None:
    assert kpis([alarm(0)])["n_stale"] == 0, "24 hours at the day's end"
    assert kpis([alarm(-0.1)])["n_stale"] == 1
    assert kpis([alarm(-23, until=2)])["n_stale"] == 1, "25 hours, then over"
    assert kpis([alarm(-23, until=0.9)])["n_stale"] == 0
    assert kpis([alarm(-23)], read_hours=0.5)["n_stale"] == 0, "what was read of the day does not reach so far"
    assert kpis([alarm(-48, shelved=True)])["n_stale"] == 0
    assert kpis([alarm(-48, machine=m, event="s") for m in "ABC"])["n_stale"] == 1, "an event is one"


def test_standing_and_held_back_are_counted_apart() -> None:
    found = kpis([alarm(2), alarm(3, machine="B", until=5), alarm(None, machine="C"), alarm(4, machine="D", shelved=True)])
    assert (found["n_alarms"], found["n_standing"], found["n_held_back"]) == (3, 1, 1)


def test_priorities_count_alarms_and_an_event_has_the_highest_of_its_incidents() -> None:
    event = [alarm(5, machine=m, event="s", priority=p) for m, p in (("X", "low"), ("Y", "high"), ("Z", "medium"))]
    found = kpis([alarm(2, priority="medium"), alarm(3, machine="B"), alarm(4, machine="C"), *event])
    assert (found["n_high"], found["n_medium"], found["n_low"]) == (1, 1, 2)


def test_the_names_are_those_declared() -> None:
    assert list(kpis([])) == list(COLUMNS)


# --- the assessment ---

CALM = dict.fromkeys(COLUMNS, 0) | {"n_operators": 1, "n_periods": 144}


def assessed(*days: dict[str, float]) -> dict[str, tuple[float, str]]:
    table = assessment(pd.DataFrame([CALM | day for day in days]))
    return {row["measure"]: (row["value"], row["result"]) for row in table.to_dict("records")}


def test_a_calm_week_meets_what_can_be_said_of_it() -> None:
    found = assessed(*[{}] * 7)
    assert {result for _, result in found.values()} == {"met", "too few to say"}
    assert np.isnan(found["priority high (% of alarms)"][0])


def test_the_figures_of_days_are_put_together_by_hand() -> None:
    """Two days: 144 periods with one operator, 72 with two: 288 operator-periods, 216 periods."""
    first = {
        "n_alarms": 30, "rate_peak": 12, "n_flood_periods": 2, "n_chattering": 1, "n_fleeting": 2, "n_stale": 5, "n_low": 24, "n_medium": 5,
        "n_high": 1,
    }  # fmt: skip
    second = {"n_operators": 2, "n_periods": 72, "n_alarms": 10, "rate_peak": 3, "n_stale": 4, "n_low": 8, "n_medium": 1, "n_high": 1}
    found = assessed(first, second)
    assert found["alarms per 10 minutes and operator, average"] == (pytest.approx(40 / 288), "met")
    assert found["alarms per day and operator, average"] == (pytest.approx(20), "met")
    assert found["alarms per 10 minutes and operator, peak"] == (12, "not met")
    assert found["time in flood (%)"] == (pytest.approx(100 * 2 / 216), "met")
    assert found["chattering (machine-days)"] == (1, "not met")
    assert found["fleeting alarms"] == (2, "not met")
    assert found["stale alarms, worst day"] == (5, "not met")
    assert found["priority low (% of alarms)"] == (80, "met")
    assert found["priority medium (% of alarms)"] == (15, "met")
    assert found["priority high (% of alarms)"] == (5, "met")


@pytest.mark.parametrize(("n", "result"), [(144, "met"), (145, "manageable"), (288, "manageable"), (289, "not met")])
def test_the_average_has_two_benchmarks(n: int, result: str) -> None:
    assert assessed({"n_alarms": n})["alarms per 10 minutes and operator, average"][1] == result


@pytest.mark.parametrize(("n", "result"), [(150, "met"), (151, "manageable"), (300, "manageable"), (301, "not met")])
def test_so_has_the_average_per_day(n: int, result: str) -> None:
    assert assessed({"n_alarms": n})["alarms per day and operator, average"] == (pytest.approx(n), result)


def test_too_many_grave_alarms_are_not_met_and_few_alarms_say_nothing() -> None:
    found = assessed({"n_alarms": 20, "n_low": 15, "n_medium": 3, "n_high": 2})
    assert [found[f"priority {p} (% of alarms)"] for p in ("low", "medium", "high")] == [(75, "not met"), (15, "met"), (10, "not met")]
    assert assessed({"n_alarms": 19, "n_low": 19})["priority low (% of alarms)"] == (100, "too few to say")


def test_a_flood_of_one_percent_is_not_met() -> None:
    assert assessed({"n_flood_periods": 1})["time in flood (%)"][1] == "met", "1 of 144"
    assert assessed({"n_flood_periods": 2})["time in flood (%)"] == (pytest.approx(200 / 144), "not met")
