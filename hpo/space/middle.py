"""The middle of a space: the training that stands for all where one is looked at."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from hpo.space.parameters import Choice, FloatRange, IntRange, Parameter

if TYPE_CHECKING:
    from hpo.spec import SearchSpec

__all__ = ["between", "middle", "middle_of", "nearest"]


def middle(space: SearchSpec) -> dict[str, Any]:
    """A point in the middle of every range and list."""
    point: dict[str, Any] = {}
    for name, parameter in space.parameters.items():
        if parameter.active({**space.trainer, **point}):
            point[name] = middle_of(parameter)
    return point


def middle_of(parameter: Parameter) -> Any:
    """The value in the middle: of the list, the earlier of two, or of the range as it is searched."""
    if isinstance(parameter, Choice):
        return parameter.options[(len(parameter.options) - 1) // 2]
    half = between(parameter, 0.5)
    return nearest(parameter, half) if parameter.enumerable else half


def between(parameter: FloatRange | IntRange, share: float) -> float:
    """The value at this share of the way from min to max, as it is searched, in four significant digits."""
    low, high = float(parameter.min), float(parameter.max)
    if parameter.log:
        value = math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
    else:
        value = low + share * (high - low)
    return min(max(float(f"{value:.4g}"), low), high)


def nearest(parameter: FloatRange | IntRange, value: float) -> float | int:
    """The value nearest to this one that a range of whole numbers or steps has."""
    step = parameter.step or 1
    if isinstance(parameter, IntRange):
        return parameter.min + round((value - parameter.min) / step) * int(step)
    return parameter.values()[round((value - parameter.min) / step)]
