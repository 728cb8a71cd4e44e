"""Opening, owning, mending a study; over SQLite and PostgreSQL where it matters."""

import json
import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy as sql
from optuna.trial import TrialState

from hpo import settings, spec
from hpo.errors import NoUsableTrial, SpecError, StudyOwned
from hpo.lease import Lease, holder
from hpo.ledger import studies
from hpo.scheduler import Event, Scheduler
from hpo.searcher import Searcher
from hpo.study import Study
from hpo.trial import Checkpoint, Report

TREE: dict[str, Any] = {
    "name": "study",
    "metric": "val/accuracy",
    "sampler": "random",
    "parameters": {"lr": {"min": 0.0, "max": 1.0}},
    "trainer": {"import": "synthetic:Resumable", "epochs": 4},
    "budget": {"trials": 4},
}


def open_study(home: Path, storage: str | None = None, **sections: Any) -> Study:
    return Study.open(spec.from_mapping({**TREE, **sections}), settings.resolve(home=home, storage=storage))


def scheduler_of(study: Study, events: list[Event] | None = None) -> Scheduler:
    return Scheduler(study, (events if events is not None else []).append)


def report(number: int, epoch: int, value: float, **more: Any) -> Report:
    return Report(number=number, attempt=1, epoch=epoch, metrics={"val/accuracy": value}, **more)


def test_a_file_database_is_in_wal_mode_and_private(home: Path) -> None:
    open_study(home)
    with sqlite3.connect(home / "studies.db") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert (home / "studies.db").stat().st_mode & 0o077 == 0


def test_many_that_create_the_same_study_at_once_all_succeed(home: Path, storage: str) -> None:
    program = f"""
from hpo import settings, spec
from hpo.study import Study
Study.open(spec.from_mapping({TREE!r}), settings.resolve(home={str(home)!r}, storage={storage!r}))
"""
    started = [subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True) for _ in range(4)]
    for process in started:
        assert process.communicate(timeout=60)[1] == ""
        assert process.returncode == 0


def test_optuna_and_mlflow_may_not_share_a_database() -> None:
    with pytest.raises(SpecError, match="alembic_version"):
        settings.resolve(storage="postgresql://me@host/db", mlflow="postgresql://me@host/db")


def test_passwords_are_masked_everywhere(home: Path) -> None:
    with pytest.raises(SpecError) as caught:
        settings.resolve(home=home, storage="mysql://me:secret@host/db")
    assert "secret" not in str(caught.value)
    assert settings.masked("postgresql://me:secret@host/db") == "postgresql://me:***@host/db"


def test_a_study_of_somebody_else_is_left_alone(home: Path) -> None:
    home.mkdir()
    optuna.create_study(study_name="study", storage=f"sqlite:///{home}/studies.db")
    with pytest.raises(SpecError, match="was not made by hpo"):
        open_study(home)


def test_the_lease_keeps_a_second_driver_out_until_the_first_is_gone(home: Path, storage: str) -> None:
    study = open_study(home, storage)
    with Lease(study):
        row = study.ledger.study("study")
        assert row is not None
        assert f"process {os.getpid()}" in str(holder(row))
        with pytest.raises(StudyOwned, match="hpo stop study"), Lease(study):
            pass
    with Lease(study):
        pass


@pytest.mark.parametrize(
    "dead", [{"pid": 2**22 + 1}, {"pid_started": 1.0}, {"host": "elsewhere", "expires": time.time() - 1}], ids=str
)
def test_the_lease_of_a_dead_driver_is_taken(home: Path, dead: dict[str, Any]) -> None:
    study = open_study(home)
    with Lease(study) as lost:
        study.ledger.update_study(study.id, **dead)
        with Lease(study) as taken:
            lost._renewed = 0
            with pytest.raises(StudyOwned, match="taken over"):
                lost.renew()
            taken._renewed = 0
            assert not taken.renew()
            with study.ledger.begin() as connection:
                connection.execute(sql.update(studies).values(stop=True))
            taken._renewed = 0
            assert taken.renew()


