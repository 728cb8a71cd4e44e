"""What a person sees while a search runs: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from hpo.wording import assignments, number, plain, words

if TYPE_CHECKING:
    from hpo.cluster.placement import Placement
    from hpo.search.scheduler import Event
    from hpo.study import Study

__all__ = ["Progress"]

REFRESH = 0.25  # seconds between two pictures of the table
SILENCE = 10.0  # seconds without a line, off a terminal, after which an epoch is worth one


class Progress:
    """Shows a search on a console; `Progress.silent()` shows nothing."""

    def __init__(self, console: Console | None) -> None:
        self._console = console
        self._running: dict[int, Event] = {}
        self._counts: dict[str, int] = {}
        self._best_value: float | None = None
        self._live: Live | None = None
        self._refreshed = 0.0
        self._spoke = time.monotonic()
        self._began = time.monotonic()
        self._ended = 0  # trials that ended while we watched

    @classmethod
    def silent(cls) -> Progress:
        return cls(None)

    @classmethod
    def on_stderr(cls) -> Progress:
        return cls(Console(stderr=True, highlight=False))

    def begin(self, study: Study, placement: Placement) -> None:
        """Say what is about to run."""
        self._study = study
        self._maximize = study.spec.metric.goal == "maximize"
        self._counts = study.counts()
        self.placed(placement)
        if placement.note:
            self.note(placement.note)
        done = {state: count for state, count in self._counts.items() if state != "WAITING"}
        if done:
            self.note(f"on record: {words(self._counts)}")
        values = study.complete()
        if values:
            self._best_value = (max if self._maximize else min)(values.values())

    def placed(self, placement: Placement) -> None:
        """Say how many trials run at a time from now on."""
        share = f"{placement.cpu:g} CPU" + (f" + {placement.gpu:g} GPU" if placement.gpu else "")
        trials = "1 trial" if placement.slots == 1 else f"{placement.slots} trials"
        self.note(f"study {self._study.name}: {trials} at a time, {share} each")

    def note(self, text: str) -> None:
        """One line, above the table."""
        self._spoke = time.monotonic()
        if self._console is not None:
            self._console.print(Text(plain(text)), soft_wrap=not self._console.is_terminal)

    def __enter__(self) -> Progress:
        if self._console is not None and self._console.is_terminal:
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def show(self, event: Event) -> None:
        """Take in what happened to a trial."""
        if event.kind == "warning":
            self.note(f"trial {event.number:4d}  warns: {event.error}")
        elif event.kind == "end":
            self._running.pop(event.number, None)
            self._counts[event.state] = self._counts.get(event.state, 0) + 1
            self._ended += 1
            best = event.state == "COMPLETE" and self._is_best(event.value)
            if best:
                self._best_value = event.value
            told = best and self._study.spec.confirms is None  # there the means count
            self.note(self._line(event) + ("  best so far" if told else ""))
            self._refreshed = 0.0
        else:
            self._running[event.number] = event
            if event.kind == "start":  # out of the queue, when it was in it
                self._counts["WAITING"] = max(0, self._counts.get("WAITING", 0) - 1)
            if self._live is None and time.monotonic() - self._spoke > SILENCE:
                self.note(self._line(event))
        self.tick()

    def tick(self) -> None:
        """Redraw the table when it is due."""
        if self._live is not None and time.monotonic() - self._refreshed > REFRESH:
            self._live.update(self._picture(), refresh=True)
            self._refreshed = time.monotonic()

    def _is_best(self, value: float | None) -> bool:
        if self._best_value is None or value is None:
            return True
        return value > self._best_value if self._maximize else value < self._best_value

    def _line(self, event: Event) -> str:
        text = f"trial {event.number:4d}  {event.state.lower():8}  epoch {event.epoch:3d}  {number(event.value):>8}  "
        return text + (event.error.splitlines()[0] if event.error else assignments(event.params))

    def _picture(self) -> Group:
        budget = self._study.spec.budget.trials
        counts = dict(self._counts)
        counts["RUNNING"] = len(self._running)
        head = f"{words(counts)}{f' of {budget}' if budget else ''}"
        if self._ended:
            head += f"   {60 * self._ended / (time.monotonic() - self._began):.1f} trials/min"
        if self._best_value is not None:
            head += f"   best {number(self._best_value)}"
        table = Table(box=None, padding=(0, 2, 0, 0))
        for column in ("trial", "epoch", self._study.spec.metric.name, "parameters"):
            table.add_column(Text(column))
        for event in sorted(self._running.values(), key=lambda each: each.number):
            table.add_row(
                str(event.number), str(event.epoch), number(event.value), Text(plain(assignments(event.params)))
            )
        return Group(Text(head, style="bold"), table)
