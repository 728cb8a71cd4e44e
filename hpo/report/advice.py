"""What to change in a space file, by what the curves of its trials say. One edit is one value at one place."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hpo.report.diagnosis import Judged, gained_by
from hpo.space.document import Trail
from hpo.space.parameters import Choice, FloatRange, IntRange
from hpo.spec import SearchSpec

__all__ = ["ENOUGH", "Edit", "advise"]

ENOUGH = 5
"""COMPLETE trials from which the place of the best value within its range means anything."""
EDGE = 0.05
"""Share of a range, by its logarithm where that is searched, that is its edge."""
LEVELS = ("none", "light", "standard", "heavy")
"""Of augmentation."""
SEEDS = 5
"""Fresh seeds for a winner whose curves are noisy."""


@dataclass(frozen=True, kw_only=True)
class Edit:
    """One value of the space file, and why it should be another."""

    trail: Trail
    value: Any
    why: str


def advise(space: SearchSpec, trials: Sequence[Judged], subject: Judged, *, of_study: bool) -> list[Edit]:
    """Propose edits for what is the matter with one trial, `subject`, which is one of `trials`.

    With `of_study` it stands for the study: that others diverged counts too, and where its values lie in their ranges.
    No place is named twice; the first rule to name it is right.
    """
    known = {
        "overfit": _overfit,
        "slow": _slow,
        "underfit": _underfit,
        "noisy": _noisy,
        "plateaued": _plateaued,
    }
    rules: list[Callable[[SearchSpec, Judged], Iterator[Edit]]] = [
        known[each.verdict] for each in subject.findings if each.verdict in known
    ]
    edits = [*_diverged(space, trials if of_study else [subject], trials)]
    for rule in rules:
        edits += rule(space, subject)
    if of_study:
        edits += _edges(space, trials, subject)
    first: dict[Trail, Edit] = {}
    for each in edits:
        first.setdefault(each.trail, each)
    return list(first.values())


# -- by verdict -------------------------------------------------------------------------------------------------------


def _diverged(space: SearchSpec, suspects: Sequence[Judged], trials: Sequence[Judged]) -> Iterator[Edit]:
    """Keep lr below the smallest that diverged; where better trials had a larger one, clip the gradient instead."""
    lost = [each for each in suspects if each.verdict == "diverged"]
    if not lost:
        return
    many = f"{len(lost)} trials diverged" if len(lost) > 1 else f"trial {lost[0].number} diverged"
    parameter = space.parameters.get("lr")
    if parameter is None:
        rate = space.trainer.get("lr")
        if isinstance(rate, float | int) and not isinstance(rate, bool):
            yield Edit(trail=("trainer", "lr"), value=_round(rate / 3), why=f"{many} at lr {rate:g}")
        elif "import" not in space.trainer:
            yield _clipped(many)
        return
    rates = [each for trial in lost if (each := _rate(trial)) is not None]
    if not rates:  # none of them had one
        return
    lowest = min(rates)
    sound = [each for trial in trials if trial.value is not None and (each := _rate(trial)) is not None]
    best = _best(space, trials)
    if best is not None and best >= lowest:
        if "import" not in space.trainer and "grad_clip" not in {**space.trainer, **space.parameters}:
            yield _clipped(f"{many}, from lr {lowest:g} on, where the best trial is too")
        return
    why = f"{many}, the smallest lr among them is {lowest:g}"
    below = [each for each in sound if each < lowest]
    if isinstance(parameter, Choice):
        numbers = [each for each in parameter.options if isinstance(each, float | int)]
        left = [each for each in numbers if each < lowest] or [_round(lowest / 10)]
        yield Edit(trail=("parameters", "lr", "values"), value=left, why=why)
        return
    highest = _round(math.sqrt(max(below) * lowest) if below else lowest / 3, down=True)
    if highest <= parameter.min:  # first, for each edit is tried by itself
        yield Edit(trail=("parameters", "lr", "min"), value=_round(highest / 100), why=why)
    yield Edit(trail=("parameters", "lr", "max"), value=highest, why=why)


def _clipped(why: str) -> Edit:
    return Edit(trail=("trainer", "grad_clip"), value=1.0, why=why)


def _overfit(space: SearchSpec, subject: Judged) -> Iterator[Edit]:
    """More of what holds back: dropout, weight decay, augmentation; where it is searched, its range."""
    why = "overfit: more regularisation"
    dropout = space.parameters.get("dropout")
    if isinstance(dropout, FloatRange):
        more = _steps(dropout.max, dropout.step or 0.1, min(dropout.max + 0.2, 0.7))
        if more > dropout.max:
            yield Edit(trail=("parameters", "dropout", "max"), value=more, why=why)
    elif dropout is None and isinstance(space.trainer.get("dropout", 0.0), float | int):
        now = float(space.trainer.get("dropout", 0.0))
        if now < 0.6 and ("import" not in space.trainer or "dropout" in space.trainer):
            yield Edit(trail=("trainer", "dropout"), value=_round(min(now + 0.2, 0.6)), why=why)
    decay = space.parameters.get("weight_decay")
    if isinstance(decay, FloatRange) and decay.step is None:
        yield Edit(trail=("parameters", "weight_decay", "max"), value=_round(decay.max * 10), why=why)
    if "import" not in space.trainer and "augment.level" not in space.parameters:
        level = (space.trainer.get("augment") or {}).get("level", "light")
        if level in LEVELS[:-1]:
            raised = LEVELS[LEVELS.index(level) + 1]
            yield Edit(trail=("trainer", "augment", "level"), value=raised, why=f"overfit: augmentation was {level}")


def _slow(space: SearchSpec, subject: Judged) -> Iterator[Edit]:
    yield from _epochs(space, 2.0, "slow: still improving at its end")


def _underfit(space: SearchSpec, subject: Judged) -> Iterator[Edit]:
    """Longer, faster, less held back."""
    why = "underfit: it has not learnt what it is trained on"
    yield from _epochs(space, 2.0, why)
    rate = space.parameters.get("lr")
    if isinstance(rate, FloatRange) and rate.step is None:
        yield Edit(trail=("parameters", "lr", "max"), value=_round(rate.max * 3), why=why)
    dropout = space.trainer.get("dropout")
    if isinstance(dropout, float | int) and dropout > 0:
        yield Edit(trail=("trainer", "dropout"), value=_round(dropout / 2), why=why)


def _noisy(space: SearchSpec, subject: Judged) -> Iterator[Edit]:
    """What jumps cannot be ranked by one number: more seeds for the winner."""
    winner = space.winner
    if space.several:
        return
    if winner is None or winner.seeds < SEEDS:
        why = "noisy: single numbers rank trials by luck; more fresh seeds for the winner"
        if winner is None:
            yield Edit(trail=("winner",), value={"top": 3, "seeds": SEEDS}, why=why)
        else:
            yield Edit(trail=("winner", "seeds"), value=SEEDS, why=why)


def _plateaued(space: SearchSpec, subject: Judged) -> Iterator[Edit]:
    reached, now = gained_by(subject.curve), space.trainer.get("epochs")
    if reached is None or not isinstance(now, int):
        return
    enough = max(math.ceil(1.25 * reached), space.pruner.min_epochs + 1)
    if enough < now:
        yield Edit(
            trail=("trainer", "epochs"),
            value=enough,
            why="plateaued: the last epochs bring next to nothing, more trials may",
        )


def _epochs(space: SearchSpec, factor: float, why: str) -> Iterator[Edit]:
    now = space.trainer.get("epochs")
    if now is None and "import" not in space.trainer and "epochs" not in space.parameters:
        from hpo.space import builtin  # reads the trainer's keys

        now = builtin.default(space.trainer, "epochs")
    if isinstance(now, int):
        yield Edit(trail=("trainer", "epochs"), value=math.ceil(now * factor), why=why)


# -- ranges -----------------------------------------------------------------------------------------------------------


def _edges(space: SearchSpec, trials: Sequence[Judged], subject: Judged) -> Iterator[Edit]:
    """Widen what the trial lies at the edge of; 0 is no edge."""
    if sum(each.value is not None for each in trials) < ENOUGH or subject.value is None:
        return
    for name, parameter in space.parameters.items():
        value = subject.params.get(name)
        if not isinstance(value, float | int) or isinstance(value, bool):
            continue
        if isinstance(parameter, Choice):
            yield from _more_values(name, parameter, value, subject.number)
        else:
            yield from _wider(name, parameter, value, subject.number)


def _more_values(name: str, parameter: Choice, value: float, number: int) -> Iterator[Edit]:
    numbers = [each for each in parameter.options if isinstance(each, int | float) and not isinstance(each, bool)]
    if len(numbers) < max(2, len(parameter.options)):
        return
    ordered = sorted(numbers)
    at_top, at_bottom = value == ordered[-1], value == ordered[0] and value > 0
    if not (at_top or at_bottom):
        return
    end, inner = (ordered[-1], ordered[-2]) if at_top else (ordered[0], ordered[1])
    new = end * end / inner if inner > 0 and end > 0 else 2 * end - inner
    new = round(new) if isinstance(end, int) else _round(new)
    if new in numbers or new <= 0:
        return
    longer = [*parameter.options, new] if (numbers[-1] == end) else [new, *parameter.options]
    why = f"trial {number} has {name} {value:g}, the {'largest' if at_top else 'smallest'} of its values"
    yield Edit(trail=("parameters", name, "values"), value=longer, why=why)


def _wider(name: str, parameter: FloatRange | IntRange, value: float, number: int) -> Iterator[Edit]:
    place = _place(parameter, value)
    if EDGE < place < 1 - EDGE:
        return
    top = place >= 1 - EDGE
    end = parameter.max if top else parameter.min
    if not top and end <= 0:
        return
    if parameter.log:
        factor = 10 if parameter.max / parameter.min >= 100 else 3
        new = end * factor if top else end / factor
    else:
        half = (parameter.max - parameter.min) / 2
        new = end + half if top else max(0, end - half)
    if parameter.step:
        new = _steps(end, parameter.step, new)
    new = max(1, round(new)) if isinstance(parameter, IntRange) else _round(new)
    if new == end:
        return
    why = f"trial {number} has {name} {value:.4g}, at the {'upper' if top else 'lower'} edge of its range"
    yield Edit(trail=("parameters", name, "max" if top else "min"), value=new, why=why)


def _place(parameter: FloatRange | IntRange, value: float) -> float:
    """Where in its range a value lies, from 0 to 1."""
    low, high = float(parameter.min), float(parameter.max)
    if parameter.log:
        low, high, value = math.log(low), math.log(high), math.log(value)
    return (value - low) / (high - low)


def _steps(end: float, step: float, wanted: float) -> float:
    """The value a whole number of steps from the end that is nearest to the wanted one."""
    return _round(end + round((wanted - end) / step) * step, digits=12)


def _round(value: float, *, digits: int = 2, down: bool = False) -> float:
    """So many significant digits; `down`: never more than the value."""
    rounded = float(f"{value:.{digits - 1}e}")
    if down and rounded > value:
        rounded -= 10.0 ** (math.floor(math.log10(value)) - digits + 1)
        rounded = float(f"{rounded:.{digits - 1}e}")
    return rounded


def _rate(trial: Judged) -> float | None:
    """The learning rate of a trial; None where a condition kept it out, or it is no number."""
    found = trial.params.get("lr")
    return float(found) if isinstance(found, float | int) and not isinstance(found, bool) else None


def _best(space: SearchSpec, trials: Sequence[Judged]) -> float | None:
    """The learning rate of the best trial that has one."""
    found = [(space.metric.sign * each.value, _rate(each)) for each in trials if each.value is not None]
    rated = [(value, rate) for value, rate in found if rate is not None]
    return max(rated, key=lambda each: each[0])[1] if rated else None
