"""What people type about their work, read against the plant and carried out: the same for the jobs and the command line."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from ml.findings import FindingLists
from ml.plant import Site
from ml.policy import demand_known_skills
from resources.ledger.deeds import Completion, Decision
from resources.ledger.work import complete, decide, order_row, started_at


@dataclass(frozen=True)
class Report:
    """Finished work as typed: times as text, and empty text for what was not said."""

    order_id: str
    technician: str
    started_at: str
    ended_at: str
    finding: str
    failure_mechanism: str = ""
    failure_cause: str = ""
    parts_used: Sequence[str] = ()
    hours_worked: float | None = None
    note: str = ""
    request_id: str = ""


def parse_time(text: str) -> datetime:
    """Raises ValueError for text that is no ISO 8601 time with an offset."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is not an ISO 8601 time such as 2026-11-20T08:00:00+01:00.") from error
    if at.tzinfo is None:
        raise ValueError(f"{text!r} has no offset from UTC; write it as {at.isoformat()}+00:00 or with the site's offset.")
    return at


def carry_out(connection: Connection, decision: Decision, *, sites: Sequence[Site]) -> bool:
    """As resources.ledger.work.decide; skills must be those of somebody at the site."""
    site = _site_of(connection, decision.order_id, sites)
    if decision.skills is not None and site is not None:
        demand_known_skills(decision.skills, site=site)
    return decide(connection, decision)


def log_work(connection: Connection, report: Report, *, sites: Sequence[Site]) -> bool:
    """As resources.ledger.work.complete; the finding must be on the site's lists, its parts among the site's.

    Raises ValueError, resources.ledger.work.UnknownOrder, ml.policy.IllegalMove.
    """
    site = _site_of(connection, report.order_id, sites)
    mechanism, cause = report.failure_mechanism or None, report.failure_cause or None
    (site.findings if site else FindingLists()).demand(report.finding, mechanism=mechanism, cause=cause)
    known_parts = sorted(part.part_id for part in site.parts) if site else sorted(report.parts_used)
    unknown = sorted(set(report.parts_used) - set(known_parts))
    if unknown:
        raise ValueError(f"{', '.join(unknown)} is no part of the site; its parts are {', '.join(known_parts)}.")
    begun = parse_time(report.started_at) if report.started_at else started_at(connection, report.order_id)
    if begun is None:
        raise ValueError(f"nobody has said when the work on {report.order_id} began; give the time of its start.")
    said = Completion(
        order_id=report.order_id,
        technician=report.technician,
        started_at=begun,
        ended_at=parse_time(report.ended_at),
        finding=report.finding,
        note=report.note,
        request_id=report.request_id,
        failure_mechanism=mechanism,
        failure_cause=cause,
        parts_used=report.parts_used,
        hours_worked=report.hours_worked,
    )
    return complete(connection, said)


def _site_of(connection: Connection, order_id: str, sites: Sequence[Site]) -> Site | None:
    """None where the site of the order is no longer in the plant."""
    site_id = order_row(connection, order_id)["site"]
    return next((site for site in sites if site.site == site_id), None)
