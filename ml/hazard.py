"""The learned failure model: features of a moment in, the calibrated probability of a failure within the horizon out.

Two kinds of trees see the same features and their probabilities are averaged: histogram gradient boosting finds sharp thresholds, extremely
randomised trees (Geurts, Ernst and Wehenkel, Machine Learning 63, 2006) stay smooth where failures are few. The average is calibrated
by a logistic curve over its log odds (Platt, 1999) that is fitted to moments which the trees had not seen. What a failure is and which
moments may be used belongs to whoever makes the features; NaN is a value that a feature may have.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.intp]

CALIBRATION_FOLDS = 3
MIN_FAILURES = CALIBRATION_FOLDS  # groups (or rows, without groups) that fail: one for each calibration fold
BOOSTING: dict[str, Any] = {
    "max_iter": 200,
    "learning_rate": 0.05,
    "max_leaf_nodes": 8,
    "min_samples_leaf": 10,
    "l2_regularization": 1.0,
    "max_features": 0.5,
    "early_stopping": False,
}
RANDOMISED: dict[str, Any] = {"n_estimators": 200, "min_samples_leaf": 2, "max_features": 0.8}
EDGE = 1e-4  # a probability of 0 or 1 has no log odds


class TooFewFailures(ValueError):
    """There are not enough labelled failures to learn from and to calibrate with."""


@dataclass(frozen=True)
class HazardModel:
    """`feature_names` in the order in which the members take them; probability = logistic(intercept + slope x log odds of their mean)."""

    feature_names: tuple[str, ...]
    members: tuple[Any, ...]
    intercept: float
    slope: float

    def probability(self, features: pd.DataFrame) -> Floats:
        """In [0, 1], a row each. Raises ValueError for features that are missing; others are not looked at."""
        missing = [name for name in self.feature_names if name not in features.columns]
        if missing:
            raise ValueError(f"the features lack {', '.join(missing)}")
        return _logistic(self.intercept + self.slope * _log_odds(_mean_probability(self.members, _matrix(features, self.feature_names))))


def fit_hazard(features: pd.DataFrame, *, fails: Flags, groups: npt.NDArray[Any] | None = None, seed: int) -> HazardModel:
    """Learn from all rows; the calibration comes from CALIBRATION_FOLDS held-out parts, none of which shares a group with what its trees
    saw.

    `groups`: the machine of each row, for rows of one machine resemble each other; None where each row is a case of its own.
    Raises TooFewFailures.
    """
    from sklearn.linear_model import LogisticRegression

    names = tuple(str(name) for name in features.columns)
    n_failing = len(np.unique(groups[fails])) if groups is not None else int(fails.sum())
    if n_failing < MIN_FAILURES or fails.all():
        what = "machines that failed" if groups is not None else "failures"
        raise TooFewFailures(f"{n_failing} {what} are too few: a learned failure model needs {MIN_FAILURES} and moments without a failure")
    matrix = _matrix(features, names)
    held_out = np.zeros(len(fails))
    for learn, hold in folds_of(fails, groups=groups, n=CALIBRATION_FOLDS, seed=seed):
        held_out[hold] = _mean_probability(_members(matrix[learn], fails[learn], seed=seed), matrix[hold])
    curve = LogisticRegression(C=1e3).fit(_log_odds(held_out)[:, None], fails)
    return HazardModel(names, _members(matrix, fails, seed=seed), float(curve.intercept_[0]), float(curve.coef_[0, 0]))


def held_out_probability(
    features: pd.DataFrame, *, fails: Flags, is_usable: Flags | None = None, groups: npt.NDArray[Any] | None = None, n_folds: int, seed: int
) -> Floats:
    """The probability of each row by a model that never saw it nor its group; NaN for rows that are not usable."""
    usable = np.flatnonzero(np.ones(len(fails), dtype=np.bool_) if is_usable is None else is_usable)
    found = np.full(len(fails), np.nan)
    of_usable = None if groups is None else groups[usable]
    for learn, hold in folds_of(fails[usable], groups=of_usable, n=n_folds, seed=seed):
        rows, others = usable[learn], usable[hold]
        model = fit_hazard(features.iloc[rows], fails=fails[rows], groups=None if groups is None else groups[rows], seed=seed)
        found[others] = model.probability(features.iloc[others])
    return found


def folds_of(fails: Flags, *, groups: npt.NDArray[Any] | None, n: int, seed: int) -> Iterator[tuple[Indices, Indices]]:
    """(rows to learn from, rows held out), n times: with about equal shares of failures, and a group never on both sides."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    if groups is None:
        yield from StratifiedKFold(n, shuffle=True, random_state=seed).split(fails, fails)
    else:
        yield from StratifiedGroupKFold(n, shuffle=True, random_state=seed).split(fails, fails, groups)


def _members(matrix: npt.NDArray[np.float32], fails: Flags, *, seed: int) -> tuple[Any, ...]:
    from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    members = (
        HistGradientBoostingClassifier(random_state=seed, **BOOSTING),
        ExtraTreesClassifier(random_state=seed, n_jobs=1, **RANDOMISED),
    )
    # Threads of OpenMP that wait for each other spin: on a machine with other work the same fit took four times as long.
    with threadpool_limits(limits=1, user_api="openmp"):
        return tuple(member.fit(matrix, fails) for member in members)


def _mean_probability(members: tuple[Any, ...], matrix: npt.NDArray[np.float32]) -> Floats:
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1, user_api="openmp"):
        return np.asarray(np.mean([member.predict_proba(matrix)[:, 1] for member in members], axis=0), dtype=np.float64)


def _matrix(features: pd.DataFrame, names: tuple[str, ...]) -> npt.NDArray[np.float32]:
    return features.loc[:, list(names)].to_numpy(dtype=np.float32)


def _log_odds(probability: Floats) -> Floats:
    inside = np.clip(probability, EDGE, 1 - EDGE)
    return np.asarray(np.log(inside / (1 - inside)), dtype=np.float64)


def _logistic(x: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-x)), dtype=np.float64)
