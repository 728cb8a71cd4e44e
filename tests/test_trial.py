"""One trial as a worker runs it, in this process: no Ray, no database."""

import sys
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hpo.workers.runner import Runner
from hpo.workers.trial import Assignment, Attempt, Checkpoint, Report, build, failure

HERE = "test_trial"


def assignment(
    tmp_path: Path, trainer: str, *, recorded: int = 0, checkpoint: Checkpoint | None = None, **options: Any
):
    return Assignment(
        number=0,
        attempt=1,
        seed=3,
        trainer={"import": f"{HERE}:{trainer}", **options},
        recorded=recorded,
        checkpoint=checkpoint,
        checkpoints=tmp_path,
        folder="1/000000",
        datasets=tmp_path / "datasets",
        cpu=1,
        gpu=0,
        import_paths=(str(Path(__file__).parent),),
    )


def step(work: Assignment) -> Report:
    """A worker's step, with all it does about errors."""
    with ThreadPoolExecutor(1) as pool:
        runner = Runner(work, pool)
        found = runner.next_report()
        runner.stop()
    return found


class Stateful:
    """Counts its epochs; its state is what `state` says."""

    def __init__(self, state: str = "plain") -> None:
        self.kind, self.epoch = state, 0

    def fit(self) -> Iterator[dict[str, float]]:
        while self.epoch < 12_000:
            self.epoch += 1
            yield {"val/accuracy": float(self.epoch)}

    def facts(self) -> dict[str, Any]:
        return {"parameters": np.int64(7), "activation": max}

    def state_dict(self) -> Any:
        kinds = {
            "plain": {"epoch": self.epoch},
            "keys": {"epoch": self.epoch, "momentum": {0: 0.5}, "shape": (2, 3)},
            "tensor": {"epoch": self.epoch, "weights": torch.ones(2)},
            "object": {"epoch": self.epoch, "path": Path("x")},
        }
        return kinds[self.kind]

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epoch, self.loaded = state["epoch"], state


def given(device: str, seed: int, data_folder: Path) -> Iterator[dict[str, float]]:
    yield {"cpu": float(device == "cpu"), "seed": seed, "folder": float(data_folder.name == "datasets")}


def exits() -> Iterator[dict[str, float]]:
    yield sys.exit("no licence")  # type: ignore[misc]


def surrogate() -> Iterator[dict[str, float]]:
    raise ValueError("file b\udcffad\0" + "x" * 100_000)
    yield {}


def nothing() -> Iterator[Any]:
    yield None


def odd(name: str) -> Iterator[dict[str, float]]:
    yield {name: 1.0}


def scalars() -> Iterator[dict[str, Any]]:
    yield {"numpy": np.float32(0.5), "torch": torch.tensor(0.25), "whole": 1}


def test_service_fills_in_seed_folder_and_device(tmp_path: Path) -> None:
    assert step(assignment(tmp_path, "given")).metrics == {"cpu": 1.0, "seed": 3.0, "folder": 1.0}


def test_numbers_of_numpy_and_torch_are_numbers(tmp_path: Path) -> None:
    assert step(assignment(tmp_path, "scalars")).metrics == {"numpy": 0.5, "torch": 0.25, "whole": 1.0}


def test_leaving_the_process_is_a_failure_with_its_words(tmp_path: Path) -> None:
    assert step(assignment(tmp_path, "exits")).error == "SystemExit: no licence"


def test_an_error_is_cut_and_made_fit_for_every_database(tmp_path: Path) -> None:
    report = step(assignment(tmp_path, "surrogate"))
    assert report.error is not None
    assert report.error.startswith("ValueError: file b\\udcffad\\0xxx")
    assert len(report.error) < 5000
    assert (report.error + str(report.traceback)).encode()


def test_an_error_whose_text_raises_is_still_a_failure(tmp_path: Path) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert failure(assignment(tmp_path, "exits"), Mute()).error == "Mute"


