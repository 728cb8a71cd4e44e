"""Reads the `parameters` section of a document, one entry at a time."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from hpo.space.document import Document, shown
from hpo.space.explain import refuse_all
from hpo.space.hints import meant
from hpo.space.parameters import Choice, Parameter, grid, kind_of

__all__ = ["MAX_POINTS", "check_grid", "read_parameters"]

MAX_POINTS = 100_000
"""A larger grid is a mistake: at a minute a trial it takes more than two months."""

_KEYS = {"min", "max", "log", "step", "values", "when"}


def read_parameters(document: Document) -> dict[str, Parameter]:
    """Return the entries that can be read, and record what is wrong with the others."""
    section = document.tree.get("parameters")
    if not isinstance(section, dict) or not section:
        if "parameters" in document.tree:
            document.refuse(("parameters",), "`parameters` names what to search: lr: {min: 1e-3, max: 1.0, log: true}")
        document.tree["parameters"] = {}
        return {}
    found = {}
    for name, entry in section.items():
        parameter = _read_entry(document, name, entry)
        if parameter is not None:
            found[name] = parameter
    return found


def _read_entry(document: Document, name: str, entry: Any) -> Parameter | None:
    trail = ("parameters", name)
    if isinstance(entry, list):
        for index in range(len(entry)):
            place = document.values.get((*trail, index))
            if place is not None:
                document.values[*trail, "values", index] = place
        entry = {"values": entry}
    if not isinstance(entry, dict):
        fix = f"put it in `trainer`, or search it: {name}: {{values: [...]}}"
        document.refuse(trail, f"{shown(entry)} is one fixed value; {fix}")
        return None
    called = {meant("parameters", key) or key for key in entry}
    nested = [key for key, value in entry.items() if isinstance(value, dict | list)]
    if nested and not called & _KEYS:
        document.refuse(trail, f"write a path in one piece: `{name}.{nested[0]}`", key=True)
        document.unreadable.add(trail)
        return None
    kind = Choice if "values" in called else kind_of(entry)
    try:
        return kind.model_validate(entry)
    except ValidationError as error:
        refuse_all(document, trail, error, kind)
        return None


def check_grid(document: Document, parameters: Mapping[str, Parameter]) -> None:
    """Record what keeps a grid from being written out: a range without steps, or too many points."""
    endless = [name for name, parameter in parameters.items() if not parameter.enumerable]
    for name in endless:
        document.refuse(("parameters", name), "a grid needs `values`, or a `step` in a range of floats")
    if endless or not parameters:
        return
    most = math.prod(parameter.size for parameter in parameters.values())
    if most <= MAX_POINTS:
        return
    # Conditions can make a grid smaller than its product; counting ends one beyond the limit.
    countable = all(parameter.size <= MAX_POINTS for parameter in parameters.values())
    if not countable or sum(1 for _ in itertools.islice(grid(parameters), MAX_POINTS + 1)) > MAX_POINTS:
        fix = "use fewer values, or sampler gp, tpe or random with a budget"
        document.refuse(
            ("parameters",), f"this grid has up to {most:,} points, the limit is {MAX_POINTS:,}; {fix}", key=True
        )
