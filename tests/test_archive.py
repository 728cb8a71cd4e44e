"""A study that went into a file and out of it into another database: the same in all, and in how it goes on."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest
import synthetic
from audit import disagreements
from damage import WAITING
from servers import Postgres
from study_samples import confirmed, open_study, run, scheduler_of, train
from typed import typed

from hpo import settings
from hpo.archive.export import export
from hpo.archive.restore import MARK, restore
from hpo.errors import SpecError, StudyOwned
from hpo.search.searcher import Searcher
from hpo.settings import Settings
from hpo.store.lease import Lease
from hpo.store.ledger import Ledger
from hpo.store.storage import PatientStorage
from hpo.study import Study
from hpo.winner import confirmation
from hpo.workers.trial import Attempt

GRID = {"sampler": "grid", "parameters": {"lr": {"values": [0.1, 0.2, 0.3, 0.4, 0.5]}}}
TPE = {
    "sampler": {"type": "tpe", "seed": 3, "startup_trials": 3},
    "parameters": {"lr": {"min": 1e-3, "max": 1.0, "log": True}, "weight_decay": {"min": 0.0, "max": 0.1}},
    "budget": {"trials": 9},
}


@pytest.fixture
def elsewhere(storage: str, request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """An empty database of the other kind, and another home."""
    other = f"sqlite:///{tmp_path}/other/studies.db"
    if storage.startswith("sqlite"):
        server: Postgres = request.getfixturevalue("postgresql")
        other = server.database()
    return settings.resolve(home=tmp_path / "other", storage=other)


def interrupted(study: Study, epochs: int) -> int:
    """Train the next trial for so many epochs and put it back; returns its number."""
    scheduler, trial = scheduler_of(study), Searcher(study).next()
    assert trial is not None
    assignment = scheduler.start(trial, cpu=1, gpu=0)
    assert assignment is not None
    attempt = Attempt(assignment)
    for _ in range(epochs):
        assert scheduler.report(attempt.next_report())
    scheduler.requeue(trial.number, "Ctrl-C")
    return trial.number


def finish(study: Study) -> None:
    while Searcher(study).left:
        train(study, 1)


def picture(study: Study) -> list[dict[str, Any]]:
    """All that Optuna knows of the trials, but its own numbers in the database."""
    return [
        {key: value for key, value in vars(each).items() if key not in ("_trial_id", "trial_id")}
        for each in study.frozen_trials()
    ]


def points(study: Study) -> list[Any]:
    return [(each.number, each.params, each.values, each.intermediate_values) for each in study.frozen_trials()]


@pytest.mark.parametrize("space", [TPE, GRID], ids=["tpe", "grid"])
def test_it_goes_on_as_the_original_does(space: Any, home: Path, storage: str, elsewhere: Settings) -> None:
    journal = home.parent / "journal"
    trainer = {"import": "synthetic:Resumable", "epochs": 4, "journal": str(journal)}
    study = open_study(home, storage, **space, trainer=trainer)
    train(study, 3)
    waits = interrupted(study, 2)
    file = export(study, home.parent / "study.zip", checkpoints=True).path
    assert file.stat().st_mode & 0o777 == 0o600
    copy = restore(file, elsewhere, None).studies[0]
    assert picture(copy) == picture(study)
    assert [each.number for each in copy.frozen_trials() if copy.checkpoint(each.number)] == [0, 1, 2, waits]
    ours = [dict(row) | {"run_id": None, "study": 0, "checkpoint": ""} for row in study.ledger.trials(study.id)]
    theirs = [dict(row) | {"run_id": None, "study": 0, "checkpoint": ""} for row in copy.ledger.trials(copy.id)]
    assert theirs == ours
    for key in ("uid", "hash", "text", "created", "seconds", "outcome"):
        assert copy.row[key] == Study.load("study", study.settings).row[key]
    assert "imported" in [row["what"] for row in copy.ledger.history(copy.id)]
    before = len(synthetic.read(journal))
    for each in (copy, study):
        finish(each)
    assert points(copy) == points(study)
    assert copy.counts() == {"COMPLETE": len(points(study))}
    done = synthetic.read(journal)[before:]
    half = (len(done)) // 2
    assert [each["epoch"] for each in done[:half]] == [each["epoch"] for each in done[half:]]
    assert done[0]["epoch"] == 3, "from its checkpoint"


def test_without_checkpoints_what_waits_starts_over(home: Path, tmp_path: Path) -> None:
    study = open_study(home)
    number = interrupted(study, 2)
    found = export(study, tmp_path / "study.zip", checkpoints=False)
    assert found.checkpoints == 0
    copy = restore(found.path, settings.resolve(home=tmp_path / "other"), None).studies[0]
    assert copy.checkpoint(number) is None
    finish(copy)
    assert copy.frozen_trials()[number].state.name == "COMPLETE"
    assert study.checkpoint(number) is not None


def test_a_damaged_checkpoint_is_left_out_and_said(home: Path, tmp_path: Path) -> None:
    study = run(open_study(home), [0.5, 0.25])
    path = study.checkpoint(1)
    assert path is not None
    path.write_text("{}")
    found = export(study, tmp_path, checkpoints=True)
    assert (found.checkpoints, found.path) == (1, tmp_path / "study.hpo.zip")
    assert "trial 1 of study, which is missing or damaged" in found.left_out[0]
    copy = restore(found.path, settings.resolve(home=tmp_path / "other"), None).studies[0]
    assert copy.checkpoint(0) is not None
    assert copy.checkpoint(1) is None


def test_what_confirms_the_winner_goes_along_under_another_name_too(home: Path) -> None:
    study = run(open_study(home), [0.5, 0.75, 0.25])
    confirmed(study, [0.7, 0.6], [0.5, 0.55])
    before = confirmation.find(study)
    file = export(study, home.parent / "study.zip", checkpoints=True).path
    with pytest.raises(SpecError, match=r"there is a study 'study' already.*--as OTHER"):
        restore(file, study.settings, None)
    copy, runs = restore(file, study.settings, "copy").studies
    assert (copy.name, runs.name, copy.spec.name) == ("copy", "copy.confirm", "copy")
    assert copy.row["text"].startswith("name: copy\n")
    assert copy.optuna.user_attrs["space"] == copy.row["text"]
    assert copy.folder != study.folder
    after = confirmation.find(copy)
    assert before is not None
    assert after is not None
    assert after.winner == before.winner
    copy.delete()
    assert study.checkpoint(1) is not None
    with pytest.raises(SpecError, match="--as"):
        restore(file, study.settings, "n" * 60)
    with pytest.raises(SpecError, match="goes along when that one is exported"):
        export(before.study, None, checkpoints=True)


def test_in_the_same_home_each_has_its_own_folder(home: Path) -> None:
    study = run(open_study(home), [0.5])
    file = export(study, home.parent / "study.zip", checkpoints=True).path
    other = settings.resolve(home=home, storage=f"sqlite:///{home}/other.db")
    copy = restore(file, other, None).studies[0]
    assert copy.folder != study.folder
    copy.delete()
    assert study.checkpoint(0) is not None
    assert restore(file, other, None).studies[0].checkpoint(0) is not None


def test_one_that_is_being_run_is_refused(home: Path, tmp_path: Path) -> None:
    study = open_study(home)
    with Lease(study), pytest.raises(StudyOwned, match="hpo stop study"):
        export(study, tmp_path / "study.zip", checkpoints=True)
    assert not list(tmp_path.glob("*.zip"))
    spent = Study.load("study", study.settings).row["seconds"]
    with Lease(study, spends=False) as lease:
        lease._renewed -= 100.0
        lease.renew()
    assert Study.load("study", study.settings).row["seconds"] == spent


def test_a_file_that_is_there_is_not_written_over(home: Path, tmp_path: Path) -> None:
    study = open_study(home)
    (tmp_path / "study.hpo.zip").write_text("mine")
    with pytest.raises(SpecError, match="is there already"):
        export(study, tmp_path, checkpoints=True)
    assert (tmp_path / "study.hpo.zip").read_text() == "mine"


def test_what_a_killed_import_left_is_removed_by_the_next(home: Path, storage: str, elsewhere: Settings) -> None:
    study = run(open_study(home, storage), [0.5])
    file = export(study, home.parent / "study.zip", checkpoints=True).path
    assert Ledger.open(elsewhere.storage).studies() == []
    storage_there = PatientStorage.open(elsewhere.storage)
    half = optuna.create_study(study_name="study", storage=storage_there)
    with pytest.raises(SpecError, match="there is a study 'study' already"):
        restore(file, elsewhere, None)
    storage_there.set_study_system_attr(half._study_id, MARK, "somebody@somewhere")
    half.enqueue_trial({"lr": 0.5})
    storage_there.close()
    (elsewhere.checkpoints / ".import-left").mkdir(parents=True)
    copy = restore(file, elsewhere, None).studies[0]
    assert picture(copy) == picture(study)
    assert [each.name for each in elsewhere.checkpoints.iterdir()] == [copy.folder_name]


@pytest.mark.slow
def test_as_typed_with_its_runs_in_the_new_mlflow(settled: Study, tmp_path: Path, empty_mlflow: Path) -> None:
    done = typed("export-study", "study", "--out", str(tmp_path), home=settled.settings.home)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert "study: 3 trials" in done.stdout
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(empty_mlflow, other / "mlflow.db")
    done = typed("import-study", str(tmp_path / "study.hpo.zip"), home=other)
    assert done.returncode == 0, done.stderr
    assert "hpo" in done.stdout.splitlines()[-1]
    copy = Study.load("study", settings.resolve(home=other))
    assert disagreements(copy) == []
    assert copy.checkpoint(WAITING) is not None
    done = typed("list", "--json", home=other)
    assert json.loads(done.stdout)[0]["trials"] == settled.counts()


@pytest.mark.slow
def test_killed_at_its_last_step_it_leaves_no_study_and_may_be_typed_again(home: Path, tmp_path: Path) -> None:
    study = run(open_study(home), [0.5])
    file = export(study, tmp_path / "study.zip", checkpoints=True).path
    where = settings.resolve(home=tmp_path / "other")
    program = f"""
import os, signal, pathlib
from hpo import settings
from hpo.archive import restore
original = restore._into_ours
def dying(*arguments):
    original(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)
restore._into_ours = dying
restore.restore(pathlib.Path({str(file)!r}), settings.resolve(home={str(where.home)!r}), None)
"""
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == -signal.SIGKILL
    assert Ledger.open(where.storage).studies() == []
    copy = restore(file, where, None).studies[0]
    assert picture(copy) == picture(study)
    assert copy.checkpoint(0) is not None
