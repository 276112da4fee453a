"""The four reports: which kind there is, and what each is made of. Every figure is computed from stored data."""

from collections.abc import Callable, Sequence
from datetime import date

from sqlalchemy import Connection

from assets.reporting import anomalies, maintenance, performance, system
from assets.reporting.report import Kind, Report, Section
from assets.reporting.scope import Lake, Scope
from ml.plant import Site

SOURCES = "ledger and lake"
_BUILDERS: dict[Kind, tuple[str, Callable[[Scope], tuple[Section, ...]]]] = {
    "performance_summary": ("Performance summary", performance.sections),
    "anomaly_summary": ("Anomaly summary", anomalies.sections),
    "maintenance_summary": ("Maintenance summary", maintenance.sections),
    "system_health": ("System health", system.sections),
}
KINDS: tuple[Kind, ...] = tuple(_BUILDERS)


def build_report(
    kind: str, *, connection: Connection, lake: Lake, sites: Sequence[Site], site: str | None, start: date, end: date
) -> Report:
    """The report of a kind over the UTC days `start` to `end`, both inclusive; of one site, or of all where `site` is None."""
    known = next((k for k in KINDS if k == kind), None)
    if known is None:
        raise ValueError(f"there is no report {kind!r}; choose one of {', '.join(KINDS)}")
    if start > end:
        raise ValueError(f"the report's range starts on {start}, after its end on {end}; give the earlier day first")
    covered = tuple(s for s in sites if site in (None, s.site))
    if not covered:
        raise ValueError(f"there is no site {site!r} to report on; known: {', '.join(s.site for s in sites) or 'none'}")
    title, sections = _BUILDERS[known]
    scope = Scope(connection, lake, covered, site, start, end)
    return Report(known, title, scope.name, start, end, SOURCES, sections(scope))
