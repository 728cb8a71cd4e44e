"""Which checkpoints stay, told by one function and done by a run."""

from pathlib import Path
from typing import Any

import pytest
from study_samples import open_study, report, scheduler_of

from hpo import settings
from hpo.retention import Retention
from hpo.searcher import Searcher
from hpo.study import Study
from hpo.trial import Checkpoint
from trainers import checkpoint

BALLAST = 400_000


@pytest.fixture
def three(home: Path) -> Study:
    """Three COMPLETE trials whose checkpoints take 0.4 MB each, the second the best, and one that waits to go on."""
    study = open_study(home, budget={"trials": 8})
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
    return Study.load(study.name, settings.resolve(home=study.settings.home), overrides)


def test_a_budget_that_was_lowered_is_kept_from_the_beginning_of_the_run(three: Study) -> None:
    study = again(three, disk="1MB")
    Retention(study)
    assert files(study) == {1: 1, 2: 1, 3: 2}
    assert [row["checkpoint"] is not None for row in study.ledger.trials(study.id)] == [False, True, True, True]
    study = again(three, disk="0.1MB")
    Retention(study)
    assert files(study) == {1: 1, 3: 2}, "the best stays anyhow, and what waits to go on"
