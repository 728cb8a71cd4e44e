"""What a real search with real secrets leaves behind, shows and listens on, seen from outside."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
import traceback
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import psycopg
import pytest
import synthetic
import yaml
from servers import Postgres

from hpo import settings
from hpo.errors import SpecError, Unavailable
from hpo.study import open_ledger

pytestmark = pytest.mark.slow  # real searches with a PostgreSQL role of their own

SENTINEL = f"sesame-{uuid.uuid4().hex}"
SECRETS = {
    "AWS_SECRET_ACCESS_KEY": SENTINEL,
    "AWS_SESSION_TOKEN": SENTINEL,
    "DATABASE_URL": f"mysql://me:{SENTINEL}@host/db",
    "HF_TOKEN": SENTINEL,
    "MLFLOW_TRACKING_PASSWORD": SENTINEL,
    "MY_API_KEY": SENTINEL,
    "PGPASSWORD": SENTINEL,
}
SPACE = {
    "name": "secrets",
    "metric": "val/accuracy",
    "sampler": "grid",
    "parameters": {"lr": {"values": [0.01, 0.1, 0.2]}},
}


@dataclass
class Seen:
    """A finished search, and its processes as they were while it ran."""

    home: Path
    user: Path
    url: str
    journal: list[dict]
    code: int
    output: str
    leaks: set[str] = field(default_factory=set)  # files of Ray's with the sentinel in them
    logs: set[str] = field(default_factory=set)
    commands: dict[int, str] = field(default_factory=dict)
    environments: dict[int, str] = field(default_factory=dict)
    sockets: set[tuple[str, str]] = field(default_factory=set)

    def of(self, word: str) -> dict[int, str]:
        """Environments of the processes with this word in their command line."""
        return {pid: self.environments[pid] for pid, command in self.commands.items() if word in command}


@pytest.fixture(scope="module")
def role(postgresql: Postgres) -> Iterator[str]:
    """URL of a database whose owner has to give a password: the sentinel."""
    name = f"keeper{uuid.uuid4().hex[:8]}"
    with psycopg.connect(f"{postgresql.url}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{SENTINEL}'")
        connection.execute(f"CREATE DATABASE {name} OWNER {name}")
        rules = Path(connection.execute("SHOW hba_file").fetchone()[0])
        before = rules.read_text()
        rules.write_text(f"host all {name} 127.0.0.1/32 scram-sha-256\n{before}")
        connection.execute("SELECT pg_reload_conf()")
        yield f"postgresql://{name}:{SENTINEL}@{postgresql.url.removeprefix('postgresql://hpo@')}/{name}"
        rules.write_text(before)
        connection.execute("SELECT pg_reload_conf()")


def command(*words: str | Path, environment: dict[str, str], folder: Path) -> subprocess.Popen[str]:
    known = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return subprocess.Popen(
        [sys.executable, "-m", "hpo", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,
        umask=0o022,
        env={**known, **environment},
    )


@pytest.fixture(scope="module")
def seen(role: str, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    folder = tmp_path_factory.mktemp("run")
    user, home = folder / "user", folder / "home"
    user.mkdir()
    trainer = {"import": "synthetic:witness", "journal": str(folder / "journal"), "epochs": 3}
    (folder / "space.yaml").write_text(yaml.safe_dump({**SPACE, "trainer": trainer}))
    environment = {
        **SECRETS,
        "OPTUNA_STORAGE": role,
        "HOME": str(user),
        "MINE_TOKEN": "for workers",
        "HPO_WORKER_ENV": "MINE_TOKEN, OTHER",
        "HTTPS_PROXY": "http://127.0.0.1:1",
    }
    process = command("run", "--space", "space.yaml", "--home", home, environment=environment, folder=folder)
    found = Seen(home, user, role, [], 0, "")
    deadline = time.monotonic() + 120
    while process.poll() is None:
        assert time.monotonic() < deadline
        watch(psutil.Process(process.pid), found)
        look_at_logs(found)
        time.sleep(0.2)
    found.output, found.code = process.communicate()[0], process.returncode
    found.journal = synthetic.read(folder / "journal")
    return found


def watch(driver: psutil.Process, found: Seen) -> None:
    """Write down what is to be seen of the driver and everything that it started."""
    with_children = []
    try:
        with_children = [driver, *driver.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for process in with_children:
        try:
            line = Path(f"/proc/{process.pid}/cmdline").read_bytes().decode().replace("\0", " ")
            if not line:  # it has ended, and what was seen of it before stays
                continue
            found.commands[process.pid] = line
            found.environments[process.pid] = Path(f"/proc/{process.pid}/environ").read_bytes().decode()
            for each in process.net_connections(kind="inet"):
                if each.status == psutil.CONN_LISTEN:
                    found.sockets.add((each.laddr.ip.removeprefix("::ffff:"), process.name()))
        except (psutil.Error, OSError):
            continue


def look_at_logs(found: Seen) -> None:
    """What Ray writes goes at the end of the search."""
    for line in found.commands.values():
        for session in re.findall(r"=(/\S+/session_[-\w]+)", line):
            with contextlib.suppress(FileNotFoundError):
                found.leaks |= set(holding(Path(session)))
                found.logs |= {path.name for path in Path(session, "logs").iterdir()}


def holding(folder: Path) -> list[str]:
    """Files below a folder with the sentinel in them."""
    found = []
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink() and SENTINEL.encode() in path.read_bytes():
            found.append(str(path))
    return found


def test_the_search_ran_and_was_watched(seen: Seen) -> None:
    assert seen.code == 0, seen.output
    assert len(seen.journal) == 3
    assert len(seen.of("ray::")) >= 1
    assert len(seen.of("hpo.tracking.sender")) == 1
    assert any(SENTINEL in each for each in seen.of("hpo.tracking.sender").values()), "the sender needs the password"


def test_no_password_in_any_file_or_output(seen: Seen) -> None:
    assert SENTINEL not in seen.output
    assert holding(seen.home) == []
    assert holding(seen.user) == []
    assert seen.leaks == set()
    assert "raylet.out" in seen.logs, "Ray's logs are elsewhere"


def test_no_password_in_sql(seen: Seen) -> None:
    with psycopg.connect(seen.url) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        assert ("hpo_outbox",) in tables
        for (table,) in tables:
            assert SENTINEL not in str(connection.execute(f'SELECT * FROM "{table}"').fetchall()), table


def test_no_password_in_a_process_list_or_a_worker(seen: Seen) -> None:
    assert [line for line in seen.commands.values() if SENTINEL in line] == []
    trusted = {pid for pid, line in seen.commands.items() if re.search(r"-m hpo( |\.tracking\.sender|$)", line)}
    holders = {seen.commands[pid] for pid, text in seen.environments.items() if SENTINEL in text and pid not in trusted}
    assert holders == set()
    for worker in seen.journal:
        environment = worker["environment"]
        assert not (SECRETS.keys() | {"OPTUNA_STORAGE"}) & environment.keys()
        assert SENTINEL not in str(environment)
        assert environment["MINE_TOKEN"] == "for workers"
        assert environment["HTTPS_PROXY"] == "http://127.0.0.1:1"


def test_what_we_start_listens_on_loopback(seen: Seen) -> None:
    assert {name for _, name in seen.sockets} >= {"gcs_server", "raylet"}
    assert {ip for ip, _ in seen.sockets} == {"127.0.0.1"}
    assert {worker["environment"]["RAY_AUTH_MODE"] for worker in seen.journal} == {"token"}


def test_the_token_of_the_cluster_is_this_users_alone(seen: Seen) -> None:
    token = seen.user / ".ray" / "auth_token"
    assert (token.parent.stat().st_mode & 0o777, token.stat().st_mode & 0o777) == (0o700, 0o600)


def test_a_trainer_keeps_the_umask_of_its_user(seen: Seen) -> None:
    assert {worker["umask"] for worker in seen.journal} == {0o022}


def test_no_usage_statistics(seen: Seen) -> None:
    for word in ("gcs_server", "raylet/raylet"):
        assert seen.of(word)
        assert all("RAY_USAGE_STATS_ENABLED=0" in text.split("\0") for text in seen.of(word).values()), word
    # a worker's title is written over its environment in /proc
    assert {worker["environment"]["RAY_USAGE_STATS_ENABLED"] for worker in seen.journal} == {"0"}


def test_no_telemetry_of_mlflow() -> None:
    """In a process as the sender is, and not because MLflow sees that it is being tested."""
    code = "import hpo.tracking.projection, mlflow.environment_variables as v; print(v.MLFLOW_DISABLE_TELEMETRY.get())"
    known = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW", "DO_NOT_TRACK"))}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=known, check=True
    )
    assert done.stdout.strip() == "True"


def test_an_error_of_a_trial_cannot_steer_the_terminal(seen: Seen) -> None:
    assert r"\x1b[31mred\x1b]0;title\x07 and =cmd()" in seen.output
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", seen.output)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://{user}:wrong-{secret}@{place}",
        "postgresql://{user}:{secret}@127.0.0.1:1/db",
        "postgresql://{user}:{secret}@127.0.0.1:port/db",
        "postgresql://{user}:{secret}@/db?host=/nowhere",
        "postgresql://{place}?user={user}&password=wrong-{secret}",
        "mysql://{user}:{secret}@host/db",
    ],
    ids=["wrong password", "nobody listens", "no port", "no socket", "password as option", "other kind"],
)
def test_an_address_that_does_not_work_is_named_without_its_password(role: str, tmp_path: Path, url: str) -> None:
    user, place = role.rpartition("/")[2], role.rpartition("@")[2]
    address = url.format(user=user, secret=SENTINEL, place=place)
    with pytest.raises((SpecError, Unavailable)) as caught:
        open_ledger(settings.resolve(home=tmp_path / "home", storage=address))
    assert SENTINEL not in "".join(traceback.format_exception(caught.value))


@pytest.mark.long
@pytest.mark.slow
def test_a_server_that_goes_away_is_named_without_its_password(role: str, postgresql: Postgres, tmp_path: Path) -> None:
    name = role.rpartition("/")[2]
    trainer = {"import": "synthetic:Resumable", "journal": str(tmp_path / "journal"), "epochs": 40, "sleep": 0.2}
    (tmp_path / "space.yaml").write_text(yaml.safe_dump({**SPACE, "name": "lost", "trainer": trainer}))
    environment = {**SECRETS, "OPTUNA_STORAGE": role}
    process = command(
        "run", "--space", "space.yaml", "--home", tmp_path / "home", environment=environment, folder=tmp_path
    )
    with psycopg.connect(f"{postgresql.url}/postgres", autocommit=True) as connection:
        deadline = time.monotonic() + 60
        while not synthetic.read(tmp_path / "journal"):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        connection.execute(f"ALTER ROLE {name} NOLOGIN")
        connection.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{name}'")
        time.sleep(3)
        connection.execute(f"ALTER ROLE {name} LOGIN")
    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=120)[0]
    assert process.returncode in (4, 130), output
    assert SENTINEL not in output
    assert holding(tmp_path) == []
