"""One driver per study: a row in SQL that the driver renews and that runs out when it dies.

Optuna's heartbeat does not work with ask and tell, and without a lease two drivers run the same budget twice.
"""

from __future__ import annotations

import os
import socket
import sys
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import psutil
import sqlalchemy as sql
from sqlalchemy.engine import Connection, RowMapping

from hpo.errors import SpecError, StudyOwned
from hpo.settings import Settings
from hpo.space.document import printable
from hpo.store.tables import studies

if TYPE_CHECKING:
    from hpo.study import Study

__all__ = ["Lease", "holder", "state"]

SECONDS = 60.0  # without a renewal for so long the study is free; longer than any stall of the control loop we know
RENEW_EVERY = 5.0
_held: set[str] = set()  # owners in this process that hold a study
BOOT = Path("/proc/sys/kernel/random/boot_id")


def state(row: RowMapping, settings: Settings) -> str:
    """Where a study stands, in words, with what goes on with it where it stands still."""
    owner = holder(row)
    if owner is not None:
        return f"running: {owner}"
    if row["outcome"]:
        return str(row["outcome"])
    if row["owned_since"] is None:
        return "new: its driver starts Ray and checks, or ended before a first trial; the same line begins it again"
    return f"its driver is gone; go on with: {settings.command('resume', row['name'])}"


def holder(row: RowMapping) -> str | None:
    """Who holds the study now, in words; None when it is free.

    A holder on this machine has it as long as its process lives, be it asleep; one elsewhere until its time runs out.
    """
    if row["owner"] is None:
        return None
    here = row["host"] == socket.gethostname()
    known = here and row["process"]  # an earlier version wrote none
    if known == _start(os.getpid()) and row["owner"] not in _held:  # it could not be given back: SQL was away
        return None
    if not (_start(row["pid"]) == known if known else row["expires"] >= time.time()):
        return None
    age = time.time() - row["owned_since"]
    return f"process {row['pid']} on {printable(row['host'])}, for {age:.0f} s"


def _start(pid: int) -> str | None:
    """What tells a process from any other that has its number, before or after; None where it has ended.

    On Linux the boot and the ticks since then: every time of day changes there when the clock is set.
    """
    if sys.platform == "linux":
        try:
            # state, parent and so on: what follows the program's name, which may hold anything
            fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            return None
        return f"{BOOT.read_text().strip()} {fields[19]}" if fields[0] not in "ZX" else None
    try:
        process = psutil.Process(pid)
        return str(process.create_time()) if process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None


class Lease:
    """Context manager that holds a study for this process."""

    def __init__(self, study: Study, *, spends: bool = True) -> None:
        """`spends`: the time that it is held counts as the study's wall time, of which there may be a budget."""
        self._spends = spends
        self._ledger = study.ledger
        self._study = study.row
        self._command = study.settings.command
        self._owner = uuid.uuid4().hex
        self._renewed = 0.0
        self.outcome: str | None = None  # written when the study is given back; the last driver's, unless it is set

    def __enter__(self) -> Lease:
        """Take the study.

        Raises:
            StudyOwned: another live driver has it; nothing was written.
            SpecError: it was deleted since it was opened.
        """
        row = self._ledger.study(self._study["name"])
        if row is None or row["id"] != self._study["id"]:
            raise SpecError(f"study {self._study['name']!r} was deleted by another command")
        busy = holder(row)
        if busy or not self._take(row):
            name = self._study["name"]
            raise StudyOwned(
                f"study {name!r} is being run by {busy or 'another driver that was quicker'}: "
                f"`{self._command('status', name)}` shows it, `{self._command('stop', name)}` ends it"
            )
        _held.add(self._owner)
        return self

    def _take(self, seen: RowMapping) -> bool:
        now = time.time()
        # only if nobody has taken or renewed it since it was seen free
        free = sql.and_(*(studies.c[key].is_not_distinct_from(seen[key]) for key in ("owner", "expires")))
        values = {
            "owner": self._owner,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "process": _start(os.getpid()),
            "owned_since": now,
            "expires": now + SECONDS,
            "stop": False,
            "outcome": None,
        }

        def write() -> bool:
            with self._ledger.begin() as connection:
                here = studies.c.id == self._study["id"]
                connection.execute(sql.update(studies).where(here, free).values(**values))
                owner: str = connection.execute(sql.select(studies.c.owner).where(here)).scalar_one()
                return owner == self._owner

        taken = self._ledger.patience.call(write)
        self._renewed, self.outcome = now, seen["outcome"]
        return taken

    def check(self, connection: Connection) -> None:
        """Make sure, for the rest of a transaction, that the study is this process's; raises as `renew`."""
        if connection.execute(sql.select(studies.c.id).where(*self._mine).with_for_update()).first() is None:
            raise self._taken_over()

    def _taken_over(self) -> StudyOwned:
        return StudyOwned(f"study {self._study['name']!r} was taken over by another driver; this one stops")

    @property
    def _mine(self) -> tuple[sql.ColumnElement[bool], ...]:
        """The study's row, as long as nobody has taken it over."""
        return studies.c.id == self._study["id"], studies.c.owner == self._owner

    def renew(self) -> bool:
        """Renew when due, adding up the study's wall time; returns whether somebody asked the driver to stop.

        Raises:
            StudyOwned: the lease had run out and another driver has taken the study.
        """
        now = time.time()
        if now - self._renewed < RENEW_EVERY:
            return False
        mine, spent = self._mine, studies.c.seconds + (now - self._renewed) * self._spends

        def write() -> bool:
            with self._ledger.begin() as connection:
                query = sql.update(studies).where(*mine).values(expires=now + SECONDS, seconds=spent)
                if connection.execute(query).rowcount == 0:
                    raise self._taken_over()
                return bool(connection.execute(sql.select(studies.c.stop).where(*mine)).scalar_one())

        stop = self._ledger.patience.call(write)
        self._renewed = now
        return stop

    def held(self) -> bool:
        """Whether the study is still this process's; after a long sleep it may not be."""
        row = self._ledger.study(self._study["name"])
        return row is not None and row["owner"] == self._owner

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _held.discard(self._owner)
        spent = studies.c.seconds + (time.time() - self._renewed) * self._spends
        values = {"owner": None, "expires": None, "seconds": spent, "outcome": self.outcome}

        def write() -> None:
            with self._ledger.begin() as connection:
                connection.execute(sql.update(studies).where(*self._mine).values(**values))

        self._ledger.patience.call(write)
