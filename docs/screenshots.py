"""Makes the pictures of docs/pictures: a real search of the quickstart, its report, MLflow's UI, Optuna's dashboard.

Typed as `make screenshots`; needs Debian's chromium.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parent.parent
PICTURES = ROOT / "docs" / "pictures"
COLOURS = 128  # a picture of a page needs no more, and is a third as large
OPTIONS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "hpo-data"
        typed("run", "--space", str(ROOT / "search_spaces" / "quickstart.yaml"), "--trials", "40", "--home", str(home))
        typed("promote", "quickstart", "--home", str(home))
        typed("report", "quickstart", "--home", str(home))
        with sync_playwright() as playwright:
            chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=list(OPTIONS))
            of_report(chromium.new_page(viewport={"width": 1000, "height": 880}), home / "reports" / "quickstart.html")
            of_servers(chromium.new_page(viewport={"width": 1400, "height": 820}), home)
            phone = {"viewport": {"width": 375, "height": 760}, "color_scheme": "dark", "is_mobile": True}
            on_phone(chromium.new_page(**phone), home / "reports" / "quickstart.html")


def of_report(page: Page, path: Path) -> None:
    page.goto(path.as_uri())
    page.evaluate("drawAll()")
    page.wait_for_timeout(1000)  # for what is animated
    save(page.screenshot(), "report")
    save(page.locator("#parameters").screenshot(), "report-parameters")
    save(page.locator("#network").screenshot(), "report-network")


def on_phone(page: Page, path: Path) -> None:
    page.goto(path.as_uri())
    page.evaluate("drawAll()")
    page.wait_for_timeout(1000)
    save(page.screenshot(), "report-phone")


def of_servers(page: Page, home: Path) -> None:
    words = [sys.executable, "-m", "hpo", "ui", "quickstart", "--no-browser", "--home", str(home)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as ui:
        out: Any = ui.stdout
        dashboard, mlflow = (out.readline().split()[1] for _ in range(2))
        page.goto(dashboard)
        page.get_by_text("quickstart (id=1)").first.wait_for()
        page.wait_for_timeout(4000)
        save(page.screenshot(), "dashboard")
        page.goto(mlflow)
        page.locator(".ag-cell button").first.click()
        page.get_by_text("MLflow Assistant").wait_for()
        page.get_by_role("button", name="Close").first.click()
        page.goto(f"{mlflow}&compareRunsMode=CHART")
        page.wait_for_timeout(6000)
        save(page.screenshot(), "mlflow")
        ui.terminate()


def save(png: bytes, name: str) -> None:
    PICTURES.mkdir(exist_ok=True)
    picture = Image.open(io.BytesIO(png)).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    picture.save(PICTURES / f"{name}.png", optimize=True)


def typed(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "hpo", *words], check=True, cwd=ROOT)


if __name__ == "__main__":
    main()
