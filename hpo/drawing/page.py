"""One HTML file that opens without a network, on a phone too, in light and in dark."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

__all__ = ["Page", "command", "facts", "figure", "heading", "prose", "table"]

Tone = Literal["", "soft", "good", "warn", "bad"]


@dataclass(frozen=True)
class _Section:
    title: str
    anchor: str
    parts: tuple[Markup, ...]


class Page:
    """Sections in the order in which they were added."""

    def __init__(self, title: str, subtitle: str = "", *, footer: str = "") -> None:
        self._title, self._subtitle, self._footer = title, subtitle, footer
        self._sections: list[_Section] = []
        self.head = Markup()
        """what a page needs beside its style, such as a script that its plots share"""
        self.tail = Markup()
        """scripts that run when the page is there"""

    def section(self, title: str, *parts: Markup) -> None:
        """Add a section; where there are more than two, links to them stand above."""
        anchor = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
        self._sections.append(_Section(title, anchor, parts))

    def render(self) -> str:
        return _template().render(
            title=self._title,
            subtitle=self._subtitle,
            sections=self._sections,
            head=self.head,
            tail=self.tail,
            footer=self._footer,
        )

    def write(self, path: Path) -> None:
        """Write the page whole or not at all, readable by its owner as other files of a study are."""
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        beside.touch(mode=0o600)
        try:
            beside.write_text(self.render(), encoding="utf-8")
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)


def prose(text: str, tone: Tone = "") -> Markup:
    """A paragraph; nothing in the text is taken for HTML."""
    return Markup('<p class="{}">{}</p>').format(tone, text)


def heading(text: str) -> Markup:
    """A heading within a section."""
    return Markup("<h3>{}</h3>").format(text)


def command(text: str) -> Markup:
    """What a person may type, or any text in which line breaks count."""
    return Markup("<pre>{}</pre>").format(text)


def facts(named: Mapping[str, object]) -> Markup:
    """Names and what they are."""
    rows = Markup().join(Markup("<dt>{}</dt><dd>{}</dd>").format(name, value) for name, value in named.items())
    return Markup("<dl>{}</dl>").format(rows)


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, name: str = "") -> Markup:
    """A table, `name` its id; numbers stand to the right. Cells are text or markup."""
    numeric = [bool(rows) and all(_is_number(row[index]) for row in rows) for index in range(len(columns))]
    head = _cells("th", columns, numeric)
    body = Markup("\n").join(Markup("<tr>{}</tr>").format(_cells("td", row, numeric)) for row in rows)
    named = Markup(' id="{}"').format(name) if name else Markup()
    return Markup('<div class="wide"><table{}><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>').format(
        named, head, body
    )


def figure(drawing: Markup, caption: str = "") -> Markup:
    """A drawing with what there is to see in it."""
    below = Markup("<figcaption>{}</figcaption>").format(caption) if caption else Markup()
    return Markup("<figure>{}{}</figure>").format(drawing, below)


def _cells(tag: str, cells: Sequence[Any], numeric: Sequence[bool]) -> Markup:
    return Markup().join(
        Markup("<{}{}>{}</{}>").format(Markup(tag), Markup(' class="number"' if right else ""), cell, Markup(tag))
        for cell, right in zip(cells, numeric, strict=True)
    )


def _is_number(cell: Any) -> bool:
    return bool(re.fullmatch(r"[-+]?[\d.,]+(e[-+]?\d+)?( ?%)?|-|", str(cell)))


@cache
def _template() -> Template:
    loaded = Environment(loader=PackageLoader("hpo.drawing", "."), autoescape=True, undefined=StrictUndefined)
    return loaded.get_template("page.html")
