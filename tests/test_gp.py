"""A Gaussian process over points and epochs: what it learns from, and where it sends the next trial."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from optuna.trial import FrozenTrial, TrialState

from hpo import spec
from hpo.search import gp
from hpo.search.ranges import distribution


def anything(**options: Any) -> Iterator[dict[str, float]]:
    """Stands for a training that takes every key."""
    raise NotImplementedError


ANY = {"import": "test_gp:anything", "epochs": 27}
LR = {"lr": {"min": 1e-4, "max": 1.0, "log": True}}


def space_of(parameters: dict[str, Any] = LR, **more: Any) -> spec.SearchSpec:
    tree = {
        "name": "n",
        "metric": {"name": "loss", "goal": "minimize"},
        "sampler": "gp",
        "parameters": parameters,
        "trainer": {"import": "synthetic:Resumable", "epochs": 27},
        "budget": 100,
        **more,
    }
    return spec.from_mapping(tree)


def trial_of(
    space: spec.SearchSpec,
    number: int,
    params: dict[str, Any],
    curve: dict[int, float],
    state: TrialState = TrialState.COMPLETE,
    excess: float | None = None,
) -> FrozenTrial:
    trial = optuna.create_trial(
        state=state,
        value=curve[max(curve)] if state == TrialState.COMPLETE else None,
        params=params,
        distributions={name: distribution(space.parameters[name]) for name in params},
        intermediate_values=curve,
    )
    trial.number = number
    if excess is not None:
        trial.set_constraint("limit", excess)
    return trial


def spread(count: int, low: float = -4, high: float = 0) -> list[float]:
    """Learning rates, evenly by their logarithm, in a mixed order."""
    rates = [10 ** (low + (high - low) * (each + 0.5) / count) for each in range(count)]
    return [float(each) for each in np.random.default_rng(0).permutation(rates)]


def proposals(space: spec.SearchSpec, trials: Sequence[FrozenTrial], count: int = 5) -> list[dict[str, Any]]:
    found = [gp.propose(space, trials, seed=seed) for seed in range(count)]
    assert None not in found
    return [each for each in found if each is not None]


def away(params: dict[str, Any], lr: float) -> float:
    """In factors of ten."""
    return abs(math.log10(params["lr"] / lr))


def test_it_waits_for_so_many_trials_and_counts_those_that_were_stopped() -> None:
    space = space_of()
    trials = [trial_of(space, n, {"lr": lr}, {1: lr}, TrialState.PRUNED) for n, lr in enumerate(spread(10))]
    assert gp.propose(space, trials[:9], seed=0) is None
    assert gp.propose(space, trials, seed=0) is not None
    sooner = space_of(sampler={"type": "gp", "startup_trials": 3})
    assert gp.propose(sooner, trials[:3], seed=0) is not None
    at_work = [trial_of(space, n, {"lr": lr}, {}, TrialState.RUNNING) for n, lr in enumerate(spread(10))]
    assert gp.propose(space, at_work, seed=0) is None


def test_it_goes_where_the_metric_is_best() -> None:
    for goal, sign in (("minimize", 1), ("maximize", -1)):
        space = space_of(metric={"name": "m", "goal": goal})
        trials = [
            trial_of(space, n, {"lr": lr}, {27: sign * abs(math.log10(lr) + 2)}) for n, lr in enumerate(spread(20))
        ]
        assert all(away(each, 1e-2) < 0.2 for each in proposals(space, trials)), goal


def test_it_learns_that_the_first_epoch_misleads() -> None:
    """What falls fast at first ends high, as a few trials that went on have shown; most were stopped at the start."""
    space = space_of()
    trials = []
    for number, lr in enumerate(spread(24)):
        start, end = -math.log10(lr), 10 - abs(math.log10(lr) - 0) * 2
        goes_on = number % 3 == 0
        curve = {1: 10 + start, **({3: 10 + end, 9: 5 + end, 27: end} if goes_on else {})}
        trials.append(trial_of(space, number, {"lr": lr}, curve, TrialState.COMPLETE if goes_on else TrialState.PRUNED))
    assert all(each["lr"] < 1e-3 for each in proposals(space, trials)), "1 is best at the start, 1e-4 at the end"


def test_it_learns_from_trials_of_which_none_has_ended() -> None:
    space = space_of()
    trials = [
        trial_of(space, n, {"lr": lr}, {1: abs(math.log10(lr) + 2)}, TrialState.RUNNING)
        for n, lr in enumerate(spread(20))
    ]
    assert all(away(each, 1e-2) < 0.3 for each in proposals(space, trials))


def test_it_keeps_away_from_what_misses_a_constraint() -> None:
    space = space_of(constraints=["parameters_count <= 5"])
    trials = [
        trial_of(space, n, {"lr": lr}, {27: abs(math.log10(lr) + 1)}, excess=max(0.0, math.log10(lr) + 2))
        for n, lr in enumerate(spread(24))
    ]
    assert all(1e-3 < each["lr"] < 1.6e-2 for each in proposals(space, trials)), "0.1 is best, and above 0.01 forbidden"


def test_trials_at_work_are_not_sent_to_the_same_place() -> None:
    space = space_of()
    trials = [trial_of(space, n, {"lr": lr}, {27: abs(math.log10(lr) + 2)}) for n, lr in enumerate(spread(12))]
    points = []
    for number in range(12, 16):
        point = proposals(space, trials, 1)[0]
        points.append(math.log10(point["lr"]))
        trials.append(trial_of(space, number, point, {}, TrialState.RUNNING))
    apart = [abs(one - other) for at, one in enumerate(points) for other in points[:at]]
    assert min(apart) > 0.005, "four times the same training"


def test_a_corner_that_was_tried_is_not_tried_again_and_a_used_up_space_is() -> None:
    space = space_of()
    trials = [trial_of(space, n, {"lr": lr}, {27: -math.log10(lr)}) for n, lr in enumerate([*spread(10), 1.0])]
    assert all(0.5 < each["lr"] < 0.995 for each in proposals(space, trials))
    few = space_of({"batch_size": {"values": [32, 64]}}, trainer=ANY, sampler={"type": "gp", "startup_trials": 2})
    trials = [trial_of(few, n, {"batch_size": size}, {27: size}) for n, size in enumerate([32, 64])]
    assert [each["batch_size"] for each in proposals(few, trials, 2)] == [32, 32]


def test_choices_whole_numbers_steps_and_conditions_are_searched_together() -> None:
    parameters = {
        "optimizer": {"values": ["sgd", "adam"]},
        "momentum": {"min": 0.0, "max": 0.9, "step": 0.1, "when": {"optimizer": "sgd"}},
        "batch_size": {"min": 16, "max": 256, "log": True},
        "fixed": {"values": [3]},
    }
    space = space_of(parameters, trainer=ANY)
    draw, trials = np.random.default_rng(1), []
    for number in range(40):
        sgd = number % 2 == 0
        params: dict[str, Any] = {"optimizer": "sgd" if sgd else "adam"}
        params |= {"momentum": round(float(draw.integers(0, 10)) / 10, 1)} if sgd else {}
        params |= {"batch_size": int(2 ** draw.uniform(4, 8)), "fixed": 3}
        loss = abs(params["momentum"] - 0.6) if sgd else 1.0
        trials.append(trial_of(space, number, params, {27: loss + abs(math.log2(params["batch_size"]) - 6) / 4}))
    for found in proposals(space, trials):
        assert found["optimizer"] == "sgd"
        assert 0.5 <= round(found["momentum"], 6) <= 0.7
        assert 48 <= found["batch_size"] <= 85
        assert found["fixed"] == 3


def test_numbers_that_are_none_come_last_and_equal_ones_count_alike() -> None:
    space = space_of()
    curves = [{27: lr} for lr in spread(10)] + [{1: math.nan}, {1: math.inf}]
    states = [TrialState.COMPLETE] * 10 + [TrialState.PRUNED] * 2
    trials = [
        trial_of(space, n, {"lr": lr}, curve, state)
        for n, (lr, curve, state) in enumerate(zip(spread(12), curves, states, strict=True))
    ]
    known, _ = gp._observed(space, trials)
    scores = gp._scores(known)
    assert scores.argmax() == int(np.argmin(spread(10)))
    assert scores[10] == scores[11] == scores.min()
    assert scores.mean() == pytest.approx(0)
    alike = gp._scores(gp._observed(space, [trial_of(space, n, {"lr": 0.1}, {27: 0.5}) for n in range(10)])[0])
    assert alike.tolist() == [0.0] * 10
    assert gp.propose(space, [trial_of(space, n, {"lr": 0.1}, {27: 0.5}) for n in range(10)], seed=0) is not None


def test_it_says_the_same_of_the_same_and_leaves_threads_as_they_were() -> None:
    space, before = space_of(), torch.get_num_threads()
    trials = [trial_of(space, n, {"lr": lr}, {27: lr}) for n, lr in enumerate(spread(12))]
    assert gp.propose(space, trials, seed=7) == gp.propose(space, trials, seed=7)
    assert torch.get_num_threads() == before


def test_of_very_many_trials_it_learns_from_the_best_and_some_of_the_others() -> None:
    space = space_of({**LR, "x": {"min": 0.0, "max": 1.0}, "y": {"min": 0.0, "max": 1.0}}, trainer=ANY)
    draw, trials = np.random.default_rng(2), []
    for number, lr in enumerate(spread(3000)):
        x, y = draw.random(2)
        loss = abs(math.log10(lr) + 2) + abs(x - 0.3) + abs(y - 0.6)
        trials.append(trial_of(space, number, {"lr": lr, "x": float(x), "y": float(y)}, {27: loss}))
    scores = gp._scores(gp._observed(space, trials)[0])
    kept = gp._kept(scores)
    assert len(kept) == len(set(kept)) == gp.OBSERVATIONS
    assert set(np.argsort(-scores)[:200]) <= set(kept)
    assert scores[kept].min() == scores.min()
    started = time.monotonic()
    found = proposals(space, trials, 2)
    assert all(away(each, 1e-2) < 0.2 and abs(each["x"] - 0.3) + abs(each["y"] - 0.6) < 0.2 for each in found)
    assert time.monotonic() - started < 20, "it was 1.5 s on an idle core"
