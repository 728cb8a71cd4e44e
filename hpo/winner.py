"""Which trial of a search may win, and the checkpoint that a promotion would take of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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

    Raises:
        NoUsableTrial: no trial is complete, or the checkpoint is kept no more.
        SpecError: there is no complete trial of that number.
    """
    values = study.complete()
    if trial is not None and trial not in values:
        raise SpecError(f"study {study.name!r} has no complete trial {trial}; complete: {', '.join(map(str, values))}")
    number = study.best_trial.number if trial is None else trial
    checkpoint, row = study.checkpoint(number), study.ledger.trial(study.id, number)
    if checkpoint is None or row is None:
        raise NoUsableTrial(
            f"the checkpoint of trial {number} is not kept; those of the best {study.spec.checkpoints_kept} are"
        )
    found = next(each for each in study.frozen_trials() if each.number == number)
    return Candidate(
        study=study,
        trial=number,
        params=study.params(found),
        value=values[number],
        run=number,
        runs=study,
        checkpoint=checkpoint,
        sha256=row["sha256"],
        seeds=(row["seed"],),
    )
