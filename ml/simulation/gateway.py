"""A gateway delivers almost everything: readings become CSV drops with gaps, repeats and rubbish, each of them counted.

The counts are the truth about the text, cell by cell, so that what intake reports can be compared exactly.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, timedelta

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from ml.plant import Site
from ml.simulation.machines import DAY_S, Bools, Floats, stream

Ints = npt.NDArray[np.int64]

NOT_A_NUMBER = "#N/A"
P_MISSING = 5e-4
P_NOT_A_NUMBER = 1e-4
P_OUT_OF_RANGE = 1e-4
P_DUPLICATE = 2e-4
P_OUTAGE_PER_DAY = 0.15
P_LATE_HOUR_PER_DAY = 0.1

_GOOD, _NAN, _RANGE, _UNKNOWN = 0, 1, 2, 3


@dataclass(frozen=True)
class DropCounts:
    """What a drop holds. A row is a line of a long drop and a non-empty cell of a wide one.

    rows = accepted + duplicate + not_a_number + out_of_physical_range + unknown_sensor; `missing` readings are in no drop.
    """

    rows: int = 0
    accepted: int = 0
    duplicate: int = 0
    not_a_number: int = 0
    out_of_physical_range: int = 0
    unknown_sensor: int = 0
    missing: int = 0

    @property
    def quarantined(self) -> int:
        return self.not_a_number + self.out_of_physical_range + self.unknown_sensor

    def __add__(self, other: "DropCounts") -> "DropCounts":
        return DropCounts(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})


@dataclass(frozen=True)
class Drop:
    """A file as delivered, uncompressed; `delivered_at` is when the gateway sent it."""

    name: str
    content: bytes
    counts: DropCounts
    delivered_at: datetime


@dataclass(frozen=True, eq=False)
class Cells:
    """Readings in file order. `sensor` indexes the site's sensors (one past the last: an unknown one); `times` are µs since 1970."""

    times: Ints
    sensor: Ints
    values: Floats
    status: npt.NDArray[np.int8]
    is_missing: Bools
    is_duplicated: Bools

    def where(self, keep: Bools) -> "Cells":
        return Cells(*(getattr(self, f.name)[keep] for f in fields(self)))

    @property
    def counts(self) -> DropCounts:
        there = ~self.is_missing
        copies = np.where(self.is_duplicated, 2, 1)
        by_status = [int(copies[there & (self.status == s)].sum()) for s in (_GOOD, _NAN, _RANGE, _UNKNOWN)]
        duplicate = int((there & self.is_duplicated & (self.status == _GOOD)).sum())
        return DropCounts(
            rows=sum(by_status),
            accepted=by_status[_GOOD] - duplicate,
            duplicate=duplicate,
            not_a_number=by_status[_NAN],
            out_of_physical_range=by_status[_RANGE],
            unknown_sensor=by_status[_UNKNOWN],
            missing=int(self.is_missing.sum()),
        )


def check_format(site: Site) -> None:
    """ValueError if drops of the site's format cannot be written here."""
    if site.drops.kind != "csv" or site.drops.columns.machine is not None:
        raise ValueError(
            f"drops of {site.site}: the simulator writes csv without a machine column, not {site.drops.kind}"
            f"{' with one' if site.drops.columns.machine else ''}; simulate with drops.kind csv and no drops.columns.machine"
        )


