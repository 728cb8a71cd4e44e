"""`hpo status --watch`: a search that runs in another terminal, or on another machine, seen from here."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import suppress

from optuna.trial import FrozenTrial
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from hpo.cluster.usage import Usage
from hpo.errors import SpecError
from hpo.goals import span
from hpo.search.ahead import longest, seconds_left, trials_left
from hpo.search.board import Board, Line, draw, epochs_of, forecast, told
from hpo.settings import Settings
from hpo.store.lease import holder
from hpo.store.opening import open_ledger
from hpo.study import Study
from hpo.winner import confirmation
from hpo.wording import plain, words

__all__ = ["watch"]

EVERY = 2.0  # seconds between two looks
GRACE = 5.0  # seconds without a driver, of the search or of what confirms it, after which it is over
BEGINNING = 60.0  # the same before the first trial: its checks hold no lease


def watch(name: str | None, settings: Settings) -> None:
    """Show a search until its driver has ended: a table on a terminal, elsewhere a line for each change.

    Raises:
        SpecError: there is no such study; or none was named, and not exactly one runs.
    """
    study = Study.load(name or _only_one(settings), settings, reading=True)
    console = Console(highlight=False)
    terminal = console.is_terminal
    with Usage() as usage, Live(console=console, auto_refresh=False) if terminal else console as screen:
        said: object = None
        with suppress(KeyboardInterrupt):  # the search goes on
            for board in _boards(study, usage):
                if isinstance(screen, Live):
                    screen.update(Group(Text(f"study {board.study}"), draw(board, height=console.height)), refresh=True)
                elif (news := (board.study, board.counts, [each.epoch for each in board.lines])) != said:
                    said = news
                    print(told(board), flush=True)
    print(plain(f"{study.name}: {_stands(study)}; {words(study.counts())}"))


def _stands(study: Study) -> str:
    """Whether it still runs, or how it ended."""
    if _is_running(study):
        return "still running"
    row = study.ledger.study(study.name)
    return (row and row["outcome"]) or "not running"


def _only_one(settings: Settings) -> str:
    """The study that runs."""
    running = [row["name"] for row in open_ledger(settings, reading=True).studies() if holder(row)]
    if len(running) == 1:
        return str(running[0])
    which = f"of {', '.join(running)}" if running else "of those that `hpo status` lists; none runs"
    raise SpecError(f"--watch needs the name of a study, {which}")


def _boards(study: Study, usage: Usage) -> Iterator[Board]:
    """A board every so often while the search runs, or the trainings that confirm its winner."""
    alive = time.monotonic()
    while True:
        # the second is opened anew each time, which a search that runs can do without
        at_work = study if _is_running(study) else _confirming(study)
        if at_work is not None and _is_running(at_work):
            alive = time.monotonic()
            yield _board(at_work, usage)
        elif time.monotonic() - alive > (GRACE if study.frozen_trials() else BEGINNING) or _is_over(study):
            return
        time.sleep(EVERY)


def _confirming(study: Study) -> Study | None:
    found = confirmation.find(study)
    return found.study if found is not None else None


def _is_running(study: Study) -> bool:
    row = study.ledger.study(study.name)
    return row is not None and holder(row) is not None


def _is_over(study: Study) -> bool:
    """Whether nothing follows: the driver has said how it ended, and no winner is to be confirmed."""
    row = study.ledger.study(study.name)
    return row is None or (row["outcome"] is not None and study.spec.winner is None)


def _board(study: Study, usage: Usage) -> Board:
    study.row = row = study.ledger.study(study.name) or study.row  # deleted meanwhile: the next look says so
    trials = study.frozen_trials()
    ours = {each["number"]: each for each in study.ledger.trials(study.id)}
    attempts = [each for each in study.ledger.attempts(study.id) if each["started"] >= (row["owned_since"] or 0)]
    before = {each["number"]: each["from_epoch"] for each in attempts}  # the newest is last
    since = min((each["started"] for each in attempts), default=time.time())
    lines = [_line(study, trial, before.get(trial.number, 0)) for trial in trials if trial.state.name == "RUNNING"]
    ended = sum(bool(each["ended"] and each["ended"] >= since) for each in ours.values())
    held = sum(ours[line.number]["gpu"] for line in lines if line.number in ours)
    spent = {"seconds": row["seconds"], "gpu_seconds": study.ledger.gpu_seconds(study.id)}
    to_start = trials_left(study.spec, study)
    rate, left = forecast(
        ended=ended,
        lines=lines,
        to_start=to_start,
        seconds=time.time() - since,
        budget=seconds_left(study.spec, held=held, longest=longest(trials, ours.values()), **spent),
    )
    counts = study.counts()
    begun = sum(count for state, count in counts.items() if state != "WAITING")
    leader = study.leader if study.spec.confirms is None else None  # there the means count
    best = next((each for each in trials if each.number == leader), None)
    front = study.front() if study.spec.several else []
    packed = study.ledger.packings(study.id)
    return Board(
        study=study.name,
        metric=study.spec.metric.name,
        counts=counts,
        total=None if to_start is None else begun + to_start,
        lines=lines,
        best=best.values[0] if best is not None else None,
        best_number=best.number if best is not None else None,
        best_params=study.params(best) if best is not None else {},
        front=span(front, study.spec.metrics) if front else None,
        per_minute=rate,
        seconds_left=left,
        place=f"{packed[-1]['per_card']} trials share a card" if packed else None,
        usage=usage.read() if row["host"] == socket.gethostname() else None,
    )


def _line(study: Study, trial: FrozenTrial, before: int) -> Line:
    params = study.params(trial)
    curve = [value for _, value in sorted(trial.intermediate_values.items())]
    epoch, epochs = trial.last_step or 0, epochs_of(study.spec, params)
    done = (epoch - before) / epochs if epochs else None
    return Line(number=trial.number, params=params, curve=curve, epoch=epoch, epochs=epochs, share_done=done)
