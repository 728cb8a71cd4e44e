"""`hpo ui`: both pages show the study, no address stands in the process list, and nothing outlives the command."""

import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING

import psutil
import pytest
from damage import COMPLETE, send
from waiting import wait_until

from hpo import settings
from hpo.errors import SpecError, Unavailable
from hpo.report.ui import Pages, serve
from hpo.store import records
from hpo.study import Study

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CHILD = [sys.executable, "-m", "hpo.report.served"]


@contextmanager
def typed(study: Study, *more: str) -> Iterator[subprocess.Popen[str]]:
    words = [sys.executable, "-m", "hpo", "ui", study.name, "--no-browser", "--home", str(study.settings.home), *more]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as ui:
        try:
            yield ui
        finally:
            ui.kill()  # what it has started ends then


def addresses(ui: subprocess.Popen[str]) -> tuple[str, str]:
    """Of the dashboard and of MLflow, which it prints once they answer."""
    out: IO[str] | None = ui.stdout
    assert out is not None
    lines = [out.readline().split() for _ in range(2)]
    assert [line[0] for line in lines] == ["dashboard", "MLflow"]
    return lines[0][1], lines[1][1]


@pytest.mark.slow
def test_both_show_the_study_and_end_together(settled: Study, browser: "Browser") -> None:
    settled.ledger.post(settled.id, None, "table", records.table(settled))
    send(settled)
    with typed(settled) as ui:
        dashboard, mlflow = addresses(ui)
        children = psutil.Process(ui.pid).children(recursive=True)
        assert [each.cmdline() for each in psutil.Process(ui.pid).children()] == [CHILD, CHILD]
        assert not any("studies.db" in word for each in children for word in each.cmdline())
        page = browser.new_page()
        page.goto(dashboard)
        page.get_by_text("study (id=1)").first.wait_for()
        page.goto(mlflow)
        page.locator(".ag-cell button").first.click()  # the trials below the study's run
        page.get_by_text("trial 0000").first.wait_for()
        page.goto(f"{mlflow.partition('/runs')[0]}/runs/{settled.afresh().row['run_id']}")
        page.get_by_text("is the best so far").first.wait_for()
        best = settled.rows()[COMPLETE]["mlflow_run_id"]
        link = page.get_by_role("link", name="trial 0000").first
        assert str(link.get_attribute("href")).endswith(f"/runs/{best}")
        page.close()
        ui.send_signal(signal.SIGINT)
        assert ui.wait(30) == 0
    assert not any(map(runs, children))


def test_a_server_of_mlflow_is_shown_and_nothing_outlives_the_command(settled: Study) -> None:
    with typed(settled, "--mlflow", "http://mlflow.invalid:5000") as ui:
        dashboard, mlflow = addresses(ui)
        assert mlflow.startswith("http://mlflow.invalid:5000/#/experiments/")
        (child,) = psutil.Process(ui.pid).children()
        with urllib.request.urlopen(dashboard, timeout=30) as answer:
            assert answer.status == 200
        foreign = urllib.request.Request(dashboard, headers={"Host": "example.com"})
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(foreign, timeout=30)
    wait_until(lambda: not runs(child))


def test_a_port_that_is_taken_and_a_home_without_studies_are_told(settled: Study, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(SpecError, match="Address already in use; give another"):
            serve(settled.settings, settled, print, print, dashboard_port=taken.getsockname()[1])
    with pytest.raises(SpecError, match="there are no studies"):
        serve(settings.resolve(home=tmp_path / "nowhere"), None, print, print)


def test_the_reason_of_an_end_is_no_line_of_an_access_log(settled: Study) -> None:
    def kill(pages: Pages) -> None:
        with (settled.settings.home / "ui-dashboard.log").open("a") as log:
            log.write('INFO: 127.0.0.1:4 - "GET /api HTTP/1.1" 200 OK\n')
        (child,) = [each for each in psutil.Process().children() if runs(each) and each.cmdline() == CHILD]
        child.kill()

    remote = replace(settled.settings, mlflow="http://mlflow.invalid:5000")
    with pytest.raises(Unavailable, match="dashboard has ended by SIGKILL; see "):
        serve(remote, None, print, kill, browser=False)


def runs(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
