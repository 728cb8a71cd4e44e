"""The columns of our tables that hold JSON, read with care: others may have edited them, or a disk damaged them."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy.engine import RowMapping

from hpo.errors import Unavailable

__all__ = ["canonical", "facts", "metrics"]

SHOWN = 40  # characters of a damaged one


def canonical(study: RowMapping) -> dict[str, Any]:
    """The resolved space of a row of hpo_study.

    Raises:
        Unavailable: the column is damaged; the message names it.
    """
    return _mapping(study["canonical"], f"hpo_study.canonical of study {study['name']}")


def facts(trial: RowMapping) -> dict[str, Any]:
    """What the trainer said of itself, by a row of hpo_trial; raises as `canonical`."""
    return _mapping(trial["facts"] or "{}", f"hpo_trial.facts of trial {trial['number']}")


def metrics(epoch: RowMapping) -> dict[str, float]:
    """The metrics of a row of hpo_epoch; raises as `canonical`."""
    where = f"hpo_epoch.metrics of trial {epoch['number']}, epoch {epoch['epoch']}"
    found = _mapping(epoch["metrics"], where)
    if not all(isinstance(value, int | float) for value in found.values()):
        raise _damaged(epoch["metrics"], where)
    return found


def _mapping(text: str, where: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _damaged(text, where) from error
    if not isinstance(found, dict):
        raise _damaged(text, where)
    return found


def _damaged(text: str, where: str) -> Unavailable:
    shown = text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
    return Unavailable(f"{where} is damaged, it holds {shown!r}: take it from a copy of the database; see `hpo doctor`")
