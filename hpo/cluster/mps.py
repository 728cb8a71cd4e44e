"""NVIDIA's Multi-Process Service: with it, processes that share a card compute at the same time; without, in turn."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from hpo.settings import MPS_FOLDER, cards_are_hidden, mps_is_chosen, open_environment

__all__ = ["service"]

CONTROL = "nvidia-cuda-mps-control"
CARDS = Path("/dev/nvidiactl")  # there where NVIDIA's driver is
SECONDS = 30.0  # for the service to answer
POLL = 0.05  # seconds between two looks
CHECK = (
    sys.executable,
    "-S",
    "-c",
    "import ctypes; cuda = ctypes.CDLL('libcuda.so.1'); context = ctypes.c_void_p(); "
    "code = cuda.cuInit(0) or cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0); "
    "raise SystemExit(f'CUDA error {code}' if code else 0)",
)
"""Opens a card without PyTorch, as every trial will."""


@contextmanager
def service(say: Callable[[str], None], *, cards: Path = CARDS, check: Sequence[str] = CHECK) -> Iterator[None]:
    """Have the service for what this process starts meanwhile, where it is installed and works; else change nothing.

    The drivers of a user share one service: the last to leave stops it, and what a killed one left is taken over. Where
    CUDA_MPS_PIPE_DIRECTORY is set, or a service runs in CUDA's own place, that is somebody else's and stays as it is.
    No setting of a card is changed. `say` gets a sentence when the service does not work.
    """
    program = shutil.which(CONTROL)
    nothing_to_do = not cards.exists() or mps_is_chosen() or cards_are_hidden()
    if program is None or nothing_to_do or _Control(program, None).answers():
        yield
        return
    folder = Path(tempfile.gettempdir(), f"hpo-mps-{os.getuid()}")  # short: sockets in it have a limit of 108 bytes
    control = _Control(program, folder)
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        there = folder.lstat()
        if not stat.S_ISDIR(there.st_mode) or there.st_uid != os.getuid() or there.st_mode & 0o077:
            # somebody else could have files of this user overwritten through links in it, and lead the service
            raise PermissionError(f"{folder} is not a folder of this user's alone; remove it")
        users = (folder / "users").open("w")
    except OSError as error:
        say(f"trials that share a card take turns on it, without NVIDIA MPS: {error}")
        yield
        return
    with users:
        problem = control.join(users) or _problem_of(check, control.environment())
        if problem:
            control.leave(users)
            say(f"NVIDIA MPS does not work here, trials that share a card take turns: {problem}")
            yield
            return
        os.environ.update(control.place)
        try:
            yield
        finally:
            for name in control.place:
                os.environ.pop(name, None)
            control.leave(users)


class _Control:
    """NVIDIA's control program for the service in one folder; None is the folder that CUDA looks into unasked."""

    def __init__(self, program: str, folder: Path | None) -> None:
        self._program = program
        self.place = {MPS_FOLDER: str(folder), "CUDA_MPS_LOG_DIRECTORY": str(folder)} if folder else {}

    def environment(self) -> dict[str, str]:
        return {**open_environment(), **self.place}

    def answers(self) -> bool:
        """Whether a service runs."""
        return self._ask("get_server_list")

    def join(self, users: IO[str]) -> str | None:
        """Count among the users of the service, which the first of them starts; returns what went wrong."""
        problem = None
        while problem is None:
            if _alone(users) and not self.answers():
                problem = self._start()
            fcntl.flock(users, fcntl.LOCK_SH)
            if self.answers():  # else the last of others stopped it while we waited
                break
        return problem

    def leave(self, users: IO[str]) -> None:
        """Stop the service unless others use it."""
        if _alone(users):
            self._ask("quit")
        fcntl.flock(users, fcntl.LOCK_UN)

    def _start(self) -> str | None:
        # the service is to see all cards: with some hidden from it, their numbers in a client's would mean others
        environment = {name: value for name, value in self.environment().items() if name != "CUDA_VISIBLE_DEVICES"}
        problem = _problem_of([self._program, "-d"], environment)
        deadline = time.monotonic() + SECONDS
        while problem is None and not self.answers():
            if time.monotonic() > deadline:
                problem = f"no answer within {SECONDS:.0f} s"
            time.sleep(POLL)
        return problem

    def _ask(self, command: str) -> bool:
        try:
            done = subprocess.run(
                [self._program],
                input=f"{command}\n",
                capture_output=True,
                text=True,
                check=False,
                timeout=SECONDS,
                env=self.environment(),
            )
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 0 and "Cannot find" not in done.stdout + done.stderr


def _alone(users: IO[str]) -> bool:
    """Whether nobody else holds the file. A lock ends with its process, however that ends."""
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _problem_of(command: Sequence[str], environment: dict[str, str]) -> str | None:
    """Run a command; returns what went wrong. Its output is a file: a daemon would keep a pipe open."""
    with tempfile.TemporaryFile("w+") as said:
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                check=False,
                timeout=SECONDS,
                env=environment,
            )
        except subprocess.TimeoutExpired:
            return f"no answer within {SECONDS:.0f} s"
        said.seek(0)
        return (said.read().strip() or f"exit status {done.returncode}") if done.returncode else None
