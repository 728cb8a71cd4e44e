"""Which trial of a search may win, and the checkpoint that a promotion would take of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpo import confirmation
from hpo.confirmation import Confirmation
from hpo.errors import NoUsableTrial, SpecError
from hpo.study import Study

__all__ = ["Candidate", "candidate"]


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A trial of a search, and one of its trainings whose checkpoint is kept: its own, or one with a fresh seed."""

    study: Study  # the search
    trial: int
    params: Mapping[str, Any]
    value: float  # the objective that the search saw
    run: int  # number of the training whose checkpoint it is, in `runs`
    runs: Study  # the search itself, or its confirmation
    checkpoint: Path
    sha256: str
    fresh: tuple[float, ...] = ()  # the objective of each training with a fresh seed; empty: not confirmed
    seeds: tuple[int, ...] = ()  # of the trainings in `fresh`; without them the trial's own
    interval: tuple[float, float] | None = None  # 95%, of the mean of `fresh`


def candidate(study: Study, trial: int | None = None) -> Candidate:
    """The winner of a search, or the trial asked for with its own checkpoint.

    The winner is the trial with the best mean over fresh seeds, and of these trainings the best one; without a
    confirmation the best trial of the search.

    Raises:
        NoUsableTrial: no trial is complete, the confirmation is not, or the checkpoint is kept no more.
        SpecError: there is no complete trial of that number.
    """
    values = study.complete()
    if trial is not None and trial not in values:
        raise SpecError(
            f"study {study.name!r} has no complete trial {trial}; complete: {', '.join(map(str, values)) or 'none'}"
        )
    confirmed = confirmation.find(study) if trial is None else None
    if confirmed is not None:
        return _confirmed(study, confirmed)
    number = study.best_trial.number if trial is None else trial
    return Candidate(trial=number, run=number, **_shared(study, number), **_files(study, number))


def _confirmed(study: Study, found: Confirmation) -> Candidate:
    winner = found.winner
    if winner is None:
        again = study.settings.command("confirm", study.name)
        left = f"{found.open} trainings are left" if found.open else "no training came to its end"
        raise NoUsableTrial(f"the winner of {study.name!r} is not confirmed, {left}: `{again}`, or name a trial")
    sign = study.spec.metric.sign
    runs = {
        each.number: (each.values[0], each.params["seed"])
        for each in found.study.frozen_trials()
        if each.state.name == "COMPLETE" and each.params["trial"] == winner.trial
    }
    best = max(runs, key=lambda number: (sign * runs[number][0], -number))
    return Candidate(
        trial=winner.trial,
        run=best,
        **_shared(study, winner.trial),
        **{**_files(found.study, best), "seeds": tuple(seed for _, seed in runs.values())},
        fresh=tuple(value for value, _ in runs.values()),
        interval=winner.interval,
    )


def _shared(study: Study, number: int) -> dict[str, Any]:
    trial = next(each for each in study.frozen_trials() if each.number == number)
    return {"study": study, "params": study.params(trial), "value": trial.values[0]}


def _files(runs: Study, number: int) -> dict[str, Any]:
    checkpoint, row = runs.checkpoint(number), runs.ledger.trial(runs.id, number)
    if checkpoint is None or row is None:
        kept = runs.spec.checkpoints_kept
        raise NoUsableTrial(
            f"study {runs.name!r} has no checkpoint of trial {number}: those of the best {kept} are kept, "
            "of trainers that have a state"
        )
    return {"runs": runs, "checkpoint": checkpoint, "sha256": row["sha256"], "seeds": (row["seed"],)}
