"""Real things that tests share: one Ray cluster, one PostgreSQL server, databases of their own for each test."""

import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from hpo.study import Study

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
for name in ("HPO_HOME", "OPTUNA_STORAGE", "MLFLOW_TRACKING_URI", "RAY_ADDRESS"):
    os.environ.pop(name, None)

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # `synthetic`, the trainers of the tests
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH")]))


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[str]:
    """A cluster of four CPUs and two GPUs, which on most machines are declared and not there; yields its address."""
    import ray

    ray.init(
        address="local",
        num_cpus=4,
        num_gpus=2,
        include_dashboard=False,
        object_store_memory=100 * 2**20,
        log_to_driver=False,
        logging_level="ERROR",
    )
    yield ray.get_runtime_context().gcs_address
    ray.shutdown()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """URL prefix of a PostgreSQL server that lives for the test run."""
    programs = _postgresql_programs()
    if programs is None:
        if os.environ.get("CI"):
            pytest.fail("CI must run the PostgreSQL tests: install the package postgresql")
        pytest.skip("no PostgreSQL here: initdb and pg_ctl were not found")
    # a server refuses to run as root, and its socket's path must be short
    as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    if as_user:
        shutil.chown(folder, "postgres")

    def call(*command: str | Path) -> None:
        subprocess.run([*as_user, *command], check=True, capture_output=True, timeout=60, cwd="/")

    port = str(20000 + os.getpid() % 20000)
    options = f"-c listen_addresses=127.0.0.1 -p {port} -k {folder} -c fsync=off"
    call(programs / "initdb", "-D", folder / "data", "-A", "trust", "-U", "hpo", "-E", "UTF8", "--no-locale")
    call(programs / "pg_ctl", "-D", folder / "data", "-o", options, "-l", folder / "log", "-w", "start")
    yield f"postgresql://hpo@127.0.0.1:{port}"
    call(programs / "pg_ctl", "-D", folder / "data", "-m", "immediate", "stop")
    shutil.rmtree(folder)


def _postgresql_programs() -> Path | None:
    found = shutil.which("pg_ctl") and shutil.which("initdb")
    if found:
        return Path(found).parent
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return installed[-1].parent if installed else None


@pytest.fixture(params=["sqlite", "postgresql"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of an empty database, once of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/home/studies.db"
    import psycopg

    server: str = request.getfixturevalue("postgresql")
    name = f"t{uuid.uuid4().hex[:12]}"
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return f"{server}/{name}"


@pytest.fixture(scope="session")
def empty_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tracking database with its tables, which take seconds to make."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def settled(home: Path, empty_mlflow: Path) -> "Study":
    """A study in which all records agree."""
    from damage import settle

    return settle(home, empty_mlflow)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"
