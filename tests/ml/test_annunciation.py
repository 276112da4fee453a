"""Alarms: one in an incident's life, when the on-delay is over; held back while shelved; one for the whole site where it moves at once."""

from collections.abc import Sequence
from datetime import date

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.annunciation import EARLIER, PRIORITIES, annunciate, priority_of, site_events
from ml.incidents import find_incidents
from ml.plant import AlarmPolicy, Criticality, DetectionPolicy, Machine, Policy, Sensor, Site
from ml.shelving import Shelving

DAY = date(2026, 3, 8)
MIDNIGHT = pd.Timestamp(DAY, tz="UTC")
WINDOW = pd.Timedelta(minutes=10)
CRITICALITIES: dict[str, Criticality] = {"A": "critical", "B": "high", "C": "medium", "D": "low", "E": "medium"}


def site(**alarms: float) -> Site:
    machines = tuple(
        Machine(machine_id=m, machine_class="pump", criticality=c, sensors=(Sensor(sensor_id=f"{m}-t", type="temperature", unit="°C"),))
        for m, c in CRITICALITIES.items()
    )
    policy = Policy(
        detection=DetectionPolicy(on_threshold=0.6, off_threshold=0.4, on_delay_windows=3, off_delay_windows=2, merge_gap_windows=4),
        alarms=AlarmPolicy.model_validate(alarms),
    )
    return Site(site="plant", name="Plant", first_day=date(2026, 1, 1), machines=machines, policy=policy)


def scores(
    anomalous: dict[str, Sequence[tuple[int, int]]], *, machines: str = "ABCDE", day: date = DAY, n: int = 144, stopped: Sequence[int] = ()
) -> pd.DataFrame:
    """A day in which machines were anomalous in windows first..last; `stopped`: windows without a score, of all machines."""
    tables = []
    for machine in machines:
        score = np.full(n, 0.1)
        for first, last in anomalous.get(machine, ()):
            score[first : last + 1] = 0.8
        state = np.full(n, "scored", dtype=object)
        state[list(stopped)] = "stopped"
        score[list(stopped)] = np.nan
        start = pd.date_range(pd.Timestamp(day, tz="UTC"), periods=n, freq=WINDOW, unit="us")
        said = {"n_members_agreeing": 3, "n_sensors_moved": 1, "top_sensor_id": f"{machine}-t", "moved_sensors": "{}"}
        tables.append(pd.DataFrame({"machine_id": machine, "window_start": start, "state": state, "score": score, **said}))
    return pd.concat(tables, ignore_index=True)


NONE_EARLIER = pd.DataFrame({name: pd.Series(dtype=object) for name in EARLIER})
KNOWN = {"incident_id": "str", "machine_id": "str", "onset_at": "datetime64[us, UTC]", "last_window_at": "datetime64[us, UTC]"}
NONE_KNOWN = pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in KNOWN.items()})


def alarms(
    scored: pd.DataFrame,
    *,
    day: date = DAY,
    earlier: pd.DataFrame = NONE_EARLIER,
    known: pd.DataFrame = NONE_KNOWN,
    shelvings: Sequence[Shelving] = (),
    at: Site | None = None,
    verdict: str = "credible",
) -> pd.DataFrame:
    plant = at or site()
    found = find_incidents(scored, site=plant, day=day, known=known).assign(verdict=verdict)
    as_of = scored["window_start"].max() + WINDOW
    return annunciate(found, scores=scored, earlier=earlier, shelvings=shelvings, site=plant, as_of=as_of.to_pydatetime())


def shelving(first: float, last: float, *, machine: str = "A", incident: str | None = None) -> Shelving:
    """Hours of the day."""
    times = [(MIDNIGHT + pd.Timedelta(hours=h)).to_pydatetime() for h in (first, last)]
    return Shelving(5, machine, incident, times[0], times[1])


def clock(times: "pd.Series[pd.Timestamp]") -> list[str | None]:
    return [None if pd.isna(t) else f"{t:%d %H:%M}" for t in times]


def test_an_alarm_is_raised_when_the_third_window_of_the_on_delay_is_over() -> None:
    found = alarms(scores({"A": [(12, 40)]}))
    assert clock(found["opened_at"]) == clock(found["raised_at"]) == ["08 02:30"]
    assert found["alarm_id"].tolist() == found["incident_id"].tolist() == ["A@2026-03-08T02:00Z"]


def test_windows_without_a_score_put_the_alarm_off() -> None:
    assert clock(alarms(scores({"A": [(12, 40)]}, stopped=[13, 14]))["raised_at"]) == ["08 02:50"]


def test_an_incident_raises_one_alarm_on_however_many_days_it_stands() -> None:
    first = scores({"A": [(12, 143)]})
    second = scores({"A": [(0, 60)]}, day=date(2026, 3, 9))
    on_first = alarms(first)
    both = pd.concat([first, second])
    on_second = alarms(both, day=date(2026, 3, 9), earlier=on_first[list(EARLIER)])
    assert clock(on_second["raised_at"]) == ["08 02:30"], "raised on the day before, so none on this one"
    pd.testing.assert_frame_equal(alarms(both, day=date(2026, 3, 9)), on_second, check_dtype=False)


