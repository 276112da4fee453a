"""Ten simulated machines (the Azure predictive maintenance sample): failures foreseen 24 hours ahead, from all that was known.

Telemetry, errors, the hours since each component's last replacement, age and model go into the learned failure model. It is judged twice:
each machine by one that learned from others, and the last third of the time by one that learned from what was known before it. Hours
from a failure to its repair are out. Failures of several components in one hour are one.
"""

from functools import partial
from pathlib import Path

import pandas as pd

from cli.evaluation.azure import FAILURES, TELEMETRY
from cli.evaluation.cases import Advance, SetResult, sha256_of
from ml.failure_figures import THRESHOLD, Labelled
from ml.failure_model import N_FOLDS, judged_by_machine, judged_by_time
from ml.failure_windows import fails_within, hours_in_order, hours_to_failure, is_in_repair, refuse_future, spread_instants, window_features
from ml.hazard import BOOSTING, RANDOMISED, fit_hazard
from ml.pickled import pack
from resources.models import Fitted

ERRORS, REPLACEMENTS, MACHINES = "errors_m1-10.csv", "maint_m1-10.csv", "machines_m1-10.csv"
HORIZON_H = 24
SEED = 0
N_SHOWN = 5  # rows of the example that MLflow keeps


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


def evaluate(folder: Path, advance: Advance) -> SetResult:
    tables = read_tables(folder)
    failures = tables.pop("failures")
    hours = hours_in_order(tables["telemetry"])
    make = partial(
        window_features,
        errors=sorted(tables["errors"]["error"].unique()),
        components=sorted(tables["replacements"]["component"].unique()),
    )
    refuse_future(make, tables, at=spread_instants(tables["telemetry"]))
    ahead = hours_to_failure(hours, failures)
    usable = ~is_in_repair(hours, failures, replacements=tables["replacements"])
    features, labels = make(tables), Labelled(hours, ahead, fails_within(ahead, horizon_h=HORIZON_H), usable)
    machines = hours["machine_id"].to_numpy()
    by_machine = judged_by_machine(features, labels, seed=SEED, n_folds=N_FOLDS)
    by_time = judged_by_time(features, labels, horizon_h=HORIZON_H, seed=SEED)
    advance(1)
    model = fit_hazard(features[usable], fails=labels.fails[usable], groups=machines[usable], seed=SEED)
    example = features[usable & labels.fails].head(N_SHOWN).reset_index(drop=True)
    paths = [folder / name for name in (TELEMETRY, ERRORS, REPLACEMENTS, MACHINES, FAILURES)]
    return SetResult(
        "azure-ahead",
        f"Azure predictive maintenance sample, {hours['machine_id'].nunique()} machines, {HORIZON_H} h ahead",
        sha256_of(paths),
        {
            "folds": N_FOLDS,
            "seed": SEED,
            "threshold": THRESHOLD,
            "horizon_h": HORIZON_H,
            "boosting": str(BOOSTING),
            "randomised": str(RANDOMISED),
        },
        {**by_machine.figures, **{f"later_{name}": value for name, value in by_time.figures.items()}},
        [],
        [
            f"By machine: {by_machine.words}; {int((~usable).sum())} hours of failure and repair are out.",
            f"By time, the figures that begin with later_: {by_time.words}.",
            (
                f"An alarm is a run of hours with a probability of at least {THRESHOLD}; it is false if no failure follows any of its "
                f"hours within {HORIZON_H} h. Missed by machine: {', '.join(by_machine.missed) or 'nothing'}; "
                f"by time: {', '.join(by_time.missed) or 'nothing'}."
            ),
        ],
        fitted=Fitted(
            name="evaluation-azure-ahead",
            artifact=pack(model),
            code="failure_model.py",
            input_example=example,
            output_example=pd.DataFrame({"probability": model.probability(example)}),
            description="Probability of a failure within 24 h on the Azure sample, fitted to all its machines; see the runs for what "
            "others like it are worth on machines and on time that they had not seen.",
        ),
    )
