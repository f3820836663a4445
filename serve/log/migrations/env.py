"""Alembic's entry: run the migrations in the transaction that serve.log.migrate has begun."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    version_table=context.config.attributes["version_table"],
    render_as_batch=True,  # SQLite alters a table by copying it
)
context.run_migrations()
