"""The validation agent: evidence about candidate incidents goes in, verdicts with reasons come out.

Rows are incidents, columns are evidence, rules are Great Expectations rules named as in `VerdictPolicy.adjustments`. What a
row fails takes its amount off the confidence; the confidence, calibrated by what people found, decides the verdict. The rules
stand in `expectations.claims`.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from expectations.claims import CLAIMS, GRADES, Claim
from expectations.rules import complete
from expectations.validation import Finding, Suite, ValidationOutcome, evaluate, outcome_of, rules_of, validate_table
from ml.plant import VerdictPolicy

IDENTITY = ("incident_id", "failure_mode")
VERDICT_COLUMNS = ("incident_id", "confidence_before", "confidence_by_rules", "confidence", "verdict", "failed", "reasons", "rules")
NOT_GATHERED = "not judged: the day was processed before this evidence was gathered"
_DECIMALS = 6  # 0.9 - 0.2 - 0.3 must not miss a band by 1e-17

Key = TypeVar("Key", bound=Hashable)
Calibrate = Callable[[float], float]  # the confidence that the rules gave -> what people's findings make of it


@dataclass(frozen=True)
class Judgement:
    """Verdicts in the order of the evidence (VERDICT_COLUMNS), and the suite's outcome, both of one evaluation."""

    verdicts: pd.DataFrame
    outcome: ValidationOutcome


def incidents_suite(policy: VerdictPolicy, *, without: Collection[str] = ()) -> Suite:
    """Rows are candidate incidents. Each rule is a warning: failing one lowers an incident's confidence, it does not stop the day.

    `without`: columns that the evidence lacks, whose rules are left out.
    """
    made = [c for c in CLAIMS if c.column not in without]
    known = complete(tuple(c.column for c in made))
    rules = tuple(c.rule(policy) for c in made)
    return Suite("incidents", "evidence about candidate incidents", "incidents", (known, *rules), ("incident_id",), min_rows=0)


def judge_incidents(evidence: pd.DataFrame, *, policy: VerdictPolicy) -> Judgement:
    """Verdicts on one day's incidents. No incidents: no verdicts, and the suite holds. Raises ValueError for a missing column.

    `failed` are the rules' names and `reasons` their words, pairwise; `rules` says of every rule its claim, the value, whether it
    holds, what it added to the confidence, and why it fails. A missing value fails its rule: what is not known does not count as good.
    """
    missing = [c for c in (*IDENTITY, *(c.column for c in CLAIMS)) if c not in evidence.columns]
    if missing:
        raise ValueError(f"the evidence lacks the columns {', '.join(missing)}; build it with ml.evidence.build_evidence")
    return judge_stored({"": evidence}, policy=policy)[""]


def judge_stored(evidence: Mapping[Key, pd.DataFrame], *, policy: VerdictPolicy) -> dict[Key, Judgement]:
    """Verdicts on the evidence of several days, each day as by itself, in one evaluation (one takes 0.1 s, however many rows).

    Evidence may lack columns that rules newer than it want. Such a rule is left out for that day: it is neither held nor failed
    (`holds` is null), and costs nothing. Raises ValueError for an incident twice in a day.
    """
    alike: dict[frozenset[str], list[Key]] = defaultdict(list)
    for key, frame in evidence.items():
        alike[frozenset(c.column for c in CLAIMS if c.column not in frame.columns)].append(key)
    judged: dict[Key, Judgement] = {}
    for without, keys in alike.items():
        judged |= _judge_alike({key: evidence[key].reset_index(drop=True) for key in keys}, policy=policy, without=without)
    return {key: judged[key] for key in evidence}


def calibrated(verdicts: pd.DataFrame, *, calibrate: Calibrate, policy: VerdictPolicy) -> pd.DataFrame:
    """The verdicts with the confidence that the rules gave corrected by what people found, and the verdict that follows from it."""
    confidences = [calibrate(c) for c in verdicts["confidence_by_rules"]]
    return verdicts.assign(
        confidence=np.array(confidences, dtype=np.float64),
        verdict=pd.Series([verdict_of(c, policy=policy) for c in confidences], index=verdicts.index, dtype="str"),
    )


def verdict_of(confidence: float, *, policy: VerdictPolicy) -> str:
    if confidence >= policy.credible_from:
        return "credible"
    return "investigate" if confidence >= policy.investigate_from else "false_positive_suspected"


