"""How well scores rank anomalous windows above the others, whatever the threshold: the area under the precision-recall curve."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


def average_precision(is_anomalous: Flags, scores: Floats) -> float:
    """Sum over the thresholds of (recall gained) x (precision there), without interpolation; equal scores are one threshold.

    1 ranks every anomalous window first; scores that know nothing reach about the share of anomalous windows. NaN where no window
    is anomalous. Windows that follow each other are not independent, so the figure compares detectors on the same data and is no
    estimate for other data. Definition: Davis and Goadrich, "The relationship between precision-recall and ROC curves", ICML 2006,
    as the step-wise sum of Manning, Raghavan and Schuetze, "Introduction to Information Retrieval", 2008, section 8.4.
    Raises ValueError for scores that are NaN.

    >>> average_precision(np.array([True, False, True, False]), np.array([0.9, 0.8, 0.7, 0.1])).__round__(4)
    0.8333
    """
    if np.isnan(scores).any():
        raise ValueError("a score is NaN; leave out what was not scored, or say what it counts for")
    n_anomalous = int(is_anomalous.sum())
    if not n_anomalous:
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    found, ranked = np.cumsum(is_anomalous[order]), scores[order]
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))  # the last of each run of equal scores
    precision, recall = found[ends] / (ends + 1), found[ends] / n_anomalous
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))
