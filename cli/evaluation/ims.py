"""A bearing test rig run to failure (IMS, test 2): four bearings on one shaft, the first of which fails at the end.

Each bearing is a machine of its own with one sensor, since each is what an order would replace, and the question is which of them is
named. No label says when the damage began: any alarm of bearing 1 after the learning counts as its detection, any of another bearing as
false, also at the end, when the failing one shakes them all.
"""

from pathlib import Path

import pandas as pd

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

FILE = "test2.csv"
TIMESTAMP, TIMESTAMP_FORMAT = "Datetime", "%Y.%m.%d.%H.%M.%S"
LEARNING = pd.Timedelta(days=2)
TARGET_DAYS = 3.0
N_BEARINGS = 4
FAILING = "bearing-1"


def read_case(folder: Path) -> Case:
    """The rig of 6.8 days; its detector learns from the first 2."""
    written = pd.read_csv(folder / FILE, usecols=[TIMESTAMP])[TIMESTAMP]
    times = pd.DatetimeIndex(pd.to_datetime(written, format=TIMESTAMP_FORMAT)).tz_localize("UTC").as_unit("us")
    interval_s = interval_of(times)
    site = Site(
        site="ims_bearing",
        name="IMS bearing rig, test 2",
        first_day=times.min().date(),
        window_minutes=window_minutes_of(interval_s),
        drops=DropFormat(layout="wide", columns=DropColumns(timestamp=TIMESTAMP), timestamp_format=TIMESTAMP_FORMAT),
        machines=tuple(_bearing(n, interval_s=interval_s) for n in range(1, N_BEARINGS + 1)),
    )
    learn_until = times.min() + LEARNING
    failure = {"machine_id": FAILING, "kind": "outer race", "onset_at": learn_until, "failure_at": times.max(), "repaired_at": pd.NaT}
    return Case("rig", site, (folder / FILE,), learn_until, last_reading_at=times.max(), events=events_of([failure]))


def _bearing(number: int, *, interval_s: float) -> Machine:
    name, column = f"bearing-{number}", f"Bearing {number}"
    sensor = Sensor(sensor_id=f"{name}-acceleration", source_name=column, type="vibration", unit="g", interval_s=interval_s)
    return Machine(machine_id=name, machine_class="bearing", sensors=(sensor,))


def evaluate(folder: Path, advance: Advance) -> SetResult:
    case = read_case(folder)
    observed = observe([case], advance)
    figures = figures_of(outcome_of(observed))
    # without the onset of the damage there is nothing to rank by
    for name in ("average_precision", "anomalous_share", "median_delay_h", "recall_by_chance"):
        del figures[name]
    first = first_alarms(observed[0].replayed.raised, end=case.last_reading_at)
    named = first.get(FAILING, 0.0)
    others = max((days for machine, days in first.items() if machine != FAILING), default=0.0)
    figures |= {
        "bearing_1_named_days_before_end": named,
        "another_bearing_alarmed_days_before_end": others,
        "target_met": float(named >= TARGET_DAYS and named > others),
    }
    told = ", ".join(f"{machine} {days:.2f}" for machine, days in sorted(first.items(), key=lambda kv: -kv[1]))
    return SetResult(
        "ims",
        "IMS bearing test 2, 4 bearings",
        sha256_of([folder / FILE]),
        policy_params([case.site]) | {"learning_days": LEARNING.days},
        figures,
        case_rows([case], observed),
        [
            f"First alarms, in days before the end: {told or 'none'}. Wanted: {FAILING} at least {TARGET_DAYS:.0f}, no other earlier.",
            "Each bearing is a machine with one sensor. The file's first column is a running number: quarantined.",
        ],
    )


def first_alarms(raised: pd.DataFrame, *, end: pd.Timestamp) -> dict[str, float]:
    """Machine -> days from its first alarm to the end."""
    first = raised.groupby("machine_id")["raised_at"].min()
    return {str(machine): (end - at) / pd.Timedelta(days=1) for machine, at in first.items()}
