"""One search by the product and one by the stock stack, each a process of its own, timed from its records."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.synthetic import METRICS

__all__ = ["Load", "Run", "product", "stock"]

HERE = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class Load:
    """What both sides run."""

    trials: int
    epochs: int  # at most; ASHA with a first rung at 1 and a reduction of 3 stops most trials before
    concurrency: int
    sleep: float  # seconds an epoch
    torch: bool  # import PyTorch in the worker


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one search took; times in seconds."""

    trials: int
    epochs: int  # on record, over all trials
    first_epoch: float  # from the start of the process to the first epoch on record
    search: float  # from the first trial's start to the last trial's end
    recorded: float  # from the first trial's start until MLflow has every record
    whole: float  # from the start of the process to its end


class RecordsMissing(Exception):
    """A side has not written what it was timed for."""


def product(load: Load) -> Run:
    """Run `hpo run` in a new folder.

    A trial starts when it is asked for, before its worker is there. MLflow has every record at the last write to its
    database, which a process beside the driver makes.
    """
    options = {
        "trials": load.trials,
        "concurrency": load.concurrency,
        "set": [f"trainer.{key}={getattr(load, key)}".lower() for key in ("epochs", "sleep", "torch")]
        + (["pruner=none"] if load.epochs == 1 else []),  # there is no epoch to stop before
    }
    with _folder() as home:
        command = [sys.executable, "-m", "hpo", "run", "--space", str(HERE / "synthetic.yaml"), *_flags(options)]
        began, ended, _ = _execute([*command, "--home", str(home), "--quiet"])
        [(first_start, last_end)] = _query(home / "studies.db", "SELECT min(started), max(ended) FROM hpo_trial")
        [(epochs, first_epoch)] = _query(home / "studies.db", "SELECT count(*), min(time) FROM hpo_epoch")
        [(waiting,)] = _query(home / "studies.db", "SELECT count(*) FROM hpo_outbox")
        if waiting:
            raise RecordsMissing(f"{waiting} records have not reached MLflow")
        _check_records(home / "mlflow.db", runs=load.trials + 1, epochs=epochs)  # one run is the study's own
        return Run(
            trials=load.trials,
            epochs=epochs,
            first_epoch=first_epoch - began,
            search=last_end - first_start,
            recorded=(home / "mlflow.db").stat().st_mtime - first_start,
            whole=ended - began,
        )


def stock(load: Load, script: Path) -> Run:
    """Run the stock stack's script in a new folder.

    It writes to MLflow within `Tuner.fit`, which it times itself: both figures of the search are that time.
    """
    options = {
        "trials": load.trials,
        "epochs": load.epochs,
        "concurrency": load.concurrency,
        "sleep": load.sleep,
        "torch": int(load.torch),
    }
    with _folder() as folder:
        began, ended, output = _execute(
            [sys.executable, str(script.absolute()), *_flags(options), "--workdir", str(folder)]
        )
        printed = json.loads(output.strip().splitlines()[-1])
        if printed["errors"]:
            raise RecordsMissing(f"{printed['errors']} trials of the stock stack failed")
        _check_records(folder / "mlflow.db", runs=load.trials, epochs=printed["reports"])
        query = "SELECT min(timestamp) FROM metrics WHERE key = ?"
        [(first_epoch,)] = _query(folder / "mlflow.db", query, METRICS[0])
        return Run(
            trials=load.trials,
            epochs=printed["reports"],
            first_epoch=first_epoch / 1000 - began,
            search=printed["fit_s"],
            recorded=printed["fit_s"],
            whole=ended - began,
        )


def _check_records(database: Path, *, runs: int, epochs: int) -> None:
    """Hold MLflow's tables against what was run: a run a trial, every metric of every epoch."""
    [(found,)] = _query(database, "SELECT count(*) FROM runs WHERE end_time IS NOT NULL")
    if found != runs:
        raise RecordsMissing(f"{found} runs have ended in MLflow; {runs} were to")
    for metric in METRICS:
        [(rows,)] = _query(database, "SELECT count(*) FROM metrics WHERE key = ?", metric)
        if rows != epochs:
            raise RecordsMissing(f"{rows} rows of {metric} in MLflow; {epochs} epochs were reported")


def _query(database: Path, query: str, *values: Any) -> list[Any]:
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(query, values).fetchall()


def _flags(options: dict[str, Any]) -> Iterator[str]:
    for name, value in options.items():
        for each in value if isinstance(value, list) else [value]:
            yield f"--{name}"
            yield str(each)


def _execute(command: Sequence[str]) -> tuple[float, float, str]:
    """Run to the end; returns the times of start and end, and what was printed."""
    environment = os.environ | {"PYTHONPATH": str(HERE.parent)}
    began = time.time()
    done = subprocess.run(command, cwd=HERE.parent, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RecordsMissing(f"{command[1]} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return began, time.time(), done.stdout


@contextmanager
def _folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="hpo-benchmark-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