def as_received(site: Site, day: date, series: Mapping[str, tuple[Ints, Floats]], *, seed: int) -> Cells:
    """The day's readings by sensor with everything a real gateway does to them except the cutting into files."""
    rng = stream(seed, site.site, "gateway", day.toordinal())
    order = [s.sensor_id for s in site.sensors]
    times = np.concatenate([series[s][0] for s in order])
    values = np.concatenate([series[s][1] for s in order])
    sensor = np.repeat(np.arange(len(order)), [len(series[s][0]) for s in order])
    in_file = np.argsort(times, kind="stable")
    times, values, sensor = times[in_file], values[in_file], sensor[in_file]

    draw = rng.random(len(times))
    missing = draw < P_MISSING
    if rng.random() < P_OUTAGE_PER_DAY:
        missing |= _outage(site, day, times, sensor, rng=rng)
    out_of_range = np.array([_beyond(s.physical.low, s.physical.high) for s in site.sensors])
    status = np.where(_leaves_range(values, sensor, site=site), _RANGE, _GOOD).astype(np.int8)
    status[(draw >= P_MISSING) & (draw < P_MISSING + P_NOT_A_NUMBER)] = _NAN
    is_wild = (draw > 1 - P_OUT_OF_RANGE) & np.isfinite(out_of_range[sensor])
    status[is_wild] = _RANGE
    values = np.where(is_wild, out_of_range[sensor], values)

    n_unknown = min(int(rng.integers(0, 4)), len(times))
    after = np.sort(rng.choice(len(times), n_unknown, replace=False))
    after = after[np.diff(times[after], prepend=-1) > 0]
    times = np.insert(times, after, times[after])
    sensor = np.insert(sensor, after, len(order))
    values = np.insert(values, after, np.round(rng.uniform(0, 100, len(after)), 2))
    status = np.insert(status, after, _UNKNOWN)
    missing = np.insert(missing, after, False)

    if site.drops.layout == "wide":  # what is repeated is a line, with all its cells
        instants, line = np.unique(times, return_inverse=True)
        duplicated = (rng.random(len(instants)) < P_DUPLICATE)[line]
    else:
        duplicated = (rng.random(len(times)) < P_DUPLICATE) & (status == _GOOD)
    return Cells(times, sensor, values, status, missing, duplicated)


def _leaves_range(values: Floats, sensor: Ints, *, site: Site) -> Bools:
    """What a sensor sends in another unit may be more than it can measure."""
    low = np.array([-np.inf if s.physical.low is None else s.physical.low for s in site.sensors])
    high = np.array([np.inf if s.physical.high is None else s.physical.high for s in site.sensors])
    return np.asarray((values < low[sensor]) | (values > high[sensor]), dtype=np.bool_)


def _outage(site: Site, day: date, times: Ints, sensor: Ints, *, rng: np.random.Generator) -> Bools:
    """One machine's sensors are silent for 10 to 40 minutes."""
    machine = site.machines[int(rng.integers(len(site.machines)))]
    own = np.array([any(s.sensor_id == o.sensor_id for o in machine.sensors) for s in site.sensors])
    seconds = (times - _day_start(day)) / 1e6
    begin, minutes = rng.uniform(0, DAY_S - 2400), rng.uniform(10, 40)
    return np.asarray(own[sensor] & (seconds >= begin) & (seconds < begin + minutes * 60), dtype=np.bool_)


def _beyond(low: float | None, high: float | None) -> float:
    """A value that the sensor cannot measure; NaN where everything is possible."""
    if high is not None:
        return round(high + 0.5 * abs(high) + 10, 2)
    return round(low - 0.5 * abs(low) - 10, 2) if low is not None else float("nan")


