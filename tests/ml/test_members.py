import numpy as np
import pytest

from ml.detectors.baseline import fit_baseline, tail_aware_scale
from ml.detectors.pca import Pca
from ml.detectors.robust_z import SMOOTHED_WINDOWS, RobustZ, largest
from ml.detectors.running import smoothed
from ml.detectors.windows import RUNNING, SCORED, SETTLING, STOPPED, TOO_FEW, MachineWindows, declared_states, states


def _correlated(n: int = 800, seed: int = 3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    load = rng.standard_normal((n, 2))
    mixing = np.array([[1.0, 0.9, -0.8, 0.1, 0.2, 0.7], [0.0, 0.4, 0.5, 1.0, -0.9, 0.7]])
    return load @ mixing + 0.2 * rng.standard_normal((n, 6))


def windows_of(mean: np.ndarray, std: np.ndarray | None = None, slope: np.ndarray | None = None, *, minutes: int = 10) -> MachineWindows:
    n = len(mean)
    starts = np.datetime64("2026-03-02T00:00", "us") + np.arange(n) * np.timedelta64(minutes, "m")
    return MachineWindows(
        "M1",
        starts=starts,
        index=starts.astype(np.int64) // (minutes * 60_000_000),
        hours=(starts.astype("datetime64[h]").astype(np.int64) % 24),
        state=np.full(n, SCORED),
        regime=np.full(n, RUNNING),
        spell=np.zeros(n, dtype=np.int64),
        mean=mean,
        std=np.zeros_like(mean) if std is None else std,
        slope=np.zeros_like(mean) if slope is None else slope,
    )


def test_t2_and_q_agree_with_scikit_learn() -> None:
    from sklearn.decomposition import PCA

    z = _correlated()
    z = z - z.mean(axis=0)  # scikit-learn centres, ours takes 0 as the centre
    ours = Pca.fit(z)
    theirs = PCA(n_components=ours.loadings.shape[1]).fit(z)
    fresh = _correlated(seed=4)
    scores = theirs.transform(fresh)
    variance = theirs.explained_variance_ * (len(z) - 1) / len(z)
    t2 = (scores**2 / variance).sum(axis=1)
    q = ((fresh - theirs.inverse_transform(scores)) ** 2).sum(axis=1)
    to_t2, to_q = ours.contributions(fresh)
    np.testing.assert_allclose(to_t2.sum(axis=1), t2, rtol=1e-9)
    np.testing.assert_allclose(to_q.sum(axis=1), q, rtol=1e-9)
    assert (to_t2 >= 0).all()


def test_as_many_components_are_kept_as_explain_nine_tenths() -> None:
    z = _correlated()
    values = np.sort(np.linalg.eigvalsh(z.T @ z))[::-1]
    k = Pca.fit(z).loadings.shape[1]
    assert values[:k].sum() / values.sum() >= 0.9 > values[: k - 1].sum() / values.sum()


def test_a_broken_correlation_shows_in_q_and_names_its_column() -> None:
    z = _correlated()
    pca = Pca.fit(z)
    broken = z[:1].copy()
    broken[0, 4] += 2.0
    _, before = pca.contributions(z)
    _, after = pca.contributions(broken)
    assert after.sum() > np.quantile(before.sum(axis=1), 0.999)
    assert after[0].argmax() == 4


def test_a_missing_value_is_imputed_so_that_it_adds_nothing_to_q() -> None:
    z = _correlated()
    pca = Pca.fit(z)
    row = z[:1].copy()
    row[0, 2] = np.nan
    filled = pca.impute(row)
    assert filled[0, 2] == pytest.approx(z[0, 2], abs=0.6)  # the noise is 0.2, the column's spread above 1
    assert pca.contributions(filled)[1][0, 2] == pytest.approx(0.0, abs=0.05)
    np.testing.assert_array_equal(np.delete(filled, 2, axis=1), np.delete(row, 2, axis=1))


def test_robust_z_knows_the_time_of_day() -> None:
    rng = np.random.default_rng(0)
    n = 14 * 144
    rhythm = 10 * np.sin(2 * np.pi * np.arange(n) / 144)
    windows = windows_of((50 + rhythm + rng.standard_normal(n))[:, None], slope=rng.standard_normal((n, 1)))
    baseline, _ = fit_baseline(windows)
    assert baseline is not None
    night = windows_of(np.full((1, 1), 50.0 + 10))  # what is usual at 06:00 comes at midnight
    view = baseline.view(night)
    assert abs(view.z[0, 0]) < 2
    assert view.hourly[0, 0] > 4


def test_columns_without_spread_are_left_out() -> None:
    n = 500
    baseline, constant = fit_baseline(windows_of(np.random.default_rng(1).normal(5, 1, (n, 1)), minutes=60))
    assert baseline is not None
    assert baseline.kept.tolist() == [0]  # hourly readings: std and slope are 0 in every window
    assert constant.tolist() == []
    nothing, constant = fit_baseline(windows_of(np.full((n, 2), 5.0)))
    assert nothing is None
    assert constant.tolist() == [0, 1]


def test_a_column_that_hardly_ever_moves_keeps_a_scale_above_zero() -> None:
    column = np.zeros((1000, 1))
    column[::200] = 1.0
    assert tail_aware_scale(column)[0] > 0


def test_heavy_tails_widen_the_scale_and_normal_ones_do_not() -> None:
    rng = np.random.default_rng(2)
    normal, heavy = rng.standard_normal((20_000, 1)), rng.standard_t(2, (20_000, 1))
    assert tail_aware_scale(normal)[0] == pytest.approx(1.0, abs=0.06)
    assert tail_aware_scale(heavy)[0] > 2 * 1.4826 * np.median(np.abs(heavy))


def test_a_small_shift_that_stays_is_as_telling_as_a_large_one() -> None:
    rng = np.random.default_rng(4)
    healthy = windows_of(rng.standard_normal((2000, 1)), slope=rng.standard_normal((2000, 1)))
    baseline, _ = fit_baseline(healthy)
    assert baseline is not None
    shifted = baseline.view(windows_of(np.full((SMOOTHED_WINDOWS, 1), 1.5)))
    telling = largest(RobustZ.fit(baseline.view(healthy)).telling(shifted))
    assert telling[0] < 2
    assert telling[-1] > 3.5


def test_the_running_mean_does_not_reach_across_a_stop() -> None:
    width = SMOOTHED_WINDOWS
    values = np.arange(2.0 * width)[:, None]
    spell = np.repeat([1, 2], width)
    mean = smoothed(values, spell=spell, width=width)
    assert np.flatnonzero(np.isfinite(mean[:, 0])).tolist() == [width - 1, 2 * width - 1]
    assert mean[width - 1, 0] == pytest.approx((width - 1) / 2)


def test_a_machine_settles_after_a_stop_and_not_after_a_gap() -> None:
    index = np.array([0, 1, 2, 3, 4, 5, 9, 10, 11, 20, 21])
    runs = np.array([1, 0, 1, 1, 1, 1, 1, 0, 1, 1, 1], dtype=bool)
    coverage = np.array([1, 1, 1, 1, 1, 1, 0.49, 1, 1, 1, 1])
    found = states(index, runs=runs, coverage=coverage, settle_windows=2, kept=144)
    assert found.tolist() == [SCORED, STOPPED, SETTLING, SETTLING, SCORED, SCORED, TOO_FEW, STOPPED, SETTLING, SCORED, SCORED]


def test_a_gap_after_a_stop_ends_with_settling() -> None:
    found = states(np.array([0, 40, 41, 42]), runs=np.array([False, True, True, True]), coverage=np.ones(4), settle_windows=2, kept=144)
    assert found.tolist() == [STOPPED, SETTLING, SETTLING, SCORED]


def test_a_stop_more_than_a_day_ago_is_no_start() -> None:
    for gap, expected in ((144, SETTLING), (145, SCORED)):
        found = states(np.array([0, gap]), runs=np.array([False, True]), coverage=np.ones(2), settle_windows=2, kept=144)
        assert found.tolist() == [STOPPED, expected]


def test_whether_a_machine_runs_is_carried_over_midnight_and_for_a_day() -> None:
    starts = np.datetime64("2026-03-02T20:00", "us") + np.arange(400) * np.timedelta64(10, "m")
    is_read = np.zeros(400, dtype=bool)
    is_read[[3, 20, 200]] = True
    # as the features have it: by the last reading of the day, and before a day's first reading running
    runs = np.ones(400, dtype=bool)
    runs[20:24] = False  # stopped by the last reading of the first day
    runs[200:] = False
    told_runs, is_told = declared_states(runs, is_read=is_read, starts=starts)
    assert np.flatnonzero(is_told).tolist() == [*range(3, 20 + 145), *range(200, 200 + 145)]
    assert not told_runs[20 : 20 + 145].any()
    assert told_runs[:20].all()
    assert not told_runs[200:345].any()
