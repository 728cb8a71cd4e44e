"""Databases as earlier versions have left them."""

from sqlalchemy.engine import Connection, Engine

from hpo.store.migrations import VERSION_TABLE
from hpo.store.migrations.versions import r0001_tables


def without_revisions(connection: Connection) -> None:
    """Our tables are as before they had revisions; take columns and tables away to have older ones."""
    connection.exec_driver_sql(f"DROP TABLE {VERSION_TABLE}")
    for column in ("created_by", "run_by"):
        connection.exec_driver_sql(f"ALTER TABLE hpo_study DROP COLUMN {column}")


def create_first(engine: Engine) -> None:
    """Our tables as the last version without revisions made them."""
    r0001_tables.metadata.create_all(engine)
