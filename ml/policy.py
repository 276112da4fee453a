"""What to do about incidents and predictions: risk, priority, proposals, who decides, and the states of a work order."""

import math
from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

import pandas as pd

from ml.plant import FAILURE_MODE_NAMES, ApprovalPolicy, Criticality, Machine, RepairPlan, Site

State = Literal["proposed", "awaiting_decision", "approved", "scheduled", "in_progress", "completed", "rejected", "deferred", "cancelled"]
Priority = Literal["urgent", "high", "medium", "low"]
STATES: tuple[State, ...] = get_args(State)
PRIORITIES: tuple[Priority, ...] = get_args(Priority)

# scheduled -> approved: the plan no longer has room for it. scheduled -> completed: often the first that is heard of
# a work order is that it is done. in_progress -> approved: interrupted, to be planned again.
MOVES: dict[State, frozenset[State]] = {
    "proposed": frozenset({"awaiting_decision", "approved", "cancelled"}),
    "awaiting_decision": frozenset({"approved", "rejected", "deferred", "cancelled"}),
    "approved": frozenset({"scheduled", "in_progress", "deferred", "cancelled"}),
    "scheduled": frozenset({"approved", "in_progress", "completed", "deferred", "cancelled"}),
    "in_progress": frozenset({"approved", "completed", "cancelled"}),
    "deferred": frozenset({"awaiting_decision", "approved", "rejected", "cancelled"}),
    "completed": frozenset(),
    "rejected": frozenset(),
    "cancelled": frozenset(),
}
TERMINAL_STATES: frozenset[State] = frozenset(state for state, onward in MOVES.items() if not onward)
OPEN_STATES: frozenset[State] = frozenset(MOVES) - TERMINAL_STATES
SCHEDULABLE: frozenset[State] = frozenset({"approved", "scheduled"})
IN_PLANS: frozenset[State] = SCHEDULABLE | {"in_progress"}  # work under way keeps its place until it is done
MODIFIABLE: frozenset[State] = OPEN_STATES - {"in_progress"}
UNDECIDED: frozenset[State] = frozenset({"proposed", "awaiting_decision"})  # the work may still change

# A critical machine stops others too: its downtime costs more than its own rate says.
CRITICALITY_FACTOR: dict[Criticality, float] = {"low": 0.5, "medium": 1.0, "high": 1.5, "critical": 2.0}
DUE_DAYS: dict[Priority, int] = {"urgent": 2, "high": 7, "medium": 14, "low": 30}
HIGH_RISK_DOWNTIME_H = 8.0
MEDIUM_RISK_DOWNTIME_H = 2.0


class IllegalMove(ValueError):  # a refusal, named as one
    """A work order cannot go from one state to the other."""


@dataclass(frozen=True)
class OrderProposal:
    """Work worth doing on one machine against one failure mode. Probabilities are None where nothing was predicted.

    due_at: the work should have ended by then.
    """

    machine_id: str
    failure_mode: str
    priority: Priority
    risk_cost: float
    probability_7d: float | None
    probability_30d: float | None
    confidence: float
    is_urgent: bool
    due_at: pd.Timestamp
    title: str
    actions: tuple[str, ...]
    reason: str
    incident_ids: tuple[str, ...]
    crew: tuple[tuple[str, ...], ...]
    duration_h: float
    parts: tuple[str, ...]


@dataclass(frozen=True)
class ClosedOrder:
    """An order that people closed, on the matter that a proposal is about; its probability is the one it was closed with."""

    order_id: str
    failure_mode: str
    state: str
    probability_30d: float | None


def check_move(old: str, new: str) -> None:
    """Raises IllegalMove, naming the allowed moves, unless a work order may go from `old` to `new`."""
    if old not in MOVES:
        raise IllegalMove(f"{old!r} is no state of a work order; the states are {', '.join(STATES)}")
    allowed = MOVES[old]
    if new not in allowed:
        onward = f"allowed from here: {', '.join(s for s in STATES if s in allowed)}" if allowed else "it is closed for good"
        raise IllegalMove(f"a work order that is {old} cannot become {new}; {onward}")


