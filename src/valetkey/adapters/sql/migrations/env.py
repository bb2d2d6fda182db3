"""Run by Alembic: apply the changes within the transaction of the connection that it is handed."""

from alembic import context

from valetkey.adapters.sql.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, transactional_ddl=True)
context.run_migrations()
