"""A ledger of its own for the reports, filled with the week of `plant_week`."""

import importlib.util
import sys
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from types import ModuleType

import pytest
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.engine import make_url

from assets.reporting.report import Report
from assets.reporting.reports import build_report
from resources.ledger.tables import metadata

Build = Callable[..., Report]


def _load_week() -> ModuleType:
    """With --import-mode=importlib a helper beside the tests is not importable by name."""
    spec = importlib.util.spec_from_file_location("plant_week", Path(__file__).with_name("plant_week.py"))
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["plant_week"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def week() -> ModuleType:
    return _load_week()


@pytest.fixture(scope="session")
def ledger(postgres: str, week: ModuleType) -> Iterator[Connection]:
    url = make_url(postgres).set(drivername="postgresql+psycopg")
    admin = create_engine(url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text("drop database if exists reporting"))
        connection.execute(text("create database reporting"))
    admin.dispose()
    engine = create_engine(url.set(database="reporting"), connect_args={"options": "-c timezone=UTC"})
    with engine.connect() as connection:
        metadata.create_all(connection)
        week.fill(connection)
        yield connection
    engine.dispose()


@pytest.fixture(scope="session")
def build(ledger: Connection, week: ModuleType) -> Build:
    """build(kind, site=..., start=..., end=...): a report on the week, or a part of it."""
    lake = week.lake()

    def _build(kind: str, *, site: str | None = "north", start: date = week.START, end: date = week.END) -> Report:
        return build_report(kind, connection=ledger, lake=lake, sites=week.SITES, site=site, start=start, end=end)

    return _build
