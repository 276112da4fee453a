"""Figures of reliability and of maintenance work, from the maintenance log and the plans: MTBF, MTTR, wrench time, schedule compliance.

Formulas are those of the SMRP best practices (6th edition), by their numbers, and of ISO 14224:2016, annex C. Of fewer than MIN_EVENTS
events no figure is claimed. Limits: a fault counts as a failure when work on it found it, also one that was still incipient, and time
in service is calendar time, the hours in which a machine stood still included.
"""

from dataclasses import dataclass

import pandas as pd

from ml.findings import NO_FAULT_FOUND

MIN_EVENTS = 5
CONFIDENCE = 0.9  # of the interval that ISO 14224 gives beside a failure rate
WORK_COLUMNS = ("order_id", "started_at", "ended_at", "finding", "hours_worked")


@dataclass(frozen=True)
class Measure:
    """`value` rests on `n` events; None where they are too few. low, high: the 90 % interval, where the formula has one."""

    value: float | None
    n: int
    low: float | None = None
    high: float | None = None

    @property
    def words(self) -> str:
        """What the value rests on."""
        if self.value is None:
            return f"insufficient evidence: n = {self.n} of the {MIN_EVENTS} needed"
        interval = f", 90 % interval {self.low:,.0f} to {self.high:,.0f}" if self.low is not None and self.high is not None else ""
        return f"n = {self.n}{interval}"


def mean_time_between_failures_h(n_failures: int, *, service_h: float) -> Measure:
    """MTBF = time in service / failures (SMRP 3.5.1), of the machines together.

    The interval takes failures to come at a constant rate: the rate lies within chi2(0.05; 2n) / 2t and chi2(0.95; 2n + 2) / 2t
    (ISO 14224 C.3.2). service_h: hours of all machines together. Raises ValueError where it is negative.
    """
    if service_h < 0:
        raise ValueError(f"service_h is {service_h}; it must not be negative")
    if n_failures < MIN_EVENTS or service_h == 0:
        return Measure(None, n_failures)
    from scipy.stats import chi2

    tail = (1 - CONFIDENCE) / 2
    low_rate = float(chi2.ppf(tail, 2 * n_failures)) / (2 * service_h)
    high_rate = float(chi2.ppf(1 - tail, 2 * n_failures + 2)) / (2 * service_h)
    return Measure(service_h / n_failures, n_failures, low=1 / high_rate, high=1 / low_rate)


def failures(work: pd.DataFrame) -> pd.DataFrame:
    """The rows of the log (WORK_COLUMNS) whose work found a fault."""
    _require(work)
    return work[work["finding"] != NO_FAULT_FOUND]


def mean_time_to_repair_h(work: pd.DataFrame) -> Measure:
    """MTTR = time of repairs / repairs (SMRP 3.5.2), from the start of the work to its end; where no fault was found is no repair."""
    hours = _elapsed_h(failures(work))
    return Measure(float(hours.mean()) if len(hours) >= MIN_EVENTS else None, len(hours))


def wrench_time(work: pd.DataFrame) -> Measure:
    """Wrench time = hours with hands on the machine / hours between start and end (SMRP 5.6.1), in [0, 1].

    Of the work whose hours were told and that took any time; n counts these.
    """
    _require(work)
    told = work[work["hours_worked"].notna() & (work["ended_at"] > work["started_at"])]
    if len(told) < MIN_EVENTS:
        return Measure(None, len(told))
    return Measure(float(told["hours_worked"].astype("float64").sum() / _elapsed_h(told).sum()), len(told))


def schedule_compliance(scheduled: pd.DataFrame, work: pd.DataFrame, *, zone: str) -> Measure:
    """Schedule compliance = work orders done as scheduled / work orders scheduled (SMRP 5.4.4), in [0, 1].

    scheduled: order_id, start_at, end_at, one row per order and the day on which it was to be done. Done as scheduled is work that
    began no earlier than the local day on which its place began and ended on the local day on which its place ended, or before.
    """
    _require(work)
    if len(scheduled) < MIN_EVENTS:
        return Measure(None, len(scheduled))
    places = scheduled.reset_index(drop=True).rename_axis("place").reset_index()
    both = places.merge(work[["order_id", "started_at", "ended_at"]], on="order_id", how="inner")
    begun, ended, first, last = (_local_day(both[name], zone) for name in ("started_at", "ended_at", "start_at", "end_at"))
    done = both.loc[(begun >= first) & (ended <= last), "place"].nunique()
    return Measure(float(done / len(places)), len(places))


def _local_day(times: "pd.Series[pd.Timestamp]", zone: str) -> "pd.Series[pd.Timestamp]":
    return pd.to_datetime(times, utc=True).dt.tz_convert(zone).dt.tz_localize(None).dt.normalize()


def _elapsed_h(work: pd.DataFrame) -> "pd.Series[float]":
    return (work["ended_at"] - work["started_at"]).dt.total_seconds() / 3600


def _require(work: pd.DataFrame) -> None:
    missing = [name for name in WORK_COLUMNS if name not in work.columns]
    if missing:
        raise ValueError(f"work lacks the columns {', '.join(missing)}; give {', '.join(WORK_COLUMNS)}")
