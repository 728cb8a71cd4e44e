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
    "hpo.appraisal": {"torch", "trainers"},
    "hpo.bundle": {"mlflow", "trainers"},
    "hpo.checkpoints": {"trainers"},
    "hpo.cli_data": {"trainers"},
    "hpo.cli_models": {"trainers"},
    "hpo.evaluation": {"trainers"},
    "hpo.disk": {"trainers"},
    "hpo.export": {"torch", "trainers"},
    "hpo.guard": {"ray"},
    "hpo.probe": {"ray", "torch", "trainers"},
    "hpo.projection": {"mlflow"},
    "hpo.rebuild": {"trainers"},  # the configuration with its defaults is not in SQL
    "hpo.ranges": {"optuna"},
    "hpo.registry": {"mlflow"},
    "hpo.release": {"trainers"},
    "hpo.served": {"mlflow", "torch", "trainers"},  # read by MLflow as code, imported by nobody
    "hpo.recovery": {"optuna"},
    "hpo.resources": {"ray"},
    "hpo.runs": {"mlflow"},  # reads what projection wrote: an audit by the same code would see no mistake of it
    "hpo.scheduler": {"optuna"},
    "hpo.searcher": {"optuna"},
    "hpo.storage": {"optuna"},
    "hpo.study": {"optuna"},
    "hpo.training": {"torch", "trainers"},
    "hpo.trial": {"torch", "trainers"},
    "hpo.tuner": {"ray"},
    "hpo.worker": {"ray"},
    "hpo.space.builtin": {"trainers"},
}


LIGHT = "trainers.folders"
"""Free for all: it imports nothing, and whoever makes a folder shall make it in one way."""


def imports(path: Path) -> set[str]:
    """Top-level packages that a file imports outside `if TYPE_CHECKING`."""
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
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module not in (None, LIGHT):
            assert node.module is not None
            found.add(node.module.split(".")[0])
    return found


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
        (["check", "--space", "search_spaces/image_folder_grid.yaml"], set()),  # the pictures are not known
        (["check", "--space", "search_spaces/quickstart.yaml"], {"torch"}),  # the size of its checkpoints
        (["status", "--home", "nowhere"], {"optuna"}),
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
