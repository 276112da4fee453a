"""How often failures came when they were said to: the share of true times within the predicted p10 to p90, which 8 of 10 should be.

Limits: asked are failures that came. Those that work forestalled have no true time, and machines that did not fail say nothing here.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from ml.conformal import is_inside
from ml.shares import CountedShare

MIN_FAILURES_MEASURED = 20
DAYS = ("p10_days", "p50_days", "p90_days")


@dataclass(frozen=True)
class Coverage(CountedShare):
    """Of `n` failures `n_true` came within p10 to p90."""

    what = "failures"
    needed = MIN_FAILURES_MEASURED

    def __add__(self, other: "Coverage") -> "Coverage":
        return Coverage(self.n + other.n, self.n_true + other.n_true)


def coverage_of(failures: pd.DataFrame) -> dict[str, Coverage]:
    """By failure mode; failures: failure_mode, days_left (the truth), p10_days, p90_days (NaN: beyond the horizon)."""
    known = failures.assign(is_inside=inside(failures))
    return {str(mode): Coverage(len(rows), int(rows["is_inside"].sum())) for mode, rows in known.groupby("failure_mode", sort=True)}


def whole(coverage: Mapping[str, Coverage]) -> Coverage:
    """Of all modes together."""
    return sum(coverage.values(), start=Coverage(0, 0))


def inside(failures: pd.DataFrame) -> "pd.Series[bool]":
    """Which of them came within p10 to p90."""
    p10, p90 = (failures[name].astype("float64") for name in ("p10_days", "p90_days"))
    rows = zip(failures["days_left"], p10, p90, strict=True)
    found = [is_inside(left, p10_days=_known(low), p90_days=_known(high)) for left, low, high in rows]
    return pd.Series(found, index=failures.index, dtype=bool)


def _known(days: float) -> float | None:
    return None if pd.isna(days) else days
