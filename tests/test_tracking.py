"""The outbox and the process that carries it to MLflow: real databases, a real server, real kills."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from audit import disagreements, mlflow_runs
from mlflow import MlflowClient
from study_samples import open_study, report, scheduler_of

from hpo import settings, spec
from hpo.projection import Projection, Task
from hpo.searcher import Searcher
from hpo.study import Study
from hpo.tracking import Tracking

EPOCHS = 3


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
    study.ledger.post(study.id, None, "end", {"status": "FINISHED", "tags": {}, "time": time.time()})


def task_of(study: Study) -> Task:
    where = study.settings
    return Task(
        study=study.name,
        storage=where.storage,
        mlflow=where.mlflow,
        artifacts=where.artifacts,
        checkpoints=str(where.checkpoints),
        home=str(where.home),
    )


def test_everything_arrives_once_with_tags_params_and_config(home: Path, storage: str) -> None:
    study = open_study(home, storage)
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
    Projection(task_of(study)).send()
    first = {number: run["run_id"] for number, run in mlflow_runs(study).items()}

    for row in rows:  # as if the sender had died before it could delete what it had sent
        study.ledger.post(study.id, row["number"], row["kind"], json.loads(row["payload"]))
    Projection(task_of(study)).send()
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
    projection = Projection(task_of(study))
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
from hpo.tracking import Tracking
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
    port = _free_port()
    where = settings.resolve(home=home, mlflow=f"http://127.0.0.1:{port}")
    tree = {"name": "study", "metric": "val/accuracy", "sampler": "random", "budget": {"trials": 3}}
    tree |= {"parameters": {"lr": {"min": 0.0, "max": 1.0}}, "trainer": {"import": "synthetic:curve"}}
    study = Study.open(spec.from_mapping(tree), where)
    search_without_ray(study)
    waiting = study.ledger.pending_count(study.id)
    tracking = Tracking(study)
    tracking.wake()
    began = time.monotonic()
    assert tracking.close(3) == waiting
    assert time.monotonic() - began < 6

    with _server(home, port):
        tracking = Tracking(study)
        tracking.wake()
        assert tracking.close(60) == 0
        assert disagreements(study) == []


@contextmanager
def _server(home: Path, port: int) -> Iterator[None]:
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{home}/server.db", "--artifacts-destination", str(home / "served")]
    with (home / "server.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_until(lambda: _answers(port), seconds=120)
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_until(what: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, f"waited for {seconds} s"
        time.sleep(0.05)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_zombie(pid: int) -> bool:
    return ") Z " in Path(f"/proc/{pid}/stat").read_text()


def test_records_that_cannot_be_written_take_no_others_along(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    study = open_study(home)
    search_without_ray(study, trials=2)
    study.ledger.post(study.id, 0, "checkpoint", {"path": "1/000000/gone.pt"})
    study.ledger.post(study.id, 7, "checkpoint", {"path": "1/000007/never-was.pt"})
    study.ledger.post(study.id, 1, "epoch", {"epoch": 9, "time": time.time(), "metrics": {"a//b": 1.0}})
    Projection(task_of(study)).send()
    assert study.ledger.pending_count(study.id) == 0
    assert disagreements(study) == []
    assert capfd.readouterr().err.count("MLflow refuses a record") == 3
