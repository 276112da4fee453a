"""Possible futures of one measured series: sample paths of its trend from Prophet's fit or from a robust line.

A path holds the trend, the daily season and the uncertainty of both level and slope, but no observation noise. What a
path means (limits, failures) does not belong here.
"""

import logging
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]

N_CHANGEPOINTS = 10
CHANGEPOINT_RANGE = 0.95
CHANGEPOINT_PRIOR = 0.1
LEVEL_PRIOR = 5.0  # Prophet's own: k, m ~ Normal(0, 5) in its scaled units
MIN_HOURS_FOR_SEASON = 72
MAX_AUTOCORRELATION = 0.95


class NotFitted(RuntimeError):  # an outcome that the forecast reports
    """Prophet did not give a usable fit in time."""


@dataclass(frozen=True)
class TrendPaths:
    """`values` has one row per path and one column per entry of `grid_h` (hours from now)."""

    grid_h: Floats
    values: Floats


@dataclass(frozen=True)
class RobustLine:
    """Theil-Sen line through (centre_h, centre); errors are standard errors, widened for autocorrelated residuals."""

    slope_per_h: float
    centre_h: float
    centre: float
    slope_error: float
    centre_error: float
    sigma: float


def robust_line(hours: Floats, value: Floats) -> RobustLine:
    """Theil-Sen slope (median of pairwise slopes); least-squares standard errors with the residuals' MAD in place of sigma."""
    if np.ptp(value) == 0:
        return RobustLine(0.0, float(hours.mean()), float(value[0]), 0.0, 0.0, 0.0)
    from scipy.stats import theilslopes

    slope = float(theilslopes(value, hours)[0])
    centre_h = float(hours.mean())
    centre = float(np.median(value - slope * (hours - centre_h)))
    residual = value - centre - slope * (hours - centre_h)
    sigma = 1.4826 * float(np.median(np.abs(residual))) or float(residual.std())
    inflated = sigma * np.sqrt(_inflation(residual))
    slope_error = float(inflated / np.sqrt(np.sum((hours - centre_h) ** 2)))
    return RobustLine(slope, centre_h, centre, slope_error, float(inflated / np.sqrt(value.size)), sigma)


def linear_paths(hours: Floats, value: Floats, *, grid: Floats, n_paths: int, rng: np.random.Generator) -> TrendPaths:
    """Lines with the robust line's level and slope, each drawn with its standard error."""
    line = robust_line(hours, value)
    slope = line.slope_per_h + line.slope_error * rng.standard_normal((n_paths, 1))
    centre = line.centre + line.centre_error * rng.standard_normal((n_paths, 1))
    return TrendPaths(grid, centre + slope * (grid - line.centre_h))


def prophet_paths(
    hours: Floats,
    value: Floats,
    *,
    grid: Floats,
    as_of: pd.Timestamp,
    n_paths: int,
    rng: np.random.Generator,
    seed: int,
    timeout_s: float,
) -> TrendPaths:
    """Sample the future from Prophet's maximum a posteriori fit. Raises NotFitted.

    In Prophet's units (history on [0, 1] in both directions) a path is
        g(t) = m + k t + sum_j d_j (t - s_j)+ + sum_i e_i (t - u_i)+  +  daily season
    with (m, k, d) drawn from the normal approximation of the posterior around the fit,
        covariance = (X'X / (sigma^2 f) + P)^-1,   f = (1 + r) / (1 - r),
    X the columns 1, t, (t - s_j)+; r the residuals' lag-1 autocorrelation; P the prior precision (Laplace(0, b) taken as a normal of its
    variance 2 b^2); and with new changes u_i, e_i as Prophet draws them (Taylor and Letham 2018, section 3.1.4): Poisson at the rate of the
    history's changepoints, sizes Laplace(0, mean |d_j|). Prophet itself leaves out the first part, hence would be certain
    of the slope of ten days of data. Own generator: Prophet draws from numpy's global one.
    """
    clean = without_spikes(value)
    if np.ptp(clean) == 0:
        raise NotFitted("constant but for single spikes")
    model, daily = _fit(hours, clean, as_of=as_of, seed=seed, timeout_s=timeout_s)
    # Prophet puts time and values on [0, 1]; so do t and future, and scale and base lead back.
    span_h = float(hours[-1] - hours[0])
    t, future = (hours - hours[0]) / span_h, (grid - hours[0]) / span_h
    scale, base = float(model.y_scale), float(model.y_min)
    changes = np.asarray(model.changepoints_t, dtype=np.float64)
    delta = np.asarray(model.params["delta"], dtype=np.float64)[0]
    fitted = np.concatenate([[float(model.params["m"][0, 0]), float(model.params["k"][0, 0])], delta])
    season = daily[np.mod(np.floor(hours).astype(np.int64), 24)]
    design = _trend_design(t, changes)
    residual = (clean - base) / scale - design @ fitted - season / scale
    sigma = max(float(model.params["sigma_obs"][0, 0]), float(residual.std()), 1e-6)
    precision = design.T @ design / (sigma**2 * _inflation(residual))
    precision += np.diag([LEVEL_PRIOR**-2.0] * 2 + [1 / (2 * CHANGEPOINT_PRIOR**2)] * changes.size)
    root = np.linalg.cholesky(np.linalg.inv(precision))
    drawn = fitted + rng.standard_normal((n_paths, fitted.size)) @ root.T
    values = drawn @ _trend_design(future, changes).T
    values += _new_changes(future, rate=changes.size, size=float(np.abs(delta).mean()), n_paths=n_paths, rng=rng)
    values = base + scale * values + daily[np.mod(np.floor(grid).astype(np.int64), 24)]
    if not np.isfinite(values).all():
        raise NotFitted("the fit is not finite")
    return TrendPaths(grid, values)


