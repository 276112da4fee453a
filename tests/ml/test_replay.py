"""A replay does what production does with the same drops, and knows nothing of what comes later."""

from dataclasses import replace
from datetime import UTC, date, datetime

import numpy as np
import pandas as pd
import pytest

from ml.detectors.fleet import SiteDetector
from ml.drop_format import DropFormat
from ml.features import build_features
from ml.frames import typed_frame
from ml.incidents import COLUMNS, find_incidents
from ml.plant import Machine, Policy, Sensor, Site, TrainingPolicy
from ml.replay import History, NoReadings, at_threshold, history_of, raised_alarms, replay

START = pd.Timestamp("2026-03-02", tz="UTC")  # a Monday
LEARN_UNTIL = START + pd.Timedelta(days=4)
RECEIVED = datetime(2026, 6, 1, tzinfo=UTC)
SITE = Site(
    site="plant",
    name="Plant",
    time_zone="Europe/Berlin",
    first_day=date(2026, 3, 2),
    drops=DropFormat(layout="wide"),
    machines=(
        Machine(
            machine_id="P1",
            machine_class="pump",
            sensors=tuple(Sensor(sensor_id=s, type="other", unit="1", interval_s=300) for s in ("a", "b")),
        ),
    ),
)


def drop(days: int, *, shift_at: float | None = None, first: int = 0) -> bytes:
    """Two sensors about 50 and 20, a reading every five minutes; from day `shift_at` on the first reads 8 sigma higher for a day."""
    rng = np.random.default_rng(11)
    n = days * 288
    times = START + pd.to_timedelta(np.arange(n) * 5, unit="min")
    a, b = 50 + rng.standard_normal(n), 20 + rng.standard_normal(n)
    if shift_at is not None:
        a[int(shift_at * 288) : int((shift_at + 1) * 288)] += 8
    frame = pd.DataFrame({"timestamp": times.strftime("%Y-%m-%dT%H:%M:%SZ"), "a": a.round(3), "b": b.round(3)})
    return frame.iloc[first:].to_csv(index=False).encode()


@pytest.fixture(scope="module")
def history() -> History:
    return history_of([drop(12, shift_at=9.25)], site=SITE, received_at=RECEIVED)


def test_the_history_is_what_the_days_steps_make_of_the_drops(history: History) -> None:
    assert (history.n_rows, history.n_refused) == (12 * 288 * 2, 0)
    assert len(history.grades) == 12 * 2
    assert "F" not in set(history.grades["grade"])
    frame = pd.read_csv(pd.io.common.BytesIO(drop(12, shift_at=9.25)), parse_dates=["timestamp"])
    long = frame.melt("timestamp", var_name="sensor_id").astype({"timestamp": "datetime64[us, UTC]", "sensor_id": "str"})
    day = long[long["timestamp"].dt.date == date(2026, 3, 6)].sort_values(["sensor_id", "timestamp"])
    expected = build_features(day, site=SITE, day=date(2026, 3, 6))
    of_day = history.features[history.features["window_start"].dt.date == date(2026, 3, 6)].reset_index(drop=True)
    pd.testing.assert_frame_equal(of_day, expected)


def test_of_two_drops_the_later_ones_value_stands() -> None:
    whole = history_of([drop(2)], site=SITE, received_at=RECEIVED)
    twice = history_of([drop(2, shift_at=0), drop(2)], site=SITE, received_at=RECEIVED)
    pd.testing.assert_frame_equal(twice.features, whole.features)


def test_a_shift_raises_one_alarm_when_the_third_window_has_ended(history: History) -> None:
    replayed = replay(history, learn_until=LEARN_UNTIL)
    [alarm] = replayed.raised.to_dict("records")
    shift = START + pd.Timedelta(days=9.25)
    assert shift <= alarm["onset_at"] <= shift + pd.Timedelta(minutes=30)
    assert alarm["raised_at"] == alarm["onset_at"] + pd.Timedelta(minutes=30)
    assert alarm["last_window_at"] >= shift + pd.Timedelta(hours=22)
    assert replayed.machine_days == pytest.approx(8)


