"""Our tables in the file: what goes along, and what a row of it may be."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sql
from sqlalchemy.engine import RowMapping

from hpo.archive.words import told
from hpo.promotion.journal import Promotions
from hpo.settings import Settings
from hpo.store import tables
from hpo.study import Study

__all__ = ["checked", "of_study", "table_of"]

STAYS = {
    # the lease and what was asked of its holder, and places of this machine and this MLflow
    "hpo_study": [
        *("id", "owner", "host", "pid", "process", "owned_since", "expires", "stop"),
        *("experiment_id", "run_id", "mlflow", "home"),
    ],
    "hpo_trial": ["study", "run_id"],
}
"""Columns that do not go along; of other tables those that say which study and row it is."""
JSON = {"metrics": dict, "facts": dict, "changes": list, "points": list, "measured": list}
LONGEST_AGO, UNBOUND = 1e11, frozenset({"best_value"})
VERBATIM = frozenset({"text", "canonical"})
SURROGATE = re.compile("[\ud800-\udfff]")

Table = tuple[str, Iterable[dict[str, Any]]]


def table_of(name: str) -> sql.Table:
    """Our table that a member of the file holds."""
    return tables.metadata.tables[f"hpo_{name}"]


def of_study(study: Study, outcome: str | None, kept: Mapping[int, str]) -> Iterator[Table]:
    """The name and the rows of each table.

    `kept`: the checkpoint of each trial that goes along, below the study's folder.
    """
    ledger, where = study.ledger, study.settings
    row = ledger.study(study.name)
    assert row is not None
    found: dict[str, Sequence[RowMapping]] = {
        "trial": ledger.trials(study.id),
        "attempt": ledger.attempts(study.id),
        "epoch": ledger.epochs(study.id),
        "packing": ledger.packings(study.id),
        "history": ledger.history(study.id),
        "promotion": Promotions(ledger).all(study.id),
    }
    yield "study", [_row("study", {**row, "outcome": outcome}, where)]
    for name, rows in found.items():
        plain = (_row(name, dict(each), where) for each in rows)
        yield name, (_with_checkpoint(each, kept) if name == "trial" else each for each in plain)


def checked(name: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as the table takes it.

    Raises ValueError where a column is unknown, missing, or of another kind or size.
    """
    table = table_of(name)
    columns = {each.name: each for each in table.columns if each.name not in _stays(table.name)}
    if unknown := sorted(set(row) - set(columns)):
        raise ValueError(f"{table.name} has no column {unknown[0]!r}")
    for column in columns.values():
        _check(column, row.get(column.name))
    return {key: row.get(key) for key in columns}


def _stays(table: str) -> list[str]:
    return STAYS.get(table, ["study", "id"])


def _with_checkpoint(row: dict[str, Any], kept: Mapping[int, str]) -> dict[str, Any]:
    """The row of a trial; without its checkpoint it starts over, as where the file was lost."""
    if row["number"] in kept:
        return {**row, "checkpoint": kept[row["number"]]}
    return {**row, "checkpoint": None, "sha256": None, "checkpoint_epoch": None}


def _row(name: str, row: Mapping[str, Any], where: Settings) -> dict[str, Any]:
    """A row as it goes along."""
    stays = _stays(f"hpo_{name}")
    return {key: value if key in VERBATIM else told(value, where) for key, value in row.items() if key not in stays}


def _check(column: sql.Column[Any], value: Any) -> None:
    kind, where = column.type, f"{column.table.name}.{column.name}"
    if value is None:
        if not column.nullable:
            raise ValueError(f"{where} is missing")
        return
    if isinstance(kind, sql.String):  # Text is one
        fits = isinstance(value, str) and len(value) <= (kind.length or math.inf) and "\0" not in value
        fits = fits and not SURROGATE.search(value)  # which no database takes
    elif isinstance(kind, sql.Float):
        fits = isinstance(value, float | int) and not isinstance(value, bool)
        fits = fits and (column.name in UNBOUND or abs(value) < LONGEST_AGO)  # False for NaN too
    else:
        bits = 63 if isinstance(kind, sql.BigInteger) else 31
        fits = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**bits
    if not fits or (column.name in JSON and not isinstance(json.loads(value), JSON[column.name])):
        raise ValueError(f"{where} cannot be {str(value)[:40]!r}")
