"""Training that goes on while a driver is held up, and no further than it may."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import synthetic

from hpo.workers import runner
from hpo.workers.runner import Runner
from hpo.workers.trial import Assignment


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as found:
        yield found


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def assignment(journal: Path, *, trainer: str = "Resumable", epochs: int = 50, **options: Any) -> Assignment:
    where = {"import": f"synthetic:{trainer}", "lr": 0.1, "epochs": epochs, "journal": str(journal), **options}
    return Assignment(
        number=0,
        attempt=1,
        seed=3,
        trainer=where,
        recorded=0,
        checkpoint=None,
        checkpoints=journal.parent,
        folder="1/000000",
        datasets=journal.parent / "datasets",
        cpu=1,
        gpu=0,
        import_paths=(str(Path(__file__).parent),),
    )


def epochs(journal: Path) -> int:
    return len(synthetic.read(journal))


def checkpoints(journal: Path) -> list[int]:
    return sorted(int(path.stem[-4:]) for path in (journal.parent / "1/000000").iterdir())


def wait_for(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_nothing_is_trained_that_was_not_asked_for(journal: Path, pool: ThreadPoolExecutor) -> None:
    training = Runner(assignment(journal), pool)
    for epoch in (1, 2, 3):
        assert training.next_report().epoch == epoch
        time.sleep(0.1)
        assert epochs(journal) == epoch
    assert checkpoints(journal) == [2, 3]
    training.stop()
    assert epochs(journal) == 3


def test_a_silent_driver_does_not_stop_the_training(
    journal: Path, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What SQL names as the last checkpoint stays until the driver has come to the next one."""
    monkeypatch.setattr(runner, "SILENCE", 0.05)
    monkeypatch.setattr(runner, "MOST", 4)
    training = Runner(assignment(journal), pool)
    assert [training.next_report().epoch for _ in range(2)] == [1, 2]
    wait_for(lambda: epochs(journal) == 6)
    time.sleep(0.2)
    assert epochs(journal) == 6, "four wait, and no more"
    assert checkpoints(journal) == [1, 2, 3, 4, 5, 6]
    assert [training.next_report().epoch for _ in range(5)] == [3, 4, 5, 6, 7]
    assert checkpoints(journal)[0] >= 3
    training.stop()


def test_a_trial_that_was_stopped_leaves_the_thread_to_the_next(
    journal: Path, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver had it pruned after its first epoch; two more had been trained by then."""
    monkeypatch.setattr(runner, "SILENCE", 0.0)
    first = Runner(assignment(journal, sleep=0.1), pool)
    first.next_report()
    wait_for(lambda: epochs(journal) >= 3)
    first.stop()
    ran = epochs(journal)
    second = Runner(assignment(journal.with_name("second")), pool)
    assert second.next_report().epoch == 1
    second.stop()
    assert epochs(journal) == ran


def test_a_failure_comes_after_the_epochs_before_it(
    journal: Path, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "SILENCE", 0.0)
    training = Runner(assignment(journal, trainer="Unwell", kinds={"0.1": "raises"}), pool)
    training.next_report()
    wait_for(lambda: epochs(journal) == 3)
    assert training.next_report().epoch == 2
    assert training.next_report().error == "ValueError: the data has a hole"
    training.stop()


def test_the_last_epoch_is_the_last(journal: Path, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "SILENCE", 0.0)
    training = Runner(assignment(journal, epochs=3), pool)
    reports = [training.next_report() for _ in range(3)]
    assert [report.last for report in reports] == [False, False, True]
    training.stop()
    assert checkpoints(journal)[-1] == 3


def test_nothing_is_trained_for_a_driver_that_is_gone(
    journal: Path, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "SILENCE", 0.05)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    training = Runner(replace(assignment(journal), driver=(socket.gethostname(), gone.pid)), pool)
    assert training.next_report().epoch == 1
    time.sleep(0.3)
    training.stop()
    assert epochs(journal) == 1
