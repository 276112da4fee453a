"""What every set has in common: files become a site, the site is replayed, and the alarms are held against what happened.

One default configuration for all sets and files: the policy of a plant file that says nothing, a window as long as the interval of
the readings (at least MIN_WINDOW_MINUTES, so that it divides a day), weekly retraining. Nothing is chosen by looking at labels.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from cli.errors import CommandError
from ml.frames import UTC_TIME, typed_frame
from ml.outcomes import Observed, Outcome, matched, ranking_of
from ml.plant import Site
from ml.readings import UnreadableDrop
from ml.replay import NoReadings, history_of, replay
from resources.models import Fitted

MIN_WINDOW_MINUTES = 5
EVENT_COLUMNS: dict[str, str] = {
    "machine_id": "str",
    "kind": "str",
    "onset_at": UTC_TIME,
    "failure_at": UTC_TIME,
    "repaired_at": UTC_TIME,
}
Advance = Callable[[int], None]


@dataclass(frozen=True)
class Case:
    """One site of a set: its files as drops, what its detector may learn from, and the events after that."""

    name: str
    site: Site
    drops: tuple[Path, ...]
    learn_until: pd.Timestamp
    last_reading_at: pd.Timestamp
    events: pd.DataFrame

    def observed(self) -> Observed:
        received_at = (self.last_reading_at + timedelta(days=1)).to_pydatetime()
        history = history_of([path.read_bytes() for path in self.drops], site=self.site, received_at=received_at)
        return Observed(replay(history, learn_until=self.learn_until), self.events)


@dataclass(frozen=True)
class SetResult:
    """What one set came to. `figures` are named numbers for JSON and MLflow, `rows` one row per case, `said` what to know of them.

    `fitted` is a model of the whole set, for MLflow's registry; not part of the JSON.
    """

    format: str
    title: str
    data_sha256: str
    params: Mapping[str, str | int | float]
    figures: Mapping[str, float]
    rows: Sequence[Mapping[str, Any]]
    said: Sequence[str]
    fitted: Fitted | None = None

    def as_dict(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "fitted"}


def window_minutes_of(interval_s: float) -> int:
    """The shortest window that divides a day and holds a reading.

    >>> window_minutes_of(300), window_minutes_of(1800), window_minutes_of(20), window_minutes_of(700)
    (5, 30, 5, 12)
    """
    return next(m for m in range(MIN_WINDOW_MINUTES, 1441) if 1440 % m == 0 and m * 60 >= interval_s)


def interval_of(times: pd.DatetimeIndex) -> float:
    """Seconds between two readings, the median. Raises ValueError for fewer than two different instants."""
    steps = times.unique().sort_values().to_series().diff().dropna()
    if steps.empty:
        raise ValueError("fewer than two readings at different times")
    return float(steps.dt.total_seconds().median())


def events_of(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    return typed_frame(rows, EVENT_COLUMNS)


def sha256_of(paths: Iterable[Path]) -> str:
    """Over the names and the bytes of the files, in the order of their names."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def observe(cases: Sequence[Case], advance: Advance) -> list[Observed]:
    """Raises CommandError for a file from which no reading can be taken."""
    observed = []
    for case in cases:
        try:
            observed.append(case.observed())
        except (UnreadableDrop, NoReadings) as error:
            raise CommandError(f"{case.name}: {error}.") from error
        advance(1)
    return observed


def figures_of(outcome: Outcome) -> dict[str, float]:
    return {name: float(value) for name, value in asdict(outcome).items()}


def case_rows(cases: Sequence[Case], observed: Sequence[Observed]) -> list[dict[str, Any]]:
    """One row per case: events found, alarms, false alarms, how the trainings went."""
    rows = []
    for case, seen in zip(cases, observed, strict=True):
        result, trainings = matched([seen]), seen.replayed.trainings
        rows.append(
            {
                "case": case.name,
                "events": len(result.faults),
                "found": result.n_found,
                "alarms": len(seen.replayed.raised),
                "false_alarms": len(result.false_alarms),
                "machine_months": result.machine_months,
                "average_precision": ranking_of([seen])[0],
                "detectors": sum(t.made_a_champion for t in trainings),
                "not_trained": trainings[-1].word if trainings and seen.replayed.scored_from is None else "",
            }
        )
    return rows


def policy_params(sites: Sequence[Site]) -> dict[str, str | int | float]:
    """The one configuration, as MLflow's parameters."""
    detection, training = sites[0].policy.detection, sites[0].policy.training
    return {
        **detection.model_dump(),
        **training.model_dump(),
        "window_minutes": ", ".join(str(m) for m in sorted({s.window_minutes for s in sites})),
        "retraining": "weekly",
        "cases": len(sites),
    }
