"""What is said while other searches hold the cluster."""

import io
from pathlib import Path
from typing import Any

import pytest
import ray
from rich.console import Console

import hpo
from hpo import spec
from hpo.cluster import room
from hpo.cluster.placement import Placement
from hpo.cluster.room import lacking
from hpo.preflight.battery import Task
from hpo.preflight.names import NAMES
from hpo.preflight.remote import Far
from hpo.preflight.work import task_of
from hpo.search.board import Board, draw
from hpo.search.progress import Progress
from trainers.checks.finding import Finding

BIG = {"CPU": 8.0, "GPU": 2.0}


@pytest.mark.parametrize(
    ("free", "waited", "said"),
    [
        ({"CPU": 1.0}, 5.0, "waiting for 1 GPU and 2 CPU: other searches hold the cluster, free are 0 GPU and 1 CPU"),
        ({"CPU": 4.0, "GPU": 1.0}, 5.0, None),  # its process starts
        ({"CPU": 4.0, "GPU": 1.0}, 60.0, "waiting for 1 GPU and 2 CPU on one machine of the cluster"),
    ],
)
def test_it_is_said_what_is_waited_for(free: dict[str, float], waited: float, said: str | None) -> None:
    assert lacking(BIG, free, cpu=2.0, gpu=1.0, waited=waited) == said


def test_a_cluster_that_became_smaller_is_told_from_one_that_is_full() -> None:
    found = lacking({"CPU": 8.0}, {"CPU": 8.0}, cpu=2.0, gpu=1.0, waited=5.0)
    assert found == "waiting for 1 GPU and 2 CPU: the cluster has no more than 0 GPU and 8 CPU by now"


@pytest.fixture
def holder(ray_cluster: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Somebody else's work, which holds all but half a processor until it is killed."""
    monkeypatch.setattr(room, "SOON", 0.2)
    monkeypatch.setattr(room, "AGAIN", 0.1)

    class Holder:
        def there(self) -> bool:
            return True

    actor = ray.remote(Holder).options(num_cpus=3.5, num_gpus=2).remote()
    assert ray.get(actor.there.remote())
    return actor


class Screen(io.StringIO):
    """What is said goes here; the holder is gone as soon as it is said that something waits."""

    def __init__(self, holder: Any) -> None:
        super().__init__()
        self._holder = holder

    def write(self, text: str) -> int:
        if "waiting for" in text:
            ray.kill(self._holder)
        return super().write(text)


@pytest.mark.slow
def test_a_search_says_what_it_waits_for_and_goes_on(home: Path, holder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(holder)
    monkeypatch.setattr(Progress, "on_stderr", classmethod(lambda cls: cls(Console(file=screen, width=200))))
    tree = {
        "name": "waits",
        "metric": "val/accuracy",
        "sampler": "grid",
        "parameters": {"lr": {"values": [0.1, 0.2]}},
        "trainer": {"import": "synthetic:curve", "epochs": 1},
        "budget": {"time": "30s"},
    }
    study = hpo.run(tree, home=home)
    lines = screen.getvalue().splitlines()
    assert study.counts() == {"COMPLETE": 2}
    assert "waiting for 1 GPU and 1 CPU: other searches hold the cluster, free are 0 GPU and 0.5 CPU" in lines
    assert "the cluster has room again" in lines


def test_the_checks_say_what_they_wait_for(tmp_path: Path, holder: Any) -> None:
    tree = {
        "name": "checked",
        "metric": "val/accuracy",
        "sampler": "grid",
        "parameters": {"lr": {"values": [0.1]}},
        "trainer": {"model": "lightweight_cnn_gap", "dataset": {"name": "digits", "limit": 100}, "epochs": 1},
    }
    skip = frozenset(NAMES) - {"trainer", "classes"}
    work = task_of(spec.from_mapping(tree), tmp_path, Placement(cpu=1, gpu=1, slots=1), skip=skip, fetch=True)
    assert isinstance(work, Task)
    screen = Screen(holder)
    far = Far(work, lambda text: print(text, file=screen))
    found = [each for each in far if isinstance(each, Finding)]
    far.close()
    assert screen.getvalue().startswith("waiting for 1 GPU and 1 CPU: other searches hold the cluster")
    assert {each.name: each.verdict for each in found}["trainer"] == "pass"


def test_the_live_table_has_the_sentence() -> None:
    board = Board(
        study="s", metric="m", counts={}, total=2, lines=[], place="1 trial at a time", waits="waiting for 1 GPU"
    )
    console = Console(file=io.StringIO(), width=100)
    console.print(draw(board, height=20))
    assert isinstance(console.file, io.StringIO)
    assert "waiting for 1 GPU" in console.file.getvalue()