def test_a_trial_is_told_with_its_last_value_and_the_best_epoch_beside_it(home: Path, storage: str) -> None:
    study = open_study(home, storage)
    events: list[Event] = []
    scheduler = scheduler_of(study, events)
    trial = Searcher(study).next()
    assert trial is not None
    scheduler.start(trial, cpu=1, gpu=0)
    for epoch, value in enumerate([0.2, 0.9, 0.6], 1):
        assert scheduler.report(report(0, epoch, value, seconds=1.5))
    assert not scheduler.report(report(0, 4, 0.7, last=True))
    row = study.rows()[0]
    wanted = {"state": "COMPLETE", "value": 0.7, "best_epoch": 2, "best_value": 0.9, "epoch": 4, "seconds": 4.5}
    assert {key: row[key] for key in wanted} == wanted
    assert [event.kind for event in events] == ["start", "epoch", "epoch", "epoch", "epoch", "end"]
    assert scheduler.running == {}


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
    assert again.recover() == 2
    trials = again.frozen_trials()
    assert [trial.state for trial in trials] == [TrialState.WAITING] * 2
    assert trials[0].intermediate_values == {1: 0.3, 2: 0.4}
    assert again.recover() == 0

    resumed = Searcher(again).next()
    assert resumed is not None
    assert (resumed.number, resumed.params) == (0, first.params)
    assignment = scheduler_of(again).start(resumed, cpu=1, gpu=0)
    assert assignment is not None
    assert (assignment.attempt, assignment.recorded, assignment.checkpoint) == (2, 2, saved)


def test_a_decision_that_died_with_its_driver_is_made_up_for(home: Path) -> None:
    study = open_study(home, pruner={"type": "asha", "min_epochs": 1, "reduction": 2})
    scheduler, searcher = scheduler_of(study), Searcher(study)
    good, bad = searcher.next(), searcher.next()
    assert good is not None
    assert bad is not None
    scheduler.start(good, cpu=1, gpu=0)
    scheduler.start(bad, cpu=1, gpu=0)
    assert scheduler.report(report(0, 1, 0.9))
    study.ledger.add_epoch(study.id, 1, epoch=1, attempt=1, metrics={"val/accuracy": 0.1})

    again = open_study(home, pruner={"type": "asha", "min_epochs": 1, "reduction": 2})
    again.recover()
    scheduler, searcher = scheduler_of(again), Searcher(again)
    good, bad = searcher.next(), searcher.next()
    assert good is not None
    assert bad is not None
    assert scheduler.start(good, cpu=1, gpu=0) is not None
    assert scheduler.start(bad, cpu=1, gpu=0) is None
    assert again.frozen_trials()[1].state == TrialState.PRUNED


@pytest.mark.parametrize(
    ("pruner", "pruned_after"),
    [
        ({"type": "median", "startup_trials": 2, "min_epochs": 2}, 2),
        ({"type": "asha", "min_epochs": 2, "reduction": 2}, 2),
        ({"type": "hyperband", "min_epochs": 1, "reduction": 3}, None),
        ("none", None),
    ],
    ids=["median", "asha", "hyperband", "none"],
)
def test_each_pruner_is_optunas(home: Path, pruner: Any, pruned_after: int | None) -> None:
    study = open_study(home, pruner=pruner)
    scheduler, searcher = scheduler_of(study), Searcher(study)
    for number, level in enumerate([0.8, 0.9, 0.1]):
        trial = searcher.next()
        assert trial is not None
        scheduler.start(trial, cpu=1, gpu=0)
        for epoch in range(1, 5):
            if not scheduler.report(report(number, epoch, level + epoch / 100, last=epoch == 4)):
                break
    weak = study.frozen_trials()[2]
    if pruned_after is not None:
        assert (weak.state, weak.last_step) == (TrialState.PRUNED, pruned_after)
    else:
        assert weak.state in (TrialState.COMPLETE, TrialState.PRUNED)
    assert study.best_trial.number == 1


def test_a_goal_to_minimize_keeps_the_smallest(home: Path) -> None:
    study = open_study(home, metric={"name": "val/loss", "goal": "minimize"})
    scheduler, searcher = scheduler_of(study), Searcher(study)
    for number, value in enumerate([0.5, 0.2, 0.4]):
        trial = searcher.next()
        assert trial is not None
        scheduler.start(trial, cpu=1, gpu=0)
        last = Report(number=number, attempt=1, epoch=1, metrics={"val/loss": value}, last=True)
        scheduler.report(last)
    assert study.best_trial.number == 1


def test_a_study_without_a_finished_trial_says_so(home: Path) -> None:
    with pytest.raises(NoUsableTrial, match="no complete trial"):
        _ = open_study(home).best_trial


def test_load_lists_what_there_is_and_refuses_a_changed_space(home: Path) -> None:
    open_study(home)
    where = settings.resolve(home=home)
    with pytest.raises(SpecError, match=r"no study 'stdy'.*there are: study"):
        Study.load("stdy", where)
    with pytest.raises(SpecError, match=r"trainer\.epochs: 4 -> 9"):
        Study.load("study", where, ["trainer.epochs=9"])
    Study.load("study", where, ["budget.trials=7"]).begin()
    assert Study.load("study", where).spec.budget.trials == 7
    row = Study.load("study", where).row
    assert json.loads(row["canonical"])["name"] == "study"


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
    again.recover()
    trial = Searcher(again).next()
    assert trial is not None
    assert scheduler_of(again).start(trial, cpu=1, gpu=0) is None
    assert [(each.state.name, each.value) for each in again.frozen_trials()] == [("COMPLETE", 0.9), ("COMPLETE", 0.1)]


