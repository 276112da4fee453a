"""Running sums against a plain loop over the rows."""

import numpy as np
import pytest

from ml.detectors.running import cusum, ewma, lagged

SPELL = np.repeat([1, 2, 5], [40, 7, 53])
VALUES = np.random.default_rng(8).standard_normal((100, 2)) + 0.4
WEIGHT, ALLOWANCE = 0.2, 0.5


def test_a_value_of_before_is_of_the_same_spell() -> None:
    before = lagged(VALUES, spell=SPELL, by=3, fill=-9.0)
    for t in range(100):
        expected = VALUES[t - 3] if t >= 3 and SPELL[t - 3] == SPELL[t] else -9.0
        np.testing.assert_array_equal(before[t], np.broadcast_to(expected, 2))
    assert (lagged(VALUES[:2], spell=SPELL[:2], by=3, fill=1.0) == 1.0).all()


def test_the_ewma_is_the_recursion_within_a_spell() -> None:
    found = ewma(VALUES, spell=SPELL, weight=WEIGHT, memory=64)
    state = np.zeros(2)
    for t in range(100):
        state = np.zeros(2) if t and SPELL[t] != SPELL[t - 1] else state
        state = (1 - WEIGHT) * state + WEIGHT * VALUES[t]
        np.testing.assert_allclose(found[t], state, atol=1e-12)


def test_the_cusum_is_pages_recursion_within_a_spell() -> None:
    found = cusum(VALUES, spell=SPELL, allowance=ALLOWANCE, memory=64)
    state = np.zeros(2)
    for t in range(100):
        state = np.zeros(2) if t and SPELL[t] != SPELL[t - 1] else state
        state = np.maximum(0.0, state + VALUES[t] - ALLOWANCE)
        np.testing.assert_allclose(found[t], state, atol=1e-12)


@pytest.mark.parametrize("chart", ["ewma", "cusum"])
def test_nothing_before_the_memory_counts_so_that_a_chart_recovers(chart: str) -> None:
    def run(values: np.ndarray) -> np.ndarray:
        spell = np.zeros(len(values), dtype=np.int64)
        if chart == "ewma":
            return ewma(values, spell=spell, weight=0.05, memory=16)
        return cusum(values, spell=spell, allowance=ALLOWANCE, memory=16)

    quiet = np.zeros((60, 1))
    loud = quiet.copy()
    loud[:20] = 1e6
    assert (run(loud)[20:35] > 0).all()
    np.testing.assert_allclose(run(loud)[36:], run(quiet)[36:], atol=1e-6)


def test_the_cusum_of_a_known_series() -> None:
    # Montgomery's recursion by hand: shifts of 1 with an allowance of 0.5
    values = np.array([0.2, 1.0, 1.5, -2.0, 1.0])[:, None]
    assert cusum(values, spell=np.zeros(5, dtype=np.int64), allowance=0.5, memory=8)[:, 0].tolist() == [0.0, 0.5, 1.5, 0.0, 0.5]
