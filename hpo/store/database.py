"""How SQL is opened, for our tables and for Optuna's alike."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy
from filelock import FileLock
from sqlalchemy.engine import Engine, make_url

from hpo.errors import SpecError, Unavailable
from hpo.masking import masked, redacted
from hpo.settings import driver_url
from trainers.folders import private, private_file

__all__ = ["creating", "engine_options", "importing", "open_engine", "prepare"]

ADVISORY = 4_772_111  # any number that others are unlikely to lock
LOCK_TIMEOUT = 5  # seconds to wait for another writer of a SQLite file; then see hpo.store.patience


class _Reading(sqlite3.Connection):
    """A connection that writes nothing; `mode=ro` would leave the files of a WAL behind."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.execute("PRAGMA query_only=ON")


def engine_options(url: str, *, reading: bool = False) -> dict[str, Any]:
    """Keyword arguments for `sqlalchemy.create_engine`; with `reading` the database refuses to be written to."""
    if url.startswith("sqlite"):
        return {"connect_args": {"timeout": LOCK_TIMEOUT, **({"factory": _Reading} if reading else {})}}
    held = {"options": "-c default_transaction_read_only=on"} if reading else {}
    # pre-ping: a connection that died with the server is replaced instead of failing the next statement
    return {"pool_pre_ping": True, "connect_args": {"connect_timeout": 10, **held}}


def prepare(url: str) -> None:
    """Make the database ready for several readers beside one writer.

    A SQLite file is created readable for this user only and switched to WAL, which stays with the file.

    Raises:
        SpecError: this is no address of a database.
        Unavailable: the database does not answer, or the file is none.
    """
    try:
        parsed = make_url(url)
    except (ValueError, sqlalchemy.exc.ArgumentError):
        raise SpecError(f"{masked(url)} is no URL of a database: write postgresql://USER@HOST:PORT/DATABASE") from None
    if parsed.get_backend_name() == "sqlite" and parsed.database and parsed.database != ":memory:":
        path = Path(parsed.database)
        private(path.parent)
        private_file(path)
    engine = open_engine(url)
    try:
        with engine.connect() as connection:
            if engine.name == "sqlite":
                connection.exec_driver_sql("PRAGMA journal_mode=WAL")
    except sqlalchemy.exc.DatabaseError as error:
        said = f"the database {masked(url)} does not answer: {redacted(error.orig).strip()}"
        raise Unavailable(
            f"{said}; if it is elsewhere, say where with --storage, OPTUNA_STORAGE or HPO_HOME"
        ) from error
    finally:
        engine.dispose()


def creating(url: str) -> AbstractContextManager[None]:
    """Let one process at a time create tables: two that find none would both, and one would fail.

    Raises:
        Unavailable: nothing can be written beside the file.
    """
    return _alone(url, "lock", ADVISORY)


def importing(url: str) -> AbstractContextManager[None]:
    """Let one process at a time put studies of elsewhere into a database; raises as `creating`."""
    return _alone(url, "import.lock", ADVISORY + 1)


@contextmanager
def _alone(url: str, suffix: str, number: int) -> Iterator[None]:
    path = make_url(url).database
    if url.startswith("sqlite"):
        lock = FileLock(f"{path}.{suffix}", mode=0o600)
        try:
            lock.acquire()
        except OSError as error:
            raise Unavailable(f"the database {masked(url)} cannot be written to: {error}") from error
        try:
            yield
        finally:
            lock.release()
        return
    engine = open_engine(url)
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql(f"SELECT pg_advisory_lock({number})")  # given back with the connection
            yield
    finally:
        engine.dispose()


def open_engine(url: str, *, reading: bool = False) -> Engine:
    """A connection pool for our own tables."""
    return sqlalchemy.create_engine(driver_url(url), **engine_options(url, reading=reading))
