"""Failed trials put into the queue once more, each as a trial of its own with the same parameters.

Optuna lets no ended trial change, and the failure stays on record with its reason. The new trial has a number of its
own, so that its seed is another one, and begins anew: checkpoints of failed trials are not kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hpo.errors import SpecError
from hpo.search.recovery import recover
from hpo.search.staged import key
from hpo.store import history
from hpo.store.history import Entry, Point
from hpo.store.lease import Lease
from hpo.study import Study

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

__all__ = ["retry"]


def retry(study: Study, numbers: Sequence[int] | None = None) -> dict[int, int]:
    """Queue the failed trials of these numbers again, by default all that were not; returns failed -> new number.

    Raises:
        SpecError: a trial is not there, has not failed, or was run again before; the message tells of each.
        StudyOwned: a driver is at work on the study.
    """
    with Lease(study) as lease:
        recover(study)
        history.enqueue(study)  # what an earlier command was killed in
        trials = {trial.number: trial for trial in study.frozen_trials()}
        after = _followed(study, list(trials.values()))
        failed = [number for number, trial in trials.items() if trial.state.name == "FAIL"]
        chosen = sorted(set(numbers)) if numbers else [number for number in failed if number not in after]
        reasons = [reason for number in chosen if (reason := _reason(number, trials, after))]
        if reasons:
            open_ones = ", ".join(str(number) for number in failed if number not in after) or "none"
            lines = "\n".join(f"  {line}" for line in reasons)
            raise SpecError(f"study {study.name!r}:\n{lines}\nFailed and not run again: {open_ones}")
        if not chosen:
            return {}
        rows = {row["number"]: row for row in study.ledger.trials(study.id)}
        changes = [f"trial {number}, which failed: {rows[number]['error']}" for number in chosen]
        points = [Point(params=study.params(trials[number]), origin={"retry_of": number}) for number in chosen]
        history.add(study, lease, Entry(what="retried", changes=changes, points=points))
        history.enqueue(study)
    origins = {trial.user_attrs.get("retry_of"): trial.number for trial in study.frozen_trials()}
    return {number: origins[number] for number in chosen}


def _reason(number: int, trials: dict[int, FrozenTrial], after: dict[int, int]) -> str | None:
    """Why a trial cannot be run again."""
    if number not in trials:
        return f"there is no trial {number}"
    if (state := trials[number].state.name) != "FAIL":
        return f"trial {number} has not failed: it is {state}"
    return f"trial {number} was put into the queue again as trial {after[number]}" if number in after else None


def _followed(study: Study, trials: Sequence[FrozenTrial]) -> dict[int, int]:
    """Failed trials that were run again or will be, and the trial that does it.

    A grid runs failed cells again with every resume: there it is whatever trial of the cell came later.
    """
    found = {each.user_attrs["retry_of"]: each.number for each in trials if "retry_of" in each.user_attrs}
    if study.spec.sampler.type == "grid":
        last = {key(study.params(each)): each.number for each in trials}
        later = {each.number: last[key(study.params(each))] for each in trials if each.state.name == "FAIL"}
        found |= {number: other for number, other in later.items() if other > number}
    return found
