"""Several goals and constraints: dominance, what a file may say, decisions, whole searches and what commands say."""

import json
import random
from pathlib import Path
from typing import Any

import optuna
import pytest
import synthetic
from audit import disagreements
from mlflow import MlflowClient
from optuna.trial import TrialState
from study_samples import open_study, report, saved, scheduler_of, train
from typer.testing import CliRunner

import hpo
from hpo import goals, spec
from hpo.cli import app
from hpo.cluster.usage import Usage
from hpo.commands.watch import _board
from hpo.errors import HpoError, NoUsableTrial, SpecError
from hpo.goals import Point
from hpo.promotion.promote import Wish, promote
from hpo.search.ahead import is_whole
from hpo.search.board import told
from hpo.search.recovery import recover
from hpo.search.retention import judge, look
from hpo.search.searcher import Searcher
from hpo.search.tally import Tally
from hpo.space.sections import Metric, Winner
from hpo.store import columns, records
from hpo.study import Study
from hpo.tracking.delivery import deliver
from hpo.tracking.note import note
from hpo.winner import confirmation
from hpo.winner.candidate import candidate
from hpo.workers.trial import Report
from trainers.folders import private, private_file

GOALS = [{"name": "val/accuracy", "goal": "maximize"}, {"name": "latency_ms", "goal": "minimize"}]
WIDTHS = [1, 2, 3, 4, 5, 6]


def traded(**sections: Any) -> dict[str, Any]:
    """A search that weighs accuracy against time, in which the widest networks are too large."""
    return {
        "name": "traded",
        "metrics": GOALS,
        "constraints": ["parameters_count <= 3e4"],
        "sampler": {"type": "tpe", "startup_trials": 3},
        "parameters": {"lr": {"values": [0.1, 0.4]}, "width": {"min": 1, "max": 6}},
        "trainer": {"import": "synthetic:Traded", "epochs": 2},
        "budget": {"trials": 12},
        **sections,
    }


def opened(home: Path, **sections: Any) -> Study:
    tree = traded(**sections)
    only = {key: value for key, value in tree.items() if key != "name"}
    return Study.open(spec.from_mapping({"name": "traded", **only}), hpo.settings.resolve(home=home))


def ended(number: int, facts: dict[str, Any] | None = None, **metrics: float) -> Report:
    named = {name.replace("_per_", "/"): value for name, value in metrics.items()}
    return Report(number=number, attempt=1, epoch=1, metrics=named, last=True, facts=facts or {"parameters_count": 1})


def run(study: Study, trials: int) -> list[dict[str, Any]]:
    """Run so many trials as Traded would, in this process; returns their parameters."""
    scheduler, searcher = scheduler_of(study), Searcher(study)
    points = []
    for _ in range(trials):
        trial = searcher.next()
        assert trial is not None
        scheduler.start(trial, cpu=1, gpu=0)
        width = trial.params["width"]
        found = synthetic.traded(synthetic.accuracy(trial.params["lr"], 0.0, 1), width)
        told = {
            "metrics": found,
            "facts": {"parameters_count": 1000 * width**2},
            "checkpoint": saved(study, trial.number),
        }
        scheduler.report(Report(number=trial.number, attempt=1, epoch=1, last=True, **told))
        points.append(trial.params)
    return points


def typed(*words: str, home: Path) -> str:
    """What a command prints, or the error that it ends with."""
    found = CliRunner().invoke(app, [*words, "--home", str(home)])
    assert found.exception is None or isinstance(found.exception, HpoError), found.exception
    return str(found.exception) if found.exception is not None else found.output


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


# -- whole searches ---------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("ray_cluster")
def test_of_a_whole_search_all_records_have_the_front(home: Path) -> None:
    study = hpo.run(traded(trainer={"import": "synthetic:Traded", "epochs": 1}, budget={"trials": 6}), home=home)
    assert study.counts() == {"COMPLETE": 6}
    assert disagreements(study) == []
    best = study.best_trials
    assert all(each.params["width"] <= 5 and study.checkpoint(each.number) for each in best)
    outcome = study.afresh().row["outcome"]
    assert outcome.startswith(f"finished, {len(best)} on the front: val/accuracy up to ")
    client = MlflowClient(study.settings.mlflow)
    experiment = client.get_experiment_by_name("traded")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    [parent] = [each for each in runs if "mlflow.parentRunId" not in each.data.tags]
    assert parent.data.tags["hpo.front"].count("trial ") == len(best)
    assert parent.data.metrics["best/val/accuracy"] == best[0].values[0]
    assert "on the front" in parent.data.tags["mlflow.note.content"]
    assert all({"val/accuracy", "latency_ms"} <= each.data.metrics.keys() for each in runs if each is not parent)


