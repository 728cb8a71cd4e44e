"""Several goals and constraints: dominance, what a file may say, what is decided."""

import json
import random
from pathlib import Path
from typing import Any

import optuna
import pytest
from front_samples import GOALS, WIDTHS, opened, run, traded, typed
from optuna.trial import TrialState
from study_samples import open_study, report, scheduler_of, train

import hpo
from hpo import goals, spec
from hpo.errors import NoUsableTrial, SpecError
from hpo.goals import Point
from hpo.search.ahead import is_whole
from hpo.search.recovery import recover
from hpo.search.retention import judge, look
from hpo.search.searcher import Searcher
from hpo.search.tally import Tally
from hpo.space.sections import Metric
from hpo.store import columns
from hpo.study import Study
from hpo.workers.trial import Report


def ended(number: int, facts: dict[str, Any] | None = None, **metrics: float) -> Report:
    named = {name.replace("_per_", "/"): value for name, value in metrics.items()}
    return Report(number=number, attempt=1, epoch=1, metrics=named, last=True, facts=facts or {"parameters_count": 1})


# -- which trials no other betters ------------------------------------------------------------------------------------


@pytest.mark.parametrize("directions", [["maximize", "minimize"], ["minimize", "minimize", "maximize"]])
def test_the_front_is_optunas_without_equal_values_and_what_misses_constraints(directions: list[str]) -> None:
    chance = random.Random(1)
    metrics = [Metric(name=f"m{place}", goal=each) for place, each in enumerate(directions)]  # type: ignore[arg-type]
    for _ in range(20):
        study = optuna.create_study(directions=directions)
        for number in range(chance.randrange(1, 40)):
            trial = study.ask()
            for name in ("size <= 1", "speed >= 2"):
                trial.set_constraint(name, round(chance.random() - 0.8, 1))
            failed = number % 9 == 8
            values = None if failed else [round(chance.random(), 1) for _ in directions]
            study.tell(trial, values, state=TrialState.FAIL if failed else TrialState.COMPLETE)
        found = goals.front(goals.points(study.trials), metrics)
        theirs = [(tuple(each.values), each.number) for each in study.best_trials]
        assert {each.number for each in found} == {
            min(number for v, number in theirs if v == each) for each, _ in theirs
        }
        firsts = [metrics[0].sign * each.values[0] for each in found]
        assert firsts == sorted(firsts, reverse=True), "the best in the first goal first"


def test_of_one_goal_the_front_is_the_first_of_the_best() -> None:
    low = [Point(number=each, values=(value,)) for each, value in enumerate((3, 1, 1))]
    wish = [Metric(name="val/loss", goal="minimize")]
    assert [each.number for each in goals.front(low, wish)] == [1]
    assert [each.number for each in goals.ranked(low, wish)] == [1, 2, 0]
    large = Point(number=3, values=(0,), missed={"size <= 1": 0.5})
    assert [each.number for each in goals.ranked([large, *low], wish)] == [1, 2, 0, 3]


# -- what a file may say ----------------------------------------------------------------------------------------------


def test_a_file_of_one_metric_is_what_it_was() -> None:
    tree = {
        "name": "x",
        "metric": "val/loss",
        "sampler": "tpe",
        "parameters": {"lr": {"min": 0.1, "max": 1.0}},
        "trainer": {"model": "linear", "dataset": "digits"},
        "budget": 5,
    }
    space = spec.from_mapping(tree)
    assert space.hash() == "8ab98ebf15a291d5", "as before there were several goals"
    assert list(space.canonical())[:3] == ["name", "metric", "sampler"]
    limited = spec.from_mapping({**tree, "constraints": ["parameters_count<=5e6", "val/accuracy  >= .5"]})
    assert limited.canonical()["constraints"] == ["parameters_count <= 5000000", "val/accuracy >= 0.5"]
    assert limited.hash() != space.hash()
    for each in (space, limited, spec.from_mapping(traded())):
        assert spec.from_mapping(each.canonical(), trusted=True).hash() == each.hash()


def test_an_override_takes_several_goals_out_again() -> None:
    space = spec.from_mapping(traded(), overrides=["metrics=null", "constraints=null", "metric=val/accuracy"])
    assert (space.metrics, space.constraints) == ((Metric(name="val/accuracy", goal="maximize"),), ())


