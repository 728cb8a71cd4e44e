"""A Ray cluster that runs already, of two machines: searches that join it, and searches that are handed to it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from machines import Head, Machine, access
from ray.runtime_env import RuntimeEnv
from servers import Postgres
from study_samples import open_study
from waiting import wait_until

import hpo
from hpo import spec
from hpo.cluster import code, guard, jobs, nodes
from hpo.errors import SpecError, Unavailable
from hpo.search import driver
from hpo.settings import resolve, user
from hpo.store.ledger import Ledger
from hpo.study import Study

TRAINER = """
import os, time
import beside


class Slow:
    def __init__(self, lr, gate, epochs=6):
        self.lr, self.gate, self.epochs, self.epoch = lr, gate, epochs, 0

    def fit(self):
        while self.epoch < self.epochs:
            if self.epoch == 3:
                with open(f"{self.gate}-{os.getpid()}", "w") as mark:
                    mark.write(__file__)
            while self.epoch == 3 and not os.path.exists(self.gate):
                time.sleep(0.05)
            self.epoch += 1
            yield {"score": self.lr * beside.FACTOR + self.epoch}

    def state_dict(self):
        return {"epoch": self.epoch}

    def load_state_dict(self, state):
        self.epoch = state["epoch"]

    def facts(self):
        seen = [name for name in os.environ if name.startswith(("OPTUNA_STORAGE", "MLFLOW_TRACKING"))]
        return {"file": __file__, "seen": ",".join(seen)}
"""
SPACE = """
name: far
metric: {{name: score, goal: maximize}}
sampler: random
pruner: none
parameters: {{lr: {{min: 0.1, max: 1.0}}}}
trainer: {{import: "slow:Slow", gate: {gate}}}
budget: {{trials: {trials}}}
"""
PICTURES = """
name: pictures
metric: val/accuracy
sampler: random
parameters: {lr: {min: 0.1, max: 1.0}}
trainer: {model: resnet18, dataset: {name: imagefolder, root: data/pictures}}
budget: {trials: 1}
"""


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A folder with a space file and its trainer, which no machine has installed."""
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "slow.py").write_text(TRAINER)
    (folder / "beside.py").write_text("FACTOR = 2\n")
    (folder / "space.yaml").write_text(SPACE.format(trials=8, gate=folder / "gate"))
    return folder


def seen(what: Callable[[], bool]) -> None:
    """Wait for it: four machines' worth of processes share this one."""
    wait_until(what, 180)