def test_what_commands_say_of_a_front(tmp_path: Path) -> None:
    home = tmp_path / "home"
    cells = {"lr": {"values": [0.1, 0.4]}, "width": {"values": WIDTHS}}
    study = opened(home, sampler="grid", parameters=cells, budget={}, baseline=True)
    run(study, 12)
    study = study.afresh()
    best = study.best_trials
    found = json.loads(typed("best", "traded", "--json", home=home))
    assert [each["number"] for each in found["front"]] == [each.number for each in best]
    assert [each["values"]["latency_ms"] for each in found["front"]] == [each.values[1] for each in best]
    assert len(found["left_out"]) == 2
    said = typed("best", "traded", home=home)
    assert f"front       {len(best)} trials of 12 complete" in said
    assert "left out    2 trials that missed a constraint" in said
    assert len(typed("best", "traded", "--checkpoint", home=home).splitlines()) == len(best)
    assert "value of latency_ms" in typed("trials", "traded", home=home)
    assert f"{len(best)} on the front" in typed("status", "traded", home=home)
    assert f"{len(best)} on the front: val/accuracy up to" in told(_board(study, Usage()))
    assert "value of latency_ms" in typed("report", "traded", "--csv", "-", home=home)
    assert "of the front, best in val/accuracy" in typed("diagnose", "traded", home=home)
    assert "maximize val/accuracy and minimize latency_ms" in typed("compare", "traded:0", "traded:1", home=home)
    assert "name a trial of its front, traded:" in typed("compare", "traded", "traded:1", home=home)
    with pytest.raises(SpecError, match=f"name one of its front:\n  --trial {best[0].number}: val/accuracy"):
        candidate(study)
    assert candidate(study, best[0].number).others == {"latency_ms": best[0].values[1]}
    with pytest.raises(SpecError, match="several goals, so that seeds choose no winner"):
        confirmation.prepare(study, Winner())
    page = tmp_path / "page.html"
    typed("report", "traded", "--out", str(page), home=home)
    for words in ("5 on the front: val/accuracy up to", "latency_ms (less is better)", "importances for latency_ms"):
        assert words in page.read_text()


def test_where_nothing_keeps_the_constraints_everything_says_so(tmp_path: Path) -> None:
    home = tmp_path / "home"
    study = opened(home, constraints=["parameters_count <= 500"], sampler="random", budget={"trials": 3})
    run(study, 3)
    study = study.afresh()
    said = note({**records.table(study), "best": []}, "1")
    assert said.startswith("No trial is complete and keeps the constraints: 3 complete.")
    assert "none" in records.front(study.front(), study.spec.metrics)["tags"]["hpo.front"]
    for words in (["best", "traded"], ["best", "traded", "--checkpoint"]):
        assert "misses parameters_count <= 500 by " in typed(*words, home=home)
    with pytest.raises(NoUsableTrial, match="the nearest, trial"):
        candidate(study)
    assert "front" not in json.loads(typed("status", "traded", "--json", home=home))
    page = tmp_path / "page.html"
    typed("report", "traded", "--out", str(page), home=home)
    assert "No complete trial keeps the constraints; the nearest, trial" in page.read_text()


@pytest.mark.slow
def test_a_front_travels_to_another_database(tmp_path: Path) -> None:
    study = opened(tmp_path / "home")
    run(study, 4)
    file = tmp_path / "study.hpo"
    typed("export-study", "traded", "--out", str(file), home=tmp_path / "home")
    typed("import-study", str(file), home=tmp_path / "other")
    there = hpo.load("traded", home=tmp_path / "other")
    assert there.front() == study.afresh().front()
    assert there.optuna.directions == study.optuna.directions


@pytest.mark.slow
def test_a_trial_of_the_front_is_promoted(home: Path, empty_mlflow: Path) -> None:
    private_file(private(home) / "mlflow.db").write_bytes(empty_mlflow.read_bytes())
    cells = {"model": {"values": ["linear", "lightweight_cnn_gap"]}}
    digits = {"dataset": {"name": "digits", "limit": 400}, "epochs": 2, "lr": 0.1}
    study = opened(home, sampler="grid", parameters=cells, trainer=digits, budget={})
    study.ledger.post(study.id, None, "start", {})
    train(study, 2)
    deliver(study)
    slow, fast = sorted(study.rows(), key=lambda row: -row["value of latency_ms"])
    assert (slow["model"], fast["model"]) == ("lightweight_cnn_gap", "linear")
    assert f"--trial {fast['number']}: val/accuracy" in typed("promote", "traded", home=home)
    wish = Wish(trial=fast["number"], waived={"quantised": "a test", "gap": "a test", "test": "a test"})
    found = promote(study, wish, lambda text: None)
    assert (found.outcome, found.trial) == ("promoted", fast["number"])
