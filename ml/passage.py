"""A sensor's limits, and the first passage of sampled paths through them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from ml.plant import Sensor
from ml.trends import TrendPaths

LimitKind = Literal["alarm", "trip"]
LimitSide = Literal["low", "high"]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Limit:
    kind: LimitKind
    side: LimitSide
    value: float

    def is_reached(self, values: Floats) -> npt.NDArray[np.bool_]:
        return np.asarray(values >= self.value if self.side == "high" else values <= self.value)

    def margin(self, value: float) -> float:
        return self.value - value if self.side == "high" else value - self.value


@dataclass(frozen=True)
class Passage:
    """First passage of one limit. A time to failure is None where that quantile is not reached within the horizon."""

    limit_kind: LimitKind
    limit_side: LimitSide
    limit_value: float
    probability_7d: float
    probability_30d: float
    ttf_p10_days: float | None
    ttf_p50_days: float | None
    ttf_p90_days: float | None


def limits_of(sensor: Sensor) -> tuple[Limit, ...]:
    bands: tuple[tuple[LimitKind, float | None, float | None], ...] = (
        ("alarm", sensor.alarm.low, sensor.alarm.high),
        ("trip", sensor.trip.low, sensor.trip.high),
    )
    found = [Limit(kind, "low", low) for kind, low, _ in bands if low is not None]
    found += [Limit(kind, "high", high) for kind, _, high in bands if high is not None]
    return tuple(found)


def failure_limits(limits: Iterable[Limit]) -> tuple[Limit, ...]:
    """One per side: the trip limit, or the alarm limit where there is no trip."""
    by_side = {limit.side: limit for limit in sorted(limits, key=lambda limit: limit.kind == "trip")}
    return tuple(by_side.values())


def passage_days(paths: TrendPaths, limit: Limit) -> Floats:
    """Days to the first passage per path; infinite where the limit is not reached within the horizon."""
    reached = limit.is_reached(paths.values)
    days = paths.grid_h[reached.argmax(axis=1)] / 24
    return np.asarray(np.where(reached.any(axis=1), days, np.inf), dtype=np.float64)


def passage_of(limit: Limit, days: Floats) -> Passage:
    quantiles = [float(np.quantile(days, q, method="inverted_cdf")) for q in (0.1, 0.5, 0.9)]
    p10, p50, p90 = (q if np.isfinite(q) else None for q in quantiles)
    return Passage(limit.kind, limit.side, limit.value, float(np.mean(days <= 7)), float(np.mean(days <= 30)), p10, p50, p90)
