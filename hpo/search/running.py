"""A trial at work as its driver knows it, and what happens to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from optuna.trial import Trial

from hpo.workers.trial import Assignment

__all__ = ["Event", "Running"]


@dataclass(kw_only=True)
class Running:
    """A trial at work."""

    trial: Trial
    assignment: Assignment
    epoch: int
    value: float | None
    best_value: float | None
    best_epoch: int | None
    seconds: float  # of training, over all attempts
    gpu: float  # share
    gpu_seconds: float  # of a whole card, over all attempts
    told_facts: bool


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
    best: bool = False  # COMPLETE, and better than all before
