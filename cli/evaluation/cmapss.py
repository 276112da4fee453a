"""Turbofan engines run to failure (NASA C-MAPSS FD001): how many flights has each test engine left?

The model learns from the training engines alone. Its settings were chosen by cross-validation over training engines, whose figures stand
beside those of the test: the test engines, each cut off once, are looked at for the result and for nothing else.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cli.errors import CommandError
from cli.evaluation.cases import Advance, SetResult, sha256_of
from ml.pickled import pack
from ml.remaining_life import (
    BOOSTING,
    CAP_CYCLES,
    N_BOOSTED,
    cycles_left_table,
    cycles_to_the_end,
    fit_remaining_life,
    held_out_cycles_left,
    in_order,
)
from resources.models import Fitted

TRAIN, TEST, TRUTH = "train_FD001.csv", "test_FD001.csv", "RUL_FD001.txt"
N_FOLDS, SEED = 5, 0
SEEN_BEFORE = 30  # flights: the shortest test history has 31
CUT_OFF = (7, 145)  # flights left at which a training engine is asked about: such are the test's
TARGETS = {"rmse_raw": 13.0, "rmse_clipped": 11.5}
Floats = npt.NDArray[np.float64]
Measured = npt.NDArray[np.floating[Any]]


def rmse(truth: Measured, found: Measured) -> float:
    return float(np.sqrt(np.mean((truth - found) ** 2)))


def nasa_score(truth: Measured, found: Measured) -> float:
    """Sum over engines of exp(d / 10) - 1 for a prediction d flights too late, exp(-d / 13) - 1 for one too early (Saxena et al. 2008)."""
    late = found - truth
    return float(np.sum(np.expm1(np.where(late >= 0, late / 10, -late / 13))))


def evaluate(folder: Path, advance: Advance) -> SetResult:
    train, test = (in_order(pd.read_csv(folder / name)) for name in (TRAIN, TEST))
    truth = np.loadtxt(folder / TRUTH)
    units = test["unit"].unique()
    if len(truth) != len(units):
        raise CommandError(f"{folder / TRUTH} has {len(truth)} lines for {len(units)} engines.")
    left, held_out = cycles_to_the_end(train), held_out_cycles_left(train, n_folds=N_FOLDS, seed=SEED)
    asked = (train["cycle"].to_numpy() > SEEN_BEFORE) & (left >= CUT_OFF[0]) & (left <= CUT_OFF[1])
    model = fit_remaining_life(train, seed=SEED)
    found = model.of_last_cycles(test).to_numpy(dtype=np.float64)
    advance(1)
    example = test[test["unit"] == units[0]].reset_index(drop=True)
    clipped: Floats = np.minimum(truth, CAP_CYCLES)
    figures = {
        "n_engines": float(len(truth)),
        "rmse_raw": rmse(truth, found),
        "rmse_clipped": rmse(clipped, found),
        "nasa_score_raw": nasa_score(truth, found),
        "mean_error_clipped": float(np.mean(found - clipped)),
        "rmse_of_the_mean_clipped": rmse(clipped, np.full(len(clipped), np.minimum(left, CAP_CYCLES)[asked].mean())),
        "cross_validated_rmse_raw": rmse(left[asked], held_out[asked]),
        "cross_validated_rmse_clipped": rmse(np.minimum(left, CAP_CYCLES)[asked], held_out[asked]),
    }
    figures["target_met"] = float(all(figures[name] <= target for name, target in TARGETS.items()))
    return SetResult(
        "cmapss",
        f"C-MAPSS FD001, {len(truth)} test engines",
        sha256_of([folder / TRAIN, folder / TEST, folder / TRUTH]),
        {"folds": N_FOLDS, "seed": SEED, "cap_cycles": CAP_CYCLES, "members": N_BOOSTED, "boosting": str(BOOSTING)},
        figures,
        [],
        [
            f"raw: against the true remaining flights; clipped: against the true ones cut at {CAP_CYCLES}, as the target in training is.",
            (
                f"Cross-validated: training engines only, {N_FOLDS} folds of engines, every flight after {SEEN_BEFORE} with "
                f"{CUT_OFF[0]} to {CUT_OFF[1]} left."
            ),
            f"Targets: {', '.join(f'{name} at most {target}' for name, target in TARGETS.items())}.",
        ],
        fitted=Fitted(
            name="evaluation-cmapss",
            artifact=pack(model),
            code="remaining_life_model.py",
            input_example=example,
            output_example=cycles_left_table(model.of_last_cycles(example)),
            description="Remaining useful life in cycles of C-MAPSS engines, learned from the training engines of FD001: the history of "
            "engines in, the cycles that each has left after its last one out.",
        ),
    )
