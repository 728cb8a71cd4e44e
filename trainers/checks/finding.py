"""What a check found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["Finding", "Verdict"]

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
