"""Tuning one by one: which parameter is varied when, at which values, with what the others are meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hpo.space.document import Document, near, shown
from hpo.space.middle import between, middle_of, nearest
from hpo.space.parameters import Choice, IntRange, Parameter

__all__ = ["base", "check_order", "in_order", "point", "spread"]


def check_order(document: Document) -> None:
    """Record what is wrong with `sampler.order`: a name that is not searched, or one that stands twice."""
    sampler = document.tree.get("sampler")
    order = sampler.get("order") if isinstance(sampler, dict) else None
    if not isinstance(order, list):
        return
    searched = document.tree["parameters"]  # one that cannot be read is no reason to refuse its name
    for index, name in enumerate(order):
        trail = ("sampler", "order", index)
        if not isinstance(name, str):
            continue
        if name not in searched:
            valid = f"; valid: {', '.join(searched)}"
            document.refuse(trail, f"{shown(name)} is not searched{near(name, searched)}{valid}")
        elif name in order[:index]:
            document.refuse(trail, f"`{name}` stands twice in `order`; each parameter has one stage")


def in_order(parameters: Mapping[str, Parameter], order: list[str] | None) -> list[str]:
    """All parameters, those of `order` first."""
    first = order or []
    return [*first, *(name for name in parameters if name not in first)]


def spread(parameter: Parameter, points: int) -> list[Any]:
    """The values that a stage tries: all of a choice, of a range so many, both ends among them, even as it is searched.

    A range of whole numbers or steps that has no more values than that is tried at all of them.
    """
    if isinstance(parameter, Choice):
        return parameter.values()
    if parameter.enumerable and parameter.size <= points:
        return list(parameter.values())
    even = [between(parameter, index / (points - 1)) for index in range(points)]
    if not parameter.enumerable:
        return [parameter.min, *even[1:-1], parameter.max]
    return list(dict.fromkeys(nearest(parameter, value) for value in even))


def base(
    parameters: Mapping[str, Parameter], trainer: Mapping[str, Any], default: Callable[[str, Mapping[str, Any]], Any]
) -> dict[str, Any]:
    """What parameters are before their stage: the trainer's default where they may have it, else their middle.

    `default` gives that of a path, beside the values so far; where there is none, what no parameter may have. One whose
    condition does not hold is left out.
    """
    found: dict[str, Any] = {}
    for name, parameter in parameters.items():
        if parameter.active({**trainer, **found}):
            value = default(name, found)
            found[name] = _own(parameter, value) if parameter.contains(value) else middle_of(parameter)
    return found


def point(
    parameters: Mapping[str, Parameter],
    trainer: Mapping[str, Any],
    frozen: Mapping[str, Any],
    start: Mapping[str, Any],
    varied: Mapping[str, Any],
) -> dict[str, Any]:
    """A whole point: `varied` as given, the others as in `frozen`, those that were not active there as in `start`.

    Parents stand before what depends on them, so that a condition sees the values that this point has.
    """
    found: dict[str, Any] = {}
    for name, parameter in parameters.items():
        if not parameter.active({**trainer, **found}):
            continue
        given = [source[name] for source in (varied, frozen, start) if name in source]
        found[name] = given[0] if given else middle_of(parameter)
    return found


def _own(parameter: Parameter, value: Any) -> Any:
    """A value as the space has it: 64 may be 64.0 in the trainer."""
    if isinstance(parameter, Choice):
        return next(each for each in parameter.options if parameter.contains(value) and each == value)
    return int(value) if isinstance(parameter, IntRange) else float(value)
