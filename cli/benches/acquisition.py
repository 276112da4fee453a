"""Intake (file to segments) and merge (segments to readings), beside bare pyarrow on the same rows; and the memory of a large drop."""

import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from assets.acquisition import merge_site_day
from assets.intake import Intake
from assets.partitions import SiteDay
from cli.benches.figures import RUNS, Measured, Work, alone, figure, ratios, said_by, side_by_side
from ml.plant import Machine, Sensor, Site
from resources.home import Home
from resources.lake import LakeResource
from resources.landing import LandingResource, drop_file
from resources.ledger.ledger import LEDGER_VARIABLE, LedgerResource

SENSORS, INTERVAL_S = 100, 10
ROWS = SENSORS * 86_400 // INTERVAL_S  # of a site-day
DELIVERIES = 24  # of a site-day that is merged: one an hour
LARGE_DAYS = 31  # 1 GB
DAY = date(2026, 9, 1)
MB = 1e6


@dataclass(frozen=True)
class Plant:
    """One site that delivers long CSV files, and the folders and the ledger that take them in."""

    home: Home
    site: Site
    landing: LandingResource
    lake: LakeResource
    ledger: LedgerResource

    @classmethod
    def over(cls, home: Home) -> "Plant":
        sensors = tuple(Sensor(sensor_id=f"bench-{n:04d}", type="temperature", unit="°C", interval_s=INTERVAL_S) for n in range(SENSORS))
        machine = Machine(machine_id="bench", machine_class="bench", sensors=sensors)
        landing, archive, quarantine = (str(home.folder(name)) for name in ("landing", "archive", "quarantine"))
        return cls(
            home,
            Site(site="bench", name="Bench", first_day=DAY, machines=(machine,)),
            LandingResource(landing=landing, archive=archive, quarantine=quarantine),
            LakeResource(root=str(home.folder("lake"))),
            LedgerResource(url=os.environ[LEDGER_VARIABLE]),
        )

    def deliver(self, name: str, rows: pa.Table) -> str:
        """Land a CSV file; its name relative to the landing zone."""
        path = drop_file(csv_of(rows), self.home.folder("landing") / self.site.site, name)
        return str(path.relative_to(self.home.folder("landing")))

    def deliver_days(self, name: str, days: Iterable[date]) -> str:
        """Land the readings of so many days in one CSV file, which is not in memory at once."""
        path = self.home.folder("landing") / self.site.site / name
        path.parent.mkdir(exist_ok=True)
        with path.open("wb") as file:
            for n, day in enumerate(days):
                content = csv_of(readings(self.site, day, seed=n))
                file.write(content[content.index(b"\n") + 1 :] if n else content)
        return str(path.relative_to(self.home.folder("landing")))

    def take_in(self, name: str) -> None:
        taken = Intake(landing=self.landing, lake=self.lake, ledger=self.ledger, run_id="bench").take_in(name, self.site)
        if taken.state != "accepted" or taken.rows_accepted != taken.rows_in:
            raise RuntimeError(f"the bench's own drop was not taken in whole: {taken}")


def intake() -> Iterator[Measured]:
    """A long CSV of one site-day, from landed file to segment, ledger and archive."""
    with alone() as environment:
        plant = Plant.over(environment.home)

        def one(run: int) -> tuple[Work, Work]:
            rows = readings(plant.site, DAY + timedelta(days=run), seed=run)
            copy = environment.home.root / "copy.csv"
            copy.write_bytes(csv_of(rows))
            return partial(plant.take_in, plant.deliver(f"{run}.csv", rows)), partial(_read_and_write, copy)

        pairs = side_by_side(one)
        yield figure("intake.rows_per_s_per_core", [ROWS / ours.cpu for ours, _ in pairs], "rows/CPU-s", at_least=1_000_000)
        yield figure("intake.rows_per_s", [ROWS / ours.wall for ours, _ in pairs], "rows/s")
        yield from ratios("intake", pairs, at_most=2)
        large = plant.deliver_days("large.csv", [DAY + timedelta(days=RUNS + 1 + n) for n in range(LARGE_DAYS)])
        size = (plant.home.folder("landing") / large).stat().st_size
        grown = float(said_by(f"from {__name__} import take_in_by_itself; take_in_by_itself()", large))
        yield figure(f"intake.memory_of_{size / MB:.0f}_MB", [grown / MB], "MB above start", at_most=600)


def merge() -> Iterator[Measured]:
    """The segments of a site-day that was delivered hour by hour become its readings."""
    with alone() as environment:
        plant = Plant.over(environment.home)
        rows = readings(plant.site, DAY, seed=0)
        cuts = np.linspace(0, ROWS, DELIVERIES + 1).astype(int)
        for n, (start, end) in enumerate(pairwise(cuts)):
            plant.take_in(plant.deliver(f"{n}.csv", rows.slice(start, end - start)))
        site_day = SiteDay(DAY, plant.site.site)
        merged = plant.lake.path("sensor_readings", **site_day.where)
        segments = sorted(plant.lake.segment_path(**site_day.where, drop_id="any").parent.glob("*.parquet"))
        merge_site_day(site_day, lake=plant.lake, ledger=plant.ledger)
        result = pq.ParquetFile(merged).read()

        def one(_: int) -> tuple[Work, Work]:
            merged.unlink()  # without stored readings, all segments are merged
            return partial(merge_site_day, site_day, lake=plant.lake, ledger=plant.ledger), lambda: _read_all_and_write(segments, result)

        pairs = side_by_side(one)
        yield figure("merge.rows_per_s", [ROWS / ours.wall for ours, _ in pairs], "rows/s", at_least=2_000_000)
        yield figure("merge.rows_per_s_per_core", [ROWS / ours.cpu for ours, _ in pairs], "rows/CPU-s")
        yield from ratios("merge", pairs, at_most=2)


def take_in_by_itself() -> None:
    """In a process of its own, which has everything imported: take in the named drop, say by how many bytes the process grew."""
    plant = Plant.over(Home.from_environment())
    at_start = _memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    plant.take_in(sys.argv[1])
    sys.stdout.write(str(_memory("VmHWM") - at_start))


def readings(site: Site, day: date, *, seed: int) -> pa.Table:
    """A day of readings as a gateway writes them: every sensor in turn, ISO timestamps in UTC, two decimals."""
    n = len(site.sensors)
    instants = np.datetime64(day, "s") + np.arange(ROWS // n) * INTERVAL_S
    times = pa.array([f"{at}Z" for at in np.datetime_as_string(instants)])
    return pa.table(
        {
            "timestamp": times.take(pa.array(np.repeat(np.arange(len(times)), n))),
            "sensor_id": pa.array(np.tile([s.sensor_id for s in site.sensors], len(times))),
            "value": np.random.default_rng(seed).normal(60, 5, len(times) * n).round(2),
        }
    )


def csv_of(rows: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pyarrow.csv.write_csv(rows, sink, pyarrow.csv.WriteOptions(quoting_style="none"))
    return bytes(sink.getvalue())


def _read_and_write(source: Path) -> None:
    pq.write_table(pyarrow.csv.read_csv(source), source.with_suffix(".parquet"), compression="zstd")


def _read_all_and_write(sources: list[Path], result: pa.Table) -> None:
    """The rows read are let go and the result written: what pyarrow alone would take, if merging cost nothing."""
    for source in sources:
        pq.ParquetFile(source).read()
    pq.write_table(result, sources[0].with_suffix(".bare"), compression="zstd")


def _memory(field: str) -> int:
    """Of this process, in bytes."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(f"{field}:"))
