"""A study's runs as MLflow shows them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import sqlalchemy

from hpo.errors import Unavailable
from hpo.masking import masked, redacted
from hpo.tracking.projection import client, is_absent  # it also sets how patiently MLflow's client waits

from mlflow.entities import ViewType  # isort: skip
from mlflow.exceptions import MlflowException  # isort: skip

__all__ = ["Run", "Shown", "answering", "ping", "takes_a_tag"]

ERRORS = (MlflowException, sqlalchemy.exc.SQLAlchemyError, OSError)  # OSError: requests' are
PAGE = 1000
CHECK = "hpo.check"  # a tag for a moment


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run with our tags."""

    id: str
    number: int | None  # trial; None: the study's own
    status: str
    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: frozenset[str]
    deleted: bool
    began: int  # ms since the epoch


class Shown:
    """What MLflow has of one study."""

    def __init__(self, uri: str, name: str, uid: str) -> None:
        """Read the experiment and its runs.

        Raises:
            Unavailable: MLflow does not answer.
        """
        self.experiment: str | None = None
        self.deleted = False
        self.runs: list[Run] = []
        if is_absent(uri):  # to open it would create it
            return
        self._uri = uri
        with answering(uri):
            self._client = client(uri)
            found = self._client.get_experiment_by_name(name)
            if found is not None:
                self.experiment = str(found.experiment_id)
                self.deleted = found.lifecycle_stage != "active"
                self.runs = list(self._read(uid))

    def _read(self, uid: str) -> Iterator[Run]:
        token: str | None = None
        query = f"tags.`hpo.uid` = '{uid}'"
        while True:
            page = self._client.search_runs(
                [self.experiment], query, run_view_type=ViewType.ALL, max_results=PAGE, page_token=token
            )
            for run in page:
                number = run.data.tags.get("hpo.trial")
                yield Run(
                    id=run.info.run_id,
                    number=int(number) if number is not None else None,
                    status=run.info.status,
                    tags=run.data.tags,
                    params=run.data.params,
                    metrics=frozenset(run.data.metrics),
                    deleted=run.info.lifecycle_stage != "active",
                    began=run.info.start_time,
                )
            token = page.token
            if not token:
                return

    def of(self, number: int | None, *, deleted: bool = False) -> list[Run]:
        """The runs of a trial, the oldest first."""
        found = [run for run in self.runs if run.number == number and run.deleted == deleted]
        return sorted(found, key=lambda run: (run.began, run.id))

    def curve(self, run: Run, metric: str) -> list[tuple[int, float]]:
        """Steps and values of a metric, in order of steps; a step may be there twice."""
        if metric not in run.metrics:
            return []
        with answering(self._uri):
            return sorted((each.step, each.value) for each in self._client.get_metric_history(run.id, metric))

    def restore_and_delete(self, restore: list[Run], delete: list[Run]) -> None:
        """Take runs out of MLflow's bin, and put others there; the experiment first, where that was deleted."""
        if self.experiment is None:
            return
        with answering(self._uri):
            if self.deleted:
                self._client.restore_experiment(self.experiment)
            for run in restore:
                self._client.restore_run(run.id)
            for run in delete:
                self._client.delete_run(run.id)


def ping(uri: str) -> float | None:
    """Seconds that MLflow takes to answer; None for a database that is not there yet.

    Raises:
        Unavailable: it does not answer.
    """
    if is_absent(uri):
        return None
    with answering(uri):
        there = client(uri)
        began = time.perf_counter()
        there.search_experiments(max_results=1)
        return time.perf_counter() - began


@contextmanager
def answering(uri: str) -> Iterator[None]:
    """Turn what MLflow raises into Unavailable."""
    try:
        yield
    except ERRORS as error:
        raise Unavailable(f"MLflow at {masked(uri)} does not answer: {_said(error)}") from error


def _said(error: BaseException) -> str:
    """What the network said, which is at the bottom of four errors that each repeat the address; else the error."""
    below: BaseException | None = error
    while below is not None:
        if isinstance(below, OSError) and below.strerror:
            return below.strerror
        below = below.__cause__ or below.__context__
    return redacted(error)


def takes_a_tag(uri: str) -> bool:
    """Whether MLflow writes a tag onto an experiment and forgets it again; False where it has none to try it on.

    Raises:
        Unavailable: MLflow does not answer, or refuses it.
    """
    with answering(uri):
        service = client(uri)
        for experiment in service.search_experiments(max_results=1):
            service.set_experiment_tag(experiment.experiment_id, CHECK, "1")
            taken = bool(service.get_experiment(experiment.experiment_id).tags.get(CHECK) == "1")
            service.delete_experiment_tag(experiment.experiment_id, CHECK)
            return taken
    return False
