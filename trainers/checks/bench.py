"""Copies of a trainer to try things on, and as many pictures as this device is quick with."""

from __future__ import annotations

import copy
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from trainers.models.dropout import Dropout
from trainers.precision import autocast, switches
from trainers.train import Trainer
from trainers.transfer import freeze

__all__ = ["Bench", "untouched"]

FEW = 8
"""Pictures that the first look at the device's speed takes; fewer are tried by no check but for want of pictures."""


@contextmanager
def untouched() -> Iterator[None]:
    """Put the generators of Python, NumPy and torch back as they were; meanwhile all begin at the same seed."""
    cuda = torch.cuda.is_available() and torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cards = torch.cuda.get_rng_state_all() if cuda else []
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])
        if cuda:
            torch.cuda.set_rng_state_all(cards)


class Bench:
    """Gives copies of a trainer, which stays as it is, and pictures of it."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.config = trainer.config
        self.split = trainer.split
        self.classes = len(trainer.split.classes)
        self.device = trainer.device

    def copy(self, batch_size: int | None = None) -> Trainer:
        """A trainer of its own in the same state, over the same pictures, with batches of another size if wanted."""
        twin = copy.deepcopy(self.trainer, {id(self.split): self.split})
        if batch_size is not None:
            twin.config = twin.config.model_copy(update={"batch_size": batch_size})
        return twin

    def model(self, *, training: bool) -> nn.Module:
        """A copy of the network with all thawed that is ever going to be; in training without dropout."""
        model = copy.deepcopy(self.trainer.model).train(training)
        if self.config.transfer is not None:
            freeze(model, self.config.transfer, self.config.epochs)
        for module in model.modules():
            if isinstance(module, Dropout | nn.modules.dropout._DropoutNd):
                module.eval()
        return model

    def batch(self, count: int) -> tuple[Tensor, Tensor]:
        """So many training pictures as the network sees them without augmentation, and their labels; always the same.

        They are spread over the training part, which may lie ordered by class.
        """
        images, labels = self.split.train_images, self.split.train_labels
        chosen = torch.linspace(0, len(labels) - 1, min(count, len(labels))).round().long()
        found = images[chosen.to(images.device)].to(self.device)
        return self.trainer.normalise.stored(found), labels[chosen.to(labels.device)]

    def logits(self, model: nn.Module, inputs: Tensor) -> Tensor:
        """What the network says, as in training; fp16, whose gradients vanish without a scaler, is computed exactly."""
        computed = autocast(self.config, self.device) if self.config.precision != "fp16" else nullcontext()
        with switches(self.config, self.device), computed:
            answer: Tensor = model(inputs)
        return answer.float()

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The mean loss of a batch as it is trained on."""
        return self.trainer.loss.sum(logits, labels) / self.trainer.loss.weight(labels)

    @cached_property
    def seconds_per_picture(self) -> float:
        """What one picture of a training step takes, by one small batch: an upper bound where batches are large."""
        model, (inputs, labels) = self.model(training=True), self.batch(FEW)
        seconds = 0.0
        for _ in range(2):  # the first chooses algorithms
            began = time.perf_counter()
            loss = self.loss(self.logits(model, inputs), labels)
            if loss.requires_grad:
                loss.backward()  # type: ignore[no-untyped-call]
            self.wait()
            seconds = time.perf_counter() - began
            if seconds > 1:
                break
        return seconds / len(labels)

    def affordable(self, most: int, seconds: float) -> int:
        """How many pictures to train on at once, FEW to `most`, so that a step takes about so long."""
        return max(FEW, min(most, int(seconds / self.seconds_per_picture)))

    def wait(self) -> None:
        """Until the device has done what it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
