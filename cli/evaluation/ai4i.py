"""Milling processes (AI4I 2020): does this one fail? One row is one process; its five causes of failure are known only afterwards.

Held out by five stratified folds: a row is judged by a model that never saw it, at a probability of one half. Two processes of one
tool are neighbours in the file, but nothing says which tool is which: folds grouped by it are not possible.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from cli.evaluation.cases import Advance, SetResult, sha256_of
from ml.curves import average_precision
from ml.failure_figures import THRESHOLD, calibration_error
from ml.hazard import BOOSTING, RANDOMISED, Flags, held_out_probability

FILE = "ai4i2020_dev.csv"
FAILURE = "Machine failure"
CAUSES = ("TWF", "HDF", "PWF", "OSF", "RNF")
AIR, PROCESS, SPEED, TORQUE, WEAR = (
    "Air temperature [K]",
    "Process temperature [K]",
    "Rotational speed [rpm]",
    "Torque [Nm]",
    "Tool wear [min]",
)
QUALITY = {"L": 0, "M": 1, "H": 2}
N_FOLDS, SEED = 5, 0
TARGETS = {"average_precision": 0.87, "mcc": 0.84}


def features_of(processes: pd.DataFrame) -> pd.DataFrame:
    """What is measured, and three quantities of physics: power (W), overtemperature (K), and wear times torque (min Nm)."""
    measured = processes[[AIR, PROCESS, SPEED, TORQUE, WEAR]].astype("float64")
    return measured.assign(
        quality=processes["Type"].map(QUALITY),
        power_w=measured[TORQUE] * measured[SPEED] * 2 * np.pi / 60,
        overtemperature_k=measured[PROCESS] - measured[AIR],
        strain_min_nm=measured[WEAR] * measured[TORQUE],
    )


def mcc(truth: Flags, said: Flags) -> float:
    """Correlation of two binary variables (Matthews 1975): 1 all right, 0 no better than chance, NaN where one of them is constant."""
    if truth.all() or said.all() or not truth.any() or not said.any():
        return float("nan")
    return float(np.corrcoef(truth.astype(np.float64), said.astype(np.float64))[0, 1])


def evaluate(folder: Path, advance: Advance) -> SetResult:
    processes = pd.read_csv(folder / FILE)
    fails = processes[FAILURE].to_numpy() == 1
    found = held_out_probability(features_of(processes), fails=fails, n_folds=N_FOLDS, seed=SEED)
    advance(1)
    said = found >= THRESHOLD
    figures = {
        "n_rows": float(len(fails)),
        "n_events": float(fails.sum()),
        "n_found": float((fails & said).sum()),
        "n_false_alarms": float((said & ~fails).sum()),
        "average_precision": average_precision(fails, found),
        "anomalous_share": float(fails.mean()),
        "mcc": mcc(fails, said),
        "calibration_error": calibration_error(fails, found),
    }
    figures["target_met"] = float(all(figures[name] >= target for name, target in TARGETS.items()))
    return SetResult(
        "ai4i",
        f"AI4I 2020, {len(fails):,} milling processes",
        sha256_of([folder / FILE]),
        {"folds": N_FOLDS, "seed": SEED, "threshold": THRESHOLD, "boosting": str(BOOSTING), "randomised": str(RANDOMISED)},
        figures,
        [],
        [
            f"Held out by {N_FOLDS} stratified folds, not grouped: no column says which tool is which. Never seen: {', '.join(CAUSES)}.",
            f"Targets: {', '.join(f'{name} at least {target}' for name, target in TARGETS.items())}.",
        ],
    )
