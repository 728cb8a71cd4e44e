"""ASHA with promotion: trials pause at rungs, the best go on, and nothing of it is lost."""

from __future__ import annotations

import statistics
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import synthetic
from audit import disagreements, mlflow_runs
from optuna.trial import TrialState
from study_samples import open_study, report, scheduler_of

import hpo
from hpo import spec
from hpo.commands.plan import plan
from hpo.errors import NoUsableTrial, SpecError
from hpo.rungs import Rungs
from hpo.search import driver
from hpo.search.recovery import recover
from hpo.search.searcher import Searcher
from hpo.settings import resolve
from hpo.store import history
from hpo.study import Study

PROMOTE = {"type": "asha", "mode": "promote", "min_epochs": 1, "reduction": 3}
EPOCHS = 9
SHORT = {"import": "synthetic:Resumable", "epochs": 3}
DRAWN = {"lr": {"min": 0.0, "max": 1.0}}
GOOD = (0.3, 0.9, 0.5, 0.2, 0.8, 0.1, 0.7, 0.4, 0.6)
"""What the trials come to, in the order of a grid."""


def sections(**more: Any) -> dict[str, Any]:
    return {
        "sampler": "grid",
        "parameters": {"lr": {"values": list(GOOD)}},
        "trainer": {"import": "synthetic:Resumable", "epochs": EPOCHS},
        "pruner": PROMOTE,
        "budget": {},
        **more,
    }


def value(params: dict[str, Any], epoch: int) -> float:
    return float(params["lr"] * (1 - 0.5**epoch))


def search(study: Study, *, at_once: int = 1, kills: frozenset[int] = frozenset()) -> Study:
    """Run it to the end, an epoch of every trial at work in turn, its driver killed after those reports."""
    reports = 0
    while True:
        searcher, scheduler = Searcher(study), scheduler_of(study)
        running: list[Any] = []
        while reports not in kills:
            while len(running) < at_once and (trial := searcher.next()) is not None:
                assignment = scheduler.start(trial, cpu=1, gpu=0)
                if assignment is not None:
                    running.append((trial, assignment.recorded))
            if not running:
                if scheduler.conclude():
                    continue
                return study
            trial, epoch = running.pop(0)
            reports += 1
            epoch += 1
            if scheduler.report(report(trial.number, epoch, value(trial.params, epoch), last=epoch == EPOCHS)):
                running.append((trial, epoch))
            if reports in kills:
                break
        kills -= {reports}
        study = Study.load(study.name, study.settings)
        recover(study)


def fates(study: Study) -> list[tuple[str, int | None, dict[str, Any]]]:
    return [(trial.state.name, trial.last_step, trial.params) for trial in study.frozen_trials()]


def test_a_third_goes_on_at_each_rung_and_the_rest_is_pruned_at_the_end(home: Path) -> None:
    study = search(open_study(home, **sections()))
    assert Counter((state, epoch) for state, epoch, _ in fates(study)) == {
        ("COMPLETE", 9): 1,
        ("PRUNED", 3): 2,
        ("PRUNED", 1): 6,
    }
    assert study.best_trial.params == {"lr": 0.9}
    for row in study.ledger.trials(study.id):
        epochs = [each["epoch"] for each in study.ledger.epochs(study.id, row["number"])]
        assert epochs == list(range(1, row["epoch"] + 1)), "one curve, without a gap or a double"


def test_a_trial_that_is_among_the_best_when_it_comes_to_a_rung_goes_on_at_once(home: Path) -> None:
    study = open_study(home, **sections(parameters={"lr": {"values": sorted(GOOD)}}))
    search(study)
    attempts = {row["number"]: row["attempt"] for row in study.ledger.trials(study.id)}
    assert attempts[8] == 1, "the best of all came last: it never waited"
    assert fates(study)[8] == ("COMPLETE", 9, {"lr": 0.9})


def test_a_paused_trial_gives_its_place_to_the_next_and_goes_on_when_others_are_worse(home: Path) -> None:
    study = open_study(home, **sections())
    searcher, scheduler = Searcher(study), scheduler_of(study)
    order = []
    for _ in range(4):
        trial = searcher.next()
        assert trial is not None
        order.append(trial.number)
        scheduler.start(trial, cpu=1, gpu=0)
        if trial.number not in order[:-1]:
            assert not scheduler.report(report(trial.number, 1, value(trial.params, 1)))
    assert order == [0, 1, 2, 1], "of three the best third is one"
    assert study.counts() == {"RUNNING": 1, "PAUSED": 2, "WAITING": 6}
    assert scheduler.running[1].assignment.recorded == 1
    assert study.ledger.trial(study.id, 0)["ended"] is not None


