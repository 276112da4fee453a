"""Coverage against shares and intervals that are counted or published."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ml.coverage import MIN_FAILURES_MEASURED, Coverage, coverage_of, whole


def test_failures_within_p10_to_p90_are_counted_by_mode() -> None:
    failures = pd.DataFrame(
        {
            "failure_mode": ["VIB", "VIB", "VIB", "VIB", "ELP"],
            "days_left": [3.0, 9.1, 50.0, 5.0, 2.0],
            "p10_days": [2.0, 2.0, 20.0, np.nan, 2.5],
            "p90_days": [9.0, 9.0, np.nan, np.nan, 4.0],
        }
    )
    # within; too late; later than any time; no failure was foreseen; too early
    assert coverage_of(failures) == {"ELP": Coverage(1, 0), "VIB": Coverage(4, 2)}
    assert whole(coverage_of(failures)) == Coverage(5, 2)
    assert coverage_of(failures.iloc[:0]) == {}
    assert whole({}) == Coverage(0, 0)


def test_few_failures_are_no_evidence() -> None:
    few = Coverage(MIN_FAILURES_MEASURED - 1, 15)
    assert (few.share, few.interval) == (None, None)
    assert few.words == "insufficient evidence: 19 of the 20 failures needed"


def test_enough_failures_give_a_share_with_its_interval() -> None:
    enough = Coverage(20, 15)
    low, high = stats.binomtest(15, 20).proportion_ci(0.95, method="wilson")
    assert enough.share == 0.75
    assert enough.interval == pytest.approx((low, high))
    assert enough.words == f"n = 20, 95 % Wilson interval {low:.0%} to {high:.0%}"
