"""Optimizers with their parameter groups."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from trainers.config import TrainConfig

__all__ = ["adopt", "build_optimizer", "peak_lr", "set_lr"]

OF_DEVICE = ("fused", "foreach", "capturable")
"""Options of a parameter group that say how it is computed; a state from another device must not bring its own."""


def build_optimizer(config: TrainConfig, model: nn.Module, *, device: torch.device) -> Optimizer:
    """Build the configured optimizer at the peak learning rate.

    On a GPU the learning rate is a tensor there and the update one kernel, so that a captured graph reads the rate anew
    at every replay.

    Weight decay acts on all parameters, or with `decay_norms: false` on those of two or more dimensions: not on norms
    and biases, whose size says nothing about how closely the network follows the pictures.
    """
    groups = _groups(config, model)
    on_gpu = device.type == "cuda"
    lr = torch.tensor(peak_lr(config), device=device) if on_gpu else peak_lr(config)
    if config.optimizer == "sgd":
        # the fused kernel cannot begin the momentum of stages that thaw later; without it the lr is a plain number
        fused = on_gpu and config.transfer is None
        rate = lr if fused else peak_lr(config)
        return SGD(groups, lr=rate, momentum=config.momentum, nesterov=config.nesterov, fused=fused or None)
    kind: type[Adam] = {"adam": Adam, "adamw": AdamW}[config.optimizer]
    return kind(groups, lr=lr, fused=on_gpu or None, capturable=on_gpu)


def _groups(config: TrainConfig, model: nn.Module) -> list[dict[str, object]]:
    parameters = list(model.parameters())
    if config.decay_norms:
        return [{"params": parameters, "weight_decay": config.weight_decay}]
    return [
        {"params": [each for each in parameters if each.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [each for each in parameters if each.ndim < 2], "weight_decay": 0.0},
    ]


def peak_lr(config: TrainConfig) -> float:
    """The highest learning rate of the training.

    With a reference batch it grows in proportion to the batch (Goyal et al., "Accurate, Large Minibatch SGD", 2017).
    """
    return config.lr if config.reference_batch is None else config.lr * config.batch_size / config.reference_batch


def set_lr(optimizer: Optimizer, lr: float) -> None:
    """Set the learning rate of every parameter group."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(lr)
        else:
            group["lr"] = lr


def adopt(optimizer: Optimizer, state: Mapping[str, Any]) -> None:
    """Load an optimizer's state, which may come from another kind of device; the caller's tensors are not shared."""
    # torch keeps the very tensors it is given here, and training would change the caller's.
    taken = copy.deepcopy(dict(state))
    rates = [group["lr"] for group in optimizer.param_groups]
    for group, mine in zip(taken["param_groups"], optimizer.param_groups, strict=True):
        group.update({key: mine.get(key) for key in OF_DEVICE})  # before loading: torch places its counters by them
    optimizer.load_state_dict(taken)
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        lr, group["lr"] = float(group["lr"]), rate
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(lr)
        else:
            group["lr"] = lr
