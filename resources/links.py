"""Where people read on: the reports of a site and day, a run in the Dagster UI."""

import os
from datetime import date
from pathlib import Path
from urllib.parse import quote

import dagster as dg
from pydantic import Field

DAGSTER_URL_VARIABLE = "SMART_MAINTENANCE_DAGSTER_URL"
REPORTS_URL_VARIABLE = "SMART_MAINTENANCE_REPORTS_URL"
DAGSTER_URL = "http://127.0.0.1:3000"


class LinksResource(dg.ConfigurableResource):
    """`reports_url` is where the reports' folder is served, if it is; without it, links are paths on this machine."""

    reports: str
    reports_url: str = ""
    dagster_url: str = Field(default=DAGSTER_URL, description="Address of the Dagster UI as those who are told reach it.")

    @classmethod
    def over(cls, reports: Path) -> "LinksResource":
        """As the environment names the addresses."""
        return cls(
            reports=str(reports),
            reports_url=os.environ.get(REPORTS_URL_VARIABLE, ""),
            dagster_url=os.environ.get(DAGSTER_URL_VARIABLE, DAGSTER_URL),
        )

    def run(self, run_id: str | None) -> str | None:
        return f"{self.dagster_url.rstrip('/')}/runs/{run_id}" if run_id else None

    def report(self, kind: str, *, site: str, day: date) -> str | None:
        """None where that report has not been made."""
        name = f"{kind}/{site}/{day.isoformat()}.html"
        path = Path(self.reports, name)
        if not path.exists():
            return None
        return f"{self.reports_url.rstrip('/')}/{quote(name)}" if self.reports_url else str(path)
