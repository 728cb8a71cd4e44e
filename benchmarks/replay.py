"""A search over a table of curves: the product's own searcher and scheduler on a virtual clock, without Ray."""

from __future__ import annotations

import heapq
import itertools
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.study import Study as OptunaStudy
from optuna.trial import FrozenTrial

from benchmarks.curves import Curves
from hpo import settings, spec
from hpo.search.ranges import distribution
from hpo.search.scheduler import Scheduler
from hpo.search.searcher import Searcher
from hpo.store.storage import alone
from hpo.study import Study
from hpo.workers.trial import Assignment, Report

__all__ = ["METRIC", "RayAsha", "Rows", "replay", "space_of", "trained"]

METRIC = "error"


def trained(**options: float) -> Iterator[dict[str, float]]:
    """Stands for the training in the space; the table is asked instead."""
    raise NotImplementedError


class RayAsha(BasePruner):
    """The rule of Ray Tune's ASHA scheduler, by its own code."""

    def __init__(self, *, min_epochs: int, epochs: int, reduction: int) -> None:
        from ray.tune.schedulers.async_hyperband import _Bracket

        self._bracket = _Bracket(min_epochs, epochs, reduction, 0)

    def prune(self, study: OptunaStudy, trial: FrozenTrial) -> bool:
        class Known:
            trial_id = trial.number

        step = trial.last_step
        assert step is not None
        return bool(self._bracket.on_result(Known, step, -trial.intermediate_values[step]) == "STOP")


def replay(
    curves: Curves,
    tree: dict[str, Any],
    *,
    seed: int,
    budgets: Sequence[float],
    workers: int,
    pruner: Any = None,
    repeats: bool = False,
) -> NDArray[np.float64]:
    """Search a table until the last of the budgets is spent, each in full trainings; returns (2, budgets).

    That is the regret, by validation and by test, of the trial that is best on record when each budget is spent.
    `tree` holds the sections of a space file that say how to search; `pruner` takes the place of the study's own. With
    `repeats` a row may be trained again and again.
    """
    with tempfile.TemporaryDirectory(prefix="hpo-replay-") as home:
        study = Study.open(space_of(curves, tree, seed), settings.resolve(home=home))
        with alone(study.storage):
            best = _Search(study, Rows(study, curves, repeats), curves, seed, workers, pruner).run(budgets)
    return np.array([[curves.regret(row, test=test) for row in best] for test in (False, True)])


def space_of(curves: Curves, tree: dict[str, Any], seed: int) -> spec.SearchSpec:
    """The space file of a table, with these sections besides."""
    space = {
        "name": "replay",
        "metric": {"name": METRIC, "goal": "minimize"},
        "parameters": curves.parameters,
        "trainer": {"import": "benchmarks.replay:trained", "epochs": curves.steps},
        "budget": {"trials": 1_000_000},
        **tree,
    }
    space["sampler"] = {**tree["sampler"], "seed": seed}
    if curves.whole:  # there is nothing to stop
        space["pruner"] = "none"
    return spec.from_mapping(space)


class Rows(Searcher):
    """The product's searcher, each of whose proposals becomes the nearest row that no trial has had.

    Its trials have that row's hyperparameters, not those proposed: a sampler is to learn from what was trained.
    """

    def __init__(self, study: Study, curves: Curves, repeats: bool) -> None:
        self._curves, self._repeats = curves, repeats
        self._taken: set[int] = set()
        self.space = {name: distribution(each) for name, each in study.spec.parameters.items()}
        super().__init__(study)

    def _sampler(self, index: int) -> BaseSampler:
        return _Snapped(super()._sampler(index), self)

    def _point(self, index: int) -> dict[str, Any]:
        return self.snapped(super()._point(index))

    def snapped(self, params: Mapping[str, float]) -> dict[str, Any]:
        """A proposal's row, which is taken from then on."""
        row = self._curves.row(params, () if self._repeats else self._taken)
        self._taken.add(row)
        return self._curves.params(row)


class _Snapped(BaseSampler):
    """A sampler of which all parameters are asked at once, which is what it takes to find a row."""

    def __init__(self, inner: BaseSampler, rows: Rows) -> None:
        self._inner, self._rows = inner, rows

    def infer_relative_search_space(self, study: OptunaStudy, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._rows.space

    def sample_relative(
        self, study: OptunaStudy, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        known = self._inner.infer_relative_search_space(study, trial)
        point = self._inner.sample_relative(study, trial, known)
        for name, each in search_space.items():
            if name not in point:
                point[name] = self._inner.sample_independent(study, trial, name, each)
        return self._rows.snapped(point)

    def sample_independent(
        self, study: OptunaStudy, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        raise NotImplementedError  # none is left


class _Search:
    """One search with so many workers; a step takes its share of the run's cost, on the clock and of the budget."""

    def __init__(self, study: Study, searcher: Searcher, curves: Curves, seed: int, workers: int, pruner: Any) -> None:
        self._curves, self._seed, self._workers = curves, seed, workers
        self._searcher, self._scheduler = searcher, Scheduler(study, lambda event: None)
        if pruner is not None:
            study.optuna.pruner = pruner
        self._order = itertools.count()  # settles ties
        self._busy: list[tuple[float, int, Assignment, int]] = []  # when a step ends, ..., row
        self._best: tuple[int, float, int] | None = None  # epochs, less the value, row

    def run(self, budgets: Sequence[float]) -> list[int]:
        """The row that is best when each of the budgets is spent."""
        best: list[int] = []
        clock = spent = 0.0
        while len(best) < len(budgets):
            while len(self._busy) < self._workers and self._begin(clock):
                pass
            clock, _, assignment, row = heapq.heappop(self._busy)
            spent += self._step(row)
            if spent > budgets[len(best)]:
                best += [self._best[2] if self._best else row for budget in budgets[len(best) :] if spent > budget]
            if self._report(assignment, row):
                heapq.heappush(self._busy, (clock + self._step(row), next(self._order), assignment, row))
        return best

    def _step(self, row: int) -> float:
        return float(self._curves.cost[row]) / self._curves.steps

    def _begin(self, clock: float) -> bool:
        trial = self._searcher.next()
        assignment = self._scheduler.start(trial, cpu=1, gpu=0) if trial is not None else None
        if trial is None or assignment is None:
            return False
        row = self._curves.row(trial.params)
        heapq.heappush(self._busy, (clock + self._step(row), next(self._order), assignment, row))
        return True

    def _report(self, assignment: Assignment, row: int) -> bool:
        """Tell the scheduler of a step; returns whether the trial goes on."""
        epoch = self._scheduler.running[assignment.number].epoch + 1
        value = self._curves.value(row, epoch, self._seed + assignment.number)
        self._best = max(self._best or (0, 0.0, row), (epoch, -value, row))
        return self._scheduler.report(
            Report(
                number=assignment.number,
                attempt=assignment.attempt,
                epoch=epoch,
                metrics={METRIC: value},
                seconds=self._step(row),
                last=epoch == self._curves.steps,
            )
        )
