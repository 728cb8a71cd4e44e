"""What a running search looks like at one moment: counts, the best, when it ends, a line for each trial at work."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from hpo.spec import SearchSpec
from hpo.wording import assignments, counted, number, plain, words

__all__ = ["Board", "Line", "draw", "epochs_of", "forecast", "spark", "told"]

BLOCKS = "▁▂▃▄▅▆▇█"
CURVE = 16  # epochs that a small curve shows


@dataclass(frozen=True, kw_only=True)
class Line:
    """A trial at work."""

    number: int
    params: Mapping[str, Any]
    curve: Sequence[float]  # the objective of each epoch on record
    epoch: int
    epochs: int | None  # that it is to train for; None: its trainer alone knows
    share_done: float | None = None  # of its training, done since the search was watched; None: not known


@dataclass(frozen=True, kw_only=True)
class Board:
    """A search as people see it."""

    study: str
    metric: str
    counts: Mapping[str, int]
    total: int | None  # trials that there will be; None where no count ends the search
    lines: Sequence[Line]
    best: float | None = None  # not of trainings that confirm a winner: there means count
    best_number: int | None = None
    best_params: Mapping[str, Any] = field(default_factory=dict)
    front: str | None = None  # of several goals, in place of the best
    per_minute: float | None = None  # trials
    seconds_left: float | None = None
    place: str | None = None  # how many run at a time, on what
    waits: str | None = None  # what no trial can start for
    usage: str | None = None  # what GPUs or CPUs do now


def forecast(
    *, ended: int, lines: Sequence[Line], to_start: int | None, seconds: float, budget: float | None
) -> tuple[float | None, float | None]:
    """Trials a minute, and seconds until the search ends; None for what cannot be told yet.

    `ended` trials and the shares done of those at work took `seconds`; those still to run, `to_start` of them and the
    rest of those at work, are taken to be as long. `budget`: seconds after which the search ends anyhow.
    """
    known = [each for each in lines if each.share_done is not None]
    done = ended + sum(each.share_done or 0.0 for each in known)
    if done <= 0 or seconds <= 0:
        return None, budget
    rate = done / seconds
    left = None
    if to_start is not None and (to_start or lines):
        begun = sum(1 - each.epoch / each.epochs if each.epochs else 0.5 for each in lines)
        left = (to_start + max(0.0, begun)) / rate
    return 60 * rate, min((each for each in (left, budget) if each is not None), default=None)


def epochs_of(space: SearchSpec, params: Mapping[str, Any]) -> int | None:
    """How long a trial with these parameters trains, as far as its file says."""
    found = params.get("epochs", space.trainer.get("epochs"))
    return found if isinstance(found, int) else None


def spark(curve: Sequence[float], width: int = CURVE) -> str:
    """The last values of a curve as blocks from the lowest to the highest; what is not finite as a gap."""
    shown = list(curve[-width:])
    finite = [each for each in shown if math.isfinite(each)]
    if not finite:
        return " " * len(shown)
    low, span = min(finite), max(finite) - min(finite)

    def block(value: float) -> str:
        if not math.isfinite(value):
            return " "
        return BLOCKS[round((value - low) / span * (len(BLOCKS) - 1)) if 0 < span < math.inf else 0]

    return "".join(map(block, shown))


def draw(board: Board, *, height: int | None = None) -> Group:
    """The board for a terminal of `height` lines; trials that do not fit are counted."""
    shown = board.lines if height is None else board.lines[: max(1, height - 7 - bool(board.waits))]
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("trial", "epoch", board.metric, ""):
        table.add_column(Text(column), no_wrap=True)
    table.add_column(Text("parameters"))  # the one that gives way on a narrow terminal
    for each in shown:
        value = each.curve[-1] if each.curve else None
        epoch = f"{each.epoch}/{each.epochs}" if each.epochs else str(each.epoch)
        params = Text(plain(assignments(each.params)), no_wrap=True, overflow="ellipsis")
        table.add_row(str(each.number), epoch, number(value), spark(each.curve), params)
    hidden = len(board.lines) - len(shown)
    more = [Text(f"and {counted(hidden, 'trial')} more at work")] if hidden else []
    return Group(Text(_head(board), style="bold"), *map(Text, _facts(board)), table, *more)


def told(board: Board) -> str:
    """The board in one line."""
    at_work = ", ".join(f"{each.number} at epoch {each.epoch}" for each in board.lines[:8])
    best = f"; {said}" if (said := _best(board)) else ""
    return plain(f"{board.study}: {_head(board)}{best}" + (f"; at work: {at_work}" if at_work else ""))


def _head(board: Board) -> str:
    said = [f"{words(board.counts)}{f' of {board.total}' if board.total else ''}"]
    if board.per_minute is not None:
        said.append(f"{board.per_minute:.1f} trials/min")
    if board.seconds_left is not None:
        said.append(f"about {_duration(board.seconds_left)} left")
    return "   ".join(said)


def _facts(board: Board) -> list[str]:
    place = "   ".join(each for each in (board.place, board.usage) if each)
    return [plain(line) for line in (_best(board), place, board.waits) if line]


def _best(board: Board) -> str:
    if board.best is None:
        return board.front or ""
    which = f" trial {board.best_number}" if board.best_number is not None else ""
    return f"best {number(board.best)}{which}  {assignments(board.best_params)}".rstrip()


def _duration(seconds: float) -> str:
    """Time for people, no finer than it is known."""
    unit = 1 if seconds < 120 else 60
    return str(timedelta(seconds=max(1, round(seconds / unit)) * unit)) if unit == 60 else f"{max(1, round(seconds))} s"
