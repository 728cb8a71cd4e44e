"""The services of docker-compose.yml as plain processes on loopback: what they are told, without an engine."""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import psutil
import yaml
from servers import Postgres, free_port

ROOT = Path(__file__).parent.parent
FILE = ROOT / "docker-compose.yml"
PATIENCE = 120.0  # seconds in which a service is up
VARIABLE = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<name>\w+)(?::(?P<kind>[-?])(?P<word>[^{}]*))?\})")


def interpolate(value: Any, variables: dict[str, str]) -> Any:
    """A value of the file as Compose fills it: ${NAME}, ${NAME:-default}, ${NAME:?error}, $$.

    Raises LookupError for a variable that has to be there.
    """

    def filled(found: re.Match[str]) -> str:
        if found["dollar"]:
            return "$"
        given = variables.get(found["name"], "")
        if not given and found["kind"] == "?":
            raise LookupError(f"{found['name']}: {found['word']}")
        return given or (found["word"] or "")

    if isinstance(value, str):
        return VARIABLE.sub(filled, value)
    if isinstance(value, dict):
        return {key: interpolate(each, variables) for key, each in value.items()}
    return [interpolate(each, variables) for each in value] if isinstance(value, list) else value


def load(variables: dict[str, str]) -> dict[str, Any]:
    """The file with its variables filled."""
    found: dict[str, Any] = interpolate(yaml.safe_load(FILE.read_text()), variables)
    return found


def secrets(folder: Path) -> dict[str, str]:
    """What `make .env` writes."""
    subprocess.run(["make", "-s", "-f", ROOT / "Makefile", ".env"], cwd=folder, check=True)
    return dict(line.split("=", 1) for line in (folder / ".env").read_text().splitlines())


