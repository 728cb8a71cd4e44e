from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import trainers

ROOT = Path(trainers.__file__).parent
OTHERS = {"hpo", "ray", "optuna", "mlflow"}


@pytest.mark.parametrize("statement", ["import trainers", "import trainers.config", "from trainers import TrainConfig"])
def test_configuration_needs_no_torch(statement):
    code = f"import sys; {statement}; sys.exit(', '.join(sys.modules.keys() & {{'torch', 'numpy', 'sklearn'}}) or 0)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_public_names():
    assert trainers.__all__ == ["TrainConfig", "Trainer"]
    assert [getattr(trainers, name).__name__ for name in trainers.__all__] == trainers.__all__
    with pytest.raises(AttributeError, match="it has TrainConfig, Trainer"):
        _ = trainers.Model


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_trainers_stand_alone(path):
    tree = ast.parse(path.read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not {name.partition(".")[0] for name in imported} & OTHERS


def test_a_training_never_opens_the_test_part():
    assert "load_test" not in (ROOT / "train.py").read_text()
