"""All checks of a trainer, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from trainers.checks import learning, network, pictures, signal
from trainers.checks.bench import Bench, untouched
from trainers.checks.evidence import Evidence
from trainers.checks.finding import Finding
from trainers.checks.memory import Largest, memory
from trainers.checks.names import NAMES
from trainers.train import Trainer

__all__ = ["Room", "examine"]

LEARNING = 12.0
"""Seconds that one batch may take to be learnt, and the network to show that labels mean something."""
SHORT = 3.0
"""Seconds that a linear model trains, and that the training as configured has to show that it learns something."""

Room = tuple[int, int, Path]
"""Bytes that are free, trainings that share them, and where pictures lie: as for `trainers.checks.memory.memory`."""


def examine(
    trainer: Trainer, *, skip: Collection[str] = (), most: Largest | None = None, room: Room | None = None
) -> Iterator[Finding]:
    """Yield a finding of each check in `NAMES` but those to `skip`; `memory` where `most` and `room` are given.

    The trainer, and the generators of Python, NumPy and torch, are left as they were after each. What a check raises is
    its finding.
    """
    bench = Bench(trainer)
    steps: list[tuple[tuple[str, ...], Callable[[], tuple[Finding, ...]]]] = [
        (("files",), lambda: (pictures.files(bench),)),
        (("classes",), lambda: (pictures.classes(bench),)),
        (("duplicates", "leaks"), lambda: pictures.copies(bench)),
        (("input",), lambda: (pictures.inputs(bench),)),
        (("output",), lambda: (network.output(bench),)),
        (("start",), lambda: (network.start(bench),)),
        (("samples",), lambda: (network.samples(bench),)),
        (("gradients",), lambda: (learning.gradients(bench),)),
        (("weights",), lambda: (learning.weights(bench),)),
        (("baseline", "labels"), lambda: _signal(bench, skip)),
        (("progress",), lambda: (signal.progress(bench, seconds=SHORT),)),
        (("overfit",), lambda: (learning.overfit(bench, seconds=LEARNING),)),
    ]
    if most is not None and room is not None:
        free, at_once, folder = room
        steps.append((("memory",), lambda: (memory(bench, most, room=free, at_once=at_once, folder=folder),)))
    for names, check in steps:
        wanted = [name for name in names if name not in skip]
        if wanted:
            yield from (each for each in _answer(wanted, check) if each.name in wanted)


def _signal(bench: Bench, skip: Collection[str]) -> tuple[Finding, ...]:
    plain, evidence = signal.baseline(bench, seconds=SHORT)
    return (plain,) if "labels" in skip else (plain, _labels(bench, evidence))


def _labels(bench: Bench, evidence: Evidence) -> Finding:
    return signal.labels(bench, evidence, seconds=LEARNING)


def _answer(names: list[str], check: Callable[[], tuple[Finding, ...]]) -> tuple[Finding, ...]:
    try:
        with untouched():
            return check()
    except Exception as error:  # noqa: BLE001 - whatever a network raises is what is to be known of it
        said = f"{type(error).__name__}: {error}".splitlines()[0]
        do = f"a trial would meet the same; `{names[0]}` looks at {NAMES[names[0]]}"
        return tuple(Finding(name=name, verdict="fail", said=said, do=do) for name in names)
