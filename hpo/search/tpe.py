"""Optuna's TPE, which looks once at each trial that has ended instead of at all of them for every question."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import TPESampler
from optuna.samplers._tpe.sampler import _get_pruned_trial_score, default_gamma
from optuna.search_space import IntersectionSearchSpace
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

__all__ = ["Past", "Tpe"]

Point = tuple[float, ...] | None
"""Parameters in Optuna's own scale; None: the trial lacks one."""


class Past:
    """What is known of a study's ended trials from earlier questions; only for one process, nothing depends on it."""

    def __init__(self) -> None:
        self.common = IntersectionSearchSpace(include_pruned=True)
        self.points: dict[tuple[str, ...], dict[int, Point]] = {}  # by the names that are asked for, by trial
        self.scores: dict[int, tuple[float, float]] = {}  # of pruned trials


class Tpe(TPESampler):
    """Draws what Optuna 5.0's own draws, which a test compares; constraints, which we never set, are not looked at."""

    def __init__(self, past: Past, **options: Any) -> None:
        super().__init__(**options)
        self._past = past
        self._search_space = past.common

    def _sample(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
        others = [each for each in study._get_trials(deepcopy=False, states=states) if each.number != trial.number]
        good = self._good(study, others)
        bad = [each for each in others if each.number not in good]
        below = self._build_parzen_estimator(study, search_space, list(good.values()), handle_below=True)
        above = self._build_parzen_estimator(study, search_space, bad, handle_below=False)
        samples = below.sample(self._rng.rng, self._n_ei_candidates)
        found = self._compare(samples, self._compute_acquisition_func(samples, below, above))
        return {name: each.to_external_repr(found[name]) for name, each in search_space.items()}

    def _good(self, study: optuna.Study, trials: Sequence[FrozenTrial]) -> dict[int, FrozenTrial]:
        """The best tenth, 25 at most, in order of their numbers; pruned ones where there are too few COMPLETE ones."""
        complete = [each for each in trials if each.state == TrialState.COMPLETE]
        pruned = [each for each in trials if each.state == TrialState.PRUNED]
        count = default_gamma(len(complete) + len(pruned))
        # both keep the order of equals, as the sorting of all does
        best = heapq.nsmallest if study.direction == StudyDirection.MINIMIZE else heapq.nlargest
        good = best(count, complete, key=lambda each: each.values[0])
        if len(good) < count:
            good += heapq.nsmallest(count - len(good), pruned, key=lambda each: self._score(study, each))
        return {each.number: each for each in sorted(good, key=lambda each: each.number)}

    def _score(self, study: optuna.Study, trial: FrozenTrial) -> tuple[float, float]:
        known = self._past.scores
        if trial.number not in known:
            known[trial.number] = _get_pruned_trial_score(trial, study)
        return known[trial.number]

    def _get_internal_repr(
        self, trials: list[FrozenTrial], search_space: dict[str, BaseDistribution], study: optuna.Study
    ) -> dict[str, np.ndarray]:
        known = self._past.points.setdefault(tuple(search_space), {})
        points = []
        for trial in trials:
            if trial.number in known:
                point = known[trial.number]
            else:
                point = self._point(trial, search_space, study)
                if trial.state.is_finished():
                    known[trial.number] = point
            if point is not None:
                points.append(point)
        return {name: np.asarray([point[place] for point in points]) for place, name in enumerate(search_space)}

    def _point(self, trial: FrozenTrial, search_space: dict[str, BaseDistribution], study: optuna.Study) -> Point:
        params = self._get_params(trial, study)
        if not search_space.keys() <= params.keys():
            return None
        return tuple(each.to_internal_repr(params[name]) for name, each in search_space.items())
