"""Whether a detector's probabilities mean what they say: of healthy windows, the share at least as unlikely as p should be p."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Reliability:
    """At each expected probability the share observed, and how many windows that is; `n` windows in all."""

    expected: Floats
    observed: Floats
    counts: NDArray[np.int64]
    n: int


def reliability(p: Floats, *, per_decade: int = 4) -> Reliability:
    """p: tail probabilities of healthy windows, NaN left out; looked at from 1 down to where one window is expected.

    Raises ValueError without windows.

    >>> found = reliability(np.linspace(0.001, 1, 1000), per_decade=1)  # uniform, as it should be
    >>> [round(float(e), 3) for e in found.expected], [int(c) for c in found.counts]
    ([1.0, 0.1, 0.01, 0.001], [1000, 100, 10, 1])
    """
    known = np.sort(p[np.isfinite(p)])
    if not len(known):
        raise ValueError("there is no scored window whose probability could be looked at")
    steps = int(np.floor(np.log10(len(known)) * per_decade + 1e-9))
    expected = 10.0 ** (-np.arange(steps + 1) / per_decade)
    counts = np.searchsorted(known, expected * (1 + 1e-9), side="right")
    return Reliability(expected, observed=counts / len(known), counts=counts, n=len(known))
