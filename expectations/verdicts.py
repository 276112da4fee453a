"""The validation agent: evidence about candidate incidents goes in, verdicts with reasons come out.

Rows are incidents, columns are evidence, rules are Great Expectations rules named as in `VerdictPolicy.adjustments`. What a
row fails takes its amount off the confidence; the confidence decides the verdict.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from expectations.contracts import MEMBERS
from expectations.suites import between, complete, one_of
from expectations.validation import Finding, Rule, Suite, ValidationOutcome, evaluate, outcome_of, rules_of, validate_table
from ml.plant import VerdictPolicy

GRADES = ("A", "B", "C", "F")
MIN_RUNNING_SHARE = 0.5
VERDICT_COLUMNS = ("incident_id", "confidence_before", "confidence", "verdict", "failed", "reasons", "rules")
_DECIMALS = 6  # 0.9 - 0.2 - 0.3 must not miss a band by 1e-17


@dataclass(frozen=True)
class Claim:
    """One rule on the evidence: its name in the policy, its column, the claim, and how a failing value is told to a technician."""

    name: str
    column: str
    known_as: str
    rule: Rule
    reason: Callable[[Any], str]


def claims(policy: VerdictPolicy) -> tuple[Claim, ...]:
    site_limit = _percent(policy.max_site_share)
    allowed = GRADES[: GRADES.index(policy.worst_grade_allowed) + 1]
    p = policy

    def least(name: str, column: str, low: float, *, known_as: str, reason: Callable[[Any], str]) -> Claim:
        return Claim(name, column, known_as, between(column, low, None, name=name), reason)

    def most(name: str, column: str, high: float, *, known_as: str, reason: Callable[[Any], str]) -> Claim:
        return Claim(name, column, known_as, between(column, None, high, name=name), reason)

    return (
        least("members_agree", "n_members_agreeing", p.min_members_agreeing, known_as="how many detectors saw it",
              reason=lambda v: f"only {v:.0f} of {len(MEMBERS)} detectors saw it ({p.min_members_agreeing} wanted)"),
        least("peak_is_high", "peak_score", p.min_peak_score, known_as="its peak score",
              reason=lambda v: f"its peak score was only {v:.3g} ({p.min_peak_score:.3g} wanted)"),
        least("lasts_long_enough", "duration_windows", p.min_duration_windows, known_as="how long it lasted",
              reason=lambda v: f"it lasted only {_count(v, 'window')} ({p.min_duration_windows} wanted)"),
        Claim("sensors_are_trustworthy", "worst_grade", "the grade of its sensors",
              one_of("worst_grade", allowed, name="sensors_are_trustworthy"),
              lambda v: f"a sensor it rests on has grade {v} ({' or '.join(allowed)} wanted)"),
        least("sensors_moved", "n_sensors_moved", p.min_sensors_moved, known_as="how many sensors moved",
              reason=lambda v: f"only {_count(v, 'sensor')} moved ({p.min_sensors_moved} wanted)"),
        least("machine_was_running", "running_share", MIN_RUNNING_SHARE, known_as="whether the machine was running",
              reason=lambda v: f"the machine ran only {_percent(v)} of the time ({_percent(MIN_RUNNING_SHARE)} wanted)"),
        Claim("machine_was_not_in_maintenance", "in_maintenance", "whether the machine was in maintenance",
              one_of("in_maintenance", (0,), name="machine_was_not_in_maintenance"),
              lambda _: "the machine was in maintenance at the time"),
        most("machine_rarely_cries_wolf", "false_alarms_30d", p.max_false_alarms_30d, known_as="how many false alarms the machine had",
             reason=lambda v: f"the machine had {_count(v, 'false alarm')} in 30 days (at most {p.max_false_alarms_30d} allowed)"),
        most("site_did_not_move_at_once", "site_share", p.max_site_share, known_as="how much of the site was anomalous",
             reason=lambda v: f"{_percent(v)} of the site's machines were anomalous at once (at most {site_limit} allowed)"),
    )  # fmt: skip


def incidents_suite(policy: VerdictPolicy) -> Suite:
    """Rows are candidate incidents. Each rule is a warning: failing one lowers an incident's confidence, it does not stop the day."""
    made = claims(policy)
    rules = tuple(Rule(c.name, c.rule.description, "warning", c.rule.build, (c.column,)) for c in made)
    known = complete(tuple(c.column for c in made))
    return Suite("incidents", "evidence about candidate incidents", "incidents", (known, *rules), ("incident_id",), min_rows=0)


@dataclass(frozen=True)
class Judgement:
    """Verdicts in the order of the evidence (VERDICT_COLUMNS), and the suite's outcome, both of one evaluation."""

    verdicts: pd.DataFrame
    outcome: ValidationOutcome


