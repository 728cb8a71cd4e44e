"""Figures within a page: their numbers as JSON, plotly.js and our script, so that nothing is fetched."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from hpo.drawing import page
from hpo.report.plots import Figure

__all__ = ["grid", "head", "in_script", "parallel", "plot", "tail"]

HERE = Path(__file__).parent


def head() -> Markup:
    """The report's own style."""
    return Markup("<style>{}</style>").format(Markup((HERE / "report.css").read_text(encoding="utf-8")))


def tail() -> Markup:
    """The scripts, at the end of the page."""
    from plotly.offline import get_plotlyjs

    # the only bundle that comes with plotly; smaller ones would have to be kept here
    scripts = (_unwrapped(get_plotlyjs()), (HERE / "report.js").read_text(encoding="utf-8"))
    return Markup("\n").join(Markup("<script>{}</script>").format(Markup(each)) for each in scripts)


def plot(figure: Figure, caption: str = "") -> Markup:
    """A figure that is drawn when it comes near, with a caption and what there is to know of it."""
    drawn = Markup(
        '<div class="plot" style="height:{}px"><div class="canvas" role="img" aria-label="{}"></div>{}</div>'
    ).format(figure.height, figure.says, in_script({"data": figure.data, "layout": figure.layout}))
    return page.figure(drawn, " ".join(filter(None, (caption, figure.note))))


def grid(figures: Sequence[Figure]) -> Markup:
    """Small figures beside each other, as many as the page has room for."""
    return Markup('<div class="grid">{}</div>').format(Markup().join(map(plot, figures)))


def parallel(found: dict[str, Any], says: str, caption: str) -> Markup:
    """Parallel coordinates."""
    drawn = Markup(
        '<div class="plot parallel"><canvas height="360" role="img" aria-label="{}"></canvas>'
        '<p class="soft chosen"></p>{}</div>'
    ).format(says, in_script(found))
    return page.figure(drawn, caption)


def in_script(value: Any) -> Markup:
    """Plain data for a script; no text in it can end the script or begin a comment."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))  # ASCII, so that U+2028 is written out
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup('<script type="application/json">{}</script>').format(Markup(text))


def _unwrapped(bundle: str) -> str:
    """plotly.js without the function around it for other ways of loading, as far as it is built as we know it.

    A browser reads what is within a function twice: without, it is ready after 0.8 s of processor time instead of 1.1.
    """
    notice, begins, rest = bundle.partition('"use strict";var Plotly=')
    body, ends, _ = rest.rpartition("window.Plotly = Plotly;")
    licence = notice[: notice.find("*/") + 2]
    return f"{licence}\n{begins}{body}" if begins and ends else bundle
