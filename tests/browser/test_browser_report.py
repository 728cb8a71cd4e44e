"""The report in a browser: it draws all, asks nobody, filters and sorts, fits a phone, and opens fast."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import promotable
import pytest
from large import large

from hpo.report.report import report
from hpo.study import Study

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

BUSY = 5.0
"""Seconds that the page's thread may compute until 1,000 trials are drawn; 2 where other programs disturb it much."""


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory, empty_mlflow: Path) -> Path:
    """The report of a small study that was really trained."""
    folder = tmp_path_factory.mktemp("digits")
    promotable.make(folder / "home", empty_mlflow)
    study = promotable.copied(folder / "home", folder / "copy")
    report(study, folder / "report.html", lambda _: None)
    return folder / "report.html"


@pytest.fixture
def opened(browser: "Browser", request: pytest.FixtureRequest) -> Iterator["Page"]:
    """A page that may log no error and ask nobody for anything."""
    context = browser.new_context(**getattr(request, "param", {}))
    page = context.new_page()
    wrong: list[str] = []
    page.on("console", lambda message: message.type in ("error", "warning") and wrong.append(message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda asked: asked.url.startswith(("file:", "data:", "blob:")) or wrong.append(asked.url))
    yield page
    context.close()
    assert wrong == []


def test_all_is_drawn_and_the_table_filters_and_sorts(opened: "Page", digits: Path) -> None:
    opened.goto(digits.as_uri())
    opened.evaluate("drawAll()")
    count = opened.locator(".plot").count()
    assert count >= 5
    assert opened.locator(".plot[data-drawn]").count() == count
    assert opened.locator(".plot .main-svg").count() >= count - 1, "plotly drew all but the parallel coordinates"
    lines = opened.evaluate(
        "(() => { const c = document.querySelector('.parallel canvas'), d = c.getContext('2d');"
        "return d.getImageData(0, 0, c.width, c.height).data.filter((v, i) => i % 4 === 3 && v > 0).length; })()"
    )
    assert lines > 1000, "parallel coordinates are there"
    assert opened.locator("#network table#classes tbody tr").count() == 10
    assert opened.locator(".mistakes img").evaluate_all("all => all.every((each) => each.naturalWidth > 0)")
    rows = opened.locator("#trials-table tbody tr:visible")
    assert rows.count() == 2
    opened.locator("#find").fill("complete 0.01")
    assert rows.count() == 1
    assert opened.locator("#shown").inner_text() == "1 of 2"
    opened.locator("#find").fill("")
    opened.locator("#states input[value=complete]").uncheck()
    assert rows.count() == 0
    opened.locator("#states input[value=complete]").check()
    opened.locator("#trials-table th button", has_text="lr").click()
    opened.locator("#trials-table th button", has_text="lr").click()
    assert rows.first.locator("td").nth(3).inner_text() == "0.1", "largest first"


@pytest.mark.parametrize(
    "opened",
    [{"viewport": {"width": 375, "height": 800}, "is_mobile": True, "has_touch": True, "color_scheme": "dark"}],
    indirect=True,
)
def test_it_fits_a_phone_in_the_dark(opened: "Page", digits: Path) -> None:
    opened.goto(digits.as_uri())
    opened.evaluate("drawAll()")
    assert opened.evaluate("document.documentElement.scrollWidth") == 375
    light = "getComputedStyle(document.querySelector('.plot .xtitle')).fill"
    assert opened.evaluate(light) == "rgb(231, 235, 240)", "plots are drawn in the page's colours"
    opened.emulate_media(color_scheme="light")
    opened.wait_for_function(f"{light} === 'rgb(29, 35, 41)'")


def test_a_thousand_trials_open_fast(
    opened: "Page", tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    study: Study = large(tmp_path / "home", 1000)
    began = time.perf_counter()
    report(study, tmp_path / "report.html", lambda _: None)
    size = (tmp_path / "report.html").stat().st_size
    record_property("seconds to build", round(time.perf_counter() - began, 2))
    record_property("bytes", size)
    assert size < 10e6
    devtools = opened.context.new_cdp_session(opened)
    devtools.send("Performance.enable", {"timeDomain": "threadTicks"})  # not by the clock, which others slow down
    opened.goto((tmp_path / "report.html").as_uri())
    record_property("seconds until all is drawn", opened.evaluate("drawAll().then(() => performance.now() / 1000)"))
    told = {each["name"]: each["value"] for each in devtools.send("Performance.getMetrics")["metrics"]}
    record_property("seconds computed", told["TaskDuration"])
    assert opened.locator(".plot:not([data-drawn])").count() == 0
    assert 0 < told["TaskDuration"] < BUSY
    assert opened.locator("#trials-table tbody tr").count() == 1000
    assert opened.get_by_text("out of memory </script>").count() == 11, "an error's words are text"