def typed(*words: str, work: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """`hpo` on a laptop, from the folder of the space file."""
    command = [sys.executable, "-m", "hpo", *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=work, env=access(**environment), timeout=120)


class Cluster:
    def __init__(self, storage: str, tracking: str, home: Path) -> None:
        self.home = home
        stores = {"OPTUNA_STORAGE": storage, "MLFLOW_TRACKING_URI": tracking, "HPO_HOME": str(home)}
        self.head = Head(cpus=2, **stores)
        try:
            self.other = Machine(f"--address={self.head.address}", cpus=2)
        except BaseException:
            self.head.close()
            raise
        self.laptop = {"OPTUNA_STORAGE": storage, "RAY_ADDRESS": self.head.jobs}

    def close(self) -> None:
        self.other.close()
        self.head.close()


@pytest.fixture(scope="module")
def cluster(postgresql: Postgres, empty_mlflow: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    there = Cluster(postgresql.database(), f"sqlite:///{empty_mlflow}", folder / "home")
    yield there
    there.close()


@pytest.mark.slow
def test_a_machine_that_sees_other_files_is_named_before_the_start(cluster: Cluster, work: Path) -> None:
    stores = {**cluster.laptop, "RAY_ADDRESS": cluster.head.address}
    # every process has another folder there
    done = typed("run", "--space", "space.yaml", "--home", "/proc/self/cwd/home", work=work, **stores)
    assert done.returncode == 2, done.stderr
    assert "2 machines of the Ray cluster cannot train this search" in done.stderr
    assert "the checkpoint folder /proc/self/cwd/home/checkpoints is not there" in done.stderr
    assert "127.0.0.1" in done.stderr
    assert "--home or HPO_HOME" in done.stderr
    assert "there are none" in typed("status", "far", work=work, **stores).stderr


@pytest.mark.slow
def test_a_search_that_was_handed_over_outlives_the_laptop_and_a_machine(cluster: Cluster, work: Path) -> None:
    handed = typed("submit", "--space", "space.yaml", "--json", work=work, **cluster.laptop)
    assert handed.returncode == 0, handed.stderr
    job = json.loads(handed.stdout)
    assert job["study"] == "far"

    ledger = Ledger.open(cluster.laptop["OPTUNA_STORAGE"])

    def waiting() -> list[str]:
        """Files of the trainers at the gate: two on each machine."""
        return [file for mark in work.glob("gate-*") if (file := mark.read_text())]

    seen(lambda: len(waiting()) == 4)
    assert "asked" in typed("stop", "far", work=work, **cluster.laptop).stdout
    seen(lambda: "stopped by" in (ledger.study("far")["outcome"] or ""))

    for mark in work.glob("gate-*"):
        mark.unlink()
    again = typed("submit", "--space", "space.yaml", work=work, LOGNAME="anna", **cluster.laptop)
    assert again.returncode == 0, again.stderr
    assert "study far starts as job far-" in again.stdout
    seen(lambda: len(waiting()) == 4)
    assert sum(str(cluster.other.folder) in file for file in waiting()) == 2
    cluster.other.kill()
    (work / "gate").touch()
    seen(lambda: "finished" in (ledger.study("far")["outcome"] or ""))
    assert "finished" in typed("status", "far", work=work, **cluster.laptop).stdout
    assert ledger.study("far")["run_by"].startswith("anna@"), "who handed it over, not the user of the head"

    study = hpo.load("far", storage=cluster.laptop["OPTUNA_STORAGE"], home=cluster.home)
    assert study.counts() == {"COMPLETE": 8}
    epochs = study.ledger.epochs(study.id)
    assert sorted((each["number"], each["epoch"]) for each in epochs) == [(n, e) for n in range(8) for e in range(1, 7)]
    outcomes = {each["outcome"] for each in study.ledger.attempts(study.id)}
    assert "its worker was lost" in outcomes
    facts = [json.loads(each["facts"]) for each in study.ledger.trials(study.id)]
    assert {each["seen"] for each in facts} == {""}  # no address, no password, though the head has them
    report = typed("report", "far", "--out", "far.html", work=work, **cluster.laptop)
    assert report.returncode == 0, report.stderr
    assert (work / "far.html").stat().st_size > 10_000


def test_what_travels_is_the_folder_of_the_trainer(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(work)
    settings = resolve(home=work / "data")
    found = code.runtime_env(spec.load(work / "space.yaml"), settings)
    assert found["working_dir"] == str(work)
    assert {"/data", ".env"} <= set(found["excludes"])
    assert [Path(each).name for each in found["py_modules"]] == ["hpo", "trainers"]
    with pytest.raises(SpecError, match=r"unknown key 'pipp'; valid: .*pip, "):
        code.runtime_env(
            spec.load(work / "space.yaml", ["ray={address: 'h:6379', runtime_env: {pipp: [timm]}}"]), settings
        )
    asked = spec.load(work / "space.yaml", ["ray={address: 'h:6379', runtime_env: {pip: [timm], excludes: [big]}}"])
    assert asked.ray_address == "h:6379"
    found = code.runtime_env(asked, settings)
    assert (found["pip"], found["excludes"][0]) == (["timm"], "big")
    monkeypatch.setattr(Path, "home", lambda: work)
    with pytest.raises(SpecError, match="all of which would travel"):
        code.runtime_env(asked, settings)


def test_a_file_beside_its_trainer_does_not_travel_alone(work: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(work)
    elsewhere = tmp_path / "space.yaml"
    elsewhere.write_text(SPACE.format(trials=1, gate="gate"))
    parsed = spec.load(elsewhere)
    with pytest.raises(SpecError, match=f"put it into {work}"), jobs._packed(parsed, elsewhere, resolve(home=work)):
        raise AssertionError


def test_nobody_takes_the_job(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(work)
    parsed, file = spec.load(work / "space.yaml"), work / "space.yaml"
    with pytest.raises(SpecError, match="no cluster is named"):
        jobs.submit(parsed, file, resolve(home=work), [])
    own = spec.load(file, ["ray={address: 'h:1', runtime_env: {working_dir: x}}"])
    with pytest.raises(SpecError, match="puts the space file there"), jobs._packed(own, file, resolve(home=work)):
        raise AssertionError
    telling = spec.load(file, ["notify=https://example.org/secret"])
    with pytest.raises(SpecError, match=r"write \$HPO_WEBHOOK"):
        jobs.submit(telling, file, resolve(home=work, ray="http://127.0.0.1:9"), [])
    (work / "pictures.yaml").write_text(PICTURES)
    pictures = spec.load(work / "pictures.yaml")
    with pytest.raises(SpecError, match="'data/pictures' is another place on the cluster"):
        jobs.submit(pictures, work / "pictures.yaml", resolve(home=work, ray="http://127.0.0.1:9"), [])
    with pytest.raises(Unavailable, match="no Ray cluster takes jobs"):
        jobs.submit(parsed, file, resolve(home=work, ray="http://127.0.0.1:9"), [])
    with pytest.raises(SpecError, match="hands a search to it"):
        guard.check("http://127.0.0.1:8265", insecure=True)


def test_no_driver_takes_part_in_a_cluster_by_the_address_of_its_jobs(home: Path) -> None:
    study = open_study(home)
    there = replace(study.settings, ray="http://127.0.0.1:8265")
    with pytest.raises(SpecError, match="`hpo submit --space FILE` hands a search to it, or goes on with one"):
        driver.run(Study.load(study.name, there), progress=False)
    assert study.ledger.study(study.name)["outcome"] is None  # nothing was begun


def test_what_a_space_file_asks_of_the_cluster_has_to_be_of_its_kind(work: Path, monkeypatch) -> None:
    monkeypatch.chdir(work)
    file = work / "space.yaml"
    parsed = spec.load(file, ["ray={address: 'http://127.0.0.1:1', runtime_env: {env_vars: {A: 1}}}"])

    class Client:
        def __init__(self, address: str) -> None:
            self.get_address = lambda: address

        def submit_job(self, **words: object) -> None:
            RuntimeEnv(**words["runtime_env"])

    monkeypatch.setattr(jobs, "_client", Client)
    with pytest.raises(SpecError, match=r"the cluster does not take the job: .*env_vars"):
        jobs.submit(parsed, file, resolve(home=work, ray="http://127.0.0.1:1", insecure_cluster=True), [])


def test_a_job_keeps_nothing_in_a_folder_of_rays(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HPO_HOME", raising=False)
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps({"metadata": {"owner": "anna"}}))
    with pytest.raises(SpecError, match="hpo submit --home"):
        resolve()
    assert resolve(home=work).home == work
    assert user() == "anna"


def test_a_cluster_that_asks_nobody_for_a_token_is_refused() -> None:
    class Open(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Open)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        with pytest.raises(SpecError, match="asks for no token"):
            jobs._require_token(f"http://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        server.server_close()


def test_a_study_is_held_while_machines_are_asked(ray_cluster: str, work: Path) -> None:
    data, ticks = work / "nowhere", list[None]()
    space = spec.from_mapping(
        {
            "name": "asks",
            "metric": "val/accuracy",
            "sampler": "grid",
            "parameters": {"lr": [0.1]},
            "trainer": {"model": "lightweight_cnn", "dataset": {"name": "imagefolder", "root": str(data)}},
        }
    )
    with pytest.raises(SpecError, match=f"1 machine .*\n.*{data} is not there"):
        nodes.check(space, work / "checkpoints", lambda: ticks.append(None))
    assert ticks
    assert list((work / "checkpoints").iterdir()) == []


@pytest.mark.parametrize("wished", ["{env_vars: {WANDB_API_KEY: x}}", "{pip: ['git+https://me:secret@example.org/x']}"])
def test_a_secret_is_nothing_for_every_machine(work: Path, monkeypatch: pytest.MonkeyPatch, wished: str) -> None:
    monkeypatch.chdir(work)
    with pytest.raises(SpecError, match=r"looks like a secret.*HPO_WORKER_ENV"):
        spec.load(work / "space.yaml", [f"ray={{address: 'h:6379', runtime_env: {wished}}}"])


def test_an_address_in_the_file_is_found_under_an_override(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(work)
    file = work / "space.yaml"
    file.write_text(f"{file.read_text()}notify: https://example.org/secret\n")
    with pytest.raises(SpecError, match=r"write \$HPO_WEBHOOK"):
        jobs.submit(spec.load(file, ["notify=null"]), file, resolve(home=work, ray="http://127.0.0.1:9"), [])
