"""Which events people are told of, who is told, and in which words: what, where, why, by when, and where to read on.

An event's key names it for good: the outbox sends it once to each receiver. When it goes out stands in `ml.dispatch`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal

from ml.plant import FAILURE_MODE_NAMES, Machine, Site
from ml.policy import is_urgent
from ml.receivers import SEVERITIES, EventKind, Receiver, Severity

Row = Mapping[str, Any]
Stage = Literal["remind", "escalate"]
MAX_LISTED = 40  # lines of a summary: what a chat message or an e-mail still shows at a glance
MAX_CHARACTERS = 600  # of an error's own text


@dataclass(frozen=True)
class Links:
    """Where to read on; None where there is nothing to show yet."""

    report: str | None = None
    run: str | None = None


@dataclass(frozen=True)
class Event:
    """Something that people are told of. `site` is None where it concerns no single site."""

    key: str
    kind: EventKind
    severity: Severity
    site: str | None
    title: str
    what: str
    where: str
    why: str
    by_when: str
    links: Links = Links()
    technician_id: str | None = None

    @property
    def body(self) -> str:
        rows = {
            "Where": self.where,
            "Why": self.why,
            "By when": self.by_when,
            "Report": self.links.report,
            "Run": self.links.run,
        }
        return "\n".join([self.what, "", *(f"{name}: {value}" for name, value in rows.items() if value)])

    def subject(self, site_name: str | None) -> str:
        return f"[{self.severity}] {site_name}: {self.title}" if site_name else f"[{self.severity}] {self.title}"


def wants(receiver: Receiver, event: Event, *, home: str) -> bool:
    """Whether a receiver that stands in the plant file of the site `home` is told of the event."""
    return (
        event.kind in receiver.kinds
        and SEVERITIES.index(event.severity) >= SEVERITIES.index(receiver.min_severity)
        and (event.site is None or event.site == home or event.site in receiver.sites)
        and (receiver.technician_id is None or receiver.technician_id == event.technician_id)
    )


def told(event: Event, sites: Iterable[Site]) -> list[Receiver]:
    return [receiver for site in sites for receiver in site.receivers if wants(receiver, event, home=site.site)]


def is_critical(incident: Row, predictions: Sequence[Row], *, site: Site) -> bool:
    """A credible incident that goes on, on a critical machine, or on one that is likely to fail within the days called urgent.

    Machines that are no longer in the plant file are passed over; so are incidents that people have labelled a false alarm.
    """
    known = {m.machine_id: m for m in site.machines}
    machine = known.get(incident["machine_id"])
    if machine is None or incident["verdict"] != "credible" or incident["ended_at"] is not None or incident["label"] == "false_alarm":
        return False
    policy = site.policy.approval
    own = [p for p in predictions if p["machine_id"] == machine.machine_id]
    return machine.criticality == "critical" or any(is_urgent(p["probability_7d"], p["probability_30d"], policy=policy) for p in own)


def incident_key(alarm_id: str) -> str:
    """The name under which a critical incident is told once."""
    return f"critical_incident:{alarm_id}"


def critical_incident(incident: Row, predictions: Sequence[Row], *, site: Site, links: Links) -> Event:
    machine = site.machine(incident["machine_id"])
    mode = FAILURE_MODE_NAMES.get(incident["failure_mode"], incident["failure_mode"])
    way = {1: "went up", -1: "went down"}.get(incident["direction"], "moved")
    own = [p for p in predictions if p["machine_id"] == machine.machine_id]
    p10 = min((p["ttf_p10_days"] for p in own if p["ttf_p10_days"] is not None), default=None)
    probability = max((p["probability_7d"] for p in own), default=None)
    is_of_site = incident["alarm_id"] != incident["incident_id"]
    forecast = "" if probability is None else f"; failure within 7 days with probability {probability:.0%}"
    return Event(
        key=incident_key(incident["alarm_id"]),
        kind="critical_incident",
        severity="critical",
        site=site.site,
        title=f"Critical incident: {_name(machine)}, {mode}{' and others of the site' if is_of_site else ''}",
        what=f"{_name(machine)} behaves abnormally since {_at(incident['onset_at'], site)}: {mode}.",
        where=_place(machine, site),
        why=f"{incident['top_sensor_id']} {way} most; peak score {incident['peak_score']:.2f}, "
        f"confidence {incident['confidence']:.0%}{forecast}.",
        by_when="as soon as possible" if p10 is None else f"one chance in ten of failure within {p10:.1f} days from {incident['day']}",
        links=links,
    )


def decision_wanted(order: Row, *, since: datetime, stage: Stage | None, site: Site, links: Links) -> Event:
    """An order that waits for a decision; `stage` says whether that is to be reminded of or escalated by now."""
    kind, word, at_least = _STAGES[stage]
    priority: str = order["priority"]
    severity: Severity = "info" if priority in ("medium", "low") else "warning"
    if stage == "escalate" and priority == "urgent":
        severity = "critical"
    return Event(
        key=f"{kind}:{order['order_id']}:{since.isoformat()}",
        kind=kind,
        severity=max(severity, at_least, key=SEVERITIES.index),
        site=site.site,
        title=f"{word}: {order['title']} ({order['order_id']}), due {_at(order['due_at'], site)}",
        what=f"{order['title']} waits for a decision since {_at(since, site)}: "
        f"maintenance decide {order['order_id']} approve|reject|defer --operator NAME --reason WHY",
        where=_place(_machine(order, site), site),
        why=f"{order['reason']} Risk {order['risk_cost']:,.0f} {site.currency}, priority {priority}.",
        by_when=f"the work is due {_at(order['due_at'], site)}",
        links=links,
    )


_STAGES: dict[Stage | None, tuple[EventKind, str, Severity]] = {
    None: ("decision_wanted", "Decision wanted", "info"),
    "remind": ("decision_reminder", "Reminder, decision wanted", "warning"),
    "escalate": ("decision_escalated", "Still no decision", "warning"),
}


def scheduled(assignment: Row, *, site: Site, links: Links) -> Event:
    """Work that has a place in the plan in force; an overtime call-out is critical, for it cannot wait until quiet hours are over."""
    names = {t.technician_id: t.name for t in site.technicians}
    technician = names.get(assignment["technician_id"], assignment["technician_id"])
    begins, is_call_out = _at(assignment["start_at"], site), assignment["is_overtime"]
    late = " It ends after the work is due." if assignment["is_late"] else ""
    return Event(
        key=f"scheduled:{assignment['order_id']}:{assignment['technician_id']}:{assignment['start_at'].isoformat()}",
        kind="scheduled",
        severity="critical" if is_call_out else "info",
        site=site.site,
        title=f"{'Call-out' if is_call_out else 'Scheduled'} {begins}: {assignment['title']} ({assignment['order_id']}), {technician}",
        what=f"{technician}: {assignment['title']}, {begins} to {_at(assignment['end_at'], site)}. "
        f"{'; '.join(assignment['actions'])}. Parts: {', '.join(assignment['parts']) or 'none'}.{late}",
        where=_place(_machine(assignment, site), site),
        why=assignment["reason"],
        by_when=f"due {_at(assignment['due_at'], site)}",
        links=links,
        technician_id=assignment["technician_id"],
    )


def overdue(order: Row, *, site: Site, links: Links) -> Event:
    state = str(order["state"]).replace("_", " ")
    return Event(
        key=f"overdue:{order['order_id']}",
        kind="overdue",
        severity="critical" if order["priority"] == "urgent" else "warning",
        site=site.site,
        title=f"Overdue since {_at(order['due_at'], site)}: {order['title']} ({order['order_id']})",
        what=f"{order['title']} should have been done and is {state}.",
        where=_place(_machine(order, site), site),
        why=f"{order['reason']} Risk {order['risk_cost']:,.0f} {site.currency}, priority {order['priority']}.",
        by_when=f"it was due {_at(order['due_at'], site)}",
        links=links,
    )


def lasting_drift(sensor_id: str, *, n_days: int, version: int, last_day: date, site: Site, links: Links) -> Event:
    """A sensor whose drift is sustained by `policy.drift`: it drifted on `n_days` of the days up to `last_day`."""
    machine = next((m for m in site.machines if any(s.sensor_id == sensor_id for s in m.sensors)), None)
    policy = site.policy.drift
    return Event(
        key=f"drift:{site.site}:{sensor_id}:v{version}",
        kind="drift",
        severity="warning",
        site=site.site,
        title=f"Sustained drift: {sensor_id}",
        what=f"{sensor_id} has left what detector version {version} was trained on, "
        f"on {n_days} of the {policy.within_days} days up to {last_day}.",
        where=_place(machine, site) if machine else site.name,
        why="The detector knows this sensor's normal behaviour no longer; the system health report has the distances.",
        by_when=f"a new training is asked for at most once in {policy.cooldown_days:g} days: find out what changed before its scores count",
        links=links,
    )


def run_failed(*, run_id: str, job: str, scope: str, error: str, site: Site | None, links: Links) -> Event:
    return Event(
        key=f"run_failed:{run_id}",
        kind="run_failed",
        severity="warning",
        site=site.site if site else None,
        title=f"Run failed: {job}{f' of {scope}' if scope else ''}",
        what=f"The run {run_id[:8]} of {job} failed{f' for {scope}' if scope else ''}.",
        where=site.name if site else "the whole plant",
        why=_cut(error),
        by_when="as soon as possible: what rests on it is not up to date",
        links=links,
    )


def check_failed(*, asset: str, check: str, is_error: bool, scope: str, day: date, why: str, site: Site | None, links: Links) -> Event:
    """A failed check that stopped nothing; told once for each asset, check and site-day (or, without partitions, day)."""
    return Event(
        key=f"check_failed:{asset}:{check}:{scope or day}",
        kind="check_failed",
        severity="warning" if is_error else "info",
        site=site.site if site else None,
        title=f"Check failed: {asset}, {check.replace('_', ' ')}{f' ({scope})' if scope else ''}",
        what=f"The check {check} of {asset} did not hold{f' for {scope}' if scope else ''}; the run went on.",
        where=site.name if site else "the whole plant",
        why=_cut(why),
        by_when="no deadline" if not is_error else "before the data are relied upon",
        links=links,
    )


def trial(receiver: Receiver, *, site: Site) -> tuple[str, str]:
    """Subject and body by which a receiver sees that it is reached."""
    kinds = ", ".join(kind.replace("_", " ") for kind in receiver.kinds)
    return (
        f"[test] {site.name}: messages reach {receiver.receiver_id}",
        f"This is a test. {receiver.receiver_id} is told of: {kinds}; from severity {receiver.min_severity} on.",
    )


def summary(subjects: Sequence[tuple[Severity, str]]) -> tuple[str, str]:
    """Subject and body of one message instead of many, the most severe first."""
    ranked = sorted(subjects, key=lambda s: -SEVERITIES.index(s[0]))
    lines = [f"- {subject}" for _, subject in ranked[:MAX_LISTED]]
    if len(ranked) > MAX_LISTED:
        lines.append(f"and {len(ranked) - MAX_LISTED} more")
    body = "\n".join([*lines, "", "Each of them whole: maintenance notifications list --whole"])
    return f"[{ranked[0][0]}] {len(ranked)} notifications in one message", body


def _machine(row: Row, site: Site) -> Machine | str:
    return next((m for m in site.machines if m.machine_id == row["machine_id"]), str(row["machine_id"]))


def _name(machine: Machine) -> str:
    return f"{machine.name} ({machine.machine_id})" if machine.name else machine.machine_id


def _place(machine: Machine | str, site: Site) -> str:
    """A machine that is no longer in the plant file has its id only."""
    return f"{machine}, {site.name}" if isinstance(machine, str) else f"{_name(machine)}, area {machine.area}, {site.name}"


def _at(when: datetime, site: Site) -> str:
    return f"{when.astimezone(site.zone):%a %d %b %Y %H:%M %Z}"


def _cut(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= MAX_CHARACTERS else f"{words[:MAX_CHARACTERS]} ..."
