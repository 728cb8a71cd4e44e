"""Searches that weigh accuracy against time, over the synthetic trainer."""

from pathlib import Path
from typing import Any

import synthetic
from study_samples import saved, scheduler_of
from typer.testing import CliRunner

import hpo
from hpo import spec
from hpo.cli import app
from hpo.errors import HpoError
from hpo.search.searcher import Searcher
from hpo.study import Study
from hpo.workers.trial import Report

GOALS = [{"name": "val/accuracy", "goal": "maximize"}, {"name": "latency_ms", "goal": "minimize"}]
WIDTHS = [1, 2, 3, 4, 5, 6]


def traded(**sections: Any) -> dict[str, Any]:
    """A search that weighs accuracy against time, in which the widest networks are too large."""
    return {
        "name": "traded",
        "metrics": GOALS,
        "constraints": ["parameters_count <= 3e4"],
        "sampler": {"type": "tpe", "startup_trials": 3},
        "parameters": {"lr": {"values": [0.1, 0.4]}, "width": {"min": 1, "max": 6}},
        "trainer": {"import": "synthetic:Traded", "epochs": 2},
        "budget": {"trials": 12},
        **sections,
    }


def opened(home: Path, **sections: Any) -> Study:
    tree = traded(**sections)
    only = {key: value for key, value in tree.items() if key != "name"}
    return Study.open(spec.from_mapping({"name": "traded", **only}), hpo.settings.resolve(home=home))


def run(study: Study, trials: int) -> list[dict[str, Any]]:
    """Run so many trials as Traded would, in this process; returns their parameters."""
    scheduler, searcher = scheduler_of(study), Searcher(study)
    points = []
    for _ in range(trials):
        trial = searcher.next()
        assert trial is not None
        scheduler.start(trial, cpu=1, gpu=0)
        width = trial.params["width"]
        found = synthetic.traded(synthetic.accuracy(trial.params["lr"], 0.0, 1), width)
        told = {
            "metrics": found,
            "facts": {"parameters_count": 1000 * width**2},
            "checkpoint": saved(study, trial.number),
        }
        scheduler.report(Report(number=trial.number, attempt=1, epoch=1, last=True, **told))
        points.append(trial.params)
    return points


def typed(*words: str, home: Path) -> str:
    """What a command prints, or the error that it ends with."""
    found = CliRunner().invoke(app, [*words, "--home", str(home)])
    assert found.exception is None or isinstance(found.exception, HpoError), found.exception
    return str(found.exception) if found.exception is not None else found.output
