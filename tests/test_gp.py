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
        start, end = -math.log10(lr), 4 + math.log10(lr)
        goes_on = number % 3 == 0
        curve = {1: start, **({3: (2 * start + end) / 3, 9: (start + 2 * end) / 3, 27: end} if goes_on else {})}
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


def test_trials_at_work_are_taken_for_what_is_expected_of_them() -> None:
    """Nothing more is to be learned beside one: the next goes further away than a place that was tried asks."""
    space = space_of({**LR, "x": {"min": 0.0, "max": 1.0}}, trainer=ANY)
    draw = np.random.default_rng(3)
    trials = [
        trial_of(space, n, {"lr": lr, "x": float(x)}, {27: abs(math.log10(lr) + 2) + float(draw.random())})
        for n, (lr, x) in enumerate(zip(spread(12), draw.random(12), strict=True))
    ]
    first = proposals(space, trials, 1)[0]
    again = proposals(space, [*trials, trial_of(space, 12, first, {}, TrialState.RUNNING)], 1)[0]
    assert max(away(again, first["lr"]) / 4, abs(again["x"] - first["x"])) > 0.02


def test_it_keeps_away_from_what_fails_and_does_not_ask_for_it_twice() -> None:
    space = space_of()
    trials: list[FrozenTrial] = []
    for number, lr in enumerate(spread(16)):
        fails = lr > 0.1
        curve = {} if fails else {27: -math.log10(lr)}
        trials.append(trial_of(space, number, {"lr": lr}, curve, TrialState.FAIL if fails else TrialState.COMPLETE))
    points = []
    for number in range(16, 24):
        lr = proposals(space, trials, 1)[0]["lr"]
        points.append(lr)
        fails = lr > 0.1
        curve = {} if fails else {27: -math.log10(lr)}
        trials.append(trial_of(space, number, {"lr": lr}, curve, TrialState.FAIL if fails else TrialState.COMPLETE))
    assert sum(lr > 0.1 for lr in points) <= 4
    assert all(0.03 < lr < 0.2 for lr in points[-4:]), "it closes in on the edge"
    only = [trial_of(space, n, {"lr": lr}, {}, TrialState.FAIL) for n, lr in enumerate(spread(12))]
    assert gp.propose(space, only, seed=0) is None, "of failures alone there is nothing to learn"


def test_a_failure_that_was_made_up_for_counts_no_more() -> None:
    space = space_of()
    trials = [trial_of(space, n, {"lr": lr}, {27: lr}) for n, lr in enumerate(spread(10))]
    trials.append(trial_of(space, 10, {"lr": 1e-4}, {}, TrialState.FAIL))
    assert len(gp._observed(space, trials)[0]) == 11
    trials.append(trial_of(space, 11, {"lr": 1e-4}, {27: 1e-4}))
    trials[11].set_user_attr("retry_of", 10)
    assert [each.trial for each in gp._observed(space, trials)[0]] == [*range(10), 11]


def test_what_ran_out_of_time_is_not_taken_for_promising() -> None:
    space = space_of({"width": {"min": 8, "max": 256}}, trainer=ANY, budget={"trials": 50, "trial_time": "1h"})
    trials = []
    for number, width in enumerate(range(8, 256, 12)):
        slow = width > 96
        curve = {1: 1 / width, 3: 1 / width, **({} if slow else {9: 1 / width, 27: 1 / width})}
        curve |= {8: 1 / width} if slow else {}
        trials.append(
            trial_of(space, number, {"width": width}, curve, TrialState.PRUNED if slow else TrialState.COMPLETE)
        )
    assert all(each["width"] < 130 for each in proposals(space, trials))


