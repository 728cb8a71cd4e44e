"""Which trainings of a space are looked at before it is searched."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

from hpo.space.parameters import Choice, Parameter
from hpo.spec import SearchSpec

__all__ = ["corners", "middle"]

SIZED = frozenset({"model", "depth", "growth", "width", "optimizer", "ema", "accumulate", "precision", "momentum"})
"""Paths beside the batch size that the memory of a step depends on."""
MOST = 256
"""Corners that are looked at."""


def middle(space: SearchSpec) -> dict[str, Any]:
    """A point in the middle of every range and list."""
    point: dict[str, Any] = {}
    for name, parameter in space.parameters.items():
        if parameter.active({**space.trainer, **point}):
            point[name] = _middle(parameter)
    return point


def _middle(parameter: Parameter) -> Any:
    if isinstance(parameter, Choice):
        return parameter.options[(len(parameter.options) - 1) // 2]
    if parameter.enumerable and not parameter.log:
        values = parameter.values()
        return values[(len(values) - 1) // 2]
    low, high = parameter.min, parameter.max
    found = math.sqrt(low * high) if parameter.log else (low + high) / 2
    return round(found) if isinstance(parameter.min, int) and isinstance(parameter.max, int) else found


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
        return [_middle(parameter)]
    if isinstance(parameter, Choice):
        return parameter.values()
    return [parameter.max, _middle(parameter), parameter.min]
