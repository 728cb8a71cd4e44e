"""One parameter after the other: the points, what is frozen, and that a kill changes nothing."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from audit import disagreements
from study_samples import TREE, open_study, report, scheduler_of

import hpo
from hpo import spec
from hpo.commands.plan import plan
from hpo.commands.summary import best
from hpo.editing.extension import extend
from hpo.editing.warm_start import first_entry
from hpo.errors import SpecError
from hpo.report import rows
from hpo.report.summary import summary
from hpo.search import staged
from hpo.search.recovery import recover
from hpo.search.searcher import Searcher
from hpo.settings import resolve
from hpo.space.stages import spread
from hpo.store import records
from hpo.study import Study

PARAMETERS = {
    "weight_decay": {"values": [0.0, 0.2, 0.4]},
    "lr": {"min": 0.001, "max": 1.0, "log": True},
}
STAGED = {"type": "staged", "order": ["lr"], "points": 4}
LRS = [0.001, 0.01, 0.1, 1.0]
WHOLE = [
    *({"weight_decay": 0.0, "lr": lr} for lr in LRS),  # the trainer's default, which the space allows
    {"weight_decay": 0.2, "lr": 0.1},  # 0.0 is known
    {"weight_decay": 0.4, "lr": 0.1},
]
"""What an undisturbed search tries where `peak` says how good it is."""


def sections(**more: Any) -> dict[str, Any]:
    return {"sampler": STAGED, "parameters": PARAMETERS, "budget": {}, **more}


def peak(params: Mapping[str, Any]) -> float:
    """Best at lr 0.1 and weight_decay 0.2."""
    return 1.0 - abs(params["lr"] - 0.1) - abs(params["weight_decay"] - 0.2)


def go_on(
    study: Study, objective: Callable[[Mapping[str, Any]], float | None] = peak, *, at_once: int = 1, trials: int = 100
) -> list[dict[str, Any]]:
    """Run trials, so many at once, an epoch each; None as an objective: it fails. Returns their parameters."""
    scheduler, searcher, points, running = scheduler_of(study), Searcher(study), [], []
    while len(points) < trials:
        while len(running) < at_once and (trial := searcher.next()) is not None:
            assert scheduler.start(trial, cpu=1, gpu=0) is not None
            points.append(trial.params)
            running.append(trial)
        if not running:
            break
        trial = running.pop()
        value = objective(trial.params)
        if value is None:
            scheduler.fail(trial.number, "ValueError: a hole")
        else:
            scheduler.report(report(trial.number, 1, value, last=True))
    return points


def test_each_stage_freezes_the_best_of_those_before_it(home: Path) -> None:
    study = open_study(home, **sections())
    assert go_on(study, at_once=3) == WHOLE
    assert study.best_trial.params == {"weight_decay": 0.2, "lr": 0.1}
    assert Searcher(study).exhausted
    assert go_on(open_study(home, **sections())) == []


def test_the_next_stage_waits_for_the_last_trial_of_this_one(home: Path) -> None:
    study = open_study(home, **sections())
    scheduler, searcher = scheduler_of(study), Searcher(study)
    trials = [searcher.next() for _ in range(4)]
    for trial in trials:
        assert trial is not None
        scheduler.start(trial, cpu=1, gpu=0)
    for trial in trials[1:]:
        assert (searcher.next(), searcher.exhausted) == (None, False)
        scheduler.report(report(trial.number, 1, 0.5, last=True))
    scheduler.report(report(0, 1, 0.5, last=True))
    following = searcher.next()
    assert following is not None
    assert following.params["lr"] == LRS[0], "of equals the first trial"


@pytest.mark.parametrize("trials", [3, 5])
def test_killed_anywhere_it_tries_the_same_points_and_none_twice(home: Path, trials: int) -> None:
    study = open_study(home, **sections())
    begun = go_on(study, trials=trials)  # the last one is left at work
    recover(study)
    rest = go_on(open_study(home, **sections()))
    assert len(study.frozen_trials()) == len(WHOLE)
    assert {*map(staged.key, begun + rest)} == {*map(staged.key, WHOLE)}


def test_a_stage_that_was_half_made_is_made_up_for(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = open_study(home, **sections())
    enqueue, made = study.optuna.enqueue_trial, []

    def dies(*arguments: Any, **options: Any) -> None:
        made.append(arguments)
        if len(made) in (3, 7):  # within either stage
            raise KeyboardInterrupt
        enqueue(*arguments, **options)

    monkeypatch.setattr(study.optuna, "enqueue_trial", dies)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            go_on(study)
        recover(study)
        # what ended meanwhile does not change what is frozen in a stage that was begun
    go_on(study)
    assert [study.params(each) for each in study.frozen_trials()] == WHOLE


def test_a_retry_that_wins_later_does_not_change_a_stage_that_was_begun(home: Path) -> None:
    study = open_study(home, **sections())
    go_on(study, lambda params: None if params["lr"] == 1.0 else peak(params), trials=5)
    recover(study)
    study.optuna.enqueue_trial({"weight_decay": 0.0, "lr": 1.0}, user_attrs={"retry_of": 3})
    rest = go_on(open_study(home, **sections()), lambda params: 2.0 if params["lr"] == 1.0 else peak(params))
    assert {each["lr"] for each in rest if each["weight_decay"] > 0} == {0.1}


def test_budget_failures_and_what_is_left(home: Path) -> None:
    study = open_study(home, **sections(budget={"trials": 5}))
    assert Searcher(study).left == 5
    assert len(go_on(study)) == 5
    assert records.end_of_study(study.counts(), study.spec, retried=0, time=0.0)["status"] == "FINISHED"
    more = open_study(home, **sections())
    assert len(go_on(more)) == 1
    over = staged.is_over(more.spec, more.frozen_trials())
    assert records.end_of_study(more.counts(), more.spec, retried=0, time=0.0, over=over)["status"] == "FINISHED"

    lost = open_study(home.parent / "lost", **sections())
    assert Searcher(lost).left == 7
    assert len(go_on(lost, lambda params: None)) == 4, "there is nothing to freeze"
    assert Searcher(lost).exhausted


def test_a_default_of_null_is_a_default() -> None:
    trainer = {"model": "linear", "dataset": "digits", "epochs": 1}
    searched = {"batch_size": {"values": [32, 64]}, "grad_clip": {"values": [1.0, None, 0.1]}}
    space = spec.from_mapping({**TREE, **sections(), "sampler": "staged", "parameters": searched, "trainer": trainer})
    assert space.start() == {"batch_size": 64, "grad_clip": None}


def test_a_parameter_is_passed_over_where_its_condition_does_not_hold(home: Path) -> None:
    parameters = {
        "optimizer": {"values": ["sgd", "adam"]},
        "momentum": {"min": 0.5, "max": 0.9, "when": {"optimizer": "sgd"}},
        "batch_size": {"values": [32, 64]},
    }
    trainer = {"model": "linear", "dataset": "digits", "epochs": 1}
    sampler = {"type": "staged", "points": 3}
    for winner, expected in (("sgd", [0.5, 0.7]), ("adam", [])):
        study = open_study(home.parent / winner, sampler=sampler, parameters=parameters, trainer=trainer, budget={})
        points = go_on(study, lambda params, winner=winner: float(params["optimizer"] == winner))
        assert points[:2] == [
            {"optimizer": "sgd", "momentum": 0.9, "batch_size": 64},
            {"optimizer": "adam", "batch_size": 64},
        ], "the trainer's defaults"
        assert [each["momentum"] for each in points[2:-1]] == expected, "0.9 is known"
        assert points[-1]["batch_size"] == 32


@pytest.mark.parametrize(
    ("entry", "points", "values"),
    [
        ({"min": 0.0, "max": 0.4, "step": 0.1}, 5, [0.0, 0.1, 0.2, 0.3, 0.4]),
        ({"min": 0.0, "max": 0.5, "step": 0.1}, 3, [0.0, 0.2, 0.5]),
        ({"min": 1, "max": 3}, 5, [1, 2, 3]),
        ({"min": 1, "max": 1000, "log": True}, 4, [1, 10, 100, 1000]),
        ({"values": ["a", "b", "c"]}, 2, ["a", "b", "c"]),
    ],
)
def test_the_values_of_a_stage(entry: Any, points: int, values: list[Any]) -> None:
    assert spread(spec.from_mapping({**TREE, "parameters": {"lr": entry}}).parameters["lr"], points) == values


@pytest.mark.parametrize(
    ("sampler", "said"),
    [
        ({"type": "staged", "order": ["lr", "momentum"]}, "`momentum` is not searched"),
        ({"type": "staged", "order": ["lr", "lr"]}, "`lr` stands twice"),
        ({"type": "tpe", "order": ["lr"]}, "`order` is not read by sampler tpe"),
        ({"type": "random", "points": 3}, "`points` is not read by sampler random"),
        ({"type": "staged", "points": 1}, "greater than or equal to 2"),
    ],
)
def test_an_order_that_is_none_is_refused(sampler: Any, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        spec.from_mapping({**TREE, "sampler": sampler})


def test_it_is_told_what_was_not_searched(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    space = spec.from_mapping({**TREE, **sections(budget={"trials": 5})})
    plan(space, resolve(home=home), concurrency=None, as_json=False)
    shown = " ".join(capsys.readouterr().out.split())
    assert "7 at most, one stage after the other: lr 4, weight_decay 3, the first 5 of them" in shown
    assert "tuned one by one" in shown
    study = open_study(home, **sections())
    go_on(study)
    best(study, as_json=False)
    assert "tuned one by one" in capsys.readouterr().out
    assert any("tuned one by one" in part for part in summary(study, rows.read(study), None, None))


def test_other_values_and_other_beginnings_are_refused(home: Path) -> None:
    study = open_study(home, **sections())
    go_on(study)
    wider = {**PARAMETERS, "weight_decay": {"values": [0.0, 0.2, 0.4, 0.6]}}
    with pytest.raises(SpecError, match="what was frozen was chosen among the values of before"):
        extend("study", spec.from_mapping({**TREE, **sections(parameters=wider)}), study.settings)
    with pytest.raises(SpecError, match="a staged search begins with the trainer's defaults"):
        first_entry("study", spec.from_mapping({**TREE, **sections(), "name": "new"}), study.settings)


@pytest.mark.usefixtures("ray_cluster")
def test_a_staged_search_on_ray_runs_stage_by_stage(home: Path) -> None:
    parameters = {"lr": PARAMETERS["lr"], "epochs": {"values": [1, 2]}}
    tree = {**TREE, **sections(parameters=parameters), "trainer": {"import": "synthetic:curve"}}
    study = hpo.run(tree, home=home, progress=False)
    trials = study.frozen_trials()
    assert [each.state.name for each in trials] == ["COMPLETE"] * 5
    assert [each.params["lr"] for each in trials] == [*LRS, 0.1]
    assert max(each.datetime_complete for each in trials[:4]) <= min(each.datetime_start for each in trials[4:])
    assert disagreements(study) == []
