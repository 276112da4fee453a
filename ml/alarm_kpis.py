"""How well our own alarms are kept, by the measures of ISA-18.2 and IEC 62682 (monitoring and assessment), per site and day.

An alarm is the annunciation of one incident, or of one event of the whole site (`ml.annunciation`). The standard counts alarms of sensors
that are read every second or so; ours come of windows, 10 minutes by default, with an on-delay, an off-delay and merging. Where that makes
a measure of the standard meaningless, its intent is kept:

rate        Alarms per 10 minutes and operator, as in the standard; periods are (a, a + 10 min], counted from midnight UTC.
flood       As in the standard: begins with a period of more than 10 alarms per operator, ends with the first of fewer than 5.
chattering  The standard: an alarm that comes three times a minute. Two alarms of one machine lie at least the merge gap and the on-delay
            apart here (6.5 hours by default), so no machine can. The intent is an alarm that comes back about as fast as it can and tells
            nothing new: here a machine with three alarms within 24 hours. Counted are machines, on the day of the third alarm.
fleeting    The standard: an alarm that clears before anyone can act, without coming back. Here one that is over within 30 minutes of being
            raised (the span of an on-delay) and not of a chattering machine. Known on the day only if the off-delay has passed by its end.
stale       As in the standard: an alarm that has stood for more than 24 hours, on the day. What is shelved is not counted.
priorities  Shares of high, medium and low, against about 5, 15 and 80 %. Fewer than 20 alarms say nothing of shares.
"""

import math
from datetime import date, datetime, timedelta

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.annunciation import PRIORITIES

PERIOD_S = 600
FLOOD_ABOVE, FLOOD_ENDS_BELOW = 10, 5
CHATTER_ALARMS, CHATTER_WITHIN = 3, pd.Timedelta(hours=24)
FLEETING_WITHIN, STALE_AFTER = pd.Timedelta(minutes=30), pd.Timedelta(hours=24)
MIN_ALARMS_FOR_SHARES = 20
_DAY_PERIODS = 86400 // PERIOD_S

COLUMNS: dict[str, str] = {
    "n_operators": "int32",
    "n_periods": "int32",
    "n_alarms": "int32",
    "n_site_events": "int32",
    "rate_mean": "float64",
    "rate_peak": "float64",
    "n_flood_periods": "int32",
    "n_chattering": "int32",
    "n_fleeting": "int32",
    "n_stale": "int32",
    "n_standing": "int32",
    "n_held_back": "int32",
    "n_high": "int32",
    "n_medium": "int32",
    "n_low": "int32",
}


def alarm_kpis(active: pd.DataFrame, *, before: pd.DataFrame, day: date, as_of: datetime, operators: int) -> dict[str, float]:
    """The figures of a site's day, by name as in COLUMNS.

    active: the annunciation of the incidents active on the day (`ml.annunciation.COLUMNS`), with their ended_at (missing while they go on)
    and is_shelved at `as_of`. before: alarm_id, machine_id, is_site_event, raised_at, a row per incident, of the alarms raised on the day
    before, by which a flood or chatter goes on. `as_of`: the end of what the day has read; periods after it do not count.
    """
    start = pd.Timestamp(day, tz="UTC")
    end = pd.Timestamp(as_of)
    raised = active[(active["raised_at"] > start) & (active["raised_at"] <= end)]
    alarms = raised.drop_duplicates("alarm_id")
    n_periods = math.ceil((end - start).total_seconds() / PERIOD_S)
    counts = _per_period(alarms["raised_at"], start=start)[:n_periods] / operators
    yesterday = before.drop_duplicates("alarm_id")["raised_at"]
    flooded = in_flood(np.concatenate([_per_period(yesterday, start=start - timedelta(days=1)) / operators, counts]))
    chattering = _chattering(raised, before=before)
    priorities = _of_alarms(raised)
    standing = active[active["raised_at"].notna() & ~active["is_shelved"]]
    stood = standing["ended_at"].fillna(end) - standing["raised_at"]
    return {
        "n_operators": operators,
        "n_periods": n_periods,
        "n_alarms": len(alarms),
        "n_site_events": int(alarms["is_site_event"].sum()),
        "rate_mean": float(counts.mean()) if n_periods else 0.0,
        "rate_peak": float(counts.max()) if n_periods else 0.0,
        "n_flood_periods": int(flooded[_DAY_PERIODS:].sum()),
        "n_chattering": len(chattering),
        "n_fleeting": _fleeting(raised, chattering=chattering),
        "n_stale": standing.loc[stood > STALE_AFTER, "alarm_id"].nunique(),
        "n_standing": standing.loc[standing["ended_at"].isna(), "alarm_id"].nunique(),
        "n_held_back": int(active["raised_at"].isna().sum()),
        **{f"n_{p}": int((priorities == p).sum()) for p in PRIORITIES},
    }


def _per_period(times: "pd.Series[pd.Timestamp]", *, start: pd.Timestamp) -> NDArray[np.float64]:
    """Alarms in each period of the day that begins at `start`; one on the edge of two belongs to the period that it ends."""
    seconds = (times - start).dt.total_seconds().to_numpy(dtype=np.float64)
    index = np.ceil(seconds / PERIOD_S).astype(np.int64) - 1
    return np.bincount(index, minlength=_DAY_PERIODS).astype(np.float64)


