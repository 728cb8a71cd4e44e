"""MLflow's records of a study worked out again from SQL, for a run that is missing or lacks something.

Sending a record again changes nothing where it is there already: runs are found by tags, and an epoch carries the time
it was recorded at.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from sqlalchemy.engine import RowMapping

from hpo.goals import points
from hpo.promotion.journal import PROMOTED, UNDONE, Promotions
from hpo.search.staged import is_over
from hpo.space.canonical import objective
from hpo.store import columns, history, records
from hpo.store.records import Payload
from hpo.study import Study
from hpo.winner import confirmation

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

__all__ = ["best_points", "end_of_study", "of_study", "of_trial"]

Record = tuple[str, Payload]
"""Kind and payload, as the outbox has them."""


def of_trial(study: Study, trial: FrozenTrial, row: RowMapping) -> Iterator[Record]:
    """All records of a trial, in the order in which its driver posted them."""
    resolved, shown = study.spec.resolve(trial.params), study.spec.shown(trial.params)
    start = records.start(
        trial.number, seed=row["seed"], params=shown, trainer=resolved, objective=objective(study.spec)
    )
    yield "start", {**start, "attempt": row["attempt"], "time": row["started"]}
    if row["facts"]:
        yield "facts", records.facts(columns.facts(row), params=shown, config=_full(resolved))
    for epoch in study.ledger.epochs(study.id, trial.number):
        yield "epoch", records.epoch(epoch["epoch"], time=epoch["time"], metrics=columns.metrics(epoch))
    if trial.user_attrs.get("warnings"):
        yield "tags", records.warned(trial.user_attrs["warnings"])
    for each in _promotions(study):
        if (each["runs"], each["run"]) == (study.name, trial.number):
            yield "tags", records.version(each["model"], each["version"])
    if row["checkpoint"] and trial.number == study.leader:
        yield "checkpoint", {"path": row["checkpoint"]}
    end = records.end(trial.state.name, best_epoch=row["best_epoch"], error=row["error"], traceback=row["traceback"])
    yield "end", {**end, "time": row["ended"] or time.time()}


def of_study(study: Study) -> Iterator[Record]:
    """The records of the study's own run, without the curve of the best value."""
    packings = study.ledger.packings(study.id)
    if packings:
        yield "tags", records.packing(packings[-1]["per_card"], packings[-1]["reason"])
    if entries := study.ledger.history(study.id):
        yield "tags", records.history(list(map(history.told, entries)))
    confirmed = confirmation.find(study)
    if confirmed is not None and confirmed.winner is not None:
        yield "tags", records.winner(confirmed.facts())
    if study.spec.confirms is None:
        yield from _aliases(study)
    if study.spec.several:
        yield "tags", records.front(study.front(), study.spec.metrics)
    yield "table", records.table(study)
    yield "end", end_of_study(study)


def _promotions(study: Study) -> list[RowMapping]:
    """The promotions of the search, which the study is or confirms, that gave an alias to a version."""
    confirms = study.spec.confirms
    search = study.row if confirms is None else study.ledger.study(confirms.study)
    if search is None or (confirms is not None and search["uid"] != confirms.uid):
        return []
    return [each for each in Promotions(study.ledger).all(search["id"]) if each["outcome"] in (PROMOTED, UNDONE)]


def _aliases(study: Study) -> Iterator[Record]:
    """Where each alias is: at the version of the newest promotion that was not rolled back."""
    now = {row["alias"]: row for row in _promotions(study) if row["outcome"] == PROMOTED}
    for alias, row in now.items():
        yield "tags", records.promoted(alias, row["version"], row["trial"])


def end_of_study(study: Study) -> Payload:
    """How the study's run ends."""
    trials = study.frozen_trials()
    retried, over = history.retried(trials), is_over(study.spec, trials)
    return records.end_of_study(study.counts(), study.spec, retried=retried, time=time.time(), over=over)


def best_points(study: Study) -> list[Payload]:
    """The best value so far, after each trial that bettered it, by number of trials that had ended."""
    sign = study.spec.metric.sign
    ended = {row["number"]: row["ended"] or 0.0 for row in study.ledger.trials(study.id)}
    finished = [trial for trial in study.frozen_trials() if trial.state.is_finished() and trial.number in ended]
    found: list[Payload] = []
    best: float | None = None
    for count, trial in enumerate(sorted(finished, key=lambda each: ended[each.number]), start=1):
        point = next(iter(points([trial])), None)
        if point is not None and not point.excess and (best is None or sign * (point.values[0] - best) > 0):
            best = point.values[0]
            name, when = study.spec.metric.name, ended[trial.number]
            found.append(records.best(count, metric=name, value=best, time=when))
    return found


def _full(resolved: dict[str, Any]) -> dict[str, Any] | None:
    """The built-in trainer's configuration with its defaults; one's own trainer has none."""
    if "import" in resolved:
        return None
    from trainers.config import TrainConfig

    return TrainConfig.model_validate(resolved).model_dump(mode="json")
