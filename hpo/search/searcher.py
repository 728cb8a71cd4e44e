"""Which trial comes next: Optuna asked, the grid counted out, the budget kept. Knows nothing of Ray."""

from __future__ import annotations

import warnings
from collections.abc import Collection
from typing import Any

import numpy as np
import optuna
from optuna.samplers import RandomSampler, TPESampler
from optuna.trial import FrozenTrial, Trial, TrialState

from hpo.rungs import PROMOTED, Rungs
from hpo.search import staged
from hpo.search.ranges import distribution
from hpo.search.staged import key
from hpo.search.tpe import Past, Tpe
from hpo.spec import SearchSpec
from hpo.store.history import retried
from hpo.study import Study

__all__ = ["Searcher", "derive_seed", "key"]

SAMPLER, TRIAL, CONFIRMATION = 0, 1, 2  # first word of a seed's key: what the seed is for


def derive_seed(seed: int, purpose: int, index: int) -> int:
    """An independent 32-bit seed for each purpose and index (NumPy's SeedSequence)."""
    return int(np.random.SeedSequence(entropy=seed, spawn_key=(purpose, index)).generate_state(1)[0])


class Searcher:
    """Hands out trials until the space or the budget is used up.

    Every draw depends on the study's seed and the trials so far alone, never on this process: a resumed search goes on
    with the draws the uninterrupted one would have made. Points that do not come from TPE are put into the study's
    queue whole, so that a kill between two parameters cannot change one.
    """

    def __init__(self, study: Study) -> None:
        self._study = study
        self._spec = study.spec
        self._rungs = Rungs.of(study.spec)
        self._past = Past(self._rungs.as_judged if self._rungs else None)
        trials = study.frozen_trials()
        self._count(trials)
        self._budget, self._retried = self._spec.trials, retried(trials)
        if self._spec.sampler.type == "grid":
            self._enqueue_grid(trials)
        elif self._budget is not None:
            # a failed trial that is run again has given its place in the budget to the other one
            self._budget += self._retried

    def _count(self, trials: list[FrozenTrial]) -> None:
        begun = {row["number"] for row in self._study.ledger.trials(self._study.id)}
        self._started = len(begun)
        waiting = [trial.number for trial in trials if trial.state == TrialState.WAITING and not self._is_paused(trial)]
        # in the queue, and already counted against the budget: what a stopped or killed driver left
        self._left_over = len(begun.intersection(waiting))
        self._queued = len(waiting) - self._left_over

    def _is_paused(self, trial: FrozenTrial) -> bool:
        return self._rungs is not None and self._rungs.paused_at(trial) is not None

    def _promotable(self) -> FrozenTrial | None:
        return self._rungs.promotable(self._study.frozen_trials()) if self._rungs is not None else None

    def reclaim(self, running: Collection[int]) -> None:
        """Put trials into the queue that an outage of the database left RUNNING with nobody to run them.

        Optuna had made or handed one out, and the answer was lost.
        """
        for trial in self._study.frozen_trials():
            if trial.state == TrialState.RUNNING and trial.number not in running:
                self._study.storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)
        self._count(self._study.frozen_trials())

    @property
    def exhausted(self) -> bool:
        """Whether no trial is to start: the budget of trials is used up, or the grid, and none waits to be promoted."""
        return not self._left_over and self._promotable() is None and self._begins_no_more()

    def _begins_no_more(self) -> bool:
        spent = self._budget is not None and self._started >= self._budget
        if spent or self._queued:
            return spent
        kind = self._spec.sampler.type
        return kind == "grid" or (kind == "staged" and staged.is_over(self._spec, self._study.frozen_trials()))

    @property
    def left(self) -> int | None:
        """Trials that are still to be started, of a staged search at most; None where no count ends the search."""
        if self._spec.sampler.type == "grid":
            return self._left_over + self._queued
        budget = self._budget
        if self._spec.sampler.type == "staged":
            stages = sum(map(len, self._spec.stages.values())) + self._retried
            budget = stages if budget is None else min(budget, stages)
        return None if budget is None else self._left_over + max(0, budget - self._started)

    def give_back(self, count: int) -> None:
        """Note that so many trials which it had handed out are in the queue again, to go on later."""
        self._left_over += count

    def next(self) -> Trial | None:
        """The next trial, RUNNING in Optuna with all its parameters set; None when there is no more to start.

        Of a staged search also None while a stage goes on, before whose end nobody knows the next one.
        """
        if self._left_over:
            self._left_over -= 1
        elif (promoted := self._promotable()) is not None:
            return self._promote(promoted)
        elif self._begins_no_more():
            return None
        elif self._queued:
            self._queued -= 1
            self._started += 1
        elif self._spec.sampler.type == "staged":
            made = self._enqueue_stage()
            if not made:
                return None
            self._queued += made - 1
            self._started += 1
        else:
            if self._spec.sampler.type in ("random", "gp"):
                self._study.optuna.enqueue_trial(self._point(self._started))
            self._started += 1
        return self._ask()

    def _ask(self) -> Trial:
        study = self._study.optuna
        study.sampler = self._sampler(self._started)
        trial = study.ask() if self._rungs is None else self._ask_beside_paused()
        _suggest(trial, self._spec)
        return trial

    def _ask_beside_paused(self) -> Trial:
        """As Optuna's `ask`, which would hand out paused trials, because they wait."""
        study = self._study
        for trial in study.frozen_trials():
            if trial.state == TrialState.WAITING and not self._is_paused(trial):
                return self._take(trial)
        return Trial(study.optuna, study.storage.create_new_trial(study.optuna._study_id))

    def _promote(self, trial: FrozenTrial) -> Trial:
        """Let a paused trial go on; it is put down first, so that whoever comes after a kill does the same."""
        self._study.storage.set_trial_user_attr(trial._trial_id, PROMOTED, trial.last_step)
        self._study.optuna.sampler = RandomSampler()  # asked for nothing: the trial has its parameters
        return self._take(trial)

    def _take(self, trial: FrozenTrial) -> Trial:
        self._study.storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING)
        return Trial(self._study.optuna, trial._trial_id)

    def _sampler(self, index: int) -> optuna.samplers.BaseSampler:
        sampler = self._spec.sampler
        seed = derive_seed(sampler.seed, SAMPLER, index)
        if sampler.type != "tpe":
            return RandomSampler(seed=seed)  # only asked for parameters that a queued point does not fix
        conditional = any(parameter.when for parameter in self._spec.parameters.values())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # `group`
            options: dict[str, Any] = {"seed": seed, "n_startup_trials": sampler.startup_trials or 10}
            if self._spec.several:  # ours has one goal
                return TPESampler(**options, group=conditional)
            return Tpe(self._past, **options, group=conditional)

    def _point(self, index: int) -> dict[str, Any]:
        """Where the next trial of a random search is, or of one by a Gaussian process, once that has learned enough."""
        seed = derive_seed(self._spec.sampler.seed, SAMPLER, index)
        if self._spec.sampler.type == "gp":
            from hpo.search import gp  # imports torch, which takes seconds

            proposed = gp.propose(self._spec, self._study.frozen_trials(), seed=seed)
            if proposed is not None:
                return proposed
        trial = optuna.create_study(sampler=RandomSampler(seed=seed)).ask()
        _suggest(trial, self._spec)
        return trial.params

    def _enqueue_stage(self) -> int:
        """Queue what is due of a staged search and within the budget; returns how many trials."""
        stage = staged.due(self._spec, self._study.frozen_trials())
        if stage is None:
            return 0
        points = stage.points[: None if self._budget is None else self._budget - self._started]
        for point in points:
            self._study.optuna.enqueue_trial(dict(point), user_attrs={staged.MARK: dict(stage.mark)})
        return len(points)

    def _enqueue_grid(self, trials: list[FrozenTrial]) -> None:
        """Queue every cell that no trial has finished or will run; a cell whose trials all failed is run again."""
        there = {
            key(trial.system_attrs.get("fixed_params") or trial.params)
            for trial in trials
            if trial.state != TrialState.FAIL
        }
        # a budget takes the first cells, so that a failed one is not pushed out by one that was never to run
        missing = [point for point in self._spec.grid()[: self._spec.trials] if key(point) not in there]
        for point in missing:
            self._study.optuna.enqueue_trial(point)
        self._queued += len(missing)
        if self._budget is not None:
            # the budget counts cells: one that is run again does not take the place of another
            self._budget += sum(trial.state == TrialState.FAIL for trial in trials)


def _suggest(trial: Trial, space: SearchSpec) -> None:
    """Set every parameter that is active, in the file's order; a condition sees those set before it."""
    there = trial.params  # of a trial whose driver was killed, perhaps between two of them
    for name, parameter in space.parameters.items():
        if not parameter.active({**space.trainer, **trial.params}):
            continue
        kind = distribution(parameter)
        if name in there and name not in {**trial._fixed_params, **trial.relative_params}:
            # the draw that it came from, so that the next parameter gets its own and not this one again
            trial.study.sampler.sample_independent(trial.study, trial._get_latest_trial(), name, kind)
        trial._suggest(name, kind)
