"""Which days and rows a detector learns from."""

from datetime import date, timedelta

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from ml.healthy import healthy_rows, is_suspect, split_days

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


def test_windows_that_overlap_a_span_go_and_unusable_sensors_for_their_day() -> None:
    midnight = pd.Timestamp(FIRST, tz="UTC")
    starts = pd.date_range(midnight, periods=6, freq="10min", unit="us")
    features = pd.concat(
        [pd.DataFrame({"machine_id": m, "window_start": starts, "sensor_id": f"{m}-{s}"}) for m in "AB" for s in "xy"], ignore_index=True
    )
    span = pd.DataFrame([{"machine_id": "A", "start": midnight + pd.Timedelta(minutes=15), "end": midnight + pd.Timedelta(minutes=30)}])
    kept = healthy_rows(features, spans=span, unusable={FIRST: {"B-y"}, DAYS[1]: {"A-x"}}, window=pd.Timedelta(minutes=10))
    minutes = (kept["window_start"] - midnight) / pd.Timedelta(minutes=1)
    left = {sensor: minutes[kept["sensor_id"] == sensor].tolist() for sensor in ("A-x", "A-y", "B-x", "B-y")}
    assert left == {"A-x": [0, 40, 50], "A-y": [0, 40, 50], "B-x": [0, 10, 20, 30, 40, 50], "B-y": []}
