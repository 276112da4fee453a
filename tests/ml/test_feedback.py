"""What people's labels are worth: intervals by published figures and an independent formula, and a confidence that learns."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats

from ml.feedback import MIN_LABELS, Calibration, Precision, fit_calibration, precision_by_band, precision_of
from ml.shares import wilson


def labelled(confidences: np.ndarray, is_confirmed: np.ndarray) -> pd.DataFrame:
    words = np.where(is_confirmed, "confirmed", "false_alarm")
    return pd.DataFrame({"confidence": confidences, "confidence_by_rules": confidences, "label": words})


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [  # Newcombe (1998), Statistics in Medicine 17, table I, method 3: the score method
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_the_interval_is_that_of_the_published_table(successes: int, n: int, low: float, high: float) -> None:
    assert wilson(successes, n) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


@given(st.integers(1, 500), st.floats(0, 1))
def test_the_interval_as_scipy_has_it(n: int, share: float) -> None:
    successes = round(share * n)
    expected = stats.binomtest(successes, n).proportion_ci(0.95, method="wilson")
    assert wilson(successes, n) == (pytest.approx(expected.low, abs=1e-9), pytest.approx(expected.high, abs=1e-9))


def test_no_share_has_no_interval() -> None:
    for successes, n in ((0, 0), (3, 2), (-1, 5)):
        with pytest.raises(ValueError, match="is no share"):
            wilson(successes, n)


def test_below_twenty_labels_nothing_is_claimed() -> None:
    few = Precision(19, 19)
    assert (few.share, few.interval) == (None, None)
    assert few.words == "insufficient evidence: 19 of the 20 labelled incidents needed"
    enough = Precision(20, 15)
    assert enough.share == 0.75
    assert enough.words == "75% of n = 20 labelled incidents, 95 % Wilson interval 53% to 89%"  # scipy: 0.5313, 0.8881


def test_precision_counts_what_people_said_and_nothing_else() -> None:
    assert precision_of(pd.Series(["confirmed", None, "false_alarm", "confirmed"])) == Precision(3, 2)


def test_a_band_holds_its_lower_end_and_the_last_both() -> None:
    found = precision_by_band(labelled(np.array([0.0, 0.39, 0.4, 0.7, 0.85, 1.0]), np.array([0, 1, 1, 0, 1, 1]) > 0))
    assert found == {(0.0, 0.4): Precision(2, 1), (0.4, 0.7): Precision(1, 1), (0.7, 0.85): Precision(1, 0), (0.85, 1.0): Precision(2, 2)}


def test_below_twenty_labels_the_confidence_stays_as_it_is_and_says_so() -> None:
    calibration = fit_calibration(labelled(np.full(19, 0.9), np.zeros(19) > 0))
    assert [calibration.apply(c) for c in (0.0, 0.31, 0.9, 1.0)] == [0.0, 0.31, 0.9, 1.0]
    assert calibration.words == "not calibrated: 19 of the 20 labelled incidents needed"


def test_with_twenty_the_confidence_goes_towards_what_people_found() -> None:
    calibration = fit_calibration(labelled(np.full(20, 0.9), np.arange(20) < 8))
    assert calibration.words == "calibrated by 20 labelled incidents"
    assert 0.4 < calibration.apply(0.9) < 0.6, "eight of twenty were real; the prior holds some of it back"


def test_the_calibration_is_the_most_probable_one() -> None:
    """Against a general optimiser on the posterior, written down anew."""
    rng = np.random.default_rng(4)
    confidence = np.round(rng.uniform(0.1, 0.95, 60), 2)
    y = (rng.random(60) < 0.8 * confidence).astype(float)
    x = np.log(confidence / (1 - confidence))

    def loss(at: np.ndarray) -> float:
        p = 1 / (1 + np.exp(-(at[0] + at[1] * x)))
        return float(-stats.bernoulli.logpmf(y, p).sum() - stats.norm(0, 1).logpdf(at[0]) - stats.norm(1, 0.5).logpdf(at[1]))

    expected = optimize.minimize(loss, [0.0, 1.0], method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-10}).x
    found = fit_calibration(labelled(confidence, y > 0))
    assert (found.intercept, found.slope) == (pytest.approx(expected[0], abs=1e-5), pytest.approx(expected[1], abs=1e-5))


def test_with_many_labels_it_finds_the_truth() -> None:
    """Rules that are too sure of themselves: of those said to be 0.9 six in ten are real, by odds that are known here."""
    rng = np.random.default_rng(9)
    confidence = rng.choice([0.2, 0.4, 0.6, 0.75, 0.9], 4000)
    truth = stats.logistic.cdf(-0.8 + 0.55 * np.log(confidence / (1 - confidence)))
    calibration = fit_calibration(labelled(confidence, rng.random(4000) < truth))
    for c in (0.2, 0.4, 0.6, 0.75, 0.9):
        assert calibration.apply(c) == pytest.approx(float(stats.logistic.cdf(-0.8 + 0.55 * np.log(c / (1 - c)))), abs=0.04)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=MIN_LABELS, max_size=60))
def test_whatever_people_say_the_order_of_incidents_stays(said: list[tuple[float, bool]]) -> None:
    calibration = fit_calibration(labelled(np.array([c for c, _ in said]), np.array([y for _, y in said])))
    made = [calibration.apply(c) for c in np.linspace(0, 1, 41)]
    assert all(0 <= c <= 1 for c in made)
    assert all(a <= b for a, b in pairwise(made))


def test_words_that_go_against_the_confidence_make_it_flat() -> None:
    upside_down = fit_calibration(labelled(np.repeat([0.1, 0.9], 200), np.repeat([1, 0], 200) > 0))
    assert upside_down.slope == 0
    assert upside_down.apply(0.1) == upside_down.apply(0.9) == pytest.approx(0.5, abs=0.01)


def test_no_change_is_a_slope_of_one() -> None:
    assert Calibration(100).apply(0.73) == pytest.approx(0.73)
