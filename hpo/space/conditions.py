"""The `when` of parameters: checked against what they name, and put in an order in which parents come first."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from hpo.space.document import Document, near, shown
from hpo.space.parameters import Choice, Parameter, same

__all__ = ["settle"]


def settle(
    document: Document,
    parameters: Mapping[str, Parameter],
    fixed: Callable[[str], Any],
    known: Collection[str],
) -> dict[str, Parameter]:
    """Return the parameters in file order but parents first, with only conditions on other parameters left in `when`.

    A condition on the trainer section holds in every trial or in none; the second is an error. A parameter with an
    error in its conditions is left out.

    Args:
        document: takes the errors.
        parameters: the ones that could be read.
        fixed: value of a path of the trainer section, defaults included; raises KeyError for others.
        known: what else a condition may name, for the "did you mean".
    """
    settled: dict[str, Parameter] = {}
    for name, parameter in parameters.items():
        before = len(document.problems)
        left = {
            key: allowed
            for key, allowed in (parameter.when or {}).items()
            if _depends(document, name, key, allowed, parameters, fixed, known)
        }
        if len(document.problems) == before:
            settled[name] = parameter.model_copy(update={"when": left or None})
    return _parents_first(document, settled)


def _depends(
    document: Document,
    name: str,
    key: str,
    allowed: list[Any],
    parameters: Mapping[str, Parameter],
    fixed: Callable[[str], Any],
    known: Collection[str],
) -> bool:
    trail = ("parameters", name, "when", key)
    if key in document.tree["parameters"]:
        parent = parameters.get(key)
        for value in allowed if parent is not None else []:
            if parent is not None and not _takes(parent, value):
                document.refuse(trail, f"`{key}` is never {shown(value)}; it is {_domain(parent)}")
        return parent is not None
    try:
        value = fixed(key)
    except KeyError:
        names = [*document.tree["parameters"], *known]
        document.refuse(trail, f"unknown parameter `{key}` in `when`{near(key, names)}", key=True)
        return False
    if not any(same(value, each) for each in allowed):
        wanted = " or ".join(shown(each) for each in allowed)
        document.refuse(trail, f"`{name}` is never searched: `{key}` is {shown(value)}, not {wanted}; remove `{name}`")
    return False


def _takes(parameter: Parameter, value: Any) -> bool:
    if parameter.enumerable:
        return any(same(each, value) for each in parameter.values())
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and not isinstance(parameter, Choice) and parameter.min <= value <= parameter.max


def _domain(parameter: Parameter) -> str:
    if isinstance(parameter, Choice):
        return f"one of {', '.join(str(option) for option in parameter.options)}"
    return f"from {parameter.min} to {parameter.max}"


def _parents_first(document: Document, parameters: dict[str, Parameter]) -> dict[str, Parameter]:
    ordered: dict[str, Parameter] = {}
    waiting = dict(parameters)
    while waiting:
        ready = [name for name, each in waiting.items() if not any(key in waiting for key in each.when or {})]
        if not ready:
            for name in waiting:
                circle = ", ".join(waiting)
                document.refuse(("parameters", name, "when"), f"these conditions wait for each other: {circle}")
            return ordered
        ordered[ready[0]] = waiting.pop(ready[0])
    return ordered
