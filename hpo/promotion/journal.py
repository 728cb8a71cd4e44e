"""What is on record of promotions, and that one is at work at a time: the table `hpo_promotion` and a lock."""

from __future__ import annotations

import fcntl
import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sql
from sqlalchemy.engine import RowMapping

from hpo.errors import Unavailable
from hpo.store import records
from hpo.store.ledger import Ledger
from hpo.store.patience import patient
from hpo.store.tables import promotions
from hpo.study import Study
from trainers.folders import private, private_file

__all__ = ["PROMOTED", "REFUSED", "UNDOING", "UNDONE", "Promotions", "alone", "end", "settle"]

PROMOTED, REFUSED, UNDOING, UNDONE = "promoted", "refused", "undoing", "undone"
"""How a promotion ended; UNDOING: a rollback is about to move the alias back."""

AGAIN = ("study", "trial", "runs", "run", "sha256", "model", "alias")
"""What makes two rows the same promotion."""


class Promotions:
    """The promotions of one database; each method is one transaction, tried again as `hpo.store.ledger`'s are."""

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
    def row(self, promotion: int) -> RowMapping:
        with self._ledger.engine.connect() as connection:
            return connection.execute(sql.select(promotions).where(promotions.c.id == promotion)).mappings().one()

    @patient
    def update(self, promotion: int, **values: Any) -> None:
        with self._ledger.begin() as connection:
            connection.execute(sql.update(promotions).where(promotions.c.id == promotion).values(**values))

    def end(self, promotion: int, outcome: str) -> None:
        """Record how it ended."""
        self.update(promotion, outcome=outcome, ended=time.time())

    @patient
    def scores(self, sha256: str, data: str) -> dict[str, Any] | None:
        """What this checkpoint reached on these test pictures, if it was ever scored on them to be promoted."""
        here = (promotions.c.sha256 == sha256, promotions.c.data == data, promotions.c.scores.is_not(None))
        query = sql.select(promotions.c.scores).where(*here).order_by(promotions.c.id.desc()).limit(1)
        with self._ledger.engine.connect() as connection:
            text = connection.execute(query).scalar()
        return json.loads(text) if text else None

    @patient
    def cut_short(self, model: str, alias: str) -> Sequence[RowMapping]:
        """Promotions and rollbacks that were about to move the alias and did not say that they had."""
        here = (promotions.c.model == model, promotions.c.alias == alias, promotions.c.version.is_not(None))
        open_one = sql.or_(promotions.c.outcome.is_(None), promotions.c.outcome == UNDOING)
        with self._ledger.engine.connect() as connection:
            return connection.execute(sql.select(promotions).where(*here, open_one)).mappings().all()

    @patient
    def of_version(self, model: str, alias: str | None, version: int) -> RowMapping | None:
        """The newest promotion that gave the alias, or any, to this version and was not undone."""
        here = [promotions.c.model == model, promotions.c.version == version]
        here += [promotions.c.alias == alias] if alias is not None else []
        query = sql.select(promotions).where(*here, promotions.c.outcome == PROMOTED)
        with self._ledger.engine.connect() as connection:
            return connection.execute(query.order_by(promotions.c.id.desc()).limit(1)).mappings().first()

    @patient
    def all(self, study: int) -> Sequence[RowMapping]:
        """All of a study, the newest last."""
        with self._ledger.engine.connect() as connection:
            query = sql.select(promotions).where(promotions.c.study == study).order_by(promotions.c.id)
            return connection.execute(query).mappings().all()


def settle(study: Study, kept: Promotions, alias: str, now: int | None) -> list[RowMapping]:
    """Put on record what was cut short when the alias had moved already, `now` to this version; returns the rows.

    A promotion that was killed before goes on when it is typed again; a rollback has then done nothing.
    """
    ended = []
    for row in kept.cut_short(study.name, alias):
        if row["outcome"] == UNDOING and row["previous"] != now:
            kept.update(row["id"], outcome=PROMOTED)
        elif row["outcome"] == UNDOING:
            kept.end(row["id"], UNDONE)
            ended.append(row)
        elif row["version"] == now:
            end(study, kept, row)
            ended.append(row)
    return ended


def end(study: Study, kept: Promotions, row: RowMapping) -> None:
    """Record that the alias has moved, here and on the runs in MLflow."""
    from hpo.tracking.delivery import deliver

    runs = study if row["runs"] == study.name else Study.load(row["runs"], study.settings)
    study.ledger.post(study.id, None, "tags", records.promoted(row["alias"], row["version"], row["trial"]))
    runs.ledger.post(runs.id, row["run"], "tags", records.version(row["model"], row["version"]))
    kept.end(row["id"], PROMOTED)
    for each in {each.id: each for each in (study, runs)}.values():
        deliver(each)


@contextmanager
def alone(study: Study) -> Iterator[Path]:
    """One promotion or rollback of a study at a time; yields an empty folder for its files, which are removed.

    A lock on a file and not the study's lease, which is a driver's: a promotion needs the checkpoints, so that any two
    of a study share the home folder, it may go on beside a driver, and a lock is gone with a process that is killed.

    Raises:
        Unavailable: another one is at work.
    """
    folder = private(study.settings.home / ".promote") / study.name
    with private_file(folder.with_name(f"{study.name}.lock")).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Unavailable(f"another promotion or rollback of {study.name!r} is at work; wait for its end") from None
        shutil.rmtree(folder, ignore_errors=True)  # of one that was killed
        try:
            yield private(folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _unfinished(values: Mapping[str, Any]) -> sql.Select[Any]:
    same = [promotions.c[key] == values[key] for key in AGAIN]
    return sql.select(promotions).where(*same, promotions.c.outcome.is_(None))
