"""The driver: runs one study from where it stands to its end."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from hpo.cluster import guard
from hpo.cluster.resources import cluster, is_up, joining
from hpo.cluster.sharing import Sharing
from hpo.errors import HpoError, Interrupted, NoUsableTrial, Unavailable
from hpo.goals import led
from hpo.masking import masked, redacted
from hpo.search import staged
from hpo.search.ahead import is_whole, kept, seconds_left
from hpo.search.notice import Notices
from hpo.search.progress import Progress
from hpo.search.recovery import recover
from hpo.search.running import Event
from hpo.search.scheduler import Scheduler
from hpo.search.searcher import Searcher
from hpo.store import history, patience, records
from hpo.store.lease import Lease
from hpo.store.storage import STORAGE_ERRORS, alone
from hpo.study import Study
from hpo.tracking.process import Tracking
from hpo.workers.trial import Assignment, Report

if TYPE_CHECKING:
    from hpo.search.tuner import Search

__all__ = ["run"]

IMPATIENCE = 3.0  # seconds that an interrupted driver still waits for its database
CLOSING_SECONDS = 30.0  # for MLflow to take the last records
HURRY = 6.0  # seconds after which an interrupted driver waits for MLflow no more


def run(study: Study, *, concurrency: int | None = None, progress: bool = True) -> Study:
    """Run what is left of the study, at most `concurrency` trials at a time, by default as many as fit.

    Raises:
        SpecError: the address of the cluster is that of its jobs.
        StudyOwned: another driver is at work on it.
        Interrupted: Ctrl-C or `hpo stop`; unfinished trials wait in the queue.
        NoUsableTrial: the budget of failures is spent, or no trial is COMPLETE at the end.
        Unavailable: a database or cluster does not answer.
    """
    if study.settings.ray is not None:
        guard.require_member(study.settings.ray)  # before the study's outcome says so
    shown = Progress.on_stderr() if progress else Progress.silent()
    study.patience.seconds, study.patience.say = patience.SECONDS, shown.note
    notices = Notices(study.spec, shown.note)
    try:
        with Lease(study) as lease, alone(study.storage):
            study.begin()
            recover(study)
            history.enqueue(study)
            try:
                lease.outcome = Driver(study, concurrency, shown, lease, notices).run()
            except BaseException as error:
                lease.outcome = (
                    str(error) if isinstance(error, HpoError) else f"{type(error).__name__}: {redacted(error)}"
                )
                notices.broke_off(lease.outcome, error)
                raise
            notices.ended(study, lease.outcome)
    except STORAGE_ERRORS as error:
        where, again = masked(study.settings.storage), study.settings.command("resume", study.name)
        raise Unavailable(f"{where} went away: {patience.reason(error)}; go on with: {again}") from error
    finally:
        notices.close()
    return study


class _Ended(Exception):
    """The run is to end while it waits for something else."""


class Driver:
    """Holds together searcher, scheduler, Ray Tune and the sender to MLflow for one run."""

    def __init__(
        self, study: Study, concurrency: int | None, progress: Progress, lease: Lease, notices: Notices
    ) -> None:
        self._study = study
        self._concurrency = concurrency
        self._progress = progress
        self._lease = lease
        self._notices = notices
        self._tracking = Tracking(study)
        self._search: Search | None = None  # while trials run
        self._reason: HpoError | None = None  # the error that the search ends with
        self._spent: str | None = None  # the budget that has run out
        self._over = False  # by a target or plateau: who is paused has lost
        self._began = time.monotonic()
        self._searcher = Searcher(study)
        self._scheduler = Scheduler(study, self._notify)
        self._interrupted_at: float | None = None
        self._outages = 0  # of the database, after which it was seen to

    def run(self) -> str:
        """Run to the end; returns the outcome in words."""
        try:
            with _signals(self._interrupt):
                self._run()
        except KeyboardInterrupt as error:  # the second Ctrl-C
            raise self._interrupted("stopped at once") from error
        if self._reason is not None:
            raise self._reason
        if self._spent is not None and not self._study.complete():
            raise NoUsableTrial(f"{self._spent}, and no trial is complete; more of it: {self._resume(self._spent)}")
        self._study.best_trials  # noqa: B018 - or there is none, which is an error
        if self._study.spec.confirms is not None:  # one seed may not be better than another
            return "finished"
        return self._spent or f"finished, {led(self._study.front(), self._study.spec.metrics)}"

    def _run(self) -> None:
        searcher = self._searcher
        if searcher.exhausted:
            self._scheduler.conclude()  # which a killed driver did not come to
            whole = is_whole(self._study.spec, self._study.frozen_trials())
            more = "there is nothing more to try" if whole else "--set budget.trials=N gives it more"
            self._progress.note(f"study {self._study.name} is finished; {more}")
        else:
            self._look_at_budgets()
        if searcher.exhausted or self._ending:
            self._close()
            return
        if not is_up():
            self._progress.note(joining(self._study.settings))
        study = self._study
        with cluster(study.spec, study.settings, _search, say=self._progress.note, on_tick=self._lease.renew) as (
            there,
            search,
        ):
            sharing = Sharing(self._study, there, self._concurrency)
            self._progress.begin(self._study, sharing.placement)
            self._study.ledger.post(self._study.id, None, "start", {})
            try:
                self._run_pass(search, searcher, sharing)
                while sharing.unsettled and not self._ending:
                    self._settle(sharing)
                    if not self._ending:
                        self._run_pass(search, searcher, sharing)
            except STORAGE_ERRORS:  # nothing can be put back: the next command does it
                self._tracking.let_go()
                raise
            except BaseException as error:
                self._wind_up(str(self._reason or self._spent or error) or type(error).__name__)
                raise
            else:
                self._wind_up(str(self._reason or self._spent or "the run ended"))
        if self._lease.held():
            self._scheduler.tidy()

    def _wind_up(self, why: str) -> None:
        if self._lease.held():  # else the trials are another driver's now
            self._put_back(why)
            self._close()

    def _run_pass(self, search: type[Search], searcher: Searcher, sharing: Sharing) -> None:
        """Run trials until there are no more, or the run is to end, or they should share cards otherwise."""

        def on_report(report: Report, assignment: Assignment) -> None:
            if report.full:
                searcher.give_back(1)
            if report.full == "disk":
                folder = self._study.settings.checkpoints
                self._end(reason=Unavailable(f"no room left in {folder}: {report.error}; then: {self._resume()}"))
            sharing.watch(report, assignment, trials_left=searcher.left, seconds_left=self._seconds_left())
            if sharing.unsettled and self._search is not None:
                self._search.stop()

        folder = self._study.settings.home / ".tune" / self._study.folder_name
        self._search = search(
            searcher, self._scheduler, sharing.placement, folder=folder, on_tick=self._tick, on_report=on_report
        )
        if self._ending:  # Ctrl-C while Ray started
            self._search.stop()
        with self._progress:
            self._search.run()
        self._search = None
        if sharing.unsettled and not self._ending:
            searcher.give_back(self._put_back("to share cards otherwise"))

    def _settle(self, sharing: Sharing) -> None:
        """Find how trials should share cards; Ctrl-C or a spent budget leave it undecided."""
        if sharing.measures:
            self._progress.note("measuring how many trials should share a card, up to a minute")
        with contextlib.suppress(_Ended):
            self._progress.note(sharing.settle(self._wait))
            self._progress.placed(sharing.placement)

    def _wait(self) -> None:
        self._tick()
        if self._ending:
            raise _Ended

    @property
    def _ending(self) -> bool:
        return self._reason is not None or self._spent is not None

    def _put_back(self, why: str) -> int:
        """Put what still runs into the queue; returns how many."""
        running = list(self._scheduler.running)
        for number in running:
            try:
                self._scheduler.requeue(number, why)
            except Exception as error:  # noqa: BLE001 - must hide neither the first error nor leave the others running
                self._progress.note(f"trial {number} is put back by the next resume: {redacted(error)}")
        return len(running)

    def _close(self) -> None:
        """Post the end of the study and let MLflow catch up."""
        if self._over:
            self._scheduler.conclude()
        study = self._study
        best = study.leader
        if best is not None and (row := study.ledger.trial(study.id, best)) and row["checkpoint"]:
            study.ledger.post(study.id, best, "checkpoint", {"path": row["checkpoint"]})
        if study.spec.several:
            study.ledger.post(study.id, None, "tags", records.front(study.front(), study.spec.metrics))
        study.ledger.post(study.id, None, "table", records.table(study))
        retried = history.retried(study.frozen_trials())
        over = staged.is_over(study.spec, study.frozen_trials())
        end = records.end_of_study(study.counts(), study.spec, retried=retried, time=time.time(), over=over)
        study.ledger.post(study.id, None, "end", end)
        seconds = CLOSING_SECONDS
        if self._interrupted_at is not None:
            at_once = isinstance(sys.exception(), KeyboardInterrupt)
            seconds = 0.5 if at_once else max(0.5, self._interrupted_at + HURRY - time.monotonic())
        waiting = self._tracking.close(seconds)
        if waiting:
            self._progress.note(f"{waiting} records wait for MLflow; {self._resume()} sends them")

    # -- while it runs ------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        if self._study.patience.outages > self._outages:
            self._outages = self._study.patience.outages
            self._searcher.reclaim(self._scheduler.running)
        if self._lease.renew():
            self._end(reason=self._interrupted("stopped by `hpo stop`"))
        self._look_at_budgets()
        self._notices.tick()
        waits = self._search.room.waits if self._search is not None else None
        self._progress.tick(to_start=self._searcher.left, budget=self._seconds_left(), waits=waits)

    def _look_at_budgets(self) -> None:
        budget, scheduler = self._study.spec.budget, self._scheduler
        if budget.failures is not None and scheduler.tally.failures >= budget.failures:
            why = self._study.settings.command("trials", self._study.name)
            failed = f"{scheduler.tally.failures} trials failed, the budget of failures; see {why}"
            self._end(reason=NoUsableTrial(failed))
        if budget.time is not None and self._seconds >= budget.time:
            self._end(spent=f"budget.time of {budget.time:g} s spent")
        reserve = kept(self._study.spec, scheduler.tally.longest)
        if budget.gpu_hours is not None and scheduler.gpu_seconds + reserve >= budget.gpu_hours * 3600:
            but = f" but for the {reserve / 3600:.2g} kept for the winner" if reserve else ""
            self._end(spent=f"budget.gpu_hours of {budget.gpu_hours:g} spent{but}")
        if budget.target is not None and scheduler.tally.reaches(budget.target):
            self._end(spent=f"budget.target of {budget.target:g} reached", over=True)
        if budget.plateau is not None and scheduler.tally.since_best >= budget.plateau:
            self._end(spent=f"budget.plateau of {budget.plateau} reached: so long without a new best", over=True)
        if budget.cost is not None and self._cost >= budget.cost:
            self._end(spent=f"budget.cost of {budget.cost:g} spent")

    @property
    def _cost(self) -> float:
        return self._scheduler.gpu_seconds / 3600 * (self._study.spec.budget.price_per_gpu_hour or 0.0)

    @property
    def _seconds(self) -> float:
        """Wall time of the study, in all its runs."""
        return float(self._study.row["seconds"]) + time.monotonic() - self._began

    def _seconds_left(self) -> float | None:
        """Until a budget ends the run, with all cards at work; None without one."""
        held = sum(run.gpu for run in self._scheduler.running.values())
        spent = {"seconds": self._seconds, "gpu_seconds": self._scheduler.gpu_seconds}
        return seconds_left(self._study.spec, held=held, longest=self._scheduler.tally.longest, **spent)

    def _end(self, *, reason: HpoError | None = None, spent: str | None = None, over: bool = False) -> None:
        """Start nothing more and end: with an error, or because a budget is spent. The first to say so is believed."""
        if not self._ending:
            self._reason, self._spent, self._over = reason, spent, over
        if self._search is not None:
            self._search.stop()

    def _notify(self, event: Event) -> None:
        self._progress.show(event)
        self._notices.show(event)
        if event.kind != "start":  # the first record is worth a process only when there is an epoch to show
            self._tracking.wake()

    def _interrupt(self) -> None:
        self._interrupted_at = time.monotonic()
        self._study.patience.seconds = IMPATIENCE
        self._progress.note("stopping: epochs that end within seconds are recorded; Ctrl-C again stops at once")
        self._end(reason=self._interrupted("interrupted"))

    def _interrupted(self, how: str) -> Interrupted:
        return Interrupted(f"{how}; go on with: {self._resume()}")

    def _resume(self, spent: str | None = None) -> str:
        """The command to go on with, and more of a budget that was spent."""
        more = ("--set", f"{spent.partition(' ')[0]}=N") if spent else ()
        return self._study.settings.command("resume", self._study.name, *more)


@contextmanager
def _signals(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` on the first SIGINT or SIGTERM; raise KeyboardInterrupt on the second, which no third may disturb."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    seen = 0

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal seen
        seen += 1
        if seen == 1:
            stop()
        elif seen == 2:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _search() -> type[Search]:
    from hpo.search.tuner import Search  # imports Ray Tune

    return Search
