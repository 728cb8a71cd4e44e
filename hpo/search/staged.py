"""One parameter after the other: which trials a staged search tries next, from what its trials have come to."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hpo.goals import front, points
from hpo.space.stages import point
from hpo.spec import SearchSpec

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

__all__ = ["MARK", "Stage", "due", "is_over", "key"]

MARK = "stage"
"""Attribute of Optuna's trials: which stage they are of, and which trial's values were frozen in it."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Trials to be put into the queue together."""

    parameter: str
    mark: Mapping[str, Any]  # index, from 0, parameter, and start: the trial with the frozen values, None: defaults
    points: Sequence[Mapping[str, Any]]


def due(space: SearchSpec, trials: Sequence[FrozenTrial]) -> Stage | None:
    """What is to be put into the queue now; None while a stage goes on, and where all are done.

    A stage ends when no trial is unfinished. The next one freezes the values of the best COMPLETE trial so far, of
    equals the first, and leaves out points that some trial has had. Which trial that was stands on each trial of the
    stage, so that a stage whose making was cut short is made up for with the same points, whatever has ended since.
    Where no trial is COMPLETE at the end of a stage there is nothing to freeze, and the search is over.
    """
    if space.sampler.type != "staged":
        return None
    marks = [trial.user_attrs[MARK] for trial in trials if MARK in trial.user_attrs]
    index, start = 0, None
    if marks:
        last = max(marks, key=lambda mark: int(mark["index"]))
        index, start = int(last["index"]), last["start"]
        if (stage := _stage(space, trials, index, start)) is not None:
            return stage
        if not all(trial.state.is_finished() for trial in trials):
            return None
        index, start = index + 1, _best(space, trials)
        if start is None:
            return None
    for later in range(index, len(space.parameters)):
        if (stage := _stage(space, trials, later, start)) is not None:
            return stage
    return None


def is_over(space: SearchSpec, trials: Sequence[FrozenTrial]) -> bool:
    """Whether a staged search has nothing more to try; another kind of search never says so."""
    ended = all(trial.state.is_finished() for trial in trials)
    return space.sampler.type == "staged" and ended and due(space, trials) is None


def key(point: Mapping[str, Any]) -> str:
    """A text that is the same for the same point."""
    whole = {
        name: int(value) if isinstance(value, float) and value.is_integer() else value for name, value in point.items()
    }
    return json.dumps(whole, sort_keys=True)  # 1 and 1.0 are the same point


def _stage(space: SearchSpec, trials: Sequence[FrozenTrial], index: int, start: int | None) -> Stage | None:
    """The points of a stage that no trial has yet; None where there is none."""
    parameter, values = list(space.stages.items())[index]
    beginning = space.start()
    frozen = next((_params(each) for each in trials if each.number == start), beginning)
    if parameter not in frozen:  # its condition does not hold
        return None
    known = {key(_params(trial)) for trial in trials}
    made = [point(space.parameters, space.trainer, frozen, beginning, {parameter: value}) for value in values]
    new = [each for each in made if key(each) not in known]
    mark = {"index": index, "parameter": parameter, "start": start}
    return Stage(parameter=parameter, mark=mark, points=new) if new else None


def _best(space: SearchSpec, trials: Sequence[FrozenTrial]) -> int | None:
    return next((each.number for each in front(points(trials), space.metrics)), None)


def _params(trial: FrozenTrial) -> Mapping[str, Any]:
    """The whole point, also of a trial whose driver died between two parameters."""
    found: Mapping[str, Any] = trial.system_attrs.get("fixed_params") or trial.params
    return found
