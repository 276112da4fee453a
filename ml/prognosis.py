"""When a sensor will reach its limits: sampled trend paths and their first passage, per sensor and per machine.

What a failure is: the first passage of the failure limits. On each side, low and high, that is the trip limit if the
sensor has one there, else the alarm limit. Which failure mode it stands for, and what to do about it, is not decided here.
"""

import time
import zlib
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from ml.conformal import Calibration, calibrated
from ml.modes import failure_mode_of
from ml.passage import Limit, LimitKind, LimitSide, Passage, failure_limits, limits_of, passage_days, passage_of
from ml.plant import Machine, Sensor
from ml.trends import NotFitted, TrendPaths, ignore_prophet_warnings, linear_paths, prophet_paths, robust_line

Method = Literal["prophet", "linear", "observed", "none"]
Floats = npt.NDArray[np.float64]

HISTORY_DAYS = 10  # unless the caller says otherwise
MIN_POINTS = 12
MIN_POINTS_PROPHET = 24
NOW_POINTS = 3  # the median of so many last points is "the value now": a single spike is no failure
N_PATHS = 300
FIT_TIMEOUT_S = 10.0
TRAJECTORY_STEP_H = 6
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
    "note",
    "passages",
)


@dataclass(frozen=True)
class SensorForecast:
    """Failure as seen by one sensor; `passages` holds every limit by itself, alarms and trips apart.

    method: `prophet`; `linear` (robust line; `is_fallback` says whether Prophet should have done it); `observed`, the value
    is already beyond the limit; `none`, too little data: the probabilities are None then, since nothing is known.
    calibrated_on: so many failures put the probabilities and times right (`ml.conformal`); None: they are the paths' own.
    trajectory: timestamp, p10, p50, p90 every 6 hours; empty for the methods observed and none.
    """

    sensor_id: str
    limit_kind: LimitKind
    limit_side: LimitSide
    limit_value: float
    probability_7d: float | None
    probability_30d: float | None
    ttf_p10_days: float | None
    ttf_p50_days: float | None
    ttf_p90_days: float | None
    method: Method
    note: str
    is_fallback: bool = False
    calibrated_on: int | None = None
    passages: tuple[Passage, ...] = ()
    trajectory: pd.DataFrame = field(default_factory=lambda: _trajectory_table([], np.empty((3, 0))), compare=False, repr=False)


@dataclass(frozen=True)
class MachinePrognosis:
    """Failure of a machine: the forecast of its leading sensor, the one most likely to fail within 30 days.

    Taking the highest probability, not a product over sensors: sensors of one machine see the same fault, so treating them as
    independent would count it several times. `leading_sensor_id` is None if no sensor comes near a limit. The probabilities
    are None if no sensor could be forecast.
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
    forecasts: tuple[SensorForecast, ...]
    n_fallback: int
    note: str

    @property
    def passages(self) -> tuple[Passage, ...]:
        """Of the leading sensor, every limit by itself."""
        return next((f.passages for f in self.forecasts if f.sensor_id == self.leading_sensor_id), ())


def forecast(
    history: pd.DataFrame,
    *,
    sensor: Sensor,
    as_of: pd.Timestamp,
    seed: int,
    horizon_days: int = 30,
    history_days: int = HISTORY_DAYS,
    method: Literal["prophet", "linear"] = "prophet",
    timeout_s: float = FIT_TIMEOUT_S,
    calibration: Calibration | None = None,
) -> SensorForecast:
    """Forecast one sensor from hourly means [timestamp, value] taken while its machine ran; the last `history_days` count.

    Time to failure is in days from `as_of`, with a resolution of an hour. Passage is judged on trend plus daily
    season plus the uncertainty of the trend, without observation noise: a noisy reading is no failure.
    A fit that fails or outlasts `timeout_s` gives the robust line. Prophet's times are put right by the `calibration` of the failure mode
    that the limit stands for. Raises ValueError for a sensor without limits.
    """
    ignore_prophet_warnings()
    recent = _recent(history, as_of=as_of, days=history_days)
    found = _forecast(
        recent,
        sensor=sensor,
        as_of=as_of,
        seed=seed,
        horizon_days=horizon_days,
        history_days=history_days,
        method=method,
        timeout_s=timeout_s,
    )
    return _put_right(found, sensor=sensor, calibration=calibration, horizon_days=horizon_days)


def _put_right(found: SensorForecast, *, sensor: Sensor, calibration: Calibration | None, horizon_days: int) -> SensorForecast:
    """Only what Prophet forecast: the calibration's failures were forecast by it."""
    if not calibration or found.method != "prophet":
        return found
    mode = failure_mode_of(sensor.type, direction=1 if found.limit_side == "high" else -1, feature="mean")
    stretch, days = calibration.get(mode), (found.ttf_p10_days, found.ttf_p50_days, found.ttf_p90_days)
    if stretch is None or days[1] is None:
        return found
    limit = (found.limit_kind, found.limit_side, found.limit_value)
    raw = Passage(*limit, found.probability_7d or 0.0, found.probability_30d or 0.0, *days)
    whole = calibrated(raw, stretch, horizon_days=horizon_days)
    return replace(
        found,
        probability_7d=whole.probability_7d,
        probability_30d=whole.probability_30d,
        ttf_p10_days=whole.ttf_p10_days,
        ttf_p50_days=whole.ttf_p50_days,
        ttf_p90_days=whole.ttf_p90_days,
        note=f"times put right by {stretch.n} failures of mode {mode}",
        calibrated_on=stretch.n,
        passages=tuple(calibrated(passage, stretch, horizon_days=horizon_days) for passage in found.passages),
    )


