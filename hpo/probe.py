"""Copies of a trial that train side by side on one card, to see what it yields; they leave nothing behind."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import psutil
import ray
from ray.exceptions import RayError
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from hpo.packing import LEVELS, Measured, fitting, gains
from hpo.trial import Assignment, build

__all__ = ["ProbeError", "measure"]

SECONDS = 2.0  # of measuring at each level
PATIENCE = 300.0  # seconds for copies to build and warm up
POLL = 0.2  # seconds between two ticks

Get = Callable[[list[Any]], list[Any]]


class ProbeError(Exception):
    """Nothing could be measured; the message says why."""


class Copy:
    """One of the copies, in a process of its own."""

    def __init__(self, assignment: Assignment) -> None:
        from trainers.pace import Pace

        self._room = _room_mb()
        self._pace = Pace(build(assignment))

    def room_mb(self) -> float:
        """What was free before this copy was built."""
        return self._room

    def measure(self, seconds: float) -> tuple[float, float]:
        """Return pictures a second and the memory taken."""
        return self._pace.pictures_per_second(seconds), self._pace.memory_mb()


def measure(
    assignment: Assignment, *, most: int, growth: float, on_tick: Callable[[], None]
) -> tuple[list[Measured], float]:
    """Train 1, 2, 4... and at most `most` copies on one card, as long as more bring more and fit.

    Returns what each level did, and the memory in MiB that was free before. `growth` is as for `packing.choose`.
    `on_tick` is called several times a second; what it raises ends the measuring.

    Raises:
        ProbeError: not even one copy runs.
    """
    deadline = time.monotonic() + PATIENCE

    def get(references: list[Any]) -> list[Any]:
        return _get(references, on_tick, deadline)

    group = placement_group([{"GPU": 1.0, "CPU": most * assignment.cpu}], strategy="STRICT_PACK")
    try:
        get([group.ready()])
        share = replace(assignment, gpu=1.0 / most)
        copies = _start(share, 1, group)
        (room,) = get([copies[0].room_mb.remote()])
        found = [_level(copies, get)]
        copies += _start(share, min(most, fitting(found[0].memory_mb * growth, room)) - 1, group)
        return _climb(copies, found, get), room
    finally:
        remove_placement_group(group)  # and with it its processes


def _start(assignment: Assignment, count: int, group: Any) -> list[Any]:
    here = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=0)
    kind = ray.remote(Copy).options(num_cpus=assignment.cpu, num_gpus=assignment.gpu, scheduling_strategy=here)
    return [kind.remote(assignment) for _ in range(count)]


def _climb(copies: Sequence[Any], found: list[Measured], get: Get) -> list[Measured]:
    """Add the levels above the first."""
    for count in [level for level in LEVELS if 1 < level <= len(copies)]:
        try:
            get([copy.room_mb.remote() for copy in copies])  # none is still being built
            found = [*found, _level(copies[:count], get)]
        except ProbeError:  # so many do not run beside each other
            break
        if not gains(found):
            break
    return found


def _level(copies: Sequence[Any], get: Get) -> Measured:
    results = get([copy.measure.remote(SECONDS) for copy in copies])
    rate, memory = sum(each[0] for each in results), max(each[1] for each in results)
    return Measured(copies=len(copies), pictures_per_second=rate, memory_mb=memory)


def _get(references: list[Any], on_tick: Callable[[], None], deadline: float) -> list[Any]:
    waiting = references
    while waiting:
        _, waiting = ray.wait(waiting, num_returns=len(waiting), timeout=POLL)
        on_tick()
        if time.monotonic() > deadline:
            raise ProbeError(f"it took longer than {PATIENCE:.0f} s")
    try:
        return list(ray.get(references))
    except RayError as error:
        cause = getattr(error, "cause", None) or error
        raise ProbeError(f"{type(cause).__name__}: {str(cause).strip().splitlines()[0]}") from error


def _room_mb() -> float:
    import torch

    if torch.cuda.is_available():
        return float(torch.cuda.mem_get_info()[0]) / 2**20
    return float(psutil.virtual_memory().available) / 2**20
