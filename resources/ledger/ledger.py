"""The connection to the ledger and the migrations that make it."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from sqlalchemy import Connection, Engine, create_engine, text

if TYPE_CHECKING:
    from alembic.config import Config

LEDGER_VARIABLE = "SMART_MAINTENANCE_LEDGER_URL"
MIGRATIONS = Path(__file__).parent / "migrations"


@cache
def engine_for(url: str) -> Engine:
    """One engine, and so one pool, per process and database; sessions speak UTC."""
    return create_engine(url, pool_size=2, max_overflow=8, pool_pre_ping=True, connect_args={"options": "-c timezone=UTC"})


class LedgerResource(dg.ConfigurableResource):
    """The ledger's database; `begin` is one transaction."""

    url: str

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        with engine_for(self.url).begin() as connection:
            yield connection


def migrate(url: str) -> None:
    """Bring the ledger to the newest revision; two processes at once take turns."""
    from alembic import command

    with engine_for(url).begin() as connection:
        connection.execute(text("select pg_advisory_xact_lock(hashtext('smart_maintenance.migrate'))"))
        command.upgrade(alembic_config(connection), "head")


def alembic_config(connection: Connection) -> "Config":
    """Our migrations, over this connection."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    return config
