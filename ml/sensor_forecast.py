"""When one sensor will reach its limits: sampled paths of its trend and their first passage.

What a failure is: the first passage of the failure limits. On each side, low and high, that is the trip limit if the
sensor has one there, else the alarm limit. Which failure mode it stands for, and what to do about it, is not decided here.
"""

import zlib
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from ml.conformal import Calibration, calibrated
from ml.modes import failure_mode_of
from ml.passage import Limit, LimitKind, LimitSide, Passage, failure_limits, limits_of, passage_days, passage_of
from ml.plant import Sensor
from ml.trends import NotFitted, TrendPaths, ignore_prophet_warnings, linear_paths, prophet_paths, robust_line

Method = Literal["prophet", "linear", "observed", "none"]
Floats = npt.NDArray[np.float64]

HISTORY_DAYS, HORIZON_DAYS = 10, 30  # unless the caller says otherwise
MIN_POINTS = 12
MIN_POINTS_PROPHET = 24
NOW_POINTS = 3  # the median of so many last points is "the value now": a single spike is no failure
N_PATHS = 300
FIT_TIMEOUT_S = 10.0
TRAJECTORY_STEP_H = 6
USED_UP = "the time budget is used up"


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
    trajectory: pd.DataFrame = field(default_factory=lambda: trajectory_table([], np.empty((3, 0))), compare=False, repr=False)


@dataclass(frozen=True, eq=False)
class Question:
    """All that a sensor's forecast depends on: the same question has the same answer.

    value: hourly means while the machine ran, `hours` (below zero, rising) before as_of.
    """

    sensor_id: str
    limits: tuple[Limit, ...]
    as_of: pd.Timestamp
    hours: Floats
    value: Floats
    seed: int
    horizon_days: int = HORIZON_DAYS
    history_days: int = HISTORY_DAYS


class Fit(Protocol):
    """Answers a question by Prophet, within so many seconds. Raises NotFitted."""

    def __call__(self, question: Question, *, within_s: float) -> SensorForecast: ...


def question_of(
    history: pd.DataFrame,
    *,
    sensor: Sensor,
    as_of: pd.Timestamp,
    seed: int,
    horizon_days: int = HORIZON_DAYS,
    history_days: int = HISTORY_DAYS,
) -> Question:
    """From hourly means [timestamp, value], of which the last `history_days` count. Raises ValueError for a sensor without limits."""
    if horizon_days < 30:
        raise ValueError(f"horizon_days is {horizon_days}; the 30-day probability needs a horizon of at least 30")
    limits = limits_of(sensor)
    if not limits:
        raise ValueError(f"sensor {sensor.sensor_id} has neither alarm nor trip limits; give it some or leave it out")
    recent = _recent(history, as_of=as_of, days=history_days)
    hours = np.asarray((recent["timestamp"] - as_of) / pd.Timedelta(hours=1), dtype=np.float64)
    value = np.asarray(recent["value"], dtype=np.float64)
    return Question(sensor.sensor_id, limits, as_of, hours, value, seed, horizon_days, history_days)


