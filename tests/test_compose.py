"""The files that start a team's service, as far as they can be read: schema, secrets, what is bound where."""

import re
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml
from composed import FILE, ROOT, interpolate, load, secrets

CREDENTIALS = {"OPTUNA_STORAGE", "PGPASSWORD", "MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_PASSWORD", "POSTGRES_PASSWORD"}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return secrets(tmp_path_factory.mktemp("env"))


@pytest.fixture(scope="module")
def services(drawn: dict[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = load(drawn)["services"]
    return found


def test_the_files_follow_the_schema_of_compose(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yml"
    wrong.write_text("services: {worker: {gpus: all, port: []}}\n")
    for files, status in (([FILE, ROOT / "docker-compose.cuda.yml"], 0), ([wrong], 1)):
        command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", *files]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == status, done.stdout


def test_variables_are_filled_as_compose_does() -> None:
    said = {"NAME": "word", "EMPTY": ""}
    assert interpolate({"a": ["$${NAME} ${NAME} ${NONE:-x}${EMPTY:-y}", 1]}, said) == {"a": ["${NAME} word xy", 1]}
    with pytest.raises(LookupError, match="EMPTY: say it"):
        interpolate("${EMPTY:?say it}", said)


def test_secrets_are_drawn_once_for_their_owner_alone_and_git_never_sees_them(tmp_path: Path) -> None:
    drawn = secrets(tmp_path)
    assert (tmp_path / ".env").stat().st_mode & 0o777 == 0o600
    assert secrets(tmp_path) == drawn, "what is there stays"
    random = [value for name, value in drawn.items() if name != "MLFLOW_TRACKING_USERNAME"]
    assert all(re.fullmatch("[0-9a-f]{48}", value) for value in random)
    assert len(set(random)) == len(random) == 5
    assert ".env" in (ROOT / ".gitignore").read_text().splitlines()
    assert not any(value in FILE.read_text() for value in random)


def test_no_secret_has_a_default(drawn: dict[str, str]) -> None:
    text = FILE.read_text()
    assert set(re.findall(r"\$\{(\w+):\?make \.env", text)) == drawn.keys()
    assert set(re.findall(r"(?<!\$)\$\{(\w+)(?!\w*:\?)", text)) == {
        "BIND",
        "MLFLOW_NAME",
        "TORCH",
        "USER",
        "WORKER_CPUS",
    }
    for name in drawn:
        with pytest.raises(LookupError, match=name):
            load({**drawn, name: ""})


def test_nothing_is_bound_beyond_loopback_unless_it_is_said(drawn: dict[str, str]) -> None:
    def bound(variables: dict[str, str]) -> set[str]:
        return {port for each in load(variables)["services"].values() for port in each.get("ports", [])}

    assert bound(drawn) == {f"127.0.0.1:{port}:{port}" for port in (5000, 5432, 8080, 8265)}
    assert all(port.startswith("10.0.0.5:") for port in bound({**drawn, "BIND": "10.0.0.5"}))


def test_services_come_back_say_how_they_are_and_wait_for_each_other(services: dict[str, Any]) -> None:
    lasting = {name: told for name, told in services.items() if not told.get("profiles")}
    assert lasting.keys() == {"postgres", "mlflow", "dashboard", "proxy", "ray", "worker"}
    assert all(told["restart"] == "unless-stopped" for told in lasting.values())
    assert all(told["healthcheck"]["test"] for told in lasting.values())
    waits = [each for told in services.values() for each in told.get("depends_on", {}).values()]
    assert waits
    assert all(each == {"condition": "service_healthy"} for each in waits)


def test_workers_and_the_proxy_hold_no_credentials(services: dict[str, Any]) -> None:
    for name in ("worker", "proxy"):
        assert not CREDENTIALS & services[name].get("environment", {}).keys()
    assert "--num-cpus=0" in services["ray"]["command"], "drivers run there, which log in, and no trials"
    assert CREDENTIALS - {"POSTGRES_PASSWORD"} <= services["hpo"]["environment"].keys()


def test_no_trial_reaches_the_dashboard_which_has_no_login(services: dict[str, Any]) -> None:
    networks = {name: set(told.get("networks", ["default"])) for name, told in services.items()}
    assert not networks["dashboard"] & (networks["worker"] | networks["ray"])
    assert networks["dashboard"] == networks["proxy"] <= networks["mlflow"] & networks["postgres"]
    assert "ports" not in services["dashboard"]


def test_drivers_and_workers_see_one_home_under_one_path(services: dict[str, Any]) -> None:
    home = f"home:{services['hpo']['environment']['HPO_HOME']}"
    assert all(home in services[name]["volumes"] for name in ("hpo", "worker"))
    image = (ROOT / "Dockerfile").read_text()
    assert re.search(r"install -d -o hpo .* /hpo /artifacts /tmp/ray", image), "a new volume is root's else"
    assert "\nUSER hpo\n" in image


def test_what_the_image_is_made_of_is_there_and_no_more_is_sent() -> None:
    lines = [line.split()[1:-1] for line in (ROOT / "Dockerfile").read_text().splitlines() if line.startswith("COPY")]
    copied = {name for line in lines for name in line}
    assert all((ROOT / name).exists() for name in copied)
    said = (ROOT / ".dockerignore").read_text().split()
    assert said[0] == "*"
    assert {line[1:] for line in said if line.startswith("!")} == copied
    assert not any(fnmatch(".env", line[1:]) for line in said[1:])


def test_the_page_names_every_secret_port_and_choice(drawn: dict[str, str]) -> None:
    page = (ROOT / "docs/service.md").read_text()
    for name in [*drawn, "BIND=", "MLFLOW_NAME=", "TORCH=", "WORKER_CPUS=", "docker-compose.cuda.yml"]:
        assert f"`{name}" in page or f":{name}`" in page, name
    assert set(re.findall(r"^\| (\d{4}) \|", page, re.MULTILINE)) == {"5000", "5432", "8080", "8265"}


def test_workers_may_be_many(services: dict[str, Any]) -> None:
    assert not {"ports", "container_name", "hostname", "network_mode"} & services["worker"].keys()


def test_gpus_are_the_workers_alone() -> None:
    over = yaml.safe_load((ROOT / "docker-compose.cuda.yml").read_text())
    assert over == {"services": {"worker": {"gpus": "all"}}}
