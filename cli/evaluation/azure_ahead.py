"""Ten simulated machines (the Azure predictive maintenance sample): failures foreseen 24 hours ahead, from all that was known.

Telemetry, errors, the hours since each component's last replacement, age and model go into the learned failure model; each machine is
judged by one that learned from others. Hours from a failure to its repair are out. Failures of several components in one hour are one.
"""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from cli.evaluation.ai4i import calibration_error
from cli.evaluation.azure import FAILURES, TELEMETRY
from cli.evaluation.cases import Advance, SetResult, sha256_of
from ml.curves import average_precision
from ml.failure_windows import Flags, Tables, hours_in_order, hours_to_failure, is_in_repair, refuse_future, window_features
from ml.hazard import BOOSTING, RANDOMISED, held_out_probability

ERRORS, REPLACEMENTS, MACHINES = "errors_m1-10.csv", "maint_m1-10.csv", "machines_m1-10.csv"
HORIZON_H = 24
HOURS_OF_MONTH = 720
N_FOLDS, SEED = 5, 0
THRESHOLD = 0.5
N_CHECKED = 5  # instants at which the features are made again without what came later


def read_tables(folder: Path) -> dict[str, pd.DataFrame]:
    names = {"datetime": "at", "machineID": "machine_id", "errorID": "error", "comp": "component"}

    def read(name: str) -> pd.DataFrame:
        table = pd.read_csv(folder / name).rename(columns=names)
        return table.assign(at=pd.to_datetime(table["at"], utc=True)) if "at" in table.columns else table

    machines = read(MACHINES)
    return {
        "telemetry": read(TELEMETRY),
        "errors": read(ERRORS),
        "replacements": read(REPLACEMENTS),
        "machines": machines.assign(model=machines["model"].str.removeprefix("model").astype("int64")),
        "failures": read(FAILURES)[["machine_id", "at"]].drop_duplicates(),
    }


def episodes(machines: "pd.Series[int]", *, said: Flags, fails: Flags) -> pd.DataFrame:
    """Alarms of consecutive hours of one machine as one row: machine_id, and whether a failure followed any of its hours in time."""
    begins = said & ~(np.append(False, said[:-1]) & (machines == machines.shift()).to_numpy())
    rows = pd.DataFrame({"episode": np.cumsum(begins), "machine_id": machines, "is_true": fails})[said]
    return rows.groupby("episode", as_index=False).agg({"machine_id": "first", "is_true": "any"})


def evaluate(folder: Path, advance: Advance) -> SetResult:
    tables = read_tables(folder)
    failures = tables.pop("failures")
    hours = hours_in_order(tables["telemetry"])
    make = partial(
        window_features,
        errors=sorted(tables["errors"]["error"].unique()),
        components=sorted(tables["replacements"]["component"].unique()),
    )
    refuse_future(make, tables, at=_instants(tables))
    to_failure = hours_to_failure(hours, failures)
    fails = (to_failure > 0) & (to_failure <= HORIZON_H)
    usable = ~is_in_repair(hours, failures, replacements=tables["replacements"])
    machines = hours["machine_id"]
    found = held_out_probability(make(tables), fails=fails, is_usable=usable, groups=machines.to_numpy(), n_folds=N_FOLDS, seed=SEED)
    advance(1)
    said = usable & (np.nan_to_num(found) >= THRESHOLD)
    next_failure = hours["at"] + pd.to_timedelta(np.where(fails, to_failure, np.nan), unit="h")
    events = pd.DataFrame({"machine_id": machines, "at": next_failure, "is_found": said, "hours": to_failure})[fails & usable]
    by_event = events.groupby(["machine_id", "at"])["is_found"].any()
    leads = events[events["is_found"]].groupby(["machine_id", "at"])["hours"].max()
    alarms = episodes(machines, said=said, fails=fails)
    n_false, months = int((~alarms["is_true"]).sum()), float(usable.sum()) / HOURS_OF_MONTH
    figures = {
        "n_events": float(len(by_event)),
        "n_found": float(by_event.sum()),
        "recall": float(by_event.mean()),
        "n_alarms": float(len(alarms)),
        "n_false_alarms": float(n_false),
        "machine_months": months,
        "false_alarms_per_machine_month": n_false / months,
        "median_lead_time_h": float(leads.median()),
        "average_precision": average_precision(fails[usable], found[usable]),
        "anomalous_share": float(fails[usable].mean()),
        "calibration_error": calibration_error(fails[usable], found[usable]),
    }
    unseen = by_event[~by_event].reset_index()
    missed = [f"machine {row['machine_id']} {row['at']:%Y-%m-%d}" for row in unseen.to_dict("records")]
    paths = [folder / name for name in (TELEMETRY, ERRORS, REPLACEMENTS, MACHINES, FAILURES)]
    return SetResult(
        "azure-ahead",
        f"Azure predictive maintenance sample, {machines.nunique()} machines, {HORIZON_H} h ahead",
        sha256_of(paths),
        {
            "folds": N_FOLDS,
            "seed": SEED,
            "threshold": THRESHOLD,
            "horizon_h": HORIZON_H,
            "boosting": str(BOOSTING),
            "randomised": str(RANDOMISED),
        },
        figures,
        [],
        [
            f"Each machine judged by a model of the others ({N_FOLDS} folds); {int((~usable).sum())} hours of failure and repair are out.",
            (
                f"An alarm is a run of hours with a probability of at least {THRESHOLD}; it is false if no failure follows any of its "
                f"hours within {HORIZON_H} h. Missed: {', '.join(missed) or 'nothing'}."
            ),
        ],
    )


def _instants(tables: Tables) -> list[pd.Timestamp]:
    """Spread over the telemetry, the first and the last hour apart."""
    times = tables["telemetry"]["at"].drop_duplicates().sort_values()
    return [times.iloc[round(len(times) * k / (N_CHECKED + 1))] for k in range(1, N_CHECKED + 1)]
