"""The learning rate as a closed form of the step, so that a resumed training has next to nothing to restore."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from trainers.config import (
    CosineSchedule,
    MultistepSchedule,
    OnecycleSchedule,
    PlateauSchedule,
    Schedule,
    StepSchedule,
)

__all__ = ["LrSchedule", "lr_factor"]

ONECYCLE_START = 1 / 25
ONECYCLE_END = 1 / 250_000


class LrSchedule:
    """The one owner of a training's learning rate: asked before every batch, told of every epoch."""

    def __init__(self, config: Schedule, *, steps_per_epoch: int, epochs: int) -> None:
        self._config, self._steps, self._epochs = config, steps_per_epoch, epochs
        self._factor = 1.0  # of plateau alone: all others follow from the step
        self._lowest = math.inf
        self._waited = 0

    def factor(self, epoch: int, batch: int) -> float:
        """What the peak learning rate is multiplied by; both counted from 0."""
        if isinstance(self._config, PlateauSchedule):
            return self._factor
        return lr_factor(self._config, epoch * self._steps + batch, self._steps, self._epochs)

    def after_epoch(self, val_loss: float) -> None:
        """Plateau: drop the rate once the loss has not fallen for more than `patience_epochs`; the wait begins anew."""
        if not isinstance(self._config, PlateauSchedule):
            return
        if val_loss < self._lowest:
            self._lowest, self._waited = val_loss, 0
            return
        self._waited += 1
        if self._waited > self._config.patience_epochs:
            self._factor *= self._config.gamma
            self._waited = 0

    def state_dict(self) -> dict[str, float | int]:
        """Return what does not follow from the step."""
        return {"factor": self._factor, "lowest": self._lowest, "waited": self._waited}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` returned."""
        self._factor, self._lowest, self._waited = state["factor"], state["lowest"], state["waited"]


def lr_factor(config: Schedule, step: int, steps_per_epoch: int, epochs: int) -> float:
    """Return what lr is multiplied by at `step`, counted in batches from 0 over the whole training.

    Step and multistep change between epochs only; cosine and onecycle with every batch. Never 0: a warm-up of W steps
    is (step + 1) / W, and the cosine's zero lies one step after the last.
    """
    epoch, total = step // steps_per_epoch, epochs * steps_per_epoch
    if isinstance(config, StepSchedule):
        return config.gamma ** (epoch // config.step_epochs)
    if isinstance(config, MultistepSchedule):
        return config.gamma ** sum(epoch >= fraction * epochs for fraction in config.milestones)
    if isinstance(config, CosineSchedule):
        warmup = round(config.warmup_epochs * steps_per_epoch)
        if step < warmup:
            return (step + 1) / warmup
        return _half_cosine(1, config.final_lr_fraction, (step - warmup) / (total - warmup))
    if isinstance(config, OnecycleSchedule):
        return _onecycle(step, peak=max(0, round(config.warmup_epochs * steps_per_epoch) - 1), last=total - 1)
    return 1.0


def _onecycle(step: int, *, peak: int, last: int) -> float:
    if step < peak:
        return _half_cosine(ONECYCLE_START, 1, step / peak)
    return _half_cosine(1, ONECYCLE_END, (step - peak) / (last - peak)) if last > peak else 1.0


def _half_cosine(start: float, end: float, done: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * done)) / 2
