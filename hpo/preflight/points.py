"""The corners of a space whose steps may take most memory."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from hpo.space.middle import middle_of
from hpo.space.parameters import Choice, Parameter
from hpo.spec import SearchSpec

__all__ = ["corners"]

SIZED = frozenset({"model", "depth", "growth", "width", "optimizer", "ema", "accumulate", "precision", "momentum"})
"""Paths beside the batch size that the memory of a step depends on."""
MOST = 256
"""Corners that are looked at."""


def corners(space: SearchSpec) -> list[dict[str, Any]]:
    """Trainer sections with every network and batch size of the space, all else in the middle."""
    return [space.resolve(point) for point in itertools.islice(_corners(space), MOST)]


def _corners(space: SearchSpec) -> Iterator[dict[str, Any]]:
    values = [_telling(name, parameter) for name, parameter in space.parameters.items()]
    for combination in itertools.product(*values):
        point: dict[str, Any] = {}
        for (name, parameter), value in zip(space.parameters.items(), combination, strict=True):
            if parameter.active({**space.trainer, **point}):
                point[name] = value
        yield point


def _telling(name: str, parameter: Parameter) -> list[Any]:
    if name != "batch_size" and name not in SIZED:
        return [middle_of(parameter)]
    if isinstance(parameter, Choice):
        return parameter.values()
    return [parameter.max, middle_of(parameter), parameter.min]
