"""The gate, on scores made by hand: windows of ten minutes, two machines, what each detector would have seen."""

import json
from dataclasses import replace
from datetime import date
from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.fault_replay import KindFound
from ml.gate import Performance, as_markdown, figures, is_real, objections, performance
from ml.plant import Machine, Sensor, Site

SITE = Site(
    site="plant",
    name="Plant",
    first_day=date(2026, 1, 1),
    machines=tuple(
        Machine(machine_id=m, machine_class="pump", sensors=(Sensor(sensor_id=f"{m}-T", type="temperature", unit="u"),)) for m in "AB"
    ),
)
START = pd.Timestamp("2026-03-01", tz="UTC")
DAYS, COMPARED_FROM = 30, START + pd.Timedelta(days=20)
WINDOW = pd.Timedelta(minutes=10)
NO_MAINTENANCE = pd.DataFrame({"machine_id": [], "started_at": [], "ended_at": []})
Span = tuple[str, float, float]  # machine, from day, to day


def scores(*anomalous: Span) -> pd.DataFrame:
    parts = []
    for machine_id in "AB":
        starts = pd.date_range(START, periods=DAYS * 144, freq=WINDOW, unit="us")
        score = np.full(len(starts), 0.1)
        for who, begin, end in anomalous:
            if who == machine_id:
                score[round(begin * 144) : round(end * 144)] = 0.9
        parts.append(pd.DataFrame({"machine_id": machine_id, "window_start": starts, "state": "scored", "score": score}))
    return pd.concat(parts, ignore_index=True)


def incidents(*spans: Span) -> pd.DataFrame:
    times = [(m, START + pd.Timedelta(days=a), START + pd.Timedelta(days=b)) for m, a, b in spans]
    return pd.DataFrame(times, columns=["machine_id", "onset_at", "last_window_at"]).astype(
        {"onset_at": "datetime64[us, UTC]", "last_window_at": "datetime64[us, UTC]"}
    )


def done(*alarms: Span, real: tuple[Span, ...] = (), maintenance: pd.DataFrame = NO_MAINTENANCE, machines: int = 2) -> Performance:
    return performance(
        scores(*alarms),
        site=SITE,
        machines=machines,
        real=incidents(*real),
        maintenance=maintenance,
        observed_from=COMPARED_FROM,
    )


FAULT = ("A", 5.0, 7.0)
LATE_FAULT = ("A", 24.0, 25.0)


def test_a_challenger_that_never_alarms_is_refused_where_the_champion_found_an_incident() -> None:
    champion, silent = done(FAULT, real=(FAULT,)), done(real=(FAULT,))
    assert (champion.incidents_found, silent.incidents_found) == (1, 0)
    assert silent.false_alarms <= champion.false_alarms
    assert objections(silent, champion) == ("it finds 0 of 1 known incidents, the champion 1",)


def test_an_equal_passes() -> None:
    same = done(FAULT, ("B", 28.0, 28.2), real=(FAULT,))
    assert same.false_alarms == 1
    assert objections(same, same) == ()


def test_one_false_alarm_more_is_chance_and_two_are_not() -> None:
    champion = done(real=(FAULT,))
    one, two = done(("B", 28.0, 28.2)), done(("B", 22.0, 22.2), ("B", 28.0, 28.2))
    assert (champion.false_alarms, one.false_alarms, two.false_alarms) == (0, 1, 2)
    assert one.machine_months == pytest.approx(20 / 30)  # two machines, ten days
    assert objections(one, champion) == ()
    assert objections(two, champion) == ("it raises 3.00 false alarms per machine-month, 1.50 are allowed",)


def test_alarms_before_the_days_of_the_comparison_are_no_false_alarms_of_it() -> None:
    assert done(("B", 10.0, 10.5)).false_alarms == 0


def test_an_alarm_at_a_real_incident_or_at_maintenance_is_not_false_even_a_day_early() -> None:
    assert done(LATE_FAULT, real=(LATE_FAULT,)).false_alarms == 0
    assert done(("A", 23.1, 25.9), real=(LATE_FAULT,)).false_alarms == 0
    assert done(("A", 22.5, 25.0), real=(LATE_FAULT,)).false_alarms == 1
    assert done(("B", 24.0, 25.0), real=(LATE_FAULT,)).false_alarms == 1, "an incident explains its own machine's alarms only"
    work = incidents(LATE_FAULT).rename(columns={"onset_at": "started_at", "last_window_at": "ended_at"})
    assert done(("A", 24.0, 25.9), maintenance=work).false_alarms == 0


def test_a_detector_that_always_alarms_is_refused() -> None:
    champion = done(LATE_FAULT, real=(LATE_FAULT,))
    always = done(("A", 0, DAYS), real=(LATE_FAULT,))
    assert always.incidents_found == 1
    assert always.false_alarms == 3 + 4  # days 20 to 23 and 26 to 30, each begun day once
    assert any("false alarms" in why for why in objections(always, champion))


def test_fewer_machines_are_refused() -> None:
    assert objections(done(machines=1), done(machines=2)) == ("it covers 1 machines, the champion 2",)
    assert objections(done(machines=2), done(machines=1)) == ()


