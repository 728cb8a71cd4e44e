"""A search that ends before its trials are used up, what it is compared with, and what is kept for the winner."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from study_samples import TREE, open_study, report, run, scheduler_of
from typer.testing import CliRunner

import hpo
from hpo import spec
from hpo.cli import app
from hpo.commands.plan import plan
from hpo.commands.summary import closing
from hpo.editing.retry import retry
from hpo.errors import SpecError
from hpo.search.ahead import is_spent, seconds_left, trials_left
from hpo.search.searcher import Searcher
from hpo.search.tally import Tally
from hpo.settings import resolve
from hpo.store import history

PARAMETERS = {"lr": {"min": 0.0, "max": 1.0}, "weight_decay": {"min": 0.0, "max": 0.5}}


@pytest.mark.parametrize("sampler", ["gp", "tpe", "random", "grid"])
def test_the_first_trial_is_the_defaults_and_is_never_stopped_early(home: Path, sampler: str) -> None:
    parameters: dict[str, Any] = PARAMETERS
    if sampler == "grid":
        parameters = {"lr": [0.1, 0.9], "weight_decay": [0.1]}
    study = open_study(
        home,
        sampler=sampler,
        parameters=parameters,
        baseline=True,
        pruner={"type": "asha", "min_epochs": 1, "reduction": 2},
    )
    history.enqueue(study)
    searcher, scheduler = Searcher(study), scheduler_of(study)
    trial = searcher.next()
    assert trial is not None
    expected = {"lr": 0.5, "weight_decay": 0.0} if sampler != "grid" else {"lr": 0.1, "weight_decay": 0.1}
    assert trial.params == expected, "the trainer's default, else the middle"
    scheduler.start(trial, cpu=1, gpu=0)
    assert all(scheduler.report(report(0, epoch, 0.1)) for epoch in (1, 2, 3))
    assert not scheduler.report(report(0, 4, 0.1, last=True))
    points = []
    while (trial := searcher.next()) is not None:
        points.append(trial.params)
    assert len(points) == (1 if sampler == "grid" else 3), "it takes one place of the budget, and one cell of a grid"
    assert "baseline" not in study.frozen_trials()[1].user_attrs


def test_what_was_gained_over_the_defaults_is_told(home: Path) -> None:
    study = run(open_study(home, baseline=True), [0.5, 0.75, 0.625])
    done = CliRunner().invoke(app, ["best", study.name, "--home", str(home)])
    assert "gain        0.25 better than trial 0, the defaults: 0.5" in done.stdout
    page = home / "report.html"
    CliRunner().invoke(app, ["report", study.name, "--home", str(home), "--no-model", "--out", str(page)])
    assert "0.25 better than trial 0, the defaults: 0.5" in page.read_text()
    assert study.rows()[0]["origin"] == "the defaults"


def test_trials_without_a_new_best_are_counted_likewise_by_the_next_driver(home: Path) -> None:
    study = open_study(home, budget={"trials": 9, "plateau": 3})
    searcher, scheduler = Searcher(study), scheduler_of(study)
    counts = []
    for value in (0.5, 0.4, 0.6, None, 0.1, 0.6, 0.2):
        trial = searcher.next()
        assert trial is not None
        scheduler.start(trial, cpu=1, gpu=0)
        if value is None:
            scheduler.fail(trial.number, "ValueError: a hole")
        else:
            scheduler.report(report(trial.number, 1, value, last=True))
        counts.append((scheduler.tally.since_best, Tally(study).since_best))
    assert counts == [(each, each) for each in (0, 1, 0, 1, 2, 3, 4)], "an equal is no better"
    assert [Tally(study).reaches(target) for target in (0.6, 0.61)] == [True, False]


def test_what_paused_counts_once_however_it_ends(home: Path) -> None:
    pruner = {"type": "asha", "mode": "promote", "min_epochs": 1, "reduction": 4}
    study = open_study(home, budget={"trials": 4, "plateau": 9}, pruner=pruner, baseline=True)
    history.enqueue(study)
    searcher, scheduler = Searcher(study), scheduler_of(study)
    scheduler.start(searcher.next(), cpu=1, gpu=0)
    for epoch in range(1, 5):
        scheduler.report(report(0, epoch, 0.6, last=epoch == 4))
    while (trial := searcher.next()) is not None:
        scheduler.start(trial, cpu=1, gpu=0)
        scheduler.report(report(trial.number, 1, 0.5))
    assert (scheduler.tally.since_best, Tally(study).since_best) == (3, 3)
    assert scheduler.conclude() == 3
    assert (scheduler.tally.since_best, Tally(study).since_best) == (3, 3)
    assert scheduler.tally.ended == 4


@pytest.mark.parametrize(("value", "counted"), [(0.5, 0), (float("nan"), 3)])
def test_before_there_is_a_best_only_failures_count(home: Path, value: float, counted: int) -> None:
    study = open_study(home, budget={"plateau": 3}, pruner={"type": "asha", "mode": "promote", "min_epochs": 1})
    searcher, scheduler = Searcher(study), scheduler_of(study)
    for _ in range(3):
        trial = searcher.next()
        assert trial is not None
        scheduler.start(trial, cpu=1, gpu=0)
        scheduler.report(report(trial.number, 1, value if value != 0.5 else value - trial.number))
    assert (scheduler.tally.since_best, Tally(study).since_best) == (counted, counted)


def test_a_target_counts_downwards_where_less_is_better(home: Path) -> None:
    study = run(open_study(home, metric={"name": "val/loss", "goal": "minimize"}), [0.5, 0.2])
    assert [Tally(study).reaches(target) for target in (0.3, 0.2, 0.1)] == [True, True, False]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("budget", "outcome", "trials"),
    [
        ({"trials": 30, "target": 0.4}, "budget.target of 0.4 reached", range(1, 30)),
        ({"plateau": 3}, "budget.plateau of 3 reached: so long without a new best", range(1, 60)),
    ],
    ids=["target", "plateau"],
)
def test_a_search_ends_early_and_says_so(
    ray_cluster: str,
    home: Path,
    capsys: pytest.CaptureFixture[str],
    budget: dict[str, Any],
    outcome: str,
    trials: range,
) -> None:
    pruner = {"type": "asha", "mode": "promote", "min_epochs": 1}
    trainer = {"import": "synthetic:Resumable", "epochs": 2}
    tree = {**TREE, "trainer": trainer, "pruner": pruner, "baseline": True, "budget": budget}
    study = hpo.run(spec.from_mapping(tree), home=home, ray=ray_cluster, progress=False)
    assert study.ledger.study(study.name)["outcome"] == outcome
    assert len(study.complete()) in trials
    assert "PAUSED" not in study.counts()
    closing(study, as_json=False)
    told = capsys.readouterr().out
    assert f"ended       {outcome}" in told
    assert f"--set budget.{min(budget.keys() - {'trials'})}=N" in told
    count = len(study.trials)
    study.resume(progress=False)
    assert len(study.trials) == count, "it has ended"


def test_the_winners_trainings_come_out_of_the_budget_where_it_says_so(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    winner, budget = {"top": 2, "seeds": 3}, {"trials": 10, "with_winner": True}
    study = open_study(home, budget=budget, winner=winner)
    assert Searcher(study).left == trials_left(study.spec, study) == 4
    plan(study.spec, resolve(home=home), concurrency=None, as_json=False)
    assert "until 4 trials and 6 trainings for the winner" in capsys.readouterr().out
    assert spec.from_mapping({**TREE, "budget": 10, "winner": winner}).trials == 10


def test_a_budget_that_keeps_all_for_the_winner_or_some_for_none_is_refused() -> None:
    tree: dict[str, Any] = {**TREE, "budget": {"trials": 6, "with_winner": True}}
    with pytest.raises(SpecError, match="`with_winner` needs a `winner`"):
        spec.from_mapping(tree)
    tree["winner"] = {"top": 2, "seeds": 3}
    with pytest.raises(SpecError, match="6 trials leave none to search with: the winner's 2 x 3 come out of them"):
        spec.from_mapping(tree)


@pytest.mark.parametrize(("epochs", "after"), [(None, 1), (2, 3)], ids=["whole", "half as long"])
def test_gpu_hours_are_kept_for_the_winner_where_the_budget_says_so(home: Path, epochs: int | None, after: int) -> None:
    """Of 3,600 GPU-seconds, with trials of 600, four trainings of as many take 2,400, and 1,200 at half the length."""
    winner = {"top": 2, "seeds": 2} | ({"epochs": epochs} if epochs else {})
    budget = {"gpu_hours": 1, "with_winner": True}
    study = open_study(home, budget=budget, winner=winner, trainer={"import": "synthetic:Resumable", "epochs": 4})
    searcher, scheduler = Searcher(study), scheduler_of(study)
    left = []
    for number in range(4):
        trial = searcher.next()
        assert trial is not None
        scheduler.start(trial, cpu=1, gpu=1)
        scheduler.report(report(number, 1, 0.5, last=True, seconds=600.0))
        spent = {"seconds": 0.0, "gpu_seconds": scheduler.gpu_seconds, "longest": scheduler.tally.longest}
        left.append(seconds_left(study.spec, held=1, **spent))
        assert is_spent(study.spec, study) == (number >= after)
        assert Tally(study).longest == scheduler.tally.longest == 600
    assert left == pytest.approx([after * 600 - each * 600 for each in range(4)], abs=1e-6)


def test_defaults_that_failed_are_the_defaults_when_they_are_tried_again(home: Path) -> None:
    study = run(open_study(home, baseline=True), [None, 0.75])
    assert retry(study) == {0: 2}
    study = run(study.afresh(), [0.5])
    assert [trial.state.name for trial in study.frozen_trials()][:3] == ["FAIL", "COMPLETE", "COMPLETE"]
    assert history.gain(study, 1, 0.75) == "0.25 better than trial 2, the defaults: 0.5"
