"""What SQL says of a study at one moment: Optuna's side and ours."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy.engine import RowMapping

from hpo.audit.finding import Finding, Kind
from hpo.errors import Unavailable
from hpo.goals import front, points
from hpo.store import columns
from hpo.store.lease import holder
from hpo.study import Study

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

__all__ = ["Curve", "Snapshot", "tally"]

Curve = Mapping[int, Mapping[str, float]]
"""Epoch -> its metrics."""


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Read in an order that allows for a driver at work: what has ended on both sides will not change."""

    study: Study
    owner: str | None  # the driver at work
    abandoned: bool  # by a driver that died with the lease in its hands
    trials: Mapping[int, FrozenTrial]  # Optuna's
    rows: Mapping[int, RowMapping]  # ours
    curves: Mapping[int, Curve]
    pending: Mapping[int | None, int]  # records in the outbox; None: about the study itself
    facts: Mapping[int, Mapping[str, Any]]  # what the trainer of a trial says of itself
    damaged: Mapping[int, str]  # trials with a column that cannot be read, the first in words: they are left alone

    @classmethod
    def take(cls, study: Study, *, held: bool = False) -> Snapshot:
        """`held`: the caller holds the study's lease itself."""
        study = study.afresh()
        before = study.ledger.pending_by_trial(study.id)
        trials = {trial.number: trial for trial in study.frozen_trials()}
        rows = {row["number"]: row for row in study.ledger.trials(study.id)}
        curves: dict[int, dict[int, dict[str, float]]] = {}
        facts: dict[int, dict[str, Any]] = {}
        damaged: dict[int, str] = {}
        for row in study.ledger.epochs(study.id):
            with _noting(damaged, row["number"]):
                curves.setdefault(row["number"], {})[row["epoch"]] = columns.metrics(row)
        for number, row in rows.items():
            with _noting(damaged, number):
                facts[number] = columns.facts(row)
        after = study.ledger.pending_by_trial(study.id)
        # a sender may be at work: MLflow had not got what waited before, and need not have what waits now
        pending = after if held else {**before, **after}
        owner = None if held else holder(study.row)
        abandoned = not held and owner is None and study.row["owner"] is not None
        return cls(
            study=study,
            owner=owner,
            abandoned=abandoned,
            trials=trials,
            rows=rows,
            curves=curves,
            pending=pending,
            facts=facts,
            damaged=damaged,
        )

    def is_open(self, number: int) -> bool:
        """Whether a trial is at work by either side."""
        trial, row = self.trials.get(number), self.rows.get(number)
        return (trial is not None and trial.state.name == "RUNNING") or (row is not None and row["ended"] is None)

    @property
    def settled(self) -> list[int]:
        """Trials that both sides have and that can be read, and that nobody is about to change."""
        both = sorted((self.trials.keys() & self.rows.keys()) - self.damaged.keys())
        closed = [number for number in both if not self.is_open(number)]
        return [number for number in closed if self.owner is None or self.trials[number].state.is_finished()]

    @property
    def best(self) -> float | None:
        """The best value of a COMPLETE trial that keeps the constraints; of several goals, of the first."""
        best = front(points(self.trials.values()), self.study.spec.metrics)
        return best[0].values[0] if best else None

    def ended_at(self, number: int) -> list[float | None]:
        """The goals at the last epoch of a trial that has the first of them, by our tables."""
        curve, names = self.objective(number), [each.name for each in self.study.spec.metrics]
        last = self.curves[number][max(curve)] if curve else {}
        return [last.get(name) for name in names]

    def objective(self, number: int) -> dict[int, float]:
        """The objective of each epoch of a trial, by our tables."""
        name = self.study.spec.metric.name
        curve = self.curves.get(number, {})
        return {epoch: metrics[name] for epoch, metrics in curve.items() if name in metrics}

    def finding(self, number: int | None, kind: Kind, what: str, mend: str | None, **sides: Any) -> Finding:
        return Finding(study=self.study.name, trial=number, kind=kind, what=what, mend=mend, sides=sides)


def tally(curve: Mapping[int, Any], objective: Mapping[int, float], *, sign: float) -> dict[str, float]:
    """What our tables add up of a trial's epochs: the last one, and the best where all objectives are finite."""
    found: dict[str, float] = {"epoch": max([*curve, *objective], default=0)}
    if objective and all(map(math.isfinite, objective.values())):
        best = max(objective, key=lambda epoch: (sign * objective[epoch], -epoch))
        found |= {"best_epoch": best, "best_value": objective[best]}
    return found


@contextmanager
def _noting(damaged: dict[int, str], number: int) -> Iterator[None]:
    """Keep the first column of a trial that cannot be read, in words."""
    try:
        yield
    except Unavailable as error:
        damaged.setdefault(number, str(error))
