"""Studies to test on: small ones, over the synthetic trainer, told of epochs that nobody trained."""

from pathlib import Path
from typing import Any

from hpo import settings, spec
from hpo.scheduler import Event, Scheduler
from hpo.searcher import Searcher
from hpo.study import Study
from hpo.trial import Report

TREE: dict[str, Any] = {
    "name": "study",
    "metric": "val/accuracy",
    "sampler": "random",
    "parameters": {"lr": {"min": 0.0, "max": 1.0}},
    "trainer": {"import": "synthetic:Resumable", "epochs": 4},
    "budget": {"trials": 4},
}


def open_study(home: Path, storage: str | None = None, **sections: Any) -> Study:
    return Study.open(spec.from_mapping({**TREE, **sections}), settings.resolve(home=home, storage=storage))


def scheduler_of(study: Study, events: list[Event] | None = None) -> Scheduler:
    return Scheduler(study, (events if events is not None else []).append)


def report(number: int, epoch: int, value: float, **more: Any) -> Report:
    return Report(number=number, attempt=1, epoch=epoch, metrics={"val/accuracy": value}, **more)


def run_all(study: Study, *, failing: tuple[int, ...] = ()) -> list[dict[str, Any]]:
    """Run all that is left, an epoch a trial, which comes to its number; returns the parameters of what ran."""
    scheduler, searcher = scheduler_of(study), Searcher(study)
    points = []
    while (trial := searcher.next()) is not None:
        assert scheduler.start(trial, cpu=1, gpu=0) is not None
        points.append(trial.params)
        if trial.number in failing:
            scheduler.fail(trial.number, "ValueError: a hole")
        else:
            scheduler.report(report(trial.number, 1, float(trial.number), last=True))
    return points
