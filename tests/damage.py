"""A study in which all records agree, and hands on its stores to change that."""

import contextlib
import shutil
import sqlite3
import time
from pathlib import Path
from typing import Any

import sqlalchemy as sql
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.tracking._tracking_service.utils import _artifact_repos_cache
from study_samples import open_study, report, scheduler_of

from hpo import settings
from hpo.audit.agreement import audit
from hpo.search.scheduler import Scheduler
from hpo.search.searcher import Searcher
from hpo.store.lease import Lease
from hpo.study import Study
from hpo.tracking.process import task_of
from hpo.tracking.projection import Projection, Task
from hpo.workers.trial import Checkpoint
from trainers import checkpoint

COMPLETE, FAILED, WAITING = 0, 1, 2  # the trials of `settle`


def settle(home: Path, empty_mlflow: Path, storage: str | None = None) -> Study:
    """A trial that is COMPLETE, one that FAILed, one in the queue to go on; all sent to MLflow."""
    home.mkdir(exist_ok=True)
    shutil.copy(empty_mlflow, home / "mlflow.db")
    study = open_study(home, storage)
    with Lease(study) as lease:
        study.begin()
        scheduler, searcher = scheduler_of(study), Searcher(study)
        study.ledger.post(study.id, None, "start", {})
        for number in (COMPLETE, FAILED, WAITING):
            begin(scheduler, searcher)
            for epoch in (1, 2, 3, 4) if number == COMPLETE else (1, 2):
                saved = save(study, number, epoch)
                facts = {"classes": 10} if epoch == 1 else None
                value = 0.1 * (epoch + number)
                scheduler.report(report(number, epoch, value, last=epoch == 4, facts=facts, checkpoint=saved))
        scheduler.fail(FAILED, "ValueError: a hole", "its traceback")
        scheduler.requeue(WAITING, "Ctrl-C")
        study.ledger.post(study.id, None, "end", {"status": "SCHEDULED", "tags": {}, "time": time.time()})
        lease.outcome = "interrupted"
    send(study)
    assert audit(study).agrees, audit(study)
    return study


def moved(template: Path, home: Path) -> Study:
    """The study of a home folder in a copy of it, which MLflow's records know as theirs."""
    shutil.copytree(template, home, dirs_exist_ok=True)
    _artifact_repos_cache.clear()  # MLflow remembers by a run's id where its files are, and the copy has the same ids
    with contextlib.closing(sqlite3.connect(home / "mlflow.db")) as connection:
        for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
            connection.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (str(template), str(home)))
        connection.commit()
    return Study.load("study", settings.resolve(home=home))


def begin(scheduler: Scheduler, searcher: Searcher) -> int:
    trial = searcher.next()
    assert trial is not None
    scheduler.start(trial, cpu=1, gpu=0)
    return trial.number


def save(study: Study, number: int, epoch: int) -> Checkpoint:
    name = f"{study.folder_name}/{number:06d}/epoch-{epoch:04d}.json"
    digest = checkpoint.save({"epoch": epoch}, study.settings.checkpoints / name)
    for old in sorted((study.settings.checkpoints / name).parent.iterdir())[:-2]:
        old.unlink()
    return Checkpoint(path=name, sha256=digest, epoch=epoch)


def send(study: Study) -> None:
    Projection(Task(**task_of(study))).send()


def kinds(study: Study) -> set[str]:
    return {each.kind for each in audit(study).findings}


class Damage:
    """Hands on the MLflow of a study, around its client where that refuses."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.client = MlflowClient(study.settings.mlflow)
        self.file = study.settings.home / "mlflow.db"

    def sql(self, statement: str, *values: Any) -> None:
        with sqlite3.connect(self.file) as connection:
            assert connection.execute(statement, values).rowcount > 0
        connection.close()

    def run_id(self, number: int | None) -> str:
        row = self.study.ledger.study("study") if number is None else self.study.ledger.trial(self.study.id, number)
        assert row is not None
        return str(row["run_id"])

    def run(self, number: int | None) -> Run:
        return self.client.get_run(self.run_id(number))

    def another(self, number: int) -> None:
        row = self.study.ledger.study("study")
        assert row is not None
        tags = {"hpo.uid": row["uid"], "hpo.trial": str(number)}
        self.client.create_run(row["experiment_id"], tags=tags)

    def bin_experiment(self) -> None:
        self.client.delete_experiment(self.run(0).info.experiment_id)

    def forget(self, number: int | None) -> None:
        self.client._tracking_client.store._hard_delete_run(self.run_id(number))


def optuna_sql(study: Study, statement: str) -> None:
    """Change something around Optuna and around our own code."""
    with study.ledger.begin() as connection:
        assert connection.execute(sql.text(statement)).rowcount > 0


def dump(study: Study) -> list[str]:
    """All that the studies' SQLite file holds."""
    with sqlite3.connect(study.settings.home / "studies.db") as connection:
        lines = list(connection.iterdump())
    connection.close()
    return lines
