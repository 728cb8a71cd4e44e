"""The room that checkpoints will need: forecast, shown by check, and held against what a search writes."""

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from study_samples import TREE
from typed import typed

import hpo
from hpo import settings, spec
from hpo.audit.disk import Forecast, forecast
from hpo.study import Study
from trainers import TrainConfig
from trainers.size import state_bytes

CNN: dict[str, Any] = {"model": "lightweight_cnn_gap", "dataset": {"name": "digits", "limit": 100}, "epochs": 3}
BUILT_IN: dict[str, Any] = {**TREE, "parameters": {"lr": {"min": 0.01, "max": 0.1}}, "trainer": CNN}


def ahead(home: Path, tree: dict[str, Any], seen: Study | None = None, concurrency: int | None = 1) -> Forecast:
    return forecast(spec.from_mapping(tree), settings.resolve(home=home), seen, concurrency=concurrency)


def size_of(**changes: Any) -> int:
    return state_bytes(TrainConfig.model_validate({**CNN, **changes}))


def test_the_need_is_that_of_trials_at_work_and_of_those_that_are_kept(home: Path) -> None:
    one = size_of()
    assert ahead(home, BUILT_IN).need == (3 + 3) * one
    assert ahead(home, BUILT_IN, concurrency=2).at_once == min(2, os.cpu_count() or 1)
    assert ahead(home, {**BUILT_IN, "winner": {"top": 5}}).need == (3 + 5) * one
    assert ahead(home, {**BUILT_IN, "budget": {"trials": 4, "disk": 2.0 * one}}).need == (3 + 2) * one
    assert ahead(home, {**BUILT_IN, "budget": {"trials": 4, "disk": "0.001MB"}}).need == (3 + 1) * one
    cpus = float(os.cpu_count() or 1)
    assert ahead(home, {**BUILT_IN, "resources": {"cpu": cpus}}, concurrency=None).at_once == 1
    assert ahead(home, {**BUILT_IN, "resources": {"cpu": 4 * cpus}}, concurrency=None).at_once == 1, "a run refuses it"
    many = {**BUILT_IN, "budget": {"time": "1h"}, "resources": {"cpu": cpus / 4, "gpu": 0}}
    assert ahead(home, many, concurrency=None).at_once == 4
    assert not home.exists()


@pytest.mark.parametrize(
    ("parameters", "largest"),
    [
        ({"width": {"min": 4, "max": 64}}, {"width": 64}),
        ({"width": {"values": [64, 4]}}, {"width": 64}),
        ({"optimizer": {"values": ["adam", "sgd"]}}, {"optimizer": "adam"}),
        ({"ema": {"values": [None, 0.9]}}, {"ema": 0.9}),
        ({"model": {"values": ["linear", "custom_cnn", "lightweight_cnn"]}}, {"model": "custom_cnn"}),
        (
            {
                "model": {"values": ["densenet_bc", "lightweight_cnn"]},
                "depth": {"values": [16, 40], "when": {"model": "densenet_bc"}},
                "growth": {"values": [24, 12], "when": {"depth": 16}},
                "optimizer": {"values": ["sgd", "adamw"]},
            },
            {"model": "densenet_bc", "depth": 40, "optimizer": "adamw"},
        ),
        ({"dataset.image_size": {"values": [8, 16, 32]}, "model": {"values": ["linear"]}}, {"model": "linear"}),
    ],
    ids=lambda each: "-".join(each) if isinstance(each, dict) else "",
)
def test_the_largest_network_of_the_space_counts(
    home: Path, parameters: dict[str, Any], largest: dict[str, Any]
) -> None:
    trainer = {key: value for key, value in CNN.items() if key not in parameters}
    if "dataset.image_size" in parameters:
        largest = {**largest, "dataset": {"name": "digits", "image_size": 32}}
    found = ahead(home, {**BUILT_IN, "parameters": parameters, "trainer": trainer})
    assert found.one == size_of(**largest)


@pytest.mark.slow
def test_a_checkpoint_on_record_tells_the_size_unless_the_space_holds_larger_ones(home: Path, ray_cluster: str) -> None:
    tree = {**BUILT_IN, "sampler": "grid", "parameters": {"width": {"values": [4, 40]}}, "budget": {"trials": 1}}
    before = ahead(home, tree)
    hpo.run(tree, home=home, ray=ray_cluster, concurrency=1, progress=False)
    seen = Study.load("study", settings.resolve(home=home), reading=True)
    after = ahead(home, {**tree, "budget": {"trials": 2}}, seen)
    assert (before.need, before.one) == pytest.approx((6 * size_of(width=40), after.one))
    assert 0 < after.taken < size_of(width=40)
    assert after.need == 6 * size_of(width=40) - after.taken
    assert ahead(home, tree, seen).need == 0, "the budget of trials is spent"


