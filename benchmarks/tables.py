"""Medians, and tables in Markdown for the README."""

from __future__ import annotations

import math
import os
import platform
import statistics
from collections.abc import Sequence
from datetime import date
from importlib.metadata import version

__all__ = ["conditions", "percentile", "spread", "table"]


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first column is text, the others are flush right."""
    lines = [columns, [":--", *["--:"] * (len(columns) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def spread(values: Sequence[float], digits: int = 1) -> str:
    """Median with minimum and maximum, as "3.1 (2.9-4.0)"."""
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of the values does not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def conditions(*packages: str) -> str:
    """Where and with what the figures were taken, in one line."""
    import psutil

    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    machine = f"{psutil.cpu_count()} CPU cores, load {os.getloadavg()[2]:.1f} over the last 15 minutes"
    return f"{date.today()}, {machine}, Python {platform.python_version()}, {versions}"
