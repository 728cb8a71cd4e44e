"""Whether the largest step of a search fits into memory, found before a trial comes to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from trainers.checks.bench import Bench
from trainers.checks.finding import Finding
from trainers.config import TrainConfig
from trainers.describe import Memory, describe
from trainers.precision import switches
from trainers.size import pictures_of, undrawn
from trainers.train import Trainer

__all__ = ["Largest", "estimate", "largest", "memory"]

HALF = ("bf16", "fp16")
PROCESS = 500 << 20
"""Bytes of a process that has PyTorch in it and trains nothing: 523 MB measured with 2.14 on a CPU."""
WORK = 1.15
"""What libraries take for a moment beside what is kept."""
FULL = 0.8
"""Share of the free memory from which it is tight."""
STEPS = 5
"""On a GPU: from the fourth on they run as a graph, which has memory of its own."""


@dataclass(frozen=True, kw_only=True)
class Largest:
    """The training of a search that takes most memory."""

    config: TrainConfig
    need: int
    """bytes, counted"""
    fitting: int | None
    """the largest batch of the same network that is sure to fit; None where the search has none"""


def estimate(config: TrainConfig, pictures: int | None = None) -> int:
    """Bytes that a step of this training keeps at its most, counted without computing anything.

    `pictures`: to train on, more than which no batch has; None: no batch asks for as many.
    Raises what `trainers.size.pictures_of` raises.
    """
    kept = _kept(config.model, config.depth, config.growth, config.width, *pictures_of(config.dataset))
    state = kept.adam_state if config.optimizer != "sgd" else kept.sgd_state if config.momentum else 0
    fixed = kept.weights * (1 + (config.ema is not None)) + kept.gradients + state
    half = 0.5 if config.precision in HALF else 1.0
    batch = config.batch_size if pictures is None else min(config.batch_size, pictures)
    return round(WORK * (fixed + half * kept.activations * batch / config.accumulate))


@lru_cache(maxsize=256)
def _kept(model: str, depth: int, growth: int, width: int, shape: tuple[int, int, int], classes: int) -> Memory:
    with undrawn():
        return describe(model, shape, classes, depth=depth, growth=growth, width=width).memory


def largest(configs: Sequence[TrainConfig], room: int, pictures: int | None = None) -> Largest:
    """The one that needs most of the `room` in bytes; `pictures` as for `estimate`."""
    needs = [(estimate(each, pictures), each) for each in configs]
    need, most = max(needs, key=lambda pair: pair[0])
    same = [each.batch_size for size, each in needs if each.model == most.model and size + PROCESS <= FULL * room]
    return Largest(config=most, need=need, fitting=max(same, default=None))


def memory(bench: Bench, most: Largest, *, room: int, at_once: int, folder: Path) -> Finding:
    """The largest step fits `room`: bytes that are free on this machine, or on its card.

    On a GPU the step is made. On a CPU, where the kernel ends what takes too much, it is counted. `at_once`: trainings
    that share the room. `folder`: as for `Trainer`.
    """
    config = most.config
    what = f"{config.model} at batch_size {config.batch_size}"
    if (pictures := len(bench.split.train_labels)) < config.batch_size:
        what += f" (all {pictures} pictures)"
    need = most.need + PROCESS
    details = {"need": need, "room": room, "at_once": at_once, "batch_size": config.batch_size}
    if bench.device.type == "cuda":
        return _made(bench, most, what, details, folder)
    told = f"a process with a step of {what} takes about {_size(need)}, {_size(room)} are free"
    if at_once > 1:
        told += f" for {at_once} trials at once"
    if need * at_once <= FULL * room:
        return Finding(name="memory", verdict="pass", said=told, details=details)
    fewer = int(FULL * room / need)
    do = f"--concurrency {fewer}, or a smaller batch_size" if fewer else _smaller(most)
    return Finding(name="memory", verdict="fail" if need > room else "warn", said=told, do=do, details=details)


def _smaller(most: Largest) -> str:
    fits = f"batch_size {most.fitting} fits" if most.fitting else "none of the batch sizes searched fits"
    return f"{fits}; or trainer.accumulate, with which a batch is computed in parts, or a smaller network"


def _made(bench: Bench, most: Largest, what: str, details: dict[str, Any], folder: Path) -> Finding:
    """Make the step, alone on the card."""
    config, device = most.config, bench.device
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    try:
        parts, accumulate = _stepped(config, bench, folder), config.accumulate
    except torch.OutOfMemoryError:
        said = f"a step of {what} does not fit into {_size(details['room'])}, not even in parts of two pictures"
        return Finding(name="memory", verdict="fail", said=said, do=_smaller(most), details=details)
    peak = torch.cuda.max_memory_reserved(device)
    details = {**details, "peak": peak, "parts": parts}
    told = f"a step of {what} takes {_size(peak)} of {_size(details['room'])}"
    if parts > accumulate:
        said = f"a step of {what} fits in {parts} parts only: slower, and batch norm sees a part at a time"
        return Finding(name="memory", verdict="warn", said=said, do=_smaller(most), details=details)
    together = peak * details["at_once"]
    if together > details["room"]:
        said = f"{told}, and {details['at_once']} trials are to share the card"
        do = "resources: {gpu: auto}, which measures how many fit, or a larger share"
        return Finding(name="memory", verdict="warn", said=said, do=do, details=details)
    return Finding(name="memory", verdict="pass", said=told, details=details)


def _stepped(config: TrainConfig, bench: Bench, folder: Path) -> int:
    """Train a few steps; returns the parts that a batch was computed in."""
    trainer = Trainer(config, seed=0, data_folder=folder, device=str(bench.device))
    trainer.epoch = config.epochs - 1  # with all thawed that is going to be
    with switches(config, trainer.device):
        for number, _ in enumerate(trainer.steps()):
            if number == STEPS:
                break
    bench.wait()
    return trainer.parts


def _size(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.0f} MB"
