"""What alarms were worth: events found, how early, false alarms, and how much of that chance would have found, too."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ml.curves import average_precision
from ml.evaluation import Evaluation, match_incidents
from ml.replay import Replayed

SHIFTS = 50


@dataclass(frozen=True)
class Observed:
    """One site replayed, and what really happened there after its detector had learned.

    `events`: machine_id, kind, onset_at, failure_at, repaired_at, as `ml.evaluation` takes them.
    """

    replayed: Replayed
    events: pd.DataFrame

    @property
    def site(self) -> str:
        return self.replayed.site.site


@dataclass(frozen=True)
class Outcome:
    """Figures of one or more sites. Rates and times are NaN where nothing was observed, or nothing of the kind can be.

    recall_by_chance: mean recall of the same alarms moved in time, `SHIFTS` times round; an alarm that never ends finds
                      everything, and so it does by chance
    delay, lead time: medians over the events found, from onset to alarm and from alarm to failure
    average_precision: over all windows scored, an event's from its onset to its end anomalous; `anomalous_share` is what
                      scores that know nothing would reach
    """

    n_events: int
    n_found: int
    recall: float
    recall_by_chance: float
    n_alarms: int
    n_false_alarms: int
    machine_months: float
    false_alarms_per_machine_month: float
    median_delay_h: float
    median_lead_time_h: float
    average_precision: float
    anomalous_share: float


def matched(observed: Sequence[Observed]) -> Evaluation:
    """Alarms held against events, over all sites. An alarm begins when it was raised, not at its onset: before that nobody knew."""
    alarms = pd.concat([_alarms(o) for o in observed], ignore_index=True)
    events = pd.concat([o.events.assign(site=o.site) for o in observed], ignore_index=True)
    return match_incidents(alarms, events, observed_machine_days=sum(o.replayed.machine_days for o in observed))


def outcome_of(observed: Sequence[Observed]) -> Outcome:
    result = matched(observed)
    labels, scores = (np.concatenate(parts) for parts in zip(*map(_ranked, observed), strict=True))
    return Outcome(
        n_events=len(result.faults),
        n_found=result.n_found,
        recall=result.found_share,
        recall_by_chance=recall_by_chance(observed) if len(result.faults) else float("nan"),
        n_alarms=sum(len(o.replayed.raised) for o in observed),
        n_false_alarms=len(result.false_alarms),
        machine_months=result.machine_months,
        false_alarms_per_machine_month=result.false_alarms_per_machine_month,
        median_delay_h=_median(result.faults["delay_h"]),
        median_lead_time_h=_median(result.faults["lead_time_h"]),
        average_precision=average_precision(labels, scores),
        anomalous_share=float(labels.mean()) if len(labels) else float("nan"),
    )


def recall_by_chance(observed: Sequence[Observed], *, shifts: int = SHIFTS) -> float:
    """Mean recall when each site's alarms are moved by equal parts of its scored time; what leaves at the end comes in at the beginning."""
    recalls = []
    for k in range(1, shifts + 1):
        moved = [replace(o, replayed=replace(o.replayed, raised=_moved(o.replayed, share=k / (shifts + 1)))) for o in observed]
        recalls.append(matched(moved).found_share)
    return float(np.mean(recalls))


def _alarms(observed: Observed) -> pd.DataFrame:
    """site, machine_id, onset_at (when it was raised), last_window_at (the end of its last window)."""
    raised, window = observed.replayed.raised, pd.Timedelta(minutes=observed.replayed.site.window_minutes)
    ends = (raised["last_window_at"] + window).where(raised["last_window_at"] + window > raised["raised_at"], raised["raised_at"])
    named = raised[["machine_id"]].assign(site=observed.site, onset_at=raised["raised_at"], last_window_at=ends)
    return named.astype({"site": "str", "machine_id": "str"})


def _moved(replayed: Replayed, *, share: float) -> pd.DataFrame:
    """The alarms moved by a share of the scored time. One that would reach beyond the end is cut in two."""
    raised, start = replayed.raised, replayed.scored_from
    if raised.empty or start is None:
        return raised
    span = replayed.scores["window_start"].max() + pd.Timedelta(minutes=replayed.site.window_minutes) - start
    begins = (raised["raised_at"] - start + span * share) % span
    lasts = raised["last_window_at"] - raised["raised_at"]
    ends = begins + lasts.where(lasts > pd.Timedelta(0), pd.Timedelta(0))
    is_over = ends > span
    whole = raised.assign(raised_at=start + begins, last_window_at=start + ends.where(~is_over, span))
    rest = raised[is_over].assign(raised_at=start, last_window_at=start + ends[is_over] - span)
    return pd.DataFrame(pd.concat([whole, rest], ignore_index=True).astype(raised.dtypes.to_dict()))


def _ranked(observed: Observed) -> tuple[np.ndarray, np.ndarray]:
    """(is anomalous, score) of each window that was scored."""
    scores = observed.replayed.scores
    scored = scores[(scores["state"] == "scored") & scores["score"].notna()]
    anomalous = np.zeros(len(scored), dtype=np.bool_)
    for event in observed.events.to_dict("records"):
        last = event["failure_at"] if pd.isna(event["repaired_at"]) else event["repaired_at"]
        inside = (scored["machine_id"] == event["machine_id"]) & (scored["window_start"] >= event["onset_at"])
        anomalous |= (inside if pd.isna(last) else inside & (scored["window_start"] <= last)).to_numpy(dtype=np.bool_)
    return anomalous, scored["score"].to_numpy(dtype=np.float64)


def _median(hours: "pd.Series[float]") -> float:
    known = hours.dropna()
    return float(known.median()) if len(known) else math.nan
