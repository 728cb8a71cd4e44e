"""The outbox and the process that carries it to MLflow: real databases, a real server, real kills."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from audit import disagreements, mlflow_runs
from damage import send
from mlflow import MlflowClient
from servers import MlflowServer
from study_samples import TREE, open_study, report, scheduler_of
from waiting import wait_until

from hpo import settings, spec
from hpo.search.searcher import Searcher
from hpo.store import records
from hpo.study import Study
from hpo.tracking.process import Tracking, task_of
from hpo.tracking.projection import Projection, Task, client

EPOCHS = 3
DIES_IN_A_MIGRATION = """
import os, sys
from sqlalchemy import Engine, event

from hpo.tracking.projection import client

@event.listens_for(Engine, "after_cursor_execute")
def die(connection, cursor, statement, *rest):
    if "CREATE TABLE trace_info" in statement:
        os._exit(9)

client(sys.argv[1]).search_experiments()
"""


def search_without_ray(study: Study, trials: int = 3) -> None:
    """Fill SQL and the outbox as a driver does."""
    scheduler, searcher = scheduler_of(study), Searcher(study)
    study.ledger.post(study.id, None, "start", {})
    for _ in range(trials):
        trial = searcher.next()
        assert trial is not None
        scheduler.start(trial, cpu=1, gpu=0)
        for epoch in range(1, EPOCHS + 1):
            scheduler.report(report(trial.number, epoch, epoch / 10, last=epoch == EPOCHS, facts={"classes": 10}))
    end = records.end_of_study(study.counts(), study.spec, retried=0, time=time.time())
    study.ledger.post(study.id, None, "end", end)


def test_everything_arrives_once_with_tags_params_and_config(home: Path, storage: str) -> None:
    study = open_study(home, storage, budget={"trials": 3})
    search_without_ray(study)
    tracking = Tracking(study)
    tracking.wake()
    assert tracking.close(60) == 0
    assert disagreements(study) == []

    client = MlflowClient(study.settings.mlflow)
    runs = mlflow_runs(study)
    run = client.get_run(runs[0]["run_id"])
    parent = client.get_run(run.data.tags["mlflow.parentRunId"])
    assert run.info.run_name == "trial 0000"
    assert run.data.params["classes"] == "10"
    assert {"hpo.study", "hpo.trial", "hpo.seed", "hpo.attempt", "hpo.best_epoch"} <= set(run.data.tags)
    assert parent.info.status == "FINISHED"
    assert "lr:" in parent.data.tags["mlflow.note.content"]
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["config.yaml"]
    steps = [metric.step for metric in client.get_metric_history(run.info.run_id, "val/accuracy")]
    assert steps == [1, 2, 3]


def test_sending_again_after_a_crash_changes_nothing(home: Path) -> None:
    study = open_study(home)
    search_without_ray(study)
    rows = study.ledger.pending(study.id, 1000)
    send(study)
    first = {number: run["run_id"] for number, run in mlflow_runs(study).items()}

    for row in rows:  # as if the sender had died before it could delete what it had sent
        study.ledger.post(study.id, row["number"], row["kind"], json.loads(row["payload"]))
    send(study)
    assert {number: run["run_id"] for number, run in mlflow_runs(study).items()} == first
    history = MlflowClient(study.settings.mlflow).get_metric_history(first[0], "val/accuracy")
    assert [metric.step for metric in history] == [1, 2, 3]
    assert disagreements(study) == []


def test_a_run_that_somebody_deleted_holds_nothing_up(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    study = open_study(home)
    scheduler, searcher = scheduler_of(study), Searcher(study)
    for _ in range(2):
        trial = searcher.next()
        assert trial is not None
        scheduler.start(trial, cpu=1, gpu=0)
    projection = Projection(Task(**task_of(study)))
    projection.send()
    MlflowClient(study.settings.mlflow).delete_run(mlflow_runs(study)[0]["run_id"])
    for number in (0, 1):
        scheduler.report(report(number, 1, 0.5, last=True))
    projection.send()
    assert study.ledger.pending_count(study.id) == 0
    assert mlflow_runs(study)[1]["status"] == "FINISHED"
    assert "MLflow refuses" in capfd.readouterr().err


def test_the_sender_ends_with_a_killed_driver(home: Path) -> None:
    study = open_study(home)
    search_without_ray(study)
    program = f"""
import os, signal
from hpo import settings
from hpo.study import Study
from hpo.tracking.process import Tracking
tracking = Tracking(Study.load("study", settings.resolve(home={str(home)!r})))
tracking.wake()
print(tracking._process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == -signal.SIGKILL
    sender = int(done.stdout)
    wait_until(lambda: not Path(f"/proc/{sender}").exists() or _is_zombie(sender))
    assert study.ledger.pending_count(study.id) == 0
    assert disagreements(study) == []


@pytest.mark.slow
def test_a_server_that_is_down_delays_records_and_loses_none(home: Path) -> None:
    server = MlflowServer(home.parent, up=False)
    study = Study.open(spec.from_mapping(TREE), settings.resolve(home=home, mlflow=server.url))
    search_without_ray(study)
    waiting = study.ledger.pending_count(study.id)
    tracking = Tracking(study)
    tracking.wake()
    began = time.monotonic()
    assert tracking.close(3) == waiting
    assert time.monotonic() - began < 6

    try:
        server.start()
        tracking = Tracking(study)
        tracking.wake()
        assert tracking.close(60) == 0
        assert disagreements(study) == []
    finally:
        server.stop()


def _is_zombie(pid: int) -> bool:
    return ") Z " in Path(f"/proc/{pid}/stat").read_text()


def test_records_that_cannot_be_written_take_no_others_along(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    study = open_study(home)
    search_without_ray(study, trials=2)
    study.ledger.post(study.id, 0, "checkpoint", {"path": "1/000000/gone.pt"})
    study.ledger.post(study.id, 7, "checkpoint", {"path": "1/000007/never-was.pt"})
    study.ledger.post(study.id, 1, "epoch", {"epoch": 9, "time": time.time(), "metrics": {"a//b": 1.0}})
    send(study)
    assert study.ledger.pending_count(study.id) == 0
    assert disagreements(study) == []
    assert capfd.readouterr().err.count("MLflow refuses a record") == 3


def test_a_process_killed_while_mlflow_makes_its_tables_leaves_nothing_that_mlflow_cannot_open(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    command = [sys.executable, "-c", DIES_IN_A_MIGRATION, uri]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 9
    assert [each.name for each in client(uri).search_experiments()] == ["Default"]
    assert (tmp_path / "mlflow.db").stat().st_mode & 0o777 == 0o600
