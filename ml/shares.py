"""A share that was counted: of so many so many, with its uncertainty, and not claimed at all where the evidence is insufficient."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

Z_95 = 1.959963984540054


@dataclass(frozen=True)
class CountedShare:
    """Of `n` counted `n_true` were so; `what` names them, and `needed` of them are evidence.

    The interval holds the true share with 95 % confidence (Wilson).
    """

    what: ClassVar[str]
    needed: ClassVar[int]

    n: int
    n_true: int

    @property
    def is_sufficient(self) -> bool:
        return self.n >= self.needed

    @property
    def share(self) -> float | None:
        """None where the evidence is insufficient."""
        return self.n_true / self.n if self.is_sufficient else None

    @property
    def interval(self) -> tuple[float, float] | None:
        return wilson(self.n_true, self.n) if self.is_sufficient else None

    @property
    def counted(self) -> str:
        return f"n = {self.n}"

    @property
    def words(self) -> str:
        """What the share rests on."""
        if self.interval is None:
            return f"insufficient evidence: {self.n} of the {self.needed} {self.what} needed"
        low, high = self.interval
        return f"{self.counted}, 95 % Wilson interval {low:.0%} to {high:.0%}"


def wilson(successes: int, n: int) -> tuple[float, float]:
    """The 95 % score interval of a share (Wilson 1927), within [0, 1] for any n. Raises ValueError unless 0 <= successes <= n, n >= 1."""
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"{successes} of {n} is no share; give 0 <= successes <= n and n >= 1")
    share, z2 = successes / n, Z_95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z_95 / (1 + z2 / n) * np.sqrt(share * (1 - share) / n + z2 / (4 * n**2))
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))
