"""Names lead nowhere: not those of studies, trainings or data sets, and not the paths that SQL holds."""

from pathlib import Path

import pytest

from hpo import settings, spec
from hpo.errors import SpecError
from hpo.model.training import Training
from trainers.folders import inside, private

TREE = {
    "name": "study",
    "metric": "val/accuracy",
    "sampler": "grid",
    "parameters": {"lr": {"values": [0.1]}},
    "trainer": {"import": "synthetic:curve", "epochs": 1},
}
BAD = [
    "",
    ".",
    "..",
    "...",
    "../x",
    "a/b",
    "/etc",
    "~",
    "a b",
    "a\nb",
    "a\0b",
    "-" * 65,
    "naïve",
    "$(id)",
    "a;b",
    "\x1b[31m",
]


@pytest.mark.parametrize("name", BAD)
def test_a_bad_name_is_refused_for_a_study_and_for_a_training(name: str, home: Path) -> None:
    with pytest.raises(SpecError, match="is no name"):
        spec.from_mapping({**TREE, "name": name})
    with pytest.raises(SpecError, match="is no name"):
        Training(spec.from_mapping(TREE), {}, settings.resolve(home=home), name=name, seed=0)
    assert not home.exists()


@pytest.mark.parametrize("name", ["a", "..a", "a..b", "A-1_2.x", "n" * 64, "-v"])
def test_a_good_name_is_taken(name: str, home: Path) -> None:
    assert spec.from_mapping({**TREE, "name": name}).name == name
    training = Training(spec.from_mapping(TREE), {}, settings.resolve(home=home), name=name, seed=0)
    assert training.folder.resolve().parent == (home / "trainings").resolve()


@pytest.mark.parametrize("name", ["../x", "/etc", "digits/..", "nothing"])
def test_a_dataset_is_one_of_a_list(name: str) -> None:
    trainer = {"model": "linear", "dataset": name}
    with pytest.raises(SpecError, match="is not one of"):
        spec.from_mapping({**TREE, "trainer": trainer})


def test_a_path_stays_below_its_root(tmp_path: Path) -> None:
    root = private(tmp_path / "root" / "below")
    (root / "link").symlink_to("/etc")
    assert inside(root, "1/000004/epoch-0001.pt") == root / "1" / "000004" / "epoch-0001.pt"
    for bad in ("..", "1/../../x", "/etc/passwd", "link/passwd", str(tmp_path)):
        with pytest.raises(ValueError, match="leads out of"):
            inside(root, bad)