def judge_incidents(evidence: pd.DataFrame, *, policy: VerdictPolicy) -> Judgement:
    """`failed` are the rules' names and `reasons` their words, pairwise. No incidents: no verdicts, and the suite holds.

    A missing evidence value fails its rule. A failed rule without an adjustment is named and costs nothing.
    """
    made, suite = claims(policy), incidents_suite(policy)
    _check_adjustments(policy, known=[c.name for c in made])
    missing = [c for c in ("incident_id", *(c.column for c in made)) if c not in evidence.columns]
    if missing:
        raise ValueError(f"the evidence lacks the columns {', '.join(missing)}; build it with ml.evidence.build_evidence")
    if evidence.empty:
        return Judgement(_verdicts([], policy=policy), validate_table(evidence, suite=suite))
    frame = _comparable(evidence, made=made)
    if frame["incident_id"].duplicated().any():
        twice = frame.loc[frame["incident_id"].duplicated(), "incident_id"].iloc[0]
        raise ValueError(f"incident {twice} is judged twice; give one row of evidence per incident")
    findings = evaluate(frame, rules=rules_of(suite))
    failing = {c.name: _failing_rows(frame, claim=c, finding=findings[c.name]) for c in made}
    rows = []
    for i, incident_id in enumerate(frame["incident_id"]):
        failed = [c for c in made if failing[c.name][i]]
        rows.append((incident_id, [c.name for c in failed], [_reason(c, value=frame[c.column].iloc[i]) for c in failed]))
    outcome = outcome_of(evidence.reset_index(drop=True), suite=suite, findings=findings)
    return Judgement(_verdicts(rows, policy=policy), outcome)


def _check_adjustments(policy: VerdictPolicy, *, known: list[str]) -> None:
    unknown = sorted(set(policy.adjustments) - set(known))
    if unknown:
        raise ValueError(f"policy.verdict.adjustments: unknown expectation {', '.join(unknown)}; known: {', '.join(known)}")
    odd = sorted(k for k, v in policy.adjustments.items() if not math.isfinite(v))
    if odd:
        raise ValueError(f"policy.verdict.adjustments: {', '.join(odd)} must be a finite number")


def _comparable(evidence: pd.DataFrame, *, made: tuple[Claim, ...]) -> pd.DataFrame:
    """Evidence as numbers and grades. What is neither becomes missing: it costs its own row, not the whole table."""
    frame = evidence.reset_index(drop=True)
    for claim in made:
        column = frame[claim.column]
        if claim.column == "worst_grade":
            frame[claim.column] = column.where(column.isin(GRADES)).astype("object")
        else:
            as_number = column.map(lambda v: float(v) if isinstance(v, (bool, np.bool_)) else v)
            frame[claim.column] = pd.to_numeric(as_number, errors="coerce").astype("float64")
    return frame


def _failing_rows(frame: pd.DataFrame, *, claim: Claim, finding: Finding) -> np.ndarray:
    fails: np.ndarray = frame[claim.column].isna().to_numpy().copy()
    if not finding.success:
        fails[slice(None) if finding.rows is None else finding.rows] = True
    return fails


def _reason(claim: Claim, *, value: Any) -> str:
    return f"{claim.known_as} is not known" if pd.isna(value) else claim.reason(value)


def _verdicts(rows: list[tuple[str, list[str], list[str]]], *, policy: VerdictPolicy) -> pd.DataFrame:
    confidences = [_confidence(failed, policy=policy) for _, failed, _ in rows]
    return pd.DataFrame(
        {
            "incident_id": pd.Series([r[0] for r in rows], dtype="str"),
            "confidence_before": np.full(len(rows), policy.base_confidence, dtype=np.float64),
            "confidence": np.array(confidences, dtype=np.float64),
            "verdict": pd.Series([_verdict(c, policy=policy) for c in confidences], dtype="str"),
            "failed": pd.Series([r[1] for r in rows], dtype="object"),
            "reasons": pd.Series([r[2] for r in rows], dtype="object"),
            "rules": pd.Series([[] for _ in rows], dtype="object"),
        },
        columns=list(VERDICT_COLUMNS),
    )


def _confidence(failed: list[str], *, policy: VerdictPolicy) -> float:
    total = policy.base_confidence + sum(policy.adjustments.get(name, 0.0) for name in failed)
    return round(min(1.0, max(0.0, total)), _DECIMALS)


def _verdict(confidence: float, *, policy: VerdictPolicy) -> str:
    if confidence >= policy.credible_from:
        return "credible"
    return "investigate" if confidence >= policy.investigate_from else "false_positive_suspected"


def _count(value: float, noun: str) -> str:
    return f"{value:.0f} {noun}{'' if value == 1 else 's'}"


def _percent(share: float) -> str:
    return f"{share:.0%}"
