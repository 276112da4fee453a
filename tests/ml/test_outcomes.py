"""Alarms against events, worked out by hand: two machines, 20 days, windows of 10 minutes."""

from collections.abc import Sequence
from datetime import date

import numpy as np
import pandas as pd
import pytest

from ml.frames import UTC_TIME, typed_frame
from ml.outcomes import Observed, matched, outcome_of, recall_by_chance
from ml.plant import Machine, Sensor, Site
from ml.replay import Replayed

START = pd.Timestamp("2026-03-02", tz="UTC")
DAYS = 20
MACHINES = ("A", "B")
SITE = Site(
    site="plant",
    name="Plant",
    first_day=date(2026, 1, 1),
    machines=tuple(
        Machine(machine_id=m, machine_class="c", sensors=(Sensor(sensor_id=f"{m}1", type="other", unit="1"),)) for m in MACHINES
    ),
)
TIMES = dict.fromkeys(("onset_at", "last_window_at", "raised_at"), UTC_TIME)
EVENT = {"machine_id": "str", "kind": "str"} | dict.fromkeys(("onset_at", "failure_at", "repaired_at"), UTC_TIME)


def at(day: float) -> pd.Timestamp:
    return (START + pd.Timedelta(days=day)).as_unit("us")


def observed(
    alarms: Sequence[tuple[str, float, float, float]],
    events: Sequence[tuple[str, float, float | None, float | None]],
    *,
    scores: np.ndarray | None = None,
) -> Observed:
    """alarms: machine, onset, raised, last window; events: machine, onset, failure, repair; in days."""
    n = DAYS * 144
    windows = pd.DataFrame(
        {
            "machine_id": np.repeat(MACHINES, n),
            "window_start": list(pd.date_range(START, periods=n, freq="10min", unit="us")) * 2,
            "state": "scored",
            "score": np.zeros(2 * n) if scores is None else scores,
        }
    )
    raised = typed_frame(
        [{"machine_id": m, "onset_at": at(o), "raised_at": at(r), "last_window_at": at(e)} for m, o, r, e in alarms],
        {"machine_id": "str", **TIMES},
    )
    what = typed_frame(
        [
            {
                "machine_id": m,
                "kind": "k",
                "onset_at": at(o),
                "failure_at": pd.NaT if f is None else at(f),
                "repaired_at": pd.NaT if e is None else at(e),
            }
            for m, o, f, e in events
        ],
        EVENT,
    )
    return Observed(Replayed(SITE, windows, raised, (), scored_from=START), what)


def test_by_hand() -> None:
    seen = observed(
        [("A", 4.9, 5.5, 6.0), ("A", 12, 12.1, 12.5), ("B", 8, 8.1, 9)],
        [("A", 5, 7, 7.5), ("B", 14, 16, 17), ("B", 1, None, 2)],
    )
    result = outcome_of([seen])
    assert (result.n_events, result.n_found, result.n_alarms, result.n_false_alarms) == (3, 1, 3, 2)
    assert result.machine_months == pytest.approx(2 * 20 / 30)
    assert result.false_alarms_per_machine_month == pytest.approx(2 / (40 / 30))
    # half a day after the onset, a day and a half before the failure: from when it was raised, not from its onset
    assert (result.median_delay_h, result.median_lead_time_h) == (12, 36)
    # of 5760 windows: 361 of A's event (days 5 to 7.5, both ends), 433 and 145 of B's
    assert result.anomalous_share == pytest.approx((361 + 433 + 145) / 5760)
    assert result.average_precision == pytest.approx(result.anomalous_share)


def test_an_alarm_raised_at_the_failure_or_after_it_foresaw_nothing_though_it_began_before() -> None:
    faults = matched([observed([("A", 6.9, 7.0, 8.0)], [("A", 5, 7, 9)])]).faults
    assert faults["is_found"].tolist() == [False]


def test_a_short_alarm_lasts_to_the_end_of_its_last_window() -> None:
    ten = 10 / 1440
    # its last window begins ten minutes before the event and ends with its onset
    assert matched([observed([("A", 4.9, 4.95, 5 - ten)], [("A", 5, None, 6)])]).n_found == 1
    assert matched([observed([("A", 4.9, 4.95, 5 - 2 * ten)], [("A", 5, None, 6)])]).n_found == 0


def test_scores_that_rank_the_event_first_reach_1() -> None:
    n = DAYS * 144
    scores = np.zeros(2 * n)
    scores[5 * 144 : 6 * 144 + 1] = 0.7
    assert outcome_of([observed([], [("A", 5, None, 6)], scores=scores)]).average_precision == 1


def test_an_alarm_that_never_ends_finds_by_chance_what_it_finds() -> None:
    standing = observed([("A", 0, 0, DAYS), ("B", 0, 0, DAYS)], [("A", 5, None, 6), ("B", 14, None, 17)])
    assert outcome_of([standing]).recall == 1
    assert recall_by_chance([standing]) == 1


def test_a_rare_alarm_finds_by_chance_as_often_as_events_fill_the_time() -> None:
    """An alarm of no length, an event of 4 of 20 days: 10 of 50 equal moves hit, give or take one at the ends."""
    seen = observed([("A", 5, 5, 5)], [("A", 4, None, 8)])
    assert recall_by_chance([seen]) == pytest.approx(0.2, abs=0.021)
    assert recall_by_chance([observed([], [("A", 4, None, 8)])]) == 0


def test_an_alarm_moved_beyond_the_end_comes_in_at_the_beginning() -> None:
    """Ten days of alarm move over 20: wherever it begins, an instant at day 3 is covered half of the time."""
    seen = observed([("A", 8, 8, 18)], [("A", 3, None, 3)])
    assert recall_by_chance([seen]) == pytest.approx(0.5, abs=0.03)


def test_sites_are_kept_apart() -> None:
    other = observed([("A", 5, 5.5, 6)], [])
    renamed = Observed(
        Replayed(SITE.model_copy(update={"site": "elsewhere"}), other.replayed.scores, other.replayed.raised, (), scored_from=START),
        other.events,
    )
    result = outcome_of([observed([], [("A", 5, None, 7)]), renamed])
    assert (result.n_found, result.n_false_alarms) == (0, 1)
