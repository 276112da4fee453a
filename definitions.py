"""Assembly of the code location; no logic. The only module that knows every asset, job, sensor and resource."""

import os
from collections.abc import Mapping
from pathlib import Path

import dagster as dg

from assets import acquisition, advisory, checks, detection, failure_learning, health, learned_prognosis, learning, manipulation, prognosis
from jobs import notifications, operator, pipeline, schedules
from resources.fits import FitsResource
from resources.home import Home, plant_folder
from resources.lake import LakeResource
from resources.landing import LandingResource
from resources.ledger.ledger import LEDGER_VARIABLE, LedgerResource
from resources.links import LinksResource
from resources.models import STORE_VARIABLE, URI_VARIABLE, ModelsResource
from resources.notifier import NotifierResource
from resources.plant import PlantResource
from resources.plant_files import read_plant
from resources.reports import ReportsResource
from resources.validation_pages import ValidationPagesResource
from sensors import alerts, decisions, landing, new_drops
from sensors import learning as learning_sensors

ASSET_MODULES = (acquisition, manipulation, detection, health, prognosis, learned_prognosis, advisory, learning, failure_learning)


def build_resources(home: Home, *, plant: Path, pinned: Mapping[str, int] | None = None) -> dict[str, dg.ConfigurableResource]:
    """The resources over one data folder and one plant folder; `cli.environment` sets the variables that name the databases.

    As variables, not as values: the launch pad shows a resource's configuration, and a URL may hold a password.
    """
    links = LinksResource.over(home.folder("reports"))
    return {
        "lake": LakeResource(root=str(home.folder("lake"))),
        "landing": LandingResource(
            landing=str(home.folder("landing")), archive=str(home.folder("archive")), quarantine=str(home.folder("quarantine"))
        ),
        "ledger": LedgerResource(url=dg.EnvVar(LEDGER_VARIABLE)),
        "models": ModelsResource(
            tracking_uri=dg.EnvVar(URI_VARIABLE if URI_VARIABLE in os.environ else STORE_VARIABLE),
            artifacts=str(home.folder("mlflow")),
            cache=str(home.folder("models")),
            pinned=dict(pinned or {}),
        ),
        "fits": FitsResource(folder=str(home.folder("fits"))),
        "plant": PlantResource(folder=str(plant)),
        "reports": ReportsResource(root=str(home.folder("reports"))),
        "validation_pages": ValidationPagesResource(root=str(home.folder("validation")), dagster_url=links.dagster_url),
        "links": links,
        "notifier": NotifierResource(),
    }


def build_definitions(home: Home, *, plant: Path, pinned: Mapping[str, int] | None = None) -> dg.Definitions:
    """A fresh code location; `pinned` detector versions count as champions, whichever bear the alias."""
    return dg.Definitions(
        assets=dg.load_assets_from_modules(ASSET_MODULES),
        asset_checks=dg.load_asset_checks_from_modules([checks]),
        jobs=[*pipeline.ASSET_JOBS, *operator.OPERATOR_JOBS, notifications.send_notifications],
        schedules=[schedules.reconcile, schedules.nightly_history_check, *schedules.site_schedules(read_plant(plant))],
        sensors=[
            landing.landing_sensor,
            new_drops.new_drops_sensor,
            decisions.decisions_sensor,
            learning_sensors.first_detector_sensor,
            learning_sensors.drift_sensor,
            learning_sensors.new_champion_sensor,
            alerts.notifications_sensor,
            alerts.failures_sensor,
        ],
        resources=build_resources(home, plant=plant, pinned=pinned),
        executor=dg.in_process_executor,
    )


defs = build_definitions(Home.from_environment(), plant=plant_folder())
