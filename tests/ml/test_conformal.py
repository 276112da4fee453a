"""Conformal calibration against distributions whose quantiles are known, and against simulated failures."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from ml.conformal import MIN_FAILURES, Stretch, calibrate, calibrated, is_inside
from ml.failure_calibration import SIMULATED
from ml.passage import Passage
from ml.sensor_forecast import forecast
from ml.simulation.run_to_failure import RunToFailure, simulate_failures

SPREAD = np.log(2)  # p10 = p50 / 2


def failures(n: int, *, seed: int, mode: str = "VIB") -> pd.DataFrame:
    """The truth is p50 x exp(h z), z normal with mean -1 and deviation 2."""
    rng = np.random.default_rng(seed)
    p50 = rng.uniform(2, 12, n)
    z = -1 + 2 * rng.standard_normal(n)
    return pd.DataFrame({"failure_mode": mode, "days_left": p50 * np.exp(SPREAD * z), "p10_days": p50 / 2, "p50_days": p50})


def passage(p10: float | None, p50: float | None, p90: float | None = None) -> Passage:
    return Passage("trip", "high", 9.0, 0.2, 0.7, p10, p50, p90)


def test_the_stretch_is_the_quantiles_of_the_residuals() -> None:
    found = calibrate(failures(20_000, seed=1))["VIB"]
    assert (found.low, found.middle, found.high) == pytest.approx((-1 - 2 * 1.2816, -1, -1 + 2 * 1.2816), abs=0.06)


def test_eight_of_ten_further_failures_lie_in_the_interval_however_few_it_learned_from() -> None:
    """Split conformal: the mean coverage over calibrations of n = 9 is 1 - 2 floor(0.1 (n + 1)) / (n + 1) = 0.8 exactly."""
    shares = []
    for seed in range(300):
        stretch, new = calibrate(failures(9, seed=seed))["VIB"], failures(40, seed=10_000 + seed)
        low, high = (new["p50_days"] * np.exp(SPREAD * z) for z in (stretch.low, stretch.high))
        shares.append(new["days_left"].between(low, high).mean())
    assert np.mean(shares) == pytest.approx(0.8, abs=0.02)


def test_each_mode_has_its_own_and_too_few_failures_give_none() -> None:
    late = failures(50, seed=1, mode="ELP").assign(days_left=lambda t: 2 * t["p50_days"])
    found = calibrate(pd.concat([failures(50, seed=2), late, failures(MIN_FAILURES - 1, seed=3, mode="PLU")]))
    assert set(found) == {"VIB", "ELP"}
    assert found["ELP"].middle == pytest.approx(1)  # log 2 / log 2
    # A forecast without a median has no residual.
    unknown = failures(MIN_FAILURES, seed=4)
    unknown.loc[0, "p50_days"] = np.nan
    assert calibrate(unknown) == {}


def test_times_and_probabilities_come_from_one_distribution() -> None:
    found = calibrated(passage(5.0, 10.0, 30.0), Stretch(50, -3.0, -1.0, 2.0), horizon_days=30)
    assert (found.ttf_p10_days, found.ttf_p50_days) == pytest.approx((10 / 8, 5.0))
    assert found.ttf_p90_days is None  # 10 x 2^2 = 40 days, beyond the horizon
    # log normal above the median: 7 days are log(7 / 5) beyond it, where 90 % are at log(40 / 5)
    assert found.probability_7d == pytest.approx(norm.cdf(1.2816 * np.log(7 / 5) / np.log(8)), abs=1e-4)
    assert found.probability_30d == pytest.approx(norm.cdf(1.2816 * np.log(6) / np.log(8)), abs=1e-4)
    assert found.limit_value == 9.0


@pytest.mark.parametrize("raw", [passage(None, None), passage(20.0, None), passage(0.0, 0.0, 0.0)])
def test_what_has_no_median_or_has_happened_stays_as_it_is(raw: Passage) -> None:
    assert calibrated(raw, Stretch(50, -3.0, -1.0, 2.0), horizon_days=30) == raw


def test_a_quantile_beyond_the_horizon_is_later_than_any_time() -> None:
    assert is_inside(50, p10_days=3, p90_days=None)
    assert not is_inside(2, p10_days=3, p90_days=None)
    assert not is_inside(5, p10_days=None, p90_days=None)
    assert not is_inside(5, p10_days=1, p90_days=4)


@pytest.fixture(scope="module")
def runs() -> list[RunToFailure]:
    return simulate_failures(45, seed=77)


def test_simulated_failures_end_at_the_limit_and_know_nothing_of_what_comes(runs: list[RunToFailure]) -> None:
    assert [run.failure_mode for run in runs[:4]] == ["VIB", "ELP", "PLU", "VIB"]
    assert simulate_failures(4, seed=77)[3].history.equals(runs[3].history)
    for run in runs:
        assert run.history["timestamp"].max() < run.as_of
        assert 0.05 * 4 * 0.99 < run.days_left < 0.6 * 14 * 1.01
        trip = run.sensor.trip
        now = float(run.history["value"].iloc[-1])
        assert now < trip.high if run.failure_mode == "VIB" else now > trip.low


def test_only_what_prophet_forecast_is_put_right_and_it_is_said(runs: list[RunToFailure]) -> None:
    run = runs[0]
    found = forecast(run.history, sensor=run.sensor, as_of=run.as_of, seed=3, calibration=SIMULATED)
    assert found.calibrated_on == SIMULATED["VIB"].n
    assert "94 failures of mode VIB" in found.note
    alarm, trip = (next(p for p in found.passages if p.limit_kind == kind) for kind in ("alarm", "trip"))
    assert trip.ttf_p50_days == found.ttf_p50_days
    assert alarm.ttf_p50_days < trip.ttf_p50_days
    ramp = run.history.assign(value=np.linspace(3, 6, len(run.history)))
    line = forecast(ramp, sensor=run.sensor, as_of=run.as_of, seed=3, calibration=SIMULATED, method="linear")
    assert line.ttf_p50_days is not None
    other = forecast(run.history, sensor=run.sensor, as_of=run.as_of, seed=3, calibration={"OHE": SIMULATED["VIB"]})
    assert line.calibrated_on is other.calibrated_on is None