def in_flood(counts: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of the consecutive periods, with so many alarms per operator, lie in a flood.

    >>> in_flood(np.array([4, 11, 6, 5, 4, 10.0])).tolist()
    [False, True, True, True, False, False]
    """
    marks = np.where(counts > FLOOD_ABOVE, 1, np.where(counts < FLOOD_ENDS_BELOW, 0, -1))
    latest = np.maximum.accumulate(np.where(marks >= 0, np.arange(len(counts)), -1))  # the period that last began or ended one
    return np.asarray((latest >= 0) & (marks[latest] == 1), dtype=bool)


def _chattering(raised: pd.DataFrame, *, before: pd.DataFrame) -> set[str]:
    """Machines whose alarm of the day was the third within 24 hours; events of the whole site are not a machine's own."""
    columns = ["machine_id", "raised_at", "is_site_event"]
    both = pd.concat([frame[columns].assign(is_today=is_today) for frame, is_today in ((before, False), (raised, True))], ignore_index=True)
    own = both[~both["is_site_event"].astype(bool)].sort_values(["machine_id", "raised_at"], kind="stable")
    first_of_three = own.groupby("machine_id")["raised_at"].shift(CHATTER_ALARMS - 1)
    return set(own.loc[own["is_today"].astype(bool) & (own["raised_at"] - first_of_three <= CHATTER_WITHIN), "machine_id"])


def _fleeting(raised: pd.DataFrame, *, chattering: set[str]) -> int:
    """Alarms of the day all of whose incidents were over soon after."""
    is_over_soon = raised["ended_at"].notna() & (raised["ended_at"] - raised["raised_at"] <= FLEETING_WITHIN)
    came_back = raised["machine_id"].isin(chattering) & ~raised["is_site_event"]
    return int((is_over_soon & ~came_back).groupby(raised["alarm_id"]).all().sum())


def _of_alarms(raised: pd.DataFrame) -> "pd.Series[str]":
    """The priority of each alarm: of an event of the site the highest of its incidents'."""
    rank = raised["priority"].map({p: n for n, p in enumerate(PRIORITIES)})
    return rank.groupby(raised["alarm_id"]).min().map(dict(enumerate(PRIORITIES)))


def assessment(kpis: pd.DataFrame) -> pd.DataFrame:
    """[measure, value, benchmark, result] over stored figures of days and sites (COLUMNS): each measure beside the standard's benchmark.

    Means are over all periods, weighted by operators; of the peak and of stale alarms the worst day counts; chattering and fleeting are
    sums; a share is met from 80 % of low up, and up to 15 % of medium and 5 % of high. `value` is missing where no alarm was raised.
    `result` is met, manageable (the average only: up to twice the acceptable), not met, or too few to say.
    """
    operator_periods = float((kpis["n_periods"] * kpis["n_operators"]).sum())
    n = int(kpis["n_alarms"].sum())
    mean, per_day = (n / operator_periods, n * _DAY_PERIODS / operator_periods) if operator_periods else (0.0, 0.0)
    peak, stale = float(kpis["rate_peak"].max()), int(kpis["n_stale"].max())
    flood = 100 * float(kpis["n_flood_periods"].sum() / max(int(kpis["n_periods"].sum()), 1))
    chattering, fleeting = int(kpis["n_chattering"].sum()), int(kpis["n_fleeting"].sum())
    shares = {p: 100 * int(kpis[f"n_{p}"].sum()) / n if n else None for p in PRIORITIES}
    rows = [
        ("alarms per 10 minutes and operator, average", mean, "1 acceptable, 2 manageable", _graded(mean)),
        ("alarms per day and operator, average", per_day, "150 acceptable, 300 manageable", _graded(per_day / 150)),
        ("alarms per 10 minutes and operator, peak", peak, "at most 10", _met(peak <= FLOOD_ABOVE)),
        ("time in flood (%)", flood, "below 1", _met(flood < 1)),
        ("chattering (machine-days)", chattering, "0", _met(chattering == 0)),
        ("fleeting alarms", fleeting, "0", _met(fleeting == 0)),
        ("stale alarms, worst day", stale, "fewer than 5", _met(stale < 5)),
        *(
            (f"priority {p} (% of alarms)", shares[p], words, _met(is_met) if n >= MIN_ALARMS_FOR_SHARES else "too few to say")
            for p, words, is_met in (
                ("low", "about 80", (shares["low"] or 0) >= 80),
                ("medium", "about 15", (shares["medium"] or 0) <= 15),
                ("high", "about 5", (shares["high"] or 0) <= 5),
            )
        ),
    ]
    return pd.DataFrame(rows, columns=["measure", "value", "benchmark", "result"]).astype({"value": "float64"})


def _met(is_met: bool) -> str:  # noqa: FBT001 - a predicate in words
    return "met" if is_met else "not met"


def _graded(mean: float) -> str:
    return "met" if mean <= 1 else "manageable" if mean <= 2 else "not met"
