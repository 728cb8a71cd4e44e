"""How long a search will take, from the seconds of an epoch, and whether its budget suffices."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from hpo.rungs import Rungs
from hpo.search.ahead import trials_left
from hpo.spec import SearchSpec
from hpo.wording import counted, duration, number
from trainers.checks.finding import Finding

__all__ = ["Outlook", "expected_epochs", "judged", "outlook"]

MARGIN = 1.5
"""Times that the forecast may be wrong by; what cannot end even then is refused."""
START = 15.0
"""Seconds from the driver's start, from which budget.time counts, to the first epoch: Ray and workers start, and those
import PyTorch. 20 to 48 were measured on two processors that had other work too; less is counted, for what a quieter
machine might keep is not to be refused.
"""
PER_TRIAL = 0.1
"""Seconds that a trial takes beside its epochs, in a worker that is there: 0.084 measured."""


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """Forecast of a new search. Times are seconds without START, None where nothing but another limit ends it."""

    epoch_seconds: float
    epochs: int  # of a trial that is not stopped early
    epochs_expected: float  # of a trial on average, as early stopping is meant to work
    slots: int  # trials at a time
    gpu: float  # share of a card that a trial has
    trials: int | None  # that a count allows
    search_seconds: float | None
    longest_seconds: float | None  # the same if no trial is stopped early
    confirm_seconds: float  # for the winner's trainings with fresh seeds
    gpu_hours: float | None
    cost: float | None

    @property
    def trial_seconds(self) -> float:
        """Of one that is not stopped early."""
        return self.epoch_seconds * self.epochs + PER_TRIAL

    @property
    def trials_per_hour(self) -> float:
        return 3600 * self.slots / (self.epoch_seconds * self.epochs_expected + PER_TRIAL)


def outlook(space: SearchSpec, *, epoch_seconds: float, epochs: int, slots: int, gpu: float) -> Outlook:
    """Forecast for a trial of so many epochs, with `slots` trials at a time that have a share `gpu` of a card each."""
    allowed = space.budget.trial_time
    if allowed is not None:  # stops a trial at the end of an epoch
        epochs = min(epochs, max(1, math.ceil(allowed / epoch_seconds)))
    expected = expected_epochs(space, epochs)
    trials = trials_left(space, None)
    width = slots if trials is None else min(slots, trials)
    seconds = None if trials is None else math.ceil(trials / width) * (expected * epoch_seconds + PER_TRIAL)
    longest = None if trials is None else math.ceil(trials / width) * (epochs * epoch_seconds + PER_TRIAL)
    winner, confirm = space.winner, 0.0
    if winner is not None:
        count = winner.top * winner.seeds
        confirm = math.ceil(count / slots) * ((winner.epochs or epochs) * epoch_seconds + PER_TRIAL)
    hours = None
    if trials is not None and gpu:
        again = winner.top * winner.seeds * (winner.epochs or epochs) if winner is not None else 0
        hours = (trials * expected + again) * epoch_seconds * gpu / 3600
    price = space.budget.price_per_gpu_hour
    return Outlook(
        epoch_seconds=epoch_seconds,
        epochs=epochs,
        epochs_expected=expected,
        slots=slots,
        gpu=gpu,
        trials=trials,
        search_seconds=seconds,
        longest_seconds=longest,
        confirm_seconds=confirm,
        gpu_hours=hours,
        cost=hours * price if hours is not None and price is not None else None,
    )


def expected_epochs(space: SearchSpec, epochs: int) -> float:
    """Epochs of a trial on average, where early stopping works as meant: 1 in `reduction` goes on at each rung.

    With few trials more go on. Hyperband is the mean of its brackets, each with its first rung one further. The median
    stops what it stops: nothing is counted on.
    """
    pruner = space.pruner
    if pruner.type not in ("asha", "hyperband"):
        return float(epochs)
    first, starts = min(pruner.min_epochs, epochs), []
    rungs = Rungs.of(space)
    while first < epochs:
        starts.append(_halved(first, pruner.reduction, epochs, unasked=rungs is not None and rungs.unasked))
        first *= pruner.reduction
    if pruner.type == "asha" or not starts:
        return starts[0] if starts else float(epochs)
    return sum((*starts, float(epochs))) / (len(starts) + 1)


def _halved(first: int, reduction: int, epochs: int, *, unasked: bool) -> float:
    total, share, rung = float(first), 1.0, first
    while rung < epochs:
        best = 1 / reduction
        share *= best + (1 - best) * best if unasked and rung == first else best
        total += share * (min(rung * reduction, epochs) - rung)
        rung *= reduction
    return total


def judged(found: Outlook, space: SearchSpec, *, measured: bool) -> Finding:
    """What the forecast says, and whether anything usable can come of the budget."""
    details = {
        "epoch_seconds": found.epoch_seconds,
        "trial_seconds": found.trial_seconds,
        "trials": found.trials,
        "trials_per_hour": found.trials_per_hour,
        "trials_at_once": found.slots,
        "start_seconds": START,
        "search_seconds": found.search_seconds,
        "search_seconds_without_early_stopping": found.longest_seconds,
        "confirm_seconds": found.confirm_seconds,
        "gpu_hours": found.gpu_hours,
        "cost": found.cost,
    }
    said = _said(found, space, measured=measured)
    for verdict, problem, do in _problems(found, space):
        return Finding(name="forecast", verdict=verdict, said=f"{problem}; {said}", do=do, details=details)
    return Finding(name="forecast", verdict="pass", said=said, details=details)


def _problems(found: Outlook, space: SearchSpec) -> list[tuple[Any, str, str]]:
    """What is wrong, the worst first: verdict, sentence, what to do."""
    problems: list[tuple[Any, str, str]] = []
    budget, epoch = space.budget, found.epoch_seconds
    if budget.epoch_time is not None and epoch > budget.epoch_time:
        verdict = "fail" if epoch > MARGIN * budget.epoch_time else "warn"
        said = (
            f"an epoch takes about {duration(epoch)} and budget.epoch_time ends it after {duration(budget.epoch_time)}"
        )
        problems.append((verdict, said, f"budget.epoch_time above {duration(MARGIN * epoch)}"))
    for name, limit, start, one, everything in _limits(found, space):
        left = limit - start
        if one > left:
            verdict = "fail" if one > MARGIN * left else "warn"
            parts = f"about {duration(start)} to start, and " if start else ""
            said = f"not even one trial can end within {name} of {duration(limit)}: {parts}it takes {duration(one)}"
            problems.append((verdict, said, _more(name, MARGIN * (start + one), space)))
        elif everything is not None and everything > left:
            count = found.trials or 0
            about = min(count - 1, max(1, int(count * left / everything)))
            if space.sampler.type == "grid":
                verdict = "fail" if everything > MARGIN * left else "warn"
                said = f"{name} of {duration(limit)} suffices for about {about} of {count} grid points"
                problems.append(
                    (
                        verdict,
                        said,
                        _more(name, MARGIN * (start + everything), space) + ", fewer values, or sampler: gp",
                    )
                )
            else:
                said = f"{name} of {duration(limit)} ends it after about {about} of {counted(count, 'trial')}"
                problems.append(
                    ("warn", said, f"nothing, if that is meant; else {_more(name, start + everything, space)}")
                )
    return sorted(problems, key=lambda each: each[0] != "fail")


class _Limit(NamedTuple):
    """A budget in seconds."""

    name: str
    limit: float
    start: float  # what is spent of it before the first epoch
    one: float  # what a whole trial takes
    everything: float | None  # what all trials are expected to take


def _limits(found: Outlook, space: SearchSpec) -> list[_Limit]:
    budget, limits = space.budget, []
    if budget.time is not None:
        limits.append(_Limit("budget.time", budget.time, START, found.trial_seconds, found.search_seconds))
    hours = [("budget.gpu_hours", budget.gpu_hours)]
    if budget.cost is not None and budget.price_per_gpu_hour is not None:
        hours.append(("budget.cost", budget.cost / budget.price_per_gpu_hour))
    for name, limit in hours:
        if limit is not None and found.gpu:
            one, everything = found.epoch_seconds * found.gpu, None
            if found.trials is not None:
                everything = found.trials * found.epochs_expected * one
            limits.append(_Limit(name, limit * 3600, 0.0, found.epochs * one, everything))
    return limits


def _more(name: str, seconds: float, space: SearchSpec) -> str:
    hours = seconds / 3600
    if name == "budget.gpu_hours":
        return f"{name} of {number(hours)}, or fewer trainer.epochs"
    if name == "budget.cost":
        return f"{name} of {number(hours * (space.budget.price_per_gpu_hour or 0))}, or fewer trainer.epochs"
    return f"{name} of {duration(seconds)}, fewer trainer.epochs, or a faster device"


def _said(found: Outlook, space: SearchSpec, *, measured: bool) -> str:
    roughly = "" if measured else ", by a few pictures"
    said = f"an epoch takes about {duration(found.epoch_seconds)}{roughly}, a trial {duration(found.trial_seconds)}"
    rate = f"{_rate(found.trials_per_hour)} trials an hour, " if found.trial_seconds >= 1 else ""  # no use to anybody
    said += f"; {rate}{found.slots} at a time"
    if found.search_seconds is not None:
        total = found.search_seconds + found.confirm_seconds
        said += f"; {counted(found.trials or 0, 'trial')}{_and_winner(space)} in about {duration(total)} of training"
        said += f" and about {duration(START)} to start, until {_clock(START + total)}"
        saved = (found.longest_seconds or 0.0) - found.search_seconds
        if saved > 0:
            rate = f"1 in {space.pruner.reduction} goes on at each rung"
            rungs = Rungs.of(space)
            rate += ", as many more at the first" if rungs is not None and rungs.unasked else ""
            said += f", {duration(saved)} saved by early stopping if {rate}"
    if found.gpu_hours is not None:
        said += f"; {number(found.gpu_hours)} GPU-hours" + (f", {number(found.cost)}" if found.cost is not None else "")
    return said


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else number(value)


def _and_winner(space: SearchSpec) -> str:
    return f" and {space.winner.top * space.winner.seeds} for the winner" if space.winner is not None else ""


def _clock(seconds: float) -> str:
    end = datetime.fromtimestamp(time.time() + seconds)
    return end.strftime("%H:%M" if seconds < 16 * 3600 else "%d %B %H:%M")
