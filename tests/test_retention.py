"""Which checkpoints stay, told by one function and done by a run."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sql
from earlier import without_revisions
from study_samples import open_study, report, scheduler_of
from typed import typed

from hpo.commands.plan import plan_again
from hpo.search.retention import Retention
from hpo.search.searcher import Searcher
from hpo.study import Study
from hpo.workers.trial import Checkpoint
from trainers import checkpoint

BALLAST = 400_000


@pytest.fixture
def three(home: Path, storage: str) -> Study:
    """Three COMPLETE trials whose checkpoints take 0.4 MB each, the second the best, and one that waits to go on."""
    study = open_study(home, storage, budget={"trials": 8})
    scheduler, searcher = scheduler_of(study), Searcher(study)
    for value in (0.5, 0.7, 0.6, 0.1):
        trial = searcher.next()
        assert trial is not None
        scheduler.start(trial, cpu=1, gpu=0)
        for epoch in (1, 2):
            saved = save(study, trial.number, epoch)
            last = epoch == 2 and value > 0.1
            scheduler.report(report(trial.number, epoch, value, last=last, checkpoint=saved))
    scheduler.requeue(3, "Ctrl-C")
    assert files(study) == {0: 1, 1: 1, 2: 1, 3: 2}
    return study


def save(study: Study, number: int, epoch: int) -> Checkpoint:
    name = f"{study.folder_name}/{number:06d}/epoch-{epoch:04d}.json"
    digest = checkpoint.save({"ballast": "x" * BALLAST}, study.settings.checkpoints / name)
    return Checkpoint(path=name, sha256=digest, epoch=epoch)


def files(study: Study) -> dict[int, int]:
    """Checkpoint files of each trial that has any."""
    folders = sorted(path for path in study.folder.iterdir())
    return {int(folder.name): len(list(folder.iterdir())) for folder in folders}


def again(study: Study, **budget: Any) -> Study:
    """The study as the next run opens it."""
    overrides = [f"budget.{key}={value}" for key, value in budget.items()]
    return Study.load(study.name, study.settings, overrides)


def test_what_a_worker_wrote_after_its_trial_had_ended_is_removed(three: Study) -> None:
    scheduler = scheduler_of(three)
    scheduler._checkpoints.drop(2)
    save(three, 2, 3)
    save(three, 1, 3)
    scheduler.tidy()
    assert files(three) == {0: 1, 1: 1, 3: 2}
    assert three.checkpoint(1) is not None


def test_a_budget_that_was_lowered_is_kept_from_the_beginning_of_the_run(three: Study) -> None:
    study = again(three, disk="1MB")
    Retention(study)
    assert files(study) == {1: 1, 2: 1, 3: 2}
    assert [row["checkpoint"] is not None for row in study.ledger.trials(study.id)] == [False, True, True, True]
    study = again(three, disk="0.1MB")
    Retention(study)
    assert files(study) == {1: 1, 3: 2}, "the best stays anyhow, and what waits to go on"


def told(study: Study, capsys: pytest.CaptureFixture[str], *overrides: str) -> dict[str, Any]:
    """What `hpo resume --dry-run --json` prints."""
    capsys.readouterr()
    plan_again(study.name, study.settings, overrides, concurrency=None, as_json=True)
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def picture(study: Study) -> dict[str, Any]:
    """All files of the home folder, and all rows of all tables."""
    engine = study.ledger.engine
    seen = sql.MetaData()
    seen.reflect(engine)
    with engine.connect() as connection:
        rows: dict[str, Any] = {
            name: [tuple(row) for row in connection.execute(sql.select(table))] for name, table in seen.tables.items()
        }
        columns = {name: list(table.columns.keys()) for name, table in seen.tables.items()}
    engine.dispose()
    # of the database its rows: whoever closes it last moves them from its journal into its file
    files = [path for path in study.settings.home.rglob("*") if path.is_file() and "studies.db" not in path.name]
    contents = {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    return {"rows": rows, "columns": columns, "files": contents}


@pytest.mark.parametrize("disk", ["0.1MB", "0.7MB", "0.9MB", "5MB"])
def test_a_dry_run_says_what_the_run_does_and_does_nothing(
    three: Study, capsys: pytest.CaptureFixture[str], disk: str
) -> None:
    (three.folder / "000001" / ".epoch-0002.json.x").write_text("cut short")
    (three.folder / "000001" / "epoch-0001.json").write_text("the one before")
    before, taken = picture(three), sum(path.stat().st_size for path in three.folder.rglob("*") if path.is_file())
    said = told(three, capsys, f"budget.disk={disk}")
    assert picture(three) == before
    study = again(three, disk=disk)
    Retention(study)
    rows = study.ledger.trials(study.id)
    kept = {row["number"] for row in rows if row["checkpoint"]} - {3}
    assert set(said["kept_trials"]) == kept
    assert set(said["removed_trials"]) == {0, 1, 2} - kept
    assert said["checkpoint_bytes_taken"] == taken
    left = sum(path.stat().st_size for path in study.folder.rglob("*") if path.is_file())
    assert said["checkpoint_bytes_removed"] == taken - left
    assert said["kept_trials"][0] == 1, "the best first"


def test_a_dry_run_alters_no_table_of_an_earlier_version(three: Study, capsys: pytest.CaptureFixture[str]) -> None:
    with three.ledger.begin() as connection:
        connection.execute(sql.text("ALTER TABLE hpo_trial DROP COLUMN gpu_seconds"))
        connection.execute(sql.text("ALTER TABLE hpo_study DROP COLUMN mlflow"))
        connection.execute(sql.text("DROP TABLE hpo_packing"))
        without_revisions(connection)
    before = picture(three)
    assert told(three, capsys)["kept_trials"] == [1, 2, 0]
    assert picture(three) == before


def test_the_commands_that_tell(home: Path, tmp_path: Path, three: Study) -> None:
    before = picture(three)
    storage = three.settings.storage
    done = typed("resume", "study", "--dry-run", "--set", "budget.disk=0.1MB", home=home, OPTUNA_STORAGE=storage)
    assert done.returncode == 0, done.stderr
    said = "2.0 MB now; kept: trial 1; to go on with: trial 3; the next run removes 0.8 MB of trials 0, 2"
    assert said in done.stdout
    path = tmp_path / "space.yaml"
    path.write_text(three.row["text"])
    done = typed("run", "--space", str(path), "--dry-run", home=home, OPTUNA_STORAGE=storage)
    assert "2.0 MB now; kept: trials 1, 2, 0; to go on with: trial 3" in done.stdout, done.stderr
    assert "removes" not in done.stdout
    done = typed(
        "check", "--plan-only", "--space", str(path), "--set", "parameters.lr.max=9", home=home, OPTUNA_STORAGE=storage
    )
    assert (done.returncode, "stored" in done.stdout) == (0, False)
    assert "warning: `hpo run` will refuse this file" in done.stderr
    assert "parameters.lr.max: 1.0 -> 9" in done.stderr
    done = typed("resume", "study", "--dry-run", "--set", "parameters.lr.max=9", home=home, OPTUNA_STORAGE=storage)
    assert (done.returncode, "parameters.lr.max: 1.0 -> 9" in done.stderr) == (2, True)
    done = typed("resume", "studie", "--dry-run", home=home, OPTUNA_STORAGE=storage)
    assert (done.returncode, "there are: study" in done.stderr) == (2, True)
    assert picture(three) == before


def test_a_dry_run_takes_no_lock_and_leaves_a_live_driver_alone(
    three: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    with three.ledger.begin() as connection:  # another process writes meanwhile
        connection.execute(sql.text("UPDATE hpo_study SET outcome = 'x'"))
        assert told(three, capsys)["kept_trials"] == [1, 2, 0]


def test_a_database_that_is_away_is_a_warning_of_check_and_an_error_of_resume(home: Path) -> None:
    away = "postgresql://me:sesame@127.0.0.1:9/x"
    done = typed("check", "--plan-only", "--space", "search_spaces/quickstart.yaml", home=home, OPTUNA_STORAGE=away)
    assert (done.returncode, "whether the study exists is not known" in done.stderr) == (0, True), done.stderr
    assert "checkpoints may take" in done.stdout
    assert "sesame" not in done.stdout + done.stderr
    done = typed("resume", "study", "--dry-run", home=home, OPTUNA_STORAGE=away)
    assert (done.returncode, "sesame" in done.stderr) == (4, False), done.stderr
    assert not home.exists()
    done = typed("resume", "study", "--dry-run", home=home)
    assert (done.returncode, "there are no studies yet" in done.stderr) == (2, True)
    assert not home.exists()
