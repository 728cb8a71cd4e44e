"""Reads and writes of our own SQL tables."""

from __future__ import annotations

import json
import time
import weakref
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import sqlalchemy as sql
from sqlalchemy.engine import Connection, Engine, RowMapping

from hpo.errors import SpecError, Unavailable
from hpo.masking import masked, redacted
from hpo.store import database, records, schema
from hpo.store.patience import Patience, patient
from hpo.store.tables import attempts, epochs, history, missing, outbox, packings, promotions, studies, trials

__all__ = ["Ledger"]

# an earlier version recorded no `gpu_seconds`: its trials had one share throughout
HELD = sql.func.coalesce(trials.c.gpu_seconds, trials.c.seconds * trials.c.gpu)


class Ledger:
    """Reads and writes of `hpo.store.tables`; each method is one transaction, tried again as `patience` says.

    A transaction whose answer was lost may be done twice: it then finds what it was to write.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.patience = Patience()
        self._lacks: frozenset[str] = frozenset()  # columns that read as empty
        weakref.finalize(self, engine.dispose)

    @classmethod
    def open(cls, url: str) -> Ledger:
        """Open the database at `url`, with our tables in it; those of an earlier version are upgraded.

        Raises:
            Unavailable: it does not answer, cannot be written to, or is of a newer version.
        """
        try:
            database.prepare(url)
            ledger = cls(database.open_engine(url))
            if not schema.is_current(ledger.engine, url):
                schema.upgrade(ledger.engine, url)
        except sql.exc.DatabaseError as error:
            raise _unavailable(url, error) from error
        except OSError as error:
            raise Unavailable(f"the database {masked(url)} cannot be written to: {error}") from error
        return ledger

    @classmethod
    def read(cls, url: str) -> Ledger:
        """Open the database at `url` to look at it: nothing is made; columns that an earlier version lacks are empty.

        Raises:
            SpecError: our tables are not in it.
            Unavailable: it does not answer, or is of a newer version.
        """
        ledger = cls(database.open_engine(url, reading=True))
        try:
            if not schema.is_current(ledger.engine, url):
                ledger._lacks = missing(ledger.engine)
        except sql.exc.DatabaseError as error:
            raise _unavailable(url, error) from error
        if {table.name for table in (studies, trials, epochs, outbox)} & ledger._lacks:
            raise SpecError(f"there are no studies in {masked(url)} yet: start one with `hpo run --space FILE`")
        return ledger

    def begin(self) -> AbstractContextManager[Connection]:
        return self.engine.begin()

    # -- studies ------------------------------------------------------------------------------------------------------

    @patient
    def study(self, name: str) -> RowMapping | None:
        return self._one(self._select(studies).where(studies.c.name == name))

    @patient
    def studies(self) -> Sequence[RowMapping]:
        with self.engine.connect() as connection:
            return connection.execute(self._select(studies).order_by(studies.c.id)).mappings().all()

    @patient
    def add_study(self, first: Mapping[str, Any] | None = None, **values: Any) -> None:
        """Insert a study, with the `first` row of its history; one that is there already is left as it is."""
        with self.begin() as connection:
            found = connection.execute(sql.select(studies.c.id).where(studies.c.name == values["name"])).first()
            if found is None:
                new = connection.execute(sql.insert(studies).values(created=time.time(), **values))
                if first is not None:
                    assert new.inserted_primary_key is not None
                    connection.execute(sql.insert(history).values(study=new.inserted_primary_key[0], **first))

    @patient
    def update_study(self, study: int, **values: Any) -> None:
        with self.begin() as connection:
            connection.execute(sql.update(studies).where(studies.c.id == study).values(**values))

    @patient
    def delete_study(self, study: int) -> None:
        """Forget a study that has no trials any more."""
        with self.begin() as connection:
            connection.execute(sql.delete(studies).where(studies.c.id == study))

    @patient
    def delete_trials(self, study: int) -> None:
        """Forget all that a study has done."""
        with self.begin() as connection:
            for table in (outbox, promotions, history, packings, attempts, epochs, trials):
                connection.execute(sql.delete(table).where(table.c.study == study))

    # -- trials -------------------------------------------------------------------------------------------------------

    @patient
    def trial(self, study: int, number: int) -> RowMapping | None:
        return self._one(self._select(trials).where(trials.c.study == study, trials.c.number == number))

    @patient
    def trials(self, study: int) -> Sequence[RowMapping]:
        with self.engine.connect() as connection:
            query = self._select(trials).where(trials.c.study == study).order_by(trials.c.number)
            return connection.execute(query).mappings().all()

    @patient
    def gpu_seconds(self, study: int) -> float:
        """Training time of all trials by the share of a GPU that each held at the time."""
        held = trials.c.seconds * trials.c.gpu if "hpo_trial.gpu_seconds" in self._lacks else HELD
        query = sql.select(sql.func.coalesce(sql.func.sum(held), 0.0)).where(trials.c.study == study)
        with self.engine.connect() as connection:
            return float(connection.execute(query).scalar_one())

    @patient
    def start_trial(self, study: int, number: int, *, seed: int, gpu: float, record: Mapping[str, Any]) -> RowMapping:
        """Note the start of an attempt; returns the trial's row, with what an earlier attempt left."""
        with self.begin() as connection:
            here = (trials.c.study == study, trials.c.number == number)
            again = {"attempt": trials.c.attempt + 1, "gpu": gpu, "gpu_seconds": HELD}
            again |= dict.fromkeys(("ended", "error", "traceback"))
            if connection.execute(sql.update(trials).where(*here).values(**again)).rowcount == 0:
                fresh = {"seed": seed, "attempt": 1, "started": time.time(), "gpu": gpu, "gpu_seconds": 0.0}
                connection.execute(sql.insert(trials).values(study=study, number=number, **fresh))
            row = connection.execute(sql.select(trials).where(*here)).mappings().one()
            begun = {"attempt": row["attempt"], "from_epoch": row["epoch"], "started": time.time()}
            connection.execute(sql.insert(attempts).values(study=study, number=number, **begun))
            self.put(connection, study, number, "start", {**record, "attempt": row["attempt"], "time": time.time()})
            return row

    @patient
    def add_epoch(
        self,
        study: int,
        number: int,
        *,
        epoch: int,
        attempt: int,
        metrics: Mapping[str, float],
        introduction: Mapping[str, Any] | None = None,
        **trial: Any,
    ) -> None:
        """Record an epoch with the trial columns it changes (`trial`) and the records for MLflow.

        `introduction` holds what the trainer says of itself, with a trial's first epoch.
        """
        now, text = time.time(), json.dumps(dict(metrics))
        where = {"study": study, "number": number}
        here = (epochs.c.study == study, epochs.c.number == number, epochs.c.epoch == epoch)
        with self.begin() as connection:
            if connection.execute(sql.select(epochs.c.epoch).where(*here)).first() is not None:
                return
            connection.execute(sql.insert(epochs).values(**where, epoch=epoch, attempt=attempt, time=now, metrics=text))
            self._update_trial(connection, study, number, epoch=epoch, **trial)
            if introduction is not None:
                self.put(connection, study, number, "facts", introduction)
            self.put(connection, study, number, "epoch", records.epoch(epoch, time=now, metrics=metrics))

    @patient
    def update_trial(self, study: int, number: int, **values: Any) -> None:
        with self.begin() as connection:
            self._update_trial(connection, study, number, **values)

    @patient
    def forget_checkpoint(self, study: int, number: int) -> None:
        """Clear the record of a trial's checkpoint, before or after its file has gone."""
        with self.begin() as connection:
            self._update_trial(connection, study, number, checkpoint=None, sha256=None, checkpoint_epoch=None)

    @patient
    def end_trial(
        self,
        study: int,
        number: int,
        *,
        outcome: str,
        record: Mapping[str, Any],
        best: Mapping[str, Any] | None = None,
        **values: Any,
    ) -> None:
        """Record how a trial ended, or that it waits again; `outcome` is its attempt's, in words.

        `best` is the point that it adds to the curve of the best value.
        """
        with self.begin() as connection:
            self._update_trial(connection, study, number, ended=time.time(), **values)
            self._end_attempt(connection, study, number, outcome)
            self.put(connection, study, number, "end", {**record, "time": time.time()})
            if best is not None:
                self.put(connection, study, None, "epoch", best)

    @patient
    def attempts(self, study: int) -> Sequence[RowMapping]:
        """Starts of all trials, in order."""
        query = sql.select(attempts).where(attempts.c.study == study).order_by(attempts.c.number, attempts.c.attempt)
        with self.engine.connect() as connection:
            return connection.execute(query).mappings().all()

    @patient
    def epochs(self, study: int, number: int | None = None) -> Sequence[RowMapping]:
        """Epochs on record, in order, of one trial or of all."""
        query = self._select(epochs).where(epochs.c.study == study).order_by(epochs.c.number, epochs.c.epoch)
        if number is not None:
            query = query.where(epochs.c.number == number)
        with self.engine.connect() as connection:
            return connection.execute(query).mappings().all()

    def last_times(self, study: int) -> dict[int, float]:
        """When each trial that has an epoch on record came to its last one, in seconds since 1970."""
        query = sql.select(epochs.c.number, sql.func.max(epochs.c.time)).where(epochs.c.study == study)
        with self.engine.connect() as connection:
            found = connection.execute(query.group_by(epochs.c.number)).all()
        return dict(map(tuple, found))

    # -- packings -----------------------------------------------------------------------------------------------------

    @patient
    def add_packing(
        self, study: int, *, card: str, asked: str, per_card: int, reason: str, measured: Sequence[Any]
    ) -> None:
        """Record how many trials share a card from now on, and why."""
        found = {
            "card": card,
            "asked": asked,
            "per_card": per_card,
            "reason": reason,
            "measured": json.dumps(list(measured)),
        }
        with self.begin() as connection:
            connection.execute(sql.insert(packings).values(study=study, time=time.time(), **found))
            self.put(connection, study, None, "tags", records.packing(per_card, reason))

    @patient
    def packings(self, study: int) -> Sequence[RowMapping]:
        """All of a study, the newest last."""
        if packings.name in self._lacks:
            return []
        query = sql.select(packings).where(packings.c.study == study).order_by(packings.c.id)
        with self.engine.connect() as connection:
            return connection.execute(query).mappings().all()

    @patient
    def history(self, study: int) -> Sequence[RowMapping]:
        """What was done to a study beside running it, in order."""
        if history.name in self._lacks:
            return []
        query = sql.select(history).where(history.c.study == study).order_by(history.c.id)
        with self.engine.connect() as connection:
            return connection.execute(query).mappings().all()

    # -- outbox -------------------------------------------------------------------------------------------------------

    @patient
    def post(self, study: int, number: int | None, kind: str, payload: Mapping[str, Any]) -> None:
        """Queue a record for MLflow."""
        with self.begin() as connection:
            self.put(connection, study, number, kind, payload)

    @patient
    def post_all(self, study: int, number: int | None, records: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
        """Queue records for MLflow, kind and payload of each, all or none."""
        read = list(records)  # before the transaction, in which nobody else could write
        with self.begin() as connection:
            for kind, payload in read:
                self.put(connection, study, number, kind, payload)

    @patient
    def pending(self, study: int, limit: int) -> Sequence[RowMapping]:
        """The oldest `limit` records that MLflow has not got."""
        query = sql.select(outbox).where(outbox.c.study == study).order_by(outbox.c.id).limit(limit)
        with self.engine.connect() as connection:
            return connection.execute(query).mappings().all()

    @patient
    def pending_count(self, study: int) -> int:
        query = sql.select(sql.func.count()).select_from(outbox).where(outbox.c.study == study)
        with self.engine.connect() as connection:
            return int(connection.execute(query).scalar_one())

    @patient
    def pending_by_trial(self, study: int) -> dict[int | None, int]:
        """How many records of each trial wait; None: about the study itself."""
        query = sql.select(outbox.c.number, sql.func.count()).where(outbox.c.study == study).group_by(outbox.c.number)
        with self.engine.connect() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    @patient
    def delivered(self, ids: Iterable[int]) -> None:
        """Forget records that MLflow has."""
        with self.begin() as connection:
            connection.execute(sql.delete(outbox).where(outbox.c.id.in_(list(ids))))

    # -- inside a transaction -----------------------------------------------------------------------------------------

    def without(self, table: sql.Table, *names: str) -> sql.Select[Any]:
        """A query of all columns but these, which may be long."""
        return self._select(table, names)

    def _select(self, table: sql.Table, but: Sequence[str] = ()) -> sql.Select[Any]:
        wanted = [column for column in table.columns if column.name not in but]
        lacks = {column for column in table.columns if f"{table.name}.{column.name}" in self._lacks}
        return sql.select(*(sql.null().label(each.name) if each in lacks else each for each in wanted))

    def _one(self, query: sql.Select[Any]) -> RowMapping | None:
        with self.engine.connect() as connection:
            return connection.execute(query).mappings().one_or_none()

    @staticmethod
    def _update_trial(connection: Connection, study: int, number: int, **values: Any) -> None:
        here = (trials.c.study == study, trials.c.number == number)
        connection.execute(sql.update(trials).where(*here).values(**values))

    @staticmethod
    def _end_attempt(connection: Connection, study: int, number: int, outcome: str) -> None:
        open_one = (attempts.c.study == study, attempts.c.number == number, attempts.c.ended.is_(None))
        connection.execute(sql.update(attempts).where(*open_one).values(ended=time.time(), outcome=outcome))

    @staticmethod
    def put(connection: Connection, study: int, number: int | None, kind: str, payload: Mapping[str, Any]) -> None:
        """Queue a record for MLflow."""
        row = {"study": study, "number": number, "kind": kind, "payload": json.dumps(payload)}
        connection.execute(sql.insert(outbox).values(**row))


def _unavailable(url: str, error: sql.exc.DatabaseError) -> Unavailable:
    return Unavailable(f"the database {masked(url)} does not answer: {redacted(error.orig).strip()}")
