"""Which days and rows a detector learns from."""

from datetime import date, timedelta

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from ml.healthy import Distrust, Remarks, distrusted, healthy_rows, incident_spans, is_suspect, remarks_on, split_days
from ml.plant import Machine, Policy, RunningWhen, Sensor, Site, TrainingPolicy

FIRST = date(2026, 3, 1)
DAYS = [FIRST + timedelta(days=n) for n in range(60)]


def test_a_first_detector_is_calibrated_on_all_that_is_held_out() -> None:
    split = split_days(DAYS[:14], held_out_share=0.3, has_champion=False)
    assert (split.held_out_from, split.comparison_from) == (DAYS[10], None)
    assert split.learned == tuple(DAYS[:14])
    assert split.observed == tuple(DAYS[10:14]), "its false alarms are in-sample"


def test_a_challenger_leaves_the_latest_third_of_the_held_out_days_for_the_comparison() -> None:
    split = split_days(DAYS, held_out_share=0.3, has_champion=True)
    assert (split.held_out_from, split.comparison_from) == (DAYS[42], DAYS[54])
    assert split.learned == tuple(DAYS[:54])
    assert split.observed == tuple(DAYS[54:])


@given(st.integers(2, 60), st.floats(0.01, 0.89), st.booleans())
def test_there_are_always_days_to_fit_and_to_calibrate(n: int, share: float, has_champion: bool) -> None:
    split = split_days(DAYS[:n], held_out_share=share, has_champion=has_champion)
    calibration = [day for day in split.learned if day >= split.held_out_from]
    assert split.learned[0] < split.held_out_from
    assert calibration
    assert split.observed
    if split.comparison_from:
        assert not set(split.learned) & set(split.observed)
        assert set(split.learned) | set(split.observed) == set(split.days)


def test_what_people_said_counts_before_the_verdict() -> None:
    cases = {
        (None, "credible"): True,
        (None, "investigate"): True,
        (None, "false_positive_suspected"): False,
        ("confirmed", "false_positive_suspected"): True,
        ("confirmed", "credible"): True,
        ("false_alarm", "credible"): False,
        ("false_alarm", "investigate"): False,
    }
    table = pd.DataFrame(list(cases), columns=["label", "verdict"])
    assert is_suspect(table).tolist() == list(cases.values())


SITE = Site(
    site="s",
    name="S",
    first_day=FIRST,
    machines=tuple(
        Machine(
            machine_id=m,
            machine_class="pump",
            sensors=tuple(Sensor(sensor_id=f"{m}-{s}", type="other", unit="u") for s in "xyz"),
            running_when=RunningWhen(sensor_id=f"{m}-x", above=1),
        )
        for m in "AB"
    ),
    policy=Policy(training=TrainingPolicy(min_healthy_days=6)),
)
MIDNIGHT = pd.Timestamp(FIRST, tz="UTC")
NOBODY = Distrust({}, set())


def table_of(days: int = 1, *, machines: str = "AB", per_day: int = 6, **means: float) -> pd.DataFrame:
    """Windows of ten minutes at the begin of each day; random means but for those given."""
    rng = np.random.default_rng(6)
    starts = pd.DatetimeIndex([MIDNIGHT + pd.Timedelta(days=d, minutes=10 * n) for d in range(days) for n in range(per_day)])
    parts = [
        pd.DataFrame(
            {
                "machine_id": m,
                "window_start": starts,
                "sensor_id": f"{m}-{s}",
                "running_share": 1.0,
                "mean": means.get(f"{m}_{s}", rng.normal(size=len(starts))),
            }
        )
        for m in machines
        for s in "xyz"
    ]
    return pd.concat(parts, ignore_index=True)


def test_windows_that_overlap_a_span_go_and_so_do_distrusted_sensors_and_machine_days() -> None:
    span = pd.DataFrame([{"machine_id": "A", "start": MIDNIGHT + pd.Timedelta(minutes=15), "end": MIDNIGHT + pd.Timedelta(minutes=30)}])
    distrust = Distrust({"B-y": "graded worse than C on 2 of 2 days"}, {("A", DAYS[1])})
    kept = healthy_rows(table_of(days=2), spans=span, distrust=distrust, window=pd.Timedelta(minutes=10))
    minutes = (kept["window_start"] - MIDNIGHT) / pd.Timedelta(minutes=1)
    left = {sensor: minutes[kept["sensor_id"] == sensor].tolist() for sensor in ("A-x", "A-y", "B-x", "B-y")}
    both = [0, 10, 20, 30, 40, 50, 1440, 1450, 1460, 1470, 1480, 1490]
    assert left == {"A-x": [0, 40, 50], "A-y": [0, 40, 50], "B-x": both, "B-y": []}


