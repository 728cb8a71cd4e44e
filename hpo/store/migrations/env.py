"""What Alembic runs for every command: on the connection that it is given, for our tables alone."""

from __future__ import annotations

from alembic import context

from hpo.store.migrations import VERSION_TABLE
from hpo.store.schema import is_ours
from hpo.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    include_object=is_ours,
)
with context.begin_transaction():
    context.run_migrations()
