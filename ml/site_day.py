"""The readings of one site and day as sorted arrays, one slice per sensor."""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cached_property

import numpy as np
import pandas as pd
import pyarrow as pa

from ml.columns import US_PER_DAY, Bools, Floats, Ints
from ml.key_order import sorted_order
from ml.plant import Machine, Sensor, Site


@dataclass(frozen=True)
class SiteDay:
    """Readings of the site's sensors in the order of their ids, then of time; `at_us` since the day began.

    Rows `starts[i]` to `starts[i + 1]` are those of `sensors[i]`; `code` is the sensor's number, row by row.
    """

    site: Site
    day: date
    sensors: tuple[Sensor, ...]
    machines: tuple[Machine, ...]  # of each sensor
    code: Ints
    at_us: Ints
    value: Floats
    starts: Ints

    @property
    def start(self) -> pd.Timestamp:
        return pd.Timestamp(datetime(self.day.year, self.day.month, self.day.day, tzinfo=UTC)).as_unit("us")

    @cached_property
    def interval_us(self) -> Floats:
        """Nominal time between two readings, by sensor."""
        return np.array([s.interval_s for s in self.sensors]) * 1e6


def sensors_in_order(site: Site) -> tuple[tuple[Sensor, Machine], ...]:
    """The site's sensors, each with its machine, in the order of their ids."""
    return tuple(sorted(((s, m) for m in site.machines for s in m.sensors), key=lambda pair: pair[0].sensor_id))


def site_day(readings: pd.DataFrame, *, site: Site, day: date) -> SiteDay:
    """Rows of sensors that the site does not have are left out. Raises ValueError for rows of another day."""
    owners = sensors_in_order(site)
    code_of = {s.sensor_id: i for i, (s, _) in enumerate(owners)}
    code = sensor_codes(readings["sensor_id"], code_of)
    stamps = readings["timestamp"].astype("datetime64[us, UTC]").to_numpy(dtype="datetime64[us]")
    at = stamps.astype(np.int64) - (day - date(1970, 1, 1)).days * US_PER_DAY
    if len(at) and (at.min() < 0 or at.max() >= US_PER_DAY):
        raise ValueError(
            f"site {site.site}: readings from {stamps.min()} to {stamps.max()} given for {day}; pass those of that UTC day only"
        )
    value = readings["value"].to_numpy(dtype=np.float64)
    known = code >= 0
    if not known.all():
        code, at, value = code[known], at[known], value[known]
    order = sorted_order(code, at)
    if order is not None:
        code, at, value = code[order], at[order], value[order]
    return SiteDay(
        site=site,
        day=day,
        sensors=tuple(s for s, _ in owners),
        machines=tuple(m for _, m in owners),
        code=code,
        at_us=at,
        value=value,
        starts=np.searchsorted(code, np.arange(len(owners) + 1)),
    )


def sensor_codes(sensor_ids: "pd.Series[str]", code_of: dict[str, int]) -> Ints:
    """Number of each row's sensor, -1 for one that the site does not have."""
    encoded = pa.array(sensor_ids, from_pandas=True)
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    if not pa.types.is_dictionary(encoded.type):
        encoded = encoded.dictionary_encode()
    table = np.array([code_of.get(name, -1) for name in encoded.dictionary.to_pylist()] + [-1], np.int64)
    codes: Ints = table[encoded.indices.fill_null(len(table) - 1).to_numpy(zero_copy_only=False)]
    return codes


def is_running(readings: SiteDay) -> Bools:
    """Whether the reading's machine ran, by the latest reading of its running sensor at that instant or before.

    A machine without a running sensor, or before that sensor's first reading of the day, counts as running.
    """
    state = np.ones(len(readings.at_us), bool)
    running_sensor = _running_codes(readings)
    if (running_sensor < 0).all() or not len(state):
        return state
    key = (readings.code << 37) | readings.at_us  # a day has fewer than 2^37 microseconds
    source = running_sensor[readings.code]
    latest = np.searchsorted(key, (np.maximum(source, 0) << 37) | readings.at_us, side="right") - 1
    has_state = (source >= 0) & (latest >= 0) & (readings.code[latest] == source)
    above = np.array([m.running_when.above if m.running_when else -np.inf for m in readings.machines])
    state[has_state] = (readings.value[latest] > above[readings.code])[has_state]
    return state


def _running_codes(readings: SiteDay) -> Ints:
    """By sensor: the number of its machine's running sensor, -1 without one."""
    code_of = {s.sensor_id: i for i, s in enumerate(readings.sensors)}
    return np.array([code_of[m.running_when.sensor_id] if m.running_when else -1 for m in readings.machines], np.int64)
