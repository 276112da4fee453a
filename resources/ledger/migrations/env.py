"""How Alembic runs the ledger's migrations: within the connection that `migrate` hands over."""

from alembic import context

from resources.ledger.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, compare_type=True)
with context.begin_transaction():
    context.run_migrations()
