"""Optimizers with their parameter groups."""

from __future__ import annotations

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from trainers.config import TrainConfig

__all__ = ["build_optimizer", "peak_lr", "set_lr"]


def build_optimizer(config: TrainConfig, model: nn.Module) -> Optimizer:
    """Build the configured optimizer at the peak learning rate.

    Weight decay acts on all parameters, or with `decay_norms: false` on those of two or more dimensions: not on norms
    and biases, whose size says nothing about how closely the network follows the pictures.
    """
    groups = _groups(config, model)
    lr = peak_lr(config)
    if config.optimizer == "sgd":
        return SGD(groups, lr=lr, momentum=config.momentum, nesterov=config.nesterov)
    kind: type[Adam] = {"adam": Adam, "adamw": AdamW}[config.optimizer]
    return kind(groups, lr=lr)


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
        group["lr"] = lr
