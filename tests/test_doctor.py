"""`hpo doctor`, and what any command does after a driver was killed; a real MLflow, real kills."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from damage import COMPLETE, FAILED, Damage, begin, dump, kinds
from study_samples import open_study, scheduler_of
from typed import typed
from waiting import wait_until

from hpo import cli, settings
from hpo.audit import orphans
from hpo.audit.agreement import audit
from hpo.audit.repair import mend
from hpo.audit.surroundings import gpus
from hpo.errors import StudyOwned
from hpo.search.searcher import Searcher
from hpo.store.lease import Lease
from hpo.study import Study
from hpo.tracking import process as tracking


@dataclass(frozen=True, kw_only=True)
class Done:
    """What a command ended with."""

    code: int
    out: str
    err: str


Command = Callable[..., Done]


@pytest.fixture
def doctor(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """`hpo doctor` in this process, which has imported what it takes."""
    monkeypatch.setenv("HPO_HOME", str(home))

    def call(*arguments: str, **environment: str) -> Done:
        with monkeypatch.context() as changed:
            for name, value in environment.items():
                changed.setenv(name, value)
            changed.setattr(sys, "argv", ["hpo", "doctor", *arguments])
            with pytest.raises(SystemExit) as ended:
                cli.main()
        said = capsys.readouterr()
        return Done(code=int(ended.value.code or 0), out=said.out, err=said.err)

    return call


# -- drivers ----------------------------------------------------------------------------------------------------------


def test_a_study_with_a_live_driver_is_not_touched(settled: Study, doctor: Command) -> None:
    with Lease(settled):
        scheduler = scheduler_of(settled)
        begin(scheduler, Searcher(settled))
        leftover = settled.folder / "000001" / "epoch-0001.pt"
        leftover.parent.mkdir(exist_ok=True)
        leftover.write_text("x")
        before = dump(settled)
        found = audit(settled)
        assert found.agrees, found
        assert f"process {os.getpid()}" in str(found.owner)
        with pytest.raises(StudyOwned):
            mend(settled)
        assert orphans.close(settled.settings) == []
        done = doctor("study", "--fix")
        assert (done.code, "left alone" in done.err) == (4, True)
        done = doctor("--fix")
        assert (done.code, "left alone" in done.out) == (0, True)
        assert leftover.exists()
        assert dump(settled) == before
        Damage(settled).client.set_tag(Damage(settled).run_id(COMPLETE), "hpo.state", "FAIL")
        assert kinds(settled) == {"picture"}  # what has ended is looked at all the same


def test_one_query_tells_that_there_is_no_orphan(home: Path, storage: str) -> None:
    study = open_study(home, storage)
    assert orphans.close(study.settings) == []
    seconds = []
    for _ in range(20):
        began = time.perf_counter()
        orphans.close(study.settings)
        seconds.append(time.perf_counter() - began)
    assert min(seconds) < (0.01 if storage.startswith("sqlite") else 0.03), seconds  # most of it to connect
    assert orphans.close(settings.resolve(home=home / "nowhere")) == []
    assert not (home / "nowhere").exists()


@pytest.fixture
def killed(ray_cluster: str, home: Path, tmp_path: Path) -> Path:
    """The home of a study whose driver was killed while trials ran that MLflow shows as RUNNING."""
    trainer = {"import": "synthetic:Resumable", "epochs": 500, "sleep": 0.2}
    space = {"name": "study", "metric": "val/accuracy", "sampler": "random", "budget": 2}
    space |= {"parameters": {"lr": {"min": 0.0, "max": 1.0}}, "trainer": trainer}
    path = tmp_path / "space.yaml"
    path.write_text(yaml.safe_dump(space))
    command = [sys.executable, "-m", "hpo", "run", "--quiet", "--space", str(path), "--home", str(home)]
    process = subprocess.Popen([*command, "--ray", ray_cluster], stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: statuses(home).count("RUNNING") == 3, 120)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    return home


@pytest.mark.slow
def test_after_a_kill_the_next_command_closes_what_was_open(killed: Path) -> None:
    done = typed("doctor", "study", home=killed)
    assert (done.returncode, "its driver, process" in done.stdout) == (3, True), done.stdout
    done = typed("status", "study", home=killed)
    assert done.returncode == 0, done.stderr
    assert "its driver is gone; 2 unfinished trials wait to go on with: " in done.stderr
    assert "2 waiting" in done.stdout
    study = Study.load("study", settings.resolve(home=killed))
    assert study.counts() == {"WAITING": 2}
    wait_until(lambda: study.ledger.pending_count(study.id) == 0)  # seconds on a quiet machine
    assert statuses(killed) == ["SCHEDULED"] * 3
    found = audit(study)
    assert found.silent is None
    assert {each.kind for each in found.findings} <= {"leftover"}, found  # of a worker that was killed while it wrote
    done = typed("status", home=killed)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_study_that_is_about_to_be_run_is_left_to_its_next_driver(settled: Study) -> None:
    dead = {"owner": "x", "host": "elsewhere", "pid": 1, "owned_since": 1.0, "expires": 1.0}
    settled.ledger.update_study(settled.id, **dead)
    assert orphans.close(settled.settings, but="study") == []
    assert kinds(settled) == {"orphan"}
    [line] = orphans.close(settled.settings)
    assert "hpo resume study" in line
    assert orphans.close(settled.settings) == []
    [sender] = tracking._left
    assert sender.wait(60) == 0
    tracking._left.clear()
    assert audit(settled).agrees


def statuses(home: Path) -> list[str]:
    """Of MLflow's runs, read around it, so that nothing is started or locked."""
    with sqlite3.connect(f"file:{home}/mlflow.db?mode=ro", uri=True) as connection:
        found = [status for (status,) in connection.execute("SELECT status FROM runs")]
    connection.close()
    return found


