"""Tables on standard output: folded to a terminal's width, whole lines in a file or a pipe."""

from __future__ import annotations

import sys

from rich.console import Console, RenderableType

__all__ = ["printed"]

WHOLE = 10_000
"""Letters of a line where there is no margin."""


def printed(*parts: RenderableType) -> None:
    """Print tables and lines of text; a file or a pipe gets no blanks at the end of a line."""
    if sys.stdout.isatty():
        console = Console(highlight=False)
        for part in parts:
            console.print(part)
        return
    console = Console(highlight=False, width=WHOLE)
    with console.capture() as captured:
        for part in parts:
            console.print(part)
    for line in captured.get().splitlines():
        print(line.rstrip())