def ignore_prophet_warnings() -> None:
    """Prophet 1.5 uses two calls that pandas 4 will change. To be called before threads start: filters belong to the process."""
    warnings.filterwarnings("ignore", category=pd.errors.Pandas4Warning, module=r"prophet\..*")


def load_prophet() -> Any:
    """The class, which takes a second to import, and says nothing."""
    # Silenced before the import, which reports a missing plotly, and after it, since cmdstanpy then sets its own level. A failed fit
    # is no news for the log: L-BFGS gives way to Newton, and Newton to the robust line, which the forecast says.
    logging.getLogger("prophet.plot").setLevel(logging.CRITICAL)
    import cmdstanpy
    from prophet import Prophet

    for logger in (cmdstanpy.utils.get_logger(), logging.getLogger("prophet")):
        logger.setLevel(logging.CRITICAL)
    return Prophet


def without_spikes(value: Floats) -> Floats:
    """Points further than 6 robust standard deviations from the running median of 7 points are put on it.

    The deviation is that of neighbours' differences. Hampel's own, of the distances from the median, is far too small where a season is
    steep, because the middle point then is the median: it took 46 of 240 ordinary points for spikes.
    """
    running = np.asarray(pd.Series(value).rolling(7, center=True, min_periods=1).median(), dtype=np.float64)
    spread = 1.4826 * float(np.median(np.abs(np.diff(value)))) / np.sqrt(2)
    return np.asarray(np.where(np.abs(value - running) > 6 * spread, running, value) if spread > 0 else value, dtype=np.float64)


def _fit(hours: Floats, value: Floats, *, as_of: pd.Timestamp, seed: int, timeout_s: float) -> tuple[Any, Floats]:
    """The fitted model and its daily season by hours from as_of, modulo 24 (zeros below 3 days of history)."""
    has_season = bool(hours[-1] - hours[0] >= MIN_HOURS_FOR_SEASON)
    model = load_prophet()(
        growth="linear",
        n_changepoints=N_CHANGEPOINTS,
        changepoint_range=CHANGEPOINT_RANGE,
        changepoint_prior_scale=CHANGEPOINT_PRIOR,
        yearly_seasonality=False,
        weekly_seasonality=False,
        daily_seasonality=has_season,
        uncertainty_samples=0,
        scaling="minmax",
    )
    origin = as_of.tz_convert("UTC").tz_localize(None)
    try:
        model.fit(pd.DataFrame({"ds": origin + pd.to_timedelta(hours, unit="h"), "y": value}), seed=seed % 2**31, timeout=timeout_s)
    except TimeoutError as error:
        raise NotFitted(f"no fit within {timeout_s:.1f} s") from error
    except (RuntimeError, ValueError, np.linalg.LinAlgError) as error:
        said = str(error).partition(" Command ")[0]  # CmdStan's own begins so, with the paths of its temporary files
        raise NotFitted(said.splitlines()[0] if said else type(error).__name__) from error
    daily = np.zeros(24)
    if has_season:
        day = model.predict(pd.DataFrame({"ds": pd.date_range(origin, periods=24, freq="h")}))
        daily = day["additive_terms"].to_numpy(dtype=np.float64)
    return model, daily


def _trend_design(t: Floats, changes: Floats) -> Floats:
    return np.column_stack([np.ones_like(t), t, np.maximum(t[:, None] - changes[None, :], 0.0)])


def _new_changes(future: Floats, *, rate: float, size: float, n_paths: int, rng: np.random.Generator) -> Floats:
    """Slope changes after the history's end (1), at the grid's points; c changes in one step count as one, sqrt(c) times as large."""
    steps = np.diff(future, prepend=1.0)
    counts = rng.poisson(rate * np.maximum(steps, 0), size=(n_paths, future.size))
    slopes = np.cumsum(np.where(counts > 0, rng.laplace(0.0, max(size, 1e-8), size=counts.shape) * np.sqrt(counts), 0.0), axis=1)
    return np.asarray(np.cumsum(slopes * steps, axis=1), dtype=np.float64)


def _inflation(residual: Floats) -> float:
    """How many times the variance of a mean grows because neighbouring residuals are alike (first-order autoregression)."""
    centred = residual - residual.mean()
    power = float(centred @ centred)
    r = float(centred[1:] @ centred[:-1]) / power if power > 0 else 0.0
    r = min(max(r, 0.0), MAX_AUTOCORRELATION)
    return (1 + r) / (1 - r)
