"""Our own SQL tables beside Optuna's: what Optuna has no column for.

Optuna's tables own which trials exist, their parameters, states, values and the objective of each epoch. These own the
space file, the lease, attempts, all metrics of each epoch, checkpoints, failures, and the records that wait for MLflow.
"""

from __future__ import annotations

import json
import time
import weakref
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import sqlalchemy as sql
from sqlalchemy.engine import Connection, Engine, RowMapping

from hpo import database

__all__ = ["Ledger"]

metadata = sql.MetaData()

studies = sql.Table(
    "hpo_study",
    metadata,
    sql.Column("id", sql.Integer, primary_key=True),  # names the checkpoint folder; never used twice
    sql.Column("name", sql.String(64), nullable=False, unique=True),
    sql.Column("uid", sql.String(32), nullable=False),  # tag by which MLflow runs are found again
    sql.Column("text", sql.Text, nullable=False),  # the space file as written
    sql.Column("folder", sql.Text),  # of the space file: where the user's own trainer is looked for
    sql.Column("canonical", sql.Text, nullable=False),  # JSON of the resolved space
    sql.Column("hash", sql.String(64), nullable=False),  # of what may not change within a study
    sql.Column("created", sql.Float, nullable=False),  # seconds since the epoch, as all times here
    sql.Column("seconds", sql.Float, nullable=False, default=0.0),  # wall time of all drivers so far
    sql.Column("stop", sql.Boolean, nullable=False, default=False),  # `hpo stop` was typed
    sql.Column("outcome", sql.Text),  # how the last driver ended; NULL while one is at work or after a kill
    sql.Column("experiment_id", sql.String(64)),
    sql.Column("run_id", sql.String(64)),  # MLflow parent run
    sql.Column("mlflow", sql.Text),  # where the last driver sent its records; no password, {home} for the home folder
    sql.Column("owner", sql.String(32)),
    sql.Column("host", sql.String(255)),
    sql.Column("pid", sql.Integer),
    sql.Column("pid_started", sql.Float),  # tells a process from a later one with its number
    sql.Column("owned_since", sql.Float),
    sql.Column("expires", sql.Float),
    sqlite_autoincrement=True,
)

trials = sql.Table(
    "hpo_trial",
    metadata,
    sql.Column("study", sql.ForeignKey("hpo_study.id", ondelete="CASCADE"), primary_key=True),
    sql.Column("number", sql.Integer, primary_key=True),
    sql.Column("seed", sql.BigInteger, nullable=False),
    sql.Column("attempt", sql.Integer, nullable=False),  # starts so far, from 1
    sql.Column("started", sql.Float, nullable=False),
    sql.Column("ended", sql.Float),
    sql.Column("seconds", sql.Float, nullable=False, default=0.0),  # training time over all attempts
    sql.Column("gpu", sql.Float, nullable=False, default=0.0),  # share it holds
    sql.Column("gpu_seconds", sql.Float),  # training time by the share it held at the time; NULL: seconds * gpu
    sql.Column("epoch", sql.Integer, nullable=False, default=0),  # last one on record
    sql.Column("best_epoch", sql.Integer),
    sql.Column("best_value", sql.Float),
    sql.Column("facts", sql.Text),  # JSON: what the trainer says of itself
    sql.Column("checkpoint", sql.Text),  # path below the checkpoint folder
    sql.Column("sha256", sql.String(64)),
    sql.Column("checkpoint_epoch", sql.Integer),
    sql.Column("error", sql.Text),  # "Type: message"
    sql.Column("traceback", sql.Text),  # its last 20 lines
    sql.Column("run_id", sql.String(64)),  # MLflow
)

epochs = sql.Table(
    "hpo_epoch",
    metadata,
    sql.Column("study", sql.ForeignKey("hpo_study.id", ondelete="CASCADE"), primary_key=True),
    sql.Column("number", sql.Integer, primary_key=True),
    sql.Column("epoch", sql.Integer, primary_key=True),
    sql.Column("attempt", sql.Integer, nullable=False),
    sql.Column("time", sql.Float, nullable=False),
    sql.Column("metrics", sql.Text, nullable=False),  # JSON; NaN and Infinity spelled as Python does
)

