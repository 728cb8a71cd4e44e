"""A study over more values or wider ranges than before: what was done is kept, and goes on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import sqlalchemy as sql

from hpo import spec
from hpo.errors import SpecError
from hpo.search.ranges import widen
from hpo.search.recovery import recover
from hpo.settings import Settings
from hpo.space.widening import refusals
from hpo.spec import SearchSpec
from hpo.store import history
from hpo.store.history import Entry
from hpo.store.lease import Lease
from hpo.store.opening import columns_of
from hpo.store.tables import packings
from hpo.study import Study
from hpo.wording import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["extend", "preview"]


def extend(name: str, space: SearchSpec, settings: Settings) -> Sequence[str]:
    """Let a study go on over `space`, in one transaction; returns what is changed, nothing where that was done before.

    Raises:
        SpecError: there is no such study, the space has another name, or trials so far would mean something else
            within it; the message holds every reason.
        StudyOwned: a driver is at work on the study.
    """
    study = _checked(name, space, settings)
    if study.spec.hash() == space.hash():
        return []
    with Lease(study) as lease:
        study = _checked(name, space, settings)  # another command may have been quicker
        changes = _changes(study.spec, space)
        if study.spec.hash() == space.hash():
            return []
        recover(study)

        def write() -> None:
            with study.ledger.begin() as connection:
                lease.check(connection)
                for each, parameter in space.parameters.items():
                    widen(connection, name, each, parameter)
                if _largest_batch(space) > _largest_batch(study.spec):  # which their memory was measured for
                    connection.execute(sql.delete(packings).where(packings.c.study == study.id))
                entry = Entry(what="extended", changes=changes)
                history.write_in(connection, study, entry, **columns_of(space))

        study.ledger.patience.call(write)
    return changes


def preview(name: str, space: SearchSpec, settings: Settings, *, as_json: bool) -> None:
    """Print what `extend` would change; raises as it does, but for a study that runs. Nothing is written."""
    study = _checked(name, space, settings, reading=True)
    changes = _changes(study.spec, space)
    cells = [len(each.grid()) for each in (study.spec, space)] if space.sampler.type == "grid" else None
    if as_json:
        print(json.dumps({"study": name, "changes": changes, "cells": cells}, indent=2))
        return
    for line in changes or [f"nothing: study {name!r} is over this space"]:
        print(f"{'changes':<11} {plain(line)}")
    if cells:
        print(f"{'cells':<11} {cells[0]} so far, then {cells[1]}")


def _checked(name: str, space: SearchSpec, settings: Settings, *, reading: bool = False) -> Study:
    study = Study.load(name, settings, reading=reading)
    if space.name != name:
        raise SpecError(
            f"--extend {name}: the file's name is {space.name!r}. A study keeps its name when it is extended: "
            f"give the file `name: {name}`, or add --set name={name}; a new search needs no --extend"
        )
    reasons = _refusals(study.spec, space)
    if reasons:
        lines = "\n".join(f"  {line}" for line in reasons)
        raise SpecError(
            f"study {name!r} cannot be extended like this:\n{lines}\n"
            "Values may be added and ranges widened, which trials so far could have had; budget, resources, winner "
            "and gate may change. For anything else give the file another `name`"
        )
    return study


def _refusals(old: SearchSpec, new: SearchSpec) -> list[str]:
    before, after = (
        {key: each.identity()[key] for key in each.identity() if key != "parameters"} for each in (old, new)
    )
    fixed = [f"{line}: may not change within a study" for line in spec.changes(before, after)]
    reasons = [*refusals(old.parameters, new.parameters), *fixed]
    if not reasons and old.sampler.type == "staged" and old.parameters != new.parameters:
        return ["sampler staged: what was frozen was chosen among the values of before; search the new ones anew"]
    return reasons


def _largest_batch(space: SearchSpec) -> float:
    searched = space.parameters.get("batch_size")
    return max((float(size) for size in searched.probes().values()), default=0.0) if searched else 0.0


def _changes(old: SearchSpec, new: SearchSpec) -> list[str]:
    """All that differs, budget and resources too."""
    return spec.changes(old.canonical(), new.canonical())
