"""What MLflow shows of a study against what SQL says."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from typing import Any

from hpo.audit.finding import Finding
from hpo.audit.snapshot import Snapshot
from hpo.errors import Unavailable
from hpo.masking import masked
from hpo.search.staged import is_over
from hpo.store import history, records
from hpo.tracking.reach import Reach
from hpo.tracking.runs import Run, Shown

__all__ = ["compare", "keep", "show"]

Points = list[tuple[int, float]]

# state in Optuna -> status of the run. Said here once more, so that a mistake of the code that writes them is seen
STATUS = {
    "COMPLETE": "FINISHED",
    "PRUNED": "KILLED",
    "FAIL": "FAILED",
    "WAITING": "SCHEDULED",
}
SHOWN = 3  # points of a curve that differ
AGAIN = "sends it again from SQL"
ANEW = "deletes the run and makes it anew from SQL"


def show(seen: Snapshot, reach: Reach) -> Shown:
    """Ask MLflow, where `reach` finds it.

    Raises:
        Unavailable: it does not answer, or the study's runs are known to be in another one.
    """
    study = seen.study
    if not study.is_here:
        raise Unavailable(f"MLflow was not asked: {study.elsewhere}")
    if not study.knows_mlflow:
        raise Unavailable(
            f"the runs of study {study.name!r} are at {study.row['mlflow']}, not at {masked(study.settings.mlflow)}: "
            "say where with --mlflow or MLFLOW_TRACKING_URI"
        )
    reach.require(study.settings.mlflow)
    return Shown(study.settings.mlflow, study.name, study.row["uid"])


def compare(seen: Snapshot, reach: Reach) -> Iterator[Finding]:
    """Differences, of trials of which nothing waits in the outbox."""
    shown = show(seen, reach)
    numbers = [number for number in seen.settled if number not in seen.pending]
    if shown.experiment is None:
        if numbers:
            yield seen.finding(None, "experiment", "MLflow does not have it", "makes it anew from SQL")
        return
    if shown.deleted:
        yield seen.finding(None, "experiment", "was deleted in MLflow", "restores it")
        return
    if seen.owner is None:
        if None not in seen.pending and seen.rows:
            yield from _run(seen, shown, None)
        for run in shown.runs:
            known = run.number is None or run.number in seen.rows or run.number in seen.trials
            if not known and not run.deleted:
                yield seen.finding(
                    run.number, "run", "MLflow has a run of it, SQL no trial", "deletes the run", mlflow=run.id
                )
    for number in numbers:
        yield from _run(seen, shown, number)


def keep(seen: Snapshot, runs: list[Run], number: int | None) -> Run:
    """Which of several runs of a trial stays: the one that SQL names, else the oldest."""
    row = seen.study.row if number is None else seen.rows[number]
    return next((run for run in runs if run.id == row["run_id"]), runs[0])


def _run(seen: Snapshot, shown: Shown, number: int | None) -> Iterator[Finding]:
    """That there is one run, and that it says what SQL says."""
    active, deleted = shown.of(number), shown.of(number, deleted=True)
    if len(active) > 1:
        ids = [run.id for run in active]
        stays = keep(seen, active, number).id
        yield seen.finding(number, "run", f"has {len(ids)} runs", f"deletes all but {stays}", mlflow=ids)
    elif active:
        yield from _parent(seen, shown, active[0]) if number is None else _facts(seen, shown, number, active[0])
    elif deleted:
        yield seen.finding(number, "run", "its run was deleted in MLflow", "restores it", mlflow=deleted[-1].id)
    else:
        yield seen.finding(number, "run", "MLflow has no run of it", "makes it from SQL")


def _parent(seen: Snapshot, shown: Shown, run: Run) -> Iterator[Finding]:
    study, retried = seen.study, history.retried(seen.trials.values())
    over = is_over(study.spec, list(seen.trials.values()))
    status = records.end_of_study(study.counts(), study.spec, retried=retried, time=0.0, over=over)["status"]
    if run.status != status:
        yield seen.finding(None, "picture", "its run has another status", AGAIN, sql=status, mlflow=run.status)
    if run.id != seen.study.row["run_id"]:
        said = {"mlflow": run.id, "ours": seen.study.row["run_id"]}
        yield seen.finding(None, "picture", "the run has another id", AGAIN, **said)
    metric = f"best/{seen.study.spec.metric.name}"
    found = shown.curve(run, metric)
    last = found[-1][1] if found else None
    if seen.best is not None and last != _kept(seen.best):
        yield seen.finding(None, "picture", f"{metric} is not the best value", AGAIN, mlflow=last, optuna=seen.best)


def _facts(seen: Snapshot, shown: Shown, number: int, run: Run) -> Iterator[Finding]:
    trial, row = seen.trials[number], seen.rows[number]
    parents = shown.of(None)
    facts: dict[str, tuple[Any, Any]] = {
        "status": (STATUS[trial.state.name], run.status),
        "state": (trial.state.name, run.tags.get("hpo.state")),
        "attempt": (str(row["attempt"]), run.tags.get("hpo.attempt")),
        "run id": (row["run_id"], run.id),
    }
    if row["error"]:
        facts["error"] = (row["error"][:5000], run.tags.get("hpo.error"))
    if len(parents) == 1:
        facts["parent"] = (parents[0].id, run.tags.get("mlflow.parentRunId"))
    for what, (ours, theirs) in facts.items():
        if ours != theirs:
            yield seen.finding(number, "picture", f"{what} differs in MLflow", AGAIN, sql=ours, mlflow=theirs)
    yield from _params(seen, number, run)
    yield from _curves(seen, shown, number, run)


def _params(seen: Snapshot, number: int, run: Run) -> Iterator[Finding]:
    """Parameters, and what the trainer says of itself; MLflow never lets one change."""
    for name, value in {**records.flat(seen.facts[number]), **seen.trials[number].params}.items():
        ours, theirs = str(value)[:6000], run.params.get(name)
        if theirs is None:
            yield seen.finding(number, "picture", f"MLflow lacks parameter {name}", AGAIN, sql=ours)
        elif theirs != ours:
            yield seen.finding(number, "replace", f"parameter {name} differs in MLflow", ANEW, sql=ours, mlflow=theirs)


def _curves(seen: Snapshot, shown: Shown, number: int, run: Run) -> Iterator[Finding]:
    curve = seen.curves.get(number, {})
    for name in sorted({metric for metrics in curve.values() for metric in metrics}):
        ours = [(epoch, _kept(metrics[name])) for epoch, metrics in sorted(curve.items()) if name in metrics]
        theirs = shown.curve(run, name)
        lacking = sorted({epoch for epoch, _ in ours} - {step for step, _ in theirs})
        if lacking:
            yield seen.finding(number, "picture", f"MLflow lacks {name} of epochs {lacking}", AGAIN)
        there = [each for each in ours if each[0] not in lacking]
        if repr(there) != repr(theirs):  # NaN is not equal to itself
            sides = {"sql": _unlike(there, theirs), "mlflow": _unlike(theirs, there)}
            yield seen.finding(number, "replace", f"{name} differs in MLflow", ANEW, **sides)


def _unlike(one: Points, other: Points) -> Points:
    """The first of the points that only one of two curves has."""
    known = {repr(point) for point in other}
    return [point for point in one if repr(point) not in known][:SHOWN]


def _kept(value: float) -> float:
    """MLflow stores an infinite value as the largest float."""
    return math.copysign(sys.float_info.max, value) if math.isinf(value) else value