def check_modifiable(state: str) -> None:
    """Raises IllegalMove unless the work of an order in this state may still be changed."""
    if state not in MODIFIABLE:
        allowed = ", ".join(s for s in STATES if s in MODIFIABLE)
        raise IllegalMove(f"a work order that is {state} cannot be modified; only one that is {allowed}")


def demand_known_skills(skills: Collection[str], *, site: Site) -> None:
    """Raises ValueError for a skill that no technician of the site has: nobody could ever be given the work."""
    known = sorted({skill for technician in site.technicians for skill in technician.skills})
    unknown = sorted(set(skills) - set(known))
    if unknown:
        raise ValueError(f"nobody at {site.site} has the skill {', '.join(unknown)}; the skills there are {', '.join(known)}.")


def risk(probability_30d: float, *, machine: Machine, repair: RepairPlan) -> float:
    """Expected cost of doing nothing for 30 days, in the site's currency.

    probability x criticality factor x expected outage in hours x cost of downtime per hour. The repair itself is left
    out: it has to be paid in either case.
    """
    return probability_30d * CRITICALITY_FACTOR[machine.criticality] * repair.unplanned_downtime_h * machine.downtime_cost_per_hour


def probability_within(days: float, *, probability_7d: float, probability_30d: float) -> float:
    """Probability of failure within `days`, with a constant hazard up to day 7 and another one up to day 30, none after."""
    survive_7, survive_30 = 1 - probability_7d, 1 - max(probability_30d, probability_7d)
    if days <= 7:
        return 1.0 - math.pow(survive_7, max(days, 0) / 7)
    if survive_7 == 0:
        return 1.0
    return 1.0 - survive_7 * math.pow(survive_30 / survive_7, (min(days, 30) - 7) / 23)


def is_urgent(probability_7d: float, probability_30d: float, *, policy: ApprovalPolicy) -> bool:
    soon = probability_within(policy.urgent_within_days, probability_7d=probability_7d, probability_30d=probability_30d)
    return soon >= policy.auto_approve_probability


def priority_of(
    *, probability_7d: float, probability_30d: float, ttf_p10_days: float | None, risk_cost: float, is_credible: bool, site: Site
) -> Priority:
    """The first that holds.

    urgent: fails within urgent_within_days with at least auto_approve_probability;
    high: p10 within urgent_within_days, or at least that probability within 30 days, or a risk of 8 hours of downtime of the
    site's average machine; medium: at least propose_probability within 30 days, a risk of 2 such hours, or a credible incident; else low.
    """
    policy = site.policy.approval
    downtime_h = risk_cost / (sum(m.downtime_cost_per_hour for m in site.machines) / len(site.machines) or math.inf)
    if is_urgent(probability_7d, probability_30d, policy=policy):
        return "urgent"
    is_near = ttf_p10_days is not None and ttf_p10_days <= policy.urgent_within_days
    if is_near or probability_30d >= policy.auto_approve_probability or downtime_h >= HIGH_RISK_DOWNTIME_H:
        return "high"
    if probability_30d >= policy.propose_probability or downtime_h >= MEDIUM_RISK_DOWNTIME_H or is_credible:
        return "medium"
    return "low"


def due_by(*, as_of: pd.Timestamp, priority: Priority, ttf_p10_days: float | None, duration_h: float, site: Site) -> pd.Timestamp:
    """The predicted failure's p10; without one, 2, 7, 14 or 30 days by priority.

    Never sooner than a call-out could be done (response time plus work): an earlier deadline could only be missed.
    """
    days = ttf_p10_days if ttf_p10_days is not None else DUE_DAYS[priority]
    soonest_h = site.policy.planning.overtime_response_h + duration_h
    due = as_of + pd.Timedelta(hours=max(24 * days, soonest_h))
    return due.floor("min") if 24 * days > soonest_h else due.ceil("min")


