"""Which revision our tables are at, and their way to the newest one; Alembic is imported only where there is a way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sql
from sqlalchemy.engine import Connection, Engine

from hpo.errors import Unavailable
from hpo.masking import masked
from hpo.store import database
from hpo.store.migrations import REVISIONS, VERSION_TABLE

__all__ = ["is_current", "is_ours", "upgrade"]

HERE = Path(__file__).with_name("migrations")


def is_current(engine: Engine, url: str) -> bool:
    """Whether our tables in the database at `url` are those that this version knows; one query where they are.

    Raises:
        Unavailable: they are of a newer version.
    """
    try:
        with engine.connect() as connection:
            found = _revision(connection)
    except sql.exc.DBAPIError:
        if not sql.inspect(engine).has_table(VERSION_TABLE):
            return False  # no tables yet, or made before they had revisions
        with engine.connect() as connection:  # made this moment by another process, or the error is another
            found = _revision(connection)
    return _is_newest(found, url)


def upgrade(engine: Engine, url: str) -> None:
    """Make our tables, or bring those of an earlier version to the newest revision: as a whole or not at all.

    One process at a time does it; the others wait and find it done. Raises as `is_current`.
    """
    with database.creating(url):
        if is_current(engine, url):
            return
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(HERE).replace("%", "%%"))
        with engine.begin() as connection:
            if engine.name == "sqlite":  # which begins no transaction by itself before a table is made
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


def is_ours(thing: Any, name: str | None, kind: str, reflected: bool, compared: Any) -> bool:
    """Whether Alembic is to look at something in the database, which holds Optuna's tables too."""
    table = name if kind == "table" else getattr(getattr(thing, "table", None), "name", "")
    return str(table).startswith("hpo_")


def _revision(connection: Connection) -> str | None:
    found: str | None = connection.exec_driver_sql(f"SELECT version_num FROM {VERSION_TABLE}").scalar()
    return found


def _is_newest(found: str | None, url: str) -> bool:
    if found is None or found in REVISIONS:
        return found == REVISIONS[-1]
    raise Unavailable(
        f"the tables of {masked(url)} are at revision {found}, made by a newer hpo; this one knows them up to "
        f"{REVISIONS[-1]}: update hpo here (`hpo --version`) to the one that made them, or name another database with "
        "--storage or OPTUNA_STORAGE. Nothing was changed"
    )
