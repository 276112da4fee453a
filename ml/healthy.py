"""What a detector may learn from: the healthy part of the stored days, split into days to fit, to calibrate and to compare on."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import date
from typing import Any

import pandas as pd
from numpy.typing import NDArray

COMPARISON_SHARE = 1 / 3


@dataclass(frozen=True)
class Split:
    """Days in order of time: before `held_out_from` to fit, from it on to calibrate, from `comparison_from` on to compare.

    The days to compare on are neither fitted nor calibrated on. None: there are none, so that any figure of the detector's
    false alarms is from the days it was calibrated on.
    """

    days: tuple[date, ...]
    held_out_from: date
    comparison_from: date | None

    @property
    def learned(self) -> tuple[date, ...]:
        return tuple(day for day in self.days if self.comparison_from is None or day < self.comparison_from)

    @property
    def observed(self) -> tuple[date, ...]:
        """The days on which false alarms are counted: those to compare on, else those of the calibration."""
        return tuple(day for day in self.days if day >= (self.comparison_from or self.held_out_from))


def split_days(days: Sequence[date], *, held_out_share: float, has_champion: bool) -> Split:
    """The latest `held_out_share` of the days is held out; where there is a champion to compare with, the last third of that
    (a day at least) is for the comparison. A single held-out day is for calibration.
    """
    n_held_out = min(max(1, round(len(days) * held_out_share)), len(days) - 1)
    n_comparison = max(1, round(n_held_out * COMPARISON_SHARE)) if has_champion and n_held_out > 1 else 0
    return Split(tuple(days), days[-n_held_out], days[-n_comparison] if n_comparison else None)


def is_suspect(incidents: pd.DataFrame) -> "pd.Series[bool]":
    """Which incidents (verdict, label) are no healthy data: people's word counts first, the verdict where nobody has said."""
    by_verdict = (incidents["verdict"] != "false_positive_suspected") & (incidents["label"] != "false_alarm")
    return (incidents["label"] == "confirmed") | by_verdict


def healthy_rows(
    features: pd.DataFrame, *, spans: pd.DataFrame, unusable: Mapping[date, AbstractSet[str]], window: pd.Timedelta
) -> pd.DataFrame:
    """The features outside `spans` (machine_id, start, end: windows that overlap one go) and of sensors usable on the day."""
    starts, machines = features["window_start"], features["machine_id"]
    is_healthy = pd.Series(data=True, index=features.index)
    for span in spans.to_dict("records"):
        is_healthy &= ~((machines == span["machine_id"]) & (starts > span["start"] - window) & (starts <= span["end"]))
    for day, sensors in unusable.items():
        is_healthy &= ~(_within(starts, day) & features["sensor_id"].isin(list(sensors)).to_numpy())
    return features[is_healthy].reset_index(drop=True)


def _within(times: "pd.Series[pd.Timestamp]", day: date) -> NDArray[Any]:
    start = pd.Timestamp(day, tz="UTC")
    return ((times >= start) & (times < start + pd.Timedelta(days=1))).to_numpy()
