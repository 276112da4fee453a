"""Speed and memory, measured on this machine: each figure with its target, ratios taken side by side in one run."""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Column, Table

from cli.environment import Environment, prepared
from cli.errors import CommandError
from ml.plant import Machine, Sensor, Site
from resources.home import CHECKOUT, Home
from resources.lake import LakeResource
from resources.landing import LandingResource, drop_file
from resources.ledger.ledger import LEDGER_VARIABLE, LedgerResource
from resources.postgres import URL_VARIABLE

RUNS = 5
ROWS = 1_000_000
DAY = date(2026, 10, 1)


@dataclass(frozen=True)
class Measured:
    """One figure: the median of `runs`; `holds` says whether it meets its target, null where none is set."""

    name: str
    value: float
    unit: str
    target: str
    holds: bool | None
    runs: int


def measure(home: Home, *, only: tuple[str, ...], console: Console) -> list[Measured]:
    """Every figure, or those of the groups named; writes bench.json into `home`, and nothing else there.

    Raises CommandError for an unknown group.
    """
    groups = {"intake": _intake, "definitions": _definitions, "demo": _demo}
    unknown = sorted(set(only) - set(groups))
    if unknown:
        raise CommandError(f"There is no group {', '.join(unknown)}; the groups are {', '.join(groups)}.")
    figures: list[Measured] = []
    for name in only or tuple(groups):
        console.print(f"measuring {name} ...")
        figures.extend(groups[name]())
    (home.root / "bench.json").write_text(json.dumps([asdict(f) for f in figures], indent=1) + "\n")
    return figures


def table_of(figures: list[Measured]) -> Table:
    table = Table(Column("figure", no_wrap=True), "value", "unit", "target", "holds", "runs")
    for f in figures:
        table.add_row(
            f.name,
            f"{f.value:,.2f}" if f.value < 100 else f"{f.value:,.0f}",
            f.unit,
            f.target,
            {True: "yes", False: "NO", None: ""}[f.holds],
            str(f.runs),
        )
    return table


def _intake() -> Iterator[Measured]:
    """One CSV drop of a million readings of one site-day, from file to merged readings, beside the bare libraries on the same file."""
    from assets.acquisition import merge_site_day
    from assets.intake import Intake
    from assets.partitions import SiteDay

    site = _bench_site(sensors=100)
    ours, bare, rates = [], [], []
    with _alone() as environment:
        home = environment.home
        ledger = LedgerResource(url=os.environ[LEDGER_VARIABLE])
        landing = LandingResource(
            landing=str(home.folder("landing")), archive=str(home.folder("archive")), quarantine=str(home.folder("quarantine"))
        )
        lake = LakeResource(root=str(home.folder("lake")))
        for run in range(RUNS + 1):
            day = DAY + timedelta(days=run)  # a day of its own each time, so that each merge begins with nothing
            name = str(
                drop_file(_csv(site, day=day, seed=run), home.folder("landing") / site.site, f"{run}.csv").relative_to(
                    home.folder("landing")
                )
            )
            seconds, _ = _timed(partial(_bare, home.folder("landing") / name, home.root / "bare.parquet"))
            bare.append(seconds)

            def chain(name: str = name, day: date = day) -> None:
                Intake(landing=landing, lake=lake, ledger=ledger, run_id="bench").take_in(name, site)
                merge_site_day(SiteDay(day, site.site), lake=lake, ledger=ledger)

            seconds, cpu = _timed(chain)
            ours.append(seconds)
            rates.append(ROWS / cpu)
    ratio = statistics.median(a / b for a, b in zip(ours[1:], bare[1:], strict=True))
    rate = statistics.median(rates[1:])
    yield Measured("intake.rows_per_s_per_core", rate, "rows/CPU-s", ">= 300,000", rate >= 300_000, RUNS)
    yield Measured("intake.ratio_to_bare_pyarrow", ratio, "x", "", holds=None, runs=RUNS)


def _definitions() -> Iterator[Measured]:
    """CPU time to load the code location, over that of the two libraries it cannot do without."""
    ratios = [_cpu_of("import definitions") / _cpu_of("import dagster, pandas") for _ in range(RUNS + 1)][1:]
    ratio = statistics.median(ratios)
    yield Measured("definitions.load_cpu_ratio", ratio, "x", "<= 1.6", ratio <= 1.6, RUNS)


def _demo() -> Iterator[Measured]:
    """The demonstration in a data folder of its own: its time, and the memory of the process that does the work."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {name: value for name, value in os.environ.items() if name != URL_VARIABLE}
        began = time.monotonic()
        process = subprocess.Popen(
            [str(Path(sys.executable).with_name("maintenance")), "demo", "--home", folder], env=environment, stdout=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - began
    if status:
        raise CommandError(f"The demonstration ended with status {status}.")
    peak_mb = usage.ru_maxrss / 1024
    yield Measured("demo.peak_memory", peak_mb, "MB", "< 1,500", peak_mb < 1500, 1)
    yield Measured("demo.duration", seconds, "s", "< 240", seconds < 240, 1)


@contextmanager
def _alone() -> Iterator[Environment]:
    """A data folder and an embedded PostgreSQL of their own, so that no measurement touches anyone's data."""
    named = os.environ.pop(URL_VARIABLE, None)
    try:
        with tempfile.TemporaryDirectory() as folder, prepared(home=Path(folder)) as environment:
            yield environment
    finally:
        if named is not None:
            os.environ[URL_VARIABLE] = named


def _bare(source: Path, target: Path) -> None:
    pq.write_table(pyarrow.csv.read_csv(source), target, compression="zstd")


def _timed(work: Callable[[], None]) -> tuple[float, float]:
    """Wall seconds, and CPU seconds of all threads."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def _cpu_of(script: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], cwd=CHECKOUT, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _bench_site(*, sensors: int) -> Site:
    interval_s = 86_400 * sensors / ROWS
    made = tuple(Sensor(sensor_id=f"bench-{n:04d}", type="temperature", unit="°C", interval_s=interval_s) for n in range(sensors))
    machine = Machine(machine_id="bench", machine_class="bench", sensors=made)
    return Site(site="bench", name="Bench", first_day=DAY, machines=(machine,))


def _csv(site: Site, *, day: date, seed: int) -> bytes:
    """A long CSV of ROWS readings of one day: every sensor in turn, ISO timestamps, two decimals."""
    n = len(site.sensors)
    step_us = int(86_400e6 * n / ROWS)
    times = int(datetime.combine(day, clock(), tzinfo=UTC).timestamp() * 1e6) + np.repeat(np.arange(ROWS // n) * step_us, n)
    table = pa.table(
        {
            "timestamp": pa.array(times, pa.timestamp("us")).cast(pa.timestamp("ms"), safe=False),
            "sensor_id": pa.array(np.tile([s.sensor_id for s in site.sensors], ROWS // n)),
            "value": np.random.default_rng(seed).normal(60, 5, ROWS // n * n).round(2),
        }
    )
    sink = pa.BufferOutputStream()
    pyarrow.csv.write_csv(table, sink, pyarrow.csv.WriteOptions(quoting_style="none"))
    return bytes(sink.getvalue())
