"""The score of the Numenta Anomaly Benchmark, against values worked out by hand from the published rules."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.nab import Labelled, Profile, best_threshold, detected_rows, labelled, learning_rows, nab_score, profiles_of

STANDARD = Profile("standard", tp_weight=1.0, fn_weight=1.0, fp_weight=0.11)
LOW_FN = Profile("reward_low_FN_rate", tp_weight=1.0, fn_weight=2.0, fp_weight=0.11)
START = np.datetime64("2026-01-01T00:00", "us")
# 100 rows, of which 15 are for learning; a window of 10 rows and one of 5
TIMES = START + np.arange(100) * np.timedelta64(5, "m")
SERIES = Labelled("one", TIMES, windows=((40, 49), (80, 84)))


def _flags(*rows: int, n: int = 100) -> np.ndarray:
    flags = np.zeros(n, dtype=np.bool_)
    flags[list(rows)] = True
    return flags


def _sigma(y: float) -> float:
    return 2 / (1 + math.exp(5 * y)) - 1


def _raw(*rows: int, profile: Profile = STANDARD) -> float:
    return nab_score([_flags(*rows)], [SERIES], profile=profile).raw


def test_a_detector_that_never_alarms_scores_0_and_a_perfect_one_100() -> None:
    for profile in (STANDARD, LOW_FN):
        assert nab_score([_flags()], [SERIES], profile=profile).score == 0
        assert nab_score([_flags(40, 80)], [SERIES], profile=profile).score == pytest.approx(100, abs=1e-12)


def test_a_hit_is_worth_less_the_later_it_comes() -> None:
    # row 44 of 40..49: six rows of ten to go, itself among them
    assert _raw(44) == pytest.approx(_sigma(-0.6) / _sigma(-1) - 1)
    assert _raw(49) == pytest.approx(_sigma(-0.1) / _sigma(-1) - 1)
    assert _raw(84) == pytest.approx(_sigma(-0.2) / _sigma(-1) - 1)


def test_only_the_earliest_detection_within_a_window_counts() -> None:
    assert _raw(42, 43, 49) == _raw(42)


def test_a_false_detection_weighs_by_its_distance_after_the_window_before_it() -> None:
    missed = -2
    assert _raw(52) == pytest.approx(missed + 0.11 * _sigma(3 / 9))
    assert _raw(87) == pytest.approx(missed + 0.11 * _sigma(3 / 4))
    # more than three lengths behind the window of ten rows (row 49 + 3 x 9 = 76): all that it can weigh
    assert _raw(77) == pytest.approx(missed - 0.11, abs=1e-15)
    assert _raw(76) == pytest.approx(missed + 0.11 * _sigma(3))
    assert _raw(20) == pytest.approx(missed - 0.11, abs=1e-15)


def test_every_false_row_counts() -> None:
    assert _raw(20, 21, 22) == pytest.approx(-2 - 0.33)
    assert nab_score([_flags(20, 21, 22)], [SERIES], profile=STANDARD).n_false == 3


def test_the_learning_period_is_not_scored() -> None:
    assert (learning_rows(100), learning_rows(4032), learning_rows(5000), learning_rows(22_695)) == (15, 604, 750, 750)
    assert _raw(0, 7, 14) == -2
    assert _raw(15) == pytest.approx(-2.11)
    reaching_in = Labelled("reaches in", TIMES, windows=((10, 19),))
    assert nab_score([_flags(12)], [reaching_in], profile=STANDARD).n_hits == 0
    assert nab_score([_flags(12, 17)], [reaching_in], profile=STANDARD).raw == pytest.approx(_sigma(-0.3) / _sigma(-1))


def test_the_score_is_normalised_over_the_whole_corpus() -> None:
    quiet = Labelled("no window", TIMES, windows=())
    result = nab_score([_flags(40), _flags(30)], [SERIES, quiet], profile=STANDARD)
    # one hit at its best, one miss, one false detection; null -2, perfect 2
    assert result.raw == pytest.approx(1 - 1 - 0.11)
    assert result.score == pytest.approx(100 * (-0.11 + 2) / 4)
    assert (result.n_hits, result.n_misses, result.n_false) == (1, 1, 1)
    # the other profile: a miss costs 2, null -4
    assert nab_score([_flags(40), _flags(30)], [SERIES, quiet], profile=LOW_FN).score == pytest.approx(100 * (1 - 2 - 0.11 + 4) / 6)


@given(st.sets(st.integers(0, 99)), st.integers(15, 99))
def test_no_detector_beats_the_perfect_one_and_a_false_row_never_helps_far_from_windows(rows: set[int], extra: int) -> None:
    result = nab_score([_flags(*rows)], [SERIES], profile=STANDARD)
    assert result.score <= 100 + 1e-9
    assert result.n_hits + result.n_misses == 2
    if extra < 40:
        assert nab_score([_flags(*rows, extra)], [SERIES], profile=STANDARD).score <= result.score


def test_what_cannot_be_scored_is_refused() -> None:
    with pytest.raises(ValueError, match="no series has a labelled window"):
        nab_score([_flags()], [Labelled("quiet", TIMES, windows=())], profile=STANDARD)
    with pytest.raises(ValueError, match="99 flags for 100 rows"):
        nab_score([_flags()[:99]], [SERIES], profile=STANDARD)


def test_windows_are_found_by_their_instants_both_ends_inside() -> None:
    found = labelled("x", TIMES, [(TIMES[80], TIMES[84]), (TIMES[40], TIMES[49])])
    assert found.windows == SERIES.windows
    long_ago = (START - np.timedelta64(2, "D"), START - np.timedelta64(1, "D"))
    assert labelled("x", TIMES, [long_ago, (TIMES[2], TIMES[14])]).windows == ()
    with pytest.raises(ValueError, match="overlap"):
        labelled("x", TIMES, [(TIMES[40], TIMES[49]), (TIMES[49], TIMES[60])])


def test_an_alarm_is_the_last_row_before_it_was_raised() -> None:
    raised = np.array([TIMES[30] + np.timedelta64(10, "m"), TIMES[99] + np.timedelta64(1, "h")])
    assert np.flatnonzero(detected_rows(SERIES, raised)).tolist() == [31, 99]
    # an hour that a file holds twice: the row of the second time counts
    again = np.concatenate([TIMES[:50], TIMES[38:50], TIMES[50:]])
    assert np.flatnonzero(detected_rows(Labelled("again", again, windows=()), TIMES[[46]])).tolist() == [57]
    with pytest.raises(ValueError, match="before the first row"):
        detected_rows(SERIES, np.array([TIMES[0]]))


def test_one_threshold_is_chosen_for_the_whole_corpus() -> None:
    scores = [np.where(_flags(40), 0.9, np.where(_flags(80), 0.6, np.where(_flags(20), 0.5, 0.0))), np.where(_flags(30, 31), 0.7, 0.0)]
    corpus = [SERIES, Labelled("quiet", TIMES, windows=())]

    def at(threshold: float) -> list[np.ndarray]:
        return [s >= threshold for s in scores]

    threshold, result = best_threshold(at, corpus, profile=STANDARD, thresholds=[0.4, 0.6, 0.65, 0.8])
    # at 0.6 both windows are hit for two false rows: 2 - 0.22 beats 0 at 0.8, and 2 - 0.33 at 0.4
    assert threshold == 0.6
    assert result.raw == pytest.approx(2 - 0.22)
    # 0.58 and 0.6 detect the same: the higher one is taken
    assert best_threshold(at, corpus, profile=LOW_FN, thresholds=[0.58, 0.6, 0.4])[0] == 0.6
    with pytest.raises(ValueError, match="no thresholds"):
        best_threshold(at, corpus, profile=STANDARD, thresholds=[])


@pytest.mark.shared_data
def test_the_published_profiles_are_read_and_the_corpus_has_its_windows(shared_data: Path) -> None:
    profiles = {p.name: p for p in profiles_of(json.loads((shared_data / "nab" / "profiles.json").read_text()))}
    assert profiles["standard"] == STANDARD
    assert profiles["reward_low_FN_rate"] == LOW_FN
    assert profiles["reward_low_FP_rate"].fp_weight == 0.22
