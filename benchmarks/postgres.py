"""A PostgreSQL server of one's own for the length of a measurement."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["server"]


@contextmanager
def server() -> Iterator[str]:
    """Start a server with its default settings on a Unix socket in a temporary folder; yields the URL of a database.

    It runs as `postgres` when we are root, whom initdb refuses.
    """
    folder = Path(tempfile.mkdtemp(prefix="hpo-postgres-"))
    user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
    if user:
        shutil.chown(folder, "postgres", "postgres")
    data = str(folder / "data")
    control = [*user, "pg_ctl", "--pgdata", data, "--wait", "--silent"]
    options = f"-c listen_addresses='' -c unix_socket_directories={folder}"
    try:
        _call([*user, "initdb", "--pgdata", data, "--username", "postgres", "--auth", "trust", "--encoding", "UTF8"])
        _call([*control, "--log", str(folder / "log"), "--options", options, "start"])
        try:
            yield f"postgresql://postgres@/postgres?host={folder}"
        finally:
            _call([*control, "--mode", "fast", "stop"])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _call(command: list[str]) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/")