def forecast(
    history: pd.DataFrame,
    *,
    sensor: Sensor,
    as_of: pd.Timestamp,
    seed: int,
    horizon_days: int = HORIZON_DAYS,
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
    question = question_of(history, sensor=sensor, as_of=as_of, seed=seed, horizon_days=horizon_days, history_days=history_days)
    found = answer(question, fit=fitted, within_s=timeout_s) if method == "prophet" else without_fit(question)
    return put_right(found, sensor=sensor, calibration=calibration, horizon_days=horizon_days)


def answer(question: Question, *, fit: Fit, within_s: float) -> SensorForecast:
    """By a fit where one can be made, else without: then the note says why."""
    if not needs_fit(question):
        return without_fit(question)
    try:
        return fit(question, within_s=within_s)
    except NotFitted as error:
        return without_fit(question, why_none=str(error))


def needs_fit(question: Question) -> bool:
    """Whether Prophet has something to say: the value is within its limits, moves, and has been seen often enough."""
    value = question.value
    return bool(value.size >= MIN_POINTS_PROPHET and np.ptp(value) > 0 and not _already_beyond(value, limits=question.limits))


def fitted(question: Question, *, within_s: float) -> SensorForecast:
    """Prophet's answer to a question that `needs_fit`, in this process. Raises NotFitted.

    Bounded is the optimiser, a process of its own, if it heeds SIGTERM, and twice the time where Prophet tries a second algorithm; the
    rest (0.05 s of Python) is not.
    """
    if within_s <= 0:
        raise NotFitted(USED_UP)
    ignore_prophet_warnings()
    paths = prophet_paths(
        question.hours,
        question.value,
        grid=_grid(question),
        as_of=question.as_of,
        n_paths=N_PATHS,
        rng=_rng(question),
        seed=question.seed,
        timeout_s=min(FIT_TIMEOUT_S, within_s),
    )
    return _from_paths(question, paths=paths, method="prophet", note="", is_fallback=False)


def without_fit(question: Question, *, why_none: str = "") -> SensorForecast:
    """What can be said without Prophet: the value is beyond a limit, too little is known, or the robust line.

    why_none: why Prophet, which should have answered, did not.
    """
    value, limits = question.value, question.limits
    if reached := _already_beyond(value, limits=limits):
        return _observed(question.sensor_id, limits=limits, reached=reached, value=value)
    if value.size < MIN_POINTS:
        return _none(question.sensor_id, limits=limits, history_days=question.history_days, value=value)
    note, is_fallback = "", False
    if np.ptp(value) == 0:
        note = "constant: no trend to fit"
    elif value.size < MIN_POINTS_PROPHET:
        note, is_fallback = f"{value.size} hourly points are too few for Prophet: robust line", True
    elif why_none:
        note, is_fallback = f"Prophet gave no fit ({why_none}): robust line", True
    paths = linear_paths(question.hours, value, grid=_grid(question), n_paths=N_PATHS, rng=_rng(question))
    return _from_paths(question, paths=paths, method="linear", note=note, is_fallback=is_fallback)


def _grid(question: Question) -> Floats:
    return np.arange(1.0, 24.0 * question.horizon_days + 1)


def _rng(question: Question) -> np.random.Generator:
    return np.random.default_rng([question.seed, zlib.crc32(question.sensor_id.encode())])


def put_right(found: SensorForecast, *, sensor: Sensor, calibration: Calibration | None, horizon_days: int) -> SensorForecast:
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


def _from_paths(question: Question, *, paths: TrendPaths, method: Method, note: str, is_fallback: bool) -> SensorForecast:
    limits, now = question.limits, float(question.value[-1])
    days = {limit: passage_days(paths, limit) for limit in limits}
    failing = failure_limits(limits)
    first = np.minimum.reduce([days[limit] for limit in failing])
    # Named is the side that is reached first in most paths; in none, the nearer one.
    led = max(failing, key=lambda limit: (int(np.sum(np.isfinite(first) & (days[limit] == first))), -limit.margin(now)))
    whole = passage_of(led, first)
    step = slice(TRAJECTORY_STEP_H - 1, None, TRAJECTORY_STEP_H)
    stamps = [question.as_of + pd.Timedelta(hours=float(h)) for h in paths.grid_h[step]]
    return SensorForecast(
        question.sensor_id,
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
        trajectory=trajectory_table(stamps, np.quantile(paths.values[:, step], (0.1, 0.5, 0.9), axis=0)),
    )


def trajectory_table(stamps: list[pd.Timestamp], quantiles: Floats) -> pd.DataFrame:
    table = pd.DataFrame({"timestamp": pd.Series(stamps, dtype="datetime64[us, UTC]")})
    for name, values in zip(("p10", "p50", "p90"), quantiles, strict=True):
        table[name] = values
    return table


def is_quiet(question: Question) -> bool:
    """Whether the sensor is flat and far from every limit: the robust line, 4 standard errors steeper, does not reach one, nor
    does the step of the last 24 points against the earlier ones, if it were repeated every day."""
    value, horizon_days = question.value, question.horizon_days
    if value.size < 72:
        return False
    line = robust_line(question.hours, value)
    reach = (abs(line.slope_per_h) + 4 * line.slope_error) * 24 * horizon_days + 4 * line.sigma
    step = abs(float(np.median(value[-24:]) - np.median(value[:-24])))
    margin = min(limit.margin(float(np.median(value[-24:]))) for limit in question.limits)
    return max(reach, step * horizon_days) < margin