def test_of_equal_trials_the_first_is_best_and_keeps_its_checkpoint(home: Path) -> None:
    study = open_study(home, budget={"trials": 9})
    scheduler, searcher = scheduler_of(study), Searcher(study)
    for number in range(5):
        trial = searcher.next()
        assert trial is not None
        scheduler.start(trial, cpu=1, gpu=0)
        path = study.folder / f"{number:06d}" / "epoch-0001.json"
        path.parent.mkdir(parents=True)
        path.touch()
        saved = Checkpoint(path=f"{study.id}/{number:06d}/{path.name}", sha256="0" * 64, epoch=1)
        scheduler.report(report(number, 1, 0.9, last=True, checkpoint=saved))
    assert study.best_trial.number == 0
    assert [study.checkpoint(number) is not None for number in range(5)] == [True, True, True, False, False]


def test_a_failure_that_died_with_its_driver_is_made_up_for(home: Path) -> None:
    study = open_study(home)
    trial = Searcher(study).next()
    assert trial is not None
    scheduler_of(study).start(trial, cpu=1, gpu=0)
    study.ledger.add_epoch(study.id, 0, epoch=1, attempt=1, metrics={"val/accuracy": float("nan")})

    again = open_study(home)
    again.recover()
    trial = Searcher(again).next()
    assert trial is not None
    assert scheduler_of(again).start(trial, cpu=1, gpu=0) is None
    row = again.rows()[0]
    assert (row["state"], row["error"]) == ("FAIL", "val/accuracy was nan at epoch 1")


def test_a_trial_put_back_takes_its_newest_epoch_along(home: Path) -> None:
    study = open_study(home)
    scheduler = scheduler_of(study)
    trial = Searcher(study).next()
    assert trial is not None
    scheduler.start(trial, cpu=1, gpu=0)
    study.ledger.add_epoch(study.id, 0, epoch=1, attempt=1, metrics={"val/accuracy": 0.5})
    scheduler.requeue(0)  # Ctrl-C came between our table and Optuna's
    frozen = study.frozen_trials()[0]
    assert (frozen.state, frozen.intermediate_values) == (TrialState.WAITING, {1: 0.5})


def test_a_driver_that_slept_past_its_lease_keeps_the_study_while_it_lives(home: Path) -> None:
    study = open_study(home)
    with Lease(study) as lease:
        study.ledger.update_study(study.id, expires=1.0)
        with pytest.raises(StudyOwned), Lease(study):
            pass
        assert lease.held()
        study.ledger.update_study(study.id, owner="somebody else")
        assert not lease.held()
        lease.outcome = "mine"
    row = study.ledger.study("study")
    assert row is not None
    assert (row["owner"], row["outcome"]) == ("somebody else", None)


@pytest.mark.parametrize(
    "url", ["postgresql://u:p@s3cr3t@h/db", "postgresql://h/db?user=u&password=s3cr3t", "postgresql://u:s3cr3t@h/db"]
)
def test_every_spelling_of_a_password_is_masked(url: str) -> None:
    assert "s3cr3t" not in settings.masked(url)


def test_what_starts_meanwhile_inherits_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in settings.SECRETS:
        monkeypatch.setenv(name, "s3cr3t")
    with settings.without_secrets():
        assert "s3cr3t" not in os.environ.values()
    assert all(os.environ[name] == "s3cr3t" for name in settings.SECRETS)


def test_a_study_keeps_to_the_mlflow_of_its_file(home: Path) -> None:
    uri = f"sqlite:///{home}/other.db"
    open_study(home, mlflow=uri)
    assert Study.load("study", settings.resolve(home=home)).settings.mlflow == uri
    given = settings.resolve(home=home, mlflow="http://127.0.0.1:1")
    assert Study.load("study", given).settings.mlflow == "http://127.0.0.1:1"


def test_a_study_can_be_read_when_its_trainer_is_gone(home: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "leaving.py").write_text("def train(lr):\n    yield {'val/accuracy': lr}\n")
    open_study(home, trainer={"import": "leaving:train"})
    (tmp_path / "leaving.py").unlink()
    monkeypatch.delitem(sys.modules, "leaving")
    study = Study.load("study", settings.resolve(home=home))
    assert study.rows() == []
    with pytest.raises(SpecError, match="cannot import `leaving`"):
        study.resume()
