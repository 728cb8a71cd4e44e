"""Machines of a Ray cluster, all on this one: each with processes, a temporary folder and an environment of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
from servers import free_port

TOKEN = "t" * 64


class Machine:
    """What `ray start` starts, until it is killed."""

    def __init__(self, *words: str, cpus: int, **environment: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="m", dir="/tmp"))  # short: sockets lie in it
        self._environment = access(**environment)
        command = [str(Path(sys.executable).with_name("ray")), "start", *words, f"--num-cpus={cpus}"]
        options = [f"--temp-dir={self.folder}/r", "--node-ip-address=127.0.0.1", "--object-store-memory=80000000"]
        options += [f"--dashboard-agent-listen-port={free_port()}", f"--metrics-export-port={free_port()}"]
        done = subprocess.run(
            [*command, *options], env=self._environment, cwd=self.folder, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stdout + done.stderr

    @property
    def processes(self) -> list[psutil.Process]:
        """Those that name its folder: Ray's own daemons and workers."""
        return [
            each
            for each in psutil.process_iter(["cmdline"])
            if str(self.folder) in " ".join(each.info["cmdline"] or [])
        ]

    def kill(self) -> None:
        """As a power cut would: nothing of it has time for a word."""
        victims = {each.pid for process in self.processes for each in [process, *_below(process)]}
        for pid in victims:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def close(self) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


class Head(Machine):
    """The first machine, which takes jobs."""

    def __init__(self, *, cpus: int, **environment: str) -> None:
        port, pages, client = free_port(), free_port(), free_port()
        self.address, self.jobs = f"127.0.0.1:{port}", f"http://127.0.0.1:{pages}"
        ports = [f"--port={port}", f"--dashboard-port={pages}", f"--ray-client-server-port={client}"]
        super().__init__("--head", *ports, cpus=cpus, **environment)


def access(**environment: str) -> dict[str, str]:
    """The environment of who may enter."""
    mine = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN, "RAY_USAGE_STATS_ENABLED": "0", "NO_COLOR": "1"}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, **mine, **environment}


def _below(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []
