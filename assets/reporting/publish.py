"""A report written in its three forms."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path

from sqlalchemy import Connection

from assets.reporting.render import to_html, to_json, to_text
from assets.reporting.reports import build_report
from ml.plant import Site
from resources.lake import LakeResource
from resources.reports import ReportsResource

ALL_SITES = "all-sites"


def publish(
    kind: str,
    *,
    connection: Connection,
    lake: LakeResource,
    reports: ReportsResource,
    sites: Sequence[Site],
    site: str | None,
    start: date,
    end: date,
) -> dict[str, Path]:
    """Compute the report of a kind and write it; returns the paths by html, json and txt."""
    report = build_report(kind, connection=connection, lake=lake, sites=sites, site=site, start=start, end=end)
    texts = {"html": to_html(report), "json": to_json(report), "txt": to_text(report)}
    return reports.write(kind, scope=site or ALL_SITES, start=start, end=end, texts=texts)
