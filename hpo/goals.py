"""Which trials no other betters: dominance over several goals, the front, and what misses its constraints.

Knows values and no SQL. Of equals the first alone counts, so that of one goal the front is its one best trial.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hpo.space.constraints import Constraint
from hpo.space.sections import Metric
from hpo.wording import number

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

__all__ = [
    "Point",
    "betters",
    "excesses",
    "front",
    "in_words",
    "led",
    "missed",
    "nearest",
    "points",
    "ranked",
    "reached",
    "span",
    "wanted",
]


@dataclass(frozen=True, kw_only=True)
class Point:
    """What a COMPLETE trial has come to."""

    number: int
    values: tuple[float, ...]  # one for each goal, in their order
    missed: Mapping[str, float] = field(default_factory=dict)  # constraint -> by which share of the limit

    @classmethod
    def of(cls, number: int, values: Sequence[float], excess: Mapping[str, float]) -> Point:
        """`excess` of all constraints, up to 0 of those that it keeps."""
        return cls(number=number, values=tuple(values), missed=_above(excess))

    @property
    def excess(self) -> float:
        """By how much it misses constraints, added up; 0: it keeps them all."""
        return sum(self.missed.values())


def points(trials: Iterable[FrozenTrial]) -> list[Point]:
    """Those of the COMPLETE trials."""
    return [Point.of(each.number, each.values, each.constraints) for each in trials if each.state.name == "COMPLETE"]


def missed(trial: FrozenTrial) -> dict[str, float]:
    """The constraints that a trial does not keep, as far as it has come, and by which share of the limit."""
    return _above(trial.constraints)


def _above(excess: Mapping[str, float]) -> dict[str, float]:
    return {name: share for name, share in excess.items() if share > 0}


def in_words(missed: Mapping[str, float]) -> str | None:
    """The same for people; None where all are kept."""
    said = [f"{name} by {number(over) if name.endswith(' 0') else f'{over:.2%}'}" for name, over in missed.items()]
    return ", ".join(said) or None


def nearest(trials: Iterable[FrozenTrial], metrics: Sequence[Metric]) -> str:
    """Which of the COMPLETE trials, that all miss constraints, misses them by least, and by how much."""
    found = ranked(points(trials), metrics)[0]
    return f"the nearest, trial {found.number}, misses {in_words(found.missed)}"


def excesses(constraints: Sequence[Constraint], known: Mapping[str, Any]) -> dict[str, float]:
    """By how much a trial misses each constraint, up to 0 where it keeps it; `known`: its metrics and facts.

    Left out are those of which nothing is known yet, or no number.
    """
    return {
        str(each): each.excess(float(value))
        for each in constraints
        if isinstance(value := known.get(each.name), int | float)
    }


def betters(one: Sequence[float], other: Sequence[float], metrics: Sequence[Metric]) -> bool:
    """Whether one set of values is as good as another in every goal; of equals whichever came first."""
    return all(each.sign * (mine - yours) >= 0 for each, mine, yours in zip(metrics, one, other, strict=True))


def front(found: Iterable[Point], metrics: Sequence[Metric]) -> list[Point]:
    """The feasible ones that no other dominates or equals before them, the best in the first goal first."""
    kept: list[Point] = []
    for each in sorted((each for each in found if not each.excess), key=lambda each: _order(each, metrics)):
        # whatever dominates it stands before it, and on the front if anything does
        if not any(betters(other.values, each.values, metrics) for other in kept):
            kept.append(each)
    return kept


def ranked(found: Iterable[Point], metrics: Sequence[Metric]) -> list[Point]:
    """The front, the other feasible ones by the first goal, then those that miss constraints, the nearest first."""
    there = list(found)
    first = {each.number for each in front(there, metrics)}
    return sorted(there, key=lambda each: (each.excess, each.number not in first, *_order(each, metrics)))


def _order(point: Point, metrics: Sequence[Metric]) -> tuple[float, ...]:
    return (*(-each.sign * value for each, value in zip(metrics, point.values, strict=True)), point.number)


def reached(values: Sequence[float], metrics: Sequence[Metric]) -> str:
    """Values with the names of their goals, for people."""
    return ", ".join(f"{each.name} {number(value)}" for each, value in zip(metrics, values, strict=True))


def span(front: Sequence[Point], metrics: Sequence[Metric]) -> str:
    """A front in one line: how many there are, and how far it goes in each goal."""
    if not front:
        return "none on the front"
    best = [max((point.values[place] for point in front), key=lambda value: each.sign * value)
            for place, each in enumerate(metrics)]  # fmt: skip
    sides = ", ".join(
        f"{each.name} {'up' if each.sign > 0 else 'down'} to {number(value)}"
        for each, value in zip(metrics, best, strict=True)
    )
    return f"{len(front)} on the front: {sides}"


def led(front: Sequence[Point], metrics: Sequence[Metric]) -> str:
    """Who is the best, or what is on the front."""
    return f"trial {front[0].number} is the best of the search" if len(metrics) == 1 else span(front, metrics)


def wanted(metrics: Sequence[Metric]) -> str:
    """The goals for people."""
    return " and ".join(f"{each.goal} {each.name}" for each in metrics)