def test_the_default_pruner_is_none_for_several_goals() -> None:
    one = traded(metric="val/accuracy", trainer={"import": "synthetic:Traded", "epochs": 9})
    assert spec.from_mapping({key: each for key, each in one.items() if key != "metrics"}).pruner.type == "asha"
    several = {key: each for key, each in one.items() if key != "metric"}
    assert spec.from_mapping(several).pruner.type == "none"


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"metric": "val/accuracy"}, "`metric` and `metrics` are both given; keep one"),
        ({"metrics": GOALS[:1]}, "`metrics` takes two or more; write one as `metric:"),
        ({"metrics": "val/accuracy"}, "`metrics` is a list"),
        ({"metrics": ["val/accuracy", GOALS[1]]}, "each says which way: {name: val/accuracy, goal: maximize}"),
        ({"metrics": [{"name": "val/accuracy"}, GOALS[1]]}, "give goal: maximize or minimize"),
        ({"metrics": [GOALS[0], GOALS[0]]}, "`val/accuracy` stands here twice"),
        ({"metrics": [GOALS[0], {"nme": "x", "goal": "minimize"}]}, "unknown key `nme`; did you mean `name`?"),
        ({"metrics": [GOALS[0], {"name": "x", "direction": "minimize"}]}, "`direction` is written `goal` here"),
        ({"pruner": "asha"}, "no trial is stopped early: .* set `pruner: none`"),
        ({"sampler": "staged"}, "set `sampler: tpe`, random or grid"),
        ({"winner": 3}, "remove `winner`; `hpo best` shows the front"),
        ({"budget": {"trials": 3, "target": 0.9}}, "write that goal as a constraint, such as val/accuracy >= 0.9"),
        ({"budget": {"trials": 3, "trial_time": 9}}, "`trial_time` stops trials early"),
        ({"constraints": ["parameters_count < 5"]}, "`<` is written `<=` here: parameters_count <= 5"),
        ({"constraints": ["parameters_count <= many"]}, "is no constraint: write NAME <= NUMBER"),
        ({"constraints": [5]}, "5 is no constraint"),
        ({"constraints": ["size <= 5", "size<=4"]}, "`size <=` stands here twice; keep the stricter one"),
        ({"constraints": ["size <= 5", "size >= 6"]}, "no `size` is both >= 6 and <= 5; change one"),
        ({"constraints": ["test/accuracy >= 0.9"]}, "use val/accuracy"),
        ({"objectives": GOALS}, "`objectives` is written `metrics` here"),
    ],
)
def test_what_does_not_fit_is_answered_with_what_to_do(sections: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said.replace("{", r"\{")):
        spec.from_mapping(traded(**sections))


def test_names_that_the_built_in_trainer_does_not_know_are_refused() -> None:
    tree = {"parameters": {"lr": {"values": [0.1, 0.4]}}, "trainer": {"model": "linear", "dataset": "digits"}}
    assert spec.from_mapping(traded(**tree)).asks_for("latency_ms")
    for wrong, near in (("parameter_count <= 5", "parameters_count"), ("latency <= 5", "latency_ms")):
        with pytest.raises(SpecError, match=f"did you mean `{near}`"):
            spec.from_mapping(traded(**tree, constraints=[wrong]))


def test_latency_is_measured_where_it_is_asked_for_and_changes_no_training(tmp_path: Path) -> None:
    digits = {"model": "lightweight_cnn", "dataset": {"name": "digits", "limit": 200}, "epochs": 2}
    cells = {"lr": {"values": [0.1]}}

    def curve(name: str, **sections: Any) -> list[dict[str, float]]:
        made = {"name": name, "sampler": "grid", "parameters": cells, "trainer": digits, "budget": {}, **sections}
        study = open_study(tmp_path / "home", **made)
        train(study, 1)
        return [columns.metrics(row) for row in study.ledger.epochs(study.id)]

    plain, limited = curve("plain"), curve("limited", constraints=["latency_ms <= 1e3"])
    assert all("latency_ms" not in each for each in plain)
    assert 0 < limited[0]["latency_ms"] == limited[1]["latency_ms"] < 100
    names = ("train/loss", "val/loss", "val/accuracy")
    assert [[each[name] for name in names] for each in limited] == [[each[name] for name in names] for each in plain]


# -- what is decided --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("one_goal", [False, True])
def test_a_resumed_search_decides_as_the_uninterrupted_one(tmp_path: Path, one_goal: bool) -> None:
    def made(home: Path) -> Study:
        tree = {**traded(sampler={"type": "tpe", "startup_trials": 2}), "metric": "val/accuracy", "pruner": "none"}
        del tree["metrics" if one_goal else "metric"]
        return Study.open(spec.from_mapping(tree), hpo.settings.resolve(home=home))

    whole = made(tmp_path / "whole")
    points = run(whole, 7)
    broken: list[dict[str, Any]] = []
    for _ in range(7):
        study = made(tmp_path / "broken")
        recover(study)
        broken += run(study, 1)
    assert broken == points
    assert study.afresh().front() == whole.afresh().front()


def test_the_sampler_respects_constraints(tmp_path: Path) -> None:
    limit = {"constraints": ["parameters_count <= 5e3"], "budget": {"trials": 24}}
    late = [each["width"] for each in run(opened(tmp_path / "home", **limit), 24)][8:]
    assert sum(width > 2 for width in late) < 8, "drawn evenly, four of six widths would be too large"
    assert {1, 2} <= set(late), "and the front is looked for at both ends"


