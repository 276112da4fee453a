"""Shelving after ISA-18.2: a person keeps an alarm quiet for a limited time, with a name and a reason, and it comes back by itself.

A machine is shelved with all its incidents, or one incident alone. What is shelved is found, stored and judged as ever; it is not
annunciated, and no work is proposed for it. Times are those of the readings: a shelving holds from `start_at` up to, not including, its
end, whenever the readings of that time arrive, so that a site-day made anew finds the same. When the time is over, an incident that still
stands is annunciated then (`ml.annunciation`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import pandas as pd

from ml.plant import AlarmPolicy


class ShelvingRefused(ValueError):
    """The message says why, and what could be asked for instead."""


@dataclass(frozen=True)
class Shelving:
    """`incident_id` None: the whole machine. `ended_at`: a person took it off the shelf before `until`."""

    shelving_id: int
    machine_id: str
    incident_id: str | None
    start_at: datetime
    until: datetime
    ended_at: datetime | None = None

    @property
    def end(self) -> datetime:
        return self.until if self.ended_at is None else min(self.until, self.ended_at)

    def covers(self, machine_id: str, incident_id: str | None) -> bool:
        """Whether it is about this incident, or with incident_id None about all of the machine."""
        return self.machine_id == machine_id and self.incident_id in (None, incident_id)

    def holds_at(self, at: datetime) -> bool:
        return self.start_at <= at < self.end


def demand_limited(start_at: datetime, until: datetime, *, policy: AlarmPolicy) -> None:
    """Raises ShelvingRefused unless the shelving ends after it starts, and within the time that the policy allows."""
    if until <= start_at:
        raise ShelvingRefused(f"the end, {until.isoformat()}, is not after the start, {start_at.isoformat()}")
    longest = timedelta(hours=policy.max_shelved_h)
    if until - start_at > longest:
        asked = (until - start_at).total_seconds() / 3600
        raise ShelvingRefused(
            f"{asked:g} hours are asked for, {policy.max_shelved_h:g} allowed (policy.alarms.max_shelved_h); "
            f"until {(start_at + longest).isoformat(timespec='minutes')} at the latest"
        )


def holding(shelvings: Iterable[Shelving], *, machine_id: str, incident_id: str | None, at: datetime) -> Shelving | None:
    """The shelving in force at that time; of several the one that lasts longest."""
    found = [s for s in shelvings if s.covers(machine_id, incident_id) and s.holds_at(at)]
    return max(found, key=lambda s: (s.end, -s.shelving_id), default=None)


def released_at(shelvings: Sequence[Shelving], *, machine_id: str, incident_id: str, at: datetime) -> datetime:
    """The first time from `at` on at which nothing keeps the incident quiet: past shelvings that follow on each other, too."""
    while (held := holding(shelvings, machine_id=machine_id, incident_id=incident_id, at=at)) is not None:
        at = held.end
    return at


def are_shelved(incidents: pd.DataFrame, shelvings: Sequence[Shelving], *, at: datetime) -> "pd.Series[bool]":
    """Which of the incidents (incident_id, machine_id) are shelved at that time."""
    pairs = zip(incidents["machine_id"], incidents["incident_id"], strict=True)
    held = [holding(shelvings, machine_id=str(m), incident_id=str(i), at=at) is not None for m, i in pairs]
    return pd.Series(held, index=incidents.index, dtype=bool)


def not_shelved(
    incidents: pd.DataFrame, predictions: pd.DataFrame, *, shelvings: Sequence[Shelving], at: datetime
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The incidents and predictions that work may be proposed for at that time.

    A prediction (machine_id, incident_ids) is left out where its machine is shelved, or every incident that it was asked for; one that was
    asked for no incident stands unless its machine is shelved.
    """
    is_held = are_shelved(incidents, shelvings, at=at)
    held = set(incidents.loc[is_held, "incident_id"])
    of_held = [
        holding(shelvings, machine_id=str(m), incident_id=None, at=at) is not None or (len(ids) > 0 and set(ids) <= held)
        for m, ids in zip(predictions["machine_id"], predictions["incident_ids"], strict=True)
    ]
    return incidents[~is_held], predictions[~pd.Series(of_held, index=predictions.index, dtype=bool)]