def _day_start(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1_000_000


def cut_into_drops(cells: Cells, site: Site, *, day: date, seed: int, drops_per_day: int) -> tuple[Drop, ...]:
    """The day's files in order of delivery; on some days one hour was held back and follows last, in a file of its own."""
    hours = (cells.times - _day_start(day)) // 3_600_000_000
    rng = stream(seed, site.site, "late hour", day.toordinal())
    is_late, hour = rng.random() < P_LATE_HOUR_PER_DAY, int(rng.integers(10, 20))
    late = (hours == hour) & is_late
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    span = 24 // drops_per_day
    parts = [
        (f"{first:02d}", ~late & (hours >= first) & (hours < first + span), midnight + timedelta(hours=first + span, minutes=2))
        for first in range(0, 24, span)
    ]
    parts.append((f"{hour:02d}_late", late, midnight + timedelta(hours=27)))
    drops = []
    for suffix, here, delivered_at in parts:
        part = cells.where(here)
        if not part.is_missing.all():  # also leaves out an empty part
            drops.append(Drop(f"{site.site}_{day:%Y-%m-%d}_{suffix}.csv", drop_text(part, site), part.counts, delivered_at))
    return tuple(drops)


def drop_text(cells: Cells, site: Site) -> bytes:
    """The cells as CSV text in the site's drop format."""
    there = cells.where(~cells.is_missing)
    return _wide_text(there, site) if site.drops.layout == "wide" else _long_text(there, site)


def _unknown_name(site: Site) -> str:
    name = "SPARE-01"
    while name in {s.name_in_drops for s in site.sensors}:
        name += "X"
    return name


def _timestamps(instants: Ints, site: Site) -> pa.Array:
    """As text, or as numbers for epoch formats. Local times are written as the site's clock shows them, in true order."""
    wanted = site.drops.timestamp_format
    if wanted in ("epoch_s", "epoch_ms"):
        return pa.array(instants // (1_000_000 if wanted == "epoch_s" else 1000))
    is_utc = site.drop_zone.key == "UTC"
    clock = pd.to_datetime(instants, unit="us", utc=True).tz_convert(site.drop_zone)
    if wanted != "iso":
        return pa.array(clock.strftime(wanted).tolist(), type=pa.string())
    whole = bool((instants % 1_000_000 == 0).all())
    text = np.datetime_as_string(clock.tz_localize(None).to_numpy(), unit="s" if whole else "us")
    return pa.array([t + "Z" for t in text.tolist()] if is_utc else text.tolist(), type=pa.string())


def _values(values: Floats, status: npt.NDArray[np.int8]) -> pa.Array:
    numbers = pa.array(values, mask=np.isnan(values))
    is_rubbish = status == _NAN
    return pc.if_else(pa.array(is_rubbish), NOT_A_NUMBER, pc.cast(numbers, pa.string())) if is_rubbish.any() else numbers


def _long_text(cells: Cells, site: Site) -> bytes:
    columns = site.drops.columns
    instants, at = np.unique(cells.times, return_inverse=True)
    names = pa.array([*(s.name_in_drops for s in site.sensors), _unknown_name(site)])
    table = {columns.timestamp: _timestamps(instants, site).take(pa.array(at)), columns.sensor_id: names.take(pa.array(cells.sensor))}
    table[columns.value] = _values(cells.values, cells.status)
    if columns.quality:
        table[columns.quality] = pa.array(["Good"]).take(pa.array(np.zeros(len(at), dtype=np.int64)))
    if columns.unit:
        table[columns.unit] = pa.array([*(s.unit for s in site.sensors), "-"]).take(pa.array(cells.sensor))
    lines = np.repeat(np.arange(len(at)), np.where(cells.is_duplicated, 2, 1))
    return _csv(pa.table(table).take(pa.array(lines)), site)


def _wide_text(cells: Cells, site: Site) -> bytes:
    instants, line = np.unique(cells.times, return_inverse=True)
    names = [*(s.name_in_drops for s in site.sensors), _unknown_name(site)]
    values = np.full((len(names), len(instants)), np.nan)
    status = np.zeros(values.shape, dtype=np.int8)
    values[cells.sensor, line], status[cells.sensor, line] = cells.values, cells.status
    has_unknown = bool((cells.status == _UNKNOWN).any())
    table = {site.drops.columns.timestamp: _timestamps(instants, site)}
    table |= {name: _values(values[i], status[i]) for i, name in enumerate(names) if i < len(names) - 1 or has_unknown}
    copies = np.ones(len(instants), dtype=np.int64)
    copies[line[cells.is_duplicated]] = 2
    return _csv(pa.table(table).take(pa.array(np.repeat(np.arange(len(instants)), copies))), site)


def _csv(table: pa.Table, site: Site) -> bytes:
    def written(quoting: str) -> bytes:
        out = io.BytesIO()
        pa_csv.write_csv(table, out, pa_csv.WriteOptions(delimiter=site.drops.delimiter, quoting_style=quoting, quoting_header=quoting))
        return out.getvalue()

    try:
        return written("none")  # as gateways do
    except pa.ArrowInvalid:  # a name, unit or timestamp holds the delimiter or a quote
        return written("needed")
