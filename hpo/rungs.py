"""The rungs of ASHA with promotion: where trials pause, and which of them goes on. Knows curves, no SQL and no Ray.

Asynchronous successive halving as in Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning".
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import TYPE_CHECKING

from hpo.goals import missed
from hpo.space.defaults import DRAWN
from hpo.spec import SearchSpec

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

__all__ = ["PAUSED", "PROMOTED", "Rungs", "states"]

PAUSED = "paused"
"""Attribute of a trial in Optuna: the rung, in epochs, at which it paused last; one without was interrupted there."""

PROMOTED = "promoted"
"""Attribute of a trial in Optuna: the last rung, in epochs, that it was let past."""


class Rungs:
    """Epochs at which trials of a space are held against each other, and what follows from what they came to there."""

    def __init__(self, space: SearchSpec) -> None:
        self._first, self._reduction = space.pruner.min_epochs, space.pruner.reduction
        self._sign = space.metric.sign
        self._longest = space.epochs
        self._limited = bool(space.constraints)
        self.unasked = space.sampler.type in DRAWN and self._first * self._reduction in self
        """Whether one trial of `reduction` passes the first rung whatever it came to there.

        As in the second bracket of Hyperband, because so early a rung may mislead. Not of a grid, in whose order such
        trials would be those of one value.
        """

    @classmethod
    def of(cls, space: SearchSpec) -> Rungs | None:
        """Of a space whose pruner promotes; None of any other."""
        return cls(space) if (space.pruner.type, space.pruner.mode) == ("asha", "promote") else None

    def __contains__(self, epoch: int) -> bool:
        return epoch in self.up_to(epoch) and (self._longest is None or epoch < self._longest)

    def up_to(self, epoch: int) -> list[int]:
        """The rungs that a trial has come by at an epoch."""
        found, rung = [], self._first
        while rung <= epoch and (self._longest is None or rung < self._longest):
            found.append(rung)
            rung *= self._reduction
        return found

    def last(self, trial: FrozenTrial) -> int | None:
        """The last rung that a trial has reached; None before the first."""
        reached = self.up_to(trial.last_step or 0)
        return reached[-1] if reached else None

    def paused_at(self, trial: FrozenTrial) -> int | None:
        """The rung at which a trial waits to be promoted; None where it does not."""
        rung = trial.user_attrs.get(PAUSED)
        if trial.state.name != "WAITING" or rung is None or rung == trial.user_attrs.get(PROMOTED):
            return None
        return int(rung)

    def paused(self, trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
        """Those that wait to be promoted."""
        return [trial for trial in trials if self.paused_at(trial) is not None]

    def promotable(self, trials: Iterable[FrozenTrial]) -> FrozenTrial | None:
        """The paused trial that goes on next: from the highest rung that has one among the best 1/reduction there."""
        found = list(trials)
        paused = {trial.number: rung for trial in found if (rung := self.paused_at(trial)) is not None}
        for rung in sorted(set(paused.values()), reverse=True):
            for trial in self._best(rung, found):
                if paused.get(trial.number) == rung:
                    return trial
        return None

    def goes_on(self, number: int, rung: int, trials: Iterable[FrozenTrial]) -> bool:
        """Whether a trial that reaches a rung is among the best there at once, or is let past the first one unasked."""
        found = {trial.number: trial for trial in trials}
        if self.unasked and rung == self._first and number % self._reduction == 0:
            return not (self._limited and missed(found[number]))
        return number in {trial.number for trial in self._best(rung, found.values())}

    def _best(self, rung: int, trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
        """The best of those that have come so far, however they went on; of equals the earlier trials.

        Those that miss constraints come last, and never go on. Failed ones are left out: their values may be no number.
        """
        there = [trial for trial in trials if rung in trial.intermediate_values and trial.state.name != "FAIL"]
        excess = {trial.number: sum(missed(trial).values()) if self._limited else 0.0 for trial in there}
        there.sort(key=lambda each: (excess[each.number], -self._sign * each.intermediate_values[rung], each.number))
        return [trial for trial in there[: len(there) // self._reduction] if not excess[trial.number]]

    def as_judged(self, trial: FrozenTrial) -> FrozenTrial | None:
        """An unfinished trial as a sampler should see it: PRUNED at its last rung; None before its first.

        Else TPE would take one that waits for no trial, and one that runs for a bad one.
        """
        from optuna.trial import TrialState  # only a search needs it

        rung = self.last(trial)
        if trial.state.is_finished() or rung is None:
            return None
        seen = copy.copy(trial)
        seen.state = TrialState.PRUNED
        seen.intermediate_values = {epoch: value for epoch, value in trial.intermediate_values.items() if epoch <= rung}
        return seen


def states(space: SearchSpec, trials: Iterable[FrozenTrial]) -> list[str]:
    """Optuna's word for the state of each trial; PAUSED for one that waits to be promoted."""
    rungs = Rungs.of(space)
    return [
        "PAUSED" if rungs is not None and rungs.paused_at(trial) is not None else trial.state.name for trial in trials
    ]
