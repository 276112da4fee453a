"""What an instrument shows of what it measures, and when it says that it did: rounded, within its range, or wrong in both."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np

from ml.plant import Sensor
from ml.simulation.faults import Fault, shown_conversion
from ml.simulation.gateway import Ints
from ml.simulation.machines import DAY_S, Floats

CLOCK_GAIN_S_PER_DAY = 60.0  # of a drifting clock at severity 1: 2.5 s per hour


def displayed(times: Ints, values: Floats, faults: Sequence[Fault], *, sensor: Sensor, decimals: int) -> tuple[Ints, Floats]:
    """What a sensor with resolved faults shows and when it says that it measured: microseconds since 1970, ascending, and values.

    `values` are within the sensor's range; in a wrong unit they may leave it. A dead sensor shows the bottom of its range (0 without
    one), a silent one nothing. Stamps of a fast clock are rounded as a gateway writes them: to seconds, for intervals below 10 s to
    milliseconds.
    """
    values = np.clip(np.round(values, decimals) + 0.0, sensor.physical.low, sensor.physical.high)  # +0: no instrument shows -0
    for fault in faults:
        since = times - _us(fault.onset_at)
        active = (since >= 0) & (times < _us(fault.ends_at))
        if fault.kind == "dead_sensor":
            values = np.where(active, sensor.physical.low or 0.0, values)
        elif fault.kind == "wrong_unit":
            change = shown_conversion(sensor, fault)
            places = max(0, decimals - int(np.floor(np.log10(change.factor))))
            values = np.where(active, np.round(change.shown(values), places), values)
        elif fault.kind == "silent_sensor":
            times, values = times[~active], values[~active]
        elif fault.kind == "clock_drift":
            tick = 1_000_000 if sensor.interval_s >= 10 else 1_000
            gain = np.where(active, fault.severity * CLOCK_GAIN_S_PER_DAY / DAY_S * since, 0.0)
            times, first = np.unique(times + np.rint(gain / tick).astype(np.int64) * tick, return_index=True)
            values = values[first]
    return times, values


def _us(at: datetime) -> int:
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
