"""How long a network takes to answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from trainers.precision import switches
from trainers.predict import Predictor

if TYPE_CHECKING:
    from trainers.train import Trainer

__all__ = ["RUNS", "WARM_UP", "Latency", "in_training", "measure", "time_calls"]

RUNS = 200
WARM_UP = 20
"""Calls before the first that counts: libraries choose algorithms and caches fill in them."""
ROUNDS, ROUND = 4, 50
"""Of a training, and calls in each: others compute beside it, and the calmest round says most of the network."""


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Milliseconds from stored pictures to probabilities, over calls one after the other."""

    device: str
    """what computed: the name of a GPU, or cpu"""
    batch: int
    """pictures in a call"""
    n: int
    """calls measured"""
    p50_ms: float
    p95_ms: float


def measure(predictor: Predictor, batch: int = 1, runs: int = RUNS, warmup: int = WARM_UP) -> Latency:
    """Time `predictor` on random pictures that lie on its device; decoding and copying are not in it.

    Threads on a CPU are torch's own number of them. Raises ValueError for a batch or runs below 1.
    """
    device = predictor.device
    call = _waiting(predictor.probabilities, (batch, *predictor.shape), device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    return time_calls(call, device=name, batch=batch, runs=runs, warmup=warmup)


@torch.no_grad()
def in_training(trainer: Trainer) -> float:
    """Median milliseconds in which single pictures are answered by a network in training: `latency_ms`.

    On the device where it trains, with the precision of the training; the least of some rounds, and the median, as
    others compute beside it: of 100 calls the 95th shows how long a processor is taken away. Nothing random is drawn.
    """
    trainer.evaluated_model.eval()
    call = _waiting(lambda pictures: trainer.logits(pictures).softmax(1), (1, *trainer.input_shape), trainer.device)
    with switches(trainer.config, trainer.device):
        time_calls(call, device=str(trainer.device), batch=1, runs=1)
        rounds = [time_calls(call, device="", batch=1, runs=ROUND, warmup=0).p50_ms for _ in range(ROUNDS)]
    return min(rounds)


def _waiting(answer: Callable[[Tensor], object], shape: tuple[int, ...], device: torch.device) -> Callable[[], None]:
    """A call that has random pictures answered that lie on the device, and waits for it."""
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator).to(device)

    def call() -> None:
        answer(pictures)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return call


def time_calls(
    call: Callable[[], object], *, device: str, batch: int, runs: int = RUNS, warmup: int = WARM_UP
) -> Latency:
    """Time a call that answers for `batch` pictures and waits for its answer."""
    if batch < 1 or runs < 1:
        raise ValueError(f"batch {batch} and runs {runs} must be 1 or more")
    for _ in range(warmup):
        call()
    seconds = []
    for _ in range(runs):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    p50, p95 = np.percentile(seconds, (50, 95))
    return Latency(device=device, batch=batch, n=runs, p50_ms=float(p50) * 1e3, p95_ms=float(p95) * 1e3)
