"""A trial's epochs one by one, in a thread that does not stand still while the driver does."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor

from hpo.workers.trial import Assignment, Attempt, Report, failure

__all__ = ["Runner"]

SILENCE = 2.0  # seconds after which a driver that asks for nothing is thought to be held up
MOST = 10  # epochs that may wait for it, each with a checkpoint


class Runner:
    """Trains in the thread of `pool`; `next_report` hands the epochs out.

    An epoch begins when it is asked for, so that a trial that is to stop wastes nothing. A driver that has not asked
    for `SILENCE` seconds waits for its database: training goes on meanwhile, up to `MOST` epochs, and their checkpoints
    stay until it has caught up. It decides epoch by epoch as ever; what was trained beyond a trial's end is forgotten.
    For a driver that is gone nothing more is trained: its successor would train it again.
    """

    def __init__(self, assignment: Assignment, pool: ThreadPoolExecutor) -> None:
        self._assignment = assignment
        self._changed = threading.Condition()
        self._asked = False
        self._stopped = False
        self._waiting: deque[Report] = deque()
        self._handed: int | None = None  # epoch that was asked for last
        self._recorded = assignment.checkpoint.epoch if assignment.checkpoint else 0
        self._training = pool.submit(self._train)

    def next_report(self) -> Report:
        """Wait for the next report. To ask for it says that the one before is on record."""
        with self._changed:
            self._recorded = self._handed or self._recorded
            self._asked = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._waiting)
            self._asked = False
            report = self._waiting.popleft()
            self._handed = report.epoch
            self._changed.notify_all()
            return report

    def stop(self) -> None:
        """End after the epoch at work, if there is one, and wait for it."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._training.result()

    def _train(self) -> None:
        try:
            attempt = Attempt(self._assignment)
            while self._goes_on():
                report = attempt.next_report(keep_from=self._recorded)
                self._offer(report)
                if report.last:
                    break
        except BaseException as error:  # noqa: BLE001 - whatever the user's code raises is the trial's result
            self._offer(failure(self._assignment, error))

    def _offer(self, report: Report) -> None:
        with self._changed:
            self._waiting.append(report)
            self._changed.notify_all()

    def _goes_on(self) -> bool:
        """Wait until an epoch is to be trained; returns False where there is to be none."""
        with self._changed:
            silence = 0.0 if self._waiting and not self._asked else SILENCE
            self._changed.wait_for(lambda: self._stopped or (self._asked and not self._waiting), silence)
            self._changed.wait_for(lambda: self._stopped or len(self._waiting) < MOST)
            return not self._stopped and (self._asked or not self._assignment.is_orphaned)
