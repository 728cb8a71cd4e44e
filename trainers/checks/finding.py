"""What a check found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["Finding", "Verdict", "few"]

Verdict = Literal["pass", "warn", "fail", "skip"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The answer of one check."""

    name: str
    verdict: Verdict
    """skip: it was not run, and `said` tells why"""
    said: str
    """one sentence with the numbers"""
    do: str | None = None
    """what to do about it"""
    details: Mapping[str, Any] = field(default_factory=dict)
    """the numbers, JSON-able"""


def few(names: Sequence[str]) -> str:
    """The first three names, and how many more there are."""
    shown = ", ".join(names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown
