"""Opening, reading and scheduling a study; over SQLite and PostgreSQL where it matters."""

import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest
from earlier import without_revisions
from optuna.trial import TrialState
from study_samples import TREE, open_study, report, scheduler_of

from hpo import settings
from hpo.commands import summary
from hpo.errors import NoUsableTrial, SpecError, Unavailable
from hpo.masking import masked
from hpo.search.running import Event
from hpo.search.searcher import Searcher
from hpo.study import Study
from hpo.wording import assignments
from hpo.workers.trial import Checkpoint, Report


def test_a_file_database_is_in_wal_mode_and_private(home: Path) -> None:
    open_study(home)
    with sqlite3.connect(home / "studies.db") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert (home / "studies.db").stat().st_mode & 0o077 == 0


def test_a_database_of_an_earlier_version_gets_the_columns_that_came_since(home: Path, storage: str) -> None:
    study = open_study(home, storage)
    with study.ledger.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE hpo_trial DROP COLUMN gpu_seconds")
        connection.exec_driver_sql("DROP TABLE hpo_packing")
        without_revisions(connection)
    study = Study.load("study", study.settings)
    study.ledger.start_trial(study.id, 0, seed=0, gpu=0.5, record={})
    study.ledger.update_trial(study.id, 0, seconds=8.0, gpu_seconds=None)
    assert scheduler_of(study).gpu_seconds == 4.0
    study.ledger.start_trial(study.id, 0, seed=0, gpu=1.0, record={})
    assert study.ledger.gpu_seconds(study.id) == 4.0, "by the share that it held, not by the next one"
    study.ledger.update_trial(study.id, 0, gpu_seconds=6.0)
    assert scheduler_of(study).gpu_seconds == 6.0
    assert study.ledger.packings(study.id) == []


def test_many_that_create_the_same_study_at_once_all_succeed(home: Path, storage: str) -> None:
    program = f"""
from hpo import settings, spec
from hpo.commands import summary
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
    assert masked("postgresql://me:secret@host/db") == "postgresql://me:***@host/db"


def test_a_file_that_is_no_database_is_said_to_be_none(home: Path) -> None:
    home.mkdir()
    (home / "studies.db").write_text("this is no database")
    with pytest.raises(Unavailable, match=r"studies\.db does not answer: file is not a database; .* --storage"):
        open_study(home)


def test_a_study_of_somebody_else_is_left_alone(home: Path) -> None:
    home.mkdir()
    optuna.create_study(study_name="study", storage=f"sqlite:///{home}/studies.db")
    with pytest.raises(SpecError, match="was not made by hpo"):
        open_study(home)


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


@pytest.mark.parametrize(
    ("pruner", "pruned_after"),
    [
        ({"type": "median", "startup_trials": 2, "min_epochs": 2}, 2),
        ({"type": "asha", "mode": "stop", "min_epochs": 2, "reduction": 2}, 2),
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


def test_two_databases_may_share_a_home(home: Path) -> None:
    one, other = (open_study(home, f"sqlite:///{home}/{name}.db") for name in ("one", "other"))
    assert one.id == other.id
    assert one.folder != other.folder


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
        saved = Checkpoint(path=f"{study.folder_name}/{number:06d}/{path.name}", sha256="0" * 64, epoch=1)
        scheduler.report(report(number, 1, 0.9, last=True, checkpoint=saved))
    assert study.best_trial.number == 0
    assert [study.checkpoint(number) is not None for number in range(5)] == [True, True, True, False, False]


@pytest.mark.parametrize(
    "url", ["postgresql://u:p@s3cr3t@h/db", "postgresql://h/db?user=u&password=s3cr3t", "postgresql://u:s3cr3t@h/db"]
)
def test_every_spelling_of_a_password_is_masked(url: str) -> None:
    assert "s3cr3t" not in masked(url)


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


def test_null_is_shown_and_what_a_condition_keeps_out_is_not(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parameters = {
        "lr": {"values": [0.125]},
        "journal": {"values": [None, "kept"]},
        "weight_decay": {"values": [0.0625], "when": {"journal": "kept"}},
    }
    study = open_study(home, sampler="grid", parameters=parameters)
    scheduler, searcher = scheduler_of(study), Searcher(study)
    for number, shown in ((0, "lr=0.125 journal=null"), (1, "lr=0.125 journal=kept weight_decay=0.0625")):
        trial = searcher.next()
        assert trial is not None
        scheduler.start(trial, cpu=1, gpu=0)
        scheduler.report(report(number, 1, number / 2, last=True))
        summary.trials(study, as_json=False)
        lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
        assert sum(line.endswith(f"  {shown}") for line in lines) == 1
        summary.best(study, as_json=False)
        assert f"parameters  {shown}\n" in capsys.readouterr().out


def test_values_are_written_as_in_a_space_file() -> None:
    values = {"ema": None, "nesterov": True, "flip": False, "lr": 0.123456, "depth": 16, "model": "linear"}
    assert assignments(values) == "ema=null nesterov=true flip=false lr=0.1235 depth=16 model=linear"