def test_what_a_condition_leaves_out_makes_no_difference_and_no_training_is_repeated_for_it() -> None:
    parameters = {
        "optimizer": {"values": ["adam", "sgd", "lion"]},
        "batch_size": {"values": [16, 32, 64, 128]},
        "momentum": {"min": 0.0, "max": 0.9, "when": {"optimizer": "sgd"}},
    }
    space = space_of(parameters, trainer=ANY, sampler={"type": "gp", "startup_trials": 2})
    trials: list[FrozenTrial] = []
    for number, params in enumerate(({"optimizer": "adam", "batch_size": 64}, {"optimizer": "lion", "batch_size": 16})):
        trials.append(trial_of(space, number, dict(params), {27: 1.0 if params["optimizer"] == "lion" else 0.1}))
    for number in range(2, 9):
        (found,) = proposals(space, trials, 1)
        assert ("momentum" in found) == (found["optimizer"] == "sgd")
        loss = 0.1 if found["optimizer"] == "adam" else 1.0 + found.get("momentum", 0.0)
        trials.append(trial_of(space, number, found, {27: loss}))
    tried = [(each.params["optimizer"], each.params["batch_size"]) for each in trials if "momentum" not in each.params]
    assert len(tried) == len(set(tried))


def test_the_gain_of_a_place_is_the_same_whatever_a_parameter_would_be_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parameters = {**LR, "optimizer": {"values": ["adam", "sgd"]}}
    parameters["momentum"] = {"min": 0.0, "max": 0.9, "when": {"optimizer": "sgd"}}
    space, draw, trials = space_of(parameters, trainer=ANY), np.random.default_rng(4), []
    for number, lr in enumerate(spread(20)):
        momentum = float(draw.random()) * 0.9
        params = {"lr": lr, "optimizer": "sgd", "momentum": momentum} if number % 2 else {"lr": lr, "optimizer": "adam"}
        trials.append(trial_of(space, number, params, {27: abs(math.log10(lr) + 2) + momentum}))
    adam, sgd = ([[0.4, place, momentum] for momentum in (0.1, 0.9)] for place in (0.0, 1.0))
    gains = []
    with monkeypatch.context() as patch:
        patch.setattr(
            gp,
            "_best_place",
            lambda gain, start, *_: (
                gains.append([gain.eval_acqf_no_grad(np.array(each)) for each in (adam, sgd)]) or start
            ),
        )
        gp.propose(space, trials, seed=0)
    ((adams, sgds),) = gains
    assert adams[0] == adams[1]
    assert sgds[0] != sgds[1]


def test_very_many_whole_numbers_are_searched_as_a_range() -> None:
    parameters = {
        "units": {"min": 100_001, "max": 100_040, "when": {"kind": "b"}},
        "kind": {"values": ["a", "b"]},
        "tokens": {"min": 1, "max": 10**12, "log": True},
        "rows": {"min": 0, "max": 7 * 10**5, "step": 7},
    }
    space = space_of(parameters, trainer=ANY)
    trials = []
    for number in range(20):
        params: dict[str, Any] = {"kind": "ab"[number % 2], "tokens": 10 ** (number % 12), "rows": 7 * 1000 * number}
        params |= {"units": 100_001 + number} if number % 2 else {}
        trials.append(trial_of(space, number, params, {27: number % 12 + number % 2}))
    for found in proposals(space, trials, 3):
        assert all(space.parameters[name].contains(each) for name, each in found.items())
        assert isinstance(found["tokens"], int)


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
        assert found["momentum"] in (0.5, 0.6, 0.7), "exact in decimals"
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


def test_it_says_the_same_of_the_same_and_leaves_threads_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    space, before, during = space_of(), torch.get_num_threads(), []
    trials = [trial_of(space, n, {"lr": lr}, {27: lr}) for n, lr in enumerate(spread(12))]
    torch.set_num_threads(2)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(gp, "_best_place", lambda *_: during.append(torch.get_num_threads()) or np.array([0.5]))
            gp.propose(space, trials, seed=7)
        assert (during, torch.get_num_threads()) == ([1], 2)
    finally:
        torch.set_num_threads(before)
    assert gp.propose(space, trials, seed=7) == gp.propose(space, trials, seed=7)


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
