"""A new study that begins with the best points of another one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hpo.errors import SpecError
from hpo.space.parameters import Choice, IntRange, Parameter, same
from hpo.spec import SearchSpec
from hpo.store.history import Entry, Point
from hpo.store.ledger import Ledger
from hpo.store.opening import named
from hpo.wording import assignments, literal

if TYPE_CHECKING:
    from hpo.settings import Settings
    from hpo.study import Study

__all__ = ["first_entry"]

POINTS = 5  # that are taken where no number is given


def first_entry(wish: str, space: SearchSpec, settings: Settings) -> Entry | None:
    """What a new study begins with, by a wish such as `other` or `other:8`; None where it was begun like that before.

    The points are the best COMPLETE ones of the other study, by its own metric, that this space could have drawn.

    Raises:
        SpecError: the wish is none, the sampler is grid, the study exists and was begun otherwise, there is no such
            other study, or none of its points fits.
        NoUsableTrial: the other study has no COMPLETE trial.
    """
    parts = named(wish)
    if parts is None or parts[1] == 0:
        raise SpecError(f"--warm-start {wish}: write the name of a study, or NAME:K for its K best points")
    if space.sampler.type == "grid":
        raise SpecError("--warm-start: a grid visits its own cells; set `sampler: gp`, tpe or random, or leave it out")
    if space.sampler.type == "staged":
        raise SpecError(
            "--warm-start: a staged search begins with the trainer's defaults and tries values of its own; "
            "set `sampler: gp`, tpe or random, or leave it out"
        )
    if _is_begun(parts[0], space, settings):
        return None
    from hpo.study import Study  # imports Optuna

    other = Study.load(parts[0], settings, reading=True)
    other.best_trial  # noqa: B018 - says that there is none
    points, left_out = _choose(other, space, parts[1] or POINTS)
    if not points:
        lines = "\n".join(f"  {line}" for line in left_out)
        raise SpecError(f"no point of study {other.name!r} fits:\n{lines}\nWiden the space, or leave out --warm-start")
    taken = [f"trial {number} of {other.name}: {assignments(dict(point.params))}" for number, point in points.items()]
    return Entry(what="warm start", changes=[*taken, *left_out], points=list(points.values()))


def _is_begun(other: str, space: SearchSpec, settings: Settings) -> bool:
    """Whether the study exists and was begun with points of the other; the other may have gone since."""
    file = settings.storage_file
    if file is not None and not file.exists():
        return False
    try:
        ledger = Ledger.read(settings.storage)
    except SpecError:  # the database has no study yet
        return False
    row = ledger.study(space.name)
    if row is None:
        return False
    points = [point for each in ledger.history(row["id"]) for point in json.loads(each["points"])]
    origins = {point["origin"]["warm_start"].partition(":")[0] for point in points if "warm_start" in point["origin"]}
    if other in origins:
        return True
    how = f"with points of {', '.join(origins)}" if origins else "without it"
    raise SpecError(
        f"study {space.name!r} was begun {how}: --warm-start is for a new study; "
        "give the file another `name`, or leave it out"
    )


def _choose(other: Study, space: SearchSpec, count: int) -> tuple[dict[int, Point], list[str]]:
    """The first points that fit, the best first, by the number of their trial; and why better ones do not."""
    trials = {trial.number: trial for trial in other.frozen_trials()}
    found: dict[int, Point] = {}
    left_out = []
    aside = [name for name in other.spec.parameters if name not in space.parameters]
    for number in other.best_first():
        if len(found) == count:
            break
        params = other.spec.shown(other.params(trials[number]))
        fitting, reasons = _fit(space, params)
        twin = next((each for each, point in found.items() if point.params == fitting), None)
        if twin is not None:
            reasons = [f"the same point as trial {twin}"]
        if reasons:
            left_out.append(f"left out trial {number} of {other.name}, {'; '.join(reasons)}")
        else:
            found[number] = Point(params=fitting, origin={"warm_start": f"{other.name}:{number}"})
    return found, left_out + [f"{name} of {other.name} is not searched here" for name in aside]


def _fit(space: SearchSpec, params: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The parameters as a trial of the space would have them, and why none could."""
    found: dict[str, Any] = {}
    reasons = []
    for name, parameter in space.parameters.items():
        if not parameter.active({**space.trainer, **found}):
            continue
        if name not in params:
            reasons.append(f"it has no {name}")
        elif not parameter.contains(params[name]):
            reasons.append(f"{name} {literal(params[name])} is not in this space")
        else:
            found[name] = _own(parameter, params[name])
    return found, reasons


def _own(parameter: Parameter, value: Any) -> Any:
    """A value as this space has it: 64 may have been 64.0 in the other one."""
    if isinstance(parameter, Choice):
        return next(each for each in parameter.options if same(each, value))
    return int(value) if isinstance(parameter, IntRange) else float(value)
