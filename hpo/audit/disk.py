"""The room that a search's checkpoints need, forecast before they are written, and the room that there is."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo.audit import surroundings
from hpo.cluster import packing
from hpo.cluster.placement import place
from hpo.errors import SpecError
from hpo.rungs import Rungs
from hpo.search.ahead import trials_left
from hpo.search.retention import Held, look
from hpo.settings import Settings, cards_are_hidden
from hpo.space.parameters import Choice, Parameter
from hpo.spec import SearchSpec
from hpo.wording import size

if TYPE_CHECKING:
    from hpo.study import Study

__all__ = ["SHORT", "Forecast", "forecast", "sections", "told"]

SHORT = "less than twice as much is free, a full disk stops the search until there is room"
KEPT_AT_WORK = 2
"""Checkpoints of a trial at work; one more while it is written."""
SIZED = ("model", "depth", "growth", "width", "optimizer", "momentum", "ema", "dataset.name", "dataset.image_size")
"""Paths of the built-in trainer that a checkpoint's size depends on."""
GROWING = ("depth", "growth", "width", "dataset.image_size", "momentum")
"""Those of them of which the largest number makes the largest checkpoint."""
COMBINATIONS = 4096
"""So many are looked at for the largest checkpoint; what rules its size is seldom searched in more."""


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """Bytes on the file system of the checkpoints."""

    folder: Path  # of all checkpoints
    free: int
    taken: int  # by the study's checkpoints now
    one: int | None  # the largest checkpoint; None: not known
    unknown: str | None  # why it is not
    at_once: int  # trials at work at a time, at most
    need: int | None  # that the study's checkpoints may grow by

    @property
    def warning(self) -> str | None:
        """What to say where less than twice the need is free."""
        if self.need is None or self.free >= 2 * self.need:
            return None
        return f"checkpoints may take {size(self.need)} and {size(self.free)} are free in {self.folder}: {SHORT}"


def forecast(
    space: SearchSpec,
    settings: Settings,
    study: Study | None,
    *,
    concurrency: int | None = None,
    one: int | None = None,
) -> Forecast:
    """Forecast for the study as far as it has come, None for a new one, on a machine like this.

    `one`: bytes of the largest checkpoint, where they are known. Of a search for the built-in trainer torch is
    imported, where neither this nor a checkpoint of the study tells them.
    """
    held = look(study) if study is not None else []
    taken, left = sum(each.bytes for each in held), trials_left(space, study)
    at_once = min(each for each in (_slots(space, study, concurrency), left) if each is not None)
    unknown = None
    if one is None and at_once:
        one, unknown = _one(space, held)
    need = 0 if not at_once else None if one is None else max(0, _most(space, held, at_once, one) - taken)
    there = surroundings.checkpoint_store(settings)
    assert there.free_bytes is not None
    return Forecast(
        folder=settings.checkpoints,
        free=there.free_bytes,
        taken=taken,
        one=one,
        unknown=unknown,
        at_once=at_once,
        need=need,
    )


def told(ahead: Forecast) -> str:
    """What the rest of the search needs of the disk, and what it has."""
    free = f"{size(ahead.free)} are free"
    if ahead.unknown is not None:
        return f"{free}; how much checkpoints will take is not known: {ahead.unknown}"
    if ahead.need is None or ahead.one is None:
        return f"no trial is left to run, {free}"
    trials = "1 trial" if ahead.at_once == 1 else f"{ahead.at_once} trials"
    more = " more" if ahead.taken else ""
    return f"checkpoints may take {size(ahead.need)}{more}, {free}; {trials} at a time, {size(ahead.one)} a checkpoint"


def _most(space: SearchSpec, held: list[Held], at_once: int, one: int) -> int:
    """Bytes of the study's checkpoints when they are most: of trials at work, paused, or to go on, and kept."""
    begun = sum(bool(each.files) and not each.finished for each in held)
    kept = space.checkpoints_kept * one
    if space.budget.disk is not None:
        kept = min(kept, max(int(space.budget.disk), one))  # the best stays anyhow
    paused = (space.trials or 0) if Rungs.of(space) else 0  # until the search ends, all but a few
    return (KEPT_AT_WORK * max(at_once, begun, paused) + at_once) * one + kept


# -- trials at work ---------------------------------------------------------------------------------------------------


def _slots(space: SearchSpec, study: Study | None, concurrency: int | None) -> int:
    """Trials at a time on this machine, at most: where it is measured how many share a card, the most that may."""
    wanted = space.resources
    cards = 0 if wanted.gpu == 0 or cards_are_hidden() else _cards()
    there = {"CPU": float(os.cpu_count() or 1), "GPU": float(cards)}
    share = None
    packings = study.ledger.packings(study.id) if study is not None else []
    if packings and packings[-1]["asked"] == str(wanted.gpu):
        share = 1 / packings[-1]["per_card"]
    elif wanted.gpu == "auto" and "import" not in space.trainer:
        share = 1 / max(packing.LEVELS)
    with suppress(SpecError):  # not even one fits, which a run will say
        return place(wanted, there, concurrency, share=share).slots
    return 1


@cache
def _cards() -> int:
    found = surroundings.gpus()
    return 0 if isinstance(found, str) else len(found)


# -- one checkpoint ---------------------------------------------------------------------------------------------------


def _one(space: SearchSpec, held: list[Held]) -> tuple[int | None, str | None]:
    """Bytes of the largest checkpoint, or why it cannot be told."""
    whole = [count for each in held for path, count in each.files.items() if not path.name.startswith(".")]
    recorded = max(whole, default=None)
    if "import" in space.trainer:
        return recorded, "a trainer of one's own tells with its first epoch" if recorded is None else None
    if recorded is not None and not set(SIZED) & set(space.parameters):
        return recorded, None
    try:
        space.require_sources()
        return max(*_sizes(space), recorded or 0), None
    except (SpecError, ValueError, OSError) as error:
        return recorded, str(error) if recorded is None else None


def _sizes(space: SearchSpec) -> Iterator[int]:
    """Bytes of a checkpoint of each kind of training that the space holds."""
    from trainers import TrainConfig
    from trainers.size import state_bytes

    for section in itertools.islice(sections(space), COMBINATIONS):
        yield state_bytes(TrainConfig.model_validate(section))


def sections(space: SearchSpec) -> Iterator[dict[str, Any]]:
    """A trainer section of each kind that differs in the size of its checkpoints."""
    return (space.resolve(point) for point in _points(space))


def _points(space: SearchSpec) -> Iterator[dict[str, Any]]:
    """Combinations of the parameters with every value that the size of a checkpoint depends on."""
    parents = {name for parameter in space.parameters.values() for name in parameter.when or {}}
    telling = [_telling(name, parameter, name in parents) for name, parameter in space.parameters.items()]
    for values in itertools.product(*telling):
        point: dict[str, Any] = {}
        for (name, parameter), value in zip(space.parameters.items(), values, strict=True):
            if parameter.active({**space.trainer, **point}):
                point[name] = value
        yield point


def _telling(name: str, parameter: Parameter, is_parent: bool) -> list[Any]:
    """The values of a parameter to look at; all, where others exist beside some of them only."""
    if not isinstance(parameter, Choice):
        return [parameter.max if name in SIZED else parameter.probe]
    values = parameter.values()
    if is_parent:
        return values
    if name in GROWING and None not in values:
        return [max(values)]
    return values if name in SIZED else [parameter.probe]
