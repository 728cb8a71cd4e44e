"""The process beside the driver that carries the outbox to MLflow.

A process and not a thread: importing MLflow and talking to it must cost the control loop nothing, and a server that
hangs must not hold it up. It starts when there is something to send and ends when its standard input closes, so that
it never outlives its driver by more than what is left to send.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from typing import Any

from hpo.study import Study
from trainers.folders import private_file

__all__ = ["Tracking", "task_of"]

SILENCE = 15.0  # seconds in which a server that is up would have taken a record
RESTART_SECONDS = 5.0  # a sender that dies at once is not started for every record


_left: list[subprocess.Popen[bytes]] = []  # senders that nobody waits for; forgotten, Python warns that they still run


def task_of(study: Study) -> dict[str, Any]:
    """What a sender is told: the fields of `hpo.tracking.projection.Task`."""
    settings = study.settings
    return {
        "study": study.name,
        "storage": settings.storage,
        "mlflow": settings.mlflow,
        "artifacts": settings.artifacts,
        "checkpoints": str(settings.checkpoints),
        "home": str(settings.home),
    }


class Tracking:
    """Handle of the sender. `wake` after new records, `close` to let it send the rest and end."""

    def __init__(self, study: Study) -> None:
        self._study = study
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0

    def wake(self) -> None:
        """Say that there are new records; starts the sender when it does not run."""
        if self._process is None or self._process.poll() is not None:
            if time.monotonic() - self._started < RESTART_SECONDS:
                return
            self._start()
        assert self._process is not None
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has just died; the next wake starts another
            self._process.stdin.write(b"\n")
            self._process.stdin.flush()

    def _start(self) -> None:
        self._started = time.monotonic()
        log = private_file(self._study.settings.home / "tracking.log").open("ab")
        with log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "hpo.tracking.sender"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is the driver's to handle
            )
        assert self._process.stdin is not None
        # through standard input: a process list shows arguments, and the URLs may hold passwords
        self._process.stdin.write(json.dumps(task_of(self._study)).encode() + b"\n")

    def leave(self) -> None:
        """Let a sender send what there is; nobody waits for it, and it ends by itself."""
        self.wake()
        self.let_go()

    def let_go(self) -> None:
        """Leave a sender that runs to itself."""
        if self._process is None:
            return
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        _left.append(self._process)
        self._process = None

    def close(self, timeout: float) -> int:
        """Let the sender finish within `timeout` seconds; returns how many records still wait in the outbox."""
        waiting = self._study.ledger.pending_count(self._study.id)
        if waiting:
            self._started = 0.0
            self.wake()
        if self._process is not None:
            assert self._process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
            self._see_off(self._process, timeout)
            waiting = self._study.ledger.pending_count(self._study.id)
        return waiting

    def _see_off(self, process: subprocess.Popen[bytes], timeout: float) -> None:
        """Wait for the sender's end as long as MLflow takes records; a database may first have to make its tables."""
        began = heard = time.monotonic()
        silence = SILENCE if self._study.settings.mlflow.startswith("http") else timeout
        waiting = self._study.ledger.pending_count(self._study.id)
        while process.poll() is None:
            time.sleep(0.1)
            now, left = time.monotonic(), self._study.ledger.pending_count(self._study.id)
            heard, waiting = (now, left) if left < waiting else (heard, waiting)
            if now - began > timeout or now - heard > silence:
                process.terminate()
                process.wait()
