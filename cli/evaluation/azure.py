"""Ten simulated machines with hourly telemetry (the Azure predictive maintenance sample): failures foreseen from telemetry alone.

Errors, replacements, model and age are not looked at. No label says when a fault began, so an event is the three days before a
failure (a mean of the telemetry moves in the last two): it is found by an alarm that is raised or stands within them, before the hour of
the failure. Several components that fail in one hour are one event. An alarm up to a day after a failure is no false one: it may be the
failure's own trace.
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
    observe,
    policy_params,
    sha256_of,
    window_minutes_of,
)
from ml.drop_format import DropColumns, DropFormat
from ml.outcomes import matched, outcome_of
from ml.plant import Machine, Sensor, SensorType, Site

TELEMETRY, FAILURES = "telemetry_m1-10.csv", "failures_m1-10.csv"
HORIZON, GRACE = pd.Timedelta(days=3), pd.Timedelta(days=1)
LEARNING = pd.Timedelta(days=30)
INTERVAL_S = 3600
QUANTITIES: dict[str, tuple[SensorType, str]] = {
    "volt": ("voltage", "V"),
    "rotate": ("rotation_speed", "rpm"),
    "pressure": ("pressure", "bar"),
    "vibration": ("vibration", "mm/s"),
}


def read_case(folder: Path) -> Case:
    """One site with all machines. Its detector learns from the first 30 days, failures among them: nobody tells it of them."""
    seen = pd.read_csv(folder / TELEMETRY, usecols=["datetime", "machineID"], parse_dates=["datetime"])
    times = pd.DatetimeIndex(seen["datetime"]).tz_localize("UTC")
    learn_until = times.min().normalize() + LEARNING
    site = Site(
        site="azure_pdm",
        name="Azure sample",
        first_day=times.min().date(),
        window_minutes=window_minutes_of(INTERVAL_S),
        drops=DropFormat(layout="wide", columns=DropColumns(timestamp="datetime", machine="machineID")),
        machines=tuple(_machine(n) for n in sorted(seen["machineID"].unique().tolist())),
    )
    failures = pd.read_csv(folder / FAILURES, parse_dates=["datetime"]).sort_values(["machineID", "datetime", "failure"])
    failures = failures.groupby(["machineID", "datetime"], as_index=False).agg({"failure": " and ".join})
    failures["at"] = failures["datetime"].dt.tz_localize("UTC")
    events = [
        {
            "machine_id": f"M{row['machineID']:02}",
            "kind": row["failure"],
            "onset_at": row["at"] - HORIZON,
            "failure_at": row["at"],
            "repaired_at": row["at"] + GRACE,
        }
        for row in failures[failures["at"] > learn_until].to_dict("records")
    ]
    return Case("10 machines", site, (folder / TELEMETRY,), learn_until, last_reading_at=times.max(), events=events_of(events))


def _machine(number: int) -> Machine:
    name = f"M{number:02}"
    sensors = tuple(
        Sensor(sensor_id=f"{name}-{quantity}", source_name=quantity, type=kind, unit=unit, interval_s=INTERVAL_S)
        for quantity, (kind, unit) in QUANTITIES.items()
    )
    return Machine(machine_id=name, source_name=str(number), machine_class="machine", sensors=sensors)


def evaluate(folder: Path, advance: Advance) -> SetResult:
    case = read_case(folder)
    observed = observe([case], advance)
    outcome = outcome_of(observed)
    faults = matched(observed).faults
    foreseen = [f"{f['machine_id']} {f['kind']} {f['lead_time_h']:.0f} h before" for f in faults.to_dict("records") if f["is_found"]]
    return SetResult(
        "azure",
        f"Azure predictive maintenance sample, {len(case.site.machines)} machines",
        sha256_of([folder / TELEMETRY, folder / FAILURES]),
        policy_params([case.site]) | {"horizon_days": HORIZON.days, "learning_days": LEARNING.days},
        figures_of(outcome),
        case_rows([case], observed),
        [
            (
                f"Telemetry alone; found is an alarm within {HORIZON.days} days before the failure. Alarms moved in time at random find "
                f"{outcome.recall_by_chance:.0%}."
            ),
            f"Found: {', '.join(foreseen) or 'nothing'}.",
        ],
    )
