"""The migrations make exactly the tables that the code declares."""

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from resources.ledger.ledger import LedgerResource, migrate
from resources.ledger.tables import metadata


def test_migrating_leaves_no_difference_to_the_declared_tables(ledger: LedgerResource) -> None:
    with ledger.begin() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_migrating_again_changes_nothing(ledger: LedgerResource) -> None:
    migrate(ledger.url)
