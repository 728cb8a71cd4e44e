"""A search whose trials run in simulated slots: the product's own records and decisions, no Ray and no training.

Time is the driver's own: while it writes and decides, the clock runs as it does; while it would wait for a worker, the
clock jumps to the next epoch's end. So an hour of 64 slots costs what the driver has to do in it.
"""

from __future__ import annotations

import heapq
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.synthetic import METRICS, curve
from hpo.cluster.placement import Placement
from hpo.search.progress import Progress
from hpo.search.running import Event
from hpo.search.scheduler import Scheduler
from hpo.search.searcher import Searcher
from hpo.search.tuner import Search
from hpo.store.lease import Lease
from hpo.study import Study
from hpo.workers.trial import Assignment, Checkpoint, Report

__all__ = ["Slots", "Times"]


class Times:
    """Seconds that the driver spent, call by call, and what its slots did meanwhile."""

    def __init__(self, clock: float = 0.0) -> None:
        self.wall: dict[str, list[float]] = defaultdict(list)
        self.cpu: dict[str, float] = defaultdict(float)  # seconds of this process
        self.busy = 0.0  # seconds of slots in which a trial was at work
        self.began = self.clock = clock  # seconds of the simulation
        self.ended = 0
        self.epochs = 0  # of the trials that ended

    @contextmanager
    def taken(self, what: str | Callable[[], str]) -> Iterator[None]:
        """Time a call; `what` it was may be known only afterwards."""
        began, cpu = time.perf_counter(), time.process_time()
        yield
        seconds, used = time.perf_counter() - began, time.process_time() - cpu
        self.clock += seconds
        name = what if isinstance(what, str) else what()
        self.wall[name].append(seconds)
        self.cpu[name] += used


class Slots:
    """One driver with so many slots, in which an epoch takes `seconds` on the simulated clock."""

    def __init__(self, study: Study, lease: Lease, progress: Progress, *, slots: int, seconds: float) -> None:
        self._study, self._lease, self._progress = study, lease, progress
        self._seconds = seconds
        self._placement = Placement(cpu=1, gpu=0, slots=slots)
        self._searcher = Searcher(study)
        self._scheduler = Scheduler(study, self._show)
        self._curves: dict[int, Iterator[dict[str, float]]] = {}
        self._begun = 0  # attempts, in which the simulated workers count
        self.times = Times()

    def _show(self, event: Event) -> None:
        self._progress.show(event)
        if event.kind == "end" and event.state != "WAITING":
            self.times.ended += 1
            self.times.epochs += event.epoch

    def run(self, ended: int, *, over: int) -> None:
        """Keep all slots at work until so many more trials have ended, then put back what runs.

        What is in `times` afterwards is of the last `over` of them.
        """
        search = Search(
            self._searcher,
            self._scheduler,
            self._placement,
            folder=Path("/nonexistent"),
            on_tick=self._tick,
            on_report=lambda report, assignment: None,
        )
        self.times, skipped = Times(), 0
        ends: list[tuple[float, int, Assignment]] = []  # when which slot's epoch ends; the second settles ties
        while skipped + self.times.ended < ended:
            if not skipped and 0 < ended - over <= self.times.ended:
                skipped, self.times = self.times.ended, Times(self.times.clock)
            while len(ends) < self._placement.slots and (assignment := self._next(search)) is not None:
                self._begin_epoch(ends, assignment)
            if not ends:
                break
            at, _, assignment = heapq.heappop(ends)
            self.times.clock = max(self.times.clock, at)
            if self._report(search, assignment):
                self._begin_epoch(ends, assignment)
        self._put_back()

    def _report(self, search: Search, assignment: Assignment) -> bool:
        """A turn of the control loop in which a worker reports; returns whether its trial goes on."""
        with self.times.taken("turn"):
            search.should_end()
        report = self._train(assignment)
        ended = self.times.ended
        with self.times.taken(lambda: "report" if self.times.ended == ended else "end"):
            return search.decide(None, report) == "CONTINUE"

    def _next(self, search: Search) -> Assignment | None:
        with self.times.taken(lambda: "ask and start" if isinstance(config, dict) else "nothing to start"):
            config = search.suggest()
        if not isinstance(config, dict):
            return None
        assignment: Assignment = config["assignment"]
        options = {key: value for key, value in assignment.trainer.items() if key not in ("import", "sleep", "torch")}
        self._curves[assignment.number] = curve(**options)
        for _ in range(assignment.recorded):
            next(self._curves[assignment.number])
        return assignment

    def _begin_epoch(self, ends: list[tuple[float, int, Assignment]], assignment: Assignment) -> None:
        self._begun += 1
        heapq.heappush(ends, (self.times.clock + self._seconds, self._begun, assignment))

    def _train(self, assignment: Assignment) -> Report:
        """What a worker reports after an epoch, with an empty file for a checkpoint."""
        self.times.busy += self._seconds
        running = self._scheduler.running[assignment.number]
        epoch = running.epoch + 1
        folder = self._study.settings.checkpoints / assignment.folder
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"epoch-{epoch:04d}.pt"
        file.touch()
        (folder / f"epoch-{epoch - 1:04d}.pt").unlink(missing_ok=True)
        metrics = next(self._curves[assignment.number])
        assert metrics.keys() == set(METRICS)
        return Report(
            number=assignment.number,
            attempt=assignment.attempt,
            epoch=epoch,
            metrics=metrics,
            seconds=self._seconds,
            last=epoch == assignment.trainer["epochs"],
            checkpoint=Checkpoint(path=f"{assignment.folder}/{file.name}", sha256="0" * 64, epoch=epoch),
        )

    def _tick(self) -> None:
        self._lease.renew()
        self._progress.tick(to_start=self._searcher.left, budget=None)

    def _put_back(self) -> None:
        """As between two passes of a driver."""
        running = list(self._scheduler.running)
        for number in running:
            self._scheduler.requeue(number, "the simulation pauses")
        self._searcher.give_back(len(running))
        self._curves.clear()
