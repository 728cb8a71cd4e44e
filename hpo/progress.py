"""What a person sees while a search runs: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from hpo.resources import Placement
    from hpo.scheduler import Event
    from hpo.study import Study

__all__ = ["Progress", "number"]

REFRESH = 0.25  # seconds between two pictures of the table
SILENCE = 10.0  # seconds without a line, off a terminal, after which an epoch is worth one


class Progress:
    """Shows a search on a console; `Progress.silent()` shows nothing."""

    def __init__(self, console: Console | None) -> None:
        self._console = console
        self._running: dict[int, Event] = {}
        self._counts: dict[str, int] = {}
        self._best: Event | None = None
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
        share = f"{placement.cpu:g} CPU" + (f" + {placement.gpu:g} GPU" if placement.gpu else "")
        self.note(f"study {study.name}: {placement.slots} trials at a time, {share} each")
        if placement.note:
            self.note(placement.note)
        done = {state: count for state, count in self._counts.items() if state != "WAITING"}
        if done:
            self.note(f"on record: {_words(self._counts)}")

    def note(self, text: str) -> None:
        """One line, above the table."""
        self._spoke = time.monotonic()
        if self._console is not None:
            self._console.print(Text(text), soft_wrap=True)

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
        if event.kind == "end":
            self._running.pop(event.number, None)
            self._counts[event.state] = self._counts.get(event.state, 0) + 1
            self._ended += 1
            if event.state == "COMPLETE" and self._is_best(event):
                self._best = event
            self.note(self._line(event))
        else:
            self._running[event.number] = event
            if self._live is None and time.monotonic() - self._spoke > SILENCE:
                self.note(self._line(event))
        self.tick()

    def tick(self) -> None:
        """Redraw the table when it is due."""
        if self._live is not None and time.monotonic() - self._refreshed > REFRESH:
            self._live.update(self._picture(), refresh=True)
            self._refreshed = time.monotonic()

    def _is_best(self, event: Event) -> bool:
        if self._best is None or self._best.value is None or event.value is None:
            return True
        return event.value > self._best.value if self._maximize else event.value < self._best.value

    def _line(self, event: Event) -> str:
        text = f"trial {event.number:4d}  {event.state.lower():8}  epoch {event.epoch:3d}  {number(event.value):>8}  "
        best = "  best so far" if event is self._best else ""
        return text + (event.error.splitlines()[0] if event.error else assignments(event.params)) + best

    def _picture(self) -> Group:
        budget = self._study.spec.budget.trials
        rate = self._ended / max(1e-9, (time.monotonic() - self._began) / 60)
        counts = dict(self._counts)
        counts["RUNNING"] = len(self._running)
        head = f"{_words(counts)}{f' of {budget}' if budget else ''}   {rate:.1f} trials/min"
        if self._best is not None:
            head += f"   best {number(self._best.value)} (trial {self._best.number})"
        table = Table(box=None, padding=(0, 2, 0, 0))
        for column in ("trial", "epoch", self._study.spec.metric.name, "parameters"):
            table.add_column(column)
        for event in sorted(self._running.values(), key=lambda each: each.number):
            table.add_row(str(event.number), str(event.epoch), number(event.value), Text(assignments(event.params)))
        return Group(Text(head, style="bold"), table)


def number(value: float | None) -> str:
    """A metric for people: four significant digits."""
    return "-" if value is None else f"{value:.4g}"


def assignments(params: dict[str, Any]) -> str:
    """Parameters on one line."""
    return " ".join(f"{name}={f'{value:.4g}' if isinstance(value, float) else value}" for name, value in params.items())


def _words(counts: dict[str, int]) -> str:
    order = ("RUNNING", "COMPLETE", "PRUNED", "FAIL", "WAITING")
    return ", ".join(f"{counts[state]} {state.lower()}" for state in order if counts.get(state)) or "no trials yet"
