"""MLflow's records of a study worked out again from SQL, for a run that is missing or lacks something.

Sending a record again changes nothing where it is there already: runs are found by tags, and an epoch carries the time
it was recorded at.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from sqlalchemy.engine import RowMapping

from hpo.study import Study, end_record

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

__all__ = ["best_points", "end_of_study", "of_study", "of_trial"]

Record = tuple[str, dict[str, Any]]
"""Kind and payload, as the outbox has them."""


def of_trial(study: Study, trial: FrozenTrial, row: RowMapping) -> Iterator[Record]:
    """All records of a trial, in the order in which its driver posted them."""
    resolved = study.spec.resolve(trial.params)
    yield (
        "start",
        {
            "params": trial.params,
            "config": {"trainer": resolved, "seed": row["seed"], "metric": study.spec.metric.model_dump()},
            "tags": {"hpo.trial": trial.number, "hpo.seed": row["seed"]},
            "attempt": row["attempt"],
            "time": row["started"],
        },
    )
    if row["facts"]:
        facts = {name: value for name, value in json.loads(row["facts"]).items() if name not in trial.params}
        yield "facts", {"facts": facts, "config": _full(resolved)}
    for epoch in study.ledger.epochs(study.id, trial.number):
        metrics = json.loads(epoch["metrics"])
        yield "epoch", {"epoch": epoch["epoch"], "time": epoch["time"], "metrics": metrics}
    if trial.user_attrs.get("warnings"):
        yield "tags", {"tags": {"hpo.warnings": "\n".join(trial.user_attrs["warnings"])}}
    if row["checkpoint"] and trial.number == _best(study):
        yield "checkpoint", {"path": row["checkpoint"]}
    said = {"hpo.best_epoch": row["best_epoch"], "hpo.error": row["error"]}
    tags = {name: value for name, value in said.items() if value is not None} if trial.state.is_finished() else {}
    end = end_record(trial.state, **tags)
    yield "end", {**end, "traceback": row["traceback"], "time": row["ended"] or time.time()}


def of_study(study: Study) -> Iterator[Record]:
    """The records of the study's own run, without the curve of the best value."""
    packings = study.ledger.packings(study.id)
    if packings:
        newest = packings[-1]
        yield "tags", {"tags": {"hpo.trials_per_card": newest["per_card"], "hpo.packing": newest["reason"]}}
    yield "table", study.table()
    yield "end", end_of_study(study)


def end_of_study(study: Study) -> dict[str, Any]:
    """How the study's run ends: SCHEDULED where it may go on."""
    counts, outcome = study.counts(), study.row["outcome"] or ""
    may_go_on = not outcome or "WAITING" in counts or (counts.get("COMPLETE") and not outcome.startswith("finished"))
    status = "SCHEDULED" if may_go_on else "FINISHED" if counts.get("COMPLETE") else "FAILED"
    tags = {f"hpo.trials.{state.lower()}": count for state, count in counts.items()}
    return {"status": status, "tags": tags, "time": time.time()}


def best_points(study: Study) -> list[dict[str, Any]]:
    """The best value so far, after each trial that bettered it, by number of trials that had ended."""
    sign = study.spec.metric.sign
    ended = {row["number"]: row["ended"] or 0.0 for row in study.ledger.trials(study.id)}
    finished = [trial for trial in study.frozen_trials() if trial.state.is_finished() and trial.number in ended]
    points: list[dict[str, Any]] = []
    best: float | None = None
    for count, trial in enumerate(sorted(finished, key=lambda each: ended[each.number]), start=1):
        if trial.state.name == "COMPLETE" and (best is None or sign * (trial.values[0] - best) > 0):
            best = trial.values[0]
            metrics = {f"best/{study.spec.metric.name}": best}
            points.append({"epoch": count, "time": ended[trial.number], "metrics": metrics})
    return points


def _best(study: Study) -> int | None:
    return study.best_trial.number if study.complete() else None


def _full(resolved: dict[str, Any]) -> dict[str, Any] | None:
    """The built-in trainer's configuration with its defaults; one's own trainer has none."""
    if "import" in resolved:
        return None
    from trainers.config import TrainConfig

    return TrainConfig.model_validate(resolved).model_dump(mode="json")
