"""How numbers, parameters and states are written for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["assignments", "literal", "number", "words"]


def number(value: float | None) -> str:
    """A metric for people: four significant digits."""
    return "-" if value is None else f"{value:.4g}"


def assignments(params: dict[str, Any]) -> str:
    """Parameters on one line."""
    return " ".join(f"{name}={literal(value)}" for name, value in params.items())


def literal(value: Any) -> str:
    """A value as a space file would have it, numbers with four significant digits."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return number(value) if isinstance(value, float) else str(value)


def words(counts: Mapping[str, int]) -> str:
    """Trials by state, for people: "1 running, 6 complete"."""
    order = ("RUNNING", "COMPLETE", "PRUNED", "FAIL", "WAITING")
    named = {"FAIL": "failed"}
    said = [f"{counts[state]} {named.get(state, state.lower())}" for state in order if counts.get(state)]
    return ", ".join(said) or "no trials yet"
