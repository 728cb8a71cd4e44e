"""What is left after a driver is killed, interrupted or doubled; the driver is a real process."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import synthetic
import yaml
from audit import disagreements, mlflow_runs

import hpo
from hpo.errors import SpecError

GRID = {"lr": {"values": [0.01, 0.05, 0.1]}, "weight_decay": {"values": [1e-4, 1e-3, 1e-2]}}


class Drivers:
    """Starts `hpo` against the shared cluster and one home; kills what is left."""

    def __init__(self, address: str, home: Path) -> None:
        self.environment = {**os.environ, "RAY_ADDRESS": address, "HPO_HOME": str(home)}
        self.home = home
        self.journal = home.parent / "journal"
        self.started: list[subprocess.Popen[str]] = []

    def write(self, name: str, **changes: Any) -> Path:
        """A space of nine points, 4 epochs of 0.1 s each."""
        trainer = {"import": "synthetic:Resumable", "epochs": 4, "sleep": 0.1, "journal": str(self.journal)}
        space = {"name": name, "metric": "val/accuracy", "sampler": "grid", "parameters": GRID, "trainer": trainer}
        path = self.home.parent / f"{name}.yaml"
        path.write_text(yaml.safe_dump({**space, **changes}))
        return path

    def start(self, *arguments: str | Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "hpo", *map(str, arguments)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        process = subprocess.Popen(command, env=self.environment, **pipes)  # type: ignore[call-overload]
        self.started.append(process)
        return process

    def finish(self, *arguments: str | Path) -> tuple[int, str, str]:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=120)
        return process.returncode, out, err

    def wait_for(self, what: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not what():
            assert time.monotonic() < deadline, "waited for 60 s"
            time.sleep(0.02)

    def epochs(self) -> int:
        return len(synthetic.read(self.journal))


@pytest.fixture
def drivers(ray_cluster: str, home: Path) -> Iterator[Drivers]:
    drivers = Drivers(ray_cluster, home)
    yield drivers
    for process in drivers.started:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_a_grid_killed_twice_ends_with_exactly_its_nine_points(drivers: Drivers) -> None:
    path = drivers.write("grid")
    first = drivers.start("run", "--space", path)
    drivers.wait_for(lambda: drivers.epochs() >= 7)
    first.kill()
    first.wait()
    before = set(hpo.load("grid", home=drivers.home).trials.query("state == 'COMPLETE'").number)

    reached = drivers.epochs()
    second = drivers.start("resume", "grid")
    drivers.wait_for(lambda: drivers.epochs() >= reached + 8)
    second.kill()
    second.wait()

    code, out, err = drivers.finish("resume", "grid")
    assert code == 0, err
    study = hpo.load("grid", home=drivers.home)
    assert study.counts() == {"COMPLETE": 9}
    assert before <= set(study.trials.query("state == 'COMPLETE'").number)
    points = {(row.lr, row.weight_decay) for row in study.trials.itertuples()}
    assert points == {(lr, decay) for lr in GRID["lr"]["values"] for decay in GRID["weight_decay"]["values"]}
    for lr, decay in points:
        done = [e["epoch"] for e in synthetic.read(drivers.journal) if (e["lr"], e["weight_decay"]) == (lr, decay)]
        assert sorted(set(done)) == [1, 2, 3, 4]
        assert len(done) <= 4 + 2, f"more than one epoch redone a kill: {done}"
    assert disagreements(study) == []
    assert "best trial" in out


def test_ctrl_c_leaves_a_queue_and_says_how_to_go_on(drivers: Drivers) -> None:
    path = drivers.write("break")
    process = drivers.start("run", "--space", path)
    drivers.wait_for(lambda: drivers.epochs() >= 3)
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert time.monotonic() - began < 10
    assert "hpo resume break" in err
    study = hpo.load("break", home=drivers.home)
    assert "RUNNING" not in study.counts()
    assert study.counts()["WAITING"] > 0
    assert {run["status"] for run in mlflow_runs(study).values()} <= {"SCHEDULED", "FINISHED"}
    assert disagreements(study) == []

    assert drivers.finish("resume", "break")[0] == 0
    finished = hpo.load("break", home=drivers.home)
    assert finished.counts() == {"COMPLETE": 9}
    assert disagreements(finished) == []


def test_an_epoch_that_outlasts_the_grace_time_is_cut_off(drivers: Drivers) -> None:
    trainer = {"import": "synthetic:Resumable", "epochs": 2, "sleep": 600, "journal": str(drivers.journal)}
    process = drivers.start("run", "--space", drivers.write("long", trainer=trainer))
    drivers.wait_for(lambda: _running(drivers.home, "long"))
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert time.monotonic() - began < 10
    study = hpo.load("long", home=drivers.home)
    assert study.counts() == {"WAITING": 9}
    # it waits six seconds for MLflow, which may be too few for the first records of a busy machine
    assert not [each for each in disagreements(study) if "wait for MLflow" not in each]


def test_a_second_ctrl_c_ends_at_once(drivers: Drivers) -> None:
    trainer = {"import": "synthetic:Resumable", "epochs": 2, "sleep": 600, "journal": str(drivers.journal)}
    process = drivers.start("run", "--space", drivers.write("twice", trainer=trainer))
    drivers.wait_for(lambda: _running(drivers.home, "twice"))
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped at once" in err
    assert hpo.load("twice", home=drivers.home).counts() == {"WAITING": 9}


def test_a_second_driver_is_refused_and_stop_ends_the_first(drivers: Drivers) -> None:
    trainer = {"import": "synthetic:Resumable", "epochs": 1000, "sleep": 0.1, "journal": str(drivers.journal)}
    path = drivers.write("owned", trainer=trainer)
    first = drivers.start("run", "--space", path)
    drivers.wait_for(lambda: drivers.epochs() >= 2)

    code, out, err = drivers.finish("run", "--space", path)
    assert code == 4
    assert f"process {first.pid}" in err
    assert "Traceback" not in err
    assert out == ""
    code, _, err = drivers.finish("delete", "owned", "--yes")
    assert code == 4
    assert "hpo stop owned" in err

    code, out, _ = drivers.finish("stop", "owned")
    assert (code, f"process {first.pid}" in out) == (0, True)
    first.communicate(timeout=60)
    assert first.returncode == 130
    status = json.loads(drivers.finish("status", "owned", "--json")[1])
    assert status["state"].startswith("stopped by `hpo stop`; go on with: ")
    assert "hpo resume owned" in status["state"]
    assert "RUNNING" not in hpo.load("owned", home=drivers.home).counts()


@pytest.mark.long
def test_a_changed_space_is_refused_with_the_difference(drivers: Drivers) -> None:
    study = hpo.run(drivers.write("fixed", budget={"trials": 1}), home=drivers.home)
    changed = {"lr": {"values": [0.01, 0.5]}, "weight_decay": GRID["weight_decay"]}
    with pytest.raises(SpecError, match=r"parameters\.lr\.values") as caught:
        hpo.run(drivers.write("fixed", parameters=changed), home=drivers.home)
    assert "hpo delete fixed" in str(caught.value)
    assert study.counts() == {"COMPLETE": 1}

    more = hpo.run(drivers.write("fixed", budget={"trials": 2}), home=drivers.home)
    assert more.counts() == {"COMPLETE": 2}


@pytest.mark.long
def test_delete_clears_sql_files_and_mlflow_and_frees_the_name(drivers: Drivers) -> None:
    path = drivers.write("gone", budget={"trials": 1})
    study = hpo.run(path, home=drivers.home)
    folder = study.folder
    assert folder.exists()
    assert drivers.finish("delete", "gone", "--yes")[0] == 0
    assert not folder.exists()
    with pytest.raises(SpecError, match="no study 'gone'"):
        hpo.load("gone", home=drivers.home)
    again = hpo.run(path, home=drivers.home)
    assert again.counts() == {"COMPLETE": 1}
    assert disagreements(again) == []


def _running(home: Path, name: str) -> bool:
    try:
        return hpo.load(name, home=home).counts().get("RUNNING", 0) > 1
    except SpecError:
        return False
