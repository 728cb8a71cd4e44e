"""What differs between two searches, as lines for people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hpo.space.tree import leaves

__all__ = ["changes", "differing", "whole"]

_ABSENT = "(absent)"


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return a line such as "parameters.lr.max: 0.1 -> 0.5" for each difference between two canonical trees."""
    return [f"{path}: {before} -> {after}" for path, (before, after) in differing(old, new).items()]


def differing(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Return the dotted paths at which two canonical trees differ, with both values in words."""
    before, after = dict(leaves(old)), dict(leaves(new))
    paths = [*before, *(path for path in after if path not in before)]
    same = {path for path in paths if path in before and path in after and whole(before[path]) == whole(after[path])}
    return {path: (_word(before, path), _word(after, path)) for path in paths if path not in same}


def whole(value: Any) -> Any:
    """A plain value in which whole numbers are no floats, so that 1 and 1.0 are equal as text."""
    if isinstance(value, dict):
        return {key: whole(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [whole(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _word(tree: Mapping[str, Any], path: str) -> str:
    return json.dumps(tree[path]) if path in tree else _ABSENT
