"""What a driver that died has left of a study, put in order; under the lease."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.engine import RowMapping

from hpo.goals import points
from hpo.store import columns, records

if TYPE_CHECKING:
    from hpo.study import Study

__all__ = ["recover", "report_missing"]


def recover(study: Study) -> int:
    """Put what a dead driver left behind into the queue; only the holder of the lease may call it.

    Trials that were RUNNING wait again, keep their number, curve and checkpoint, and go on from there. Epochs that
    reached our tables but not Optuna's are reported, and ends that reached Optuna alone recorded. Returns the number of
    trials put back.
    """
    ours = {row["number"]: row for row in study.ledger.trials(study.id)}
    back = 0
    for trial in study.frozen_trials():
        row = ours.get(trial.number)
        if not trial.state.is_finished() and row is not None:
            report_missing(study, trial)
        if trial.state == TrialState.RUNNING:
            study.storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)
            back += 1
        if row is not None and row["ended"] is None:
            _end(study, trial, row)
    return back


def report_missing(study: Study, trial: FrozenTrial) -> None:
    """Report to Optuna the epochs that only our tables have.

    Raises:
        Unavailable: the record of one of them is damaged.
    """
    for row in study.ledger.epochs(study.id, trial.number):
        if row["epoch"] not in trial.intermediate_values:
            value = columns.metrics(row).get(study.spec.metric.name)
            if value is not None:
                study.storage.set_trial_intermediate_value(trial._trial_id, row["epoch"], value)


def _end(study: Study, trial: FrozenTrial, row: RowMapping) -> None:
    """Record in our tables that a trial has ended, or waits."""
    state = TrialState.WAITING if trial.state == TrialState.RUNNING else trial.state
    said = {"error": row["error"], "traceback": row["traceback"]}
    study.ledger.end_trial(
        study.id,
        trial.number,
        outcome="its driver was gone" if state == TrialState.WAITING else row["error"] or state.name.lower(),
        record=records.end(state.name, best_epoch=row["best_epoch"], **said),
        best=_best_record(study, trial) if state == TrialState.COMPLETE else None,
    )


def _best_record(study: Study, trial: FrozenTrial) -> records.Payload | None:
    """The point of the best value's curve that a COMPLETE trial adds, which ended last."""
    there = {each.number: each.values[0] for each in points(study.frozen_trials()) if not each.excess}
    value = there.pop(trial.number, None)
    if value is None or any(study.spec.metric.sign * (value - other) <= 0 for other in there.values()):
        return None
    ended = sum(each.state.is_finished() for each in study.frozen_trials())
    return records.best(ended, metric=study.spec.metric.name, value=value, time=time.time())