def test_alarms_are_the_incidents_that_the_days_would_open(history: History) -> None:
    replayed = replay(history, learn_until=LEARN_UNTIL)
    known = typed_frame([], {n: COLUMNS[n] for n in ("incident_id", "machine_id", "onset_at", "last_window_at")})
    days = sorted(set(replayed.scores["window_start"].dt.date))
    found = pd.concat([find_incidents(replayed.scores, site=SITE, day=day, known=known) for day in days])
    assert set(found["onset_at"]) == set(replayed.raised["onset_at"])


def test_without_retraining_the_scores_are_those_of_one_detector_fitted_on_the_first_part(history: History) -> None:
    replayed = replay(history, learn_until=LEARN_UNTIL, retrains=False)
    [training] = replayed.trainings
    features = history.features
    detector = SiteDetector.fit(
        features[features["window_start"] < LEARN_UNTIL],
        site=SITE,
        held_out_from=START + pd.Timedelta(days=2.8),
        seed=SITE.policy.training.seed,
    )
    scores = detector.score(features, site=SITE, model_version=1)
    expected = scores[scores["window_start"] >= LEARN_UNTIL].reset_index(drop=True)
    pd.testing.assert_frame_equal(replayed.scores, expected)
    assert (training.at, training.word, replayed.scored_from) == (LEARN_UNTIL, "first detector", LEARN_UNTIL)


def test_a_challenger_is_trained_on_sunday_at_3_local_time_without_the_windows_of_incidents(history: History) -> None:
    replayed = replay(history, learn_until=LEARN_UNTIL)
    _, weekly = replayed.trainings
    assert weekly.at == pd.Timestamp("2026-03-08 03:00", tz="Europe/Berlin")
    assert weekly.word == "promoted"
    versions = replayed.scores.set_index("window_start")["model_version"]
    assert versions[versions.index < weekly.at].unique().tolist() == [1]
    assert versions[versions.index >= weekly.at].unique().tolist() == [2]
    # a week later the shift of day 9 is cut out; of the 14 days begun 4 are held out, the last of them to compare on
    longer = replay(history_of([drop(14, shift_at=9.25)], site=SITE, received_at=RECEIVED), learn_until=LEARN_UNTIL).trainings[2]
    assert longer.at == pd.Timestamp("2026-03-15 03:00", tz="Europe/Berlin")
    assert 2 * 144 * 12 - 2 * 30 < longer.n_rows <= 2 * 144 * 12


def test_nothing_that_comes_later_changes_what_was_scored_before() -> None:
    until = START + pd.Timedelta(days=9.25)
    plain, shifted = (
        replay(history_of([drop(12, shift_at=at)], site=SITE, received_at=RECEIVED), learn_until=LEARN_UNTIL).scores for at in (None, 9.25)
    )
    pd.testing.assert_frame_equal(plain[plain["window_start"] < until], shifted[shifted["window_start"] < until])
    assert not plain.equals(shifted)


def graded_f(history: History, bad: dict[date, set[str]]) -> History:
    """The same history, with an F for these sensors on these days."""
    is_bad = [sensor in bad.get(day, ()) for day, sensor in zip(history.grades["day"], history.grades["sensor_id"], strict=True)]
    return replace(history, grades=history.grades.assign(grade=history.grades["grade"].mask(is_bad, "F")))


def test_days_graded_f_are_not_learned_from_and_the_learning_goes_on_until_there_are_enough() -> None:
    history = history_of([drop(12)], site=SITE, received_at=RECEIVED)
    bad = {date(2026, 3, 2 + n): {"a", "b"} for n in range(4)}
    replayed = replay(graded_f(history, bad), learn_until=LEARN_UNTIL)
    assert replayed.trainings[0].word.startswith("not trained: no machine of plant can be trained")
    assert replayed.scored_from == LEARN_UNTIL + (len([t for t in replayed.trainings if t.word.startswith("not")])) * pd.Timedelta(days=1)
    assert replayed.scores["window_start"].min() == replayed.scored_from


