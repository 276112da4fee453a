"""Simulated machines that fail: do their failures come within the interval that the forecast gave?

Some failures calibrate the forecast, others, of another seed, are asked; and those are held against the calibration that
production uses, too.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd

from cli.evaluation.cases import Advance, SetResult
from ml.conformal import Stretch, calibrate
from ml.coverage import DAYS, coverage_of, inside
from ml.failure_calibration import ASKED_N, ASKED_SEED, FORECAST_SEED, SIMULATED, SIMULATED_COVERAGE, SIMULATED_N, SIMULATED_SEED
from ml.sensor_forecast import HORIZON_DAYS, SensorForecast, forecast, put_right
from ml.simulation.run_to_failure import RunToFailure, simulate_failures

TARGET = (0.72, 0.88)


def forecasts_of(runs: list[RunToFailure]) -> list[SensorForecast]:
    """As Prophet has them, before they are put right."""
    return [forecast(run.history, sensor=run.sensor, as_of=run.as_of, seed=FORECAST_SEED) for run in runs]


def put_right_by(calibration: Mapping[str, Stretch], runs: list[RunToFailure], found: list[SensorForecast]) -> list[SensorForecast]:
    return [put_right(f, sensor=run.sensor, calibration=calibration, horizon_days=HORIZON_DAYS) for run, f in zip(runs, found, strict=True)]


def outcomes(runs: list[RunToFailure], found: list[SensorForecast]) -> pd.DataFrame:
    """One row per failure: the truth, the forecast, and whether the one lies within the other."""
    rows = [
        {
            "failure_mode": run.failure_mode,
            "days_left": run.days_left,
            "p10_days": f.ttf_p10_days,
            "p50_days": f.ttf_p50_days,
            "p90_days": f.ttf_p90_days,
            "is_calibrated": f.calibrated_on is not None,
        }
        for run, f in zip(runs, found, strict=True)
    ]
    table = pd.DataFrame(rows).astype(dict.fromkeys(DAYS, "float64"))
    return table.assign(is_inside=inside(table))


def calibration_of(n: int, *, seed: int) -> dict[str, Stretch]:
    runs = simulate_failures(n, seed=seed)
    return calibrate(outcomes(runs, forecasts_of(runs)))


def evaluate(_: Path, advance: Advance) -> SetResult:
    runs = simulate_failures(ASKED_N, seed=ASKED_SEED)
    found = forecasts_of(runs)
    raw, held = outcomes(runs, found), outcomes(runs, put_right_by(SIMULATED, runs, found))
    fresh = calibration_of(SIMULATED_N, seed=SIMULATED_SEED)
    advance(1)
    by_mode = coverage_of(held)
    coverage = float(held["is_inside"].mean())
    errors = (held["p50_days"] - held["days_left"]).abs()
    figures = {
        "n_events": float(len(held)),
        "coverage_80": coverage,
        "coverage_80_uncalibrated": float(raw["is_inside"].mean()),
        "calibrated_share": float(held["is_calibrated"].mean()),
        "median_absolute_error_days": float(errors.median()),
        "median_absolute_error_days_uncalibrated": float((raw["p50_days"] - raw["days_left"]).abs().median()),
        "median_interval_days": float((held["p90_days"] - held["p10_days"]).median()),
        "calibration_is_the_kept_one": float(_rounded(fresh) == _rounded(SIMULATED)),
        "coverage_is_the_kept_one": float(by_mode == SIMULATED_COVERAGE),
        "target_met": float(TARGET[0] <= coverage <= TARGET[1]),
    }
    rows = [
        {
            "case": mode,
            "failures": len(of_mode),
            "calibrated_on": SIMULATED[str(mode)].n,
            "coverage_80": float(of_mode["is_inside"].mean()),
            "uncalibrated": float(raw.loc[of_mode.index, "is_inside"].mean()),
            "median_interval_days": float((of_mode["p90_days"] - of_mode["p10_days"]).median()),
        }
        for mode, of_mode in held.groupby("failure_mode")
    ]
    return SetResult(
        "faults",
        f"{ASKED_N} simulated machine faults, run to failure",
        hashlib.sha256(raw.to_csv().encode()).hexdigest(),
        {"seed": ASKED_SEED, "calibration_seed": SIMULATED_SEED, "calibration_n": SIMULATED_N, "forecast_seed": FORECAST_SEED},
        figures,
        rows,
        [
            (
                f"coverage_80: share of true failures within p10 to p90; target {TARGET[0]:.0%} to {TARGET[1]:.0%}. None of these "
                f"failures took part in the calibration."
            ),
            "The calibration anew, to be kept in ml/failure_calibration.py if it differs: " + ", ".join(map(str, _rounded(fresh).items())),
            "So is the coverage: " + ", ".join(map(str, by_mode.items())),
        ],
    )


def _rounded(calibration: Mapping[str, Stretch]) -> dict[str, Stretch]:
    return {
        mode: replace(s, low=round(s.low, 2), middle=round(s.middle, 2), high=round(s.high, 2)) for mode, s in sorted(calibration.items())
    }
