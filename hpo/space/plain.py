"""Brings a mapping from Python code into the form that a file would have had."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Integral, Real
from pathlib import PurePath
from typing import Any

from hpo.space.document import Document, Trail, shown
from hpo.space.reader import MAX_DEPTH

__all__ = ["plain"]


def plain(document: Document, value: Any, trail: Trail) -> Any:
    """Return dicts, lists, text, numbers, booleans and null; record as an error whatever has no such form."""
    if len(trail) > MAX_DEPTH:
        document.refuse(trail, f"nested more than {MAX_DEPTH} levels deep")
    elif value is None or isinstance(value, bool | str):
        return value
    elif isinstance(value, PurePath):
        return str(value)
    elif isinstance(value, Integral):
        return int(value)
    elif isinstance(value, Real) and math.isfinite(value):
        return float(value)
    elif isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                document.refuse(trail, f"a key is text, not {shown(key)}")
        return {str(key): plain(document, inner, (*trail, str(key))) for key, inner in value.items()}
    elif isinstance(value, list | tuple):
        return [plain(document, inner, (*trail, index)) for index, inner in enumerate(value)]
    else:
        document.refuse(trail, f"{shown(value)} is no value for a space; use text, finite numbers, lists and mappings")
    return None
