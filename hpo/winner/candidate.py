"""Which trial of a search may win, and the checkpoint that a promotion would take of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpo.errors import NoUsableTrial, SpecError
from hpo.goals import reached
from hpo.study import Study
from hpo.winner import confirmation
from hpo.winner.confirmation import Confirmation
from hpo.wording import assignments

__all__ = ["Candidate", "candidate", "require_built_in"]


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A trial of a search, and one of its trainings whose checkpoint is kept: its own, or one with a fresh seed."""

    study: Study  # the search
    trial: int
    params: Mapping[str, Any]
    value: float  # the objective that the search saw
    others: Mapping[str, float]  # the other goals likewise
    run: int  # number of the training whose checkpoint it is, in `runs`
    runs: Study  # the search itself, or its confirmation
    checkpoint: Path
    sha256: str
    seed: int  # of the training whose checkpoint it is
    fresh: tuple[float, ...] = ()  # the objective of each training with a fresh seed; empty: not confirmed
    seeds: tuple[int, ...] = ()  # of the trainings in `fresh`
    interval: tuple[float, float] | None = None  # 95%, of the mean of `fresh`


def candidate(study: Study, trial: int | None = None) -> Candidate:
    """The winner of a search, or the trial asked for with its own checkpoint.

    The winner is the trial with the best mean over fresh seeds, and of these trainings the best one; without a
    confirmation the best trial of the search. Of a trial that was trained again its fresh numbers are told too.

    Raises:
        NoUsableTrial: no trial is complete, the confirmation is not, or the checkpoint is kept no more.
        SpecError: there is no complete trial of that number; or several goals have a front, and none of it is named.
    """
    values = study.complete()
    if trial is not None and trial not in values:
        raise SpecError(
            f"study {study.name!r} has no complete trial {trial}; complete: {', '.join(map(str, values)) or 'none'}"
        )
    if trial is None and study.spec.several:
        raise SpecError(_choose(study))
    found = confirmation.find(study)
    if trial is None and found is not None:
        return _confirmed(study, found)
    number = study.best_trial.number if trial is None else trial
    runs = _trainings(found, number) if found is not None else {}
    return Candidate(run=number, **_files(study, number), **_shared(study, found, number, runs))


def _choose(study: Study) -> str:
    """What is on the front, of which a person takes one."""
    best = study.best_trials  # or it says that there is none
    lines = [
        f"  --trial {trial.number}: {reached(trial.values, study.spec.metrics)}  {assignments(study.params(trial))}"
        for trial in best
    ]
    head = f"study {study.name!r} has several goals, and no trial wins them all; name one of its front:"
    return "\n".join(
        [head, *lines, f"such as `{study.settings.command('promote', study.name)} --trial {best[0].number}`"]
    )


def require_built_in(study: Study, done: str) -> None:
    """Make sure that the networks of a study can be read; `done` is what is done with those, such as "exported".

    Raises:
        SpecError: the study's trainer is the user's own.
    """
    if "import" in study.spec.trainer:
        raise SpecError(
            f"study {study.name!r} trains {study.spec.trainer['import']}: what a trainer of your own has saved, that "
            f"trainer alone can read, so that only networks of the built-in trainer are {done}"
        )


def _confirmed(study: Study, found: Confirmation) -> Candidate:
    if found.winner is None:
        again = study.settings.command("confirm", study.name)
        left = f"{found.open} trainings are left" if found.open else "no training came to its end"
        raise NoUsableTrial(f"the winner of {study.name!r} is not confirmed, {left}: `{again}`, or name a trial")
    sign, number = study.spec.metric.sign, found.winner.trial
    runs = _trainings(found, number)
    ranked = sorted(runs, key=lambda run: (-sign * runs[run][0], run))
    kept = [run for run in ranked if found.study.checkpoint(run) is not None]
    best = (kept or ranked)[0]  # without a file, `_files` says what is kept
    return Candidate(run=best, **_files(found.study, best), **_shared(study, found, number, runs))


def _trainings(found: Confirmation, number: int) -> dict[int, tuple[float, int]]:
    """The trainings of a trial with fresh seeds that came to their end: number -> objective and seed."""
    return {
        each.number: (each.values[0], each.params["seed"])
        for each in found.study.frozen_trials()
        if each.state.name == "COMPLETE" and each.params["trial"] == number
    }


def _shared(
    study: Study, found: Confirmation | None, number: int, runs: Mapping[int, tuple[float, int]]
) -> dict[str, Any]:
    trial = next(each for each in study.frozen_trials() if each.number == number)
    standing = next((each for each in found.ranked if each.trial == number), None) if found is not None else None
    return {
        "study": study,
        "trial": number,
        "params": study.params(trial),
        "value": trial.values[0],
        "others": {each.name: value for each, value in zip(study.spec.metrics[1:], trial.values[1:], strict=True)},
        "fresh": tuple(value for value, _ in runs.values()),
        "seeds": tuple(seed for _, seed in runs.values()),
        "interval": standing.interval if standing is not None else None,
    }


def _files(runs: Study, number: int) -> dict[str, Any]:
    checkpoint, row = runs.checkpoint(number), runs.ledger.trial(runs.id, number)
    if checkpoint is not None and not checkpoint.exists():
        raise NoUsableTrial(
            f"the checkpoint of trial {number} of study {runs.name!r} is not there any more: {checkpoint}; "
            f"`{runs.settings.command('doctor', runs.name)}` tells what is, or name another trial"
        )
    if checkpoint is None or row is None:
        kept = runs.spec.checkpoints_kept
        front = " and of the front" if runs.spec.several else ""
        raise NoUsableTrial(
            f"study {runs.name!r} has no checkpoint of trial {number}: those of the best {kept}{front} are kept, "
            "of trainers that have a state"
        )
    return {"runs": runs, "checkpoint": checkpoint, "sha256": row["sha256"], "seed": row["seed"]}
