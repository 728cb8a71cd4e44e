"""All studies at a glance: as many queries for a hundred as for one, and Optuna is not imported.

Of Optuna's tables the few columns are read that are asked for here, by its own names for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sql
from sqlalchemy.engine import Connection, RowMapping

from hpo.store.lease import SECONDS
from hpo.store.ledger import Ledger
from hpo.store.tables import outbox, studies, trials

__all__ = ["Overview", "overview"]

OPTUNA = {
    "studies": ("study_id", "study_name"),
    "study_directions": ("study_id", "direction", "objective"),
    "trials": ("trial_id", "study_id", "state"),
    "trial_values": ("trial_id", "value", "objective"),
    "trial_system_attributes": ("trial_id", "key", "value_json"),
}
_s, _d, _t, _v, _a = (sql.table(name, *map(sql.column, columns)) for name, columns in OPTUNA.items())


@dataclass(frozen=True, kw_only=True)
class Overview:
    """One study among all."""

    row: RowMapping  # of hpo_study, without the space
    counts: Mapping[str, int] | None  # trials by state; None: Optuna does not have the study
    best: float | None  # of COMPLETE trials that keep the constraints; of several goals, of the first
    updated: float  # seconds since the epoch: when a trial began or ended last, or its driver was seen last
    begun: bool  # whether a trial was
    waiting: int  # records for MLflow

    @property
    def owner(self) -> str | None:
        """Who runs it or ran it last, as user@host as far as that is known, else who made it."""
        row = self.row
        known: str | None = row["run_by"] or row["created_by"] or row["host"]
        return known


def overview(ledger: Ledger) -> list[Overview]:
    """All studies, in the order in which they were made."""
    return ledger.patience.call(lambda: _read(ledger))


def _read(ledger: Ledger) -> list[Overview]:
    with ledger.engine.connect() as connection:
        rows = connection.execute(ledger.without(studies, "text", "canonical").order_by(studies.c.id)).mappings().all()
        there = sql.inspect(connection).has_table(_v.name)  # not yet, where nobody has come to make Optuna's
        counts, best = (_counts(connection), _best(connection)) if there else ({}, {})
        times = {row.study: row for row in connection.execute(_times())}
        query = sql.select(outbox.c.study, sql.func.count()).group_by(outbox.c.study)
        waiting = {row[0]: row[1] for row in connection.execute(query)}
    return [
        Overview(
            row=row,
            counts=counts.get(row["name"]),
            best=best.get(row["name"]),
            updated=_updated(row, times.get(row["id"])),
            begun=row["id"] in times,
            waiting=waiting.get(row["id"], 0),
        )
        for row in rows
    ]


def _counts(connection: Connection) -> dict[str, dict[str, int]]:
    query = sql.select(_s.c.study_name, sql.cast(_t.c.state, sql.String), sql.func.count(_t.c.trial_id))
    joined = query.select_from(_s.outerjoin(_t, _t.c.study_id == _s.c.study_id))
    found: dict[str, dict[str, int]] = {}
    for name, state, count in connection.execute(joined.group_by(_s.c.study_name, _t.c.state)):
        states = found.setdefault(name, {})
        if state is not None:
            states[state] = count
    return found


def _best(connection: Connection) -> dict[str, float]:
    smallest = sql.cast(_d.c.direction, sql.String) == "MINIMIZE"
    value: Any = sql.case((smallest, sql.func.min(_v.c.value)), else_=sql.func.max(_v.c.value))
    joined = (
        _s.join(_d, _d.c.study_id == _s.c.study_id)
        .join(_t, _t.c.study_id == _s.c.study_id)
        .join(_v, _v.c.trial_id == _t.c.trial_id)
    )
    query = sql.select(_s.c.study_name, value).select_from(joined)
    # what is no negative number, and not 0: text, of which no database has to be told how JSON spells it
    over = _a.c.value_json.not_like("-%") & _a.c.value_json.not_in(("0", "0.0"))
    missed = sql.exists().where(_a.c.trial_id == _t.c.trial_id, _a.c.key.like("constraints:%"), over)
    first = (_d.c.objective == 0, _v.c.objective == 0)
    is_complete = sql.cast(_t.c.state, sql.String) == "COMPLETE"
    ended = query.where(is_complete, _v.c.value.is_not(None), *first, ~missed)
    return {row[0]: row[1] for row in connection.execute(ended.group_by(_s.c.study_name, _d.c.direction))}


def _times() -> sql.Select[Any]:
    last = sql.func.max(sql.func.coalesce(trials.c.ended, trials.c.started)).label("last")
    return sql.select(trials.c.study, last).group_by(trials.c.study)


def _updated(row: RowMapping, times: Any) -> float:
    seen = row["expires"] - SECONDS if row["expires"] is not None else row["created"]
    return float(max(seen, times.last if times is not None else seen))
