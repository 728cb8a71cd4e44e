"""A Gaussian process over hyperparameters and epochs, which learns of short trainings what the long ones may come to.

The covariance is Matern 5/2 over the hyperparameters, scaled as they are searched, and the logarithm of the epoch. The
next trial is where the logarithm of expected improvement at the end of the schedule is highest (Ament et al. 2023,
"Unexpected Improvements to Expected Improvement for Bayesian Optimization"); trials of which nothing is known yet are
believed to come to what is expected of them. The process and the search for the highest place are Optuna's.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from optuna._gp.acqf import LogEI
from optuna._gp.gp import GPRegressor, fit_kernel_params
from optuna._gp.optim_mixed import optimize_acqf_mixed
from optuna._gp.prior import DEFAULT_MINIMUM_NOISE_VAR, default_log_prior
from optuna._gp.search_space import SearchSpace
from optuna.trial import FrozenTrial, TrialState
from scipy.special import ndtri
from scipy.stats import rankdata

from hpo.goals import missed
from hpo.rungs import Rungs
from hpo.search.ranges import distribution
from hpo.space.middle import middle_of
from hpo.spec import SearchSpec

__all__ = ["OBSERVATIONS", "STARTUP", "propose"]

STARTUP = 10
"""Trials that are drawn evenly before there is something to learn from, where the space file names no number."""

OBSERVATIONS = 400
"""That the process is fitted to, at most: the time goes with their third power, 0.3 s on one core."""

SAME = 1e-3
"""Of a parameter's range, within which a value is the same to a training."""

Array = NDArray[np.float64]

logging.getLogger(optimize_acqf_mixed.__module__).setLevel(logging.ERROR)  # that a search converges is no warning


@dataclass(frozen=True)
class Observation:
    """What a trial had come to at an epoch."""

    trial: int
    params: Mapping[str, Any]
    progress: float  # of the epoch: 0 the first, 1 the end of the schedule, in between by the logarithm
    excess: float  # by how much it misses constraints
    loss: float  # the metric, lower is better


def propose(space: SearchSpec, trials: Sequence[FrozenTrial], *, seed: int) -> dict[str, Any] | None:
    """The hyperparameters of the next trial; None while there is too little to learn from.

    What a condition leaves out is among them, as everything is searched at once. Depends on the arguments alone.
    """
    distributions = {name: distribution(each) for name, each in space.parameters.items()}
    searched = SearchSpace({name: each for name, each in distributions.items() if not each.single()})
    known, new = _observed(space, trials)
    startup = STARTUP if space.sampler.startup_trials is None else space.sampler.startup_trials
    if len({each.trial for each in known}) < max(1, startup) or not searched.dim:
        return None
    score = _scores(known)
    kept = _kept(score)
    points = _points(searched, space, [known[row].params for row in kept])
    at_work = _points(searched, space, new)
    progress = np.array([known[row].progress for row in kept])
    with _one_thread():
        process = _fitted(np.column_stack([points, progress]), score[kept], searched)
        expected = _mean(process, points)
        if new:
            pending = _at_end(torch.from_numpy(at_work))
            with torch.no_grad():
                process.append_running_data(pending, process.posterior(pending)[0])
        gain = _EndEI(process, searched, threshold=float(expected.max()))
        place = _best_place(gain, points[expected.argmax()], np.concatenate([points, at_work]), seed)
    found = searched.get_unnormalized_param(place)
    return {name: found.get(name, middle_of(each)) for name, each in space.parameters.items()}


class _EndEI(LogEI):
    """Expected improvement, over the best that is expected of any point that was tried, at the end of the schedule."""

    def __init__(self, process: GPRegressor, searched: SearchSpace, threshold: float) -> None:
        super().__init__(process, searched, threshold)
        self.length_scales = process.length_scales[:-1]

    def eval_acqf(self, x: torch.Tensor) -> torch.Tensor:
        return super().eval_acqf(_at_end(x))


def _best_place(gain: _EndEI, start: Array, tried: Array, seed: int) -> Array:
    """Where most is expected, in the unit cube; another place where that one was tried, as a corner is again and again.

    Where there is no other, as in a small space of choices, it is tried again.
    """
    rng = np.random.RandomState(seed)
    place, _ = optimize_acqf_mixed(gain, warmstart_normalized_params_array=start[np.newaxis], rng=rng)
    if _away(place[np.newaxis], tried)[0] > SAME:
        return np.asarray(place)
    others = gain.search_space.sample_normalized_params(2048, rng)
    others = others[_away(others, tried) > SAME]
    return np.asarray(others[gain.eval_acqf_no_grad(others).argmax()] if len(others) else place)


