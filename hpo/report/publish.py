"""Where a report lies, and its way onto the study's run in MLflow."""

from __future__ import annotations

from pathlib import Path

from hpo.store import records
from hpo.store.lease import holder
from hpo.study import Study
from hpo.tracking.process import Tracking

__all__ = ["place", "publish"]


def place(study: Study) -> Path:
    """Where a study's report lies in the home folder; `hpo delete` removes it."""
    return study.settings.home / records.REPORTS / f"{study.name}.html"


def publish(study: Study) -> bool:
    """Hand the report at its `place` to MLflow by the outbox, and wait for nothing; returns whether it was.

    It was not where nothing has run, or the study's records go to another MLflow.
    """
    row = study.ledger.study(study.name)
    if row is None or not study.knows_mlflow or not study.ledger.attempts(study.id):
        return False
    study.ledger.post(study.id, None, "report", records.report(place(study).name))
    if holder(row) is None:  # else the sender of its driver takes it
        Tracking(study).leave()
    return True
