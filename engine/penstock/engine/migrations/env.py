"""Alembic's entry: applies migrations on the connection that `penstock.engine.migration` hands over."""

from alembic import context

from penstock.engine.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
