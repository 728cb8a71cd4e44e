"""`hpo delete`: what it removes, what it leaves to others, and that it may be typed again."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from damage import send
from mlflow import MlflowClient
from mlflow.entities import ViewType
from study_samples import open_study, report, scheduler_of

from hpo import settings
from hpo.errors import SpecError
from hpo.search.recovery import recover
from hpo.search.searcher import Searcher
from hpo.store.lease import Lease
from hpo.study import Study


def delete(study: Study, program: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """The command; `program` runs before it in the same process."""
    words = ["hpo", "delete", "study", "-y", "--storage", study.settings.storage]
    code = f"import sys; sys.argv = {words!r}\n{program}\nfrom hpo.cli import main; main()"
    known = {**os.environ, "HPO_HOME": str(study.settings.home), **environment}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=known, timeout=60, check=False
    )


def same_name_elsewhere(study: Study) -> Study:
    """A study of the same name in another database, with a run in the same MLflow."""
    other = open_study(study.settings.home, f"sqlite:///{study.settings.home}/other.db")
    trial = Searcher(other).next()
    assert trial is not None
    scheduler = scheduler_of(other)
    scheduler.start(trial, cpu=1, gpu=0)
    scheduler.report(report(0, 1, 0.5, last=True))
    send(other)
    return other


def active(study: Study) -> list[str]:
    """hpo.uid of each run that MLflow shows under the study's name."""
    client = MlflowClient(study.settings.mlflow)
    found = client.get_experiment_by_name("study")
    return [run.data.tags["hpo.uid"] for run in client.search_runs([found.experiment_id])] if found else []


def is_gone(study: Study) -> bool:
    with pytest.raises(SpecError, match="no study 'study'"):
        Study.load("study", study.settings)
    names = optuna.get_all_study_names(study.settings.storage)
    return not names and not study.folder.exists() and study.row["uid"] not in active(study)


def test_a_study_is_removed_with_all_it_has(settled: Study) -> None:
    done = delete(settled)
    assert (done.returncode, done.stdout) == (0, "deleted study study\n"), done.stderr
    assert is_gone(settled)
    assert MlflowClient(settled.settings.mlflow).get_experiment_by_name("study") is None
    again = delete(settled)
    assert (again.returncode, "no study 'study'" in again.stderr) == (2, True)


def test_the_runs_of_a_study_of_the_same_name_stay(settled: Study) -> None:
    other = same_name_elsewhere(settled)
    assert set(active(settled)) == {settled.row["uid"], other.row["uid"]}
    assert delete(settled).returncode == 0
    assert is_gone(settled)
    assert set(active(other)) == {other.row["uid"]}
    assert other.folder_name != settled.folder_name
    assert delete(other).returncode == 0
    client = MlflowClient(other.settings.mlflow)
    assert client.get_experiment_by_name("study") is None
    assert len(client.search_experiments(view_type=ViewType.DELETED_ONLY)) == 1


def test_the_runs_of_somebody_else_in_the_experiment_stay(settled: Study) -> None:
    client = MlflowClient(settled.settings.mlflow)
    experiment = client.get_experiment_by_name("study")
    assert experiment is not None
    mine = client.create_run(experiment.experiment_id).info.run_id
    assert delete(settled).returncode == 0
    assert [run.info.run_id for run in client.search_runs([experiment.experiment_id])] == [mine]


STEPS = {
    "MLflow's runs": "hpo.tracking.projection.delete_runs",
    "files": "shutil.rmtree",
    "our trials": "hpo.store.ledger.Ledger.delete_trials",
    "Optuna's study": "optuna.delete_study",
    "our study": "hpo.store.ledger.Ledger.delete_study",
}


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
def test_killed_at_any_step_it_finishes_when_typed_again(step: str, settled: Study) -> None:
    killing = f"""
import os, signal, shutil, optuna, hpo.tracking.projection, hpo.store.ledger
path, call = {STEPS[step]!r}.rsplit(".", 1)
owner = eval(path)
original = getattr(owner, call)
def dying(*arguments, **named):
    original(*arguments, **named)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(owner, call, dying)
"""
    assert delete(settled, killing).returncode == -signal.SIGKILL
    again = delete(settled)
    if step == "our study":
        assert (again.returncode, "no study 'study'" in again.stderr) == (2, True)
    else:
        assert (again.returncode, again.stdout) == (0, "deleted study study\n"), again.stderr
    assert is_gone(settled)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The reported value is ignored")  # Optuna has the epochs that we forgot
