"""The checks of a search with the built-in trainer, as they run where trials run; needs neither Ray nor a database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from hpo.workers.imports import uncollected
from trainers.checks.finding import Finding

if TYPE_CHECKING:
    from trainers import TrainConfig
    from trainers.checks.memory import Largest
    from trainers.checks.shown import Shown
    from trainers.train import Trainer

__all__ = ["Measured", "Task", "carry_out"]

PACE_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is to be looked at."""

    trainer: dict[str, Any]  # the section in the middle of the space
    corners: Sequence[dict[str, Any]]  # sections whose steps may take most memory
    states: Sequence[dict[str, Any]]  # sections whose checkpoints may be largest
    seed: int
    datasets: Path
    cpu: float
    gpu: float
    at_once: int  # trials that share this machine, or this card
    skip: frozenset[str]
    fetch: bool  # whether pictures that are not here may be downloaded


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What was found beside the findings."""

    epoch_seconds: float
    measured: bool  # False: by fewer pictures than a batch has
    epochs: int  # of a trial
    device: str
    checkpoint_bytes: int
    pictures: tuple[Shown, ...]
    counts: dict[str, int]  # training pictures by class


def carry_out(task: Task) -> Iterator[Finding | Measured]:
    """Yield findings as they are made, then what was measured; a trainer that cannot be made ends it."""
    with uncollected():
        import torch

        from trainers import Trainer
        from trainers.checks.examine import examine
    torch.set_num_threads(max(1, int(task.cpu)))
    try:
        config = _config(task.trainer, task)
        device = None if task.gpu else "cpu"  # as of the trials, though no card is hidden from this process
        trainer = Trainer(config, seed=task.seed, data_folder=task.datasets, device=device)
    except Exception as error:  # noqa: BLE001 - whatever it is, every trial would meet it
        yield _not_made(error, task)
        return
    split = trainer.split
    said = f"{config.model} on {len(split.train_labels)} + {len(split.val_labels)} pictures, on {trainer.device}"
    yield Finding(name="trainer", verdict="pass", said=said)
    room, most = _room(trainer), None
    try:
        if "memory" not in task.skip:
            most = _largest([_config(each, task) for each in task.corners], room, len(split.train_labels))
        yield from examine(trainer, skip=task.skip, most=most, room=(room, task.at_once, task.datasets))
        yield _measured(trainer, task)
    except Exception as error:  # noqa: BLE001 - likewise
        yield _not_made(error, task)


def _config(section: dict[str, Any], task: Task) -> TrainConfig:
    from trainers import TrainConfig

    config = TrainConfig.model_validate({**section, "compile": "never"})  # which takes longer than all of this
    if task.fetch:
        return config
    return config.model_copy(update={"dataset": config.dataset.model_copy(update={"download": False})})


def _not_made(error: Exception, task: Task) -> Finding:
    from trainers.config.dataset import DOWNLOADED

    name = (task.trainer.get("dataset") or {}).get("name")
    said = f"{type(error).__name__}: {error}".splitlines()[0]
    if isinstance(error, FileNotFoundError) and not task.fetch and name in DOWNLOADED:
        said = f"the pictures of {name} are not here yet: `hpo run` fetches them, then looks at them and at the network"
        return Finding(name="trainer", verdict="skip", said=said)
    return Finding(name="trainer", verdict="fail", said=said, do="every trial would end like this")


def _room(trainer: Trainer) -> int:
    """Bytes that are free: of the card, or of the machine."""
    import torch

    if trainer.device.type == "cuda":
        return int(torch.cuda.mem_get_info(trainer.device)[1])
    return int(psutil.virtual_memory().available)


def _largest(configs: list[TrainConfig], room: int, pictures: int) -> Largest:
    from trainers.checks.memory import largest

    return largest(configs, room, pictures)


def _measured(trainer: Trainer, task: Task) -> Measured:
    from trainers.checks.bench import Bench
    from trainers.checks.grid import grid
    from trainers.checks.speed import speed
    from trainers.size import state_bytes

    bench = Bench(trainer)
    pace = speed(bench, seconds=PACE_SECONDS)
    return Measured(
        epoch_seconds=pace.epoch_seconds,
        measured=pace.measured,
        epochs=trainer.config.epochs,
        device=str(trainer.facts()["device"]),
        checkpoint_bytes=max(state_bytes(_config(each, task)) for each in task.states),
        pictures=grid(bench),
        counts=dict(zip(trainer.split.classes, trainer.split.class_counts, strict=True)),
    )
