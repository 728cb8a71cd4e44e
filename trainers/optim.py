"""Optimizers, and the learning rate as a closed form of the step, so that a resumed training has nothing to restore."""

from __future__ import annotations

import math
from collections.abc import Iterable

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from trainers.config import (
    CosineSchedule,
    MultistepSchedule,
    OnecycleSchedule,
    Schedule,
    StepSchedule,
    TrainConfig,
)

__all__ = ["build_optimizer", "lr_factor", "set_lr"]

ONECYCLE_START = 1 / 25
ONECYCLE_END = 1 / 250_000


def build_optimizer(config: TrainConfig, parameters: Iterable[nn.Parameter]) -> Optimizer:
    """Build the configured optimizer at the peak learning rate; weight decay applies to all parameters."""
    if config.optimizer == "sgd":
        return SGD(
            parameters,
            lr=config.lr,
            momentum=config.momentum,
            nesterov=config.nesterov,
            weight_decay=config.weight_decay,
        )
    kind: type[Adam] = {"adam": Adam, "adamw": AdamW}[config.optimizer]
    return kind(parameters, lr=config.lr, weight_decay=config.weight_decay)


def set_lr(optimizer: Optimizer, lr: float) -> None:
    """Set the learning rate of every parameter group."""
    for group in optimizer.param_groups:
        group["lr"] = lr


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
