"""Drawings by matplotlib that take the colour of the page that they stand on."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure

__all__ = ["drawn", "label", "svg"]

_INK = "#010203"
"""Stands for the colour of the page's text until the drawing is part of the page."""
_STYLE: Any = {
    "svg.fonttype": "none",  # text stays text, in the page's font
    "svg.hashsalt": "hpo",  # the same numbers give the same file
    "font.size": 10,
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.constrained_layout.use": True,
    "savefig.transparent": True,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), _INK),
}


@contextmanager
def drawn(width: float = 7.0, height: float = 3.0) -> Iterator[Figure]:
    """A figure of so many inches to draw on in our style; no window system is asked for."""
    with rc_context(_STYLE):
        yield Figure(figsize=(width, height))


def svg(figure: Figure, says: str) -> Markup:
    """The figure for an HTML page; `says` is read to those who cannot see it."""
    text = io.StringIO()
    with rc_context(_STYLE):
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    drawing = text.getvalue()
    drawing = drawing[drawing.index("<svg") :].replace(_INK, "currentColor")
    opening = Markup('<svg role="img" aria-label="{}"').format(says)
    return Markup(drawing.replace("<svg", opening, 1))


def label(text: str) -> str:
    """A name that others chose for matplotlib, which takes what stands between dollars for a formula."""
    return text.replace("$", r"\$")
