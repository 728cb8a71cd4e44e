"""A trainer of the user's own: found beside the space file, and its signature is the list of keys."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from spec_samples import searching

from hpo.errors import SpecError
from hpo.spec import SearchSpec, from_mapping, load

SOURCE = """
class Trainer:
    def __init__(self, *, width, seed, device, depth=2, optimizer=None): ...

def train(width, **rest): ...

LIMIT = 3
"""


@pytest.fixture
def load_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "own_trainer_sample.py").write_text(SOURCE)
    (tmp_path / "own_trainer_broken.py").write_text("import nothing_of_this_name\n")
    monkeypatch.delitem(sys.modules, "own_trainer_sample", raising=False)

    def load_with(trainer: str, entries: str = "width: {min: 1, max: 9}") -> SearchSpec:
        path = tmp_path / "own.yaml"
        path.write_text(searching(entries, trainer="trainer: " + trainer))
        return load(path)

    return load_with


def test_own_trainer_is_taken_as_it_is(load_own) -> None:
    before = list(sys.path)
    spec = load_own("{import: 'own_trainer_sample:Trainer', depth: 3}")
    assert spec.resolve({"width": 4}) == {"import": "own_trainer_sample:Trainer", "depth": 3, "width": 4}
    assert sys.path == before
    assert from_mapping(spec.canonical(), folder=spec.folder).hash() == spec.hash()


def test_shorthand_and_nested_paths(load_own) -> None:
    spec = load_own("{import: own_trainer_sample:Trainer, optimizer: sgd}", "width: [1, 2]\noptimizer.lr: [0.1, 0.2]")
    assert spec.resolve({"width": 1, "optimizer.lr": 0.1})["optimizer"] == {"name": "sgd", "lr": 0.1}


def test_rest_accepts_everything(load_own) -> None:
    assert load_own("{import: own_trainer_sample:train, anything: 1}").trainer["anything"] == 1


@pytest.mark.parametrize(
    ("trainer", "entries", "message"),
    [
        ("{import: own_trainer_sample:Trainr}", "width: [1, 2]", r"6:19: .*did you mean `Trainer`"),
        ("{import: own_trainer_sample}", "width: [1, 2]", r"6:19: .*write package.module:Name"),
        ("{import: own_trainer_sample:LIMIT}", "width: [1, 2]", "is no class or function but int"),
        ("{import: own_trainer_absent:Trainer}", "width: [1, 2]", "ModuleNotFoundError"),
        ("{import: own_trainer_broken:Trainer}", "width: [1, 2]", "nothing_of_this_name"),
        ("{import: 5}", "width: [1, 2]", "is text"),
        ("{import: own_trainer_sample:Trainer, dept: 3}", "width: [1, 2]", r"6:47: .*did you mean `depth`"),
        ("{import: own_trainer_sample:Trainer}", "widht: [1, 2]\nwidth: [1, 2]", r"5:3: .*did you mean `width`"),
        ("{import: own_trainer_sample:Trainer}", "depth: [1, 2]", "needs `width`"),
        ("{import: own_trainer_sample:Trainer, width: 1}", "width: [1, 2]", "remove one"),
    ],
)
def test_error(load_own, trainer: str, entries: str, message: str) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        load_own(trainer, entries)
    assert len(str(caught.value).splitlines()) == 1
