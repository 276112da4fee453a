"""The data explorer: stored readings, or figures per interval, as a table for people or as CSV or Parquet for other programs.

It reads plant files and the lake, and imports neither Dagster nor SQLAlchemy: it answers within a second, with or without PostgreSQL.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.table import Column, Table

from cli.errors import CommandError
from cli.sinks import CsvSink, FirstRows, ParquetSink, Sink, output
from ml.intervals import INTERVALS_SCHEMA, Every, IntervalSums
from ml.plant import Sensor, Site
from resources.explorer import READINGS_SCHEMA, Stretch, UnreadableFile, days_of, readings
from resources.home import Home
from resources.plant_files import read_plant

Format = Literal["csv", "parquet", "table"]
_UNIT = pa.field("unit", pa.string())
_DAY = timedelta(days=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Question:
    """What is asked for, by site: the readings themselves, or their figures for `every` interval."""

    lake: Path
    sensors: Mapping[str, Sequence[Sensor]]
    stretch: Stretch
    zone: ZoneInfo
    every: Every | None

    @classmethod
    def parse(
        cls, home: Home, plant: Path, *, names: Sequence[str], start: str, end: str, every: str | None, zone: str | None
    ) -> "Question":
        """Raises CommandError and PlantError."""
        sites = read_plant(plant)
        sensors = _sensors_named(sites, names)
        shown_in = _zone(zone, [site for site in sites if site.site in sensors])
        stretch = Stretch(_instant(start, shown_in, is_end=False), _instant(end, shown_in, is_end=True))
        if stretch.end <= stretch.start:
            raise CommandError(f"The range ends ({end}) before it starts ({start}).")
        try:
            steps = Every.parse(every, shown_in) if every else None
        except ValueError as error:
            raise CommandError(f"--every: {error}.") from error
        return cls(home.folder("lake"), sensors, stretch, shown_in, steps)

    @property
    def units(self) -> dict[str, str]:
        """By sensor id, ids ascending."""
        found = {sensor.sensor_id: sensor.unit for sensors in self.sensors.values() for sensor in sensors}
        return dict(sorted(found.items()))

    @property
    def schema(self) -> pa.Schema:
        return (READINGS_SCHEMA if self.every is None else INTERVALS_SCHEMA).append(_UNIT)

    def answer(self) -> Iterator[pa.Table]:
        """Day by day (UTC), within a day by sensor, then time."""
        units = self.units
        ids, words = (pa.array(list(texts), pa.string()) for texts in (units.keys(), units.values()))
        for table in self._readings() if self.every is None else self._intervals(self.every, list(units)):
            yield table.append_column(_UNIT, words.take(pc.index_in(table["sensor_id"], ids)))

    def _readings(self) -> Iterator[pa.Table]:
        first, last = self._days
        for day in sorted({day for site in self.sensors for day in days_of(self.lake, site=site) if first <= day <= last}):
            yield from self._readings_of(day)

    def _intervals(self, every: Every, sensor_ids: list[str]) -> Iterator[pa.Table]:
        """A reading late on a UTC day may belong to an interval of the next one: it waits until that has ended."""
        sums = IntervalSums(every, sensor_ids, first_us=_us(self.stretch.start))
        first, last = self._days
        for n in range((last - first).days + 1):
            for table in self._readings_of(first + n * _DAY):
                sums.add(table)
            until = min(datetime.combine(first + n * _DAY, time(), UTC) + _DAY, self.stretch.end)
            yield from sums.ended(_us(until), is_end=until == self.stretch.end)

    def _readings_of(self, day: date) -> Iterator[pa.Table]:
        for site, sensors in self.sensors.items():
            yield from readings(self.lake, [s.sensor_id for s in sensors], self.stretch, site=site, day=day)

    @property
    def _days(self) -> tuple[date, date]:
        """First and last UTC day."""
        return self.stretch.start.date(), (self.stretch.end - timedelta(microseconds=1)).date()


def explore(question: Question, *, form: Format | None, out: Path | None, limit: int, console: Console) -> None:
    """Write what is asked for to the file, else to stdout. Raises CommandError."""
    form = form or _usual_format(out)
    try:
        if form == "table":
            if out is not None:
                raise CommandError("--format table is for a terminal; --out takes csv or parquet.")
            n_rows = _show(question, FirstRows(limit), console)
        else:
            n_rows = _write(question, form, out)
    except UnreadableFile as error:
        raise CommandError(str(error)) from error
    if n_rows == 0:
        print(_why_nothing(question), file=sys.stderr)  # noqa: T201
    elif out is not None:
        console.print(f"{n_rows:,} rows in {out}", highlight=False, soft_wrap=True)


def _usual_format(out: Path | None) -> Format:
    if out is not None:
        return "parquet" if out.suffix == ".parquet" else "csv"
    return "table" if sys.stdout.isatty() else "csv"


def _write(question: Question, form: Format, out: Path | None) -> int:
    if form == "parquet" and out is None and sys.stdout.isatty():
        raise CommandError("Parquet is nothing to read on a terminal; name a file with --out, or pipe it on.")
    n_rows = 0
    with output(out) as file:
        is_plain = not any(mark in unit for unit in question.units.values() for mark in ',"\r\n')
        sink: Sink = (
            CsvSink(file, question.schema, zone=question.zone, is_plain=is_plain)
            if form == "csv"
            else ParquetSink(file, question.schema, zone=question.zone)
        )
        for table in question.answer():
            sink.write(table)
            n_rows += table.num_rows
        sink.close()
    return n_rows


def _show(question: Question, rows: FirstRows, console: Console) -> int:
    for table in question.answer():
        rows.write(table)
    if not rows.n_rows:
        return 0
    figures = ["value"] if question.every is None else ["mean", "min", "max", "n"]
    times = "timestamp" if question.every is None else "interval_start"
    shown = Table(
        Column("sensor", no_wrap=True),
        Column(f"{'time' if question.every is None else 'from'} ({question.zone.key})", no_wrap=True),
        *(Column(name, justify="right", no_wrap=True) for name in figures),
        Column("unit", no_wrap=True),
        box=None,
        padding=(0, 1),
    )
    for row in pa.concat_tables(rows.tables).to_pylist():
        at = row[times].astimezone(question.zone).isoformat(sep=" ")
        shown.add_row(row["sensor_id"], at.removesuffix("+00:00"), *(_figure(row[name]) for name in figures), row["unit"])
    console.print(shown)
    left_out = rows.n_rows - min(rows.limit, rows.n_rows)
    if left_out:
        console.print(f"... and {left_out:,} more rows: --limit shows more of them, --format csv all.", highlight=False)
    return rows.n_rows


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.9g}"


def _sensors_named(sites: Sequence[Site], names: Sequence[str]) -> dict[str, list[Sensor]]:
    """The sensors of each site that a name or pattern fits, by id. Raises CommandError for one that fits none."""
    everywhere = {sensor.sensor_id: sensor for site in sites for sensor in site.sensors}
    wanted: set[str] = set()
    for name in names:
        found = {i for i in everywhere if i == name or fnmatchcase(i, name)}
        if not found:
            raise CommandError(f"The plant has no sensor {name!r}{_near(name, list(everywhere.values()))}.")
        wanted |= found
    by_site = {site.site: sorted((s for s in site.sensors if s.sensor_id in wanted), key=lambda s: s.sensor_id) for site in sites}
    return {site: sensors for site, sensors in by_site.items() if sensors}


def _near(name: str, sensors: Sequence[Sensor]) -> str:
    """Sensors that are spelt alike, by id or by their name in the drops."""
    ids = {spelt.casefold(): s.sensor_id for s in sensors for spelt in (s.name_in_drops, s.sensor_id)}
    near = list(dict.fromkeys(ids[spelt] for spelt in get_close_matches(name.casefold(), ids, n=4)))[:3]
    return f"; near it are {', '.join(near)}" if near else f"; it has {len(sensors)}, such as {sensors[0].sensor_id}"


def _zone(name: str | None, sites: Sequence[Site]) -> ZoneInfo:
    if name == "site":
        zones = sorted({site.time_zone for site in sites})
        if len(zones) > 1:
            raise CommandError(f"The sensors' sites lie in the time zones {', '.join(zones)}; name one of them with --tz.")
        return ZoneInfo(zones[0])
    try:
        return ZoneInfo(name or "UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise CommandError(f"There is no time zone {name!r}; write site, UTC, or a name such as Europe/Berlin.") from error


def _instant(text: str, zone: ZoneInfo, *, is_end: bool) -> datetime:
    """A day stands for its beginning, or as the end of a range for its end. Raises CommandError."""
    try:
        try:
            day = date.fromisoformat(text)
        except ValueError:
            at = datetime.fromisoformat(text)
            return (at if at.tzinfo else at.replace(tzinfo=zone)).astimezone(UTC)
        return datetime.combine(day + _DAY * is_end, time(), zone).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise CommandError(
            f"{text!r} is no time; write a day (2026-11-20) or a time (2026-11-20T08:00, 2026-11-20T08:00+01:00)."
        ) from error


def _us(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1)


def _why_nothing(question: Question) -> str:
    said = []
    for site in question.sensors:
        days = days_of(question.lake, site=site)
        said.append(f"{site} has readings of {days[0]} to {days[-1]}" if days else f"{site} has no readings yet")
    return f"There are no readings of these sensors in this time; {', '.join(said)}."
