"""The driver: runs one study from where it stands to its end."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from hpo.errors import HpoError, Interrupted, NoUsableTrial, Unavailable
from hpo.lease import Lease
from hpo.progress import Progress
from hpo.resources import Placement, cluster, is_up, place
from hpo.scheduler import Event, Scheduler
from hpo.searcher import Searcher
from hpo.settings import masked
from hpo.study import STORAGE_ERRORS, Study
from hpo.tracking import Tracking

if TYPE_CHECKING:
    from hpo.tuner import Search

__all__ = ["run"]

CLOSING_SECONDS = 30.0  # for MLflow to take the last records; a quarter of it after Ctrl-C


def run(study: Study, *, concurrency: int | None = None, progress: bool = True) -> Study:
    """Run what is left of the study, at most `concurrency` trials at a time, by default as many as fit.

    Raises:
        StudyOwned: another driver is at work on it.
        Interrupted: Ctrl-C or `hpo stop`; unfinished trials wait in the queue.
        NoUsableTrial: the budget of failures is spent, or no trial is COMPLETE at the end.
        Unavailable: a database or cluster does not answer.
    """
    shown = Progress.on_stderr() if progress else Progress.silent()
    try:
        with Lease(study) as lease:
            study.begin()
            study.recover()
            try:
                lease.outcome = Driver(study, concurrency, shown, lease).run()
            except BaseException as error:
                lease.outcome = str(error) if isinstance(error, HpoError) else f"{type(error).__name__}: {error}"
                raise
    except STORAGE_ERRORS as error:
        where, again = masked(study.settings.storage), study.settings.command("resume", study.name)
        raise Unavailable(f"{where} went away: {error}; go on with: {again}") from error
    return study


class Driver:
    """Holds together searcher, scheduler, Ray Tune and the sender to MLflow for one run."""

    def __init__(self, study: Study, concurrency: int | None, progress: Progress, lease: Lease) -> None:
        self._study = study
        self._concurrency = concurrency
        self._progress = progress
        self._lease = lease
        self._tracking = Tracking(study)
        self._search: Search | None = None
        self._reason: HpoError | None = None  # the error that the search ends with
        self._spent: str | None = None  # the budget that has run out
        self._began = time.monotonic()

    def run(self) -> str:
        """Run to the end; returns the outcome in words."""
        try:
            with _signals(self._interrupt):
                self._run()
        except KeyboardInterrupt as error:  # the second Ctrl-C
            raise self._interrupted("stopped at once") from error
        if self._reason is not None:
            raise self._reason
        best = self._study.best_trial
        return self._spent or f"finished, best trial {best.number}"

    def _run(self) -> None:
        searcher = Searcher(self._study)
        if searcher.exhausted:
            self._progress.note(f"study {self._study.name} is finished; --set budget.trials=N gives it more")
            self._close()
            return
        if not is_up():
            self._progress.note("starting Ray")
        with cluster(self._study.settings.ray, _search) as (there, search):
            placement = place(self._study.spec.resources, there, self._concurrency)
            self._progress.begin(self._study, placement)
            self._run_search(search, searcher, placement)

    def _run_search(self, search: type[Search], searcher: Searcher, placement: Placement) -> None:
        scheduler = Scheduler(self._study, self._notify)
        self._study.ledger.post(self._study.id, None, "start", {})
        folder = self._study.settings.home / ".tune" / str(self._study.id)
        self._search = search(searcher, scheduler, placement, folder=folder, on_tick=self._tick)
        if self._reason is not None:  # Ctrl-C while Ray started
            self._search.stop()
        try:
            with self._progress:
                self._search.run()
        finally:
            if self._lease.held():  # else they are another driver's now
                self._put_back(scheduler)
                self._close()

    def _put_back(self, scheduler: Scheduler) -> None:
        for number in list(scheduler.running):
            try:
                scheduler.requeue(number)
            except Exception as error:  # noqa: BLE001 - must hide neither the first error nor leave the others running
                self._progress.note(f"trial {number} is put back by the next resume: {error}")

    def _close(self) -> None:
        """Post the end of the study and let MLflow catch up."""
        study = self._study
        counts = study.counts()
        if counts.get("COMPLETE"):
            best = study.best_trial
            row = study.ledger.trial(study.id, best.number)
            if row and row["checkpoint"]:
                study.ledger.post(study.id, best.number, "checkpoint", {"path": row["checkpoint"]})
        study.ledger.post(study.id, None, "table", study.table())
        left = self._reason is not None or self._spent is not None
        status = "SCHEDULED" if left else "FINISHED" if counts.get("COMPLETE") else "FAILED"
        tags = {f"hpo.trials.{state.lower()}": count for state, count in counts.items()}
        study.ledger.post(study.id, None, "end", {"status": status, "tags": tags, "time": time.time()})
        at_once = isinstance(sys.exception(), KeyboardInterrupt)
        waiting = self._tracking.close(0.5 if at_once else CLOSING_SECONDS / 4 if self._reason else CLOSING_SECONDS)
        if waiting:
            self._progress.note(f"{waiting} records wait for MLflow; {self._resume()} sends them")

    # -- while it runs ------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        assert self._search is not None
        budget, scheduler = self._study.spec.budget, self._search.scheduler
        if self._lease.renew():
            self._stop(self._interrupted("stopped by `hpo stop`"))
        if budget.failures is not None and scheduler.failures >= budget.failures:
            self._stop(NoUsableTrial(f"{scheduler.failures} trials failed, the budget of failures"))
        seconds = self._study.row["seconds"] + time.monotonic() - self._began
        if budget.time is not None and seconds >= budget.time:
            self._spend(f"budget.time of {budget.time:g} s spent")
        if budget.gpu_hours is not None and scheduler.gpu_seconds >= budget.gpu_hours * 3600:
            self._spend(f"budget.gpu_hours of {budget.gpu_hours:g} spent")
        self._progress.tick()

    def _spend(self, words: str) -> None:
        """Stop without an error: what has run is the result, what was cut off waits in the queue."""
        self._spent = self._spent or words
        self._stop(None)

    def _notify(self, event: Event) -> None:
        self._progress.show(event)
        if event.kind != "start":  # the first record is worth a process only when there is an epoch to show
            self._tracking.wake()

    def _interrupt(self) -> None:
        self._progress.note("stopping: epochs that end within seconds are recorded; Ctrl-C again stops at once")
        self._stop(self._interrupted("interrupted"))

    def _interrupted(self, how: str) -> Interrupted:
        return Interrupted(f"{how}; go on with: {self._resume()}")

    def _resume(self) -> str:
        return self._study.settings.command("resume", self._study.name)

    def _stop(self, reason: HpoError | None) -> None:
        if self._search is None:  # Ray is still starting
            self._reason = reason
        elif not self._search.stopping:
            self._reason = reason
            self._search.stop()


@contextmanager
def _signals(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` on the first SIGINT or SIGTERM; raise KeyboardInterrupt on the second."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    seen = 0

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal seen
        seen += 1
        if seen > 1:
            raise KeyboardInterrupt
        stop()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _search() -> type[Search]:
    from hpo.tuner import Search  # imports Ray Tune

    return Search
