"""What every test may use: one real PostgreSQL for the session, a data folder of its own, the public data where it is."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

# A change is judged by the same examples each time; who works on it finds new ones.
settings.register_profile("here", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")

if TYPE_CHECKING:
    from resources.ledger.ledger import LedgerResource

CHECKOUT = Path(__file__).resolve().parent.parent


TRACKING_URI = "MLFLOW_TRACKING_URI"
NAMED_BY_A_PERSON = TRACKING_URI in os.environ


@pytest.fixture(autouse=True)
def no_store_of_another_test() -> Iterator[None]:
    """MLflow names the store that it uses in the environment, where the next test would take it for a server that a person named."""
    yield
    if not NAMED_BY_A_PERSON:
        os.environ.pop(TRACKING_URI, None)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a server that runs as long as the session."""
    from resources.postgres import serving

    with serving(tmp_path_factory.mktemp("pg")) as url:
        yield url


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of public data beside the checkout."""
    folder = Path(os.environ.get("SMART_MAINTENANCE_SHARED_DATA", CHECKOUT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"the public data is not at {folder}")
    return folder


@pytest.fixture
def ledger(postgres: str) -> Iterator["LedgerResource"]:
    """A migrated ledger in a database of the test's own."""
    from sqlalchemy import create_engine, make_url, text

    from resources.ledger.ledger import LedgerResource, engine_for, migrate

    name = f"ledger_{uuid.uuid4().hex[:12]}"
    admin = create_engine(make_url(postgres).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"create database {name}"))
    url = make_url(postgres).set(drivername="postgresql+psycopg", database=name).render_as_string(hide_password=False)
    migrate(url)
    yield LedgerResource(url=url)
    engine_for(url).dispose()
    with admin.connect() as connection:
        connection.execute(text(f"drop database {name}"))
    admin.dispose()
