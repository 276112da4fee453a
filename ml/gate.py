"""Whether a newly trained detector may take the champion's place: both score the same days, and what they find is compared.

What is true nobody knows for certain. Taken for real are incidents that people confirmed, and those that were judged
credible and that nobody has labelled; they were found by whichever detector was champion at the time.

    found         of the real incidents in the days to learn from, how many an alarm of the detector overlaps; and of the faults
                  replayed into the days of the comparison (ml.fault_replay), the same ones for both; where the champion has
                  alarms at all of them, the challenger must find some
    false alarms  per machine-month scored, on the days of the comparison, away from real incidents and maintenance by
                  more than a day: a better detector sees a fault earlier. An alarm counts again for each day it goes on,
                  so that one that never ends is no bargain
    machines      how many have a model
    scoring time  of the challenger over the champion's, on the same table

The challenger must find no fewer, cover no fewer, score in at most 1.5 times the time, and raise at most one alarm more than the
champion in the time observed: a count of rare events scatters by about its root, so one more is no evidence against it.
"""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from ml.detectors.pace import machine_days
from ml.fault_replay import KindFound
from ml.incidents import alarms
from ml.plant import Site

GRACE = pd.Timedelta(days=1)
_ROUNDING = 1e-9
MAX_TIME_RATIO = 1.5
_FIGURES = (
    "machines", "incidents_known", "incidents_found", "false_alarms", "machine_months", "false_alarms_per_machine_month",
    "faults_replayed", "faults_found",
)  # fmt: skip


@dataclass(frozen=True)
class Performance:
    """What one detector does on the days of the comparison, and with the incidents known."""

    machines: int
    incidents_known: int
    incidents_found: int
    false_alarms: int
    machine_months: float
    kinds: tuple[KindFound, ...] = ()

    @property
    def faults_replayed(self) -> int:
        return sum(k.replayed for k in self.kinds)

    @property
    def faults_found(self) -> int:
        return sum(k.found for k in self.kinds)

    @property
    def false_alarms_per_machine_month(self) -> float | None:
        """None where nothing was scored."""
        return self.false_alarms / self.machine_months if self.machine_months > 0 else None


def is_real(incidents: pd.DataFrame) -> "pd.Series[bool]":
    """Which incidents (verdict, label) a detector ought to find."""
    return (incidents["label"] == "confirmed") | (incidents["label"].isna() & (incidents["verdict"] == "credible"))


def performance(
    scores: pd.DataFrame,
    *,
    site: Site,
    machines: int,
    real: pd.DataFrame,
    maintenance: pd.DataFrame,
    observed_from: pd.Timestamp,
    kinds: tuple[KindFound, ...] = (),
) -> Performance:
    """Of a detector with models of so many machines, by its scores of all days to learn from, nothing cut out.

    real: machine_id, onset_at, last_window_at of the incidents to find; maintenance: machine_id, started_at, ended_at.
    False alarms are counted from `observed_from` on.
    """
    raised = alarms(scores, site=site)
    n_found = sum(
        bool(
            (
                (raised["machine_id"] == incident["machine_id"])
                & (raised["onset_at"] <= incident["last_window_at"])
                & (raised["last_window_at"] >= incident["onset_at"])
            ).any()
        )
        for incident in real.to_dict("records")
    )
    observed = scores[scores["window_start"] >= observed_from]
    for machine_id, start, end in (*_spans(real, "onset_at", "last_window_at"), *_spans(maintenance, "started_at", "ended_at")):
        is_explained = (observed["machine_id"] == machine_id) & observed["window_start"].between(start - GRACE, end + GRACE)
        observed = observed[~is_explained]
    false = alarms(observed, site=site)
    lasted = false["last_window_at"] - false["onset_at"]
    return Performance(
        machines=machines,
        incidents_known=len(real),
        incidents_found=n_found,
        false_alarms=int((lasted.dt.days + 1).sum()),
        machine_months=machine_days(observed, site=site) / 30,
        kinds=kinds,
    )


def _spans(frame: pd.DataFrame, start: str, end: str) -> list[tuple[str, pd.Timestamp, pd.Timestamp]]:
    return [(row["machine_id"], row[start], row[end]) for row in frame.to_dict("records")]


