"""How a figure is measured: several times, beside something to compare with, in turn, and its median is what counts."""

import gc
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cli.environment import Environment, prepared
from resources.home import CHECKOUT
from resources.postgres import URL_VARIABLE

RUNS = 7
Work = Callable[[], object]


@dataclass(frozen=True)
class Measured:
    """One figure: the median of `runs`, with the lowest and the highest; `holds` is null where no target is set."""

    name: str
    value: float
    unit: str
    target: str
    holds: bool | None
    runs: int
    lowest: float
    highest: float


@dataclass(frozen=True)
class Spent:
    """Seconds on the clock, and CPU seconds of all threads of this process."""

    wall: float
    cpu: float


def figure(name: str, values: Sequence[float], unit: str, *, at_least: float | None = None, at_most: float | None = None) -> Measured:
    """The median, and whether it meets the target."""
    value = statistics.median(values)
    words = [f"{sign} {bound:,.10g}" for sign, bound in ((">=", at_least), ("<=", at_most)) if bound is not None]
    holds = None if not words else (at_least is None or value >= at_least) and (at_most is None or value <= at_most)
    return Measured(name, value, unit, " and ".join(words), holds, len(values), min(values), max(values))


def timed(work: Work) -> Spent:
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Spent(time.perf_counter() - wall, time.process_time() - cpu)


def side_by_side(make: Callable[[int], tuple[Work, Work]]) -> list[tuple[Spent, Spent]]:
    """What ours and the other work of each run took, after a run that does not count.

    The two take turns in going first: the machine's speed drifts, and neither shall always find the other's pages warm.
    """
    pairs = []
    for run in range(RUNS + 1):
        ours, other = make(run)
        if run % 2:
            spent_by_other = timed(other)
            pairs.append((timed(ours), spent_by_other))
        else:
            spent_by_ours = timed(ours)
            pairs.append((spent_by_ours, timed(other)))
    return pairs[1:]


def ratios(name: str, pairs: Sequence[tuple[Spent, Spent]], *, at_most: float) -> Iterator[Measured]:
    """Ours to the other, pair by pair, on the clock and in CPU time."""
    yield figure(f"{name}.wall_ratio", [ours.wall / other.wall for ours, other in pairs], "x bare pyarrow", at_most=at_most)
    yield figure(f"{name}.cpu_ratio", [ours.cpu / other.cpu for ours, other in pairs], "x bare pyarrow", at_most=at_most)


@contextmanager
def alone() -> Iterator[Environment]:
    """A data folder and an embedded PostgreSQL of their own, so that no measurement touches anyone's data."""
    named = os.environ.pop(URL_VARIABLE, None)
    try:
        with tempfile.TemporaryDirectory() as folder, prepared(home=Path(folder)) as environment:
            yield environment
    finally:
        if named is not None:
            os.environ[URL_VARIABLE] = named


def said_by(script: str, *arguments: str) -> str:
    """Standard output of a fresh Python process."""
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, *arguments], cwd=CHECKOUT, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def cpu_of(script: str) -> float:
    """CPU seconds of a fresh Python process, to its end."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    said_by(script)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
