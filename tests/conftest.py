"""Real things that tests share: one Ray cluster, one PostgreSQL server, databases of their own for each test."""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # `synthetic` and others that tests share

from servers import Postgres

if TYPE_CHECKING:
    from hpo.study import Study

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
for name in ("HPO_HOME", "OPTUNA_STORAGE", "MLFLOW_TRACKING_URI", "RAY_ADDRESS"):
    os.environ.pop(name, None)

HERE = Path(__file__).parent
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH")]))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out slow tests, but in CI, and long ones everywhere; not where they are asked for by name or by `-m`."""
    items.sort(key=lambda item: item.path.stem != "test_walkthrough")  # begun last, it would run when all else is done
    if config.option.markexpr or any("::" in argument for argument in config.args):
        return
    out = ("long",) if os.environ.get("CI") else ("slow", "long")
    left = [item for item in items if any(item.get_closest_marker(each) for each in out)]
    config.hook.pytest_deselected(items=left)
    items[:] = [item for item in items if item not in left]


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
def postgresql() -> Iterator[Postgres]:
    """A PostgreSQL server that lives for the test run."""
    server = _postgresql()
    yield server
    server.close()


@pytest.fixture
def own_postgresql() -> Iterator[Postgres]:
    """A PostgreSQL server that a test may stop and start."""
    server = _postgresql()
    yield server
    server.close()


def _postgresql() -> Postgres:
    programs = Postgres.find()
    if programs is None:
        if os.environ.get("CI"):
            pytest.fail("CI must run the PostgreSQL tests: install the package postgresql")
        pytest.skip("no PostgreSQL here: initdb and pg_ctl were not found")
    return Postgres(programs)


@pytest.fixture(params=["sqlite", "postgresql"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of an empty database, once of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/home/studies.db"
    server: Postgres = request.getfixturevalue("postgresql")
    return server.database()


@pytest.fixture(scope="session")
def empty_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tracking database with its tables, which take seconds to make."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture(scope="session")
def settled_home(tmp_path_factory: pytest.TempPathFactory, empty_mlflow: Path) -> Path:
    """A home folder whose records agree, for copies."""
    from damage import settle

    home = tmp_path_factory.mktemp("settled") / "home"
    settle(home, empty_mlflow)
    return home


@pytest.fixture
def settled(home: Path, settled_home: Path) -> "Study":
    """A study in which all records agree."""
    from damage import moved

    return moved(settled_home, home)


@pytest.fixture
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where a test's studies lie; for searches MLflow's tables are there, which take seconds to make."""
    home = tmp_path / "home"
    if "ray_cluster" in request.fixturenames:
        home.mkdir(mode=0o700)
        shutil.copy(request.getfixturevalue("empty_mlflow"), home / "mlflow.db")
        (home / "mlflow.db").chmod(0o600)
    return home
