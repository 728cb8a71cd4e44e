"""What was looked at, as a page: pictures as the network sees them, classes, every finding."""

from __future__ import annotations

from dataclasses import replace

from markupsafe import Markup

from hpo.drawing.images import gallery, image
from hpo.drawing.page import Page, prose, table
from hpo.preflight.battery import Measured
from hpo.preflight.checks import Checked
from hpo.settings import Settings
from hpo.spec import SearchSpec

__all__ = ["write"]

TONES = {"pass": "good", "warn": "warn", "fail": "bad", "skip": "soft"}
WIDEST = 12  # of a bar, in letters


def write(checked: Checked, space: SearchSpec, settings: Settings) -> Checked:
    """Write `checks/NAME/index.html` in the home folder; returns the same with its path, or why it could not be."""
    assert checked.measured is not None
    page = Page(f"Checks of {space.name}", f"Before the search, on {checked.measured.device}.")
    page.section("What was found", _findings(checked))
    page.section("Pictures as the network sees them", *_pictures(checked.measured))
    page.section("Training pictures by class", _classes(checked.measured))
    path = settings.home / "checks" / space.name / "index.html"
    try:
        page.write(path)
    except OSError as error:  # the checks are worth telling all the same
        return replace(checked, unwritten=f"{path.parent}: {error.strerror or error}")
    return replace(checked, page=path)


def _findings(checked: Checked) -> Markup:
    rows = [[each.name, _toned(each.verdict), _wrapped(each.said, each.do)] for each in checked.findings]
    return table(["check", "", "what was found"], rows, name="findings")


def _toned(verdict: str) -> Markup:
    return Markup('<span class="{}">{}</span>').format(TONES[verdict], verdict)


def _wrapped(said: str, do: str | None) -> Markup:
    more = Markup('<br><span class="soft">to do: {}</span>').format(do) if do else Markup()
    return Markup('<div style="white-space: normal; min-width: 12rem">{}{}</div>').format(said, more)


def _pictures(measured: Measured) -> tuple[Markup, ...]:
    cells = [(image(each.pixels, each.label), each.label) for each in measured.pictures]
    said = "Augmented and, where the file asks for it, mixed; their scaling is undone for the eye. Do the labels fit?"
    return prose(said, "soft"), gallery(cells)


def _bar(share: float) -> Markup:
    style = "background: var(--accent); height: 0.7em; border-radius: 2px; width:"
    return Markup('<div style="{} {}em"></div>').format(style, f"{WIDEST * share:.2f}")


def _classes(measured: Measured) -> Markup:
    most = max(measured.counts.values())
    rows = [[name, count, _bar(count / most)] for name, count in measured.counts.items()]
    return table(["class", "pictures", ""], rows)
