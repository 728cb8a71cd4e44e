"""A small study of digits that was really trained, in this process, and may be promoted."""

import shutil
from pathlib import Path

from study_samples import open_study, train

from hpo import settings
from hpo.study import Study
from hpo.tracking.delivery import deliver
from trainers.folders import private, private_file

WEAK, STRONG = 0, 1
"""Its trials: two learning rates, of which one is too small."""


def make(home: Path, empty_mlflow: Path) -> None:
    """The study, and all that MLflow has of it."""
    shutil.copyfile(empty_mlflow, private_file(private(home) / "mlflow.db"))
    study = open_study(
        home,
        name="digits",
        sampler="grid",
        parameters={"lr": {"values": [0.01, 0.1]}},
        trainer={"model": "lightweight_cnn_gap", "dataset": {"name": "digits", "limit": 400}, "epochs": 3},
        budget={},
    )
    study.ledger.post(study.id, None, "start", {})
    train(study, 2)
    deliver(study)
    assert study.ledger.pending_count(study.id) == 0


def copied(made: Path, home: Path, overrides: tuple[str, ...] = ()) -> Study:
    shutil.copytree(made, home)
    return Study.load("digits", settings.resolve(home=home), overrides)
