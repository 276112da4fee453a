"""How well failures were foreseen: each by its alarms, each alarm by the failures that followed it.

An alarm is a run of a machine's hours with a probability of at least the threshold; it is false if no failure follows any of them within
the horizon. A failure is found where such an hour lies within the horizon before it.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from ml.curves import average_precision
from ml.failure_windows import Flags, Floats

HOURS_OF_MONTH = 720
THRESHOLD = 0.5


@dataclass(frozen=True)
class Labelled:
    """Rows that were judged or may be: `hours` [machine_id, at] in order, hours to the next failure, whether that is within the horizon,
    and which rows count."""

    hours: pd.DataFrame
    to_failure_h: Floats
    fails: Flags
    is_usable: Flags
    step_h: float = 1

    def events(self, where: Flags) -> pd.DataFrame:
        """[machine_id, at, row, hours] of the rows there that fail, `at` that of the failure."""
        rows = np.flatnonzero(where & self.fails)
        at = self.hours["at"].iloc[rows] + pd.to_timedelta(self.to_failure_h[rows], unit="h")
        machines = self.hours["machine_id"].iloc[rows].to_numpy()
        return pd.DataFrame({"machine_id": machines, "at": at.to_numpy(), "row": rows, "hours": self.to_failure_h[rows]})


def episodes(machines: pd.Series, *, said: Flags, fails: Flags) -> pd.DataFrame:
    """Alarms of consecutive hours of one machine as one row: machine_id, and whether a failure followed any of its hours in time."""
    begins = said & ~(np.append(False, said[:-1]) & (machines == machines.shift()).to_numpy())
    rows = pd.DataFrame({"episode": np.cumsum(begins), "machine_id": machines, "is_true": fails})[said]
    return rows.groupby("episode", as_index=False).agg({"machine_id": "first", "is_true": "any"})


def calibration_error(fails: Flags, probability: npt.NDArray[np.float64], *, bins: int = 10) -> float:
    """Mean distance between probability and share of failures over bins of equally many rows by probability, each weighing its rows."""
    parts = np.array_split(np.argsort(probability, kind="stable"), min(bins, len(fails)))
    return float(sum(abs(fails[rows].mean() - probability[rows].mean()) * len(rows) for rows in parts) / len(fails))


def foresight(labelled: Labelled, found: Floats, *, is_judged: Flags | None = None) -> tuple[dict[str, float], list[str]]:
    """(figures, the failures that were missed) over the usable rows, or those of them that were judged; `found` is a probability each."""
    judged = labelled.is_usable if is_judged is None else labelled.is_usable & is_judged
    said = judged & (np.nan_to_num(found) >= THRESHOLD)
    events = labelled.events(judged).assign(is_found=lambda rows: said[rows["row"]])
    by_event = events.groupby(["machine_id", "at"])["is_found"].any()
    leads = events[events["is_found"]].groupby(["machine_id", "at"])["hours"].max()
    alarms = episodes(labelled.hours["machine_id"], said=said, fails=labelled.fails)
    n_false, months = int((~alarms["is_true"]).sum()), float(judged.sum()) * labelled.step_h / HOURS_OF_MONTH
    fails = labelled.fails[judged]
    figures = {
        "n_events": float(len(by_event)),
        "n_found": float(by_event.sum()),
        "recall": float(by_event.mean()),
        "n_alarms": float(len(alarms)),
        "n_false_alarms": float(n_false),
        "machine_months": months,
        "false_alarms_per_machine_month": n_false / months,
        "median_lead_time_h": float(leads.median()),
        "average_precision": average_precision(fails, found[judged]),
        "anomalous_share": float(fails.mean()),
        "calibration_error": calibration_error(fails, found[judged]),
    }
    unseen = by_event[~by_event].reset_index()
    return figures, [f"machine {row['machine_id']} {row['at']:%Y-%m-%d}" for row in unseen.to_dict("records")]