def test_what_merges_into_an_incident_raises_no_second_alarm() -> None:
    assert len(alarms(scores({"A": [(12, 20), (24, 30)]}))) == 1
    assert clock(alarms(scores({"A": [(12, 20), (60, 70)]}))["raised_at"]) == ["08 02:30", "08 10:30"]


def test_an_incident_of_before_the_look_back_keeps_its_time_or_gets_that_of_its_onset() -> None:
    scored = scores({"A": [(0, 20)]})
    onset, last = MIDNIGHT - pd.Timedelta(days=9), MIDNIGHT - WINDOW
    known = pd.DataFrame({"incident_id": ["x"], "machine_id": ["A"], "onset_at": [onset], "last_window_at": [last]}).astype(KNOWN)
    assert clock(alarms(scored, known=known)["raised_at"]) == ["27 00:30"], "never recorded: 9 days before, three windows later"
    said = [("A@2026-02-27T00:00Z", "own", False, onset + pd.Timedelta(hours=1), onset + pd.Timedelta(hours=2))]
    earlier = pd.DataFrame(said, columns=list(EARLIER))
    found = alarms(scored, known=known, earlier=earlier)
    assert (clock(found["opened_at"]), clock(found["raised_at"]), found["alarm_id"].tolist()) == (["27 01:00"], ["27 02:00"], ["own"])


# --- shelving ---


def test_what_is_shelved_is_annunciated_when_the_time_is_over_if_it_still_stands() -> None:
    found = alarms(scores({"A": [(12, 40)]}), shelvings=[shelving(0, 4)])
    assert clock(found["raised_at"]) == ["08 04:00"]
    assert found["shelving_id"].isna().all()


def test_what_was_over_before_is_never_annunciated_and_says_by_which_shelving() -> None:
    found = alarms(scores({"A": [(12, 40)]}), shelvings=[shelving(0, 7)])  # over at 06:50
    assert clock(found["raised_at"]) == [None]
    assert found["shelving_id"].tolist() == [5]


def test_what_is_shelved_beyond_what_was_read_is_held_back() -> None:
    scored = scores({"A": [(12, 29)]}, n=30)  # read until 05:00
    found = alarms(scored, shelvings=[shelving(0, 6)])
    assert (clock(found["raised_at"]), found["shelving_id"].tolist()) == ([None], [5])


def test_shelving_after_the_alarm_does_not_take_it_back() -> None:
    assert clock(alarms(scores({"A": [(12, 40)]}), shelvings=[shelving(2.5, 20)])["raised_at"]) == [None], "at its very time: held back"
    assert clock(alarms(scores({"A": [(12, 40)]}), shelvings=[shelving(2.51, 20)])["raised_at"]) == ["08 02:30"]


def test_another_machine_or_incident_is_heard_as_ever() -> None:
    scored = scores({"A": [(12, 40)], "B": [(90, 99)]})
    found = alarms(scored, shelvings=[shelving(0, 24, machine="B"), shelving(0, 24, incident="A@2026-03-08T03:00Z")])
    assert clock(found["raised_at"]) == ["08 02:30", None]


def test_a_held_back_incident_is_heard_on_the_day_on_which_its_shelving_ends() -> None:
    first, second = scores({"A": [(12, 143)]}), scores({"A": [(0, 60)]}, day=date(2026, 3, 9))
    held = shelving(0, 24 + 3)
    on_first = alarms(first, shelvings=[held])
    assert clock(on_first["raised_at"]) == [None]
    on_second = alarms(pd.concat([first, second]), day=date(2026, 3, 9), earlier=on_first[list(EARLIER)], shelvings=[held])
    assert clock(on_second["raised_at"]) == ["09 03:00"]


# --- events of the whole site ---


def test_most_machines_at_once_are_one_event_with_one_alarm() -> None:
    """Of 5 machines 60 % are 3: reached when the third one's on-delay is over."""
    found = alarms(scores({"A": [(12, 30)], "B": [(13, 30)], "C": [(15, 30)], "D": [(60, 70)]}))
    assert found["is_site_event"].tolist() == [True, True, True, False]
    assert set(found["alarm_id"]) == {"site:plant@2026-03-08T02:00Z", "D@2026-03-08T10:00Z"}
    assert clock(found["raised_at"]) == ["08 03:00"] * 3 + ["08 10:30"]