class Composed:
    """The services, started in the order in which they depend on each other; `close` ends them all."""

    def __init__(self, variables: dict[str, str], programs: Path) -> None:
        self._programs = programs
        self.folder = Path(tempfile.mkdtemp(prefix="up"))  # sockets lie below it, whose paths must be short
        self._file = load(variables)
        self.services: dict[str, Any] = self._file["services"]
        self._database: Postgres | None = None
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.before: dict[str, int] = {}  # exit status of a health check when all but its service was up
        numbers = {port.rpartition(":")[2] for each in self.services.values() for port in each.get("ports", [])}
        numbers |= set(re.findall(r"port=(\d+)", FILE.read_text()))
        self._ports = {number: str(free_port()) for number in sorted(numbers)}

    def address(self, port: int) -> str:
        """Where what has this port in a container answers here."""
        return f"127.0.0.1:{self._ports[str(port)]}"

    # -- what a container would see ------------------------------------------------------------------------------------

    def here(self, text: str, service: str) -> str:
        """A line of the file, or of a file that is mounted: hosts, ports and mounted paths are those of here."""
        hosts = "|".join([*self.services, r"0\.0\.0\.0"])
        text = re.sub(rf"(?<![\w.-])(?:{hosts})(?=:\d)|0\.0\.0\.0", "127.0.0.1", text)
        text = text.replace("listen ", "listen 127.0.0.1:")
        text = re.sub(rf"(?<![\w.])(?:{'|'.join(self._ports)})(?![\w.])", lambda found: self._ports[found[0]], text)
        for target, path in self._mounted(service).items():
            text = re.sub(rf"(?<![\w./]){re.escape(target)}(?![\w.@-])", str(path), text)
        return text

    def _mounted(self, service: str) -> dict[str, Path]:
        """Paths in the container -> here."""
        found = {}
        for volume in self.services[service].get("volumes", []):
            name, target = volume.split(":")[:2]
            found[target] = ROOT / name if name.startswith(".") else self.folder / name
        for config in self.services[service].get("configs", []):
            found[config["target"]] = self.folder / Path(self._file["configs"][config["source"]]["file"]).name
        return {target: path for target, path in found.items() if target != "/tmp/ray"}  # --temp-dir says where

    def environment(self, service: str) -> dict[str, str]:
        """Nothing but what the file gives, and what an image has."""
        given = self.services[service].get("environment", {})
        path = [str(Path(sys.executable).parent), str(self._programs), os.environ["PATH"], "/usr/sbin"]
        return {
            "PATH": os.pathsep.join(path),
            "HOME": str(self.folder),
            "PYTHONPATH": os.environ["PYTHONPATH"],
            "OMP_NUM_THREADS": "1",
            **{name: self.here(value, service) for name, value in given.items()},
        }

    def command(self, service: str, *arguments: str) -> list[str]:
        """Its command line."""
        told = self.services[service]
        words = [*told.get("entrypoint", []), *(arguments or told.get("command", []))]
        if words[:2] == ["ray", "start"]:  # a container has its ports to itself, and here other clusters have Ray's own
            words += [f"--dashboard-agent-listen-port={free_port()}", f"--metrics-export-port={free_port()}"]
            # and its /tmp: of two nodes in one folder, each removes the code that travelled and that it does not use
            words += [f"--temp-dir={self.folder}/{service}"]
        return [self.here(word, service) for word in words]

    # -- processes -----------------------------------------------------------------------------------------------------

    def up(self) -> None:
        """Start what `docker compose up` starts; each is healthy before those that depend on it begin."""
        waiting = [name for name, told in self.services.items() if not told.get("profiles")]
        while waiting:
            for name in [each for each in waiting if not set(self.services[each].get("depends_on", {})) & set(waiting)]:
                if name != "ray":  # whose check looks for a minute
                    self.before[name] = self.health(name)
                self._start(name)
                self._wait(name)
                waiting.remove(name)

    def _start(self, service: str) -> None:
        if service == "postgres":
            self._database = self._postgresql()
            return
        for target, path in self._mounted(service).items():
            if path.parent == self.folder:
                source = ROOT / "deploy" / path.name
                if source.exists():
                    path.write_text(self.here(source.read_text(), service).replace("/tmp/", f"{self.folder}/"))
                elif target.count("/") == 1:
                    path.mkdir(mode=0o700, exist_ok=True)
        with self.log(service).open("wb") as log:
            self._processes[service] = self._process(service, log)

    def _process(self, service: str, log: IO[bytes], **variables: str) -> subprocess.Popen[bytes]:
        new = {**self.environment(service), **variables}
        command = self.command(service)
        return subprocess.Popen(command, env=new, cwd=self.folder, stdout=log, stderr=log, start_new_session=True)

    def another(self, service: str, **variables: str) -> Callable[[], tuple[int, str]]:
        """Start one more with other variables; what is returned waits for its end, and gives exit status and words."""
        log = self.log(f"another-{service}")
        with log.open("wb") as file:
            process = self._processes[log.stem] = self._process(service, file, **variables)
        return lambda: (process.wait(PATIENCE), log.read_text())

    def _postgresql(self) -> Postgres:
        """A server made as the image makes one: its owner, its first database, then the script."""
        told = self.environment("postgres")
        owner, password = told["POSTGRES_USER"], told["POSTGRES_PASSWORD"]
        port = int(self._ports["5432"])
        server = Postgres(self._programs, owner=owner, password=password, port=port)
        server.script(f"CREATE DATABASE {told['POSTGRES_DB']}", "postgres", {})
        server.script((ROOT / "deploy/databases.sql").read_text(), told["POSTGRES_DB"], told)
        return server

    def _wait(self, service: str) -> None:
        deadline = time.monotonic() + PATIENCE
        asked = re.search(r"127\.0\.0\.1:(\d+)", " ".join(self._check(service)))
        while asked and not self._answers(int(asked[1])):  # a check may take a second
            self._alive(service, deadline)
        while self.health(service) != 0:
            self._alive(service, deadline)

    def _alive(self, service: str, deadline: float) -> None:
        process = self._processes[service]
        assert process.poll() is None, f"{service} has ended: {self.log(service).read_text()[-3000:]}"
        assert time.monotonic() < deadline, f"{service} is not up: {self.log(service).read_text()[-3000:]}"
        time.sleep(0.2)

    @staticmethod
    def _answers(port: int) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    def health(self, service: str) -> int:
        """Exit status of its health check."""
        return self.run(service, self._check(service)).returncode

    def _check(self, service: str) -> list[str]:
        kind, *words = self.services[service]["healthcheck"]["test"]
        assert kind == "CMD"
        return [self.here(word, service) for word in words]

    def run(self, service: str, command: list[str], **variables: str) -> subprocess.CompletedProcess[str]:
        """A command in what would be the service's container, with more variables or others."""
        new = {**self.environment(service), **variables}
        options: dict[str, Any] = {"env": new, "cwd": self.folder, "timeout": PATIENCE}
        return subprocess.run(command, capture_output=True, text=True, check=False, **options)

    def log(self, service: str) -> Path:
        """What it prints."""
        return self.folder / f"{service}.log"

    def close(self) -> None:
        """End all with whatever they have started."""
        running = [psutil.Process(each.pid) for each in self._processes.values() if each.poll() is None]
        family = [child for each in running for child in each.children(recursive=True)]
        for each in running:
            each.terminate()
        psutil.wait_procs([*running, *family], timeout=20)
        for each in [*running, *family]:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        for process in self._processes.values():
            process.wait()
        if self._database is not None:
            self._database.close()
        lines = [" ".join(each.info["cmdline"] or []) for each in psutil.process_iter(["cmdline"])]
        shutil.rmtree(self.folder, ignore_errors=True)
        if sys.exception() is None:  # else that is the one to see
            assert not [line for line in lines if str(self.folder) in line]
