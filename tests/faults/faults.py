"""The faults, a function each: start a study, do harm at a moment that chance has drawn, see the study to its end."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import synthetic
from case import Case
from servers import MlflowServer, Postgres

SUSPENDED_SECONDS = 20.0
LOCKED_SECONDS = 20.0
DOWN_SECONDS = 10.0
HANGING_SECONDS = 15.0


def none(case: Case) -> None:
    """Nothing happens."""
    case.start("run", "--space", case.write())
    assert case.finish()[0] == 0


def driver_killed(case: Case) -> None:
    """The driver is killed with SIGKILL, then resumed."""
    driver = case.start("run", "--space", case.write())
    case.wait_for_moment()
    driver.kill()
    driver.communicate()
    case.remember()
    case.run_on()


def all_killed(case: Case) -> None:
    """Driver, workers, Ray and sender are killed at once, as when a machine goes down, then resumed."""
    case.environment.pop("RAY_ADDRESS", None)
    driver = case.start("run", "--space", case.write())
    case.wait_for_moment()
    for pid in _family(driver.pid):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    driver.communicate()
    case.remember()
    case.run_on()


def worker_killed(case: Case) -> None:
    """The worker of the newest epoch is killed with SIGKILL; the driver goes on."""
    case.start("run", "--space", case.write())
    case.wait_for_moment()
    lines = synthetic.read(case.journal)
    known = {line["pid"] for line in lines}
    case.remember()
    os.kill(lines[-1]["pid"], signal.SIGKILL)
    killed = time.monotonic()
    # the process that comes in its place takes up the trial
    case.wait_for(lambda: any(line["pid"] not in known for line in synthetic.read(case.journal)) or case._over())
    case.seconds = time.monotonic() - killed
    code, said = case.finish()
    assert code == 0, said


def interrupted(case: Case) -> None:
    """Ctrl-C once, then resumed."""
    driver = case.start("run", "--space", case.write())
    case.wait_for_moment(until=0.7)
    driver.send_signal(signal.SIGINT)
    began = time.monotonic()
    code, _ = case.finish()
    took = time.monotonic() - began
    case.remember()
    if code != 0:  # else it had just ended
        assert code == 130
        assert took < 10
        assert "RUNNING" not in case.load().counts()
        case.run_on()


def driver_suspended(case: Case) -> None:
    """The driver is stopped by a signal for longer than an epoch may take, as a laptop that sleeps; it goes on."""
    driver = case.start("run", "--space", case.write(budget={"epoch_time": SUSPENDED_SECONDS / 2}))
    case.wait_for_moment(until=0.5)
    case.remember()
    driver.send_signal(signal.SIGSTOP)
    case.endure(SUSPENDED_SECONDS)
    driver.send_signal(signal.SIGCONT)
    _goes_on(case)


def sqlite_locked(case: Case) -> None:
    """Another writer holds the database file for 20 s, and an epoch may take half of that; the driver goes on."""
    case.start("run", "--space", case.write(budget={"epoch_time": LOCKED_SECONDS / 2}))
    case.wait_for_moment(until=0.5)
    case.remember()
    with closing(sqlite3.connect(case.storage.removeprefix("sqlite:///"), isolation_level=None, timeout=30)) as other:
        other.execute("BEGIN IMMEDIATE")
        case.endure(LOCKED_SECONDS)
        other.execute("COMMIT")
    _goes_on(case)


def postgres_stopped(case: Case, server: Postgres) -> None:
    """The database server is stopped hard and is back after 10 s, twice what an epoch may take; the driver goes on."""
    case.start("run", "--space", case.write(budget={"epoch_time": DOWN_SECONDS / 2}))
    case.wait_for_moment(until=0.5)
    case.remember()
    server.stop()
    case.endure(DOWN_SECONDS)
    server.start()
    _goes_on(case)


def mlflow_hangs(case: Case, server: MlflowServer) -> None:
    """The MLflow server takes connections and answers none for 15 s, while a search of longer epochs goes on."""
    case.start("run", "--space", case.write(options={"sleep": case.size.sleep + 1}))
    case.wait_for_moment(until=0.2)
    case.remember()
    with server.hanging():
        case.endure(HANGING_SECONDS)
    back, study = time.monotonic(), case.load()
    waited = {row["payload"] for row in study.ledger.pending(study.id, 10_000)}
    assert waited
    case.wait_for(lambda: waited.isdisjoint(row["payload"] for row in study.ledger.pending(study.id, 10_000)))
    case.seconds = time.monotonic() - back
    code, said = case.finish()
    assert code == 0, said


def mlflow_stopped(case: Case, server: MlflowServer) -> None:
    """The MLflow server is killed and stays away until the search has ended; then it is back and the study resumed."""
    case.start("run", "--space", case.write())
    case.wait_for_moment(until=0.5)
    case.remember()
    server.stop()
    code, said = case.finish()
    assert code == 0, said
    assert "records wait for MLflow" in said
    took = time.time() - synthetic.read(case.journal)[-1]["ended"]
    assert took < 20, "it may cost twenty trials a second each"
    server.start()
    began = time.monotonic()
    case.start("resume", "study")
    assert case.finish()[0] == 0
    case.seconds = time.monotonic() - began


def trial_hangs(case: Case) -> None:
    """One trial never ends its third epoch."""
    path = case.write(trainer="Unwell", options={"kinds": {"0.04": "hangs"}}, budget={"epoch_time": 3})
    case.start("run", "--space", path)
    case.wait_for(lambda: (case.folder / "unwell").exists() or case._over())
    began = (case.folder / "unwell").stat().st_mtime
    code, said = case.finish()
    assert code == 0, said
    sick = [row for point, row in case.table().items() if point[0] == 0.04]
    assert {row["state"] for row in sick} == {"FAIL"}
    assert all("took longer than 3 s" in row["error"] for row in sick)
    ended = min(row["ended"] for row in case.load().ledger.trials(case.load().id) if row["error"])
    case.seconds = ended - began
    assert case.seconds < 3 + 10


def trials_fail(case: Case) -> None:
    """In their third epoch one trial raises, one leaves its process by sys.exit, one comes to NaN."""
    errors = {"raises": "ValueError: the data has a hole", "exits": "SystemExit: 3"}
    _unwell(case, {**errors, "diverges": "val/accuracy was nan at epoch 3"})


def trial_segfaults(case: Case) -> None:
    """One trial brings its process down with SIGSEGV in its third epoch, each time."""
    _unwell(case, {"segfaults": "its worker was lost 3 times"})


def disk_full(case: Case) -> None:
    """The disk of the home folder is full; once there is room the study is resumed."""
    driver = case.start("run", "--space", case.write(options={"ballast": 20_000}))
    case.wait_for_moment(until=0.5)
    fill = case.home / "fill"
    with fill.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"\0" * 4096):
            pass
    code, said = case.finish()
    fill.unlink()
    case.remember()
    assert code in (0, 4), said
    if code == 4:
        assert "hpo resume study" in said
        assert "FAIL" not in case.load().counts(), case.load().trials.error.dropna().tolist()
        case.run_on()
    assert driver.returncode is not None


def second_driver(case: Case) -> None:
    """Another driver is started on the same study; the first goes on."""
    path = case.write()
    driver = case.start("run", "--space", path)
    case.wait_for_moment(until=0.3)
    began = time.monotonic()
    other = subprocess.run(
        [sys.executable, "-m", "hpo", "resume", "study"],
        env=case.environment,
        cwd=case.folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    case.seconds = time.monotonic() - began
    if driver.poll() is None:
        assert other.returncode == 4, other.stderr
        assert f"process {driver.pid}" in other.stderr
    assert case.finish()[0] == 0


ALL: dict[str, Callable[..., None]] = {
    each.__name__: each
    for each in (
        none,
        driver_killed,
        all_killed,
        worker_killed,
        interrupted,
        driver_suspended,
        second_driver,
        sqlite_locked,
        postgres_stopped,
        mlflow_hangs,
        mlflow_stopped,
        disk_full,
        trial_hangs,
        trials_fail,
        trial_segfaults,
    )
}


def _unwell(case: Case, errors: dict[str, str]) -> None:
    """Run a search in which the trials of some learning rates are ill, one rate a kind, and see each with its error."""
    kinds = {str(round(0.02 * number, 2)): kind for number, kind in enumerate(errors, 1)}
    case.start("run", "--space", case.write(trainer="Unwell", options={"kinds": kinds}))
    code, said = case.finish()
    assert code == 0, said
    for (lr, _), row in case.table().items():
        kind = kinds.get(str(lr))
        assert row["state"] == ("FAIL" if kind else "COMPLETE")
        assert row["error"].startswith(errors[kind]) if kind else row["error"] is None, row["error"]


def _goes_on(case: Case) -> None:
    """See the first epoch after a fault, and the end, for which no trial has been blamed."""
    began, before = time.monotonic(), case.epochs()
    case.wait_for(lambda: case.epochs() > before or case._over())
    case.seconds = time.monotonic() - began
    code, said = case.finish()
    assert code == 0, said
    assert case.load().counts() == {"COMPLETE": case.size.trials}


def _family(pid: int) -> list[int]:
    """A process and all that descend from it, by what the kernel says."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except OSError:  # it has just ended
            continue
        parent = int(text.rpartition(")")[2].split()[1])
        children.setdefault(parent, []).append(int(stat.parent.name))
    found = [pid]
    for each in found:
        found += children.get(each, [])
    return found
