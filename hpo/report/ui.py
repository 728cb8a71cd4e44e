"""MLflow's UI and Optuna's dashboard over the same studies, on loopback, started and stopped together."""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import webbrowser
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Literal

from hpo.errors import SpecError, Unavailable
from hpo.masking import masked, redacted
from hpo.settings import Settings, has_screen, is_server
from hpo.store.opening import open_ledger
from hpo.study import Study
from trainers.folders import private_file

__all__ = ["Pages", "serve"]

LOOPBACK = "127.0.0.1"
PATIENCE = 180.0  # seconds that a server may take to answer: MLflow's takes 10 to 25, more where much runs
TRAINING = "?workflowType=machine_learning"  # its UI shows what is for language models else
PAUSE = 0.1  # seconds between two tries
GRACE = 5.0  # seconds from asking a server to end to ending it
_REQUEST = re.compile(r'"[A-Z]+ \S+ HTTP/')  # a line of an access log


@dataclass(frozen=True, kw_only=True)
class Pages:
    """Where to look."""

    mlflow: str
    dashboard: str


class _Server:
    """One of the two; its output goes to `ui-mlflow.log` or `ui-dashboard.log` in the home folder."""

    def __init__(self, kind: Literal["mlflow", "dashboard"], url: str, port: int | None, settings: Settings) -> None:
        self.name = {"mlflow": "MLflow's UI", "dashboard": "Optuna's dashboard"}[kind]
        self.port = _free(port)
        self._path: Path = private_file(settings.home / f"ui-{kind}.log")
        self._path.write_bytes(b"")
        with self._path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "hpo.report.served"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is ours to handle
            )
        assert self.process.stdin is not None
        home = str(settings.home)
        task = {"kind": kind, "url": url, "port": self.port, "artifacts": settings.artifacts, "home": home}
        with suppress(BrokenPipeError):  # it is dead, as `wait` will say
            self.process.stdin.write(json.dumps(task).encode() + b"\n")
            self.process.stdin.flush()

    @property
    def root(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def wait(self) -> None:
        """Return once it answers.

        Raises:
            Unavailable: it has ended, or does not answer in time.
        """
        deadline = time.monotonic() + PATIENCE
        ask = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise self.ended()
            with suppress(OSError), ask.open(self.root, timeout=PATIENCE):
                return
            time.sleep(PAUSE)
        raise Unavailable(f"{self.name} does not answer after {PATIENCE:g} s; see {self._path}")

    def ended(self) -> Unavailable:
        """The error to raise when it has ended by itself: how, and its last words unless they are of a request."""
        code = self.process.wait()
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        last = self._path.read_text(errors="replace").strip().rpartition("\n")[2]
        words = f": {redacted(last)}" if last and not _REQUEST.search(last) else ""
        return Unavailable(f"{self.name} has ended {how}{words}; see {self._path}")

    def stop(self) -> None:
        """End it with all that it has started."""
        for number, seconds in ((signal.SIGTERM, GRACE), (signal.SIGKILL, None)):
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(seconds)
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.close()


def serve(
    settings: Settings,
    study: Study | None,
    say: Callable[[str], None],
    show: Callable[[Pages], None],
    *,
    mlflow_port: int | None = None,
    dashboard_port: int | None = None,
    browser: bool = True,
) -> None:
    """Serve both until Ctrl-C or SIGTERM; `show` is told where they are once they answer.

    Where MLflow is a server already, that one is shown.

    Raises:
        SpecError: there are no studies, or a port is taken.
        Unavailable: one of the two does not start, or ended by itself.
    """
    open_ledger(settings, reading=True)
    settings.make_home()  # for what they print: studies in a server may have none here
    remote = is_server(settings.mlflow)
    servers: list[_Server] = []
    with _until_stopped():
        try:
            say("starting Optuna's dashboard" + ("" if remote else " and MLflow's UI, which takes 10 to 25 s"))
            servers.append(dashboard := _Server("dashboard", settings.storage, dashboard_port, settings))
            if not remote:
                servers.append(_Server("mlflow", settings.mlflow, mlflow_port, settings))
            for each in servers:
                each.wait()
            pages = _pages(study, masked(settings.mlflow) if remote else servers[-1].root, dashboard.root)
            show(pages)
            if browser and has_screen():
                for page in (pages.dashboard, pages.mlflow):
                    webbrowser.open(page)
            say("Ctrl-C stops it" if remote else "Ctrl-C stops both")
            raise _first_to_end(servers).ended()
        finally:
            for each in servers:
                each.stop()


def _pages(study: Study | None, mlflow: str, dashboard: str) -> Pages:
    mlflow, dashboard = mlflow.rstrip("/"), f"{dashboard}/dashboard"
    if study is None:
        return Pages(mlflow=mlflow, dashboard=dashboard)
    experiment = study.row["experiment_id"]  # none before the first record has reached MLflow
    return Pages(
        mlflow=f"{mlflow}/#/experiments/{experiment}/runs{TRAINING}" if experiment else mlflow,
        dashboard=f"{dashboard}/studies/{study.storage.get_study_id_from_name(study.name)}",
    )


def _free(port: int | None) -> int:
    """The port, or one that is free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the servers do
        try:
            probe.bind((LOOPBACK, port or 0))
        except OSError as error:
            raise SpecError(
                f"port {port} cannot be used: {error.strerror}; give another, or none to have one picked"
            ) from error
        return int(probe.getsockname()[1])


def _first_to_end(servers: Sequence[_Server]) -> _Server:
    found: queue.Queue[_Server] = queue.Queue()

    def watch(each: _Server) -> None:
        each.process.wait()
        found.put(each)

    for each in servers:
        threading.Thread(target=watch, args=(each,), daemon=True).start()
    return found.get()


@contextmanager
def _until_stopped() -> Iterator[None]:
    """Leave on Ctrl-C and on SIGTERM alike, which is how this is meant to end."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    # SIGINT too: a shell has its background jobs ignore that, and Python then leaves it so
    before: dict[int, Any] = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with suppress(KeyboardInterrupt):
            yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
