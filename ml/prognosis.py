"""When a machine will fail: the forecasts of its limited sensors (`ml.sensor_forecast`), and the one that leads."""

import time
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace

import numpy as np
import pandas as pd

from ml.conformal import Calibration
from ml.passage import LimitKind, LimitSide, Passage, limits_of
from ml.plant import Machine, Sensor
from ml.sensor_forecast import (
    HISTORY_DAYS,
    HORIZON_DAYS,
    Fit,
    Method,
    SensorForecast,
    answer,
    fitted,
    is_quiet,
    put_right,
    question_of,
    without_fit,
)
from ml.trends import ignore_prophet_warnings

PREDICTION_COLUMNS = (
    "machine_id",
    "failure_mode",
    "probability_7d",
    "probability_30d",
    "ttf_p10_days",
    "ttf_p50_days",
    "ttf_p90_days",
    "leading_sensor_id",
    "limit_kind",
    "limit_side",
    "limit_value",
    "method",
    "calibrated_on",
    "note",
    "passages",
)


@dataclass(frozen=True)
class MachinePrognosis:
    """Failure of a machine: the forecast of its leading sensor, the one most likely to fail within 30 days.

    Taking the highest probability, not a product over sensors: sensors of one machine see the same fault, so treating them as
    independent would count it several times. `leading_sensor_id` is None if no sensor comes near a limit. The probabilities
    are None if no sensor could be forecast. `calibrated_on`: so many simulated failures put them right; None: they are the forecast's own.
    """

    machine_id: str
    probability_7d: float | None
    probability_30d: float | None
    ttf_p10_days: float | None
    ttf_p50_days: float | None
    ttf_p90_days: float | None
    leading_sensor_id: str | None
    limit_kind: LimitKind | None
    limit_side: LimitSide | None
    limit_value: float | None
    method: Method
    calibrated_on: int | None
    forecasts: tuple[SensorForecast, ...]
    n_fallback: int
    note: str

    @property
    def passages(self) -> tuple[Passage, ...]:
        """Of the leading sensor, every limit by itself."""
        return next((f.passages for f in self.forecasts if f.sensor_id == self.leading_sensor_id), ())


def predict_machine(
    histories: Mapping[str, pd.DataFrame],
    *,
    machine: Machine,
    as_of: pd.Timestamp,
    seed: int,
    budget_s: float,
    only: Collection[str] | None = None,
    workers: int = 2,
    horizon_days: int = HORIZON_DAYS,
    history_days: int = HISTORY_DAYS,
    calibration: Calibration | None = None,
    fit: Fit = fitted,
) -> MachinePrognosis:
    """Forecast the machine's limited sensors (`only` these, if given) from their last `history_days`, and take the leading one.

    A sensor whose robust line, made 4 standard errors steeper, stays inside every limit for the whole horizon, and whose last day
    did not drift, keeps that line and needs no Prophet (the note says which). `fit` may remember its answers, or ask another process:
    the calibration is applied to what it says. When `budget_s` is used up, it can give what it remembers, and the remaining
    sensors take the line too: a safety net, not the ordinary path (about 0.1 s per sensor and core), so results do not depend on timing.
    """
    deadline = time.monotonic() + budget_s
    empty = pd.DataFrame({"timestamp": pd.Series(dtype="datetime64[us, UTC]"), "value": pd.Series(dtype="float64")})
    sensors = [s for s in machine.sensors if limits_of(s) and (only is None or s.sensor_id in only)]

    def one(sensor: Sensor) -> SensorForecast:
        history = histories.get(sensor.sensor_id, empty)
        question = question_of(history, sensor=sensor, as_of=as_of, seed=seed, horizon_days=horizon_days, history_days=history_days)
        if is_quiet(question):
            calm = without_fit(question)
            return replace(calm, note=calm.note or "flat and far from its limits: robust line")
        found = answer(question, fit=fit, within_s=max(0.0, deadline - time.monotonic()))
        return put_right(found, sensor=sensor, calibration=calibration, horizon_days=horizon_days)

    ignore_prophet_warnings()
    with ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
        forecasts = tuple(pool.map(one, sensors))
    return _combine(machine.machine_id, forecasts)


def predictions_frame(prognoses: Iterable[tuple[str, MachinePrognosis]]) -> pd.DataFrame:
    """One row per (failure mode, prognosis), with the columns of PREDICTION_COLUMNS; what is unknown is null."""
    rows = [
        {
            "machine_id": p.machine_id,
            "failure_mode": mode,
            **{name: getattr(p, name) for name in PREDICTION_COLUMNS[2:-1]},
            "passages": [asdict(passage) for passage in p.passages],
        }
        for mode, p in prognoses
    ]
    frame = pd.DataFrame(rows, columns=list(PREDICTION_COLUMNS))
    numbers = [c for c in PREDICTION_COLUMNS if c.startswith(("probability", "ttf", "limit_value"))]
    words = [c for c in PREDICTION_COLUMNS if c not in (*numbers, "calibrated_on", "passages")]
    return frame.astype({**dict.fromkeys(numbers, "float64"), **dict.fromkeys(words, "str"), "calibrated_on": "Int32"})


def _combine(machine_id: str, forecasts: tuple[SensorForecast, ...]) -> MachinePrognosis:
    known = [f for f in forecasts if f.probability_30d is not None]
    notes = [f"{f.sensor_id}: {f.note}" for f in forecasts if f.note]
    n_fallback = sum(f.is_fallback for f in forecasts)
    if not known:
        note = "; ".join(notes) or "no sensor with limits to forecast"
        return MachinePrognosis(machine_id, None, None, None, None, None, None, None, None, None, "none", None, forecasts, n_fallback, note)
    lead = min(known, key=_urgency)
    is_near = bool(lead.probability_30d)
    return MachinePrognosis(
        machine_id,
        lead.probability_7d,
        lead.probability_30d,
        lead.ttf_p10_days,
        lead.ttf_p50_days,
        lead.ttf_p90_days,
        lead.sensor_id if is_near else None,
        lead.limit_kind if is_near else None,
        lead.limit_side if is_near else None,
        lead.limit_value if is_near else None,
        lead.method,
        lead.calibrated_on,
        forecasts,
        n_fallback,
        "; ".join(notes),
    )


def _urgency(f: SensorForecast) -> tuple[float, float, float, str]:
    soonest = f.ttf_p10_days if f.ttf_p10_days is not None else np.inf
    return (-(f.probability_30d or 0.0), -(f.probability_7d or 0.0), soonest, f.sensor_id)
