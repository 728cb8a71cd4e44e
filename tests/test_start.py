"""The start of a search: Ray beside the study, workers that are up already, Ctrl-C before the first trial."""

import gc
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

import hpo
from hpo.errors import SpecError
from hpo.workers.imports import uncollected

SPACE = {
    "name": "start",
    "metric": "val/accuracy",
    "sampler": "grid",
    "parameters": {"lr": {"values": [0.1, 0.2]}},
}


def test_a_worker_needs_no_environment_of_its_own(ray_cluster: str, home: Path) -> None:
    """Else it could not be one that Ray has started ahead, and the first epoch would wait for another."""
    study = hpo.run({**SPACE, "trainer": {"import": "synthetic:surroundings"}}, home=home)
    epochs = [row for number in (0, 1) for row in study.ledger.epochs(study.id, number)]
    assert len(epochs) == 2
    for row in epochs:
        metrics = yaml.safe_load(row["metrics"])
        assert metrics["runtime_env"] == 0
        assert metrics["moved"] == 0, "Tune has moved the worker into a trial's folder"


def test_what_cannot_be_opened_is_said_with_ray_up(ray_cluster: str, home: Path) -> None:
    """A new study is opened beside Ray's start: its errors must come through."""
    import optuna

    optuna.create_study(study_name="start", storage=f"sqlite:///{home}/studies.db")
    with pytest.raises(SpecError, match="not made by hpo"):
        hpo.run({**SPACE, "trainer": {"import": "synthetic:curve"}}, home=home)


def test_ctrl_c_while_ray_starts_says_how_to_go_on(home: Path) -> None:
    path = home.parent / "start.yaml"
    path.write_text(yaml.safe_dump({**SPACE, "trainer": {"import": "synthetic:curve"}}))
    command = [sys.executable, "-m", "hpo", "run", "--space", str(path), "--home", str(home)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ)
    assert process.stderr is not None
    assert process.stderr.readline().strip() == "starting Ray"
    deadline = time.monotonic() + 60
    while not (home / "studies.db").exists():  # the study is being created, and Ray is on its way
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "interrupted before its checks had ended: type the same again" in err
    assert "Traceback" not in err
    with pytest.raises(SpecError, match="no study 'start'"):
        hpo.load("start", home=home)


def test_the_garbage_collector_is_as_it_was() -> None:
    with uncollected():
        assert not gc.isenabled()
        with uncollected():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ImportError), uncollected():
        raise ImportError
    assert gc.isenabled()
