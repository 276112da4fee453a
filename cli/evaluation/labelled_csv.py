"""Your own files: a folder of wide CSV files, each a machine whose columns are its sensors, and `labels.csv` (file, start, end).

The first column of a file holds the timestamps, naive ones are read as UTC. The detector learns from the first 14 days as in a plant, or
from the first third of a shorter file; labels within that are not asked for.
"""

from pathlib import Path

import pandas as pd

from cli.errors import CommandError
from cli.evaluation.cases import (
    Advance,
    Case,
    SetResult,
    case_rows,
    events_of,
    figures_of,
    interval_of,
    observe,
    policy_params,
    sha256_of,
    window_minutes_of,
)
from ml.drop_format import DropColumns, DropFormat
from ml.outcomes import outcome_of
from ml.plant import Machine, Sensor, Site

LABELS = "labels.csv"
LEARNING = pd.Timedelta(days=14)
MAX_LEARNING_SHARE = 1 / 3


def read_cases(folder: Path) -> list[Case]:
    """Raises CommandError where labels or files cannot be read as told above."""
    labels = pd.read_csv(folder / LABELS)
    missing = {"file", "start", "end"} - set(labels.columns)
    if missing:
        raise CommandError(f"{folder / LABELS} lacks the columns {', '.join(sorted(missing))}; it needs file, start and end.")
    files = sorted(p for p in folder.glob("*.csv") if p.name != LABELS)
    unknown = sorted(set(labels["file"]) - {p.name for p in files})
    if unknown:
        raise CommandError(f"{folder / LABELS} names {', '.join(unknown)}, which {'is' if len(unknown) == 1 else 'are'} not there.")
    if not files:
        raise CommandError(f"There are no CSV files beside {folder / LABELS}.")
    return [_case(path, number=n, labels=labels[labels["file"] == path.name]) for n, path in enumerate(files, start=1)]


def _case(path: Path, *, number: int, labels: pd.DataFrame) -> Case:
    try:
        frame = pd.read_csv(path)
        times = pd.DatetimeIndex(pd.to_datetime(frame.iloc[:, 0], utc=True)).as_unit("us")
        interval_s = interval_of(times)
        spans = [(pd.to_datetime(row["start"], utc=True), pd.to_datetime(row["end"], utc=True)) for row in labels.to_dict("records")]
    except (ValueError, IndexError) as error:
        raise CommandError(f"{path}, or its labels, cannot be read: {error}.") from error
    sensors = tuple(
        Sensor(sensor_id=f"c{place}", source_name=str(name), type="other", unit="1", interval_s=interval_s)
        for place, name in enumerate(frame.columns[1:], start=1)
    )
    if not sensors:
        raise CommandError(f"{path} has one column; its first holds the timestamps, the others are sensors.")
    site = Site(
        site=f"file{number}",
        name=path.name,
        first_day=times.min().date(),
        window_minutes=window_minutes_of(interval_s),
        drops=DropFormat(layout="wide", columns=DropColumns(timestamp=str(frame.columns[0]))),
        machines=(Machine(machine_id="machine", machine_class="machine", sensors=sensors),),
    )
    learn_until = times.min() + min(LEARNING, (times.max() - times.min()) * MAX_LEARNING_SHARE)
    events = [
        {"machine_id": "machine", "kind": "labelled", "onset_at": start, "failure_at": pd.NaT, "repaired_at": end}
        for start, end in spans
        if end > learn_until
    ]
    return Case(path.name, site, (path,), learn_until, last_reading_at=times.max(), events=events_of(events))


def evaluate(folder: Path, advance: Advance) -> SetResult:
    cases = read_cases(folder)
    observed = observe(cases, advance)
    return SetResult(
        "csv",
        f"{folder.name}, {len(cases)} labelled files",
        sha256_of([folder / LABELS, *(path for case in cases for path in case.drops)]),
        policy_params([case.site for case in cases]),
        figures_of(outcome_of(observed)),
        case_rows(cases, observed),
        ["Learned from the first 14 days, at most a third of each file, and retrained every Sunday."],
    )