def test_a_challenger_does_not_learn_from_days_graded_f_either() -> None:
    history = history_of([drop(8)], site=SITE, received_at=RECEIVED)
    bad = {date(2026, 3, 6): {"a"}}
    kept, cut = (replay(graded_f(history, days), learn_until=LEARN_UNTIL).trainings[1] for days in ({}, bad))
    assert kept.at == cut.at == pd.Timestamp("2026-03-08 02:00", tz="UTC")
    assert kept.n_rows - cut.n_rows == 2 * 144, "the machine's day is out with both of its sensors"


def test_a_site_that_can_never_be_trained_scores_nothing_and_raises_nothing() -> None:
    history = history_of([drop(2)], site=SITE, received_at=RECEIVED)
    replayed = replay(graded_f(history, {date(2026, 3, 2 + n): {"a", "b"} for n in range(2)}), learn_until=START)
    assert (replayed.scored_from, replayed.machine_days, len(replayed.raised)) == (None, 0.0, 0)


def test_no_readings_are_said() -> None:
    header_only = b"timestamp,a,b\n"
    with pytest.raises(NoReadings, match="none of 0 rows is a reading of Plant"):
        replay(history_of([header_only], site=SITE, received_at=RECEIVED), learn_until=LEARN_UNTIL)


def test_a_lower_threshold_takes_the_off_threshold_with_it() -> None:
    detection = at_threshold(SITE, 0.31).policy.detection
    assert (detection.on_threshold, detection.off_threshold) == (0.31, pytest.approx(0.2325))
    assert SITE.policy.detection.on_threshold == 0.6


def test_an_alarm_at_a_lower_threshold_is_raised_from_the_same_scores() -> None:
    n = 40
    score = np.zeros(n)
    score[10:13], score[20:22] = 0.5, 0.9
    scores = pd.DataFrame(
        {
            "machine_id": "P1",
            "window_start": pd.date_range(START, periods=n, freq="10min", unit="us"),
            "state": "scored",
            "score": score,
        }
    )
    assert raised_alarms(scores, site=SITE).empty
    [alarm] = raised_alarms(scores, site=at_threshold(SITE, 0.5)).to_dict("records")
    assert alarm["raised_at"] == START + pd.Timedelta(minutes=130)
    assert alarm["last_window_at"] == START + pd.Timedelta(minutes=120)


def test_a_challenger_that_cannot_be_trained_leaves_the_champion_at_work() -> None:
    site = SITE.model_copy(update={"policy": Policy(training=TrainingPolicy(max_days=2))})
    history = history_of([drop(8)], site=site, received_at=RECEIVED)
    bad = {date(2026, 3, 7): {"a", "b"}}
    replayed = replay(graded_f(replace(history, site=site), bad), learn_until=LEARN_UNTIL)
    assert [t.word.split(":")[0] for t in replayed.trainings] == ["first detector", "not trained"]
    assert replayed.scores["model_version"].unique().tolist() == [1]


def test_the_gate_refuses_a_challenger_that_has_seen_quiet_days_only() -> None:
    """Every second of the first 14 days is ten times as noisy; after that only two hours of the day before the training, twice."""
    rng = np.random.default_rng(5)
    n = 22 * 288
    day, hour = np.arange(n) // 288, np.arange(n) % 288 / 12
    is_wild = ((day < 14) & (day % 2 == 1)) | ((day == 19) & ((hour % 12 >= 2) & (hour % 12 < 4)))
    values = np.where(is_wild, 10, 1)[:, None] * rng.standard_normal((n, 2)) + [50, 20]
    frame = pd.DataFrame(values.round(3), columns=["a", "b"])
    frame.insert(0, "timestamp", (START + pd.to_timedelta(np.arange(n) * 5, unit="min")).strftime("%Y-%m-%dT%H:%M:%SZ"))
    site = SITE.model_copy(update={"policy": Policy(training=TrainingPolicy(max_days=7, held_out_share=0.7))})
    history = history_of([frame.to_csv(index=False).encode()], site=site, received_at=RECEIVED)
    replayed = replay(history, learn_until=START + pd.Timedelta(days=14))
    assert [t.word.split(" ")[0] for t in replayed.trainings] == ["first", "refused:"]
    assert "false alarms per machine-month" in replayed.trainings[1].word
    without = replay(history, learn_until=START + pd.Timedelta(days=14), retrains=False)
    pd.testing.assert_frame_equal(replayed.scores, without.scores)
