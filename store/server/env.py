"""What Alembic runs for each command: :mod:`store.server.schema` hands in the connection."""

from __future__ import annotations

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    # Each step with its mark in alembic_version, where the server can undo changes of the schema.
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
