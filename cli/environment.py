"""The environment that a command works in: data folder, plant, running PostgreSQL, migrated ledger, Dagster instance."""

import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ml.plant import Site
from resources.home import CHECKOUT, HOME_VARIABLE, PLANT_VARIABLE, Home, plant_folder
from resources.plant_files import read_plant
from resources.postgres import URL_VARIABLE, database_url, make_databases, serving

# Nothing calls out: the libraries' own telemetry is off, whoever starts them.
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "GX_ANALYTICS_ENABLED": "false",
    "GIT_PYTHON_REFRESH": "quiet",
    "DAGSTER_DISABLE_TELEMETRY": "true",
}


@dataclass(frozen=True)
class Environment:
    home: Home
    plant: Path
    sites: tuple[Site, ...]
    server_url: str


def places(home: Path | None, plant: Path | None) -> tuple[Home, Path]:
    """The data folder and the plant folder: as named, else from the environment."""
    return (
        Home(home.expanduser().resolve()) if home else Home.from_environment(),
        plant.expanduser().resolve() if plant else plant_folder(),
    )


def variables_of(home: Home, *, plant: Path, server_url: str) -> dict[str, str]:
    """What our processes, Dagster's and MLflow's read from their environment."""
    from resources.ledger.ledger import LEDGER_VARIABLE
    from resources.models import STORE_VARIABLE

    return {
        HOME_VARIABLE: str(home.root),
        PLANT_VARIABLE: str(plant),
        URL_VARIABLE: server_url,
        LEDGER_VARIABLE: database_url(server_url, "smart_maintenance"),
        "DAGSTER_HOME": str(home.folder("dagster")),
        "DAGSTER_POSTGRES_URL": database_url(server_url, "dagster"),
        STORE_VARIABLE: database_url(server_url, "mlflow"),
        **QUIET,
    }


@contextmanager
def prepared(*, home: Path | None = None, plant: Path | None = None) -> Iterator[Environment]:
    """Everything a command needs, also for the processes it starts. Raises HomeError, PlantError, DatabaseError.

    `definitions` must be imported inside only: its partitions begin with the plant's first day.
    """
    from resources.ledger.ledger import migrate
    from resources.models import URI_VARIABLE

    where, plants = places(home, plant)
    sites = read_plant(plants)
    where.prepare(sites=[site.site for site in sites])
    with serving(where.folder("pg")) as server_url:
        make_databases(server_url)
        migrate(database_url(server_url, "smart_maintenance"))
        shutil.copyfile(CHECKOUT / "dagster.yaml", where.folder("dagster") / "dagster.yaml")
        variables = variables_of(where, plant=plants, server_url=server_url)
        # MLflow names its store in the environment by itself: the next data folder of this process must not take it for its own
        before = {name: os.environ.get(name) for name in (*variables, URI_VARIABLE)}
        os.environ.update(variables)
        try:
            yield Environment(where, plants, sites, server_url)
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def hush() -> None:
    """Keep known, harmless warnings of the libraries out of a person's terminal."""
    import dagster as dg

    warnings.filterwarnings("ignore", category=dg.BetaWarning)
    warnings.filterwarnings("ignore", category=dg.PreviewWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", message=".*Any type hint is inferred as AnyType", category=UserWarning)  # mlflow, of its own classes
