"""What is left of a study: trials, and seconds until a budget ends it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from hpo import rungs
from hpo.search.staged import is_over
from hpo.spec import SearchSpec
from hpo.store.history import retried

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial
    from sqlalchemy.engine import RowMapping

    from hpo.study import Study

__all__ = ["is_spent", "is_whole", "kept", "longest", "seconds_left", "trials_left"]


def trials_left(space: SearchSpec, study: Study | None) -> int | None:
    """Trials that are still to be run, of a staged search at most; None where no count ends the search."""
    total = space.trials
    if space.sampler.type == "grid":
        cells = len(space.grid())
        total = cells if total is None else min(cells, total)
    if space.sampler.type == "staged":
        most = sum(map(len, space.stages.values()))
        total = most if total is None else min(most, total)
    if study is None:
        return total
    if is_spent(space, study) or is_over(space, study.frozen_trials()):
        return 0
    trials = study.frozen_trials()
    states = rungs.states(space, trials)
    again = states.count("FAIL") if space.sampler.type == "grid" else 0  # cells that a next run tries anew
    if space.sampler.type != "grid" and total is not None:
        total += retried(trials)
    begun = len(states) - states.count("WAITING") - again
    return None if total is None else max(states.count("WAITING"), total - begun)


def is_whole(space: SearchSpec, trials: Sequence[FrozenTrial]) -> bool:
    """Whether there is nothing more to try, whatever the budget: all stages, or all cells of a grid, are done."""
    if space.sampler.type != "grid":
        return is_over(space, trials)
    failed = sum(trial.state.name == "FAIL" for trial in trials)  # which a next run tries anew
    return all(trial.state.is_finished() for trial in trials) and failed <= retried(trials)


def is_spent(space: SearchSpec, study: Study) -> bool:
    """Whether a budget that is no count of trials ends the next run at once."""
    budget, hours = space.budget, study.ledger.gpu_seconds(study.id) / 3600
    spent = [
        (budget.time, study.row["seconds"]),
        (budget.gpu_hours, hours + kept(space, _longest(study) if space.reserved else 0.0) / 3600),
        (budget.cost, hours * (budget.price_per_gpu_hour or 0)),
    ]
    return any(limit is not None and so_far >= limit for limit, so_far in spent)


def longest(trials: Iterable[FrozenTrial], rows: Iterable[RowMapping]) -> float:
    """GPU-seconds of the longest COMPLETE trial; `rows` of hpo_trial."""
    whole = {trial.number for trial in trials if trial.state.name == "COMPLETE"}
    return max((float(row["gpu_seconds"]) for row in rows if row["number"] in whole), default=0.0)


def _longest(study: Study) -> float:
    return longest(study.frozen_trials(), study.ledger.trials(study.id))


def kept(space: SearchSpec, longest: float) -> float:
    """GPU-seconds of `budget.gpu_hours` that are the winner's, whose trainings take the longest trial's each."""
    if not space.reserved or space.winner is None:
        return 0.0
    epochs = space.epochs
    share = space.winner.epochs / epochs if space.winner.epochs and epochs else 1.0
    return space.reserved * longest * share


def seconds_left(
    space: SearchSpec, *, seconds: float, gpu_seconds: float, held: float, longest: float = 0.0
) -> float | None:
    """Until a budget ends the search, with `held` GPUs at work; None without one.

    `seconds` of wall time and `gpu_seconds` are spent, the longest trial took `longest` GPU-seconds.
    """
    budget, limits = space.budget, []
    if budget.time is not None:
        limits.append(budget.time - seconds)
    hours = [] if budget.gpu_hours is None else [budget.gpu_hours - kept(space, longest) / 3600]
    if budget.cost is not None and budget.price_per_gpu_hour is not None:
        hours.append(budget.cost / budget.price_per_gpu_hour)
    limits += [(each * 3600 - gpu_seconds) / max(held, 1.0) for each in hours]
    return min(limits, default=None)
