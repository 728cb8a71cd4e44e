"""Real servers that tests start and stop."""

import os
import shutil
import socket
import subprocess
import tempfile
import uuid
from pathlib import Path

import psycopg


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Postgres:
    """A PostgreSQL server on loopback, with a folder of its own."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        # a server refuses to run as root, and its socket's path must be short
        self._as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        self._folder = Path(tempfile.mkdtemp(prefix="pg"))
        if self._as_user:
            shutil.chown(self._folder, "postgres")
        self.port = free_port()
        self.url = f"postgresql://hpo@127.0.0.1:{self.port}"
        data = self._folder / "data"
        self._call("initdb", "-D", data, "-A", "trust", "-U", "hpo", "-E", "UTF8", "--no-locale", "--no-sync")
        self.start()

    @classmethod
    def find(cls) -> Path | None:
        """Where the server's programs are."""
        if shutil.which("pg_ctl") and shutil.which("initdb"):
            return Path(str(shutil.which("initdb"))).parent
        installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
        return installed[-1].parent if installed else None

    def start(self) -> None:
        options = f"-c listen_addresses=127.0.0.1 -p {self.port} -k {self._folder} -c fsync=off"
        self._call("pg_ctl", "-D", self._folder / "data", "-o", options, "-l", self._folder / "log", "-w", "start")

    def stop(self) -> None:
        """As after a power cut: nobody is asked."""
        self._call("pg_ctl", "-D", self._folder / "data", "-m", "immediate", "stop")

    def database(self) -> str:
        """URL of a new database."""
        name = f"t{uuid.uuid4().hex[:12]}"
        with psycopg.connect(f"{self.url}/postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return f"{self.url}/{name}"

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self._folder)

    def _call(self, program: str, *arguments: str | Path) -> None:
        command = [*self._as_user, self._programs / program, *arguments]
        subprocess.run(command, check=True, capture_output=True, timeout=60, cwd="/")
