"""What a repair must never do: take another place for the study's own, or a file for worthless that is whole."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import optuna
import pytest
from damage import COMPLETE, FAILED, WAITING, optuna_sql
from study_samples import open_study
from typer.testing import CliRunner

from hpo import settings
from hpo.audit.agreement import audit
from hpo.audit.repair import mend
from hpo.cli import app
from hpo.errors import Unavailable
from hpo.search.recovery import recover
from hpo.study import Study
from trainers import checkpoint


def named(study: Study) -> list[str | None]:
    """The checkpoints on record."""
    return [row["checkpoint"] for row in study.ledger.trials(study.id)]


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


# -- another home -----------------------------------------------------------------------------------------------------


def test_a_doctor_at_another_home_mends_neither_files_nor_mlflow(settled: Study, tmp_path: Path) -> None:
    before = named(settled), files(settled.folder)
    there = settings.resolve(home=tmp_path / "other", storage=settled.settings.storage)
    study = Study.load("study", there)
    study.ledger.post(study.id, COMPLETE, "tags", {"tags": {"some": "tag"}})
    _, left = mend(study)
    [place] = [each for each in left.findings if each.kind == "place"]
    assert place.mend is None
    assert f"HPO_HOME={settled.settings.home}" in place.what
    assert str(there.home) in place.what
    assert str(settled.settings.home) in str(left.silent)
    assert study.ledger.pending_count(study.id) == 1
    assert not (there.home / "mlflow.db").exists()
    mend(settled)
    assert (named(settled), files(settled.folder)) == before


def test_a_driver_at_another_home_is_refused_where_it_would_train_again(settled: Study, tmp_path: Path) -> None:
    there = settings.resolve(home=tmp_path / "other", storage=settled.settings.storage)
    with pytest.raises(Unavailable, match="HPO_HOME="):
        Study.load("study", there).begin()
    for number in (COMPLETE, WAITING):
        settled.ledger.forget_checkpoint(settled.id, number)
    Study.load("study", there).begin()  # nothing is lost with a home that nothing lies in


def test_a_driver_whose_checkpoints_are_not_there_is_refused(settled: Study) -> None:
    """Their disk may come back: trials would start over, and the best one's weights be forgotten."""
    settled.folder.rename(settled.folder.with_name("away"))
    with pytest.raises(Unavailable, match=r"is missing, with the checkpoints of 2 trials: .* mkdir -p"):
        Study.load("study", settled.settings).begin()
    assert None not in [named(settled)[number] for number in (COMPLETE, WAITING)]
    settled.folder.mkdir()
    Study.load("study", settled.settings).begin()


def test_a_home_that_has_moved_is_the_same(settled: Study) -> None:
    settled.ledger.update_study(settled.id, home="/data/before")
    assert audit(settled).agrees, audit(settled)


@pytest.mark.parametrize("what", ["study", "all", "earlier version"])
def test_checkpoints_whose_folder_is_missing_are_not_forgotten(settled: Study, what: str) -> None:
    folder = settled.folder if what != "all" else settled.settings.checkpoints
    if what == "earlier version":
        settled.ledger.update_study(settled.id, home=None)
    away = folder.rename(folder.with_name("away"))
    before = named(settled)
    _, left = mend(settled)
    [finding] = left.findings
    assert (finding.trial, finding.kind, finding.mend) == (None, "checkpoint", None)
    assert f"{settled.folder} is missing, with the checkpoints of 2 trials" in finding.what
    assert f"mkdir -p {settled.folder}" in finding.what
    assert named(settled) == before
    away.rename(folder)
    assert audit(settled).agrees
    shutil.rmtree(settled.folder)
    settled.folder.mkdir()  # they are gone for good
    _, left = mend(settled)
    assert left.agrees, left
    assert named(settled) == [None] * 3


# -- checkpoint files -------------------------------------------------------------------------------------------------

WRONG: dict[str, dict[str, Any]] = {
    "path": {"checkpoint": "{folder}/000000/epoch-0009.json"},
    "path of another trial": {"checkpoint": "{folder}/000002/epoch-0002.json"},
    "path elsewhere": {"checkpoint": "../../x/epoch-0004.json"},
    "hash": {"sha256": "0" * 64},
}


@pytest.mark.parametrize("what", WRONG)
def test_a_file_that_is_whole_stays_where_its_record_is_wrong(settled: Study, what: str) -> None:
    wrong = {key: value.format(folder=settled.folder_name) for key, value in WRONG[what].items()}
    settled.ledger.update_trial(settled.id, COMPLETE, **wrong)
    before = files(settled.folder)
    for _ in range(2):
        _, left = mend(settled)
        assert {(each.trial, each.mend) for each in left.findings} == {(COMPLETE, None)}
        [finding] = [each for each in left.findings if each.kind == "checkpoint"]
        assert "epoch-0004.json can be read" in finding.what
        assert files(settled.folder) == before


def test_a_record_of_another_epoch_takes_no_newer_file_away(settled: Study) -> None:
    older = settled.folder / "000000" / "epoch-0003.json"
    older.write_text('{"epoch": 3}')
    name = str(older.relative_to(settled.settings.checkpoints))
    settled.ledger.update_trial(settled.id, COMPLETE, checkpoint=name, sha256=checkpoint.digest(older))
    _, left = mend(settled)
    assert [(each.kind, each.mend) for each in left.findings] == [("leftover", None)]
    assert "it is newer than the one on record, and can be read" in left.findings[0].what
    assert (settled.folder / "000000" / "epoch-0004.json").exists()