def propose(incidents: pd.DataFrame, predictions: pd.DataFrame, *, site: Site, as_of: pd.Timestamp) -> list[OrderProposal]:
    """Orders worth making, one per machine and failure mode, the highest risk first; several incidents join one order.

    incidents: incident_id, machine_id, failure_mode, verdict, confidence, peak_score, onset_at; predictions: columns of
    ml.prognosis.PREDICTION_COLUMNS, the newest row per machine and failure mode last.
    An incident counts if it is credible with at least propose_confidence, or is credible or to be investigated and the
    predicted 30-day probability reaches propose_probability. A prediction without any incident counts by that probability
    alone, with confidence 0, so that a human decides. A machine and failure mode whose incidents are all false_positive_suspected
    never make an order, nor does a machine that is no longer in the plant file.
    """
    policy = site.policy.approval
    _require(
        incidents, names=("incident_id", "machine_id", "failure_mode", "verdict", "confidence", "peak_score", "onset_at"), table="incidents"
    )
    _require(predictions, names=("machine_id", "failure_mode", "probability_7d", "probability_30d", "ttf_p10_days"), table="predictions")
    predicted: dict[tuple[str, str], Mapping[Hashable, object]] = {}
    for row in predictions.to_dict("records"):
        predicted[str(row["machine_id"]), str(row["failure_mode"])] = row
    groups = {(str(m), str(f)): group for (m, f), group in incidents.groupby(["machine_id", "failure_mode"], sort=True)}
    proposals = []
    known_machines = {m.machine_id for m in site.machines}
    for key in sorted(k for k in set(groups) | set(predicted) if k[0] in known_machines):
        group = groups.get(key, incidents.iloc[:0])
        is_likely = (_number(predicted.get(key, {}), "probability_30d") or 0.0) >= policy.propose_probability
        credible = (group["verdict"] == "credible") & (group["confidence"] >= policy.propose_confidence)
        counted = group[credible | (group["verdict"].isin(["credible", "investigate"]) & is_likely)]
        if len(counted) or (is_likely and group.empty):
            proposals.append(
                _proposal(key, counted=counted, is_credible=bool(credible.any()), prediction=predicted.get(key, {}), site=site, as_of=as_of)
            )
    return sorted(proposals, key=lambda p: (PRIORITIES.index(p.priority), -p.risk_cost, p.machine_id, p.failure_mode))


def initial_state(proposal: OrderProposal, policy: ApprovalPolicy) -> tuple[State, str]:
    """`approved` if both urgent and confident, else `awaiting_decision`; with the reason, for the audit log."""
    is_confident = proposal.confidence >= policy.auto_approve_confidence
    soon = "reaches" if proposal.is_urgent else "is below"
    sure = "reaches" if is_confident else "is below"
    why = (
        f"failure within {policy.urgent_within_days} days {soon} {policy.auto_approve_probability:.0%}, "
        f"confidence {proposal.confidence:.0%} {sure} {policy.auto_approve_confidence:.0%}"
    )
    if proposal.is_urgent and is_confident:
        return "approved", f"approved by policy: {why}"
    return "awaiting_decision", f"needs a decision: {why}"


def why_again(proposal: OrderProposal, *, closed: ClosedOrder, new_incidents: Collection[str], policy: ApprovalPolicy) -> str | None:
    """Why there shall be a new order after people closed one on the same matter; None where nothing new is there.

    New are: an incident that no order has yet; a 30-day probability higher by reopen_probability_rise than the closed order's; and,
    after completed work, another failure mode than the one that was put right. A rejection judged the incident, whatever its mode.
    """
    before, now = closed.probability_30d or 0.0, proposal.probability_30d or 0.0
    news = []
    if new_incidents:
        news.append("1 new incident" if len(new_incidents) == 1 else f"{len(new_incidents)} new incidents")
    if now - before >= policy.reopen_probability_rise - 1e-9:
        news.append(f"probability {before:.0%} -> {now:.0%}")
    if closed.state == "completed" and closed.failure_mode != proposal.failure_mode:
        news.append(f"failure mode {closed.failure_mode} became {proposal.failure_mode}")
    return f"again after {closed.order_id} was {closed.state}: {', '.join(news)}" if news else None