def graded(**marks: str) -> pd.DataFrame:
    """sensor -> a grade per day."""
    return pd.DataFrame(
        [{"day": DAYS[n], "sensor_id": s.replace("_", "-"), "grade": g} for s, all_ in marks.items() for n, g in enumerate(all_)]
    )


def test_a_bad_grade_costs_the_machine_its_day() -> None:
    found = distrusted(graded(A_y="AFAACB", B_z="AAAAAF", A_x="AAAAAA"), site=SITE)
    assert found == Distrust({}, {("A", DAYS[1]), ("B", DAYS[5])})
    strict = SITE.model_copy(update={"policy": Policy(training=TrainingPolicy(worst_grade_allowed="B"))})
    assert distrusted(graded(A_y="AFAACB"), site=strict).machine_days == {("A", DAYS[1]), ("A", DAYS[4])}


def test_a_sensor_that_is_bad_most_of_the_time_is_left_out_and_costs_no_day_unless_the_machine_runs_by_it() -> None:
    found = distrusted(graded(A_y="FFFFAA", B_x="FFFFAA", B_y="FFFAAA"), site=SITE)
    assert found.sensors == {"A-y": "graded worse than C on 4 of 6 days"}
    assert found.machine_days == {("B", DAYS[n]) for n in range(4)}, "half of the days is not most of them"


def test_a_confirmed_incident_takes_whole_days_up_to_the_repair() -> None:
    noon = MIDNIGHT + pd.Timedelta(hours=12)
    rows = [
        ("seen", "credible", None),
        ("confirmed", "credible", "confirmed"),
        ("repaired", "credible", "confirmed"),
        ("false", "credible", "false_alarm"),
        ("doubted", "false_positive_suspected", None),
    ]
    assessed = pd.DataFrame(rows, columns=["incident_id", "verdict", "label"]).assign(
        machine_id="A", onset_at=noon, last_window_at=noon + pd.Timedelta(hours=3)
    )
    mended = (MIDNIGHT + pd.Timedelta(days=3, hours=9)).to_pydatetime()
    spans = incident_spans(assessed, repaired_at={"repaired": mended, "seen": mended})
    end_of_day = MIDNIGHT + pd.Timedelta(days=1, microseconds=-1)
    assert list(zip(spans["start"], spans["end"], strict=True)) == [
        (noon, noon + pd.Timedelta(hours=3)),
        (MIDNIGHT, end_of_day),
        (MIDNIGHT, mended),
    ]


def remarks(table: pd.DataFrame, *, healthy: pd.DataFrame | None = None, distrust: Distrust = NOBODY) -> Remarks:
    return remarks_on(table, healthy=table if healthy is None else healthy, spans={}, distrust=distrust, site=SITE)


def test_a_machine_with_too_few_healthy_days_is_named_with_their_number() -> None:
    table = table_of(days=6)
    few = table[(table["machine_id"] == "B") | (table["window_start"] < MIDNIGHT + pd.Timedelta(days=2))]
    found = remarks(table, healthy=few)
    assert found == Remarks({}, {"A": "2 healthy days, 3 are needed, and no other pump could stand in for it"}, {})
    assert found.without_model({"A": "0 windows", "B": "why"}) == {"A": found.few_days["A"], "B": "why"}


def test_constant_sensors_are_named_and_cost_the_machine_its_model_only_if_nothing_is_left() -> None:
    found = remarks(table_of(days=6, A_y=7.0, B_x=1.0, B_y=2.0, B_z=3.0))
    assert found.refused == {"B": "no sensor has any spread in the healthy windows: B-x, B-y, B-z"}
    assert found.sensors == dict.fromkeys(("A-y", "B-x", "B-y", "B-z"), "constant in all healthy windows")


def test_a_leaking_column_costs_the_machine_its_model() -> None:
    table = table_of(days=6, per_day=144)
    table.loc[table["sensor_id"] == "A-z", "mean"] = 3 * table.loc[table["sensor_id"] == "A-y", "mean"].to_numpy() - 1
    found = remarks(table)
    assert found.refused.keys() == {"A"}
    assert found.refused["A"].startswith("a leaking column: A-z is a linear function of A-y (all but ")
    assert found.refused["A"].endswith("; take it out of the plant file")
