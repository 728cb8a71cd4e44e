"""The process in which MLflow's UI or Optuna's dashboard runs, told on standard input which and over what.

A process list shows arguments, and the addresses of databases may hold passwords. It ends, with all that it has
started, when its standard input closes: nothing outlives the command that began it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from hpo.settings import hide

__all__: list[str] = []

LOOPBACK = "127.0.0.1"


def main() -> None:
    """Serve until told to stop; the task is a line of JSON: kind, url, port, artifacts, home."""
    os.umask(0o077)
    task: dict[str, Any] = json.loads(sys.stdin.readline())
    hide(task["url"])
    os.chdir(task["home"])  # MLflow may make folders where it stands
    threading.Thread(target=_end_with_input, daemon=True).start()
    if task["kind"] == "mlflow":
        _mlflow(task)
    else:
        _dashboard(task)


def _end_with_input() -> None:
    while os.read(sys.stdin.fileno(), 1):  # Python's own stream would be locked, and an end of the interpreter abort
        pass
    os.killpg(os.getpgrp(), signal.SIGKILL)  # it is the first of a group of its own


def _mlflow(task: dict[str, Any]) -> None:
    os.environ |= {
        "MLFLOW_BACKEND_STORE_URI": task["url"],
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # of evaluations by language models
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    if task["artifacts"] is not None:
        os.environ["MLFLOW_DEFAULT_ARTIFACT_ROOT"] = task["artifacts"]
    from mlflow.cli import cli

    cli(["server", "--host", LOOPBACK, "--port", str(task["port"]), "--workers", "1", "--no-serve-artifacts"])


def _dashboard(task: dict[str, Any]) -> None:
    from optuna_dashboard import wsgi

    from hpo.store.storage import PatientStorage

    app = _for_loopback(wsgi(PatientStorage.open(task["url"])))
    make_server(LOOPBACK, task["port"], app, server_class=_Server, handler_class=_Quiet).serve_forever()


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Only errors are worth a line."""


def _for_loopback(app: Any) -> Callable[[dict[str, Any], Any], Iterable[bytes]]:
    """Refuse what was sent to another name: a page elsewhere could have its own name lead here, and read all."""

    def answer(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        if environ.get("HTTP_HOST", "").rpartition(":")[0] not in (LOOPBACK, "localhost"):
            start("403 Forbidden", [("Content-Type", "text/plain")])
            return [b"This server answers to 127.0.0.1 and localhost alone.\n"]
        found: Iterable[bytes] = app(environ, start)
        return found

    return answer


if __name__ == "__main__":
    main()
