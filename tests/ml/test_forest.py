"""The Isolation Forest: evaluated as its trees say, grown as scikit-learn grows them."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from ml.detectors.forest import CHUNK_ROWS, N_TREES, Forest, expected_path_length


def _correlated(n: int = 800, seed: int = 3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, 3)) @ rng.standard_normal((3, 6)) + 0.3 * rng.standard_normal((n, 6))


def _walk(forest: Forest, row: np.ndarray) -> float:
    """One row through each tree, node by node."""
    lengths = []
    for tree in range(N_TREES):
        place, start = tree, 0
        for level in range(forest.depth):
            goes_up = np.float32(row[forest.feature[start + place]]) > forest.threshold[start + place]
            start += N_TREES * 2**level
            place = 2 * place + int(goes_up)
        lengths.append(forest.path_length[place])
    return float(2 ** (-np.mean(lengths) / forest.normal_length))


def test_all_trees_together_are_each_tree_walked_by_itself() -> None:
    forest = Forest.fit(_correlated(), seed=7)
    fresh = _correlated(CHUNK_ROWS + 40, seed=9)  # more than a chunk
    found = forest.statistic(fresh)
    for row in (0, 1, CHUNK_ROWS - 1, CHUNK_ROWS, CHUNK_ROWS + 39):
        assert found[row] == pytest.approx(_walk(forest, fresh[row]), rel=1e-6)
    assert forest.statistic(fresh[:0]).shape == (0,)


def test_it_scores_as_scikit_learns_does() -> None:
    from sklearn.ensemble import IsolationForest

    z = _correlated()
    fresh = np.vstack([_correlated(600, seed=9), 4.0 * _correlated(100, seed=10)])
    theirs = -IsolationForest(n_estimators=100, max_samples=256, random_state=7).fit(z).score_samples(fresh)
    again = -IsolationForest(n_estimators=100, max_samples=256, random_state=8).fit(z).score_samples(fresh)
    ours = Forest.fit(z, seed=7).statistic(fresh)
    # two forests of scikit-learn with other seeds are no nearer to each other
    assert np.abs(ours - theirs).mean() < 1.3 * np.abs(again - theirs).mean()
    assert spearmanr(ours, theirs)[0] > 0.97


def test_a_split_leaves_samples_on_both_sides_and_equal_samples_are_not_split() -> None:
    twins = np.repeat([[0.0, 5.0], [1.0, 5.0]], 50, axis=0)
    forest = Forest.fit(twins, seed=1)
    assert (forest.feature[:N_TREES] == 0).all()  # the second column never varies
    assert ((forest.threshold[:N_TREES] >= 0) & (forest.threshold[:N_TREES] < 1)).all()
    assert np.isinf(forest.threshold[N_TREES:]).all()
    # one split, then 50 samples that cannot be told apart
    expected = 1 + expected_path_length(np.array([50]))[0]
    assert forest.statistic(twins)[0] == pytest.approx(2 ** (-expected / forest.normal_length), rel=1e-6)


def test_the_expected_path_length_of_small_trees() -> None:
    # 1 split isolates two samples; c(3) = 2 H(2) - 2 * 2 / 3 with H(2) by its approximation ln 2 + 0.5772
    np.testing.assert_allclose(expected_path_length(np.array([1, 2, 3])), [0, 1, 2 * (np.log(2) + 0.5772156649) - 4 / 3])
