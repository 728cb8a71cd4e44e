"""Studies to test on: small ones, over the synthetic trainer, told of epochs that nobody trained."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hpo import settings, spec
from hpo.search.running import Event
from hpo.search.scheduler import Scheduler
from hpo.search.searcher import Searcher
from hpo.space.sections import Winner
from hpo.store import history
from hpo.study import Study
from hpo.winner import confirmation
from hpo.workers.trial import Attempt, Checkpoint, Report
from trainers import checkpoint

TREE: dict[str, Any] = {
    "name": "study",
    "metric": "val/accuracy",
    "sampler": "random",
    "parameters": {"lr": {"min": 0.0, "max": 1.0}},
    "trainer": {"import": "synthetic:Resumable", "epochs": 4},
    "pruner": "none",
    "budget": {"trials": 4},
}

FACTS = {
    "dataset_fingerprint": "aaaa",
    "device": "cpu",
    "git_commit": "1111",
    "git_dirty": False,
    "versions": {"python": "3.11", "torch": "2.14"},
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


def run(study: Study, values: Sequence[float | None], **facts: Any) -> Study:
    """Run a trial for each value, which comes to it and keeps a checkpoint; None: it fails."""
    history.enqueue(study)
    scheduler, searcher = scheduler_of(study), Searcher(study)
    name = study.spec.metric.name
    for value in values:
        trial = searcher.next()
        assert trial is not None
        scheduler.start(trial, cpu=1, gpu=0)
        if value is None:
            scheduler.fail(trial.number, "ValueError: a hole")
            continue
        more = {"last": True, "facts": {**FACTS, **facts}, "checkpoint": saved(study, trial.number)}
        scheduler.report(replace(report(trial.number, 1, value, **more), metrics={name: value}))
    return study


def saved(study: Study, number: int) -> Checkpoint:
    path = study.trial_folder(number) / "epoch-0001.json"
    digest = checkpoint.save({"epoch": 1}, path)
    return Checkpoint(path=str(path.relative_to(study.settings.checkpoints)), sha256=digest, epoch=1)


def confirmed(study: Study, *fresh: Sequence[float | None]) -> Study:
    """Put trainings with fresh seeds on record, a list for each of the best trials."""
    runs = confirmation.prepare(study, Winner(top=len(fresh), seeds=len(fresh[0])))
    assert runs.spec.confirms is not None
    by_seed = [[fresh[place][index] for place in range(len(fresh))] for index in range(len(fresh[0]))]
    run(runs, [value for values in by_seed for value in values])
    return study


def train(study: Study, trials: int) -> None:
    """Really train the next trials, in this process instead of in workers."""
    scheduler, searcher = scheduler_of(study), Searcher(study)
    for _ in range(trials):
        trial = searcher.next()
        assert trial is not None
        assignment = scheduler.start(trial, cpu=1, gpu=0)
        assert assignment is not None
        attempt = Attempt(assignment)
        while scheduler.report(attempt.next_report()):
            pass
