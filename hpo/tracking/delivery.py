"""What waits for MLflow, sent by this process: for commands that have MLflow imported already."""

from __future__ import annotations

from contextlib import suppress

from hpo.errors import Unavailable
from hpo.store.lease import holder
from hpo.study import Study
from hpo.tracking.process import task_of
from hpo.tracking.projection import Projection, Task
from hpo.tracking.runs import answering
from hpo.tracking.sender import only_one
from trainers.folders import owner_only

__all__ = ["deliver"]


def deliver(study: Study) -> None:
    """Send what waits; left to a driver that is at work, and to the next command where MLflow does not answer."""
    row = study.ledger.study(study.name)
    if row is None or holder(row) is not None or not study.knows_mlflow:
        return
    task = Task(**task_of(study))
    with suppress(Unavailable), answering(task.mlflow), only_one(task), owner_only():
        projection = Projection(task)
        while projection.send():
            pass
