"""PCA: T2 sees a machine far out within its usual relations, Q sees a relation that broke.

Limits: relations are taken for linear and constant; what the fitted windows never did, such as another product, looks broken.
"""

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

KEPT_VARIANCE = 0.9
FIT_CLIP = 8.0
_IMPUTATION_STEPS = 25


@dataclass(frozen=True)
class Pca:
    """Principal components of the standardised columns: `loadings` (d, k), `variances` (k,) of the kept components.

    T2 = t' diag(1/variances) t with t = P'z, and Q = |z - PP'z|^2 (Jackson and Mudholkar 1979). Contributions are
    exact: they are not negative and add up to the statistic (T2: complete decomposition, Alcala and Qin 2009).
    """

    names: ClassVar[tuple[str, ...]] = ("pca_t2", "pca_q")
    loadings: Floats
    variances: Floats

    @classmethod
    def fit(cls, z: Floats) -> Self:
        """z is (n, d), complete. Values beyond FIT_CLIP are pulled in, so that one wild window does not bend an axis.

        The centre stays at z = 0, the baseline. Where d > 1 at least one direction is left to Q.
        """
        clipped = np.clip(z, -FIT_CLIP, FIT_CLIP)
        variances, vectors = np.linalg.eigh(clipped.T @ clipped / len(clipped))
        variances, vectors = variances[::-1], vectors[:, ::-1]
        share = np.cumsum(variances) / variances.sum()
        k = int(np.searchsorted(share, KEPT_VARIANCE - 1e-12) + 1)
        k = max(1, min(k, len(variances) - 1))
        # a sign convention, because eigenvectors have none
        loadings = vectors[:, :k] * np.where(vectors[np.abs(vectors[:, :k]).argmax(axis=0), np.arange(k)] < 0, -1.0, 1.0)
        return cls(loadings=np.ascontiguousarray(loadings), variances=variances[:k].copy())

    @property
    def has_residual(self) -> bool:
        return bool(self.loadings.shape[1] < self.loadings.shape[0])

    def impute(self, z: Floats) -> Floats:
        """Missing entries take the value the components expect from the present ones (starts at 0, the baseline)."""
        missing = ~np.isfinite(z)
        if not missing.any():
            return z
        filled = np.where(missing, 0.0, z)
        rows = np.flatnonzero(missing.any(axis=1))
        for _ in range(_IMPUTATION_STEPS):
            expected = filled[rows] @ self.loadings @ self.loadings.T
            filled[rows] = np.where(missing[rows], expected, filled[rows])
        return filled

    def contributions(self, z: Floats) -> tuple[Floats, Floats]:
        """(to T2, to Q), each (n, d); z is complete."""
        scores = z @ self.loadings
        to_t2 = (scores / np.sqrt(self.variances)) @ self.loadings.T
        to_q = z - scores @ self.loadings.T
        return np.square(to_t2, out=to_t2), np.square(to_q, out=to_q)