def test_a_yield_that_is_no_dict_is_a_failure_and_not_the_end(tmp_path: Path) -> None:
    assert "the trainer yielded None" in str(step(assignment(tmp_path, "nothing")).error)


@pytest.mark.parametrize("name", ["a//b", "/lead", "..", "trail/", "./x", "loss%", ""])
def test_metric_names_that_mlflow_refuses_fail_at_once(tmp_path: Path, name: str) -> None:
    assert "metric name" in str(step(assignment(tmp_path, "odd", name=name)).error)


def test_facts_are_made_plain(tmp_path: Path) -> None:
    facts = step(assignment(tmp_path, "Stateful")).facts
    assert facts is not None
    assert facts["parameters"] == "7"
    assert "max" in facts["activation"]


@pytest.mark.parametrize(("state", "suffix"), [("plain", ".json"), ("keys", ".pt"), ("tensor", ".pt")])
def test_a_state_comes_back_as_it_was_saved(tmp_path: Path, state: str, suffix: str) -> None:
    saved = Attempt(assignment(tmp_path, "Stateful", state=state)).next_report().checkpoint
    assert saved is not None
    assert saved.path.endswith(suffix)
    again = Attempt(assignment(tmp_path, "Stateful", state=state, recorded=1, checkpoint=saved))
    assert str(again._trainer.loaded) == str(Stateful(state).state_dict() | {"epoch": 1})
    assert again.next_report().epoch == 2


def test_a_state_that_could_not_be_loaded_fails_in_the_first_epoch(tmp_path: Path) -> None:
    assert "Error" in str(step(assignment(tmp_path, "Stateful", state="object")).error)


@pytest.mark.parametrize("damage", ["deleted", "changed"])
def test_a_damaged_checkpoint_is_never_loaded_and_the_trial_starts_over(tmp_path: Path, damage: str) -> None:
    first = Attempt(assignment(tmp_path, "Stateful"))
    saved = [first.next_report() for _ in range(3)][-1].checkpoint
    assert saved is not None
    path = tmp_path / saved.path
    if damage == "deleted":
        path.unlink()
    else:
        path.write_text(path.read_text().replace("3", "9"))
    again = Attempt(assignment(tmp_path, "Stateful", recorded=3, checkpoint=saved))
    report = again.next_report()
    assert (report.epoch, report.metrics) == (4, {"val/accuracy": 4.0})


def test_the_newest_two_epochs_stay_however_many_there_were(tmp_path: Path) -> None:
    attempt = Attempt(assignment(tmp_path, "Stateful"))
    attempt._epoch = attempt._trainer.epoch = 9998
    for _ in range(3):
        attempt.next_report()
    assert {path.name for path in (tmp_path / "1/000000").iterdir()} == {"epoch-10000.json", "epoch-10001.json"}


def warns(epochs: int = 3) -> Iterator[dict[str, float]]:
    for epoch in range(1, epochs + 1):
        warnings.warn("three pictures cannot be read", stacklevel=1)
        warnings.warn("spell it otherwise", DeprecationWarning, stacklevel=1)
        if epoch == 2:
            warnings.warn("x" * 1000, RuntimeWarning, stacklevel=1)
        yield {"val/accuracy": 0.1 * epoch}


@pytest.mark.filterwarnings("default")
def test_warnings_are_reported_and_still_go_to_stderr(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    attempt = Attempt(assignment(tmp_path, "warns"))
    assert attempt.next_report().warnings == ("three pictures cannot be read",)
    assert attempt.next_report().warnings == ("three pictures cannot be read", "x" * 300)
    said = capfd.readouterr().err
    assert "UserWarning: three pictures cannot be read" in said
    assert "DeprecationWarning: spell it otherwise" in said


def test_a_trial_without_a_card_trains_without_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray hides no card from a trial that asked for none."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    small = {"model": "linear", "dataset": {"name": "digits", "limit": 200}, "epochs": 1}
    assert build(replace(assignment(tmp_path, ""), trainer=small)).device.type == "cpu"
