import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ml.detectors.fusion import Tail, combined_surprise, fit_tail, pareto_shape, pooled_p, pooled_shape, tail_excesses


@pytest.mark.parametrize("true_shape", [0.0, 0.2, 0.4])
def test_the_shape_of_a_generalised_pareto_is_recovered(true_shape: float) -> None:
    excesses = np.sort(stats.genpareto(true_shape, scale=3.0).rvs(20_000, random_state=11))
    assert pareto_shape(excesses) == pytest.approx(true_shape, abs=0.03)


def test_too_few_excesses_are_taken_for_exponential() -> None:
    assert pareto_shape(np.array([1.0, 2.0, 50.0])) == 0.0


@pytest.mark.parametrize(
    ("healthy", "slack"),
    [(stats.expon(scale=2.0), 1.6), (stats.chi2(4), 1.6), (stats.norm(), 2.5), (stats.t(5), 2.5)],
    ids=["exponential", "chi2", "normal", "student"],
)
def test_fresh_healthy_data_exceed_a_tail_probability_about_as_often_as_it_says(healthy: object, slack: float) -> None:
    rate = {}
    for repeat in range(40):
        rng = np.random.default_rng(repeat)
        held_out = healthy.rvs(600, random_state=rng)  # type: ignore[attr-defined]
        tail = fit_tail(held_out, shape=pareto_shape(tail_excesses(held_out)))
        p = tail.p(healthy.rvs(20_000, random_state=rng))  # type: ignore[attr-defined]
        for nominal in (0.5, 0.1, 0.01, 0.001):
            rate.setdefault(nominal, []).append(float((p <= nominal).mean()))
    for nominal, seen in rate.items():
        assert nominal / slack < np.mean(seen) < nominal * slack, nominal


def test_the_exponential_tail_is_the_textbook_one() -> None:
    quantiles = -np.log(1 - np.linspace(0, 0.9, 91))
    tail = Tail(body=quantiles, shape=0.0, scale=1.0)
    x = np.array([0.5, 2.0, 5.0, 9.0])
    np.testing.assert_allclose(tail.p(x), np.exp(-x), rtol=2e-2)
    np.testing.assert_allclose(tail.p(x[2:]), np.exp(-x[2:]), rtol=1e-12)


@given(st.lists(st.floats(-50, 1e9), min_size=2, max_size=20), st.floats(0, 0.5))
def test_a_more_extreme_statistic_never_has_a_larger_p(values: list[float], shape: float) -> None:
    tail = fit_tail(np.random.default_rng(0).exponential(size=300), shape=shape)
    p = tail.p(np.sort(np.array(values)))
    assert (np.diff(p) <= 0).all()
    assert ((p > 0) & (p <= 1)).all()


def test_a_statistic_without_spread_gives_finite_probabilities() -> None:
    tail = fit_tail(np.full(100, 3.0), shape=0.2)
    p = tail.p(np.array([2.0, 3.0, 1e9]))
    assert np.isfinite(p).all()
    assert p[0] == 1.0
    assert p[2] < 1e-3


def test_machines_pooled_are_each_judged_by_their_own_tails() -> None:
    body = np.linspace(0.0, 10.0, 91)
    tails = [[Tail(body, shape=0.25, scale=2.0), Tail(2 * body, shape=0.0, scale=1.0)], [Tail(3 * body, shape=0.5, scale=0.5)] * 2]
    statistics = [np.array([[12.0, 21.0], [5.0, np.nan]]), np.array([[30.5, 15.0]])]
    # the tenth beyond the body, times the survival of scipy's generalised Pareto; within it, straight down from 1 to a tenth
    expected = [
        [0.1 * stats.genpareto(0.25, scale=2.0).sf(2.0), 0.1 * stats.expon.sf(1.0)],
        [1 - 0.9 * 5 / 10, np.nan],
        [0.1 * stats.genpareto(0.5, scale=0.5).sf(0.5), 1 - 0.9 * 15 / 30],
    ]
    np.testing.assert_allclose(pooled_p(tails, statistics), expected, rtol=1e-12)


def test_the_shape_is_pooled_over_machines_of_different_scale() -> None:
    rng = np.random.default_rng(5)
    machines = [scale * stats.genpareto(0.3).rvs(3_000, random_state=rng) for scale in (0.01, 1.0, 500.0)]
    # the excesses of a generalised Pareto over a threshold have the same shape
    assert pooled_shape(machines) == pytest.approx(0.3, abs=0.1)


def test_nothing_held_out_is_refused() -> None:
    with pytest.raises(ValueError, match="hold out healthy days"):
        fit_tail(np.empty(0), shape=0.0)


def test_the_combination_is_the_cauchy_combination() -> None:
    p = np.array([[0.01, 0.2, 0.6, 0.9], [1e-5, 0.5, 0.5, 0.5], [0.3, 0.3, np.nan, 0.3]])
    expected = [stats.cauchy.sf(np.mean(stats.cauchy.isf(row[np.isfinite(row)]))) for row in p]
    np.testing.assert_allclose(combined_surprise(p), -np.log10(expected), rtol=1e-9)


def test_one_certain_member_carries_the_combination_to_its_end() -> None:
    surprise = combined_surprise(np.array([[1e-25, 0.5, 0.5, 0.5]]))
    assert surprise[0] == pytest.approx(25 - np.log10(4), abs=1e-6)
