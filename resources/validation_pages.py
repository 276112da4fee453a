"""The validation pages' folder: index.html, and <site>/<suite>/ with index.html (the history) and <day>.html, each written whole."""

from datetime import date
from pathlib import Path

import dagster as dg
from pydantic import Field

from resources.whole_files import write_whole


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
        write_whole(path, page)