def test_where_nothing_was_scored_nothing_is_promoted() -> None:
    nothing = performance(
        scores()[lambda t: t["window_start"] < COMPARED_FROM],
        site=SITE,
        machines=2,
        real=incidents(),
        maintenance=NO_MAINTENANCE,
        observed_from=COMPARED_FROM,
    )
    assert nothing.false_alarms_per_machine_month is None
    assert objections(nothing, nothing) == ("nothing could be scored on the days of the comparison",)


@given(st.integers(0, 30), st.integers(0, 30), st.floats(0.05, 20))
def test_the_tolerance_is_one_alarm_whatever_the_time_observed(challengers: int, champions: int, machine_months: float) -> None:
    challenger = Performance(2, 0, 0, challengers, machine_months)
    champion = Performance(2, 0, 0, champions, machine_months)
    assert (objections(challenger, champion) == ()) == (challengers <= champions + 1)


def test_real_are_confirmed_incidents_and_credible_ones_without_a_label() -> None:
    table = pd.DataFrame(
        product((None, "confirmed", "false_alarm"), ("credible", "investigate", "false_positive_suspected")), columns=["label", "verdict"]
    )
    assert table[is_real(table)].fillna({"label": "nobody said"}).apply(tuple, axis=1).tolist() == [
        ("nobody said", "credible"),
        ("confirmed", "credible"),
        ("confirmed", "investigate"),
        ("confirmed", "false_positive_suspected"),
    ]


def test_the_comparison_is_told_in_figures_and_as_a_table() -> None:
    challenger, champion = Performance(7, 3, 3, 1, 2.0), Performance(7, 3, 2, 0, 2.0)
    said = json.loads(json.dumps(figures(challenger, champion)))
    assert said["challenger_false_alarms_per_machine_month"] == 0.5
    assert said["champion_false_alarms_per_machine_month"] == 0.0
    assert said["false_alarms_per_machine_month_allowed"] == 0.5
    assert (said["challenger_incidents_found"], said["champion_incidents_found"]) == (3, 2)
    table = as_markdown(challenger, champion, names=("challenger", "champion 4"), days="March")
    assert table.splitlines()[:3] == [
        "|  | challenger | champion 4 |",
        "| --- | --- | --- |",
        "| false alarms per machine-month | 0.50 | 0.00 |",
    ]
    assert "| known incidents found | 3 of 3 | 2 of 3 |" in table
    alone = as_markdown(challenger, None, names=("challenger", "champion 4"), days="March")
    assert "champion" not in alone
    assert not any(name.startswith("champion") for name in figures(challenger, None))


def with_faults(*found: int) -> Performance:
    kinds = tuple(KindFound(name, 8, n, n, delay_h=2.0, lead_time_h=None) for name, n in zip(("step", "stuck_sensor"), found, strict=True))
    return Performance(2, 0, 0, 0, 1.0, kinds)


def test_fewer_replayed_faults_are_refused_whichever_kind_they_are_of() -> None:
    assert objections(with_faults(7, 8), with_faults(8, 8)) == ("it finds 15 of 16 replayed faults, the champion 16",)
    assert objections(with_faults(8, 7), with_faults(7, 8)) == ()
    assert objections(with_faults(8, 8), with_faults(7, 8)) == ()


def test_more_than_half_as_slow_again_is_refused() -> None:
    same = with_faults(8, 8)
    assert objections(same, same, time_ratio=1.5) == ()
    assert objections(same, same, time_ratio=1.51) == ("it scores in 1.51 times the champion's time, 1.5 are allowed",)


def test_the_table_has_each_kind_of_fault_and_the_time() -> None:
    growing = KindFound("seal_leak", 5, 4, 4, delay_h=20.0, lead_time_h=28.25)
    challenger, champion = (Performance(2, 0, 0, 0, 1.0, (growing, *p.kinds)) for p in (with_faults(7, 8), with_faults(8, 8)))
    table = as_markdown(challenger, champion, names=("challenger", "champion 4"), days="March", time_ratio=0.5)
    assert "| replayed faults found | 19 of 21 | 20 of 21 |" in table
    assert "| - seal leak | 4 of 5, 28.2 h before the limit | 4 of 5, 28.2 h before the limit |" in table
    assert "| - step | 7 of 8, 2.0 h after the onset | 8 of 8, 2.0 h after the onset |" in table
    assert "| scoring time, of the champion's | 0.50 | 1 |" in table
    assert figures(challenger, champion)["challenger_found_step"] == 7


def test_beside_a_champion_that_alarms_everywhere_a_challenger_must_find_some_replayed_fault() -> None:
    champion = Performance(machines=2, incidents_known=0, incidents_found=0, false_alarms=9, machine_months=1.0)
    blind, seeing = (
        replace(champion, false_alarms=0, kinds=(KindFound("step", 12, n, n, delay_h=None, lead_time_h=None),)) for n in (0, 5)
    )
    assert objections(blind, champion) == ("it finds none of 12 replayed faults, where the champion has alarms already",)
    assert objections(seeing, champion) == ()
    assert objections(blind, blind) == ()
