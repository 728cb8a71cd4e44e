"""What a training was done with: versions, device, commit; on record in SQL and, name by name, in MLflow."""

import platform
import subprocess
from pathlib import Path

import pytest
from audit import disagreements, mlflow_runs
from damage import send
from mlflow import MlflowClient
from study_samples import open_study, report, scheduler_of

import hpo
from hpo.search.searcher import Searcher
from hpo.store import columns
from hpo.workers.provenance import provenance
from hpo.workers.trial import Assignment, Attempt


def git(folder: Path, *words: str) -> str:
    options = ["-c", "user.name=me", "-c", "user.email=me@here", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(folder), *options, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    for name in ("mine.py", "other.py"):
        (folder / name).write_text("def train(lr):\n    yield {'val/accuracy': lr}\n")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")
    return folder


def test_the_commit_is_that_of_the_code_that_trains(repository: Path) -> None:
    found = provenance(repository / "mine.py", gpu=0)
    assert (found["git_commit"], found["git_dirty"]) == (git(repository, "rev-parse", "HEAD"), False)
    assert found["device"] == "cpu"
    assert found["versions"]["python"] == platform.python_version()
    assert {"hpo", "torch", "numpy"} <= set(found["versions"])


def test_code_that_differs_from_its_commit_is_dirty(repository: Path) -> None:
    (repository / "new.py").write_text("")
    assert provenance(repository / "mine.py", gpu=0)["git_dirty"] is False, "a file that nobody has named"
    assert provenance(repository / "new.py", gpu=0)["git_dirty"] is True, "it is in no commit"
    (repository / "mine.py").write_text("")
    assert provenance(repository / "other.py", gpu=0)["git_dirty"] is True, "it may import what was changed"


def test_installed_code_has_no_commit(repository: Path, tmp_path: Path) -> None:
    installed = repository / ".venv" / "mine.py"
    installed.parent.mkdir()
    installed.touch()
    (repository / ".gitignore").write_text(".venv\n")
    none = {"git_commit": None, "git_dirty": None}
    for code in (installed, tmp_path / "mine.py", None):
        found = provenance(code, gpu=0)
        assert {name: found[name] for name in none} == none


class Speaks:
    """Says where it computes, and of versions something else."""

    def fit(self):
        yield {"val/accuracy": 0.5}

    def facts(self):
        return {"device": "Card 7", "versions": "mine"}


def assignment(tmp_path: Path, trainer: str) -> Assignment:
    work = {"number": 0, "attempt": 1, "seed": 3, "trainer": {"import": trainer}, "recorded": 0, "checkpoint": None}
    places = {"checkpoints": tmp_path, "folder": "1/000000", "datasets": tmp_path}
    return Assignment(**work, **places, cpu=1, gpu=0, import_paths=(str(Path(__file__).parent),))  # type: ignore[arg-type]


def test_every_attempt_says_it_with_its_first_report(tmp_path: Path) -> None:
    facts = Attempt(assignment(tmp_path, "test_provenance:Speaks")).next_report().facts
    assert facts is not None
    assert facts["device"] == "Card 7", "the trainer knows best where it computes"
    assert facts["versions"]["hpo"] == hpo.__version__
    assert {"git_commit", "git_dirty"} <= set(facts)


def test_versions_stand_in_mlflow_one_by_one_and_the_records_agree(home: Path) -> None:
    study = open_study(home)
    trial = Searcher(study).next()
    assert trial is not None
    scheduler = scheduler_of(study)
    scheduler.start(trial, cpu=1, gpu=0)
    facts = {"classes": 10, **provenance(None, gpu=0)}
    scheduler.report(report(0, 1, 0.5, last=True, facts=facts))
    send(study)
    params = MlflowClient(study.settings.mlflow).get_run(mlflow_runs(study)[0]["run_id"]).data.params
    assert params["versions.hpo"] == hpo.__version__
    assert not {"versions", "git_commit"} & set(params), "there is none"
    row = study.ledger.trial(study.id, 0)
    assert row is not None
    assert columns.facts(row) == facts
    assert [each for each in disagreements(study) if "trial 0" in each] == []