def _away(places: Array, tried: Array) -> Array:
    """How far each place is from the nearest that was tried, by the parameter that differs most."""
    return np.asarray(np.abs(places[:, np.newaxis] - tried).max(axis=2).min(axis=1))


def _observed(space: SearchSpec, trials: Sequence[FrozenTrial]) -> tuple[list[Observation], list[Mapping[str, Any]]]:
    """What is known, and the hyperparameters of those at work of which nothing is."""
    rungs = Rungs.of(space)
    longest = max([space.epochs or 1, *(trial.last_step or 0 for trial in trials)])
    known: list[Observation] = []
    new: list[Mapping[str, Any]] = []
    for trial in trials:
        values = _values(trial, rungs, longest)
        excess = sum(missed(trial).values()) if values and space.constraints else 0.0
        for epoch, value in values.items():
            progress = math.log(epoch) / math.log(longest) if epoch < longest else 1.0
            loss = math.inf if math.isnan(value) else -space.metric.sign * value
            known.append(Observation(trial.number, trial.params, progress, excess, loss))
        if not values and trial.state == TrialState.RUNNING and trial.params:
            new.append(trial.params)
    return known, new


def _values(trial: FrozenTrial, rungs: Rungs | None, longest: int) -> dict[int, float]:
    """Epoch -> what a trial had come to there: at its rungs, and where it ended; of a complete one the end counts."""
    if trial.state == TrialState.FAIL:
        return {}
    reached = trial.intermediate_values
    epochs = rungs.up_to(trial.last_step or 0) if rungs is not None else []
    if trial.state == TrialState.PRUNED and reached:
        epochs = [*epochs, max(reached)]
    found = {epoch: reached[epoch] for epoch in epochs if epoch in reached}
    if trial.state == TrialState.COMPLETE and trial.value is not None:
        found[longest] = trial.value
    return found


def _scores(known: Sequence[Observation]) -> Array:
    """Normal scores of the ranks, the best the highest, equal ones alike; mean 0, standard deviation 1.

    Of ranks, because what a diverged training comes to says nothing about the others.
    """
    _, place = np.unique([(each.excess, each.loss) for each in known], axis=0, return_inverse=True)
    score = -ndtri((rankdata(place) - 0.5) / len(known))
    return np.asarray((score - score.mean()) / (score.std() or 1.0))


def _kept(score: Array) -> NDArray[np.intp]:
    """Rows of the observations to learn from: half of OBSERVATIONS the best, the others spread over the rest."""
    order = np.argsort(-score, kind="stable")
    half = OBSERVATIONS // 2
    if len(order) > OBSERVATIONS:
        order = np.concatenate([order[:half], order[np.linspace(half, len(order) - 1, half).astype(int)]])
    return np.sort(order)


def _points(searched: SearchSpace, space: SearchSpec, params: Sequence[Mapping[str, Any]]) -> Array:
    """In the unit cube, a choice by its place; a parameter that a trial did not have counts as in the middle."""
    middles = {name: middle_of(each) for name, each in space.parameters.items()}
    filled: list[Any] = [{**middles, **each} for each in params]
    return np.asarray(searched.get_normalized_params(filled, filled))  # of the first one it reads the length


def _fitted(points: Array, score: Array, searched: SearchSpace) -> GPRegressor:
    return fit_kernel_params(
        X=points,
        Y=score,
        is_categorical=np.append(searched.is_categorical, False),
        log_prior=default_log_prior,
        minimum_noise=DEFAULT_MINIMUM_NOISE_VAR,
        deterministic_objective=False,
    )


def _mean(process: GPRegressor, points: Array) -> Array:
    """What is expected of points at the end of the schedule."""
    with torch.no_grad():
        return np.asarray(process.posterior(_at_end(torch.from_numpy(points)))[0].numpy())


def _at_end(points: torch.Tensor) -> torch.Tensor:
    return torch.cat([points, torch.ones_like(points[..., :1])], dim=-1)


@contextmanager
def _one_thread() -> Iterator[None]:
    """These matrices are small, and the trials want the processors."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