def test_what_is_counted_while_trials_end_is_what_sql_says(tmp_path: Path) -> None:
    study = opened(tmp_path / "home")
    scheduler, searcher = scheduler_of(study), Searcher(study)
    wide = {"parameters_count": 10**6}
    steps: list[tuple[float, float, Any, bool]] = [
        (0.5, 2.0, None, True),
        (0.6, 9.0, wide, False),  # too large
        (0.5, 2.0, None, False),  # nothing new
        (0.4, 1.0, None, True),  # faster
        (0.4, 3.0, None, False),  # worse in both
        (0.7, 1.0, None, True),  # betters all
    ]
    since = []
    for number, (accuracy, latency, facts, news) in enumerate(steps):
        trial = searcher.next()
        assert trial is not None
        scheduler.start(trial, cpu=1, gpu=0)
        before = scheduler.tally.front
        scheduler.report(ended(number, facts, val_per_accuracy=accuracy, latency_ms=latency))
        assert (scheduler.tally.front != before) is news
        again = Tally(study.afresh())
        assert (again.front, again.since_best) == (scheduler.tally.front, scheduler.tally.since_best)
        since.append(again.since_best)
    assert since == [0, 1, 2, 0, 1, 0]
    assert study.afresh().optuna.trials[1].constraints == {"parameters_count <= 30000": pytest.approx(32.33, rel=1e-3)}
    assert study.best_trial.number == 5


def test_the_whole_front_keeps_its_checkpoints_and_what_misses_constraints_does_not(tmp_path: Path) -> None:
    cells = {"lr": {"values": [0.1, 0.4]}, "width": {"values": WIDTHS}}
    study = opened(tmp_path / "home", sampler="grid", parameters=cells, budget={"disk": 1})
    run(study, 12)
    study = study.afresh()
    best = {trial.number for trial in study.best_trials}
    assert {study.params(trial)["width"] for trial in study.best_trials} == {1, 2, 3, 4, 5}
    assert {each.number for each in judge(look(study), study.spec).stays} == best, "whatever the budget, and no more"
    assert {row["number"] for row in study.rows() if row["checkpoint"]} == best
    assert all(row["misses"] == "parameters_count <= 30000 by 20.00%" for row in study.rows() if row["width"] == 6)
    assert is_whole(study.spec, study.frozen_trials())


def test_with_one_metric_best_is_who_keeps_the_constraints_and_none_is_said_with_the_nearest(tmp_path: Path) -> None:
    home, limit = tmp_path / "home", {"constraints": ["parameters_count <= 2e4", "latency_ms <= 1"]}
    study = open_study(home, sampler={"type": "tpe"}, budget={"trials": 3}, **limit)
    scheduler, searcher = scheduler_of(study), Searcher(study)
    for number, (accuracy, parameters, latency) in enumerate([(0.9, 3e4, 1.1), (0.8, 2.2e4, 1.0), (0.7, 1e4, 0.9)]):
        if number == 2:
            said = r"keeps its constraints: .*; the nearest, trial 1, misses parameters_count <= 20000 by 10.00%"
            with pytest.raises(NoUsableTrial, match=said):
                _ = study.afresh().best_trial
            assert "by 10.00%" in typed("best", "study", home=home)
            assert json.loads(typed("list", "--json", home=home))[0]["best"] is None
        trial = searcher.next()
        assert trial is not None
        scheduler.start(trial, cpu=1, gpu=0)
        told = {"val_per_accuracy": accuracy, "latency_ms": latency}
        scheduler.report(ended(number, {"parameters_count": parameters}, **told))
    assert study.afresh().best_first() == [2]
    assert scheduler.tally.best == 0.7
    assert json.loads(typed("list", "--json", home=home))[0]["best"] == 0.7
    found = typed("best", "study", home=home)
    assert "best trial  2" in found
    assert "left out    trials 0, 1, which miss a constraint" in found


def test_a_limit_on_what_nobody_tells_fails_the_trial_with_what_there_is(tmp_path: Path) -> None:
    study = open_study(tmp_path / "home", constraints=["flops <= 5"])
    scheduler, searcher = scheduler_of(study), Searcher(study)
    trial = searcher.next()
    assert trial is not None
    scheduler.start(trial, cpu=1, gpu=0)
    scheduler.report(report(0, 1, 0.5, facts={"parameters_count": 1, "device": "cpu"}))
    error = study.rows()[0]["error"]
    assert error.startswith("there is no number for the constraint 'flops <= 5'; known are parameters_count, device")


def test_a_paused_trial_that_misses_a_constraint_is_never_promoted(tmp_path: Path) -> None:
    rungs = {"type": "asha", "mode": "promote", "min_epochs": 1, "reduction": 2}
    study = open_study(tmp_path / "home", pruner=rungs, constraints=["parameters_count <= 5"], budget={"trials": 4})
    scheduler, searcher = scheduler_of(study), Searcher(study)
    for number, value in enumerate((0.9, 0.5, 0.4, 0.3)):  # the best is too large
        trial = searcher.next()
        assert trial is not None
        assert trial.number == number
        scheduler.start(trial, cpu=1, gpu=0)
        scheduler.report(report(number, 1, value, facts={"parameters_count": 9 if number == 0 else 1}))
    assert searcher.next() is None or 0 not in scheduler.running
    waiting = [trial.number for trial in study.afresh().frozen_trials() if trial.state == TrialState.WAITING]
    assert 0 in waiting