def _forecast(
    recent: pd.DataFrame,
    *,
    sensor: Sensor,
    as_of: pd.Timestamp,
    seed: int,
    horizon_days: int,
    history_days: int,
    method: Literal["prophet", "linear"],
    timeout_s: float,
) -> SensorForecast:
    if horizon_days < 30:
        raise ValueError(f"horizon_days is {horizon_days}; the 30-day probability needs a horizon of at least 30")
    limits = limits_of(sensor)
    if not limits:
        raise ValueError(f"sensor {sensor.sensor_id} has neither alarm nor trip limits; give it some or leave it out")
    value = np.asarray(recent["value"], dtype=np.float64)
    if reached := _already_beyond(value, limits=limits):
        return _observed(sensor.sensor_id, limits=limits, reached=reached, value=value)
    if value.size < MIN_POINTS:
        return _none(sensor.sensor_id, limits=limits, history_days=history_days, value=value)
    hours = _hours(recent, as_of=as_of)
    rng = np.random.default_rng([seed, zlib.crc32(sensor.sensor_id.encode())])
    grid = np.arange(1.0, 24.0 * horizon_days + 1)
    note, is_fallback = "", False
    paths: TrendPaths | None = None
    if np.ptp(value) == 0:
        note = "constant: no trend to fit"
    elif value.size < MIN_POINTS_PROPHET:
        note, is_fallback = f"{value.size} hourly points are too few for Prophet: robust line", True
    elif method == "prophet":
        try:
            paths = prophet_paths(hours, value, grid=grid, as_of=as_of, n_paths=N_PATHS, rng=rng, seed=seed, timeout_s=timeout_s)
        except NotFitted as error:
            note, is_fallback = f"Prophet gave no fit ({error}): robust line", True
    used: Method = "linear" if paths is None else "prophet"
    if paths is None:
        paths = linear_paths(hours, value, grid=grid, n_paths=N_PATHS, rng=rng)
    return _from_paths(
        sensor.sensor_id, paths=paths, limits=limits, as_of=as_of, now=float(value[-1]), method=used, note=note, is_fallback=is_fallback
    )