@pytest.mark.long
@pytest.mark.slow
def test_a_search_takes_no_more_than_was_forecast(home: Path, ray_cluster: str) -> None:
    tree = {**BUILT_IN, "sampler": "random", "budget": {"trials": 6}}
    need = ahead(home, tree).need
    assert need is not None
    with watched(home / "checkpoints") as most:
        study = hpo.run(tree, home=home, ray=ray_cluster, concurrency=1, progress=False)
    assert 0 < most[0] <= need * 1.1
    assert bytes_in(study.folder) == pytest.approx(need / 2, rel=0.1), "three are kept, of the six at most"


@contextmanager
def watched(folder: Path) -> Iterator[list[int]]:
    """The most bytes that were seen in the folder, looked at all the time."""
    most, ended = [0], threading.Event()

    def look() -> None:
        while not ended.wait(0.001):
            most[0] = max(most[0], bytes_in(folder))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield most
    finally:
        ended.set()
        watcher.join()


def bytes_in(folder: Path) -> int:
    found = 0
    for path in folder.glob("*/*/*") if folder.name == "checkpoints" else folder.glob("*/*"):
        with suppress(FileNotFoundError):
            found += path.stat().st_size
    return found


def test_a_trainer_of_ones_own_tells_with_its_first_epoch(home: Path, tmp_path: Path) -> None:
    done = check(TREE, home, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert (
        "how much checkpoints will take is not known: a trainer of one's own tells with its first epoch" in done.stdout
    )
    said = json.loads(check(TREE, home, tmp_path, "--json").stdout)
    assert (said["checkpoint_bytes_needed"], said["free_bytes"] > 0) == (None, True)


def test_pictures_that_are_named_later_leave_it_open(home: Path) -> None:
    done = typed("check", "--plan-only", "--space", "search_spaces/image_folder_grid.yaml", home=home)
    assert "is not known: trainer.dataset.root is not set: add --set trainer.dataset.root=PATH" in done.stdout


def check(tree: dict[str, Any], home: Path, folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    path = folder / "space.yaml"
    path.write_text(yaml.safe_dump(tree))
    return typed("check", "--plan-only", "--space", str(path), *more, home=home)


def test_a_search_that_no_disk_has_room_for_is_warned_of(home: Path, tmp_path: Path) -> None:
    trainer = {"model": "densenet_bc", "depth": 16, "dataset": "cifar10", "epochs": 3}
    tree = {**TREE, "parameters": {"growth": {"values": [12, 200_000]}}, "trainer": trainer}
    done = check(tree, home, tmp_path)
    assert done.returncode == 0
    assert done.stderr.startswith("warning: checkpoints may take ")
    assert "less than twice as much is free, a full disk stops the search until there is room" in done.stderr
    assert not home.exists()


@pytest.fixture
def small_home(home: Path) -> Iterator[Path]:
    """A home folder on a file system of 1 MB."""
    home.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(home)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no tmpfs can be mounted here, which takes root")
    yield home
    subprocess.run(["umount", "-l", home], check=True)


@pytest.mark.long
def test_a_file_system_with_too_little_room_is_warned_of(small_home: Path, tmp_path: Path) -> None:
    tree = {**BUILT_IN, "trainer": {**CNN, "width": 60}, "resources": {"gpu": 0}}
    for command in (["check", "--plan-only"], ["run", "--dry-run", "--concurrency", "1"]):
        path = tmp_path / "space.yaml"
        path.write_text(yaml.safe_dump(tree))
        done = typed(*command, "--space", str(path), home=small_home)
        assert done.returncode == 0
        assert "warning: checkpoints may take" in done.stderr, command
        assert f"and 1.0 MB are free in {small_home}/checkpoints: less than twice as much" in done.stderr
    said = json.loads(typed("check", "--plan-only", "--space", str(path), "--json", home=small_home).stdout)
    assert said["free_bytes"] == 2**20 < 2 * said["checkpoint_bytes_needed"]
    done = typed("check", "--plan-only", "--space", str(path), "--set", "trainer.width=4", home=small_home)
    assert done.stderr == ""
