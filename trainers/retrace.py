"""The first epochs of a training once more, and what the network thinks of a few pictures after each.

A checkpoint holds the last epoch alone; with its configuration and seed the ones before can be had again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainers.config import TrainConfig
from trainers.predict import Member
from trainers.train import Trainer

__all__ = ["Glance", "retrace"]


@dataclass(frozen=True, kw_only=True)
class Glance:
    """What a network thinks after an epoch."""

    epoch: int
    metrics: Mapping[str, float]
    """those of `Trainer.fit`"""
    probabilities: Tensor
    """(B, classes), on the CPU"""


def retrace(
    state: Mapping[str, Any], pictures: Sequence[int], *, epochs: int, data_folder: Path, device: torch.device
) -> Iterator[Glance]:
    """Train anew as `state`, a `Trainer.state_dict()`, was trained, from fresh weights, for so many epochs at most.

    `pictures` are places in the validation part. The first glance is at epoch 0, before any training, with no metrics.
    On a CPU, with as many threads and the same versions, the epochs are those of the training. Seeds the global
    generators; raises what `Trainer` raises.
    """
    config = TrainConfig.model_validate(state["config"])
    trainer = Trainer(config, seed=state["seed"], data_folder=data_folder, device=str(device), forecast=0)
    images = trainer.split.val_images[torch.tensor(pictures, device=trainer.split.val_images.device)].to(device)
    yield Glance(epoch=0, metrics={}, probabilities=_look(trainer, images))
    if epochs < 1:
        return
    for metrics in trainer.fit():
        yield Glance(epoch=trainer.epoch, metrics=metrics, probabilities=_look(trainer, images))
        if trainer.epoch >= epochs:
            return


def _look(trainer: Trainer, images: Tensor) -> Tensor:
    member = Member(trainer.state_dict(), device=trainer.device)
    return member.log_probabilities(images, tta=False).exp().cpu()