@pytest.mark.parametrize(
    ("anomalous", "n_events"),
    [
        ({"A": [(12, 30)], "B": [(13, 30)]}, 0),  # two of five
        ({"A": [(12, 30)], "B": [(13, 30)], "C": [(16, 30)]}, 0),  # the third 40 minutes after the first
        ({"A": [(12, 30)], "B": [(15, 30)], "C": [(15, 30)]}, 1),  # at the limit of 30 minutes
        ({"A": [(5, 30)], "B": [(12, 30)], "C": [(13, 30)], "D": [(14, 30)]}, 1),  # the first stands alone, those after it do not
        ({"A": [(12, 16), (60, 70)], "B": [(12, 16), (60, 70)], "C": [(12, 16), (60, 70)]}, 2),
        ({"A": [(12, 14), (18, 20)], "B": [(30, 40)]}, 0),  # one machine does not count twice
    ],
)
def test_what_is_an_event_of_the_site(anomalous: dict[str, Sequence[tuple[int, int]]], n_events: int) -> None:
    found = alarms(scores(anomalous))
    assert found.loc[found["is_site_event"], "alarm_id"].nunique() == n_events


def test_only_machines_that_were_scored_are_asked_and_two_are_no_site() -> None:
    moved: dict[str, Sequence[tuple[int, int]]] = {"A": [(12, 30)], "B": [(12, 30)]}
    assert not alarms(scores(moved, machines="ABC"))["is_site_event"].any(), "two of three, but at least three are asked for"
    assert alarms(scores(moved, machines="ABC"), at=site(site_event_machines=2))["is_site_event"].all()
    assert not alarms(scores(moved, machines="ABCD"), at=site(site_event_machines=2))["is_site_event"].any(), "half are not 60 %"


def test_what_had_its_own_alarm_the_day_before_keeps_it_and_only_the_others_share_one() -> None:
    """A's alarm came at 23:50 of the first day; with B and C, whose onsets are 23:40 and 23:50, it would have been an event of the site."""
    first = scores({"A": [(140, 143)], "B": [(142, 143)], "C": [(143, 143)]})
    second = scores({m: [(0, 30)] for m in "ABC"}, day=date(2026, 3, 9))
    on_first = alarms(first)
    assert clock(on_first["raised_at"]) == ["08 23:50"]
    on_second = alarms(pd.concat([first, second]), day=date(2026, 3, 9), earlier=on_first[list(EARLIER)])
    assert on_second["is_site_event"].tolist() == [False, True, True]
    assert clock(on_second["raised_at"]) == ["08 23:50", "09 00:20", "09 00:20"]


def test_a_shelved_machine_counts_as_moved_but_is_not_annunciated_with_the_site() -> None:
    scored = scores({"A": [(12, 30)], "B": [(13, 30)], "C": [(15, 30)]})
    found = alarms(scored, shelvings=[shelving(0, 4)])
    assert found["is_site_event"].tolist() == [False, True, True]
    assert clock(found["raised_at"]) == ["08 04:00", "08 03:00", "08 03:00"]


def test_no_incident_makes_no_alarm_and_no_event() -> None:
    scored = scores({})
    assert len(alarms(scored)) == 0
    assert site_events(pd.DataFrame(columns=["incident_id", "machine_id", "onset_at", "opened_at"]), scores=scored, site=site()) == []


# --- priorities ---


@pytest.mark.parametrize(
    ("criticality", "verdict", "peak", "priority"),
    [
        ("critical", "credible", 0.7, "high"),  # 3 + 2
        ("high", "credible", 0.9, "high"),  # 2 + 2 + 1
        ("high", "credible", 0.89, "medium"),
        ("critical", "investigate", 0.7, "medium"),  # 3 + 1
        ("medium", "credible", 0.95, "medium"),  # 1 + 2 + 1
        ("medium", "credible", 0.7, "low"),
        ("low", "credible", 1.0, "low"),  # 0 + 2 + 1
        ("critical", "false_positive_suspected", 1.0, "low"),
    ],
)
def test_priorities_by_hand(criticality: Criticality, verdict: str, peak: float, priority: str) -> None:
    assert priority_of(criticality, verdict=verdict, peak_score=peak) == priority


_GRAVITY = st.tuples(st.integers(0, 3), st.integers(0, 2), st.floats(0, 1))


@given(_GRAVITY, _GRAVITY)
def test_a_graver_machine_verdict_or_peak_never_lowers_the_priority(one: tuple[int, int, float], other: tuple[int, int, float]) -> None:
    kinds: tuple[Criticality, ...] = ("low", "medium", "high", "critical")
    verdicts = ("false_positive_suspected", "investigate", "credible")

    def rank(criticality: int, verdict: int, peak: float) -> int:
        return PRIORITIES.index(priority_of(kinds[criticality], verdict=verdicts[verdict], peak_score=peak))

    graver = max(one[0], other[0]), max(one[1], other[1]), max(one[2], other[2])
    assert rank(*graver) <= rank(*one)


def test_each_alarm_has_the_priority_of_its_machine_and_verdict() -> None:
    scored = scores({"A": [(12, 30)], "C": [(60, 70)]})
    assert alarms(scored)["priority"].tolist() == ["high", "low"]
    assert alarms(scored, verdict="false_positive_suspected")["priority"].tolist() == ["low", "low"]
