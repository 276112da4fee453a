import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from ml.curves import average_precision


def test_by_hand() -> None:
    labels = np.array([True, False, True, True, False])
    # ranked: hit at 1 (1/1), hit at 3 (2/3), hit at 4 (3/4)
    assert average_precision(labels, np.array([0.9, 0.8, 0.7, 0.6, 0.5])) == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)
    # all equal: one threshold, precision is the share
    assert average_precision(labels, np.full(5, 0.3)) == pytest.approx(3 / 5)


@given(st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 0.1, 0.2, 0.5, 0.9, 1.0])), min_size=1, max_size=200))
def test_equals_scikit_learns_also_with_ties(pairs: list[tuple[bool, float]]) -> None:
    labels, scores = np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs])
    if labels.any():
        assert average_precision(labels, scores) == pytest.approx(average_precision_score(labels, scores), abs=1e-12)
    else:
        assert np.isnan(average_precision(labels, scores))


def test_what_was_not_scored_is_not_ranked() -> None:
    with pytest.raises(ValueError, match="NaN"):
        average_precision(np.array([True, False]), np.array([0.1, np.nan]))
