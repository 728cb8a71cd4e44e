"""How fast a training runs and what memory it takes, measured on its own steps without finishing it."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator

import torch

from trainers.precision import switches
from trainers.train import Trainer

__all__ = ["Pace"]

WARM_UP = 10
"""Steps before the first measurement: libraries choose algorithms in them, and the step is captured."""
WAIT_EVERY = 0.05
"""Seconds between two waits for the device: seldom enough to cost nothing."""
CONTEXT_MB = 600.0
"""What a process takes of a card besides its tensors; PyTorch does not count it."""


class Pace:
    """Measures a trainer, which is of no use for anything else afterwards: its epochs never end."""

    def __init__(self, trainer: Trainer) -> None:
        """Train for a few steps, so that what comes is the speed that lasts."""
        trainer.epoch = trainer.config.epochs - 1  # with all thawed that is going to be
        self._device = trainer.device
        self._steps = _endless(trainer)
        for _ in range(WARM_UP):
            next(self._steps)
        self._wait()

    def pictures_per_second(self, seconds: float) -> float:
        """Train for at least so many seconds."""
        began = now = time.perf_counter()
        seen = 0
        while now - began < seconds:
            seen += next(self._steps)
            if time.perf_counter() - now > WAIT_EVERY:
                self._wait()
                now = time.perf_counter()
        return seen / (now - began)

    def memory_mb(self) -> float:
        """The most that this process has taken so far: of the card, or of the machine on a CPU."""
        if self._device.type == "cuda":
            return torch.cuda.max_memory_reserved(self._device) / 2**20 + CONTEXT_MB
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


def _endless(trainer: Trainer) -> Iterator[int]:
    """Train without end, yielding each step's number of pictures."""
    while True:
        with switches(trainer.config, trainer.device):
            for _, _, labels in trainer.steps():
                yield len(labels)
