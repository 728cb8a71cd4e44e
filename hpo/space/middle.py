"""The middle of a space: the training that stands for all where one is looked at."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from hpo.space.parameters import Choice, Parameter

if TYPE_CHECKING:
    from hpo.spec import SearchSpec

__all__ = ["middle", "middle_of"]


def middle(space: SearchSpec) -> dict[str, Any]:
    """A point in the middle of every range and list."""
    point: dict[str, Any] = {}
    for name, parameter in space.parameters.items():
        if parameter.active({**space.trainer, **point}):
            point[name] = middle_of(parameter)
    return point


def middle_of(parameter: Parameter) -> Any:
    """The value in the middle: of a logarithmic range the geometric one, of a list the middle entry."""
    if isinstance(parameter, Choice):
        return parameter.options[(len(parameter.options) - 1) // 2]
    if parameter.enumerable and not parameter.log:
        values = parameter.values()
        return values[(len(values) - 1) // 2]
    low, high = parameter.min, parameter.max
    found = math.sqrt(low * high) if parameter.log else (low + high) / 2
    return round(found) if isinstance(parameter.min, int) and isinstance(parameter.max, int) else found
