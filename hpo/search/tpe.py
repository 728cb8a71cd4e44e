"""Optuna's TPE, which looks once at each trial that has ended instead of at all of them for every question."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Container, Sequence
from typing import Any, cast

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

from hpo.goals import missed

__all__ = ["Past", "Tpe"]

Space = dict[str, BaseDistribution]
Rows = NDArray[np.intp]
Table = NDArray[np.float64]
"""A row for each trial of the study, in the order of their numbers; NaN where there is nothing to say."""


KERNELS = 1000
"""Ended trials that the density of bad ones is made of, at most: the time of a question grows with them."""


class Past:
    """What is known of a study's trials from earlier questions; only for one process, nothing depends on it.

    With `judged`, an unfinished trial of which that says something is known as what it says, for now.
    """

    def __init__(self, judged: Callable[[FrozenTrial], FrozenTrial | None] | None = None) -> None:
        self.common = IntersectionSearchSpace(include_pruned=True)
        self.scores: Table = np.empty((0, 3))  # the least first: COMPLETE, PRUNED by steps, what misses constraints
        self._judged = judged
        self._judgements: dict[int, tuple[FrozenTrial, FrozenTrial]] = {}  # row -> an unfinished trial, as it is known
        self.unfinished: set[int] = set()  # rows
        self._settled: dict[int, None] = {}  # rows whose parameters change no more, as they were learned
        self._points: dict[tuple[str, ...], tuple[Table, int]] = {}  # and how many of those that are settled are in it

    def look(self, study: optuna.Study) -> list[FrozenTrial]:
        """All trials of a study as they are known."""
        trials = list(study._get_trials(deepcopy=False))
        self.unfinished |= set(range(len(self.scores), len(trials)))
        self.scores = _extended(self.scores, len(trials))
        for row in sorted(self.unfinished):
            trial = trials[row]
            if trial.state.is_finished():
                self.unfinished.remove(row)
                self._judgements.pop(row, None)
                self._learn(row, trial, study)
                continue
            known = self._judgements.get(row)
            if known is None or known[0] is not trial:
                known = self._judgements[row] = trial, self._standing(trial)
                self._learn(row, known[1], study)
            trials[row] = known[1]
        return trials

    def _standing(self, trial: FrozenTrial) -> FrozenTrial:
        said = self._judged(trial) if self._judged is not None else None
        return said or trial

    def _learn(self, row: int, trial: FrozenTrial, study: optuna.Study) -> None:
        excess = sum(missed(trial).values())
        sign = 1 if study.direction == StudyDirection.MINIMIZE else -1
        if excess and trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
            self.scores[row] = 2, excess, 0
        elif trial.state == TrialState.COMPLETE:
            self.scores[row] = 0, 0, sign * trial.values[0]
        elif trial.state == TrialState.PRUNED:
            self.scores[row] = 1, *_get_pruned_trial_score(trial, study)
        else:
            self.scores[row] = np.nan
        if not np.isnan(self.scores[row, 0]):
            self._settled[row] = None

    def points(self, trials: Sequence[FrozenTrial], space: Space) -> Table:
        """Parameters in Optuna's own scale, a column for each of the space; of rows that have no score, anything."""
        known, count = self._points.get(tuple(space), (np.empty((0, len(space))), 0))
        known = _extended(known, len(trials))
        for row in itertools.islice(self._settled, count, None):
            known[row] = _point(trials[row].params, space)
        self._points[tuple(space)] = known, len(self._settled)
        return known.copy()


class _Seen:
    """A study as it is known; all but its trials is its own."""

    def __init__(self, study: optuna.Study, past: Past) -> None:
        self._study, self._trials = study, past.look(study)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def _get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        return [each for each in self._trials if states is None or each.state in states]


class Tpe(TPESampler):
    """Draws what Optuna 5.0's own draws, which a test compares, for one objective.

    So it does up to KERNELS trials; of more it looks at so many, evenly spread over the study.
    """

    def __init__(self, past: Past, **options: Any) -> None:
        super().__init__(**options)
        self._past = past
        self._search_space = past.common
        self._asked: tuple[int, optuna.Study] | None = None

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> Space:
        return super().infer_relative_search_space(self._seen(study, trial), trial)

    def sample_relative(self, study: optuna.Study, trial: FrozenTrial, search_space: Space) -> dict[str, Any]:
        return super().sample_relative(self._seen(study, trial), trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return super().sample_independent(self._seen(study, trial), trial, param_name, param_distribution)

    def _seen(self, study: optuna.Study, trial: FrozenTrial) -> optuna.Study:
        """The study as it was when this trial was first asked about: reading 10,000 trials takes milliseconds."""
        if self._asked is None or self._asked[0] != trial._trial_id:
            self._asked = trial._trial_id, cast(optuna.Study, _Seen(study, self._past))
        return self._asked[1]

    def _sample(self, study: optuna.Study, trial: FrozenTrial, search_space: Space) -> dict[str, Any]:
        trials = study._get_trials(deepcopy=False)
        points = self._past.points(trials, search_space)
        unfinished = sorted(self._past.unfinished)
        running = [row for row in unfinished if trials[row].state == TrialState.RUNNING]
        running = [row for row in running if trials[row].number != trial.number]
        for row in running:
            points[row] = _point(self._get_params(trials[row], study), search_space)
        good, rest = self._split()
        bad = np.sort([*rest, *running])
        below, above = self._estimator(points[good], search_space), self._estimator(points[bad], search_space)
        samples = below.sample(self._rng.rng, self._n_ei_candidates)
        found = self._compare(samples, self._compute_acquisition_func(samples, below, above))
        return {name: each.to_external_repr(found[name]) for name, each in search_space.items()}

    def _split(self) -> tuple[Rows, Rows]:
        """Rows of the best tenth, 25 at most, equal ones as they came, and of the others, thinned evenly; in order."""
        known = np.flatnonzero(~np.isnan(self._past.scores[:, 0]))
        order = np.lexsort(self._past.scores[known].T[::-1])
        count = default_gamma(len(known))
        rest = np.sort(known[order[count:]])
        if len(rest) > KERNELS:
            rest = rest[np.linspace(0, len(rest) - 1, KERNELS).astype(int)]
        return np.sort(known[order[:count]]), rest

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
