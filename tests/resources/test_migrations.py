"""The migrations make exactly the tables that the code declares, and keep what older ones said in other words."""

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import insert, select, text

from resources.ledger.ledger import LedgerResource, alembic_config, migrate
from resources.ledger.tables import metadata
from resources.ledger.tables import predictions as p


def test_migrating_leaves_no_difference_to_the_declared_tables(ledger: LedgerResource) -> None:
    with ledger.begin() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_migrating_again_changes_nothing(ledger: LedgerResource) -> None:
    migrate(ledger.url)


def test_by_how_many_failures_a_prediction_was_put_right_is_taken_from_its_note(ledger: LedgerResource) -> None:
    said = {
        "led": ("M-vib", "M-temp: flat; M-vib: times put right by 94 failures of mode VIB"),
        "another": ("M-vib", "M-temp: times put right by 100 failures of mode ELP"),
        "nobody": (None, "M-temp: times put right by 100 failures of mode ELP"),
        "silent": ("M-vib", ""),
    }
    with ledger.begin() as connection:
        command.downgrade(alembic_config(connection), "0010")
        for machine_id, (leading, note) in said.items():
            row = {
                "site": "s", "day": "2026-01-05", "machine_id": machine_id, "failure_mode": "VIB", "as_of": "2026-01-06T00:00Z",
                "probability_7d": 0.1, "probability_30d": 0.2, "leading_sensor_id": leading, "method": "prophet", "note": note,
                "incident_ids": [],
            }  # fmt: skip
            connection.execute(insert(p).values(row))
    migrate(ledger.url)
    with ledger.begin() as connection:
        kept = dict(connection.execute(select(p.c.machine_id, p.c.calibrated_on)).tuples().all())
        assert connection.scalar(text("select version_num from alembic_version")) == "0011"
    assert kept == {"led": 94, "another": None, "nobody": None, "silent": None}
