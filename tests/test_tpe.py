"""Our TPE, which looks once at each trial that has ended, against Optuna's own."""

import itertools
import random
from typing import Any

import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import TPESampler
from optuna.samplers._tpe.parzen_estimator import _ParzenEstimator
from optuna.trial import Trial, TrialState, create_trial

from hpo.search.tpe import KERNELS, Past, Space, Table, Tpe

SPACE: dict[str, BaseDistribution] = {
    "lr": FloatDistribution(1e-4, 1.0, log=True),
    "dropout": FloatDistribution(0.0, 0.4, step=0.1),
    "layers": IntDistribution(1, 9),
    "kind": CategoricalDistribution(("sgd", "adam", "lion")),
}


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize("only", [tuple(SPACE), ("kind",)])
@pytest.mark.parametrize(("group", "limited"), [(False, False), (True, False), (False, True)])
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_it_draws_what_optunas_own_draws(direction: str, only: tuple[str, ...], group: bool, limited: bool) -> None:
    """Through complete, pruned, failed and running trials, equal values, and one process more in the middle.

    Where `limited`, most trials miss one of two constraints.
    """
    ours, theirs = (optuna.create_study(direction=direction) for _ in range(2))
    past, chance = Past(), random.Random(0)
    running: list[int] = []
    for number in range(90):
        if number == 40:
            past = Past()
        ours.sampler = Tpe(past, seed=number, n_startup_trials=5, group=group)
        theirs.sampler = TPESampler(seed=number, n_startup_trials=5, group=group)
        assert _ask(ours, only, group) == _ask(theirs, only, group)
        running.append(number)
        while len(running) > 6:
            _end(running.pop(chance.randrange(len(running))), chance, limited, ours, theirs)


def test_of_many_trials_a_thousand_stand_for_the_bad_ones_and_none_of_the_good_ones_is_left_out() -> None:
    seen: list[list[float]] = []

    class Watched(Tpe):
        def _estimator(self, points: Table, space: Space) -> _ParzenEstimator:
            seen.append(points[:, 0].tolist())
            return super()._estimator(points, space)

    study = optuna.create_study(sampler=Watched(Past(), seed=0))
    lr: dict[str, BaseDistribution] = {"lr": FloatDistribution(0.0, 2000.0)}
    study.add_trials(
        [create_trial(params={"lr": float(row)}, distributions=lr, value=float(row)) for row in range(1500)]
    )
    study.ask(lr)  # at work, and the last of the bad ones
    study.ask(lr)
    good, bad = seen[-2:]
    assert good == list(range(25))
    assert len(bad) == KERNELS + 1
    steps = {later - earlier for earlier, later in itertools.pairwise(bad[:-1])}
    assert (bad[0], bad[-2], steps) == (25, 1499, {1, 2}), "evenly, from the first to the last"


def _ask(study: optuna.Study, only: tuple[str, ...], group: bool) -> dict[str, Any]:
    trial = study.ask()
    for name in only:
        if not (group and name == "layers" and trial.number % 3):  # as a condition keeps it out
            trial._suggest(name, SPACE[name])
    return trial.params


def _end(number: int, chance: random.Random, limited: bool, *studies: optuna.Study) -> None:
    state = chance.choice([TrialState.COMPLETE, TrialState.PRUNED, TrialState.PRUNED, TrialState.FAIL])
    value, steps = round(chance.random(), 1), chance.randrange(4)
    excess = {"size <= 1": round(chance.random() - 0.5, 1), "speed >= 2": round(chance.random() - 0.5, 1)}
    for study in studies:
        trial = next(each for each in study.get_trials(deepcopy=False) if each.number == number)
        for step in range(steps):
            study._storage.set_trial_intermediate_value(trial._trial_id, step, value)
        for name, share in excess.items() if limited else ():
            Trial(study, trial._trial_id).set_constraint(name, share)
        study.tell(number, value if state == TrialState.COMPLETE else None, state=state)
