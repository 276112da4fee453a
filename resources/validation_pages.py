"""The validation pages' folder: index.html, and <site>/<suite>/ with index.html (the history) and <day>.html, each written whole."""

import os
from datetime import date
from pathlib import Path

import dagster as dg
from pydantic import Field


class ValidationPagesResource(dg.ConfigurableResource):
    """Pages under `root`; a page made again replaces itself."""

    root: str
    dagster_url: str = Field(default="http://127.0.0.1:3000", description="Address of the Dagster UI, to which the pages link runs.")

    @property
    def index(self) -> Path:
        return Path(self.root, "index.html")

    def history(self, *, site: str, suite: str) -> Path:
        return Path(self.root, site, suite, "index.html")

    def day(self, *, site: str, suite: str, day: date) -> Path:
        return Path(self.root, site, suite, f"{day.isoformat()}.html")

    def write(self, path: Path, page: str) -> None:
        """Under a temporary name first: a reader sees the old page or the new one, whole."""
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        temporary.write_text(page, encoding="utf-8")
        temporary.replace(path)
