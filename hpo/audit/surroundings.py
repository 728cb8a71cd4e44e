"""What a search stands on: versions, GPUs, and whether each store can be reached."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import sqlalchemy as sql

import hpo
from hpo.errors import Unavailable
from hpo.masking import masked, redacted
from hpo.settings import Settings
from hpo.store import database, tables
from hpo.tracking.reach import Reach

__all__ = ["Gpu", "Store", "checkpoint_store", "gpus", "mlflow_store", "sql_store", "versions"]

PACKAGES = ("torch", "ray", "optuna", "mlflow", "sqlalchemy")
SMI = ["nvidia-smi", "--query-gpu=index,name,memory.total,memory.used,driver_version", "--format=csv,noheader,nounits"]


@dataclass(frozen=True, kw_only=True)
class Store:
    """One place that a search writes to."""

    store: str
    where: str  # without a password
    problem: str | None = None  # why it cannot be used
    seconds: float | None = None  # that it took to answer
    note: str | None = None
    free_bytes: int | None = None  # of a folder
    ours: bool = True  # whether studies can be in it, for the database of studies


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """A card as its driver shows it."""

    index: int
    name: str
    memory_mib: int
    used_mib: int
    driver: str


def versions() -> dict[str, str | None]:
    """Installed versions, found without importing anything; None where a package is missing."""
    found: dict[str, str | None] = {"hpo": hpo.__version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found


def gpus() -> list[Gpu] | str:
    """The cards that nvidia-smi names; a sentence where there is none to name."""
    try:
        done = subprocess.run(SMI, capture_output=True, text=True, check=True, timeout=20)
    except FileNotFoundError:
        return "none: nvidia-smi is not installed"
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stdout", None) or getattr(error, "stderr", None) or str(error)
        return f"none: nvidia-smi says: {str(said).strip()}"
    found = [_gpu(line) for line in done.stdout.splitlines() if line.strip()]
    return found or "none"


def _gpu(line: str) -> Gpu:
    index, name, memory, used, driver = (field.strip() for field in line.split(","))
    # a card that shares memory with its host, or a slice of one, has "[N/A]" here
    total, taken = (int(field) if field.isdecimal() else 0 for field in (memory, used))
    return Gpu(index=int(index), name=name, memory_mib=total, used_mib=taken, driver=driver)


def sql_store(settings: Settings) -> Store:
    """The database of the studies."""
    where = masked(settings.storage)
    file = settings.storage_file
    if file is not None and not file.exists():  # to open it would create it
        return Store(store="database", where=where, note="not there yet", problem=_unwritable(file.parent), ours=False)
    try:
        engine = database.open_engine(settings.storage, reading=True)
    except (sql.exc.ArgumentError, ImportError) as error:
        return Store(store="database", where=where, problem=redacted(error))
    began = time.perf_counter()
    try:
        with engine.connect() as connection:
            connection.execute(sql.text("SELECT 1"))
            if file is not None:
                connection.exec_driver_sql("PRAGMA schema_version")  # reads the file, which SELECT 1 does not
        seconds, lacking = time.perf_counter() - began, sorted(tables.missing(engine))
        ours = tables.studies.name not in lacking
        old = f"of an earlier version: the next run adds {', '.join(lacking)}" if ours and lacking else None
        return Store(store="database", where=where, seconds=seconds, note=old, ours=ours)
    except sql.exc.DBAPIError as error:
        return Store(store="database", where=where, problem=redacted(error.orig).strip())
    finally:
        engine.dispose()


def mlflow_store(uri: str, reach: Reach) -> Store:
    """An MLflow, where `reach` finds it."""
    from hpo.tracking.runs import ping  # imports MLflow

    where = masked(uri)
    try:
        reach.require(uri)
        seconds = ping(uri)
    except Unavailable as error:
        return Store(store="mlflow", where=where, problem=str(error))
    return Store(store="mlflow", where=where, seconds=seconds, note="not there yet" if seconds is None else None)


def checkpoint_store(settings: Settings) -> Store:
    """The folder of all checkpoints."""
    folder = settings.checkpoints
    free = shutil.disk_usage(_existing(folder)).free
    return Store(store="checkpoints", where=str(folder), problem=_unwritable(folder), free_bytes=free)


def _unwritable(folder: Path) -> str | None:
    """Why nothing can be written there."""
    there = _existing(folder)
    if not there.is_dir():
        return f"{there} is not a folder"
    return None if os.access(there, os.W_OK | os.X_OK) else f"{there} cannot be written to"


def _existing(path: Path) -> Path:
    return next(each for each in (path, *path.parents) if each.exists())
