"""One driver owns a study at a time; over SQLite and PostgreSQL where it matters."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import sqlalchemy as sql
from study_samples import open_study

from hpo.errors import StudyOwned
from hpo.store.lease import Lease, holder
from hpo.store.tables import studies


def test_the_lease_keeps_a_second_driver_out_until_the_first_is_gone(home: Path, storage: str) -> None:
    study = open_study(home, storage)
    with Lease(study):
        row = study.ledger.study("study")
        assert row is not None
        assert f"process {os.getpid()}" in str(holder(row))
        with pytest.raises(StudyOwned, match="hpo stop study"), Lease(study):
            pass
    with Lease(study):
        pass


@pytest.mark.parametrize(
    "dead",
    [
        {"pid": 2**22 + 1},
        {"process": "another start"},
        {"process": None, "expires": 1.0},
        {"host": "elsewhere", "expires": 1.0},
    ],
    ids=str,
)
def test_the_lease_of_a_dead_driver_is_taken(home: Path, dead: dict[str, Any]) -> None:
    study = open_study(home)
    with Lease(study) as lost:
        study.ledger.update_study(study.id, **dead)
        with Lease(study) as taken:
            lost._renewed = 0
            with pytest.raises(StudyOwned, match="taken over"):
                lost.renew()
            taken._renewed = 0
            assert not taken.renew()
            with study.ledger.begin() as connection:
                connection.execute(sql.update(studies).values(stop=True))
            taken._renewed = 0
            assert taken.renew()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the kernel keeps the time at which a process began")
def test_a_live_driver_keeps_its_lease_when_the_clock_steps(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel tells the time of its boot by the clock, and psutil that of a process by the time of the boot."""
    study = open_study(home)
    with Lease(study):
        row = study.ledger.study("study")
        assert row is not None
        boot = psutil.boot_time()
        monkeypatch.setattr(psutil._pslinux, "boot_time", lambda: boot + 3600)
        monkeypatch.setattr(time, "time", lambda clock=time.time: clock() + 3600)
        assert f"process {os.getpid()}" in str(holder(row))


def test_a_lease_of_an_earlier_version_holds_until_its_time_runs_out(home: Path) -> None:
    study = open_study(home)
    with Lease(study):
        study.ledger.update_study(study.id, process=None)
        row = study.ledger.study("study")
        assert row is not None
        assert holder(row)
        study.ledger.update_study(study.id, expires=time.time() - 1)
        row = study.ledger.study("study")
        assert row is not None
        assert holder(row) is None


def test_a_zombie_holds_nothing(home: Path) -> None:
    study = open_study(home)
    program = """
import os, sys
from hpo import settings
from hpo.store.lease import Lease
from hpo.study import Study
Lease(Study.load("study", settings.resolve(home=sys.argv[1]))).__enter__()
os._exit(0)
"""
    process = subprocess.Popen([sys.executable, "-c", program, str(home)])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and nobody has asked how
    row = study.ledger.study("study")
    assert row is not None
    assert row["pid"] == process.pid
    assert holder(row) is None
    process.wait()


def test_a_driver_that_slept_past_its_lease_keeps_the_study_while_it_lives(home: Path) -> None:
    study = open_study(home)
    with Lease(study) as lease:
        study.ledger.update_study(study.id, expires=1.0)
        with pytest.raises(StudyOwned), Lease(study):
            pass
        assert lease.held()
        study.ledger.update_study(study.id, owner="somebody else")
        assert not lease.held()
        lease.outcome = "mine"
    row = study.ledger.study("study")
    assert row is not None
    assert (row["owner"], row["outcome"]) == ("somebody else", None)
