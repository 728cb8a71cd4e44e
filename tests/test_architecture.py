"""Who may import what, and that commands import no more than they need."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import hpo
import trainers

ROOT = Path(__file__).parent.parent
HEAVY = {"torch", "ray", "optuna", "mlflow"}
# module -> the heavy packages it may import, anywhere in it; modules that are not named here may import none
ALLOWED = {
    "hpo.promotion.appraisal": {"torch", "trainers"},
    "hpo.promotion.bundle": {"mlflow", "trainers"},
    "hpo.audit.checkpoints": {"trainers"},
    "hpo.commands.data": {"trainers"},
    "hpo.commands.models": {"trainers"},
    "hpo.commands.watch": {"optuna"},
    "hpo.model.evaluation": {"trainers"},
    "hpo.audit.disk": {"trainers"},
    "hpo.model.export": {"torch", "trainers"},
    "hpo.model.inspection": {"torch", "trainers"},
    "hpo.report.dataset": {"trainers"},
    "hpo.cluster.guard": {"ray"},
    "hpo.cluster.code": {"ray"},
    "hpo.preflight.battery": {"torch", "trainers"},
    "hpo.preflight.beside": {"trainers"},
    "hpo.preflight.checks": {"trainers"},
    "hpo.preflight.gate": {"trainers"},
    "hpo.preflight.here": {"trainers"},
    "hpo.preflight.names": {"trainers"},
    "hpo.preflight.outlook": {"trainers"},
    "hpo.preflight.remote": {"ray", "trainers"},
    "hpo.preflight.stores": {"trainers"},
    "hpo.preflight.work": {"trainers"},
    "hpo.model.lr_find": {"trainers"},
    "hpo.cluster.probe": {"ray", "torch", "trainers"},
    "hpo.tracking.projection": {"mlflow"},
    "hpo.audit.rebuild": {"trainers"},  # the configuration with its defaults is not in SQL
    "hpo.report.importance": {"optuna"},
    "hpo.report.scored": {"torch", "trainers"},
    "hpo.report.served": {"mlflow"},
    "hpo.rungs": {"optuna"},
    "hpo.search.gp": {"optuna", "torch"},  # imported where it is first asked
    "hpo.search.pruners": {"optuna"},
    "hpo.search.ranges": {"optuna"},
    "hpo.promotion.registry": {"mlflow"},
    "hpo.promotion.release": {"trainers"},
    "hpo.promotion.served": {"mlflow", "torch", "trainers"},  # read by MLflow as code, imported by nobody
    "hpo.search.recovery": {"optuna"},
    "hpo.cluster.resources": {"ray"},
    "hpo.cluster.room": {"ray"},
    "hpo.tracking.runs": {"mlflow"},  # an audit by the code that wrote would see no mistake
    "hpo.search.running": {"optuna"},
    "hpo.search.scheduler": {"optuna"},
    "hpo.search.searcher": {"optuna"},
    "hpo.search.tally": {"optuna"},
    "hpo.search.tpe": {"optuna"},
    "hpo.store.storage": {"optuna"},
    "hpo.store.mirror": {"optuna"},
    "hpo.archive.export": {"trainers"},
    "hpo.archive.part": {"optuna"},
    "hpo.archive.trials": {"optuna"},
    "hpo.archive.restore": {"optuna"},
    "hpo.study": {"optuna"},
    "hpo.model.training": {"torch", "trainers"},
    "hpo.workers.trial": {"torch", "trainers"},
    "hpo.cluster.jobs": {"ray"},
    "hpo.cluster.nodes": {"ray"},
    "hpo.search.tuner": {"ray"},
    "hpo.workers.worker": {"ray"},
    "hpo.space.builtin": {"trainers"},
}


ORDER = (
    "drawing",
    "space",
    "store",
    "tracking",
    "workers",
    "cluster",
    "search",
    "editing",
    "winner",
    "model",
    "promotion",
    "report",
    "audit",
    "archive",
    "preflight",
    "commands",
)
"""Packages of hpo: each imports from those before it alone."""

LIGHT = "trainers.folders"
"""Free for all: it imports nothing, and whoever makes a folder shall make it in one way."""


def modules(path: Path) -> set[str]:
    """Modules that a file imports outside `if TYPE_CHECKING`; of `from hpo import spec` it is `hpo.spec`."""
    tree = ast.parse(path.read_text())
    only_typing = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found = set()
    for node in ast.walk(tree):
        if id(node) in only_typing:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None
            found |= {f"hpo.{alias.name}" for alias in node.names} if node.module == "hpo" else {node.module}
    return found


def imports(path: Path) -> set[str]:
    """Top-level packages that a file imports outside `if TYPE_CHECKING`."""
    return {module.split(".")[0] for module in modules(path) - {LIGHT}}


@pytest.mark.parametrize("path", sorted((ROOT / "hpo").rglob("*.py")), ids=lambda path: path.stem)
def test_heavy_packages_stay_where_they_belong(path: Path) -> None:
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    assert imports(path) & (HEAVY | {"trainers"}) <= ALLOWED.get(module, set())


@pytest.mark.parametrize("path", sorted((ROOT / "hpo").rglob("*.py")), ids=lambda path: path.stem)
def test_only_settings_reads_the_environment_and_nobody_reads_pickles(path: Path) -> None:
    tree = ast.parse(path.read_text())
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    if path.stem != "settings":
        assert "getenv" not in names
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("os.environ.get", "os.getenv"):
                raise AssertionError(f"{path.name}:{node.lineno} reads the environment")
    assert "pickle" not in imports(path)


def test_imports_between_packages_point_one_way() -> None:
    folders = {path.name for path in (ROOT / "hpo").iterdir() if (path / "__init__.py").exists()}
    assert folders == set(ORDER)
    for index, package in enumerate(ORDER):
        for path in (ROOT / "hpo" / package).glob("*.py"):
            used = {module.split(".")[1] for module in modules(path) if module.startswith("hpo.")}
            wrong = used & {*ORDER[index + 1 :], "cli", "start"}
            assert not wrong, f"{path.relative_to(ROOT)} imports {', '.join(wrong)}"


def test_public_names_are_these() -> None:
    assert set(hpo.__all__) == {"Study", "__version__", "errors", "load", "run"}
    assert {"Trainer", "TrainConfig"} <= set(trainers.__all__)


@pytest.mark.parametrize(
    ("command", "allowed"),
    [
        (["--help"], set()),
        (["run", "--help"], set()),
        (["models", "describe", "resnet81"], set()),
        (["check", "--space", "search_spaces/quickstart.yaml", "--set", "trainer.model=resnet81"], set()),
        (["check", "--space", "search_spaces/image_folder_grid.yaml", "--plan-only"], set()),  # no pictures are known
        (
            ["check", "--space", "search_spaces/quickstart.yaml", "--plan-only"],
            {"torch"},
        ),  # the size of its checkpoints
        (["list", "--home", "nowhere"], set()),
        (["status", "study", "--home", "nowhere"], {"optuna"}),
        (["doctor", "--home", "nowhere"], {"optuna", "mlflow"}),
    ],
    ids=lambda each: each[0] if isinstance(each, list) else "",
)
def test_commands_import_no_more_than_they_need(command: list[str], allowed: set[str], tmp_path: Path) -> None:
    program = f"""
import atexit, sys
def tell():
    print("IMPORTED", *sorted({HEAVY!r} & set(sys.modules)))
atexit.register(tell)
sys.argv = ["hpo", *{command!r}]
from hpo.cli import main
main()
"""
    new = {**os.environ, "HPO_HOME": str(tmp_path)}  # the studies of whoever has run the demo are not looked at
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, env=new, timeout=60
    )
    imported = done.stdout.strip().splitlines()[-1].split()
    assert imported[0] == "IMPORTED", done.stderr
    assert set(imported[1:]) <= allowed
