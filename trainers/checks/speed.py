"""How long an epoch will take, by a few steps of it."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from trainers.checks.bench import Bench
from trainers.data import batches, steps_in_epoch
from trainers.evaluate import evaluation_batch
from trainers.generators import untouched
from trainers.precision import switches

__all__ = ["Speed", "speed"]

FIRST = 5
"""Steps before the measured ones on a GPU, where libraries choose algorithms and the step is captured."""


@dataclass(frozen=True, kw_only=True)
class Speed:
    """How fast one training runs alone."""

    step_seconds: float
    steps: int
    """of an epoch"""
    val_seconds: float
    measured: bool
    """False: a whole batch takes too long, and fewer pictures stand for it"""

    @property
    def epoch_seconds(self) -> float:
        return self.step_seconds * self.steps + self.val_seconds


def speed(bench: Bench, *, seconds: float) -> Speed:
    """Time real steps of the training and of validation; leaves everything as it was."""
    with untouched(seed=0):
        return _speed(bench, seconds)


def _speed(bench: Bench, seconds: float) -> Speed:
    config, split = bench.config, bench.split
    steps = steps_in_epoch(len(split.train_labels), config.batch_size, config.max_batches)
    batch = min(config.batch_size, len(split.train_labels))
    first = FIRST if bench.device.type == "cuda" else 1
    forecast = bench.seconds_per_picture * batch
    measured = bench.device.type == "cuda" or forecast * (first + 1) < seconds
    step = _step_seconds(bench, first, seconds / 2) if measured else forecast
    return Speed(step_seconds=step, steps=steps, val_seconds=_val_seconds(bench, seconds / 2), measured=measured)


def _step_seconds(bench: Bench, first: int, seconds: float) -> float:
    twin = bench.copy()
    taken = 0
    began = time.perf_counter()
    while True:
        with switches(twin.config, twin.device):
            for _ in twin.steps():
                taken += 1
                if taken == first:
                    bench.wait()
                    began = time.perf_counter()
                elif taken > first and (time.perf_counter() - began > seconds or taken >= first + 20):
                    bench.wait()
                    return (time.perf_counter() - began) / (taken - first)


@torch.no_grad()
def _val_seconds(bench: Bench, seconds: float) -> float:
    """Seconds for all validation pictures, by as many as there is time for."""
    model, split = bench.model(training=False), bench.split
    on_card = bench.device.type == "cuda"
    size = evaluation_batch(*split.val_images.shape[-2:])
    if not on_card:
        size = min(size, max(8, int(seconds / bench.seconds_per_picture)))
    done, began = 0, time.perf_counter()
    for images, _ in batches(split.val_images, split.val_labels, batch_size=size):
        if on_card and not done:  # libraries choose algorithms
            bench.logits(model, bench.trainer.normalise.stored(images))
            bench.wait()
            began = time.perf_counter()
        bench.logits(model, bench.trainer.normalise.stored(images))
        done += len(images)
        bench.wait()
        if time.perf_counter() - began > seconds:
            break
    return (time.perf_counter() - began) * len(split.val_labels) / done
