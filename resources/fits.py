"""Fits that were made before: a forecast by the hash of all that it rests on, so that a day that is run again costs none.

A file of JSON each, behind the sha256 of what it says: one that is damaged is as good as none. Kept is what Prophet said before its times
are put right, so that another calibration needs no new fits; a robust line in its place is not, for it depends on the clock.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.metadata import version as distribution_version
from inspect import getfile
from pathlib import Path
from threading import Lock
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
from pydantic import Field

from ml import passage, sensor_forecast, trends
from ml.passage import Passage
from ml.sensor_forecast import Fit, Question, SensorForecast, trajectory_table
from resources.fitting import fit_workers
from resources.whole_files import write_whole

LIBRARIES = ("prophet", "cmdstanpy", "numpy", "pandas")
COMPUTES_A_FIT = (passage, sensor_forecast, trends)
QUANTILES = ("p10", "p50", "p90")


@dataclass
class Fitting:
    """A `ml.sensor_forecast.Fit` that remembers; `n_known` answers were, `n_made` had to be fitted."""

    fits: "FitsResource"
    fit: Fit
    n_known: int = 0
    n_made: int = 0
    _lock: Lock = field(default_factory=Lock, repr=False)

    def __call__(self, question: Question, *, within_s: float) -> SensorForecast:
        known = self.fits.recall(question)
        found = self.fit(question, within_s=within_s) if known is None else known
        if known is None:
            self.fits.keep(question, found)
        with self._lock:
            self.n_known += known is not None
            self.n_made += known is None
        return found


class FitsResource(dg.ConfigurableResource):
    """Forecasts under `folder`; the oldest go where they take more than `max_bytes`."""

    folder: str
    max_bytes: int = Field(default=64 * 2**20, ge=0, description="a forecast takes about 10 kB")

    @contextmanager
    def fitting(self) -> Iterator[Fitting]:
        """For as many forecasts as a run makes: the processes that fit end with it."""
        with fit_workers() as workers:
            fitting = Fitting(self, workers)
            yield fitting
        if fitting.n_made:
            self.prune()

    def path(self, question: Question) -> Path:
        return Path(self.folder, f"{key_of(question)}.json")

    def recall(self, question: Question) -> SensorForecast | None:
        """What was kept; None where nothing was, or where it is not what was written."""
        try:
            digest, _, said = self.path(question).read_bytes().partition(b"\n")
        except FileNotFoundError:
            return None
        return _forecast(json.loads(said)) if digest == _digest(said) else None

    def keep(self, question: Question, found: SensorForecast) -> None:
        """Raises ValueError for a forecast that is not Prophet's own."""
        if found.method != "prophet" or found.calibrated_on is not None:
            raise ValueError(f"kept is what Prophet said itself; this is {found.method}, calibrated on {found.calibrated_on}")
        said = json.dumps(_plain(found)).encode()
        write_whole(self.path(question), _digest(said) + b"\n" + said)

    def prune(self) -> None:
        """Remove the oldest until the rest takes no more than `max_bytes`. Other runs may do so at the same time."""
        found: list[tuple[float, int, Path]] = []
        for path in Path(self.folder).glob("*"):
            with suppress(FileNotFoundError):
                about = path.stat()
                found.append((about.st_mtime, about.st_size, path))
        too_much = sum(size for _, size, _ in found) - self.max_bytes
        for _, size, path in sorted(found):
            if too_much <= 0:
                return
            path.unlink(missing_ok=True)
            too_much -= size


def key_of(question: Question) -> str:
    """The sha256 of the question, of the code that answers it, and of the libraries that this rests on."""
    asked = {name: value for name, value in asdict(question).items() if name not in ("hours", "value")}
    digest = hashlib.sha256(json.dumps([asked | {"as_of": question.as_of.isoformat()}, len(question.hours), code()]).encode())
    digest.update(question.hours.tobytes())
    digest.update(question.value.tobytes())
    return digest.hexdigest()


@cache
def code() -> dict[str, str]:
    """What answers: versions of libraries, and the hash of our own files."""
    own = hashlib.sha256(b"".join(Path(file).read_bytes() for file in (*map(getfile, COMPUTES_A_FIT), __file__)))
    return {**{name: distribution_version(name) for name in LIBRARIES}, "own": own.hexdigest()}


def _digest(said: bytes) -> bytes:
    return hashlib.sha256(said).hexdigest().encode()


def _plain(found: SensorForecast) -> dict[str, Any]:
    table = found.trajectory
    times = table["timestamp"].to_numpy(dtype="datetime64[us]").astype(np.int64).tolist()
    trajectory = {"timestamp_us": times, **{name: table[name].tolist() for name in QUANTILES}}
    whole = {name: getattr(found, name) for name in SensorForecast.__dataclass_fields__}
    return {**whole, "passages": [asdict(p) for p in found.passages], "trajectory": trajectory}


def _forecast(said: dict[str, Any]) -> SensorForecast:
    passages, kept = said.pop("passages"), said.pop("trajectory")
    stamps = list(pd.to_datetime(kept["timestamp_us"], unit="us", utc=True))
    trajectory = trajectory_table(stamps, np.array([kept[name] for name in QUANTILES], dtype=np.float64))
    return SensorForecast(**said, passages=tuple(Passage(**p) for p in passages), trajectory=trajectory)
