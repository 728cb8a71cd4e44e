"""What a dead driver left of a study is put in order; over SQLite and PostgreSQL where it matters."""

import json
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState
from study_samples import TREE, confirmed, open_study, report, run, scheduler_of

from hpo import spec
from hpo.audit import rebuild
from hpo.audit.agreement import audit
from hpo.promotion.journal import PROMOTED, REFUSED, UNDONE, Promotions
from hpo.search.recovery import recover
from hpo.search.scheduler import Scheduler
from hpo.search.searcher import Searcher
from hpo.store import records
from hpo.study import Study
from hpo.workers.trial import Checkpoint


def test_recover_puts_running_trials_back_with_what_only_we_know(home: Path, storage: str) -> None:
    study = open_study(home, storage)
    scheduler = scheduler_of(study)
    searcher = Searcher(study)
    first, second = searcher.next(), searcher.next()
    assert first is not None
    assert second is not None
    scheduler.start(first, cpu=1, gpu=0)
    scheduler.start(second, cpu=1, gpu=0)
    saved = Checkpoint(path="1/000000/epoch-0001.json", sha256="0" * 64, epoch=1)
    scheduler.report(report(0, 1, 0.3, checkpoint=saved))
    # the driver dies between our tables and Optuna's
    study.ledger.add_epoch(study.id, 0, epoch=2, attempt=1, metrics={"val/accuracy": 0.4})

    again = open_study(home, storage)
    assert recover(again) == 2
    trials = again.frozen_trials()
    assert [trial.state for trial in trials] == [TrialState.WAITING] * 2
    assert trials[0].intermediate_values == {1: 0.3, 2: 0.4}
    assert recover(again) == 0

    resumed = Searcher(again).next()
    assert resumed is not None
    assert (resumed.number, resumed.params) == (0, first.params)
    assignment = scheduler_of(again).start(resumed, cpu=1, gpu=0)
    assert assignment is not None
    assert (assignment.attempt, assignment.recorded, assignment.checkpoint) == (2, 2, saved)


def test_a_decision_that_died_with_its_driver_is_made_up_for(home: Path) -> None:
    study = open_study(home, pruner={"type": "asha", "mode": "stop", "min_epochs": 1, "reduction": 2})
    scheduler, searcher = scheduler_of(study), Searcher(study)
    good, bad = searcher.next(), searcher.next()
    assert good is not None
    assert bad is not None
    scheduler.start(good, cpu=1, gpu=0)
    scheduler.start(bad, cpu=1, gpu=0)
    assert scheduler.report(report(0, 1, 0.9))
    study.ledger.add_epoch(study.id, 1, epoch=1, attempt=1, metrics={"val/accuracy": 0.1})

    again = open_study(home, pruner={"type": "asha", "mode": "stop", "min_epochs": 1, "reduction": 2})
    recover(again)
    scheduler, searcher = scheduler_of(again), Searcher(again)
    good, bad = searcher.next(), searcher.next()
    assert good is not None
    assert bad is not None
    assert scheduler.start(good, cpu=1, gpu=0) is not None
    assert scheduler.start(bad, cpu=1, gpu=0) is None
    assert again.frozen_trials()[1].state == TrialState.PRUNED


def test_a_last_epoch_whose_driver_died_completes_the_trial(home: Path) -> None:
    median = {"type": "median", "startup_trials": 1, "min_epochs": 1}
    study = open_study(home, pruner=median)
    scheduler, searcher = scheduler_of(study), Searcher(study)
    for number, value in enumerate([0.9, 0.1]):
        trial = searcher.next()
        assert trial is not None
        scheduler.start(trial, cpu=1, gpu=0)
        if number == 0:
            scheduler.report(report(0, 1, value, last=True))
    study.ledger.add_epoch(study.id, 1, epoch=4, attempt=1, metrics={"val/accuracy": 0.1})

    again = open_study(home, pruner=median)
    recover(again)
    trial = Searcher(again).next()
    assert trial is not None
    assert scheduler_of(again).start(trial, cpu=1, gpu=0) is None
    assert [(each.state.name, each.value) for each in again.frozen_trials()] == [("COMPLETE", 0.9), ("COMPLETE", 0.1)]


def test_a_failure_that_died_with_its_driver_is_made_up_for(home: Path) -> None:
    study = open_study(home)
    trial = Searcher(study).next()
    assert trial is not None
    scheduler_of(study).start(trial, cpu=1, gpu=0)
    study.ledger.add_epoch(study.id, 0, epoch=1, attempt=1, metrics={"val/accuracy": float("nan")})

    again = open_study(home)
    recover(again)
    trial = Searcher(again).next()
    assert trial is not None
    assert scheduler_of(again).start(trial, cpu=1, gpu=0) is None
    row = again.rows()[0]
    assert (row["state"], row["error"]) == ("FAIL", "val/accuracy was nan at epoch 1")


