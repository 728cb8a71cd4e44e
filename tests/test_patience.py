"""A database that is away for a while, over real SQLite and PostgreSQL."""

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy
import synthetic
from audit import disagreements
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState
from servers import Postgres
from study_samples import TREE, open_study, report, scheduler_of
from waiting import wait_until

import hpo
from hpo.errors import Unavailable
from hpo.search.searcher import Searcher
from hpo.store import database, patience
from hpo.store.lease import Lease
from hpo.store.patience import Patience
from hpo.store.storage import STORAGE_ERRORS, alone
from hpo.study import Study


@contextmanager
def locked(path: Path, seconds: float, until: threading.Event | None = None) -> Iterator[None]:
    """Another writer holds a SQLite file for so long, or until an event if that comes first."""
    held, released = threading.Event(), until or threading.Event()

    def hold() -> None:
        with sqlite3.connect(path, isolation_level=None) as connection:
            connection.execute("BEGIN IMMEDIATE")
            held.set()
            released.wait(seconds)
            connection.execute("COMMIT")

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    yield
    thread.join()


@contextmanager
def stopped(server: Postgres, seconds: float) -> Iterator[None]:
    """A PostgreSQL server is stopped hard and started again after so long."""
    server.stop()
    thread = threading.Timer(seconds, server.start)
    thread.start()
    yield
    thread.join()


def waits(study: Study, seconds: float) -> list[str]:
    """Give a study patience; returns what it says."""
    said: list[str] = []
    study.patience.seconds, study.patience.say = seconds, said.append
    return said


def run_two_epochs(study: Study) -> None:
    """Everything that a driver does: ask, start, report, tell, renew the lease."""
    with Lease(study) as lease, alone(study.storage):
        searcher, scheduler = Searcher(study), scheduler_of(study)
        trial = searcher.next()
        assert trial is not None
        scheduler.start(trial, cpu=1, gpu=0)
        assert scheduler.report(report(trial.number, 1, 0.1))
        assert not scheduler.report(report(trial.number, 2, 0.2, last=True))
        lease._renewed = 0.0
        assert not lease.renew()


def test_a_locked_file_is_waited_for_and_nothing_is_lost_or_doubled(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "LOCK_TIMEOUT", 0.1)
    study = open_study(home, f"sqlite:///{home}/studies.db")
    said = waits(study, 30)
    with locked(home / "studies.db", 1.5):
        began = time.monotonic()
        run_two_epochs(study)
        assert 1.0 < time.monotonic() - began < 6
    assert said[0] == "the database does not answer, trying for 30 s: database is locked"
    assert said[-1].startswith("the database is back after")
    assert [(row["number"], row["epoch"]) for row in study.ledger.epochs(study.id)] == [(0, 1), (0, 2)]
    assert study.counts() == {"COMPLETE": 1}


def test_a_server_that_is_stopped_hard_is_waited_for(home: Path, own_postgresql: Postgres) -> None:
    study = open_study(home, own_postgresql.database())
    said = waits(study, 60)
    with stopped(own_postgresql, 1.5):
        run_two_epochs(study)
    assert len(said) >= 2
    assert study.counts() == {"COMPLETE": 1}
    assert len(study.ledger.epochs(study.id)) == 2
    assert [row["outcome"] for row in study.ledger.attempts(study.id)] == ["complete"]


def test_patience_has_an_end_and_nobody_waits_for_what_lasts(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "LOCK_TIMEOUT", 0.1)
    study = open_study(home, f"sqlite:///{home}/studies.db")
    with locked(home / "studies.db", 1.5):
        for seconds in (0.0, 0.5):
            waits(study, seconds)
            began = time.monotonic()
            with pytest.raises(STORAGE_ERRORS):
                study.ledger.post(study.id, None, "tags", {})
            assert time.monotonic() - began < seconds + 0.5
    waits(study, 60)
    with study.ledger.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE hpo_outbox RENAME TO lost")
    with pytest.raises(sqlalchemy.exc.OperationalError, match="no such table"):
        study.ledger.pending_count(study.id)