def follow_up(awaiting_since: datetime, now: datetime, *, policy: ApprovalPolicy) -> Literal["remind", "escalate"] | None:
    """What an unanswered order calls for; whether that was done already is for the caller to know."""
    waited_h = (now - awaiting_since).total_seconds() / 3600
    if waited_h >= policy.escalate_after_h:
        return "escalate"
    return "remind" if waited_h >= policy.remind_after_h else None


def is_expired(awaiting_since: datetime, now: datetime, *, policy: ApprovalPolicy) -> bool:
    """Whether an unanswered order is to be closed; it comes again when the matter has become clearly worse (why_again)."""
    waited_h = (now - awaiting_since).total_seconds() / 3600
    return policy.expire_after_h is not None and waited_h >= policy.expire_after_h


def _proposal(
    key: tuple[str, str],
    *,
    counted: pd.DataFrame,
    is_credible: bool,
    prediction: Mapping[Hashable, object],
    site: Site,
    as_of: pd.Timestamp,
) -> OrderProposal:
    machine, mode = site.machine(key[0]), key[1]
    repair, policy = site.repair(mode), site.policy.approval
    p7, p30, p10 = (_number(prediction, name) for name in ("probability_7d", "probability_30d", "ttf_p10_days"))
    known_7d, known_30d = p7 or 0.0, p30 or 0.0
    risk_cost = risk(known_30d, machine=machine, repair=repair)
    priority = priority_of(
        probability_7d=known_7d, probability_30d=known_30d, ttf_p10_days=p10, risk_cost=risk_cost, is_credible=is_credible, site=site
    )
    is_likely = known_30d >= policy.propose_probability
    words = FAILURE_MODE_NAMES.get(mode, mode)
    ids = tuple(str(i) for i in counted.sort_values(["onset_at", "incident_id"])["incident_id"])
    return OrderProposal(
        machine_id=machine.machine_id,
        failure_mode=mode,
        priority=priority,
        risk_cost=risk_cost,
        probability_7d=p7,
        probability_30d=p30,
        confidence=float(counted["confidence"].max()) if len(counted) else 0.0,
        is_urgent=is_urgent(known_7d, known_30d, policy=policy),
        due_at=due_by(as_of=as_of, priority=priority, ttf_p10_days=p10, duration_h=repair.duration_h, site=site),
        title=f"{'Repair' if is_likely else 'Inspect'} {machine.name or machine.machine_id}: {words}",
        actions=repair.actions if is_likely else (f"Inspect for {words}", *repair.actions),
        reason=_reason(counted, p30=p30, p10=p10),
        incident_ids=ids,
        crew=tuple(role.skills for role in repair.crew),
        duration_h=repair.duration_h,
        parts=repair.parts,
    )


def _reason(counted: pd.DataFrame, *, p30: float | None, p10: float | None) -> str:
    n = len(counted)
    seen = (
        f"{n} incident{'s' if n > 1 else ''}, confidence {counted['confidence'].max():.0%}, peak score {counted['peak_score'].max():.2f}"
        if n
        else "no incident"
    )
    if p30 is None:
        return f"{seen}; no failure forecast."
    soon = f", one chance in ten within {p10:.1f} days" if p10 is not None else ""
    return f"{seen}; failure within 30 days with probability {p30:.0%}{soon}."


def _number(row: Mapping[Hashable, object], name: str) -> float | None:
    value = row.get(name)
    return float(value) if isinstance(value, int | float) and not math.isnan(value) else None


def _require(frame: pd.DataFrame, *, names: tuple[str, ...], table: str) -> None:
    missing = [n for n in names if n not in frame.columns]
    if missing:
        raise ValueError(f"{table} lacks the columns {', '.join(missing)}; give a frame with {', '.join(names)}")
