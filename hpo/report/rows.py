"""What a report is made of, read once: trials with their curves, and when each ran."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hpo.goals import in_words, missed
from hpo.rungs import states
from hpo.store.history import origin
from hpo.study import Study
from hpo.wording import csv_cell, without_nan

__all__ = ["Attempt", "Trial", "as_csv", "as_json", "attempts", "read"]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One trial. Numbers that are not finite are None."""

    number: int
    state: str  # in Optuna's words, or PAUSED
    value: float | None  # objective at the last epoch
    params: Mapping[str, Any]  # without those that a condition kept out
    curve: tuple[tuple[int, float | None], ...]  # epoch, objective
    seconds: float
    gpu_seconds: float
    error: str | None
    origin: str | None  # None: the sampler drew it
    run_id: str | None  # MLflow's
    others: tuple[float | None, ...] = ()  # the other goals, of a COMPLETE trial
    missed: str | None = None  # constraints, and by how much


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """A time in which a trial ran."""

    number: int
    state: str  # of the trial
    began: float  # seconds since the epoch, as `ended`
    ended: float  # now, where it runs
    outcome: str


def read(study: Study) -> list[Trial]:
    """All trials, in order of their numbers."""
    ours = {row["number"]: row for row in study.ledger.trials(study.id)}
    found = []
    trials = study.frozen_trials()
    for each, state in zip(trials, states(study.spec, trials), strict=True):
        row: Mapping[str, Any] = ours.get(each.number) or {}  # type: ignore[assignment]
        curve = tuple((epoch, finite(value)) for epoch, value in sorted(each.intermediate_values.items()))
        complete = each.state.name == "COMPLETE"
        seconds = row.get("seconds") or 0.0
        held = row.get("gpu_seconds")
        found.append(
            Trial(
                number=each.number,
                state=state,
                value=finite(each.values[0]) if complete else curve[-1][1] if curve else None,
                others=tuple(map(finite, each.values[1:])) if complete else (None,) * (len(study.spec.metrics) - 1),
                missed=in_words(missed(each)),
                params=study.params(each),
                curve=curve,
                seconds=seconds,
                gpu_seconds=seconds * (row.get("gpu") or 0.0) if held is None else held,
                error=row.get("error"),
                origin=origin(each.user_attrs),
                run_id=row.get("run_id"),
            )
        )
    return found


def attempts(study: Study, trials: Sequence[Trial]) -> list[Attempt]:
    """When each trial ran, the earliest first; one whose end a kill left unsaid ended when its trial last did."""
    states = {each.number: each.state for each in trials}
    ends = {row["number"]: row["ended"] for row in study.ledger.trials(study.id)}
    found = []
    for row in study.ledger.attempts(study.id):
        state = states.get(row["number"], "WAITING")
        ended = row["ended"] or (time.time() if state == "RUNNING" else ends.get(row["number"]) or row["started"])
        outcome = row["outcome"] or ("running" if state == "RUNNING" else "cut short")
        found.append(
            Attempt(
                number=row["number"],
                state=state,
                began=row["started"],
                ended=max(ended, row["started"]),
                outcome=outcome,
            )
        )
    return sorted(found, key=lambda each: (each.began, each.number))


def as_csv(study: Study) -> str:
    """The trials table for a spreadsheet, in which no cell becomes a formula."""
    import pandas as pd

    table = pd.DataFrame(study.rows(), dtype=object)  # else whole numbers beside empty cells become 64.0
    return str(table.map(csv_cell).rename(columns=csv_cell).to_csv(index=False))


def as_json(study: Study) -> str:
    """The same for programs: a list of objects, null for what is not a number."""
    return json.dumps(without_nan(study.rows()), indent=2, allow_nan=False) + "\n"


def finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
