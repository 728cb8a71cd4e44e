"""Running Ray clusters: one that anybody may enter is refused, one with a token is used with it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from hpo import settings, spec

HEAD = """
import sys, ray
ray.init(address="local", num_cpus=2, include_dashboard=False, object_store_memory=100 * 2**20, log_to_driver=False)
print(ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
"""
ROOT = Path(__file__).parents[2]
SPACE = {
    "name": "entered",
    "metric": "val/accuracy",
    "sampler": "grid",
    "parameters": {"lr": {"values": [0.1]}},
    "trainer": {"import": "synthetic:curve", "epochs": 1},
}


@pytest.fixture(scope="module")
def open_cluster() -> Iterator[str]:
    """Address of a cluster that asks nobody for a token."""
    process = subprocess.Popen(
        [sys.executable, "-c", HEAD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "RAY_AUTH_MODE": "disabled"},
    )
    assert process.stdout is not None
    yield process.stdout.readline().strip()
    process.communicate()


CHECKS = """
import json, sys
from hpo.cluster import guard
from hpo.errors import HpoError
for address in json.loads(sys.argv[1]):
    try:
        guard.check(address, insecure=False)
        print("accepted")
    except HpoError as error:
        print(error.exit_code, error)
"""


def environment(**values: str) -> dict[str, str]:
    return {**{name: value for name, value in os.environ.items() if name != "RAY_AUTH_MODE"}, **values}


def checked(addresses: list[str], **values: str) -> list[str]:
    """What a process with these variables is told of each address."""
    command = [sys.executable, "-c", CHECKS, json.dumps(addresses)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, env=environment(**values), check=True, cwd=ROOT
    )
    return done.stdout.splitlines()


def test_a_cluster_is_asked_before_it_is_entered(open_cluster: str, ray_cluster: str) -> None:
    plain = checked([open_cluster, ray_cluster, "127.0.0.1:1", "nowhere", "ray://127.0.0.1:1"])
    assert plain[0].startswith(f"2 the Ray cluster at {open_cluster} asks for no token")
    assert "--insecure-cluster" in plain[0]
    assert plain[1].startswith(f"2 the Ray cluster at {ray_cluster} asks for a token: set RAY_AUTH_MODE=token")
    assert plain[2].startswith("4 no Ray cluster answers at '127.0.0.1:1'")
    assert plain[3].startswith("2 'nowhere' is no address")
    assert "asks for no token" in plain[4], "what cannot be told counts as open"


def test_a_token_of_ours_does_not_make_a_cluster_safe(open_cluster: str, ray_cluster: str) -> None:
    ready = checked([open_cluster, ray_cluster], RAY_AUTH_MODE="token")
    assert "asks for no token" in ready[0]
    assert ready[1] == "accepted"
    wrong = checked([ray_cluster], RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="x" * 64)[0]
    assert wrong.startswith(f"2 the Ray cluster at {ray_cluster} asks for a token")
    assert "not its own" in wrong


@pytest.mark.parametrize("said", [True, False])
def test_an_insecure_cluster_is_entered_by_who_says_so(open_cluster: str, tmp_path: Path, said: bool) -> None:
    """A trial that fits nowhere is refused only by who has looked at the cluster."""
    (tmp_path / "space.yaml").write_text(yaml.safe_dump({**SPACE, "resources": {"cpu": 1000}}))
    command = [sys.executable, "-m", "hpo", "run", "--space", "space.yaml", "--home", "home", "--ray", open_cluster]
    flag = ["--insecure-cluster"] if said else []
    done = subprocess.run(
        [*command, *flag], capture_output=True, text=True, timeout=60, cwd=tmp_path, env=environment(), check=False
    )
    assert done.returncode == 2, done.stderr
    assert ("a trial asks for 1000 CPUs" if said else "asks for no token") in done.stderr
    assert "Traceback" not in done.stderr


def test_the_next_command_has_the_flag_again(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where = settings.resolve(home=home, ray="host:1", insecure_cluster=True)
    assert where.command("resume", "study").endswith("--ray host:1 --insecure-cluster")
    monkeypatch.setenv("HPO_INSECURE_CLUSTER", "yes")
    assert where.command("resume", "study").endswith("--ray host:1")


def test_flag_environment_and_file_say_that_a_cluster_may_be_insecure(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = settings.resolve(home=home, file_ray="host:1", file_insecure_cluster=True)
    assert (said.ray, said.insecure_cluster) == ("host:1", True)
    other = settings.resolve(home=home, ray="other:1", file_ray="host:1", file_insecure_cluster=True)
    assert not other.insecure_cluster, "what the file says is about the file's cluster"
    assert settings.resolve(home=home, ray="other:1", insecure_cluster=True).insecure_cluster
    assert not settings.resolve(home=home, ray="other:1").insecure_cluster
    monkeypatch.setenv("HPO_INSECURE_CLUSTER", "1")
    assert settings.resolve(home=home, ray="other:1").insecure_cluster


def test_the_file_keeps_it_and_it_is_no_part_of_what_is_searched() -> None:
    plain, insecure = spec.from_mapping(SPACE), spec.from_mapping({**SPACE, "ray": "h:1", "insecure_cluster": True})
    assert spec.from_mapping(insecure.canonical()).insecure_cluster
    assert "insecure_cluster" not in plain.canonical()
    assert plain.hash() == insecure.hash()
