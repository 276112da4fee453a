"""Incidents held against what really happened: which faults were found, how early, and how often the alarm was false."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ml.frames import UTC_TIME, typed_frame

FAULT_COLUMNS: dict[str, str] = {
    "machine_id": "str",
    "kind": "str",
    "onset_at": UTC_TIME,
    "failure_at": UTC_TIME,
    "repaired_at": UTC_TIME,
    "is_found": "bool",
    "detected_at": UTC_TIME,
    "delay_h": "float64",
    "lead_time_h": "float64",
}


@dataclass(frozen=True)
class Evaluation:
    """`faults`: one row per true fault, columns as in FAULT_COLUMNS (and `site`, if the truth has it).

    `false_alarms`: the incidents that overlap no fault of their machine. Rates are NaN where nothing was observed.
    """

    faults: pd.DataFrame
    false_alarms: pd.DataFrame
    machine_months: float

    @property
    def n_found(self) -> int:
        return int(self.faults["is_found"].sum())

    @property
    def found_share(self) -> float:
        return self.n_found / len(self.faults) if len(self.faults) else float("nan")

    @property
    def false_alarms_per_machine_month(self) -> float:
        return len(self.false_alarms) / self.machine_months if self.machine_months > 0 else float("nan")


def match_incidents(incidents: pd.DataFrame, truth: pd.DataFrame, *, observed_machine_days: float) -> Evaluation:
    """Match incidents (machine_id, onset_at, last_window_at) to faults (machine_id, kind, onset_at, failure_at, repaired_at).

    A fault is found by an incident of its machine that overlaps [onset_at, repaired_at] (no end without a repair) and
    began before the failure: what is noticed at the failure is no detection. detected_at is that incident's onset, but
    not before the fault's: an earlier alarm that happens to reach into the fault foresaw nothing. lead_time_h is from
    there to failure_at, NaN without a failure. If both tables have `site`, it must agree too. A month is 30 days.
    Raises ValueError for a negative observation time.
    """
    if not observed_machine_days >= 0:
        raise ValueError(f"observed_machine_days is {observed_machine_days}; pass the days observed summed over the machines")
    by = ["site", "machine_id"] if "site" in incidents.columns and "site" in truth.columns else ["machine_id"]
    raised = incidents.reset_index(drop=True)
    is_explained = np.zeros(len(raised), dtype=np.bool_)
    rows = []
    for fault in truth.to_dict("records"):
        same = np.ones(len(raised), dtype=np.bool_)
        for name in by:
            same &= (raised[name] == fault[name]).to_numpy(dtype=np.bool_)
        ends = fault["repaired_at"]
        overlaps = same & (raised["last_window_at"] >= fault["onset_at"]).to_numpy(dtype=np.bool_)
        if not pd.isna(ends):
            overlaps &= (raised["onset_at"] <= ends).to_numpy(dtype=np.bool_)
        is_explained |= overlaps
        rows.append(_fault_row(fault, onsets=raised.loc[overlaps, "onset_at"]))
    faults = typed_frame(rows, {"site": "str", **FAULT_COLUMNS} if "site" in truth.columns else FAULT_COLUMNS)
    return Evaluation(faults, false_alarms=raised[~is_explained].reset_index(drop=True), machine_months=observed_machine_days / 30)


def _fault_row(fault: Mapping[Hashable, Any], *, onsets: "pd.Series[pd.Timestamp]") -> dict[str, Any]:
    onset, failure = fault["onset_at"], fault["failure_at"]
    in_time = onsets if pd.isna(failure) else onsets[onsets < failure]
    row = {name: fault[name] for name in ("site", "machine_id", "kind", "onset_at", "failure_at", "repaired_at") if name in fault}
    if not len(in_time):
        return {**row, "is_found": False, "detected_at": pd.NaT, "delay_h": float("nan"), "lead_time_h": float("nan")}
    detected = max(in_time.min(), onset)
    return {
        **row,
        "is_found": True,
        "detected_at": detected,
        "delay_h": (detected - onset).total_seconds() / 3600,
        "lead_time_h": float("nan") if pd.isna(failure) else (failure - detected).total_seconds() / 3600,
    }
