"""Copies of a trial that train side by side on one card, to see what it yields; they leave nothing behind."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import psutil
import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from hpo.cluster.packing import LEVELS, Measured, fitting, gains
from hpo.settings import drop_secrets
from hpo.workers.trial import Assignment, build

__all__ = ["ProbeError", "Probed", "probe"]

SECONDS = 2.0  # of measuring at each level
FREE_WITHIN = 30.0  # seconds in which the trials that ran must have left the card
PATIENCE = 120.0  # seconds for copies to build, warm up and be measured
POLL = 0.2  # seconds between two ticks

Get = Callable[[list[Any]], list[Any]]


class ProbeError(Exception):
    """Nothing could be measured; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Probed:
    """What copies did on a card."""

    measured: list[Measured]
    room_mb: float  # free before
    problem: str | None  # why no more copies were tried, where an error was the reason


class Copy:
    """One of the copies, in a process of its own."""

    def prepare(self, assignment: Assignment) -> float:
        """Build and warm up; returns what was free before."""
        from trainers.pace import Pace

        drop_secrets()
        room = _room_mb()
        self._pace = Pace(build(assignment))
        return room

    def measure(self, seconds: float) -> tuple[float, float]:
        """Return pictures a second and the memory taken."""
        return self._pace.pictures_per_second(seconds), self._pace.memory_mb()


def probe(assignment: Assignment, *, most: int, growth: float, on_tick: Callable[[], None]) -> Probed:
    """Train 1, 2, 4... and at most `most` copies on one card, as long as more bring more and fit.

    `growth` is as for `packing.choose`. `on_tick` is called several times a second; what it raises ends the measuring.

    Raises:
        ProbeError: not even one copy runs.
    """
    deadline = time.monotonic() + PATIENCE

    def get(references: list[Any]) -> list[Any]:
        return _get(references, on_tick, deadline)

    group = placement_group([{"GPU": 1.0, "CPU": most * assignment.cpu}], strategy="STRICT_PACK")
    try:
        _get([group.ready()], on_tick, time.monotonic() + FREE_WITHIN)
        share = replace(assignment, gpu=1.0 / most)
        first = _start(share, 1, group)
        (room,) = get([first[0].prepare.remote(share)])
        found = [_level(first, get)]
        top = min(most, fitting(found[0].memory_mb * growth, room))
        more = _start(share, max(level for level in LEVELS if level <= top) - 1, group)
        copies, problem = _prepared(more, share, get)
        return _climb([*first, *copies], Probed(measured=found, room_mb=room, problem=problem), get)
    finally:
        remove_placement_group(group)  # and with it its processes


def _prepared(copies: Sequence[Any], assignment: Assignment, get: Get) -> tuple[list[Any], str | None]:
    """The copies that could be built, all at the same time, and why others could not."""
    building = [(copy, copy.prepare.remote(assignment)) for copy in copies]
    there, problem = [], None
    for copy, reference in building:
        try:
            get([reference])
            there.append(copy)
        except ProbeError as error:  # for want of memory, say
            problem = str(error)
    return there, problem


def _climb(copies: Sequence[Any], probed: Probed, get: Get) -> Probed:
    """Add the levels above the first."""
    found = list(probed.measured)
    for count in [level for level in LEVELS if 1 < level <= len(copies)]:
        try:
            found.append(_level(copies[:count], get))
        except ProbeError as error:
            return replace(probed, measured=found, problem=f"{count} did not run: {error}")
        if not gains(found):
            break
    return replace(probed, measured=found)


def _start(assignment: Assignment, count: int, group: Any) -> list[Any]:
    here = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=0)
    kind = ray.remote(Copy).options(num_cpus=assignment.cpu, num_gpus=assignment.gpu, scheduling_strategy=here)
    return [kind.remote() for _ in range(count)]


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
            raise ProbeError("it took too long")
    try:
        return list(ray.get(references))
    except RayTaskError as error:
        cause = error.cause
        raise ProbeError(f"{type(cause).__name__}: {cause}".splitlines()[0]) from error
    except RayError as error:  # its text is Ray's report of a process
        raise ProbeError(f"a copy's process ended ({type(error).__name__})") from error


def _room_mb() -> float:
    import torch

    if torch.cuda.is_available():
        return float(torch.cuda.mem_get_info()[0]) / 2**20
    return float(psutil.virtual_memory().available) / 2**20
