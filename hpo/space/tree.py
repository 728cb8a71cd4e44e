"""Dotted paths in the plain tree of a trainer section."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["SCALAR_IS", "leaves", "place", "without"]

SCALAR_IS = {"augment": "level", "early_stopping": "patience"}
"""Section of the trainer -> the key that a scalar in its place stands for; `name` in all others."""


def place(tree: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy with each parameter at its dotted path; a scalar on the way is shorthand such as {name: scalar}."""
    full: dict[str, Any] = copy.deepcopy(dict(tree))
    for path, value in params.items():
        section = full
        *way, last = path.split(".")
        for step in way:
            inner = section.get(step)
            if not isinstance(inner, dict):
                section[step] = {} if inner is None else {SCALAR_IS.get(step, "name"): inner}
            section = section[step]
        section[last] = copy.deepcopy(value)
    return full


def without(tree: Mapping[str, Any], paths: set[str], prefix: str = "") -> dict[str, Any]:
    """Return a copy that lacks the dotted paths; the sections they stood in stay."""
    return {
        key: without(value, paths, f"{prefix}{key}.") if isinstance(value, Mapping) else copy.deepcopy(value)
        for key, value in tree.items()
        if f"{prefix}{key}" not in paths
    }


def leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted path and value of everything that is no section; lists count as values."""
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
