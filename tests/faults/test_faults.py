"""A short round of every fault. `make soak` does the same for as long as one likes, on larger studies."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import faults
import pytest
from case import Case, Size
from servers import MlflowServer, Postgres

pytestmark = pytest.mark.slow

SIZE = Size(trials=8, epochs=5, sleep=0.1)
LONG = Size(trials=2, epochs=40, sleep=0.2)  # both at work from the first epoch to the last
SEED = 0


@pytest.fixture
def case(request: pytest.FixtureRequest, tmp_path: Path, home: Path, ray_cluster: str) -> Iterator[Case]:
    """A small study of its own, for the fault that the test is named after."""
    fault = request.node.name.removeprefix("test_")
    print(f"{fault}, seed {SEED}")
    case = Case(
        tmp_path,
        fault=fault,
        seed=SEED,
        size=SIZE,
        storage=f"sqlite:///{home}/studies.db",
        mlflow=None,
        ray=ray_cluster,
    )
    yield case
    case.close()


def check(case: Case, *, redone: int = 0) -> None:
    """What is promised whatever happens."""
    found = case.outcome()
    assert found.disagreements == []
    assert (found.lost, found.repeated or 0, found.zombies) == (0, 0, 0)
    assert found.redone <= redone
    assert len(case.table()) == case.size.trials


def test_driver_killed(case: Case) -> None:
    faults.driver_killed(case)
    check(case, redone=1)


@pytest.mark.long
def test_all_killed(case: Case) -> None:
    faults.all_killed(case)
    check(case, redone=1)


def test_worker_killed(case: Case) -> None:
    faults.worker_killed(case)
    check(case, redone=1)


@pytest.mark.long  # test_resume has it too
def test_interrupted(case: Case) -> None:
    faults.interrupted(case)
    check(case)


@pytest.mark.long
def test_driver_suspended(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "SUSPENDED_SECONDS", 8.0)
    case.size = LONG
    faults.driver_suspended(case)
    check(case)


@pytest.mark.long
def test_second_driver(case: Case) -> None:
    faults.second_driver(case)
    check(case)


@pytest.mark.long
def test_sqlite_locked(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "LOCKED_SECONDS", 8.0)  # longer than SQLite's own patience
    case.size = LONG
    faults.sqlite_locked(case)
    check(case)
    assert case.meanwhile >= 12, "both trials go on well beyond the epoch at work"
    assert case.seconds < 2.5


def test_postgres_stopped(case: Case, own_postgresql: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "DOWN_SECONDS", 6.0)
    case.size = LONG
    case.storage = case.environment["OPTUNA_STORAGE"] = own_postgresql.database()
    faults.postgres_stopped(case, own_postgresql)
    check(case)
    assert case.meanwhile >= 12, "both trials go on well beyond the epoch at work"
    assert case.seconds < 5


@pytest.mark.long
@pytest.mark.parametrize("fault", ["mlflow_hangs", "mlflow_stopped"])
def test_mlflow_server(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    monkeypatch.setattr(faults, "HANGING_SECONDS", 5.0)
    server = MlflowServer(tmp_path)
    case.environment["MLFLOW_TRACKING_URI"] = server.url
    try:
        faults.ALL[fault](case, server)
        check(case)
        assert case.seconds < 30
    finally:
        server.stop()


@pytest.mark.long
def test_disk_full(case: Case, home: Path) -> None:
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", home], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no tmpfs can be mounted here, which takes root")
    try:
        faults.disk_full(case)
        check(case, redone=1)
    finally:
        subprocess.run(["umount", "-l", home], check=True)


@pytest.mark.long
@pytest.mark.parametrize("fault", ["trial_hangs", "trials_fail"])
def test_sick_trials_fail_alone(case: Case, fault: str) -> None:
    faults.ALL[fault](case)
    check(case)


@pytest.mark.long
def test_trial_segfaults(case: Case) -> None:
    faults.trial_segfaults(case)
    check(case, redone=2)  # its process takes the epoch along, three times
