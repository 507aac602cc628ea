"""How Alembic runs here: on the connection that ``service.schema`` gives it, in its transaction."""

from alembic import context

from service.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
