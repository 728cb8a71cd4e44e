"""Pages take names that are HTML for text, and drawings take the page's colours."""

from pathlib import Path

from markupsafe import Markup

from hpo.drawing import page, pictures
from hpo.drawing.pictures import drawn, svg

NASTY = "<script>alert(1)</script> $_{$ for 2"


def test_nothing_that_is_shown_becomes_part_of_the_page(tmp_path: Path) -> None:
    made = page.Page(NASTY, NASTY, footer=NASTY)
    parts = [page.prose(NASTY), page.command(NASTY), page.facts({NASTY: NASTY}), page.table([NASTY], [[NASTY]])]
    made.section(NASTY, *parts, page.figure(_curve(NASTY), NASTY))
    made.write(tmp_path / "deep" / "page.html")
    text = (tmp_path / "deep" / "page.html").read_text()
    assert "<script" not in text
    assert text.count("&lt;script&gt;") >= 10
    assert "alert(1)&lt;/script&gt; $_{$ for 2</text>" in text, "no formula"


def test_numbers_stand_to_the_right() -> None:
    made = page.table(["trial", "value", "state"], [[1, "0.93", "complete"], [2, "-", "failed"]])
    assert made.count('<td class="number">') == 4


def test_a_drawing_takes_the_colour_of_the_text_and_is_the_same_each_time() -> None:
    first = _curve("loss")
    assert first == _curve("loss")
    assert "currentColor" in first
    assert 'aria-label="a curve"' in first


def _curve(label: str) -> Markup:
    with drawn() as figure:
        axes = figure.add_subplot()
        axes.plot([1, 2, 3], [3, 1, 2])
        axes.set_ylabel(pictures.label(label))
    return svg(figure, "a curve")
