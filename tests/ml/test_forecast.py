"""What the forecast knows of the time of the day, from days other than the one that it foretells."""

import numpy as np
import pandas as pd

from ml.detectors.baseline import View, fit_baseline
from ml.detectors.forecast import MIN_DAYS, N_LAGS, Forecast, usual_by_half_hour
from ml.detectors.running import ewma
from ml.detectors.slow_drift import WINSOR
from tests.ml.test_members import windows_of

PER_DAY = 144


def day_shift(n_days: int, *, seed: int = 1) -> np.ndarray:
    """50 by night and 80 from 9 to 18 o'clock, a third of a degree of noise."""
    hours = np.arange(n_days * PER_DAY) % PER_DAY / 6
    noise = np.random.default_rng(seed).standard_normal(len(hours)) / 3
    return np.where((hours >= 9) & (hours < 18), 80.0, 50.0) + noise


def fitted(levels: np.ndarray) -> tuple[Forecast, View, object]:
    windows = windows_of(levels[:, None])
    baseline, _ = fit_baseline(windows)
    assert baseline is not None
    view = baseline.view(windows)
    return Forecast.fit(view, np.nan_to_num(view.z), memory=128), view, baseline


def test_what_is_usual_is_the_mean_of_the_other_days_at_the_same_half_hour() -> None:
    levels = np.random.default_rng(2).standard_normal((4 * PER_DAY + 50, 2)) * 3
    view = fit_baseline(windows_of(levels))[0].view(windows_of(levels))  # type: ignore[union-attr]
    usual, of_others = usual_by_half_hour(levels, view=view)
    times = pd.date_range("2026-03-02", periods=len(levels), freq="10min")
    pulled_in = pd.DataFrame(np.clip(levels, -WINSOR, WINSOR), index=times)
    half = (times.hour * 2 + times.minute // 30).to_numpy()
    np.testing.assert_allclose(usual, pulled_in.groupby(half).mean().to_numpy())
    for at in (0, 17, 300, len(levels) - 1):
        others = pulled_in[(half == half[at]) & (times.date != times[at].date())]
        np.testing.assert_allclose(of_others[at], others.mean().to_numpy())


def test_a_half_hour_seen_on_one_day_tells_nothing() -> None:
    levels = np.ones((PER_DAY + 3, 1)) + np.arange(PER_DAY + 3)[:, None] / 1e3
    view = fit_baseline(windows_of(levels))[0].view(windows_of(levels))  # type: ignore[union-attr]
    usual, of_others = usual_by_half_hour(levels, view=view)
    assert MIN_DAYS == 2
    assert np.flatnonzero(usual[:, 0]).tolist() == [0]
    assert np.flatnonzero(of_others[:, 0]).tolist() == [0, 1, 2, PER_DAY, PER_DAY + 1, PER_DAY + 2]


def test_a_shift_that_does_not_begin_is_seen_after_three_days_of_it() -> None:
    forecast, _, baseline = fitted(day_shift(3))
    ordinary, idle = day_shift(3, seed=2), day_shift(3, seed=2)
    idle[2 * PER_DAY + 54 : 2 * PER_DAY + 108] -= 30
    told = []
    for levels in (ordinary, idle):
        view = baseline.view(windows_of(levels[:, None]))  # type: ignore[attr-defined]
        told.append(np.abs(forecast.deviations(view, np.nan_to_num(view.z))[2 * PER_DAY :, 0]))
    assert told[1][54:66].max() > 3 * told[0].max()
    np.testing.assert_array_equal(told[1][:54], told[0][:54])


def test_chance_is_not_taken_for_a_daily_pattern() -> None:
    n = 4 * PER_DAY
    wandering = ewma(np.random.default_rng(5).standard_normal((n, 1)), spell=np.zeros(n, dtype=np.int64), weight=0.1, memory=128)[:, 0]
    with_pattern, _, _ = fitted(day_shift(4))
    without, _, _ = fitted(50 + wandering)
    place = N_LAGS + 1
    assert with_pattern.weights[place, 0] > 0.5
    assert without.weights[place, 0] < 0.2