def objections(challenger: Performance, champion: Performance, *, time_ratio: float = 1.0) -> tuple[str, ...]:
    """Why the challenger may not take the champion's place; nothing, if it may. `time_ratio`: its scoring time over the champion's."""
    found = []
    if challenger.machines < champion.machines:
        found.append(f"it covers {challenger.machines} machines, the champion {champion.machines}")
    if challenger.incidents_found < champion.incidents_found:
        known = f"{challenger.incidents_found} of {challenger.incidents_known} known incidents"
        found.append(f"it finds {known}, the champion {champion.incidents_found}")
    if challenger.faults_found < champion.faults_found:
        replayed = f"{challenger.faults_found} of {challenger.faults_replayed} replayed faults"
        found.append(f"it finds {replayed}, the champion {champion.faults_found}")
    if challenger.faults_replayed and not challenger.faults_found and not champion.faults_replayed:
        found.append(f"it finds none of {challenger.faults_replayed} replayed faults, where the champion has alarms already")
    if time_ratio > MAX_TIME_RATIO:
        found.append(f"it scores in {time_ratio:.2f} times the champion's time, {MAX_TIME_RATIO} are allowed")
    rate, allowed = challenger.false_alarms_per_machine_month, _allowed(challenger, champion)
    if rate is None or allowed is None:
        found.append("nothing could be scored on the days of the comparison")
    elif rate > allowed + _ROUNDING:
        found.append(f"it raises {rate:.2f} false alarms per machine-month, {allowed:.2f} are allowed")
    return tuple(found)


def _allowed(challenger: Performance, champion: Performance) -> float | None:
    standing = champion.false_alarms_per_machine_month
    if standing is None or challenger.machine_months <= 0:
        return None
    return standing + 1 / challenger.machine_months


def figures(challenger: Performance, champion: Performance | None) -> dict[str, Any]:
    """What was compared, for JSON: `challenger_false_alarms`, `champion_machines`, `challenger_found_step`, ..."""
    named = {"challenger": challenger, "champion": champion} if champion else {"challenger": challenger}
    said: dict[str, Any] = {f"{who}_{name}": getattr(p, name) for who, p in named.items() for name in _FIGURES}
    said |= {f"{who}_found_{k.kind}": k.found for who, p in named.items() for k in p.kinds}
    return said | ({"false_alarms_per_machine_month_allowed": _allowed(challenger, champion)} if champion else {})


def as_markdown(
    challenger: Performance, champion: Performance | None, *, names: tuple[str, str], days: str, time_ratio: float | None = None
) -> str:
    """The comparison as a table; `names` head its columns."""
    compared = [challenger] if champion is None else [challenger, champion]
    rows = [
        ("false alarms per machine-month", [_number(p.false_alarms_per_machine_month) for p in compared]),
        ("false alarms", [str(p.false_alarms) for p in compared]),
        ("machine-months scored", [_number(p.machine_months) for p in compared]),
        ("known incidents found", [f"{p.incidents_found} of {p.incidents_known}" for p in compared]),
        ("replayed faults found", [f"{p.faults_found} of {p.faults_replayed}" for p in compared]),
        *_kind_rows(compared),
        ("machines covered", [str(p.machines) for p in compared]),
    ]
    if time_ratio is not None:
        rows.append(("scoring time, of the champion's", [f"{time_ratio:.2f}", "1"]))
    lines = [["", *names[: len(compared)]], ["---"] * (len(compared) + 1), *([name, *cells] for name, cells in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + f"\n\nFalse alarms are those of {days}."


def _kind_rows(compared: list[Performance]) -> list[tuple[str, list[str]]]:
    """One row per kind of fault: how many were found, and how long before the limit, or else how long after the onset."""
    kinds = [k.kind for k in compared[0].kinds]
    return [
        (f"- {kind.replace('_', ' ')}", [_told(next((k for k in p.kinds if k.kind == kind), None)) for p in compared]) for kind in kinds
    ]


def _told(kind: KindFound | None) -> str:
    if kind is None:
        return "not replayed"
    told = f"{kind.found} of {kind.replayed}"
    if kind.lead_time_h is not None:
        return f"{told}, {kind.lead_time_h:.1f} h before the limit"
    return told if kind.delay_h is None else f"{told}, {kind.delay_h:.1f} h after the onset"


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.2f}"
