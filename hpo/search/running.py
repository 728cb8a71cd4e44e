"""A trial at work as its driver knows it, and what happens to it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optuna.trial import Trial

from hpo.goals import Point, excesses
from hpo.spec import SearchSpec
from hpo.workers.trial import Assignment, bad_metric

__all__ = ["Event", "Running"]


@dataclass(kw_only=True)
class Running:
    """A trial at work."""

    trial: Trial
    assignment: Assignment
    epoch: int
    value: float | None
    metrics: Mapping[str, float]  # of the last epoch; empty before there is one in this attempt
    facts: Mapping[str, Any]  # what the trainer has said of itself
    best_value: float | None
    best_epoch: int | None
    seconds: float  # of training, over all attempts
    gpu: float  # share
    gpu_seconds: float  # of a whole card, over all attempts
    told_facts: bool

    def problem(self, space: SearchSpec, epoch: int) -> str | None:
        """What in the last epoch's metrics ends the trial as failed."""
        metrics = self.metrics
        for each in space.metrics:
            if each.name not in metrics:
                return (
                    f"the trainer does not report the metric {each.name!r}; it reports {', '.join(metrics) or 'none'}"
                )
            if bad := bad_metric(metrics, each.name):
                return f"{bad} was {metrics[bad]} at epoch {epoch}"
        known, weighed = {**self.facts, **metrics}, self.excesses(space)
        if endless := next((name for name, share in weighed.items() if not math.isfinite(share)), None):
            return f"what the constraint {endless!r} limits was no finite number at epoch {epoch}"
        if lacking := set(map(str, space.constraints)) - weighed.keys():
            return f"there is no number for the constraint {min(lacking)!r}; known are {', '.join(known)}"
        return None

    def tell(self, space: SearchSpec, value: float) -> None:
        """Report the last epoch's value of the first goal to Optuna, whose `report` refuses where there are several."""
        if space.several:
            self.trial.storage.set_trial_intermediate_value(self.trial._trial_id, self.epoch, value)
        else:
            self.trial.report(value, self.epoch)

    def weigh(self, space: SearchSpec) -> None:
        """Put on record how it stands to its constraints, for the sampler, rungs and whoever asks for the best.

        As Trial.set_constraint, which lets nothing be said again that has changed since the last rung.
        """
        for name, excess in self.excesses(space).items():
            self.trial.storage.set_trial_system_attr(self.trial._trial_id, f"constraints:{name}", excess)

    def excesses(self, space: SearchSpec) -> dict[str, float]:
        """How it stands to each constraint, as far as it has come."""
        return excesses(space.constraints, {**self.facts, **self.metrics})

    def point(self, space: SearchSpec) -> Point:
        """What it has come to, after an epoch without a problem."""
        values = [self.metrics[each.name] for each in space.metrics]
        return Point.of(self.trial.number, values, self.excesses(space))


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened to a trial, for whoever shows the progress."""

    kind: str  # start | epoch | warning | end
    number: int
    state: str
    params: dict[str, Any]
    epoch: int
    value: float | None
    error: str | None = None  # or the warning
    best: bool = False  # COMPLETE, and better than all before; of several goals: none before betters it
    front: str | None = None  # of several goals: what is on the front from now on
    point: Point | None = None  # of a COMPLETE trial
