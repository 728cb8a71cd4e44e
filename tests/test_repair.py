"""What a repair must never do: take another place for the study's own, or a file for worthless that is whole."""

import shutil
from pathlib import Path

import pytest
from damage import COMPLETE, WAITING

from hpo import settings
from hpo.audit import audit
from hpo.errors import Unavailable
from hpo.repair import mend
from hpo.study import Study


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
