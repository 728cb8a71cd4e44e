"""The service of docker-compose.yml run for real, as plain processes wired as it wires them, and a search in it."""

import base64
import json
import os
import re
import shlex
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
import synthetic
import yaml
from composed import ROOT, Composed, secrets
from servers import Postgres
from waiting import wait_until

pytestmark = pytest.mark.slow

SPACE = {
    "name": "together",
    "metric": "val/accuracy",
    "sampler": "grid",
    "parameters": {"lr": {"values": [0.1, 0.3]}},
    "resources": {"cpu": 1},
}


@dataclass(kw_only=True)
class Team:
    """The service with a search done in it."""

    composed: Composed
    secrets: dict[str, str]
    journal: Path  # what the trials found in their environment
    searched: subprocess.CompletedProcess[str]
    uninvited: tuple[int, str]  # exit status and words of a Ray node that has no token

    def ask(self, port: int, path: str, *, login: str | None = None, body: Any = None) -> tuple[int, bytes]:
        """Status and body of an answer; `login`: user:password."""
        headers = {"Content-Type": "application/json"}
        if login:
            headers["Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(f"http://{self.composed.address(port)}{path}", data, headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    @property
    def admin(self) -> str:
        return f"{self.secrets['MLFLOW_TRACKING_USERNAME']}:{self.secrets['MLFLOW_TRACKING_PASSWORD']}"

    def laptop(self, *command: str) -> subprocess.CompletedProcess[str]:
        """A command with the variables that docs/service.md exports, and no others."""
        lines = re.findall(r"^export (.+)$", (ROOT / "docs/service.md").read_text(), re.MULTILINE)
        said = dict(word.split("=", 1) for line in lines for word in shlex.split(line))
        assert {"OPTUNA_STORAGE", "MLFLOW_TRACKING_URI", "RAY_ADDRESS"} < said.keys()
        filled = {name: self.secrets.get(name, value) for name, value in said.items()}
        here = {name: self.composed.here(value, "ray") for name, value in filled.items()}
        return self.composed.run("proxy", list(command), **here)  # which has no variables of its own

    def rows(self, user: str, database: str, query: str) -> list[tuple[Any, ...]]:
        password = {"hpo": "PGPASSWORD", "mlflow": "POSTGRES_PASSWORD"}[user]
        url = f"postgresql://{user}:{self.secrets[password]}@{self.composed.address(5432)}/{database}"
        with psycopg.connect(url) as connection:
            return connection.execute(query.encode()).fetchall()


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    folder = tmp_path_factory.mktemp("team")
    programs = Postgres.find()
    if programs is None or not shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin"):
        if os.environ.get("CI"):
            pytest.fail("CI must run the service: install the packages postgresql and nginx")
        pytest.skip("no PostgreSQL or no nginx here")
    drawn, journal = secrets(folder), folder / "journal"
    trainer = {"import": "synthetic:witness", "epochs": 2, "journal": str(journal)}
    (folder / "space.yaml").write_text(yaml.safe_dump({**SPACE, "trainer": trainer}))
    composed = Composed(drawn, programs)
    try:
        composed.up()
        uninvited = composed.another("worker", RAY_AUTH_MODE="disabled")  # it tries for 20 s
        searched = composed.run("hpo", composed.command("hpo", "run", "--space", str(folder / "space.yaml")))
        yield Team(
            composed=composed,
            secrets=drawn,
            journal=journal,
            searched=searched,
            uninvited=uninvited(),
        )
    finally:
        composed.close()


def test_health_checks_tell_what_runs_from_what_does_not(team: Team) -> None:
    assert team.composed.before.keys() == {"postgres", "mlflow", "dashboard", "worker", "proxy"}
    assert all(team.composed.before.values())
    assert not any(team.composed.health(name) for name in [*team.composed.before, "ray"])


def test_the_study_is_in_postgresql_for_its_own_role(team: Team) -> None:
    assert team.searched.returncode == 0, team.searched.stderr
    assert team.rows("hpo", "studies", "SELECT number, state FROM trials ORDER BY 1") == [
        (0, "COMPLETE"),
        (1, "COMPLETE"),
    ]
    assert team.rows("hpo", "studies", "SELECT count(*) FROM hpo_outbox") == [(0,)], "all has been sent to MLflow"
    for database in ("tracking", "users"):
        with pytest.raises(psycopg.OperationalError, match="permission denied"):
            team.rows("hpo", database, "SELECT 1")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(f"postgresql://hpo:wrong@{team.composed.address(5432)}/studies")


def test_a_laptop_sees_the_study_with_the_variables_of_the_page(team: Team) -> None:
    done = team.laptop("hpo", "status", "together")
    assert done.returncode == 0, done.stderr
    assert "2 complete" in done.stdout


def test_a_laptop_hands_a_search_over(team: Team, tmp_path: Path) -> None:
    trainer = {"import": "synthetic:curve", "epochs": 1}
    (tmp_path / "space.yaml").write_text(yaml.safe_dump({**SPACE, "name": "handed", "trainer": trainer}))
    done = team.laptop("hpo", "submit", "--space", str(tmp_path / "space.yaml"))
    assert done.returncode == 0, done.stderr
    wait_until(lambda: "2 complete" in team.laptop("hpo", "status", "handed").stdout, 120)


def test_mlflow_shows_the_runs_and_serves_their_files_to_who_logs_in(team: Team) -> None:
    search = "/api/2.0/mlflow/runs/search"
    experiment = team.rows("mlflow", "tracking", "SELECT experiment_id FROM experiments WHERE name = 'together'")[0][0]
    status, body = team.ask(5000, search, login=team.admin, body={"experiment_ids": [str(experiment)]})
    assert status == 200
    runs = {run["info"]["run_name"]: run["info"] for run in json.loads(body)["runs"]}
    assert {name: run["status"] for name, run in runs.items()} == dict.fromkeys(
        ["together", "trial 0000", "trial 0001"], "FINISHED"
    )
    uri = runs["trial 0001"]["artifact_uri"]
    assert uri.startswith("mlflow-artifacts:/"), "the server writes files, not who runs the search"
    file = f"/api/2.0/mlflow-artifacts/artifacts{uri.removeprefix('mlflow-artifacts:')}/config.yaml"
    status, body = team.ask(5000, file, login=team.admin)
    assert status == 200
    assert b"lr: 0.3" in body
    for path in (file, f"{search}", "/"):
        assert team.ask(5000, path)[0] == 401
        assert team.ask(5000, path, login="admin:password1234")[0] == 401


def test_the_dashboard_shows_the_study_to_mlflows_users(team: Team) -> None:
    create = "/api/2.0/mlflow/users/create"
    anna = {"username": "anna", "password": "a long password"}
    assert team.ask(8080, "/api/studies", login="anna:a long password")[0] == 401
    assert team.ask(5000, create, login=team.admin, body=anna)[0] == 200
    status, body = team.ask(8080, "/api/studies", login="anna:a long password")
    assert status == 200
    assert "together" in [each["study_name"] for each in json.loads(body)["study_summaries"]]
    assert team.ask(8080, "/dashboard", login=team.admin)[0] == 200
    for path in ("/api/studies", "/dashboard", "/", "/static/bundle.js", "/csv/1"):
        assert team.ask(8080, path)[0] == 401, path
        assert team.ask(8080, path, login="anna:wrong")[0] == 401, path
    assert team.ask(8080, "/login", login=team.admin)[0] == 404, "it is the proxy's own"


def test_ray_takes_no_node_without_the_token(team: Team) -> None:
    assert team.uninvited[0] == 1
    assert "InvalidAuthToken" in team.uninvited[1]


def test_trials_know_the_token_of_their_cluster_and_nothing_else(team: Team) -> None:
    found = synthetic.read(team.journal)
    assert len(found) == 2
    for each in found:
        held = {name for name, value in team.secrets.items() if value in each["environment"].values()}
        assert held == {"RAY_AUTH_TOKEN"}
        assert not {"OPTUNA_STORAGE", "MLFLOW_TRACKING_URI"} & each["environment"].keys()
