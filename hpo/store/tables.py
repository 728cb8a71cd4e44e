"""Our own SQL tables beside Optuna's: what Optuna has no column for.

Optuna's tables own which trials exist, their parameters, states, values and the objective of each epoch. These own the
space file, the lease, attempts, all metrics of each epoch, checkpoints, failures, and the records that wait for MLflow.
What is changed here needs a revision in `hpo.store.migrations`.
"""

from __future__ import annotations

import sqlalchemy as sql
from sqlalchemy.engine import Engine

__all__ = [
    "attempts",
    "epochs",
    "history",
    "missing",
    "outbox",
    "packings",
    "promotions",
    "studies",
    "trials",
]

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
    sql.Column("created_by", sql.String(255)),  # user@host; NULL: by an earlier version
    sql.Column("run_by", sql.String(255)),  # user@host of the last driver
    sql.Column("seconds", sql.Float, nullable=False, default=0.0),  # wall time of all drivers so far
    sql.Column("stop", sql.Boolean, nullable=False, default=False),  # `hpo stop` was typed
    sql.Column("outcome", sql.Text),  # how the last driver ended; NULL while one is at work or after a kill
    sql.Column("experiment_id", sql.String(64)),
    sql.Column("run_id", sql.String(64)),  # MLflow parent run
    sql.Column("mlflow", sql.Text),  # where the last driver sent its records; no password, {home} for the home folder
    sql.Column("home", sql.Text),  # home folder of the last driver, {database}: the database lies in it; NULL: unknown
    sql.Column("owner", sql.String(32)),
    sql.Column("host", sql.String(255)),
    sql.Column("pid", sql.Integer),
    sql.Column("process", sql.String(80)),  # tells it from a later one with its number; see hpo.store.lease
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

attempts = sql.Table(
    "hpo_attempt",
    metadata,
    sql.Column("study", sql.ForeignKey("hpo_study.id", ondelete="CASCADE"), primary_key=True),
    sql.Column("number", sql.Integer, primary_key=True),
    sql.Column("attempt", sql.Integer, primary_key=True),
    sql.Column("from_epoch", sql.Integer, nullable=False),  # last one on record when it began
    sql.Column("started", sql.Float, nullable=False),
    sql.Column("ended", sql.Float),
    sql.Column("outcome", sql.Text),  # how it ended, in words
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

history = sql.Table(
    "hpo_history",
    metadata,
    sql.Column("id", sql.Integer, primary_key=True),
    sql.Column("study", sql.ForeignKey("hpo_study.id", ondelete="CASCADE"), nullable=False, index=True),
    sql.Column("time", sql.Float, nullable=False),
    sql.Column("who", sql.String(255), nullable=False),  # user@host
    sql.Column("what", sql.String(32), nullable=False),  # what was done to the study; see hpo.store.history
    sql.Column("changes", sql.Text, nullable=False),  # JSON: a list of lines for people
    sql.Column("points", sql.Text, nullable=False),  # JSON: trials that it puts into the queue
)

promotions = sql.Table(
    "hpo_promotion",
    metadata,
    sql.Column("id", sql.Integer, primary_key=True),
    sql.Column("study", sql.ForeignKey("hpo_study.id", ondelete="CASCADE"), nullable=False, index=True),
    sql.Column("trial", sql.Integer, nullable=False),
    sql.Column("runs", sql.String(80), nullable=False),  # study of the training whose checkpoint it is
    sql.Column("run", sql.Integer, nullable=False),  # number of that training
    sql.Column("sha256", sql.String(64), nullable=False),  # of the checkpoint
    sql.Column("model", sql.String(80), nullable=False),  # name in MLflow's registry
    sql.Column("alias", sql.String(255), nullable=False),
    sql.Column("outcome", sql.String(16)),  # refused, promoted, undoing or undone; NULL: begun, or killed
    sql.Column("began", sql.Float, nullable=False),
    sql.Column("ended", sql.Float),
    sql.Column("data", sql.String(64)),  # which test pictures it was scored on; NULL: on none
    sql.Column("scores", sql.Text),  # JSON: what it reached on them
    sql.Column("checks", sql.Text),  # JSON: what the gate said
    sql.Column("version", sql.Integer),
    sql.Column("digest", sql.String(64)),  # SHA-256 over the files of the version
    sql.Column("previous", sql.Integer),  # version that held the alias before
    sqlite_autoincrement=True,
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


def missing(engine: Engine) -> frozenset[str]:
    """Tables that are not there, and columns, as "table.column", that tables of an earlier version lack."""
    there = sql.inspect(engine)
    found: set[str] = set()
    for table in metadata.sorted_tables:
        if not there.has_table(table.name):
            found.add(table.name)
            continue
        known = {column["name"] for column in there.get_columns(table.name)}
        found |= {f"{table.name}.{column.name}" for column in table.columns if column.name not in known}
    return frozenset(found)