@pytest.mark.parametrize("better", [True, False])
def test_a_trial_that_ended_as_its_driver_died_has_its_end_and_its_place_among_the_best(
    home: Path, monkeypatch: pytest.MonkeyPatch, better: bool
) -> None:
    study = open_study(home)
    scheduler = two_running(study)
    scheduler.report(report(0, 4, 0.5, last=True))
    monkeypatch.setattr(study.ledger, "end_trial", die)
    with pytest.raises(SystemExit):
        scheduler.report(report(1, 4, 0.7 if better else 0.5, last=True))
    again = open_study(home)
    recover(again)
    posted = [json.loads(row["payload"]) for row in again.ledger.pending(again.id, 100) if row["number"] is None]
    curve = [(each["epoch"], each["metrics"]["best/val/accuracy"]) for each in posted]
    assert curve == [(1, 0.5), (2, 0.7)][: 1 + better]
    assert again.ledger.attempts(again.id)[1]["outcome"] == "complete"


def test_a_trial_that_failed_as_its_driver_died_keeps_its_last_words(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = failed_as_its_driver_died(home, monkeypatch, "ledger", "end_trial")
    row = again.rows()[1]
    assert (row["state"], row["error"], row["traceback"]) == ("FAIL", "ValueError: a hole", "in line 3")
    end = json.loads(again.ledger.pending(again.id, 100)[-1]["payload"])
    assert (end["tags"]["hpo.error"], end["traceback"]) == ("ValueError: a hole", "in line 3")


def test_a_failure_that_was_not_told_is_forgotten_when_its_trial_goes_on(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = two_running(again := failed_as_its_driver_died(home, monkeypatch, "optuna", "tell"))
    scheduler.report(report(1, 1, 0.5, last=True))
    assert (again.rows()[1]["state"], again.rows()[1]["error"]) == ("COMPLETE", None)


def failed_as_its_driver_died(home: Path, monkeypatch: pytest.MonkeyPatch, part: str, call: str) -> Study:
    """A study whose driver was killed in a call while it told that trial 1 had failed, opened by the next."""
    study = open_study(home)
    scheduler = two_running(study)
    monkeypatch.setattr(getattr(study, part), call, die)
    with pytest.raises(SystemExit):
        scheduler.fail(1, "ValueError: a hole", "in line 3")
    again = open_study(home)
    recover(again)
    return again


def two_running(study: Study) -> Scheduler:
    scheduler, searcher = scheduler_of(study), Searcher(study)
    for _ in range(2):
        trial = searcher.next()
        assert trial is not None
        scheduler.start(trial, cpu=1, gpu=0)
    return scheduler


def die(*arguments: Any, **named: Any) -> None:
    """As a driver that is killed here."""
    raise SystemExit


def test_a_trial_put_back_takes_its_newest_epoch_along(home: Path) -> None:
    study = open_study(home)
    scheduler = scheduler_of(study)
    trial = Searcher(study).next()
    assert trial is not None
    scheduler.start(trial, cpu=1, gpu=0)
    study.ledger.add_epoch(study.id, 0, epoch=1, attempt=1, metrics={"val/accuracy": 0.5})
    scheduler.requeue(0, "Ctrl-C")  # Ctrl-C came between our table and Optuna's
    frozen = study.frozen_trials()[0]
    assert (frozen.state, frozen.intermediate_values) == (TrialState.WAITING, {1: 0.5})


def test_checkpoints_that_a_dead_driver_had_no_time_to_remove_go_with_the_next(settled: Study) -> None:
    gone = [settled.folder / "000000" / "epoch-0003.json", settled.folder / "000001" / "epoch-0002.json"]
    gone += [settled.folder / "000000" / ".epoch-0004.json.ab12_x9"]  # of a worker that was killed while it wrote
    for path in gone:
        path.parent.mkdir(exist_ok=True)
        path.write_text("{}")
    settled.ledger.update_trial(
        settled.id, 1, checkpoint=f"{settled.folder_name}/000001/epoch-0002.json", sha256="0" * 64
    )
    assert {each.kind for each in audit(settled).findings} == {"checkpoint", "leftover"}
    scheduler_of(settled)
    assert not any(path.exists() for path in gone)
    assert audit(settled).agrees


@pytest.mark.parametrize("pruner", ["asha", "median"])
def test_a_search_that_is_killed_again_and_again_decides_as_an_undisturbed_one(home: Path, pruner: str) -> None:
    def search(name: str, kills: set[int]) -> list[tuple[str, int | None, dict[str, Any]]]:
        """Run a search of one trial at a time, killed after those reports; returns what became of each trial."""
        options: dict[str, Any] = {"min_epochs": 1}
        options |= {"mode": "stop", "reduction": 2} if pruner == "asha" else {"startup_trials": 2}
        study = open_study(
            home,
            name=name,
            sampler={"type": "tpe", "seed": 3, "startup_trials": 3},
            pruner={"type": pruner, **options},
            budget={"trials": 10},
        )
        reports = 0
        while not Searcher(study).exhausted:
            killed, searcher, scheduler = False, Searcher(study), scheduler_of(study)
            while not killed and (trial := searcher.next()) is not None:
                assignment = scheduler.start(trial, cpu=1, gpu=0)
                epoch, goes_on = (assignment.recorded, True) if assignment is not None else (0, False)
                while goes_on and not killed:
                    epoch, reports = epoch + 1, reports + 1
                    value = (1 - abs(trial.params["lr"] - 0.3)) * (1 - 0.5**epoch)
                    goes_on = scheduler.report(report(trial.number, epoch, value, last=epoch == 4))
                    killed = reports in kills
            study = Study.load(name, study.settings)
            recover(study)
        return [(trial.state.name, trial.last_step, trial.params) for trial in study.frozen_trials()]

    undisturbed = search("undisturbed", set())
    assert {state for state, _, _ in undisturbed} == {"COMPLETE", "PRUNED"}
    assert search("killed", {1, 2, 5, 9, 10, 14, 17}) == undisturbed


@pytest.mark.parametrize(
    ("counts", "sections", "status"),
    [
        ({"COMPLETE": 4}, {}, "FINISHED"),
        ({"FAIL": 4}, {}, "FAILED"),
        ({"COMPLETE": 3, "WAITING": 1}, {}, "SCHEDULED"),
        ({"FAIL": 2}, {"budget": {"trials": 4, "failures": 2}}, "SCHEDULED"),
        ({"COMPLETE": 9}, {"budget": {"time": "1h"}}, "SCHEDULED"),
        ({"COMPLETE": 1}, {"sampler": "grid", "parameters": {"lr": [0.1]}, "budget": {}}, "FINISHED"),
    ],
    ids=str,
)
def test_how_a_study_ends_is_told_by_what_is_left_of_it(
    counts: dict[str, int], sections: dict[str, Any], status: str
) -> None:
    space = spec.from_mapping({**TREE, **sections})
    assert records.end_of_study(counts, space, retried=0, time=0.0)["status"] == status


def test_a_retry_takes_no_place_in_the_budget_of_trials() -> None:
    counts, space = {"COMPLETE": 3, "FAIL": 1}, spec.from_mapping(TREE)  # four trials
    assert records.end_of_study(counts, space, retried=1, time=0.0)["status"] == "SCHEDULED"
    assert records.end_of_study(counts, space, retried=0, time=0.0)["status"] == "FINISHED"


def test_of_a_long_history_the_oldest_lines_are_left_out() -> None:
    lines = [f"{number} " + "x" * 90 for number in range(100)]
    told = records.history(lines)["tags"]["hpo.history"].split("\n")
    assert told[-1] == lines[-1]
    assert told[0] == f"({100 - len(told) + 1} earlier, see `hpo status`)"
    assert 4900 < len("\n".join(told)) <= records.LONGEST
    assert records.history(lines[:3])["tags"]["hpo.history"].split("\n") == lines[:3]


def test_a_study_whose_runs_are_made_anew_has_the_tags_of_its_promotions(home: Path) -> None:
    study = confirmed(run(open_study(home), [0.9, 0.8]), [0.5, 0.5])
    values = {"study": study.id, "trial": 0, "runs": "study.confirm", "run": 1, "model": "study", "alias": "champion"}
    kept = Promotions(study.ledger)
    for version, trial in ((1, 1), (2, 0)):
        row = kept.begin(**values | {"trial": trial, "sha256": str(version)})
        kept.update(row["id"], version=version, previous=version - 1 or None)
        kept.end(row["id"], PROMOTED)
    refused = kept.begin(**values, sha256="3")
    kept.end(refused["id"], REFUSED)

    def tags(of: Study, number: int | None) -> dict[str, Any]:
        trials, rows = of.frozen_trials(), of.ledger.trials(of.id)
        there = rebuild.of_study(of) if number is None else rebuild.of_trial(of, trials[number], rows[number])
        return {name: tag for kind, payload in there if kind == "tags" for name, tag in payload["tags"].items()}

    model = {"hpo.model": "study", "hpo.model.version": 2}
    assert tags(study, None).items() >= {"hpo.promoted.champion": 2, "hpo.promoted.champion.trial": 0}.items()
    runs = Study.load("study.confirm", study.settings)
    assert tags(runs, 1) == model
    assert "hpo.model" not in tags(runs, 0)
    kept.end(row["id"], UNDONE)
    assert tags(study, None).items() >= {"hpo.promoted.champion": 1, "hpo.promoted.champion.trial": 1}.items()
    assert tags(runs, 1) == model, "it is a version still"


def test_a_driver_ends_a_study_as_the_next_one_would(home: Path) -> None:
    """With the budget of failures spent, and none COMPLETE."""
    study = open_study(home, budget={"trials": 4, "failures": 1})
    scheduler, searcher = scheduler_of(study), Searcher(study)
    trial = searcher.next()
    assert trial is not None
    scheduler.start(trial, cpu=1, gpu=0)
    scheduler.fail(trial.number, "ValueError: a hole")
    study.ledger.update_study(study.id, outcome="1 trials failed, the budget of failures")
    assert rebuild.end_of_study(Study.load("study", study.settings))["status"] == "SCHEDULED"
