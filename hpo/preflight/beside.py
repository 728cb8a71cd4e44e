"""The checks in a process of their own on this machine, which gets ahead while Ray starts.

Neither a thread nor a task of Ray: the driver does not import PyTorch, and Ray gives a trial no process that a task has
used, so that the hurry would be lost. Task and findings go through pipes as JSON.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo.cluster.placement import Placement, place
from hpo.errors import SpecError
from hpo.masking import redacted
from hpo.settings import Settings, open_environment
from hpo.spec import SearchSpec
from trainers.checks.finding import Finding

if TYPE_CHECKING:
    from hpo.preflight.battery import Measured, Task

__all__ = ["Beside"]


class Beside:
    """The checks at work in a child of this process."""

    def __init__(self, space: SearchSpec, settings: Settings, *, concurrency: int | None, skip: frozenset[str]) -> None:
        """The search is to run on this machine, with trials at a time as for `hpo.run`."""
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(
            [sys.executable, "-m", "hpo.preflight.beside"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=open_environment(),  # it needs no password
            start_new_session=True,  # Ctrl-C is the driver's to handle
        )
        wish = {
            "space": space.canonical(),
            "datasets": str(settings.datasets),
            "concurrency": concurrency,
            "skip": sorted(skip),
        }
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it stays open: its end is that of whoever wants to know
            self._process.stdin.write(json.dumps(wish).encode() + b"\n")
            self._process.stdin.flush()

    def __iter__(self) -> Iterator[Finding | Measured]:
        """Yield what `carry_out` does; the loss of the process is a finding too."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            yield _read(json.loads(line))
        code = self._process.wait()
        if code:
            self._errors.seek(0)
            words = self._errors.read().decode(errors="replace").strip().splitlines()
            why = f"signal {-code}, as when memory runs out" if code < 0 else redacted(words[-1]) if words else code
            said = f"the process that looked at it was lost: {why}"
            do = "a smaller batch_size or network, or more memory"
            yield Finding(name="trainer", verdict="fail", said=said, do=do)

    def close(self) -> None:
        """End it, wherever it is."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        self._errors.close()


def _written(found: Finding | Measured) -> dict[str, Any]:
    if isinstance(found, Finding):
        return {**vars(found), "details": dict(found.details)}
    shown = [
        {"label": each.label, "shape": each.pixels.shape, "pixels": base64.b64encode(each.pixels.tobytes()).decode()}
        for each in found.pictures
    ]
    return {**vars(found), "pictures": shown}


def _read(plain: dict[str, Any]) -> Finding | Measured:
    if "verdict" in plain:
        return Finding(**plain)
    import numpy as np

    from hpo.preflight.battery import Measured
    from trainers.checks.shown import Shown

    pictures = tuple(
        Shown(
            label=each["label"],
            pixels=np.frombuffer(base64.b64decode(each["pixels"]), dtype=np.uint8).reshape(each["shape"]),
        )
        for each in plain["pictures"]
    )
    return Measured(**{**plain, "pictures": pictures})


def _main() -> None:
    """Look at the search on standard input, a line for each finding on standard output."""
    from hpo.preflight.battery import carry_out

    wish = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    tell, sys.stdout = sys.stdout, sys.stderr  # whatever a library prints is no finding
    task = _task(wish)
    for found in (task,) if isinstance(task, Finding) else carry_out(task):
        print(json.dumps(_written(found)), file=tell, flush=True)


def _end_with_parent() -> None:
    """However the driver ends: nobody is to fetch pictures for hours whom nobody waits for.

    By the descriptor: Python's own stream is locked while it is read, and an interpreter that ends then aborts.
    """
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(1)


def _task(wish: Mapping[str, Any]) -> Task | Finding:
    from hpo import spec
    from hpo.preflight.work import machine, task_of

    space, skip = spec.from_mapping(wish["space"], trusted=True), frozenset(wish["skip"])
    try:
        placement = place(space.resources, machine(space), wish["concurrency"])
    except SpecError:  # as Ray counts processors it may fit, and if not, Ray's driver says so
        placement = Placement(cpu=space.resources.cpu, gpu=0.0, slots=1)
    return task_of(space, Path(wish["datasets"]), placement, skip=skip, fetch=True)


if __name__ == "__main__":
    _main()