@pytest.mark.parametrize("sampler", ["grid", "random", "tpe", "gp"])
@pytest.mark.parametrize("at_once", [1, 3])
def test_a_search_that_is_killed_again_and_again_decides_as_an_undisturbed_one(
    home: Path, sampler: str, at_once: int
) -> None:
    def run(name: str, kills: frozenset[int]) -> list[Any]:
        more: dict[str, Any] = {}
        if sampler != "grid":
            options = {"startup_trials": 4} if sampler in ("tpe", "gp") else {}
            more = {"sampler": {"type": sampler, **options}, "parameters": {"lr": {"min": 0.0, "max": 1.0}}}
            more["budget"] = {"trials": 12}
        return fates(search(open_study(home, name=name, **sections(**more)), at_once=at_once, kills=kills))

    undisturbed = run("undisturbed", frozenset())
    assert {state for state, _, _ in undisturbed} == {"COMPLETE", "PRUNED"}
    killed = run("killed", frozenset({1, 2, 3, 5, 9, 10, 14, 17, 18}))
    if at_once == 1:
        assert killed == undisturbed
    else:  # a kill shifts the turns of those at work, and with them who is there first; nothing is lost
        assert len(killed) == len(undisturbed)
        assert {state for state, _, _ in killed} == {"COMPLETE", "PRUNED"}


def interrupted(study: Study, epoch: int, **more: Any) -> Study:
    """A driver that recorded an epoch of its first trial and was killed before it judged it; another takes over."""
    history.enqueue(study)
    trial, scheduler = Searcher(study).next(), scheduler_of(study)
    assert trial is not None
    scheduler.start(trial, cpu=1, gpu=0)
    for each in range(1, epoch):
        scheduler.report(report(trial.number, each, value(trial.params, each)))
    scheduler._record(scheduler.running[trial.number], report(trial.number, epoch, value(trial.params, epoch), **more))
    study = Study.load(study.name, study.settings)
    recover(study)
    return study


def test_a_trial_killed_at_a_rung_that_is_its_last_epoch_is_complete(home: Path) -> None:
    parameters = {"lr": {"values": [0.5]}, "epochs": {"values": [3, EPOCHS]}}
    more = {"trainer": {"import": "synthetic:Resumable"}, "pruner": {**PROMOTE, "min_epochs": 3}}
    study = interrupted(open_study(home, **sections(parameters=parameters, **more)), 3, last=True)
    searcher, scheduler = Searcher(study), scheduler_of(study)
    trial = searcher.next()
    assert trial is not None
    assert trial.number == 0
    assert scheduler.start(trial, cpu=1, gpu=0) is None
    assert fates(study)[0] == ("COMPLETE", 3, {"lr": 0.5, "epochs": 3})


def test_a_baseline_killed_at_a_rung_goes_on(home: Path) -> None:
    study = interrupted(open_study(home, **sections(baseline=True)), 1)
    assert study.counts().get("PAUSED") is None
    searcher, scheduler = Searcher(study), scheduler_of(study)
    trial = searcher.next()
    assert trial is not None
    assert trial.number == 0
    assert scheduler.start(trial, cpu=1, gpu=0) is not None


def test_a_trial_killed_before_it_was_judged_pauses_when_it_is_taken_up_again(home: Path) -> None:
    study = interrupted(open_study(home, **sections()), 1)
    assert study.counts() == {"WAITING": len(GOOD)}
    searcher, scheduler = Searcher(study), scheduler_of(study)
    trial = searcher.next()
    assert trial is not None
    assert scheduler.start(trial, cpu=1, gpu=0) is None
    assert study.counts() == {"PAUSED": 1, "WAITING": len(GOOD) - 1}