def predict_machine(
    histories: Mapping[str, pd.DataFrame],
    *,
    machine: Machine,
    as_of: pd.Timestamp,
    seed: int,
    budget_s: float,
    only: Collection[str] | None = None,
    workers: int = 2,
    horizon_days: int = 30,
    history_days: int = HISTORY_DAYS,
    calibration: Calibration | None = None,
) -> MachinePrognosis:
    """Forecast the machine's limited sensors (`only` these, if given) from their last `history_days`, and take the leading one.

    A sensor whose robust line, made 4 standard errors steeper, stays inside every limit for the whole horizon, and whose last day
    did not drift, keeps that line and needs no Prophet (the note says which). When `budget_s` is used up, the remaining
    sensors take the line too: a safety net, not the ordinary path (about 0.1 s per sensor and core), so results do not depend on timing.
    """
    deadline = time.monotonic() + budget_s
    empty = pd.DataFrame({"timestamp": pd.Series(dtype="datetime64[us, UTC]"), "value": pd.Series(dtype="float64")})
    sensors = [s for s in machine.sensors if limits_of(s) and (only is None or s.sensor_id in only)]

    def one(sensor: Sensor) -> SensorForecast:
        recent = _recent(histories.get(sensor.sensor_id, empty), as_of=as_of, days=history_days)
        run = partial(_forecast, recent, sensor=sensor, as_of=as_of, seed=seed, horizon_days=horizon_days, history_days=history_days)
        if _is_quiet(recent, sensor=sensor, as_of=as_of, horizon_days=horizon_days):
            calm = run(method="linear", timeout_s=0.0)
            return replace(calm, note=calm.note or "flat and far from its limits: robust line")
        left = deadline - time.monotonic()
        if left <= 0:
            late = run(method="linear", timeout_s=0.0)
            if late.method != "linear" or late.note:
                return late
            return replace(late, is_fallback=True, note="time budget used up: robust line")
        fitted = run(method="prophet", timeout_s=min(FIT_TIMEOUT_S, left))
        return _put_right(fitted, sensor=sensor, calibration=calibration, horizon_days=horizon_days)

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
    words = [c for c in PREDICTION_COLUMNS if c not in (*numbers, "passages")]
    return frame.astype({**dict.fromkeys(numbers, "float64"), **dict.fromkeys(words, "str")})


def _recent(history: pd.DataFrame, *, as_of: pd.Timestamp, days: int) -> pd.DataFrame:
    missing = sorted({"timestamp", "value"} - set(history.columns))
    if missing:
        raise ValueError(f"history lacks the columns {', '.join(missing)}; give hourly means as timestamp, value")
    if as_of.tzinfo is None or not isinstance(history["timestamp"].dtype, pd.DatetimeTZDtype):
        raise ValueError("history.timestamp and as_of must be aware timestamps in UTC")
    stamps = history["timestamp"]
    rows: pd.DataFrame = history.loc[(stamps > as_of - pd.Timedelta(days=days)) & (stamps <= as_of), ["timestamp", "value"]]
    rows = rows[np.isfinite(rows["value"].to_numpy(dtype=np.float64))]
    return rows.drop_duplicates("timestamp", keep="last").sort_values("timestamp", ignore_index=True)


def _hours(recent: pd.DataFrame, *, as_of: pd.Timestamp) -> Floats:
    return np.asarray((recent["timestamp"] - as_of) / pd.Timedelta(hours=1), dtype=np.float64)


def _already_beyond(value: Floats, *, limits: Collection[Limit]) -> tuple[Limit, ...]:
    if not value.size:
        return ()
    now = np.array([np.median(value[-NOW_POINTS:])])
    return tuple(limit for limit in failure_limits(limits) if limit.is_reached(now)[0])


def _observed(sensor_id: str, *, limits: Collection[Limit], reached: tuple[Limit, ...], value: Floats) -> SensorForecast:
    limit, now = reached[0], float(np.median(value[-NOW_POINTS:]))
    beyond = tuple(
        Passage(other.kind, other.side, other.value, 1.0, 1.0, 0.0, 0.0, 0.0) for other in limits if other.is_reached(np.array([now]))[0]
    )
    note = f"already beyond the {limit.side} {limit.kind} limit: {now:.4g} against {limit.value:.4g}"
    return SensorForecast(sensor_id, limit.kind, limit.side, limit.value, 1.0, 1.0, 0.0, 0.0, 0.0, "observed", note, passages=beyond)


