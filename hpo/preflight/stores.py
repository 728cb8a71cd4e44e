"""Whether what a search writes to takes what is written; nothing of it stays."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import uuid
from pathlib import Path

import sqlalchemy as sql

from hpo.errors import Unavailable
from hpo.masking import masked, redacted
from hpo.search.notice import receivers
from hpo.settings import Settings, sqlite_file, webhook
from hpo.space.sections import Notify
from hpo.store import database
from hpo.tracking.reach import Reach
from trainers.checks.finding import Finding

__all__ = ["checkpoints", "studies", "told", "tracking"]

LINE = b"written by hpo check\n"


def studies(settings: Settings) -> Finding:
    """The database of the studies takes a table with a row, gives it back, and forgets it."""
    where = masked(settings.storage)
    try:
        seconds = _round_trip(settings.storage)
    except (sql.exc.SQLAlchemyError, OSError, ImportError) as error:
        said = f"{where} cannot be written to: {_why(error)}"
        do = "is it running, and may you write to it? --storage or OPTUNA_STORAGE says where else"
        return Finding(name="database", verdict="fail", said=said, do=do)
    return Finding(name="database", verdict="pass", said=f"{where}: written and read back in {seconds * 1000:.0f} ms")


def told(wish: Notify) -> Finding:
    """The command is there and the variable is set; nothing is sent."""
    missing = []
    if wish.command is not None and shutil.which(wish.command[0]) is None:
        missing.append(f"there is no program {wish.command[0]!r}")
    if wish.webhook is not None and webhook(wish.webhook) is None:
        missing.append(f"{wish.webhook} is not set")
    if missing:
        do = "correct `notify` in the space file, or set the variable"
        return Finding(name="notify", verdict="warn", said=", ".join(missing), do=do)
    return Finding(name="notify", verdict="pass", said="; ".join(receivers(wish)))


def tracking(settings: Settings, *, ask: bool) -> Finding:
    """MLflow takes a record. A server's is a tag for a moment, which takes its client: only if `ask`.

    One that is away is a warning: records wait in SQL until it is back.
    """
    uri, where = settings.mlflow, masked(settings.mlflow)
    try:
        Reach().require(uri)
        if uri.startswith(("sqlite:///", "postgres")):
            said = f"{where}: written and read back in {_round_trip(uri) * 1000:.0f} ms"
        elif ask:
            from hpo.tracking.runs import takes_a_tag  # imports MLflow

            taken = takes_a_tag(uri)
            said = f"{where} answers" + (" and took a tag" if taken else ", without an experiment to try it on")
        else:
            said = f"{where} answers"
    except (Unavailable, sql.exc.SQLAlchemyError, OSError, ImportError) as error:
        said = str(error) if isinstance(error, Unavailable) else f"{where} cannot be written to: {_why(error)}"
        do = "the search runs without it, and records wait in SQL; is the address right (--mlflow)?"
        return Finding(name="mlflow", verdict="warn", said=said, do=do)
    return Finding(name="mlflow", verdict="pass", said=said)


def checkpoints(settings: Settings) -> Finding:
    """A file in the folders of checkpoints and artifacts is written, synced and read back."""
    folders = [settings.checkpoints]
    if settings.artifacts is not None:
        folders.append(settings.home / "artifacts")
    began = time.perf_counter()
    for folder in folders:
        there = _existing(folder)
        try:
            _write_and_read(there)
        except OSError as error:
            said = f"nothing can be written to {there}: {error.strerror or error}"
            do = "may you write there, and is there room? --home or HPO_HOME says where else"
            return Finding(name="checkpoints", verdict="fail", said=said, do=do)
    seconds = time.perf_counter() - began
    said = f"{settings.checkpoints}: written, synced and read back in {seconds * 1000:.0f} ms"
    return Finding(name="checkpoints", verdict="pass", said=said)


def _write_and_read(folder: Path) -> None:
    with tempfile.NamedTemporaryFile(prefix=".hpo-check-", dir=folder) as file:
        file.write(LINE)
        file.flush()
        os.fsync(file.fileno())
        if Path(file.name).read_bytes() != LINE:
            raise OSError("what was read is not what was written")


def _round_trip(url: str) -> float:
    """Seconds for a table with a row in a transaction that is taken back; a SQLite file that is absent stays so."""
    file = sqlite_file(url)
    if file is None or file.exists():
        return _written(url)
    with tempfile.TemporaryDirectory(prefix=".hpo-check-", dir=_existing(file.parent)) as folder:
        return _written(f"sqlite:///{folder}/check.db")


def _written(url: str) -> float:
    engine, name = database.open_engine(url), f"hpo_check_{uuid.uuid4().hex[:12]}"
    began = time.perf_counter()
    try:
        with engine.connect() as connection:
            if engine.name == "sqlite":  # whose driver would make the table outside of the transaction
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            connection.exec_driver_sql(f"CREATE TABLE {name} (number INTEGER)")
            connection.exec_driver_sql(f"INSERT INTO {name} VALUES (7)")
            if connection.exec_driver_sql(f"SELECT number FROM {name}").scalar_one() != 7:
                raise OSError("what was read is not what was written")
            connection.rollback()
        return time.perf_counter() - began
    finally:
        engine.dispose()


def _existing(path: Path) -> Path:
    return next(each for each in (path, *path.parents) if each.exists())


def _why(error: Exception) -> str:
    return redacted(getattr(error, "orig", None) or error).strip()
