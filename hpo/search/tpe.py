"""Optuna's TPE, which looks once at each trial that has ended instead of at all of them for every question."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers import TPESampler
from optuna.samplers._tpe.parzen_estimator import _ParzenEstimator
from optuna.samplers._tpe.sampler import _get_pruned_trial_score, default_gamma
from optuna.search_space import IntersectionSearchSpace
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

__all__ = ["Past", "Tpe"]

Space = dict[str, BaseDistribution]
Table = NDArray[np.float64]
"""A row for each trial of the study, in the order of their numbers; NaN where there is nothing to say."""


class Past:
    """What is known of a study's ended trials from earlier questions; only for one process, nothing depends on it."""

    def __init__(self) -> None:
        self.common = IntersectionSearchSpace(include_pruned=True)
        self.scores: Table = np.empty((0, 3))
        self._open: set[int] = set()  # rows of trials that had not ended
        self._ended: list[int] = []  # rows of those that have a score, as they were learned
        self._points: dict[tuple[str, ...], tuple[Table, int]] = {}  # and how many of those that ended are in it

    def learn(self, study: optuna.Study, trials: Sequence[FrozenTrial]) -> None:
        """Take in all trials of the study; the least score is the best: COMPLETE ones, then PRUNED ones by steps."""
        self._open |= set(range(len(self.scores), len(trials)))
        self.scores = _extended(self.scores, len(trials))
        ended = sorted(row for row in self._open if trials[row].state.is_finished())
        sign = 1 if study.direction == StudyDirection.MINIMIZE else -1
        for row in ended:
            if trials[row].state == TrialState.COMPLETE:
                self.scores[row] = 0, 0, sign * trials[row].values[0]
            elif trials[row].state == TrialState.PRUNED:
                self.scores[row] = 1, *_get_pruned_trial_score(trials[row], study)
        self._open -= set(ended)
        self._ended += [row for row in ended if not np.isnan(self.scores[row, 0])]

    def points(self, trials: Sequence[FrozenTrial], space: Space) -> Table:
        """Parameters of the ended trials in Optuna's own scale, a column for each of the space."""
        known, count = self._points.get(tuple(space), (np.empty((0, len(space))), 0))
        known = _extended(known, len(trials))
        for row in self._ended[count:]:
            known[row] = _point(trials[row].params, space)
        self._points[tuple(space)] = known, len(self._ended)
        return known


class Tpe(TPESampler):
    """Draws what Optuna 5.0's own draws, which a test compares; constraints, which we never set, are not looked at."""

    def __init__(self, past: Past, **options: Any) -> None:
        super().__init__(**options)
        self._past = past
        self._search_space = past.common

    def _sample(self, study: optuna.Study, trial: FrozenTrial, search_space: Space) -> dict[str, Any]:
        trials = study._get_trials(deepcopy=False)
        self._past.learn(study, trials)
        points = self._past.points(trials, search_space).copy()
        for row, other in enumerate(trials):
            if other.state == TrialState.RUNNING and other.number != trial.number:
                points[row] = _point(self._get_params(other, study), search_space)
        good = self._good()
        bad = np.ones(len(trials), dtype=bool)
        bad[good] = False
        below, above = self._estimator(points[good], search_space), self._estimator(points[bad], search_space)
        samples = below.sample(self._rng.rng, self._n_ei_candidates)
        found = self._compare(samples, self._compute_acquisition_func(samples, below, above))
        return {name: each.to_external_repr(found[name]) for name, each in search_space.items()}

    def _good(self) -> NDArray[np.intp]:
        """Rows of the best tenth, 25 at most, in order; equal ones as they came."""
        rows = np.flatnonzero(~np.isnan(self._past.scores[:, 0]))
        order = np.lexsort(self._past.scores[rows].T[::-1])
        return np.sort(rows[order[: default_gamma(len(rows))]])

    def _estimator(self, points: Table, space: Space) -> _ParzenEstimator:
        points = points[~np.isnan(points[:, 0])]
        columns = {name: points[:, place] for place, name in enumerate(space)}
        return self._parzen_estimator_cls(columns, space, self._parzen_estimator_parameters)


def _extended(rows: Table, count: int) -> Table:
    return np.concatenate([rows, np.full((count - len(rows), rows.shape[1]), np.nan)])


def _point(params: dict[str, Any], space: Space) -> Any:
    """A row of points; NaN, in every column, where the trial lacks one of the parameters."""
    if not space.keys() <= params.keys():
        return np.nan
    return [each.to_internal_repr(params[name]) for name, each in space.items()]