@pytest.mark.parametrize("step", ["our trials", "Optuna's study", "our study"])
def test_what_a_killed_delete_leaves_is_a_study_that_opens_and_goes_on(step: str, settled: Study) -> None:
    killing = f"""
import os, signal, shutil, optuna, hpo.tracking.projection, hpo.store.ledger
owner, call = eval({STEPS[step]!r}.rsplit(".", 1)[0]), {STEPS[step]!r}.rsplit(".", 1)[1]
setattr(owner, call, lambda *arguments, **named: os.kill(os.getpid(), signal.SIGKILL))
"""
    assert delete(settled, killing).returncode == -signal.SIGKILL
    study = Study.load("study", settled.settings)
    with Lease(study):
        study.begin()
        recover(study)
        trial = Searcher(study).next()
        assert trial is not None
        scheduler = scheduler_of(study)
        scheduler.start(trial, cpu=1, gpu=0)
        begun = study.ledger.trial(study.id, trial.number)
        assert begun is not None
        for epoch in range(begun["epoch"] + 1, 5):
            scheduler.report(report(trial.number, epoch, 0.5, last=epoch == 4))
    assert study.best_trial.state.name == "COMPLETE"
    assert study.rows()


def test_a_study_that_is_being_run_is_left_alone(settled: Study) -> None:
    with Lease(settled):
        done = delete(settled)
    assert (done.returncode, "hpo stop study" in done.stderr) == (4, True), done.stderr
    assert settled.folder.exists()
    assert settled.row["uid"] in active(settled)


def test_nobody_takes_a_study_while_it_is_deleted(settled: Study) -> None:
    trying = """
import hpo.tracking.projection
from hpo import settings
from hpo.errors import StudyOwned
from hpo.store.lease import Lease
from hpo.study import Study
original = hpo.tracking.projection.delete_runs
def watched(*arguments):
    try:
        with Lease(Study.load("study", settings.resolve())):
            print("taken")
    except StudyOwned:
        print("owned")
    original(*arguments)
hpo.tracking.projection.delete_runs = watched
"""
    assert delete(settled, trying).stdout == "owned\ndeleted study study\n"


def test_checkpoints_of_an_earlier_version_go_and_those_of_others_stay(settled: Study) -> None:
    root = settled.settings.checkpoints
    for folder in ("1/000000", "1/000001", "2/000000", "9-0a1b2c3d/000000"):
        (root / folder).mkdir(parents=True)
        (root / folder / "epoch-0004.json").touch()
    for number, path in enumerate(["1/000000/epoch-0004.json", "9-0a1b2c3d/000000/epoch-0004.json", "loose.json"]):
        settled.ledger.update_trial(settled.id, number, checkpoint=path)
    assert settled.id == 1
    assert delete(settled).returncode == 0
    assert sorted(str(path.relative_to(root)) for path in root.glob("*/*")) == [
        "1/000001",  # in no record: another database's study 1
        "2/000000",
        "9-0a1b2c3d/000000",
    ]


def test_a_study_without_an_mlflow_is_deleted(home: Path) -> None:
    study = open_study(home)
    assert delete(study).returncode == 0
    assert not (home / "mlflow.db").exists()
    assert is_gone(study)


def test_a_driver_that_comes_too_late_is_told(home: Path) -> None:
    study = open_study(home)
    Study.load("study", settings.resolve(home=home)).delete()
    with pytest.raises(SpecError, match="was deleted"), Lease(study):
        pass
