"""What a parameter may be, in Optuna's words, and how that is widened in the records of earlier trials."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sql
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
    json_to_distribution,
)
from sqlalchemy.engine import Connection

from hpo.space.parameters import Choice, FloatRange, Parameter, same

__all__ = ["distribution", "widen"]

# Optuna's tables, as far as they are needed
params = sql.table("trial_params", *map(sql.column, ("trial_id", "param_name", "param_value", "distribution_json")))
trials = sql.table("trials", *map(sql.column, ("trial_id", "study_id")))
studies = sql.table("studies", *map(sql.column, ("study_id", "study_name")))


def distribution(parameter: Parameter) -> BaseDistribution:
    if isinstance(parameter, Choice):
        return CategoricalDistribution(parameter.values())
    if isinstance(parameter, FloatRange):
        return FloatDistribution(parameter.min, parameter.max, log=parameter.log, step=parameter.step)
    return IntDistribution(parameter.min, parameter.max, log=parameter.log, step=parameter.step or 1)


def widen(connection: Connection, study: str, name: str, parameter: Parameter) -> None:
    """Let all trials of a study have drawn a parameter from what it may be now, which holds what it could be before.

    Optuna refuses a trial whose choices are not those of the trials before it. A wider range it takes; but TPE then
    leaves the parameter out of what it searches together, or, with conditions, never draws from the new part. No call
    of Optuna changes a trial that has ended, so its table is written. A choice is kept as its place in the list.
    """
    new = distribution(parameter)
    text = distribution_to_json(new)
    of_study = sql.select(trials.c.trial_id).join(studies, studies.c.study_id == trials.c.study_id)
    here = (params.c.param_name == name, params.c.trial_id.in_(of_study.where(studies.c.study_name == study)))
    known = connection.execute(sql.select(params.c.distribution_json).where(*here).distinct()).scalars().all()
    for before in known:
        if before == text:
            continue
        values: dict[str, object] = {"distribution_json": text}
        old = json_to_distribution(before)
        if isinstance(old, CategoricalDistribution) and isinstance(new, CategoricalDistribution):
            values["param_value"] = sql.case(_places(old.choices, new.choices), value=params.c.param_value)
        connection.execute(sql.update(params).where(*here, params.c.distribution_json == before).values(values))


def _places(old: Sequence[object], new: Sequence[object]) -> dict[float, float]:
    """Place in the old list -> place in the new one."""
    places = {index: place for index, one in enumerate(old) for place, other in enumerate(new) if same(one, other)}
    return {float(index): float(place) for index, place in places.items()}
