"""An Isolation Forest kept as plain arrays: grown by scikit-learn, evaluated with numpy.

So a stored model holds numbers only, nothing has to be unpickled, and scoring does not import scikit-learn, which
costs every run two seconds or more.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

N_TREES = 100
MAX_SAMPLES = 256


@dataclass(frozen=True)
class Forest:
    """All trees' nodes in one row of arrays; a leaf points at itself, so that every path may take `depth` steps.

    `path_length` holds, for a leaf, the expected number of splits that isolate a sample that ends there.
    """

    roots: NDArray[np.int32]
    feature: NDArray[np.int16]
    threshold: Floats
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    path_length: Floats
    depth: int
    normal_length: float

    def statistic(self, z: Floats) -> Floats:
        """Anomaly score in (0, 1), higher is more anomalous (Liu, Ting and Zhou 2008, eq. 2); z is (n, d)."""
        if not len(z):
            return np.empty(0)
        # scikit-learn compares in single precision; the same rounding gives the same leaves
        values = z.astype(np.float32)
        rows = np.arange(len(z))[:, None]
        node = np.broadcast_to(self.roots, (len(z), len(self.roots))).copy()
        for _ in range(self.depth):
            is_left = values[rows, self.feature[node]] <= self.threshold[node]
            node = np.where(is_left, self.left[node], self.right[node])
        lengths = self.path_length[node].mean(axis=1)
        return np.asarray(np.exp2(-lengths / self.normal_length), dtype=np.float64)


def expected_path_length(n: NDArray[np.int64]) -> Floats:
    """c(n): the mean depth of an unsuccessful search in a binary search tree of n samples."""
    size = np.maximum(n, 3).astype(np.float64)
    long = 2.0 * (np.log(size - 1.0) + np.euler_gamma) - 2.0 * (size - 1.0) / size
    return np.asarray(np.where(n <= 1, 0.0, np.where(n == 2, 1.0, long)), dtype=np.float64)


def fit_forest(z: Floats, *, seed: int) -> Forest:
    """z is (n, d) without NaN."""
    from sklearn.ensemble import IsolationForest

    n_samples = min(MAX_SAMPLES, len(z))
    grown = IsolationForest(n_estimators=N_TREES, max_samples=n_samples, random_state=seed, n_jobs=1).fit(z)
    trees = [estimator.tree_ for estimator in grown.estimators_]
    sizes = [int(tree.node_count) for tree in trees]
    roots = np.concatenate(([0], np.cumsum(sizes[:-1]))).astype(np.int32)
    is_leaf = np.concatenate([tree.children_left == -1 for tree in trees])
    here = np.arange(sum(sizes), dtype=np.int32)

    def shifted(name: str) -> NDArray[np.int32]:
        children = np.concatenate([getattr(tree, name) + root for tree, root in zip(trees, roots, strict=True)])
        return np.where(is_leaf, here, children).astype(np.int32)

    left, right = shifted("children_left"), shifted("children_right")
    depth_of = np.zeros(len(here), dtype=np.int64)
    for node in here[~is_leaf]:  # parents come before their children
        depth_of[left[node]] = depth_of[right[node]] = depth_of[node] + 1
    samples = np.concatenate([tree.n_node_samples for tree in trees]).astype(np.int64)
    return Forest(
        roots=roots,
        feature=np.where(is_leaf, 0, np.concatenate([tree.feature for tree in trees])).astype(np.int16),
        threshold=np.where(is_leaf, 0.0, np.concatenate([tree.threshold for tree in trees])).astype(np.float64),
        left=left,
        right=right,
        path_length=np.where(is_leaf, depth_of + expected_path_length(samples), 0.0),
        depth=int(depth_of.max()),
        normal_length=float(expected_path_length(np.array([n_samples]))[0]),
    )
