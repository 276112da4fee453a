"""The data folder: every path the program writes to, and nothing else on the machine."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
HOME_VARIABLE = "SMART_MAINTENANCE_HOME"
PLANT_VARIABLE = "SMART_MAINTENANCE_PLANT"
FOLDERS = ("pg", "lake", "landing", "archive", "quarantine", "mlflow", "models", "fits", "dagster", "reports", "validation")


class HomeError(Exception):
    """The data folder cannot be used; the message says why in one sentence."""


@dataclass(frozen=True)
class Home:
    """`root` is the data folder; each other path lies in it."""

    root: Path

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> "Home":
        named = (os.environ if environment is None else environment).get(HOME_VARIABLE)
        return cls(Path(named).expanduser().resolve() if named else CHECKOUT / ".smart-maintenance")

    def folder(self, name: str) -> Path:
        if name not in FOLDERS:
            raise KeyError(name)
        return self.root / name

    def prepare(self, *, sites: Iterable[str] = ()) -> None:
        """Make the folders, and one in the landing zone for each site. Raises HomeError where the data folder cannot be written."""
        try:
            for folder in (*map(self.folder, FOLDERS), *(self.folder("landing") / site for site in sites)):
                folder.mkdir(parents=True, exist_ok=True)
            probe = self.root / f".writable-{os.getpid()}"
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise HomeError(f"The data folder {self.root} cannot be written ({error.strerror}); choose another with --home.") from error


def table_file(lake: Path, table: str, *, site: str, day: date) -> Path:
    """Where the lake keeps a table's rows of one site-day."""
    return lake / table / f"day={day.isoformat()}" / f"site={site}" / "data.parquet"


def plant_folder(environment: Mapping[str, str] | None = None) -> Path:
    """The folder of plant files: the demonstration plant unless the environment names another."""
    named = (os.environ if environment is None else environment).get(PLANT_VARIABLE)
    return Path(named).expanduser().resolve() if named else CHECKOUT / "plant"
