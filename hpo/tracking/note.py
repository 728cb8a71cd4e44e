"""The note on a study's run in MLflow, in Markdown: how it stands, its best trials, how to go on, its space file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpo.wording import number

__all__ = ["fenced", "note"]


def note(table: Mapping[str, Any], experiment: str) -> str:
    """The note for a "table" record, whose best trials know the id of their `run`, None where MLflow has none."""
    lines = []
    if table["best"]:
        first = table["best"][0]
        best = f"**{_code(table['objective'])} {number(first['value'])}** by {_link(first, experiment)} is the best"
        lines.append(f"**{_cell(table['front'])}**" if "front" in table else best)
        lines[-1] += f" so far: {table['counts']}." if "counts" in table else " so far."
        lines += ["", f"| trial | {_cell(table['objective'])} | parameters |", "|---|---|---|"]
        for trial in table["best"]:
            value = _cell(trial["reached"]) if "reached" in trial else number(trial["value"])
            lines.append(f"| {_link(trial, experiment)} | {value} | {_cell(trial['params'])} |")
    else:
        none = "No trial is complete and keeps the constraints" if table.get("limited") else "No trial is complete"
        lines.append(f"{none}: {table.get('counts', 'none')}.")
    if "next" in table:
        lines += ["", "To look closer, and to go on:", "", fenced("\n".join(table["next"]), "sh")]
    return "\n".join([*lines, "", fenced(table["text"])])


def fenced(text: str, language: str = "yaml") -> str:
    """Text as a block of code that none of its lines can end."""
    longest = max((len(line) - len(line.lstrip("`")) for line in map(str.strip, text.splitlines())), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def _link(trial: Mapping[str, Any], experiment: str) -> str:
    name = f"trial {trial['number']:04d}"
    return f"[{name}](#/experiments/{experiment}/runs/{trial['run']})" if trial["run"] else name


def _cell(text: str) -> str:
    return _code(text).replace("|", "\\|")


def _code(text: str) -> str:
    """Words that are not to be taken for Markdown."""
    return f"`{text.replace('`', ' ')}`"
