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
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState
from scipy.special import ndtri
from scipy.stats import rankdata

from hpo.goals import missed
from hpo.rungs import Rungs
from hpo.search.ranges import distribution
from hpo.space.middle import middle_of, nearest
from hpo.space.parameters import Choice, Parameter
from hpo.spec import SearchSpec

__all__ = ["OBSERVATIONS", "STARTUP", "propose"]

STARTUP = 10
"""Trials that are drawn evenly before there is something to learn from, where the space file names no number."""

OBSERVATIONS = 400
"""That the process is fitted to, at most: the time goes with their third power."""

WIDE = 1000
"""Values, beyond which whole numbers and steps are searched as a range is, and rounded."""

SAME = 1e-3
"""Of a parameter's range, within which a value is the same to a training."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Observation:
    """What a trial had come to at an epoch."""

    trial: int
    params: Mapping[str, Any]
    progress: float  # of the epoch: 0 the first, 1 the end of the schedule, in between by the logarithm
    loss: float  # the metric, lower is better
    excess: float = 0.0  # by how much it misses constraints; infinite where it cannot come to the end


def propose(space: SearchSpec, trials: Sequence[FrozenTrial], *, seed: int) -> dict[str, Any] | None:
    """The hyperparameters of the next trial; None while there is too little to learn from.

    Depends on the arguments alone.
    """
    cube = _Cube(space)
    known, new = _observed(space, trials)
    startup = STARTUP if space.sampler.startup_trials is None else space.sampler.startup_trials
    if len({each.trial for each in known if math.isfinite(each.excess)}) < max(1, startup) or not cube.axes.dim:
        return None
    score = _scores(known)
    kept = _kept(score)
    points, at_work = cube.points([known[row].params for row in kept]), cube.points(new)
    progress = np.array([known[row].progress for row in kept])
    with _undisturbed():
        process = _fitted(np.column_stack([points, progress]), score[kept], cube.axes)
        with torch.no_grad():
            expected = process.posterior(_at_end(torch.from_numpy(points)))[0].numpy()
            if new:
                pending = _at_end(torch.from_numpy(at_work))
                process.append_running_data(pending, process.posterior(pending)[0])
        gain = _EndEI(process, cube, threshold=float(expected.max()))
        place = _best_place(gain, points[expected.argmax()], np.concatenate([points, at_work]), seed)
    return cube.params(place)


class _Cube:
    """The unit cube of what is searched, where a parameter that a trial does not have is in its middle."""

    def __init__(self, space: SearchSpec) -> None:
        self._space = space
        self._middles = {name: middle_of(each) for name, each in space.parameters.items()}
        axes = {name: self._axis(parameter) for name, parameter in space.parameters.items()}
        self.axes = SearchSpace({name: each for name, each in axes.items() if not each.single()})
        self._names = [name for name, each in axes.items() if not each.single()]
        self.middle = self.points([{}])[0]
        self.conditional = any(parameter.when for parameter in space.parameters.values())

    def _axis(self, parameter: Parameter) -> BaseDistribution:
        if not isinstance(parameter, Choice) and parameter.enumerable and parameter.size > WIDE:
            last = parameter.min + (parameter.size - 1) * (parameter.step or 1)
            return FloatDistribution(parameter.min, last, log=parameter.log)
        return distribution(parameter)

    def points(self, params: Sequence[Mapping[str, Any]]) -> Array:
        """A row each; a choice is its place in the list."""
        filled: list[Any] = [{**self._middles, **each} for each in params]
        return np.asarray(self.axes.get_normalized_params(filled, filled))  # of the first one it reads the length

    def params(self, place: Array) -> dict[str, Any]:
        """The hyperparameters of a place, without those that its own values leave out."""
        values = {**self._middles, **self.axes.get_unnormalized_param(place)}
        found: dict[str, Any] = {}
        for name, parameter in self._space.parameters.items():
            if parameter.active({**self._space.trainer, **found}):
                found[name] = values[name]
                if not isinstance(parameter, Choice) and parameter.enumerable:
                    found[name] = nearest(parameter, values[name])
        return found

    def left_out(self, places: Array) -> NDArray[np.bool_]:
        """Of each row, which coordinates are of parameters that its own values leave out."""
        found = [self.params(place) for place in places]
        return np.array([[name not in each for name in self._names] for each in found], dtype=bool)

    def settled(self, places: Array) -> Array:
        """The same trainings: what is left out put into the middle."""
        return np.where(self.left_out(places), self.middle, places) if self.conditional else places


class _EndEI(LogEI):
    """Expected improvement, over the best that is expected of any point that was tried, at the end of the schedule."""

    def __init__(self, process: GPRegressor, cube: _Cube, threshold: float) -> None:
        super().__init__(process, cube.axes, threshold)
        self.length_scales = process.length_scales[:-1]
        self.cube = cube

    def eval_acqf(self, x: torch.Tensor) -> torch.Tensor:
        if self.cube.conditional:
            places = x.detach().numpy().reshape(-1, x.shape[-1])
            left_out = torch.from_numpy(self.cube.left_out(places)).reshape(x.shape)
            x = torch.where(left_out, torch.from_numpy(self.cube.middle), x)
        return super().eval_acqf(_at_end(x))


def _best_place(gain: _EndEI, start: Array, tried: Array, seed: int) -> Array:
    """Where most is expected, in the unit cube; another place where that one was tried, as a corner is again and again.

    Where there is no other, as in a small space of choices, it is tried again.
    """
    rng = np.random.RandomState(seed)
    best, _ = optimize_acqf_mixed(gain, warmstart_normalized_params_array=start[np.newaxis], rng=rng)
    place = gain.cube.settled(best[np.newaxis])
    if _away(place, tried)[0] > SAME:
        return np.asarray(place[0])
    others = gain.cube.settled(gain.search_space.sample_normalized_params(2048, rng))
    others = others[_away(others, tried) > SAME]
    return np.asarray(others[gain.eval_acqf_no_grad(others).argmax()] if len(others) else place[0])


def _away(places: Array, tried: Array) -> Array:
    """How far each place is from the nearest that was tried, by the parameter that differs most."""
    return np.asarray(np.abs(places[:, np.newaxis] - tried).max(axis=2).min(axis=1))


def _observed(space: SearchSpec, trials: Sequence[FrozenTrial]) -> tuple[list[Observation], list[Mapping[str, Any]]]:
    """What is known, and the hyperparameters of those at work of which nothing is.

    What failed, or ran out of `budget.trial_time`, is worse at the end than all else; a failure that was made up for
    is left to the other trial.
    """
    rungs = Rungs.of(space)
    longest = max([space.epochs or 1, *(trial.last_step or 0 for trial in trials)])
    made_up_for = {trial.user_attrs.get("retry_of") for trial in trials}
    known: list[Observation] = []
    new: list[Mapping[str, Any]] = []
    for trial in trials:
        if trial.state == TrialState.FAIL:
            if trial.number not in made_up_for:
                known.append(_lost(trial))
            continue
        values = _values(trial, rungs, longest)
        excess = sum(missed(trial).values()) if values and space.constraints else 0.0
        for epoch, value in values.items():
            progress = math.log(epoch) / math.log(longest) if epoch < longest else 1.0
            loss = math.inf if math.isnan(value) else -space.metric.sign * value
            known.append(Observation(trial.number, trial.params, progress, loss, excess))
        at_rung = rungs is not None and (trial.last_step or 0) in rungs
        if space.budget.trial_time and trial.state == TrialState.PRUNED and not at_rung:
            known.append(_lost(trial))
        if not values and trial.state == TrialState.RUNNING and trial.params:
            new.append(trial.params)
    return known, new


def _lost(trial: FrozenTrial) -> Observation:
    return Observation(trial.number, trial.params, progress=1.0, loss=math.inf, excess=math.inf)


def _values(trial: FrozenTrial, rungs: Rungs | None, longest: int) -> dict[int, float]:
    """Epoch -> what a trial had come to there: at its rungs, and where it ended; of a complete one the end counts."""
    reached = trial.intermediate_values
    last = trial.last_step or 0
    epochs = rungs.up_to(last) if rungs is not None else []
    if trial.state == TrialState.PRUNED and reached:
        epochs = [*epochs, last]
    found = {epoch: reached[epoch] for epoch in epochs if epoch in reached}
    if trial.state == TrialState.COMPLETE and trial.value is not None:
        found.pop(last, None)
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


def _fitted(points: Array, score: Array, axes: SearchSpace) -> GPRegressor:
    return fit_kernel_params(
        X=points,
        Y=score,
        is_categorical=np.append(axes.is_categorical, False),
        log_prior=default_log_prior,
        minimum_noise=DEFAULT_MINIMUM_NOISE_VAR,
        deterministic_objective=False,
    )


def _at_end(points: torch.Tensor) -> torch.Tensor:
    return torch.cat([points, torch.ones_like(points[..., :1])], dim=-1)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """On one thread, as the trials want the processors; without Optuna's warnings, after which nothing is to be done.

    They say that a search converges, or that it takes its first guess of the kernel where a fit did not work out.
    """
    logging.getLogger("optuna._gp").setLevel(logging.ERROR)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
