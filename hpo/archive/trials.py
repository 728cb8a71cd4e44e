"""Optuna's part of a study in the file, written and read by its public names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from optuna.distributions import distribution_to_json, json_to_distribution
from optuna.trial import FrozenTrial, TrialState

from hpo.archive.words import told
from hpo.settings import Settings
from hpo.study import Study

__all__ = ["of_study", "of_trial", "trial"]


def of_study(study: Study) -> dict[str, Any]:
    """What Optuna knows of the study itself."""
    number = study.storage.get_study_id_from_name(study.name)
    found = {"user_attrs": study.optuna.user_attrs, "system_attrs": study.storage.get_study_system_attrs(number)}
    return {key: told(value, study.settings) for key, value in found.items()}


def of_trial(each: FrozenTrial, where: Settings) -> dict[str, Any]:
    """A trial, finished or not, as plain values."""
    return {
        "number": each.number,
        "state": each.state.name,
        "values": each.values,
        "params": each.params,
        "distributions": {name: json.loads(distribution_to_json(kind)) for name, kind in each.distributions.items()},
        "user_attrs": told(each.user_attrs, where),
        "system_attrs": each.system_attrs,
        "intermediate_values": each.intermediate_values,
        "datetime_start": _utc(each.datetime_start),
        "datetime_complete": _utc(each.datetime_complete),
    }


def trial(number: int, row: Mapping[str, Any], goals: int) -> FrozenTrial:
    """The same as Optuna takes it for its `number`th, of so many goals; one that ran when it was written waits.

    Raises ValueError, KeyError or TypeError for what is no trial, or not this one.
    """
    if row["number"] != number:
        raise ValueError(f"trial {row['number']!r} stands where trial {number} should")
    for key in ("params", "distributions", "user_attrs", "system_attrs", "intermediate_values"):
        if not isinstance(row[key], dict):
            raise ValueError(f"{key} of trial {number} are no mapping")
    if row["values"] is not None and len(row["values"]) != goals:
        raise ValueError(f"trial {number} has {len(row['values'])} values")
    state = TrialState[row["state"]]
    found = FrozenTrial(
        number=number,
        trial_id=0,
        state=TrialState.WAITING if state == TrialState.RUNNING else state,
        value=None,
        values=None if row["values"] is None else [float(each) for each in row["values"]],
        params=row["params"],
        distributions={name: json_to_distribution(json.dumps(kind)) for name, kind in row["distributions"].items()},
        user_attrs=row["user_attrs"],
        system_attrs=row["system_attrs"],
        intermediate_values={int(step): float(value) for step, value in row["intermediate_values"].items()},
        datetime_start=_local(row["datetime_start"]),
        datetime_complete=_local(row["datetime_complete"]),
    )
    found._validate()
    return found


def _utc(when: datetime | None) -> str | None:
    return when.astimezone(UTC).isoformat() if when is not None else None  # Optuna tells the time of here


def _local(when: str | None) -> datetime | None:
    return datetime.fromisoformat(when).astimezone().replace(tzinfo=None) if when is not None else None
