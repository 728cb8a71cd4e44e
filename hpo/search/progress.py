"""What a person sees while a search runs: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import time
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from hpo.cluster.usage import Usage
from hpo.goals import in_words, reached, span
from hpo.rungs import states
from hpo.search.board import Board, Line, draw, epochs_of, forecast
from hpo.wording import assignments, number, plain, words

if TYPE_CHECKING:
    from hpo.cluster.placement import Placement
    from hpo.search.running import Event
    from hpo.study import Study

__all__ = ["Progress", "placed"]

REFRESH = 0.25  # seconds between two pictures of the table
SILENCE = 10.0  # seconds without a line, off a terminal, after which an epoch is worth one


class Progress:
    """Shows a search on a console; `Progress.silent()` shows nothing."""

    def __init__(self, console: Console | None) -> None:
        self._console = console
        self._running: dict[int, Event] = {}
        self._curves: dict[int, list[float]] = {}  # of the trials at work, also before they were interrupted
        self._before: dict[int, int] = {}  # epochs of those that were done before we watched
        self._counts: dict[str, int] = {}
        self._paused: set[int] = set()
        self._best: tuple[float, int, dict[str, object]] | None = None  # value, number, parameters
        self._front: str | None = None  # of several goals
        self._live: Live | None = None
        self._usage: Usage | None = None
        self._place: str | None = None
        self._refreshed = 0.0
        self._spoke = time.monotonic()
        self._began = time.monotonic()
        self._ended = 0  # trials that ended while we watched
        self._to_start: int | None = None
        self._budget: float | None = None
        self._waits: str | None = None

    @classmethod
    def silent(cls) -> Progress:
        return cls(None)

    @classmethod
    def on_stderr(cls) -> Progress:
        return cls(Console(stderr=True, highlight=False))

    def begin(self, study: Study, placement: Placement) -> None:
        """Say what is about to run."""
        self._study = study
        self._counts = study.counts()
        self._began = time.monotonic()
        self.placed(placement)
        if placement.note:
            self.note(placement.note)
        trials = study.frozen_trials()
        known = zip(trials, states(study.spec, trials), strict=True)
        self._paused = {trial.number for trial, state in known if state == "PAUSED"}
        done = {state: count for state, count in self._counts.items() if state != "WAITING"}
        if done:
            self.note(f"on record: {words(self._counts)}")
        if (front := study.front()) and study.spec.several:
            self._front = span(front, study.spec.metrics)
        elif front:
            self._best = (front[0].values[0], front[0].number, dict(study.params(study.best_trial)))

    def placed(self, placement: Placement) -> None:
        """Say how many trials run at a time from now on."""
        self._place = placed(placement)
        self.note(f"study {self._study.name}: {self._place}")

    def note(self, text: str) -> None:
        """One line, above the table."""
        self._spoke = time.monotonic()
        if self._console is not None:
            self._console.print(Text(plain(text)), soft_wrap=not self._console.is_terminal)

    def __enter__(self) -> Progress:
        if self._console is not None and self._console.is_terminal:
            if not self._study.settings.joins:  # else the trials may be on other machines
                self._usage = Usage().__enter__()
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
        if self._usage is not None:
            self._usage.__exit__(kind, error, trace)
            self._usage = None

    def show(self, event: Event) -> None:
        """Take in what happened to a trial."""
        if event.kind == "warning":
            self.note(f"trial {event.number:4d}  warns: {event.error}")
        elif event.kind == "end":
            self._end(event)
        else:
            self._running[event.number] = event
            if event.kind == "start":
                before = "PAUSED" if event.number in self._paused else "WAITING"
                self._paused.discard(event.number)
                self._counts[before] = max(0, self._counts.get(before, 0) - 1)  # of a new trial there was none
                self._curves[event.number] = self._recorded(event)
                self._before[event.number] = event.epoch
            elif event.value is not None:
                self._curves.setdefault(event.number, []).append(event.value)
            if self._live is None and time.monotonic() - self._spoke > SILENCE:
                self.note(self._line(event))
        self._redraw()

    def _end(self, event: Event) -> None:
        for known in (self._running, self._curves, self._before):
            known.pop(event.number, None)
        self._counts[event.state] = self._counts.get(event.state, 0) + 1
        self._ended += event.state not in ("WAITING", "PAUSED")
        if event.state == "PAUSED":
            self._paused.add(event.number)
        elif event.number in self._paused:  # it never went on
            self._paused.remove(event.number)
            self._counts["PAUSED"] -= 1
        if event.best and event.front is None and event.value is not None:
            self._best = (event.value, event.number, event.params)
        self._front = event.front or self._front
        self.note(self._line(event) + self._remark(event))
        self._refreshed = 0.0

    def tick(self, *, to_start: int | None, budget: float | None, waits: str | None = None) -> None:
        """Redraw the table when it is due; `to_start` trials are still to come, in `budget` seconds at most.

        `waits` is what no trial can start for, in a sentence.
        """
        if self._live is None and (waits is None) != (self._waits is None):
            self.note(waits or "the cluster has room again")
        self._to_start, self._budget, self._waits = to_start, budget, waits
        self._redraw()

    def _redraw(self) -> None:
        if self._live is not None and time.monotonic() - self._refreshed > REFRESH:
            self._live.update(self.picture(), refresh=True)
            self._refreshed = time.monotonic()

    def _recorded(self, event: Event) -> list[float]:
        """The curve of a trial that goes on; it has none where its objective was not on record."""
        if not event.epoch or self._live is None:
            return []
        with contextlib.suppress(StopIteration):
            trial = next(each for each in self._study.frozen_trials() if each.number == event.number)
            return [value for _, value in sorted(trial.intermediate_values.items())]
        return []

    def _remark(self, event: Event) -> str:
        """What a trial that ends is among the others; nothing of what confirms a winner, where the means count."""
        if event.point is None or self._study.spec.confirms is not None:
            return ""
        said = [reached(event.point.values[1:], self._study.spec.metrics[1:])]
        if missed := in_words(event.point.missed):
            said.append(f"misses {missed}")
        elif event.best:
            said.append("on the front" if event.front is not None else "best so far")
        return "".join(f"  {each}" for each in said if each)

    def _line(self, event: Event) -> str:
        text = f"trial {event.number:4d}  {event.state.lower():8}  epoch {event.epoch:3d}  {number(event.value):>8}  "
        return text + (event.error.splitlines()[0] if event.error else assignments(event.params))

    def picture(self) -> Group:
        """The table as it is now."""
        return draw(self._board(), height=self._console.height if self._console is not None else None)

    def _board(self) -> Board:
        lines = [self._at_work(event) for _, event in sorted(self._running.items())]
        rate, left = forecast(
            ended=self._ended,
            lines=lines,
            to_start=self._to_start,
            seconds=time.monotonic() - self._began,
            budget=self._budget,
        )
        counts = {**self._counts, "RUNNING": len(lines)}
        done = sum(count for state, count in counts.items() if state != "WAITING")
        confirms = self._study.spec.confirms is not None  # there the means count
        value, number, params = self._best if self._best and not confirms else (None, None, {})
        return Board(
            study=self._study.name,
            metric=self._study.spec.metric.name,
            counts=counts,
            total=None if self._to_start is None else done + self._to_start,
            lines=lines,
            best=value,
            best_number=number,
            best_params=params,
            front=self._front,
            per_minute=rate,
            seconds_left=left,
            place=self._place,
            waits=self._waits,
            usage=self._usage.read() if self._usage is not None else None,
        )

    def _at_work(self, event: Event) -> Line:
        epochs, curve = epochs_of(self._study.spec, event.params), self._curves.get(event.number, [])
        return Line(
            number=event.number,
            params=event.params,
            curve=curve,
            epoch=event.epoch,
            epochs=epochs,
            share_done=(event.epoch - self._before.get(event.number, 0)) / epochs if epochs else None,
        )


def placed(placement: Placement) -> str:
    """How many trials run at a time, and what each has."""
    share = f"{placement.cpu:g} CPU" + (f" + {placement.gpu:g} GPU" if placement.gpu else "")
    trials = "1 trial" if placement.slots == 1 else f"{placement.slots} trials"
    return f"{trials} at a time, {share} each"
