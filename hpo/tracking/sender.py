"""The process that `hpo.tracking.process` starts, told on standard input what to send and when."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hpo.masking import redacted
from hpo.settings import hide
from hpo.tracking.projection import Projection, Task
from trainers.folders import private, private_file

__all__ = ["only_one"]

RETRY = 2.0  # seconds between tries while MLflow does not answer
LINGER = 3  # likewise, once the driver has no more for it


def main() -> None:
    """Send whenever woken, at least once a second; end once standard input has closed and nothing is left."""
    os.umask(0o077)  # artifacts of a local tracking database are this user's alone
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    task = Task(**json.loads(_first_line(sys.stdin.fileno())))
    hide(task.storage, task.mlflow)
    closed = failing = ending = False
    projection: Projection | None = None
    pause = 0.0
    with only_one(task):
        while True:
            closed = closed or _wait(sys.stdin.fileno(), pause)
            if closed and failing and not ending:
                ending = True
                signal.alarm(LINGER)  # which ends this process, in the midst of a call to a server that hangs too
            try:
                projection = projection or Projection(task)
                while projection.send():
                    pass
                if closed:
                    return
                pause, failing = 1.0, False
            except Exception as error:  # noqa: BLE001 - MLflow raises its own, requests' and SQLAlchemy's: all mean later
                print(time.strftime("%F %T"), f"{type(error).__name__}: {redacted(error)}", file=sys.stderr, flush=True)
                pause, failing = 0.0, True
                time.sleep(RETRY)


def _first_line(descriptor: int) -> bytes:
    line = b""
    while not line.endswith(b"\n"):  # byte by byte and unbuffered, so that select sees all that follows
        line += os.read(descriptor, 1)
    return line


def _wait(descriptor: int, seconds: float) -> bool:
    """Wait for a wake; returns whether standard input is found closed."""
    ready, _, _ = select.select([descriptor], [], [], seconds)
    return bool(ready) and not os.read(descriptor, 65536)


@contextmanager
def only_one(task: Task) -> Iterator[None]:
    """Wait until the sender of a driver that was killed has ended: two would create runs twice."""
    with private_file(private(Path(task.home)) / f".tracking-{task.study}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    main()
