"""Stored incidents judged again by the policy of today: what would change, and which rules make it so.

The evidence is the stored one. Where a rule is newer than the evidence, it is left out (`verdicts.judge_stored`); an assessment without any
evidence stays as it is.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date
from typing import Any

import pandas as pd

from expectations.claims import CLAIMS
from expectations.validation import ValidationOutcome
from expectations.verdicts import IDENTITY, Calibrate, calibrated, judge_stored
from ml.plant import VerdictPolicy


@dataclass(frozen=True)
class Verdict:
    """A verdict as it is stored. `rules` is empty in one that was given before rules were kept."""

    confidence_before: float
    confidence_by_rules: float
    confidence: float
    verdict: str
    failed: list[str]
    reasons: list[str]
    rules: list[dict[str, Any]]

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "Verdict":
        return cls(**{field.name: row[field.name] for field in fields(cls)})


@dataclass(frozen=True)
class Change:
    """An assessment that would not be stored as it is."""

    incident_id: str
    day: date
    before: Verdict
    after: Verdict

    @property
    def is_felt(self) -> bool:
        """Verdict or confidence change: health, predictions and work orders rest on them."""
        return (self.before.verdict, self.before.confidence) != (self.after.verdict, self.after.confidence)

    @property
    def is_shown(self) -> bool:
        """Reports show another verdict, or other reasons."""
        return self.is_felt or self.before.reasons != self.after.reasons

    def rules(self) -> list[str]:
        """What differs rule by rule, in words."""
        was, costs = {rule["name"]: rule for rule in self.before.rules}, self.before.failed
        said = []
        for rule in self.after.rules:
            name, old = rule["name"], was.get(rule["name"])
            held = name not in costs if old is None else old["holds"] is not False
            if rule["holds"] is False and held:
                said.append(f"{name} now fails: {rule['reason']}")
            elif rule["holds"] is not False and not held:
                said.append(f"{name} no longer fails")
            elif old is not None and old["adjustment"] != rule["adjustment"]:
                said.append(f"{name} takes {-rule['adjustment']:g} off, not {-old['adjustment']:g}")
        if self.before.confidence_before != self.after.confidence_before:
            said.append(f"confidence begins at {self.after.confidence_before:g}, not {self.before.confidence_before:g}")
        if not said and self.is_felt:
            if self.before.confidence == self.after.confidence:
                said.append("the bands of the verdicts moved")
            elif self.before.confidence_by_rules == self.after.confidence_by_rules:
                said.append("what people found of earlier incidents calibrates it otherwise")
            else:
                said.append("the rules it fails take another amount off")
        return said

    def record(self) -> dict[str, Any]:
        """As the ledger keeps it."""
        return {
            "incident_id": self.incident_id,
            "day": self.day,
            "verdict_before": self.before.verdict,
            "verdict_after": self.after.verdict,
            "confidence_before": self.before.confidence,
            "confidence_after": self.after.confidence,
            "rules": self.rules(),
        }


@dataclass(frozen=True)
class Rejudged:
    """`not_gathered`: rule -> assessments whose evidence is older than it. `without_evidence`: assessments left as they are."""

    n_judged: int
    n_incidents: int
    changes: tuple[Change, ...]
    outcomes: Mapping[date, ValidationOutcome]
    not_gathered: Mapping[str, int]
    without_evidence: int

    @property
    def felt(self) -> tuple[Change, ...]:
        return tuple(c for c in self.changes if c.is_felt)


def rejudge(
    stored: Sequence[Mapping[str, Any]], *, policy: VerdictPolicy, calibrations: Mapping[date, Calibrate] | None = None
) -> Rejudged:
    """`stored` has incident_id, failure_mode, day, evidence (a mapping) and the fields of Verdict, as the ledger gives them.

    `calibrations` of the days' confidence; a day without one is not calibrated.
    """
    columns = {c.column for c in CLAIMS}
    judgeable = [row for row in stored if not columns.isdisjoint(row["evidence"])]
    by_day: dict[date, list[Mapping[str, Any]]] = defaultdict(list)
    for row in judgeable:
        by_day[row["day"]].append(row)
    evidence = {
        day: pd.DataFrame([{**row["evidence"], **{name: row[name] for name in IDENTITY}} for row in rows]) for day, rows in by_day.items()
    }
    judged = judge_stored(evidence, policy=policy)
    given_on = {day: judgement.verdicts for day, judgement in judged.items()}
    for day in given_on.keys() & (calibrations or {}).keys():
        given_on[day] = calibrated(given_on[day], calibrate=(calibrations or {})[day], policy=policy)
    changes, not_gathered = [], dict.fromkeys((c.name for c in CLAIMS), 0)
    for day, rows in by_day.items():
        for row, given in zip(rows, given_on[day].to_dict("records"), strict=True):
            before, after = Verdict.of(row), Verdict.of({str(name): value for name, value in given.items()})
            if before != after:
                changes.append(Change(row["incident_id"], day, before, after))
            for rule in after.rules:
                not_gathered[rule["name"]] += rule["holds"] is None
    return Rejudged(
        n_judged=len(judgeable),
        n_incidents=len({row["incident_id"] for row in judgeable}),
        changes=tuple(changes),
        outcomes={day: judgement.outcome for day, judgement in judged.items()},
        not_gathered={name: n for name, n in not_gathered.items() if n},
        without_evidence=len(stored) - len(judgeable),
    )
