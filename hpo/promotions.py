"""Reads and writes of `hpo_promotion`: what was to be promoted, what came of it, and which version was before."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sql
from sqlalchemy.engine import RowMapping

from hpo.ledger import Ledger
from hpo.patience import patient
from hpo.tables import promotions

__all__ = ["Promotions"]

AGAIN = ("study", "trial", "runs", "run", "sha256", "model", "alias")
"""What makes two rows the same promotion."""


class Promotions:
    """The promotions of one database; each method is one transaction, tried again as `hpo.ledger`'s are."""

    def __init__(self, ledger: Ledger) -> None:
        self.patience = ledger.patience
        self._ledger = ledger

    @patient
    def begin(self, **values: Any) -> RowMapping:
        """The row of a promotion that was begun and did not end, or a new one; `values` are those of AGAIN."""
        with self._ledger.begin() as connection:
            found = connection.execute(_unfinished(values)).mappings().first()
            if found is None:
                connection.execute(sql.insert(promotions).values(**values, began=time.time()))
                found = connection.execute(_unfinished(values)).mappings().one()
            return found

    @patient
    def unfinished(self, **values: Any) -> RowMapping | None:
        """The row of a promotion that was begun and did not end; `values` as for `begin`."""
        with self._ledger.engine.connect() as connection:
            return connection.execute(_unfinished(values)).mappings().first()

    @patient
    def update(self, promotion: int, **values: Any) -> None:
        with self._ledger.begin() as connection:
            connection.execute(sql.update(promotions).where(promotions.c.id == promotion).values(**values))

    @patient
    def end(self, promotion: int, outcome: str, **values: Any) -> None:
        """Record how it ended."""
        values |= {"outcome": outcome, "ended": time.time()}
        with self._ledger.begin() as connection:
            connection.execute(sql.update(promotions).where(promotions.c.id == promotion).values(**values))

    @patient
    def scores(self, sha256: str, data: str) -> dict[str, Any] | None:
        """What this checkpoint reached on these test pictures, if it was ever scored on them to be promoted."""
        here = (promotions.c.sha256 == sha256, promotions.c.data == data, promotions.c.scores.is_not(None))
        query = sql.select(promotions.c.scores).where(*here).order_by(promotions.c.id.desc()).limit(1)
        with self._ledger.engine.connect() as connection:
            text = connection.execute(query).scalar()
        return json.loads(text) if text else None

    @patient
    def of_version(self, model: str, alias: str, version: int) -> RowMapping | None:
        """The newest promotion that gave the alias to this version."""
        here = (promotions.c.model == model, promotions.c.alias == alias, promotions.c.version == version)
        query = sql.select(promotions).where(*here, promotions.c.outcome == "promoted")
        with self._ledger.engine.connect() as connection:
            return connection.execute(query.order_by(promotions.c.id.desc()).limit(1)).mappings().first()

    @patient
    def all(self, study: int) -> Sequence[RowMapping]:
        """All of a study, the newest last."""
        with self._ledger.engine.connect() as connection:
            query = sql.select(promotions).where(promotions.c.study == study).order_by(promotions.c.id)
            return connection.execute(query).mappings().all()


def _unfinished(values: Mapping[str, Any]) -> sql.Select[Any]:
    same = [promotions.c[key] == values[key] for key in AGAIN]
    return sql.select(promotions).where(*same, promotions.c.outcome.is_(None))
