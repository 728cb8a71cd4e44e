"""A trial trained again from its record: the same numbers, or what is not the same."""

import json
import math
import sys
from pathlib import Path

import pytest
from study_samples import open_study, train

from hpo.errors import HpoError, SpecError
from hpo.study import Study
from hpo.winner.reproduce import judge, reproduce

DIGITS = {"model": "lightweight_cnn_gap", "dataset": {"name": "digits", "limit": 200}, "epochs": 2}
FACTS = {"git_commit": "a", "git_dirty": False, "device": "cpu", "versions": {"torch": "2"}, "dataset_fingerprint": "f"}


def trained(home: Path, **sections: object) -> Study:
    """A study with one trial that was really trained, here instead of in a worker."""
    study = open_study(home, **sections)
    train(study, 1)
    return study


def test_a_training_of_the_built_in_trainer_is_identical(home: Path) -> None:
    study = trained(home, parameters={"lr": {"min": 0.01, "max": 0.1}}, trainer=DIGITS, metric="val/accuracy")
    told: list[int] = []
    before = sorted(path for path in home.rglob("*") if path.is_file() and "datasets" not in path.parts)
    found = reproduce(study, 0, lambda epoch, value: told.append(epoch))
    assert (found.verdict, found.first, found.surroundings) == ("identical", None, ())
    assert found.value == found.now is not None
    assert told == [1, 2]
    assert before == sorted(path for path in home.rglob("*") if path.is_file() and "datasets" not in path.parts)


def test_another_record_is_another_curve(home: Path) -> None:
    study = trained(home, trainer={"import": "synthetic:Resumable", "epochs": 4})
    epoch = study.ledger.epochs(study.id, 0)[1]
    wrong = json.dumps({"val/accuracy": json.loads(epoch["metrics"])["val/accuracy"] - 0.3})
    with study.ledger.begin() as connection:
        connection.exec_driver_sql("UPDATE hpo_epoch SET metrics = ? WHERE epoch = 2", (wrong,))
    found = reproduce(study, 0, lambda *_: None)
    assert found.verdict == "different"
    assert found.first is not None
    assert found.first.what == "val/accuracy at epoch 2"
    assert found.largest == pytest.approx(0.3)


def test_what_is_not_there_is_said(home: Path) -> None:
    study = open_study(home)
    with pytest.raises(SpecError, match="no epoch of trial 3 on record; there are of: none"):
        reproduce(study, 3, lambda *_: None)


def test_a_training_that_breaks_says_after_which_epoch(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "brittle_once.py"
    module.write_text("def train(lr, epochs=3):\n    for _ in range(epochs):\n        yield {'val/accuracy': lr}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    study = trained(home, trainer={"import": "brittle_once:train", "epochs": 3})
    module.write_text("def train(lr, epochs=3):\n    yield {'val/accuracy': lr}\n    raise ValueError('a hole')\n")
    del sys.modules["brittle_once"]
    with pytest.raises(HpoError, match="after 1 of 3 epochs: ValueError: a hole"):
        reproduce(study, 0, lambda *_: None)


@pytest.mark.parametrize(
    ("now", "verdict"), [(0.5, "identical"), (0.51, "close"), (0.53, "different"), (math.nan, "different")]
)
def test_verdicts(now: float, verdict: str) -> None:
    there = {1: {"val/accuracy": 0.5, "seconds": 1.0, "images_per_second": 9.0, "peak_memory_mb": 3.0}}
    again = {1: {"val/accuracy": now, "seconds": 2.0, "images_per_second": 8.0, "peak_memory_mb": 4.0}}
    assert judge(there, again, FACTS, FACTS, metric="val/accuracy").verdict == verdict


@pytest.mark.parametrize(
    ("curve", "again", "verdict"),
    [
        ([0.001], [0.02], "different"),
        ([0.02, 0.001], [0.02, 0.0011], "close"),
        ([1e6, 0.5, 0.4], [1e6, 0.5, 0.45], "different"),  # a first epoch that was far off is no measure
        ([0.0], [0.0001], "different"),
        ([-0.5], [-0.505], "close"),
        ([250.0], [254.0], "close"),
    ],
)
def test_what_is_no_share_is_measured_by_its_own_curve(curve: list[float], again: list[float], verdict: str) -> None:
    there, now = ({epoch: {"val/loss": each} for epoch, each in enumerate(them, 1)} for them in (curve, again))
    assert judge(there, now, FACTS, FACTS, metric="val/loss").verdict == verdict


def test_a_metric_or_an_epoch_that_is_missing_makes_it_different() -> None:
    there = {1: {"val/accuracy": 0.5, "val/loss": 1.0, "seconds": 1.0}, 2: {"val/accuracy": 0.6, "val/loss": 0.9}}
    without_seconds = {**there, 1: {"val/accuracy": 0.5, "val/loss": 1.0}}
    assert judge(there, without_seconds, FACTS, FACTS, metric="val/loss").verdict == "identical"
    found = judge(there, {1: {"val/accuracy": 0.5}, 2: there[2]}, FACTS, FACTS, metric="val/accuracy")
    assert (found.verdict, found.largest) == ("different", 0.0)
    assert judge(there, {1: there[1]}, FACTS, FACTS, metric="val/accuracy").verdict == "different"


def test_what_a_killed_one_left_goes_and_what_is_at_work_stays(home: Path) -> None:
    study = trained(home, trainer={"import": "synthetic:Resumable", "epochs": 2})
    root = home / ".reproduce"
    (root / "dead").mkdir(parents=True)
    (root / "dead" / "epoch-0001.pt").touch()
    seen: list[int] = []

    def say(epoch: int, value: float | None) -> None:
        assert not (root / "dead").exists()
        seen.append(len(list(root.iterdir())))
        if len(seen) == 1:  # another one beside it
            reproduce(study, 0, say)

    reproduce(study, 0, say)
    assert seen == [1, 2, 2, 1]
    assert list(root.iterdir()) == []


def test_surroundings_that_differ_are_named() -> None:
    there = {1: {"val/accuracy": 0.5}}
    now = {**FACTS, "git_commit": "b", "versions": {"torch": "3", "cuda": "13"}}
    found = judge(there, there, FACTS, now, metric="val/accuracy").surroundings
    assert [(each.what, each.recorded, each.now) for each in found] == [
        ("code, commit", "a", "b"),
        ("version of torch", "2", "3"),
        ("version of cuda", None, "13"),
    ]
    old = {"device": "cuda", "dataset_fingerprint": "f"}  # an earlier version recorded no more
    assert [each.what for each in judge(there, there, old, now, metric="val/accuracy").surroundings] == ["device"]
