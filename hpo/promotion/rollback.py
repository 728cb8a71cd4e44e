"""The alias of a promoted model, moved back to the version that had it before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hpo.errors import NoUsableTrial, Unavailable
from hpo.promotion.journal import UNDOING, UNDONE, Promotions, alone, settle
from hpo.store import records
from hpo.study import Study

if TYPE_CHECKING:
    from sqlalchemy.engine import RowMapping

    from hpo.promotion.registry import Registry, Version

__all__ = ["rollback"]


def rollback(study: Study, alias: str) -> dict[str, Any]:
    """Move the alias back, once the version before has been read back whole; returns model, alias, from and to.

    Raises:
        NoUsableTrial: nothing holds the alias, no version was before, or that is not whole any more.
        Unavailable: MLflow does not answer, or a promotion of the study is at work.
    """
    from hpo.promotion.registry import Registry
    from hpo.tracking.delivery import deliver  # imports MLflow, which takes seconds

    with alone(study) as folder:
        registry, kept = Registry(study.settings, study.name, folder), Promotions(study.ledger)
        now = registry.aliases().get(alias)
        ended = [row for row in settle(study, kept, alias, now) if row["outcome"] == UNDOING]
        if ended:  # this very command, killed when the alias had moved
            row, to = ended[-1], ended[-1]["previous"]
        else:
            row, before = _step_back(study, registry, kept, alias, now)
            kept.update(row["id"], outcome=UNDOING)
            registry.point(alias, before.number)
            kept.end(row["id"], UNDONE)
            to = before.number
        below = kept.of_version(study.name, alias, to)
        trial = below["trial"] if below is not None else "unknown"
        study.ledger.post(study.id, None, "tags", records.promoted(alias, to, trial))
    deliver(study)
    return {"model": study.name, "alias": alias, "from": row["version"], "to": to}


def _step_back(
    study: Study, registry: Registry, kept: Promotions, alias: str, now: int | None
) -> tuple[RowMapping, Version]:
    """The promotion that is to be undone, and the version before it, read back whole."""
    if now is None:
        there = ", ".join(registry.aliases()) or "none"
        raise NoUsableTrial(f"no version of {study.name!r} holds the alias {alias!r}; aliases there are: {there}")
    row = kept.of_version(study.name, alias, now)
    if row is None:
        raise NoUsableTrial(
            f"version {now} of {study.name!r} was not given {alias!r} by a promotion on record here, so that none is "
            "known to be before it; move the alias in MLflow"
        )
    before = _before(study, registry, row, alias, now)
    _require_whole(study, registry, kept, before)
    return row, before


def _before(study: Study, registry: Registry, row: RowMapping, alias: str, now: int) -> Version:
    if row["previous"] is None:
        raise NoUsableTrial(f"version {now} is the first of {study.name!r} that had {alias!r}: none is before it")
    found = next((each for each in registry.versions() if each.number == row["previous"]), None)
    if found is None:
        raise NoUsableTrial(f"version {row['previous']} of {study.name!r}, which was before {now}, was deleted")
    return found


def _require_whole(study: Study, registry: Registry, kept: Promotions, version: Version) -> None:
    from hpo.promotion import bundle

    row = kept.of_version(study.name, None, version.number)
    digest = row["digest"] if row is not None else version.tags.get("hpo.digest")
    try:
        with registry.fetched(version) as folder:
            whole = bundle.digest(folder) == digest
    except Unavailable as error:
        raise Unavailable(f"version {version.number} of {study.name!r} cannot be read back: {error}") from error
    if not whole:
        raise NoUsableTrial(
            f"the files of version {version.number} of {study.name!r} are not those that were promoted: the alias "
            "stays where it is; promote that trial again"
        )
