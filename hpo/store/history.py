"""What was done to a study beside running it, kept for good: that it was extended, and trials put into its queue.

An entry and what it stands for are one transaction. Trials that it puts into the queue are made by `enqueue`, which
the driver calls too: whatever is killed in between is made up for.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

import sqlalchemy as sql
from sqlalchemy.engine import Connection, RowMapping

from hpo.settings import person
from hpo.store import records, tables
from hpo.wording import number

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from hpo.store.lease import Lease
    from hpo.study import Study

__all__ = ["BASELINE", "Entry", "Point", "add", "defaults", "enqueue", "facts", "gain", "origin", "retried", "told"]

BASELINE = "baseline"
"""Attribute of the trial of the defaults, which the others are compared with."""
ORIGINS = ("retry_of", "warm_start")
"""Attributes of Optuna's trials that say which point of an entry they are."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """A trial to be put into the queue."""

    params: Mapping[str, Any]
    origin: Mapping[str, Any]  # one of ORIGINS -> what it came from, once in a study


@dataclass(frozen=True, kw_only=True)
class Entry:
    """Something done to a study."""

    what: Literal["extended", "retried", "warm start", "ran without checks", "imported"]
    changes: Sequence[str]  # lines for people
    points: Sequence[Point] = field(default=())

    def row(self) -> dict[str, Any]:
        """The same as columns of `hpo_history`, with who did it, now."""
        points = [{"params": dict(each.params), "origin": dict(each.origin)} for each in self.points]
        return {
            "time": time.time(),
            "who": person(),
            "what": self.what,
            "changes": json.dumps(list(self.changes)),
            "points": json.dumps(points),
        }


def add(study: Study, lease: Lease, entry: Entry, **columns: Any) -> None:
    """Write an entry down, with the columns of the study that it changes.

    Raises:
        StudyOwned: the lease had run out and another driver has taken the study.
    """

    def write() -> None:
        with study.ledger.begin() as connection:
            lease.check(connection)
            write_in(connection, study, entry, **columns)

    study.ledger.patience.call(write)


def write_in(connection: Connection, study: Study, entry: Entry, **columns: Any) -> None:
    """The same within a transaction."""
    if columns:
        connection.execute(sql.update(tables.studies).where(tables.studies.c.id == study.id).values(**columns))
    connection.execute(sql.insert(tables.history).values(study=study.id, **entry.row()))
    query = sql.select(tables.history).where(tables.history.c.study == study.id).order_by(tables.history.c.id)
    lines = list(map(told, connection.execute(query).mappings()))
    study.ledger.put(connection, study.id, None, "tags", records.history(lines))


def enqueue(study: Study) -> int:
    """Put into the queue what entries say and is not there yet, under the lease; returns how many trials.

    The defaults come first, where the space asks for them.
    """
    if study.spec.baseline and not any(BASELINE in trial.user_attrs for trial in study.frozen_trials()):
        study.optuna.enqueue_trial(study.spec.start(), user_attrs={BASELINE: True})
    rows = study.ledger.history(study.id)
    points = [point for row in rows for point in json.loads(row["points"])]
    if not points:
        return 0
    there = [{key: value} for each in study.frozen_trials() for key, value in each.user_attrs.items() if key in ORIGINS]
    new = [point for point in points if point["origin"] not in there]
    standards = {trial.number for trial in study.frozen_trials() if BASELINE in trial.user_attrs}
    for point in new:
        mark = {BASELINE: True} if point["origin"].get("retry_of") in standards else {}
        study.optuna.enqueue_trial(point["params"], user_attrs={**point["origin"], **mark})
    if new:
        study.ledger.post(study.id, None, "tags", records.history(list(map(told, rows))))
    return len(new)


def retried(trials: Iterable[FrozenTrial]) -> int:
    """How many trials stand for failed ones, which have given them their places in the budget of trials."""
    return sum("retry_of" in each.user_attrs for each in trials)


def origin(attributes: Mapping[str, Any]) -> str | None:
    """Where a trial comes from, by its attributes in Optuna; None where the sampler drew it."""
    if "retry_of" in attributes:
        return f"retry of trial {attributes['retry_of']}"
    if BASELINE in attributes:
        return "the defaults"
    name, _, number = attributes.get("warm_start", "").partition(":")
    return f"trial {number} of {name}" if name else None


def defaults(study: Study) -> FrozenTrial | None:
    """The trial of the trainer's defaults; None where they were not tried, or are not COMPLETE."""
    there = (
        trial for trial in study.frozen_trials() if BASELINE in trial.user_attrs and trial.state.name == "COMPLETE"
    )
    return next(there, None)


def gain(study: Study, best: int, value: float | None) -> str | None:
    """What the best trial, or its mean over fresh seeds, brings over the defaults; None where these were not tried."""
    trial = defaults(study)
    if trial is None or trial.number == best or value is None:
        return None
    more = study.spec.metric.sign * (value - trial.values[0])
    word = "better" if more >= 0 else "worse"
    return f"{number(abs(more))} {word} than trial {trial.number}, the defaults: {number(trial.values[0])}"


def facts(study: Study) -> list[dict[str, Any]]:
    """All entries as plain values."""
    return [_facts(row) for row in study.ledger.history(study.id)]


def told(row: RowMapping) -> str:
    """An entry as a line for people."""
    return "{time}  {what} by {who}: ".format(**_facts(row)) + "; ".join(json.loads(row["changes"]))


def _facts(row: RowMapping) -> dict[str, Any]:
    when = datetime.fromtimestamp(row["time"], UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"time": when, "who": row["who"], "what": row["what"], "changes": json.loads(row["changes"])}
