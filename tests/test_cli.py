"""The commands as typed: what they print, and what they end with."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
SPACES = sorted((ROOT / "search_spaces").glob("*.yaml"))


def hpo(*arguments: str | Path, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hpo", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "HPO_HOME": str(home), "NO_COLOR": "1", "COLUMNS": "200", **environment},
        timeout=240,
    )


@pytest.mark.parametrize("space", SPACES, ids=lambda path: path.stem)
def test_every_shipped_space_has_a_plan_and_to_tell_it_writes_nothing(space: Path, home: Path) -> None:
    done = hpo("check", "--plan-only", "--space", space, home=home)
    assert done.returncode == 0, done.stderr
    assert str(home) in done.stdout
    assert not home.exists()


def test_check_tells_the_number_of_trials_and_the_parameters(home: Path) -> None:
    plans: dict[str, Any] = {}
    for name in ("densenet_cifar_grid", "densenet_cifar_random", "image_folder_grid", "quickstart"):
        done = hpo("check", "--plan-only", "--space", f"search_spaces/{name}.yaml", "--json", home=home)
        plans[name] = json.loads(done.stdout)
    assert plans["densenet_cifar_grid"]["trials"] == "9 grid points"
    assert plans["densenet_cifar_random"]["trials"] == "until 20 trials"
    assert plans["image_folder_grid"]["trials"] == "108 grid points"
    assert set(plans["quickstart"]["space"]["parameters"]) == {"lr", "weight_decay", "dropout", "batch_size"}


def test_a_bad_file_ends_with_2_every_error_and_no_side_effect(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("name: bad\nmetric: val/accuracy\nsampler: tpi\nparameters:\n  lr: {min: 1, max: 0.1}\n")
    done = hpo("run", "--space", path, home=home)
    assert done.returncode == 2
    assert f"{path}:3:10: " in done.stderr
    assert "did you mean" in done.stderr
    assert f"{path}:5:" in done.stderr
    assert "Traceback" not in done.stderr
    assert not home.exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["run", "--space", "nowhere.yaml"], 2, "nowhere.yaml"),
        (["status", "nothing"], 2, "there are no studies yet"),
        (["resume", "nothing"], 2, "there are no studies yet"),
        (["status", "--storage", "mysql://somewhere/db"], 2, "use sqlite:///PATH or postgresql://"),
        (["status", "--storage", "postgresql://me:secret@127.0.0.1:1/db"], 4, "does not answer"),
        (["frobnicate"], 2, "No such command"),
    ],
    ids=lambda each: each[0] if isinstance(each, list) else "",
)
def test_errors_are_one_message_and_an_exit_code(arguments: list[str], code: int, words: str, home: Path) -> None:
    done = hpo(*arguments, home=home)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
    assert words in done.stderr
    assert "secret" not in done.stderr + done.stdout