packings = sql.Table(
    "hpo_packing",
    metadata,
    sql.Column("id", sql.Integer, primary_key=True),  # the newest holds
    sql.Column("study", sql.ForeignKey("hpo_study.id", ondelete="CASCADE"), nullable=False, index=True),
    sql.Column("time", sql.Float, nullable=False),
    sql.Column("card", sql.String(255), nullable=False),  # the kind it was found for
    sql.Column("asked", sql.String(32), nullable=False),  # resources.gpu, for which it was found
    sql.Column("per_card", sql.Integer, nullable=False),  # trials on a card at a time
    sql.Column("reason", sql.Text, nullable=False),
    sql.Column("measured", sql.Text, nullable=False),  # JSON: what each level did
)

outbox = sql.Table(
    "hpo_outbox",
    metadata,
    sql.Column("id", sql.Integer, primary_key=True),
    sql.Column("study", sql.ForeignKey("hpo_study.id", ondelete="CASCADE"), nullable=False, index=True),
    sql.Column("number", sql.Integer),  # NULL: about the study itself
    sql.Column("kind", sql.String(16), nullable=False),
    sql.Column("payload", sql.Text, nullable=False),
    sqlite_autoincrement=True,
)


def _add_missing_columns(engine: Engine) -> None:
    """Bring tables that an earlier version made up to date: every column that was added since may be NULL."""
    there = sql.inspect(engine)
    for table in metadata.sorted_tables:
        known = {column["name"] for column in there.get_columns(table.name)}
        for column in table.columns:
            if column.name not in known:
                kind = column.type.compile(engine.dialect)
                with engine.begin() as connection:
                    connection.exec_driver_sql(f"ALTER TABLE {table.name} ADD COLUMN {column.name} {kind}")