def _judge_alike(evidence: Mapping[Key, pd.DataFrame], *, policy: VerdictPolicy, without: Collection[str]) -> dict[Key, Judgement]:
    """The days' evidence has the same columns, and a fresh index each."""
    suite = incidents_suite(policy, without=without)
    made = [c for c in CLAIMS if c.column not in without]
    comparable = {key: _comparable(frame, made=made, policy=policy) for key, frame in evidence.items() if len(frame)}
    findings = evaluate(pd.concat(comparable.values(), ignore_index=True), rules=rules_of(suite)) if comparable else {}
    judged, first = {}, 0
    for key, frame in evidence.items():
        if frame.empty:
            judged[key] = Judgement(_verdicts([], policy=policy), validate_table(frame, suite=suite))
            continue
        of_day = {name: _part(finding, first=first, n=len(frame)) for name, finding in findings.items()}
        first += len(frame)
        applied = _applied(frame, comparable[key], findings=of_day, policy=policy, without=without)
        rows = list(zip(frame["incident_id"], applied, strict=True))
        judged[key] = Judgement(_verdicts(rows, policy=policy), outcome_of(frame, suite=suite, findings=of_day))
    return judged


def _comparable(frame: pd.DataFrame, *, made: Collection[Claim], policy: VerdictPolicy) -> pd.DataFrame:
    """Evidence as numbers and grades, passing where the claim is moot. What is neither becomes missing: it costs its own row only."""
    twice = frame["incident_id"].duplicated()
    if twice.any():
        raise ValueError(f"incident {frame.loc[twice, 'incident_id'].iloc[0]} is judged twice; give one row of evidence per incident")
    columns: dict[str, Any] = {}
    for claim in made:
        column = frame[claim.column]
        if claim.column == "worst_grade":
            known = column.where(column.isin(GRADES)).astype("object")
        else:
            as_number = column.map(lambda v: float(v) if isinstance(v, (bool, np.bool_)) else v)
            known = pd.to_numeric(as_number, errors="coerce").astype("float64")
        if claim.moot_for is not None:
            known = known.mask(frame["failure_mode"] == claim.moot_for, claim.passing(policy))
        columns[claim.column] = known
    return pd.DataFrame(columns)


def _part(finding: Finding, *, first: int, n: int) -> Finding:
    """What was found about `n` of the rows. A finding that is not about single rows is about them all."""
    if finding.success or finding.rows is None:
        return finding
    rows = finding.rows[(finding.rows >= first) & (finding.rows < first + n)] - first
    return replace(finding, success=not len(rows), rows=rows)


def _applied(
    frame: pd.DataFrame, comparable: pd.DataFrame, *, findings: Mapping[str, Finding], policy: VerdictPolicy, without: Collection[str]
) -> list[list[dict[str, Any]]]:
    """Of each row the rules as they were applied, in the order of CLAIMS."""
    applied: list[list[dict[str, Any]]] = [[] for _ in range(len(frame))]
    for claim in CLAIMS:
        said = {"name": claim.name, "claim": claim.words(policy)}
        if claim.column in without:
            for rules in applied:
                rules.append({**said, "value": None, "holds": None, "adjustment": 0.0, "reason": NOT_GATHERED})
            continue
        unknown = comparable[claim.column].isna().to_numpy()
        fails, finding = unknown.copy(), findings[claim.name]
        if not finding.success:
            fails[slice(None) if finding.rows is None else finding.rows] = True
        for i, row in enumerate(frame.to_dict("records")):
            reason = None
            if unknown[i]:
                reason = f"{claim.known_as} is not known"
            elif fails[i]:
                reason = claim.reason({str(name): said for name, said in row.items()}, policy)
            cost = policy.adjustments[claim.name] if fails[i] else 0.0
            value = None if unknown[i] or pd.isna(row[claim.column]) else _plain(row[claim.column])
            applied[i].append({**said, "value": value, "holds": not fails[i], "adjustment": cost, "reason": reason})
    return applied


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _verdicts(rows: list[tuple[str, list[dict[str, Any]]]], *, policy: VerdictPolicy) -> pd.DataFrame:
    failed = [[rule for rule in rules if rule["holds"] is False] for _, rules in rows]
    confidences = [_confidence(sum(rule["adjustment"] for rule in of_row), policy=policy) for of_row in failed]
    return pd.DataFrame(
        {
            "incident_id": pd.Series([incident_id for incident_id, _ in rows], dtype="str"),
            "confidence_before": np.full(len(rows), policy.base_confidence, dtype=np.float64),
            "confidence_by_rules": np.array(confidences, dtype=np.float64),
            "confidence": np.array(confidences, dtype=np.float64),
            "verdict": pd.Series([verdict_of(c, policy=policy) for c in confidences], dtype="str"),
            "failed": pd.Series([[rule["name"] for rule in of_row] for of_row in failed], dtype="object"),
            "reasons": pd.Series([[rule["reason"] for rule in of_row] for of_row in failed], dtype="object"),
            "rules": pd.Series([rules for _, rules in rows], dtype="object"),
        },
        columns=list(VERDICT_COLUMNS),
    )


def _confidence(adjustment: float, *, policy: VerdictPolicy) -> float:
    return round(min(1.0, max(0.0, policy.base_confidence + adjustment)), _DECIMALS)
