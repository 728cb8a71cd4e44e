"""What is to be looked at of a search's trainer, and with how much of the machine."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

from hpo.audit import disk, surroundings
from hpo.cluster.placement import Placement
from hpo.errors import SpecError
from hpo.preflight import points
from hpo.preflight.battery import Task
from hpo.settings import cards_are_hidden
from hpo.space.middle import middle
from hpo.spec import SearchSpec
from trainers.checks import names
from trainers.checks.finding import Finding
from trainers.config import NEED_ROOT

__all__ = ["machine", "task_of"]

STATES = 64
"""Kinds of checkpoints whose size is worked out."""


def machine(space: SearchSpec) -> dict[str, float]:
    """What this machine has for trials of the space, as Ray would say it."""
    cards = [] if space.resources.gpu == 0 or cards_are_hidden() else surroundings.gpus()
    return {"CPU": float(os.cpu_count() or 1), "GPU": float(len(cards) if isinstance(cards, list) else 0)}


def task_of(
    space: SearchSpec, datasets: Path, placement: Placement, *, skip: frozenset[str], fetch: bool
) -> Task | Finding:
    """What is to be looked at of the trainer, or why nothing is."""
    if "import" in space.trainer:
        said = "a trainer of one's own tells of itself with its first epoch: no check of network and pictures is for it"
        return Finding(name="trainer", verdict="skip", said=said)
    if "trainer" in skip or skip >= {*names.NAMES, "forecast"}:
        return Finding(name="trainer", verdict="skip", said="left out: network, pictures and pace are not looked at")
    try:
        space.require_sources()
    except SpecError as error:
        if not _is_open(space):
            return Finding(
                name="trainer", verdict="fail", said=str(error), do="correct the path: every trial would end like this"
            )
        said = f"{error}; network, pictures and pace are looked at then"
        return Finding(name="trainer", verdict="skip", said=said)
    return Task(
        trainer=space.resolve(middle(space)),
        corners=points.corners(space),
        states=list(itertools.islice(disk.sections(space), STATES)),
        seed=space.sampler.seed,
        datasets=datasets,
        cpu=placement.cpu,
        gpu=placement.gpu,
        at_once=placement.per_card if placement.gpu else placement.slots,
        skip=skip,
        fetch=fetch,
    )


def _is_open(space: SearchSpec) -> bool:
    """Whether the file leaves to the command where its pictures are, and nobody has said it."""
    dataset = space.trainer.get("dataset") or {}
    return dataset.get("name") in NEED_ROOT and dataset.get("root") is None