def test_a_trial_without_a_number_takes_no_place_among_the_best(home: Path) -> None:
    study = open_study(home, **sections())
    searcher, scheduler = Searcher(study), scheduler_of(study)
    for lost in (float("inf"), float("nan"), None, None, None):
        trial = searcher.next()
        assert trial is not None
        scheduler.start(trial, cpu=1, gpu=0)
        scheduler.report(report(trial.number, 1, value(trial.params, 1) if lost is None else lost))
    assert study.counts() == {"FAIL": 2, "PAUSED": 2, "RUNNING": 1, "WAITING": 4}, "the best of three went on"
    assert fates(study)[4] == ("RUNNING", 1, {"lr": 0.8})


def test_an_exhausted_search_whose_driver_died_before_it_ended_paused_trials_is_ended_by_the_next(home: Path) -> None:
    study = open_study(home, **sections(parameters={"lr": {"values": [0.3, 0.9]}}))
    searcher, scheduler = Searcher(study), scheduler_of(study)
    while (trial := searcher.next()) is not None:
        scheduler.start(trial, cpu=1, gpu=0)
        scheduler.report(report(trial.number, 1, value(trial.params, 1)))
    assert study.counts() == {"PAUSED": 2}
    with pytest.raises(NoUsableTrial):
        driver.run(Study.load(study.name, study.settings))
    assert study.counts() == {"PRUNED": 2}


def test_tpe_learns_from_paused_trials_and_is_not_repelled_by_them(home: Path) -> None:
    study = open_study(
        home,
        **sections(
            sampler={"type": "tpe", "startup_trials": 10},
            parameters={"lr": {"min": 0.0, "max": 1.0}},
            pruner={**PROMOTE, "reduction": 40},  # none goes on
            budget={"trials": 39},
        ),
    )
    searcher, scheduler = Searcher(study), scheduler_of(study)
    points = []
    while (trial := searcher.next()) is not None:
        scheduler.start(trial, cpu=1, gpu=0)
        points.append(trial.params["lr"])
        scheduler.report(report(trial.number, 1, value(trial.params, 1)))
    assert statistics.median(points[-10:]) > 0.85 > statistics.median(points[:10]), "the best is 1, and none has ended"
    assert {trial.state for trial in study.frozen_trials()} == {TrialState.WAITING}


@pytest.mark.parametrize(
    ("changes", "pruner"),
    [
        ({}, ("asha", "promote", 1)),
        ({"sampler": "random"}, ("asha", "promote", 1)),
        ({"sampler": {"seed": 3}}, ("asha", "promote", 1)),
        ({"trainer": {"import": "synthetic:Resumable", "epochs": 60}}, ("asha", "promote", 3)),
        ({"sampler": "grid"}, ("none", "stop", 1)),
        ({"trainer": {"import": "synthetic:Resumable"}}, ("none", "stop", 1)),
        ({"trainer": {"import": "synthetic:Resumable", "epochs": 2}}, ("none", "stop", 1)),
        ({"trainer": {"import": "synthetic:curve", "epochs": 9}}, ("asha", "stop", 1)),
        ({"pruner": "asha", "sampler": "grid"}, ("asha", "promote", 1)),
        ({"pruner": {"type": "asha", "min_epochs": 5}}, ("asha", "promote", 5)),
        ({"pruner": {"type": "asha", "mode": "stop"}}, ("asha", "stop", 3)),
        ({"pruner": "median"}, ("median", "stop", 1)),
        ({"pruner": "none"}, ("none", "stop", 1)),
    ],
    ids=str,
)
def test_what_a_file_leaves_out_is_filled_in(changes: dict[str, Any], pruner: tuple[str, str, int]) -> None:
    tree = {
        "name": "n",
        "metric": "val/accuracy",
        "sampler": "tpe",
        "parameters": {"lr": {"min": 0.1, "max": 1.0}},
        "trainer": {"import": "synthetic:Resumable", "epochs": 27},
        "budget": 5,
        **changes,
    }
    if tree["sampler"] == "grid":
        tree["parameters"] = {"lr": [0.1]}
    found = spec.from_mapping(tree)
    assert (found.pruner.type, found.pruner.mode, found.pruner.min_epochs) == pruner
    again = spec.from_mapping(found.canonical(), trusted=True)
    assert again.hash() == found.hash()
    assert again.pruner == found.pruner


