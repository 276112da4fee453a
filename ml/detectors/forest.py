"""An Isolation Forest as plain arrays, grown and evaluated with numpy: all trees together, level by level.

So a stored model holds numbers only, nothing has to be unpickled, and neither training nor scoring imports scikit-learn, which
costs two seconds or more. Limits: it isolates along one column at a time, so that it sees extremes and empty corners and hardly
a broken relation; beyond the fitted range all windows look alike.
"""

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

N_TREES = 100
MAX_SAMPLES = 256
CHUNK_ROWS = 256  # values and places of a chunk stay in the processor's cache: measured, 64 and 4096 rows are a fifth slower


@dataclass(frozen=True)
class Forest:
    """Complete binary trees, stored level by level: the two children of place k stand at 2 k and 2 k + 1 of the next level.

    A level holds N_TREES x 2^level nodes, tree after tree. A value above the threshold goes to the second child; a node that is split
    no further has the threshold infinity. `path_length` is, for each of the N_TREES x 2^depth leaves, the expected number of splits
    that isolate a sample that ends there.
    """

    names: ClassVar[tuple[str, ...]] = ("isolation_forest",)
    feature: NDArray[np.int16]
    threshold: NDArray[np.float32]
    path_length: NDArray[np.float32]
    depth: int
    normal_length: float

    @classmethod
    def fit(cls, z: Floats, *, seed: int) -> Self:
        """z is (n, d) without NaN. A split is a random value within a random column that still varies (Liu, Ting and Zhou 2008)."""
        rng = np.random.default_rng(seed)
        n_samples = min(MAX_SAMPLES, len(z))
        depth = max(1, int(np.ceil(np.log2(max(n_samples, 2)))))
        chosen = np.concatenate([rng.choice(len(z), size=n_samples, replace=False) for _ in range(N_TREES)])
        values = z.astype(np.float32)[chosen]
        features, thresholds = [], []
        depth_of = np.zeros(N_TREES, dtype=np.int64)
        node = np.repeat(np.arange(N_TREES), n_samples)
        for level in range(depth):
            column, cut = _random_splits(values, node, n_nodes=N_TREES * 2**level, rng=rng)
            features.append(column)
            thresholds.append(cut)
            depth_of = np.repeat(depth_of + np.isfinite(cut), 2)
            node = 2 * node + (values[np.arange(len(node)), column[node]] > cut[node])
        in_leaf = np.bincount(node, minlength=N_TREES * 2**depth)
        return cls(
            feature=np.concatenate(features),
            threshold=np.concatenate(thresholds),
            path_length=(depth_of + expected_path_length(in_leaf)).astype(np.float32),
            depth=depth,
            normal_length=float(expected_path_length(np.array([n_samples]))[0]),
        )

    def statistic(self, z: Floats) -> Floats:
        """Anomaly score in (0, 1), higher is more anomalous (Liu, Ting and Zhou 2008, eq. 2); z is (n, d) without NaN."""
        values = z.astype(np.float32)
        lengths = np.empty(len(values))
        for start in range(0, len(values), CHUNK_ROWS):
            lengths[start : start + CHUNK_ROWS] = self._path_lengths(values[start : start + CHUNK_ROWS])
        return np.exp2(-lengths / self.normal_length)

    def _path_lengths(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Mean over the trees; places and values are (trees, rows)."""
        n = len(values)
        flat, row = values.T.ravel(), np.arange(n)
        place = np.repeat(np.arange(N_TREES)[:, None], n, axis=1)
        source = np.empty((N_TREES, n), dtype=np.intp)
        value, limit = np.empty((2, N_TREES, n), dtype=np.float32)
        start = 0
        for level in range(self.depth):
            nodes = slice(start, start := start + N_TREES * 2**level)
            # mode="clip" spares a copy of the result; every place is within its table
            (self.feature[nodes].astype(np.intp) * n).take(place, out=source, mode="clip")
            source += row
            flat.take(source, out=value, mode="clip")
            self.threshold[nodes].take(place, out=limit, mode="clip")
            place += place
            place += value > limit
        lengths: NDArray[np.float32] = self.path_length.take(place, out=value, mode="clip").mean(axis=0)
        return lengths


def _random_splits(
    values: NDArray[np.float32], node: NDArray[np.int64], *, n_nodes: int, rng: np.random.Generator
) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
    """(column, threshold) of each node of a level; a node without two different samples has the threshold infinity."""
    order = np.argsort(node, kind="stable")
    present, starts = np.unique(node[order], return_index=True)
    low, high = (f.reduceat(values[order], starts, axis=0) for f in (np.minimum, np.maximum))
    varies = high > low
    n_varying = varies.sum(axis=1)
    # the k-th of the columns that vary
    k = (rng.random(len(present)) * n_varying).astype(np.int64)
    column = np.argmax(np.cumsum(varies, axis=1) > k[:, None], axis=1)
    rows = np.arange(len(present))
    lowest, highest = low[rows, column], high[rows, column]
    cut = lowest + (rng.random(len(present), dtype=np.float32) * (highest - lowest)).astype(np.float32)
    cut = np.minimum(cut, np.nextafter(highest, lowest))  # rounding must not leave the upper side empty
    columns, cuts = np.zeros(n_nodes, dtype=np.int16), np.full(n_nodes, np.inf, dtype=np.float32)
    split = n_varying > 0
    columns[present[split]], cuts[present[split]] = column[split], cut[split]
    return columns, cuts


def expected_path_length(n: NDArray[np.int64]) -> Floats:
    """c(n): the mean depth of an unsuccessful search in a binary search tree of n samples."""
    size = np.maximum(n, 3).astype(np.float64)
    long = 2.0 * (np.log(size - 1.0) + np.euler_gamma) - 2.0 * (size - 1.0) / size
    return np.asarray(np.where(n <= 1, 0.0, np.where(n == 2, 1.0, long)), dtype=np.float64)