def test_a_file_of_a_record_that_was_cleared_goes_with_the_repair_after_it_at_the_earliest(settled: Study) -> None:
    damaged = settled.folder / "000000" / "epoch-0004.json"
    damaged.write_text("half of i")
    _, left = mend(settled)
    assert [each.kind for each in left.findings] == ["leftover"]
    assert damaged.exists()
    _, left = mend(settled)
    assert left.agrees, left
    assert not damaged.exists()


def test_the_file_of_a_kept_trial_without_a_record_is_left_and_that_of_a_displaced_one_is_not(settled: Study) -> None:
    settled.ledger.forget_checkpoint(settled.id, COMPLETE)
    path = settled.folder / "000000" / "epoch-0004.json"
    _, left = mend(settled)
    assert [(each.trial, each.kind, each.mend) for each in left.findings] == [(COMPLETE, "leftover", None)]
    assert path.exists()
    for _ in range(settled.spec.checkpoints_kept):
        settled.optuna.add_trial(optuna.trial.create_trial(value=0.9))
    mend(settled)
    assert not path.exists()


def test_what_is_no_regular_file_is_neither_opened_nor_removed(settled: Study) -> None:
    fifo = settled.folder / "000000" / "epoch-0004.json"
    fifo.unlink()
    os.mkfifo(fifo)
    odd = [settled.folder / "000001" / "epoch-0002.json", settled.folder / "000000" / "epoch-0003.json"]
    odd[0].mkdir(parents=True)
    odd[1].symlink_to(settled.folder / "000002" / "epoch-0002.json")
    found = {(each.trial, each.kind, each.mend) for each in audit(settled).findings}
    assert found >= {(COMPLETE, "leftover", None), (FAILED, "leftover", None)}
    mend(settled)
    _, left = mend(settled)
    assert {each.kind for each in left.findings} == {"leftover"}
    assert all("it is no regular file" in each.what for each in left.findings)
    assert odd[0].is_dir()
    assert odd[1].is_symlink()
    assert fifo.is_fifo()


# -- damaged columns --------------------------------------------------------------------------------------------------

DAMAGED: dict[str, tuple[str, int | None, str]] = {
    "no JSON": ("UPDATE hpo_epoch SET metrics = 'half of' WHERE number = 0 AND epoch = 2", 0, "hpo_epoch.metrics"),
    "no mapping": ("UPDATE hpo_epoch SET metrics = '[1]' WHERE number = 2 AND epoch = 2", 2, "hpo_epoch.metrics"),
    "no number": (
        """UPDATE hpo_epoch SET metrics = '{"val/accuracy": "x"}' WHERE number = 0 AND epoch = 1""",
        0,
        "hpo_epoch.metrics",
    ),
    "facts": ("UPDATE hpo_trial SET facts = '7' WHERE number = 0", 0, "hpo_trial.facts"),
    "canonical": ("UPDATE hpo_study SET canonical = 'half of' WHERE name = 'study'", None, "hpo_study.canonical"),
    "canonical, within": (
        "UPDATE hpo_study SET canonical = json_set(canonical, '$.trainer', 3) WHERE name = 'study'",
        None,
        "trainer",
    ),
    "canonical, no mapping": (
        "UPDATE hpo_study SET canonical = '[1]' WHERE name = 'study'",
        None,
        "hpo_study.canonical",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", DAMAGED)
def test_a_damaged_column_is_named_and_hides_no_other_study(settled: Study, what: str) -> None:
    statement, number, column = DAMAGED[what]
    open_study(settled.settings.home, name="other")
    optuna_sql(settled, statement)
    for arguments in ([], ["--fix"], ["study"]):
        done = CliRunner().invoke(app, ["doctor", *arguments, "--json", "--home", str(settled.settings.home)])
        assert done.exit_code == 3, done.output
        studies = {each["study"]: each for each in json.loads(done.stdout)["studies"]}
        [finding] = studies["study"]["findings"]
        assert (finding["trial"], column in finding["what"], finding["mend"]) == (number, True, None)
        assert arguments == ["study"] or studies["other"]["agrees"]


def test_a_damaged_epoch_of_an_open_trial_hides_no_other_finding(settled: Study) -> None:
    optuna_sql(settled, "UPDATE hpo_epoch SET metrics = 'half of' WHERE number = 2 AND epoch = 2")
    optuna_sql(settled, "DELETE FROM trial_intermediate_values WHERE step = 2 AND trial_id = 3")
    optuna_sql(settled, "UPDATE trials SET state = 'RUNNING' WHERE number = 2")
    settled.ledger.update_trial(settled.id, COMPLETE, epoch=9)
    mended, left = mend(settled)
    assert [each.kind for each in mended] == ["tally"]
    assert "damaged" in {each.kind for each in left.findings}


def test_a_driver_says_which_column_is_damaged(settled: Study) -> None:
    optuna_sql(settled, "UPDATE hpo_epoch SET metrics = 'half of' WHERE number = 2 AND epoch = 2")
    optuna_sql(settled, "DELETE FROM trial_intermediate_values WHERE step = 2 AND trial_id = 3")
    with pytest.raises(Unavailable, match=r"hpo_epoch.metrics of trial 2, epoch 2 .*hpo doctor"):
        recover(Study.load("study", settled.settings))


def test_a_curve_that_is_not_finite_has_no_best_epoch_after_a_repair_either(settled: Study) -> None:
    study = settled
    study.ledger.add_epoch(study.id, WAITING, epoch=3, attempt=1, metrics={"val/accuracy": float("inf")})
    before = study.ledger.trial(study.id, WAITING)
    assert before is not None
    mend(study)
    after = study.ledger.trial(study.id, WAITING)
    assert after is not None
    assert (after["best_epoch"], after["best_value"]) == (before["best_epoch"], before["best_value"])