def test_a_sampler_that_is_left_out_is_the_one_that_measured_best_and_of_several_goals_tpe() -> None:
    tree = {**sections(), "name": "n", "metric": "m", "budget": 5}
    del tree["sampler"]
    assert spec.from_mapping(tree).sampler.type == "gp"
    goals = [{"name": "m", "goal": "maximize"}, {"name": "latency_ms", "goal": "minimize"}]
    several = {key: each for key, each in tree.items() if key not in ("metric", "pruner")} | {"metrics": goals}
    assert spec.from_mapping(several).sampler.type == "tpe"
    with pytest.raises(SpecError, match="gp is of one metric; set `sampler: tpe`, or leave it out"):
        spec.from_mapping({**several, "sampler": "gp"})


def test_a_mode_is_aschas_alone() -> None:
    with pytest.raises(SpecError, match="`mode` is not read by pruner median: it belongs to asha"):
        spec.from_mapping({**sections(), "name": "n", "metric": "m", "pruner": {"type": "median", "mode": "stop"}})


def test_rungs_end_below_the_last_epoch() -> None:
    rungs = Rungs(spec.from_mapping({**sections(), "name": "n", "metric": "m"}))
    assert [epoch for epoch in range(30) if epoch in rungs] == [1, 3]


def test_each_third_trial_of_a_sampler_that_draws_passes_the_first_rung_unasked(home: Path) -> None:
    study = open_study(home, **sections(sampler="random", parameters=DRAWN, budget={"trials": 9}))
    scheduler, searcher, numbers = scheduler_of(study), Searcher(study), []
    while (trial := searcher.next()) is not None:
        scheduler.start(trial, cpu=1, gpu=0)
        if "promoted" not in trial.user_attrs:  # else it paused before
            rising = trial.number / 10 if trial.number % 3 else 0.0  # those that pass unasked are the worst
            numbers.append((trial.number, scheduler.report(report(trial.number, 1, rising))))
    assert {number for number, goes_on in numbers if goes_on} >= {0, 3, 6}
    rungs = Rungs(study.spec)
    assert rungs.unasked
    assert not Rungs(spec.from_mapping({**sections(), "name": "n", "metric": "m"})).unasked, "a grid has its own order"


def test_the_plan_says_who_passes_the_first_rung_unasked(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = {"name": "n", "metric": "m"}
    drawn = spec.from_mapping({**sections(sampler="random", parameters=DRAWN, budget={"trials": 9}), **names})
    grid = spec.from_mapping({**sections(), **names})
    for space, said in ((drawn, ", which 1 in 3 passes unasked"), (grid, "")):
        plan(space, resolve(home=home), concurrency=None, as_json=False)
        line = f"asha: the best 1/3 go on, others pause until they are, first judged after epoch 1{said}\n"
        assert line in capsys.readouterr().out


def test_nobody_passes_the_only_rung_unasked_or_with_a_constraint_missed(home: Path) -> None:
    drawn = {"sampler": "random", "parameters": DRAWN, "budget": {"trials": 9}}
    only = spec.from_mapping({**sections(**drawn, trainer=SHORT), "name": "n", "metric": "m"})
    assert not Rungs(only).unasked
    study = open_study(home, **sections(**drawn, constraints=["parameters_count <= 5"]))
    trial, scheduler = Searcher(study).next(), scheduler_of(study)
    assert trial is not None
    scheduler.start(trial, cpu=1, gpu=0)
    assert not scheduler.report(report(0, 1, value(trial.params, 1), facts={"parameters_count": 6}))
    assert study.counts() == {"PAUSED": 1}


@pytest.mark.slow
def test_a_real_search_pauses_and_promotes_and_all_records_agree(ray_cluster: str, home: Path, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    tree = {
        **sections(),
        "name": "promoted",
        "metric": "val/accuracy",
        "trainer": {"import": "synthetic:Resumable", "epochs": EPOCHS, "journal": str(journal)},
        "parameters": {"lr": {"values": [0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 0.8, 0.9]}},  # the best come first
    }
    study = hpo.run(spec.from_mapping(tree), home=home, ray=ray_cluster, progress=False)
    assert study.counts()["COMPLETE"] >= 1
    assert study.counts().keys() == {"COMPLETE", "PRUNED"}
    assert study.best_trial.params == {"lr": 0.1}
    trained = Counter((line["lr"], line["epoch"]) for line in synthetic.read(journal))
    assert sum(trained.values()) < 9 * EPOCHS / 2
    for row in study.rows():
        assert all(trained[row["lr"], epoch] for epoch in range(1, row["epoch"] + 1))
    assert disagreements(study) == []
    assert len(mlflow_runs(study)) == 9