class Ledger:
    """Reads and writes of the tables above; each method is one transaction."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        weakref.finalize(self, engine.dispose)

    @classmethod
    def open(cls, url: str) -> Ledger:
        """Open the database at `url`, with our tables in it.

        Raises:
            Unavailable: it does not answer.
        """
        database.prepare(url)
        ledger = cls(database.open_engine(url))
        with database.creating(url):
            metadata.create_all(ledger.engine)
            _add_missing_columns(ledger.engine)
        return ledger

    def begin(self) -> AbstractContextManager[Connection]:
        return self.engine.begin()

    # -- studies ------------------------------------------------------------------------------------------------------

    def study(self, name: str) -> RowMapping | None:
        return self._one(sql.select(studies).where(studies.c.name == name))

    def studies(self) -> Sequence[RowMapping]:
        with self.engine.connect() as connection:
            return connection.execute(sql.select(studies).order_by(studies.c.id)).mappings().all()

    def add_study(self, **values: Any) -> None:
        """Insert a study; one that is there already under the name is left as it is."""
        with self.begin() as connection:
            found = connection.execute(sql.select(studies.c.id).where(studies.c.name == values["name"])).first()
            if found is None:
                connection.execute(sql.insert(studies).values(created=time.time(), **values))

    def update_study(self, study: int, **values: Any) -> None:
        with self.begin() as connection:
            connection.execute(sql.update(studies).where(studies.c.id == study).values(**values))

    def delete_study(self, study: int) -> None:
        with self.begin() as connection:
            for table in (outbox, packings, epochs, trials):
                connection.execute(sql.delete(table).where(table.c.study == study))
            connection.execute(sql.delete(studies).where(studies.c.id == study))

    # -- trials -------------------------------------------------------------------------------------------------------

    def trial(self, study: int, number: int) -> RowMapping | None:
        return self._one(sql.select(trials).where(trials.c.study == study, trials.c.number == number))

    def trials(self, study: int) -> Sequence[RowMapping]:
        with self.engine.connect() as connection:
            query = sql.select(trials).where(trials.c.study == study).order_by(trials.c.number)
            return connection.execute(query).mappings().all()

    def start_trial(self, study: int, number: int, *, seed: int, gpu: float, record: Mapping[str, Any]) -> RowMapping:
        """Note the start of an attempt; returns the trial's row, with what an earlier attempt left."""
        with self.begin() as connection:
            here = (trials.c.study == study, trials.c.number == number)
            again = sql.update(trials).where(*here).values(attempt=trials.c.attempt + 1, gpu=gpu, ended=None)
            if connection.execute(again).rowcount == 0:
                fresh = {"seed": seed, "attempt": 1, "started": time.time(), "gpu": gpu}
                connection.execute(sql.insert(trials).values(study=study, number=number, **fresh))
            row = connection.execute(sql.select(trials).where(*here)).mappings().one()
            self._post(connection, study, number, "start", {**record, "attempt": row["attempt"], "time": time.time()})
            return row

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
        with self.begin() as connection:
            connection.execute(sql.insert(epochs).values(**where, epoch=epoch, attempt=attempt, time=now, metrics=text))
            self._update_trial(connection, study, number, epoch=epoch, **trial)
            if introduction is not None:
                self._post(connection, study, number, "facts", introduction)
            self._post(connection, study, number, "epoch", {"epoch": epoch, "time": now, "metrics": dict(metrics)})

    def update_trial(self, study: int, number: int, **values: Any) -> None:
        with self.begin() as connection:
            self._update_trial(connection, study, number, **values)

    def end_trial(self, study: int, number: int, *, record: Mapping[str, Any], **values: Any) -> None:
        """Record how a trial ended, or that it waits again."""
        with self.begin() as connection:
            self._update_trial(connection, study, number, ended=time.time(), **values)
            self._post(connection, study, number, "end", {**record, "time": time.time()})

    def epochs(self, study: int, number: int | None = None) -> Sequence[RowMapping]:
        """Epochs on record, in order, of one trial or of all."""
        query = sql.select(epochs).where(epochs.c.study == study).order_by(epochs.c.number, epochs.c.epoch)
        if number is not None:
            query = query.where(epochs.c.number == number)
        with self.engine.connect() as connection:
            return connection.execute(query).mappings().all()

    # -- packings -----------------------------------------------------------------------------------------------------

    def add_packing(
        self, study: int, *, card: str, asked: str, per_card: int, reason: str, measured: Sequence[Any]
    ) -> None:
        """Record how many trials share a card from now on, and why."""
        tags = {"hpo.trials_per_card": per_card, "hpo.packing": reason}
        found = {
            "card": card,
            "asked": asked,
            "per_card": per_card,
            "reason": reason,
            "measured": json.dumps(list(measured)),
        }
        with self.begin() as connection:
            connection.execute(sql.insert(packings).values(study=study, time=time.time(), **found))
            self._post(connection, study, None, "tags", {"tags": tags})

    def packings(self, study: int) -> Sequence[RowMapping]:
        """All of a study, the newest last."""
        query = sql.select(packings).where(packings.c.study == study).order_by(packings.c.id)
        with self.engine.connect() as connection:
            return connection.execute(query).mappings().all()

    # -- outbox -------------------------------------------------------------------------------------------------------

    def post(self, study: int, number: int | None, kind: str, payload: Mapping[str, Any]) -> None:
        """Queue a record for MLflow."""
        with self.begin() as connection:
            self._post(connection, study, number, kind, payload)

    def post_all(self, study: int, number: int | None, records: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
        """Queue records for MLflow, kind and payload of each, all or none."""
        read = list(records)  # before the transaction, in which nobody else could write
        with self.begin() as connection:
            for kind, payload in read:
                self._post(connection, study, number, kind, payload)

    def pending(self, study: int, limit: int) -> Sequence[RowMapping]:
        """The oldest `limit` records that MLflow has not got."""
        query = sql.select(outbox).where(outbox.c.study == study).order_by(outbox.c.id).limit(limit)
        with self.engine.connect() as connection:
            return connection.execute(query).mappings().all()

    def pending_count(self, study: int) -> int:
        query = sql.select(sql.func.count()).select_from(outbox).where(outbox.c.study == study)
        with self.engine.connect() as connection:
            return int(connection.execute(query).scalar_one())

    def pending_by_trial(self, study: int) -> dict[int | None, int]:
        """How many records of each trial wait; None: about the study itself."""
        query = sql.select(outbox.c.number, sql.func.count()).where(outbox.c.study == study).group_by(outbox.c.number)
        with self.engine.connect() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    def delivered(self, ids: Iterable[int]) -> None:
        """Forget records that MLflow has."""
        with self.begin() as connection:
            connection.execute(sql.delete(outbox).where(outbox.c.id.in_(list(ids))))

    # -- inside a transaction -----------------------------------------------------------------------------------------

    def _one(self, query: sql.Select[Any]) -> RowMapping | None:
        with self.engine.connect() as connection:
            return connection.execute(query).mappings().one_or_none()

    @staticmethod
    def _update_trial(connection: Connection, study: int, number: int, **values: Any) -> None:
        here = (trials.c.study == study, trials.c.number == number)
        connection.execute(sql.update(trials).where(*here).values(**values))

    @staticmethod
    def _post(connection: Connection, study: int, number: int | None, kind: str, payload: Mapping[str, Any]) -> None:
        row = {"study": study, "number": number, "kind": kind, "payload": json.dumps(payload)}
        connection.execute(sql.insert(outbox).values(**row))
