"""Assembly of the code location; no logic. The only module that knows every asset, job, sensor and resource."""

import os
from pathlib import Path

import dagster as dg

from assets import acquisition, advisory, detection, health, learning, manipulation, prognosis
from jobs import operator, pipeline, schedules
from resources.home import Home, plant_folder
from resources.lake import LakeResource
from resources.landing import LandingResource
from resources.ledger.ledger import LedgerResource
from resources.models import URI_VARIABLE, ModelsResource
from resources.plant import PlantResource, read_plant
from resources.postgres import URL_VARIABLE, database_url
from resources.reports import ReportsResource
from sensors import decisions, landing, new_drops
from sensors import learning as learning_sensors

ASSET_MODULES = (acquisition, manipulation, detection, health, prognosis, advisory, learning)


def build_resources(home: Home, *, plant: Path, server_url: str, tracking_uri: str | None = None) -> dict[str, dg.ConfigurableResource]:
    """The resources over one data folder, one plant folder and one PostgreSQL server."""
    return {
        "lake": LakeResource(root=str(home.folder("lake"))),
        "landing": LandingResource(
            landing=str(home.folder("landing")), archive=str(home.folder("archive")), quarantine=str(home.folder("quarantine"))
        ),
        "ledger": LedgerResource(url=database_url(server_url, "smart_maintenance")),
        "models": ModelsResource(
            tracking_uri=tracking_uri or database_url(server_url, "mlflow"),
            artifacts=str(home.folder("mlflow")),
            cache=str(home.folder("models")),
        ),
        "plant": PlantResource(folder=str(plant)),
        "reports": ReportsResource(root=str(home.folder("reports"))),
    }


def build_definitions(home: Home, *, plant: Path, server_url: str, tracking_uri: str | None = None) -> dg.Definitions:
    """A fresh code location."""
    return dg.Definitions(
        assets=dg.load_assets_from_modules(ASSET_MODULES),
        jobs=[*pipeline.ASSET_JOBS, *operator.OPERATOR_JOBS],
        schedules=[schedules.reconcile, *schedules.site_schedules(read_plant(plant))],
        sensors=[
            landing.landing_sensor,
            new_drops.new_drops_sensor,
            decisions.decisions_sensor,
            learning_sensors.first_detector_sensor,
            learning_sensors.new_champion_sensor,
        ],
        resources=build_resources(home, plant=plant, server_url=server_url, tracking_uri=tracking_uri),
        executor=dg.in_process_executor,
    )


defs = build_definitions(
    Home.from_environment(),
    plant=plant_folder(),
    # Loading needs no server, running does: `maintenance` starts the embedded one and names it here.
    server_url=os.environ.get(URL_VARIABLE, "postgresql://localhost/postgres"),
    tracking_uri=os.environ.get(URI_VARIABLE),
)
