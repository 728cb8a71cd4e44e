"""MLflow as a picture of what SQL holds: one run a trial, records in order, each at least once.

Every call may be repeated after a crash: runs are found again by tags, metrics carry the time they were recorded at.
"""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from sqlalchemy.engine import RowMapping

from hpo.errors import HpoError
from hpo.masking import redacted
from hpo.settings import sqlite_file, user
from hpo.store.ledger import Ledger
from hpo.store.records import LONGEST, REPORTS
from hpo.tracking.note import fenced, note
from trainers.folders import inside, private, private_file

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # the outbox is the retry
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # which would be in the midst of ours

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.store.tracking import DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH as ARTIFACTS
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

__all__ = ["Projection", "Task", "delete_runs"]

BATCH = 500  # outbox records a round
REFUSED = {"INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "INVALID_STATE"}
PARENT = "mlflow.parentRunId"
KIND = {"mlflow.experimentKind": "custom_model_development"}  # its UI takes what says nothing for language models
COLOURS = {"PRUNED": "#9aa4ae", "FAIL": "#8c2f2f"}  # of runs in its UI, whose icon is the same for both


@dataclass(frozen=True, kw_only=True)
class Task:
    """What `hpo.tracking.process` sends in the first line."""

    study: str
    storage: str
    mlflow: str
    artifacts: str | None
    checkpoints: str
    home: str


class Projection:
    """Writes one study's records into its MLflow experiment.

    Raises whatever MLflow raises when it cannot be reached; records stay in the outbox until they are written.
    """

    def __init__(self, task: Task) -> None:
        self._ledger = Ledger.open(task.storage)
        row = self._ledger.study(task.study)
        if row is None:
            raise HpoError(f"no study {task.study!r}")
        self._task = task
        self._study: int = row["id"]
        self._uid: str = row["uid"]
        self._client = client(task.mlflow)
        self._experiment = self._open_experiment()
        self._runs = self._find_runs()
        self._parent = self._runs.get(None) or self._create_parent(row)
        self._runs[None] = self._parent
        self._ledger.update_study(self._study, experiment_id=self._experiment, run_id=self._parent)

    # -- opening ------------------------------------------------------------------------------------------------------

    def _open_experiment(self) -> str:
        found = self._client.get_experiment_by_name(self._task.study)
        if found is not None:
            return str(found.experiment_id)
        location = f"{self._task.artifacts}/{self._study}" if self._task.artifacts else None
        return str(self._client.create_experiment(self._task.study, artifact_location=location, tags=KIND))

    def _find_runs(self) -> dict[int | None, str]:
        """Runs of this study that are there already: trial number -> run id; None is the parent."""
        found: dict[int | None, str] = {}
        for run in _pages(self._client, self._experiment, f"tags.`hpo.uid` = '{self._uid}'"):
            number = run.data.tags.get("hpo.trial")
            found[int(number) if number is not None else None] = run.info.run_id
        return found

    def _create_parent(self, row: RowMapping) -> str:
        tags = {"mlflow.note.content": fenced(row["text"]), **self._tags()}
        begun = _milliseconds(row["created"])
        run = self._client.create_run(self._experiment, start_time=begun, run_name=self._task.study, tags=tags)
        self._client.log_text(run.info.run_id, row["text"], "space.yaml")
        return str(run.info.run_id)

    def _tags(self) -> dict[str, str]:
        return {"hpo.study": self._task.study, "hpo.uid": self._uid, "mlflow.user": user(), **_git_tags()}

    # -- sending ------------------------------------------------------------------------------------------------------

    def send(self) -> int:
        """Send the oldest records, a batch of them; returns how many."""
        rows = self._ledger.pending(self._study, BATCH)
        for number, group in itertools.groupby(sorted(rows, key=_by_trial), key=lambda row: row["number"]):
            records = list(group)
            self._try_trial(number, records)
            self._ledger.delivered([row["id"] for row in records])  # the driver sees by it that MLflow answers
        return len(rows)

    def _try_trial(self, number: int | None, rows: list[RowMapping]) -> None:
        try:
            self._send_trial(number, rows)
        except (MlflowException, LookupError, FileNotFoundError) as error:
            if isinstance(error, MlflowException) and error.error_code not in REFUSED:
                raise
            if len(rows) > 1:  # one by one, so that a record that cannot be written takes no other along
                for row in rows:
                    self._try_trial(number, [row])
                return
            # such as one of a run that somebody deleted: to try again would hold up all others, and SQL has the facts
            print(f"MLflow refuses a record of trial {number}: {redacted(error)}", file=sys.stderr, flush=True)

    def _send_trial(self, number: int | None, rows: list[RowMapping]) -> None:
        metrics: list[Metric] = []
        for row in rows:
            payload = json.loads(row["payload"])
            if row["kind"] == "epoch":
                metrics += _metrics(payload)
                continue
            metrics = self._flush(number, metrics)
            match row["kind"]:
                case "start":
                    self._start(number, payload)
                case "facts":
                    self._facts(self._runs[number], payload)
                case "tags":
                    self._tag(self._runs[number], payload["tags"])
                case "end":
                    self._end(self._runs[number], payload)
                case "table":
                    self._table(payload)
                case "report":
                    page = self._within(Path(self._task.home) / REPORTS, payload["file"])
                    self._client.log_text(self._parent, page.read_text(encoding="utf-8"), "report.html")
                case "checkpoint":
                    file = self._within(Path(self._task.checkpoints), payload["path"])
                    self._client.log_artifact(self._runs[number], str(file))
        self._flush(number, metrics)

    def _flush(self, number: int | None, metrics: list[Metric]) -> list[Metric]:
        for start in range(0, len(metrics), 1000):  # the server's limit of one call
            self._client.log_batch(self._runs[number], metrics=metrics[start : start + 1000])
        return []

    def _start(self, number: int | None, payload: Mapping[str, Any]) -> None:
        if number is None:
            self._client.update_run(self._parent, status="RUNNING")
            return
        tags = {key: str(value) for key, value in payload["tags"].items()} | {"hpo.attempt": str(payload["attempt"])}
        if number not in self._runs:
            run = self._client.create_run(
                self._experiment,
                start_time=_milliseconds(payload["time"]),
                run_name=f"trial {number:04d}",
                tags={PARENT: self._parent, **tags, **self._tags()},
            )
            self._runs[number] = run.info.run_id
        # all of it again after a crash or for another attempt: what is there already stays as it is
        run_id, tags = self._runs[number], {**tags, "hpo.state": "RUNNING", PARENT: self._parent}
        self._client.update_run(run_id, status="RUNNING")
        self._client.log_batch(run_id, params=_params(payload["params"]), tags=[RunTag(*tag) for tag in tags.items()])
        self._client.log_text(run_id, yaml.safe_dump(payload["config"], sort_keys=False), "config.yaml")
        self._ledger.update_trial(self._study, number, run_id=run_id)

    def _facts(self, run_id: str, payload: Mapping[str, Any]) -> None:
        """What the trainer says of itself: about ten parameters, the data set with its digest, the resolved config."""
        facts = payload["facts"]
        self._client.log_batch(run_id, params=_params(facts))
        if payload["config"]:
            self._client.log_text(run_id, yaml.safe_dump(payload["config"], sort_keys=False), "resolved.yaml")
        if "dataset" in facts and "dataset_fingerprint" in facts:
            source = json.dumps({"uri": str(facts["dataset"])})
            digest = str(facts["dataset_fingerprint"])[:36]
            dataset = Dataset(name=str(facts["dataset"]), digest=digest, source_type="hpo", source=source)
            self._client.log_inputs(run_id, [DatasetInput(dataset)])

    @staticmethod
    def _within(folder: Path, path: str) -> Path:
        try:
            return inside(folder, path)
        except ValueError as error:
            raise FileNotFoundError(str(error)) from error

    def _table(self, payload: Mapping[str, Any]) -> None:
        """The trials as an artifact of the parent run; in its note the ten best with links, and how to go on."""
        self._client.log_text(self._parent, payload["csv"], "trials.csv")
        self._client.log_text(self._parent, payload["text"], "space.yaml")  # it may have been extended
        best = [{**each, "run": self._runs.get(each["number"])} for each in payload["best"]]
        text = note({**payload, "best": best}, self._experiment)
        self._client.log_batch(self._parent, tags=[RunTag("mlflow.note.content", text)])

    def _tag(self, run_id: str, tags: Mapping[str, Any]) -> None:
        if tags:
            self._client.log_batch(run_id, tags=[RunTag(key, str(value)[:LONGEST]) for key, value in tags.items()])

    def _end(self, run_id: str, payload: Mapping[str, Any]) -> None:
        colour = COLOURS.get(payload["tags"].get("hpo.state", ""))
        self._tag(run_id, {**payload["tags"], **({"mlflow.runColor": colour} if colour else {})})
        if payload.get("traceback"):
            self._client.log_text(run_id, payload["traceback"], "traceback.txt")
        if payload["status"] == "SCHEDULED":  # waits to go on: no end time
            self._client.update_run(run_id, status="SCHEDULED")
        else:
            self._client.set_terminated(run_id, payload["status"], end_time=_milliseconds(payload["time"]))


def client(uri: str) -> MlflowClient:
    """An MLflow client; a local database gets its tables, and is this user's alone."""
    path = sqlite_file(uri)
    if path is not None and not path.exists():
        _create(path)
    return MlflowClient(uri)  # not mlflow.set_tracking_uri, which writes into this process's environment


def _create(path: Path) -> None:
    """A database with MLflow's tables, made beside and renamed: MLflow can never open one that was cut short."""
    folder = os.open(private(path.parent), os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)  # the sender and a command may come together
        if not path.exists():
            new = path.with_name(f"{path.name}.new")
            new.unlink(missing_ok=True)  # of one that was killed here
            SqlAlchemyStore(f"sqlite:///{private_file(new)}", ARTIFACTS).engine.dispose()
            new.replace(path)
    finally:
        os.close(folder)


def is_absent(uri: str) -> bool:
    """Whether it is a local database that is not there yet, which to open would create."""
    file = sqlite_file(uri)
    return file is not None and not file.exists()


def delete_runs(name: str, uid: str, uri: str) -> None:
    """Put the runs of the study `uid` into MLflow's bin, and its experiment too where it shows no others.

    The experiment is renamed first, because MLflow keeps the names of deleted ones taken. Raises as MLflow does.
    """
    if is_absent(uri):
        return
    there = client(uri)
    found = there.get_experiment_by_name(name)
    if found is None or found.lifecycle_stage != "active":
        return
    runs = list(_pages(there, found.experiment_id))
    mine = [run for run in runs if run.data.tags.get("hpo.uid") == uid]
    if len(mine) == len(runs):
        there.rename_experiment(found.experiment_id, f"{name} (deleted {time.strftime('%Y-%m-%d %H:%M:%S')})")
        there.delete_experiment(found.experiment_id)
        return
    for run in mine:
        there.delete_run(run.info.run_id)


def _pages(there: MlflowClient, experiment: str, query: str = "") -> Iterator[Run]:
    """All runs of an experiment that the query finds."""
    token: str | None = None
    while True:
        page = there.search_runs([experiment], query, max_results=1000, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _by_trial(row: RowMapping) -> int:
    # sorting is stable: within a trial records keep their order. The study's own come last, its end after its trials'
    return sys.maxsize if row["number"] is None else row["number"]


def _metrics(payload: Mapping[str, Any]) -> list[Metric]:
    at = _milliseconds(payload["time"])
    return [Metric(name, value, at, payload["epoch"]) for name, value in payload["metrics"].items()]


def _params(values: Mapping[str, Any]) -> list[Param]:
    return [Param(key, str(value)[:6000]) for key, value in values.items()]


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)


def _git_tags() -> dict[str, str]:
    """The commit of the folder that the search was started in, when there is one."""
    command = ["git", "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    return {"mlflow.source.git.commit": done.stdout.strip()} if done.returncode == 0 else {}