# -- the command ------------------------------------------------------------------------------------------------------


def test_the_command_ends_with_0_only_when_all_agree_and_its_dry_run_is_dry(settled: Study, doctor: Command) -> None:
    done = doctor()
    assert (done.code, done.err) == (0, "")
    for word in ("python", "torch", "ray", "optuna", "mlflow", "sqlalchemy", "GPU", "answers in", "free", "agrees"):
        assert word in done.out, word

    settled.ledger.update_trial(settled.id, COMPLETE, epoch=9)
    Damage(settled).client.delete_run(Damage(settled).run_id(FAILED))
    leftover = settled.folder / "000001" / "epoch-0001.pt"
    leftover.parent.mkdir(exist_ok=True)
    leftover.write_text("12345")
    before = dump(settled)
    done = doctor("study", "--fix", "--dry-run", "--json")
    assert done.code == 3
    [said] = json.loads(done.out)["studies"]
    assert [(each["trial"], each["kind"]) for each in said["findings"]] == [(0, "tally"), (1, "leftover"), (1, "run")]
    assert said["findings"][1]["mend"] == "removes 5 bytes"
    assert (dump(settled), leftover.exists()) == (before, True)
    assert doctor().code == 3

    done = doctor("study", "--fix")
    assert done.code == 0, done.out
    assert done.out.count("mended") == 3
    assert doctor("--dry-run").code == 2


def test_stores_that_cannot_be_reached_end_with_4_and_show_no_password(settled: Study, doctor: Command) -> None:
    done = doctor(MLFLOW_TRACKING_URI="http://me:sesame@127.0.0.1:9")
    assert done.code == 4
    assert "does not answer" in done.out
    assert "sesame" not in done.out + done.err
    done = doctor("--json", OPTUNA_STORAGE="postgresql://me:sesame@127.0.0.1:9/x")
    assert done.code == 4
    assert "sesame" not in done.out + done.err
    stores = {each["store"]: each for each in json.loads(done.out)["stores"]}
    assert "refused" in stores["database"]["problem"]
    assert stores["mlflow"]["seconds"] > 0


def test_stores_that_are_damaged_end_with_4(settled: Study, doctor: Command) -> None:
    home = settled.settings.home
    (home / "other.db").write_text("this is no database")
    done = doctor(MLFLOW_TRACKING_URI=f"sqlite:///{home}/other.db")
    assert (done.code, "does not answer" in done.out) == (4, True), done.out
    done = doctor(OPTUNA_STORAGE=f"sqlite:///{home}/other.db")
    assert (done.code, "not a database" in done.out) == (4, True), done.out


def test_a_study_finds_its_mlflow_after_its_home_has_moved(settled: Study) -> None:
    elsewhere = settled.settings.home.rename(settled.settings.home.with_name("elsewhere"))
    study = Study.load("study", settings.resolve(home=elsewhere))
    assert study.settings.mlflow == f"sqlite:///{elsewhere}/mlflow.db"
    assert study.knows_mlflow


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo '0, NVIDIA H100, 81559, 4, 550.1'; echo '1, Orin, [N/A], [N/A], 540.2'", ["0 4 81559", "1 0 0"]),
        ("echo 'No devices were found'; exit 6", "none: nvidia-smi says: No devices were found"),
        ("exit 0", "none"),
    ],
    ids=["two", "failed", "none"],
)
def test_gpus_are_those_that_nvidia_smi_names(
    script: str, said: str | list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = gpus()
    assert said == (
        found if isinstance(found, str) else [f"{each.index} {each.used_mib} {each.memory_mib}" for each in found]
    )


def test_a_new_home_is_healthy_and_stays_empty(home: Path) -> None:
    done = typed("doctor", home=home)
    assert done.returncode == 0, done.stderr
    assert "none yet" in done.stdout
    assert not home.exists()
    assert typed("doctor", "nobody", home=home).returncode == 2


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that takes connections and answers none."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(64)
        yield int(server.getsockname()[1])


@pytest.mark.slow
@pytest.mark.parametrize("scheme", [pytest.param("postgresql", marks=pytest.mark.long), "http"])
def test_an_mlflow_that_hangs_or_is_down_is_asked_once_and_not_for_long(
    settled: Study, doctor: Command, silent: int, scheme: str
) -> None:
    for name in ("a", "b"):
        open_study(settled.settings.home, name=name)
    for port in (silent, 9):
        for arguments in ([], ["--fix"]):
            began = time.monotonic()
            done = doctor(*arguments, MLFLOW_TRACKING_URI=f"{scheme}://127.0.0.1:{port}/x")
            assert done.code == 4
            assert "does not answer" in done.out
            assert time.monotonic() - began < 15