@pytest.mark.long
@pytest.mark.slow
def test_a_driver_that_has_waited_in_vain_ends_and_can_be_resumed(
    home: Path, tmp_path: Path, ray_cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not wait anew with each call that it winds up with."""
    monkeypatch.setattr(database, "LOCK_TIMEOUT", 0.1)
    monkeypatch.setattr(patience, "SECONDS", 4.0)
    journal = tmp_path / "journal"
    tree = TREE | {"budget": {"trials": 2}, "resources": {"gpu": 0}}
    tree["trainer"] = {"import": "synthetic:Resumable", "epochs": 40, "sleep": 0.2, "journal": str(journal)}
    took: list[float] = []

    def lock() -> None:
        wait_until(lambda: len(synthetic.read(journal)) > 4)
        with locked(home / "studies.db", 40, until=ended):
            took.append(time.monotonic())

    ended = threading.Event()
    thread = threading.Thread(target=lock)
    thread.start()
    with pytest.raises(Unavailable, match=r"database is locked; go on with: .*hpo resume study"):
        hpo.run(tree, home=home, ray=ray_cluster, progress=False)
    assert time.monotonic() - took[0] < 12
    ended.set()
    thread.join()
    assert hpo.load("study", home=home, ray=ray_cluster).resume(progress=False).counts() == {"COMPLETE": 2}
    assert disagreements(hpo.load("study", home=home)) == []


def test_a_connection_that_broke_in_an_earlier_query_is_tried_again() -> None:
    """Optuna answers some errors with another query on the same connection, and reports what that one ends in."""
    patience, calls = Patience(), []
    patience.seconds = 60

    def broken_once() -> str:
        calls.append(1)
        if len(calls) == 1:
            raise StorageInternalError("in the commit") from sqlalchemy.exc.PendingRollbackError("reconnect first")
        return "done"

    assert patience.call(broken_once) == "done"


def test_a_fault_of_the_caller_is_not_tried_again() -> None:
    patience, calls = Patience(), []
    patience.seconds = 60

    def wrong() -> None:
        calls.append(1)
        raise ValueError("no database's")

    with pytest.raises(ValueError, match="no database's"):
        patience.call(wrong)
    assert len(calls) == 1


def test_what_was_done_without_an_answer_is_not_done_twice(home: Path, storage: str) -> None:
    """As after a connection that broke between the database's commit and its answer."""
    study = open_study(home, storage)
    searcher, scheduler = Searcher(study), scheduler_of(study)
    trial = searcher.next()
    assert trial is not None
    assignment = scheduler.start(trial, cpu=1, gpu=0)
    assert assignment is not None
    for _ in range(2):
        study.ledger.add_epoch(study.id, 0, epoch=1, attempt=1, metrics={"val/accuracy": 0.1})
    assert len(study.ledger.epochs(study.id)) == 1
    assert [row["kind"] for row in study.ledger.pending(study.id, 100)] == ["start", "epoch"]

    lost = study.optuna.ask()  # whose answer never came
    asked = searcher.next()
    assert asked is not None
    scheduler.start(asked, cpu=1, gpu=0)
    searcher.reclaim(scheduler.running)
    assert {each.number: each.state for each in study.frozen_trials()} == {
        0: TrialState.RUNNING,
        lost.number: TrialState.WAITING,
        asked.number: TrialState.RUNNING,
    }
    assert searcher.left == 2, "of four, two have been started"
    again = searcher.next()
    assert again is not None
    assert again.number == lost.number


def test_a_database_that_is_not_there_at_the_start_is_said_at_once(home: Path) -> None:
    began = time.monotonic()
    with pytest.raises(Unavailable, match="does not answer"):
        open_study(home, "postgresql://hpo@127.0.0.1:1/none")
    assert time.monotonic() - began < 5
