"""How numbers, parameters and states are written for people."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from hpo.space.document import printable

__all__ = [
    "assignments",
    "counted",
    "csv_cell",
    "duration",
    "literal",
    "number",
    "plain",
    "size",
    "without_nan",
    "words",
]


def number(value: float | None) -> str:
    """A metric for people: four significant digits."""
    return "-" if value is None else f"{value + 0.0:.4g}"  # no -0


def size(count: int) -> str:
    """Bytes for people, in powers of ten as budgets are."""
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"


def duration(seconds: float) -> str:
    """Seconds for people: 0.4 s, 45 s, 12 min, 3.5 h, 4.2 days."""
    for least, unit, word in ((36 * 3600, 86400, "days"), (90 * 60, 3600, "h"), (90, 60, "min")):
        if seconds >= least:
            return f"{seconds / unit:.2g} {word}" if seconds / unit < 10 else f"{seconds / unit:,.0f} {word}"
    return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"


def assignments(params: Mapping[str, Any]) -> str:
    """Parameters on one line."""
    return " ".join(f"{name}={literal(value)}" for name, value in params.items())


def literal(value: Any) -> str:
    """A value as a space file would have it, numbers with four significant digits."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return number(value) if isinstance(value, float) else str(value)


def plain(text: str) -> str:
    """Text for a terminal: what would steer it is written out, such as \\x1b; only line breaks and tabs stay."""
    return "\n".join("\t".join(map(printable, line.split("\t"))) for line in text.split("\n"))


def counted(count: int, noun: str) -> str:
    """So many of a noun: "1 epoch", "2 epochs"."""
    return f"{count} {noun}{'s' * (count != 1)}"


def csv_cell(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula: text that begins like one gets an apostrophe before it."""
    if not isinstance(value, str) or not value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


def words(counts: Mapping[str, int]) -> str:
    """Trials by state, for people: "1 running, 6 complete"."""
    order = ("RUNNING", "COMPLETE", "PRUNED", "FAIL", "PAUSED", "WAITING")
    named = {"FAIL": "failed"}
    said = [f"{counts[state]} {named.get(state, state.lower())}" for state in order if counts.get(state)]
    return ", ".join(said) or "no trials yet"


def without_nan(value: Any) -> Any:
    """Plain values for JSON, which has no word for a number that is not finite: None, within lists and mappings too."""
    if isinstance(value, Mapping):
        return {key: without_nan(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
