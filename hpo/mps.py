"""NVIDIA's Multi-Process Service: with it, processes that share a card compute at the same time; without, in turn."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from hpo.settings import MPS_FOLDER, mps_is_chosen

__all__ = ["service"]

CONTROL = "nvidia-cuda-mps-control"
CARDS = Path("/dev/nvidiactl")  # there where NVIDIA's driver is
SECONDS = 30.0  # for the service to answer
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
    folder = Path(tempfile.gettempdir(), f"hpo-mps-{os.getuid()}")  # short, for sockets in it have a limit of 108 bytes
    if not program or not cards.exists() or mps_is_chosen() or _ask(program, "get_server_list") is not None:
        yield
        return
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        say(f"{folder} is another user's: trials that share a card take turns on it, without NVIDIA MPS")
        yield
        return
    with (folder / "users").open("w") as users, _folder_in_environment(folder):
        try:
            problem = _start(program, users) or _check(check)
            if problem:
                say(f"NVIDIA MPS does not work here, trials that share a card take turns: {problem}")
                _leave(program, users)
            yield
        finally:
            _leave(program, users)


@contextmanager
def _folder_in_environment(folder: Path) -> Iterator[None]:
    """Where it is set and no service runs, CUDA works as without it."""
    os.environ.update({MPS_FOLDER: str(folder), "CUDA_MPS_LOG_DIRECTORY": str(folder)})
    try:
        yield
    finally:
        for name in (MPS_FOLDER, "CUDA_MPS_LOG_DIRECTORY"):
            os.environ.pop(name, None)


def _start(program: str, users: IO[str]) -> str | None:
    """Count among the users of the service, which is started by the first; returns what went wrong."""
    problem = None
    if _locked(users) and _ask(program, "get_server_list") is None:
        done = subprocess.run([program, "-d"], capture_output=True, text=True, check=False, timeout=SECONDS)
        problem = (done.stderr or done.stdout).strip() or f"exit status {done.returncode}" if done.returncode else None
    fcntl.flock(users, fcntl.LOCK_SH)
    return problem


def _leave(program: str, users: IO[str]) -> None:
    """Stop the service unless others use it."""
    if _locked(users):
        _ask(program, "quit")


def _locked(users: IO[str]) -> bool:
    """Whether nobody else holds the file. A lock ends with its process, however that ends."""
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _ask(program: str, command: str) -> str | None:
    """The service's answer; None when none runs."""
    try:
        done = subprocess.run(
            [program], input=f"{command}\n", capture_output=True, text=True, check=False, timeout=SECONDS
        )
    except subprocess.TimeoutExpired:
        return None
    return done.stdout if done.returncode == 0 and "Cannot find" not in done.stdout + done.stderr else None


def _check(command: Sequence[str]) -> str | None:
    """Open a card through the service; returns what went wrong."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return f"no answer within {SECONDS:.0f} s"
    return done.stderr.strip() or f"exit status {done.returncode}" if done.returncode else None
