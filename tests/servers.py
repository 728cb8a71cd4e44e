"""Real servers that tests start and stop."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Postgres:
    """A PostgreSQL server on loopback, with a folder of its own."""

    def __init__(
        self, programs: Path, *, owner: str = "hpo", password: str | None = None, port: int | None = None
    ) -> None:
        """`password`: what whoever comes by TCP has to give; else nobody is asked."""
        self._programs = programs
        self._owner = owner
        # a server refuses to run as root, and its socket's path must be short
        self._as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        self._folder = Path(tempfile.mkdtemp(prefix="pg"))
        if self._as_user:
            shutil.chown(self._folder, "postgres")
        self.port = port or free_port()
        self.url = f"postgresql://{owner}@127.0.0.1:{self.port}"
        data, secret = self._folder / "data", self._folder / "secret"
        asked: list[str | Path] = ["--auth=trust"]
        if password is not None:
            secret.write_text(password)
            asked = ["--auth-local=trust", "--auth-host=scram-sha-256", f"--pwfile={secret}"]
        self._call("initdb", "-D", data, *asked, "-U", owner, "-E", "UTF8", "--no-locale", "--no-sync")
        self.start()

    @classmethod
    def find(cls) -> Path | None:
        """Where the server's programs are."""
        if shutil.which("pg_ctl") and shutil.which("initdb"):
            return Path(str(shutil.which("initdb"))).resolve().parent
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

    def script(self, text: str, database: str, environment: dict[str, str]) -> None:
        """Run SQL as psql does, by the socket."""
        where = ("-h", self._folder, "-p", str(self.port), "-U", self._owner, "-d", database)
        self._call("psql", "-v", "ON_ERROR_STOP=1", *where, text=text, environment=environment)

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self._folder)

    def _call(
        self, program: str, *arguments: str | Path, text: str = "", environment: dict[str, str] | None = None
    ) -> None:
        command = [*self._as_user, self._programs / program, *arguments]
        new = {**os.environ, **(environment or {})}
        subprocess.run(command, check=True, capture_output=True, timeout=60, cwd="/", input=text.encode(), env=new)


class MlflowServer:
    """An MLflow server on loopback over a SQLite file."""

    def __init__(self, folder: Path, *, up: bool = True) -> None:
        """`up`: start it now; else its address is taken, and nobody answers there."""
        self._folder = folder
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None
        if up:
            self.start()

    def start(self) -> None:
        """Returns once it answers."""
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self._port)]
        command += ["--backend-store-uri", f"sqlite:///{self._folder}/mlflow-server.db", "--workers", "1"]
        command += ["--artifacts-destination", str(self._folder / "artifacts")]
        log = (self._folder / "mlflow-server.log").open("ab")
        with log:
            new = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # seven processes for language models
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=new, start_new_session=True)
        deadline = time.monotonic() + 120
        while not self._answers():
            assert time.monotonic() < deadline, "the MLflow server did not come up in 120 s"
            time.sleep(0.1)

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """It takes connections meanwhile and answers none."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP)
        yield
        os.killpg(self._process.pid, signal.SIGCONT)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def stop(self) -> None:
        """Kill it with all its workers."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


@contextmanager
def serving(line: str, folder: Path) -> Iterator[str]:
    """A model served as a shell line of `mlflow models serve` says; yields where it is asked, once it answers."""
    port = free_port()
    log = folder / "serve.log"
    with log.open("wb") as file:
        words = ["bash", "-c", f"{line} --port {port}"]
        process = subprocess.Popen(words, stdout=file, stderr=file, cwd=folder, start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while not _answers(f"http://127.0.0.1:{port}/ping"):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