def _none(sensor_id: str, *, limits: Collection[Limit], history_days: int, value: Floats) -> SensorForecast:
    limit = min(failure_limits(limits), key=lambda limit: limit.margin(float(value[-1])) if value.size else 0.0)
    note = f"no forecast: {value.size} hourly points within {history_days} days, {MIN_POINTS} are needed"
    return SensorForecast(sensor_id, limit.kind, limit.side, limit.value, None, None, None, None, None, "none", note)


def _from_paths(
    sensor_id: str,
    *,
    paths: TrendPaths,
    limits: Collection[Limit],
    as_of: pd.Timestamp,
    now: float,
    method: Method,
    note: str,
    is_fallback: bool,
) -> SensorForecast:
    days = {limit: passage_days(paths, limit) for limit in limits}
    failing = failure_limits(limits)
    first = np.minimum.reduce([days[limit] for limit in failing])
    # Named is the side that is reached first in most paths; in none, the nearer one.
    led = max(failing, key=lambda limit: (int(np.sum(np.isfinite(first) & (days[limit] == first))), -limit.margin(now)))
    whole = passage_of(led, first)
    step = slice(TRAJECTORY_STEP_H - 1, None, TRAJECTORY_STEP_H)
    stamps = [as_of + pd.Timedelta(hours=float(h)) for h in paths.grid_h[step]]
    return SensorForecast(
        sensor_id,
        led.kind,
        led.side,
        led.value,
        whole.probability_7d,
        whole.probability_30d,
        whole.ttf_p10_days,
        whole.ttf_p50_days,
        whole.ttf_p90_days,
        method,
        note,
        is_fallback=is_fallback,
        passages=tuple(passage_of(limit, days[limit]) for limit in limits),
        trajectory=_trajectory_table(stamps, np.quantile(paths.values[:, step], (0.1, 0.5, 0.9), axis=0)),
    )


def _trajectory_table(stamps: list[pd.Timestamp], quantiles: Floats) -> pd.DataFrame:
    table = pd.DataFrame({"timestamp": pd.Series(stamps, dtype="datetime64[us, UTC]")})
    for name, values in zip(("p10", "p50", "p90"), quantiles, strict=True):
        table[name] = values
    return table


def _is_quiet(recent: pd.DataFrame, *, sensor: Sensor, as_of: pd.Timestamp, horizon_days: int) -> bool:
    """Whether the sensor is flat and far from every limit: the robust line, 4 standard errors steeper, does not reach one, nor
    does the step of the last 24 points against the earlier ones, if it were repeated every day."""
    value = np.asarray(recent["value"], dtype=np.float64)
    if value.size < 72:
        return False
    line = robust_line(_hours(recent, as_of=as_of), value)
    reach = (abs(line.slope_per_h) + 4 * line.slope_error) * 24 * horizon_days + 4 * line.sigma
    step = abs(float(np.median(value[-24:]) - np.median(value[:-24])))
    margin = min(limit.margin(float(np.median(value[-24:]))) for limit in limits_of(sensor))
    return max(reach, step * horizon_days) < margin


def _combine(machine_id: str, forecasts: tuple[SensorForecast, ...]) -> MachinePrognosis:
    known = [f for f in forecasts if f.probability_30d is not None]
    notes = [f"{f.sensor_id}: {f.note}" for f in forecasts if f.note]
    n_fallback = sum(f.is_fallback for f in forecasts)
    if not known:
        note = "; ".join(notes) or "no sensor with limits to forecast"
        return MachinePrognosis(machine_id, None, None, None, None, None, None, None, None, None, "none", forecasts, n_fallback, note)
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
        forecasts,
        n_fallback,
        "; ".join(notes),
    )


def _urgency(f: SensorForecast) -> tuple[float, float, float, str]:
    soonest = f.ttf_p10_days if f.ttf_p10_days is not None else np.inf
    return (-(f.probability_30d or 0.0), -(f.probability_7d or 0.0), soonest, f.sensor_id)
