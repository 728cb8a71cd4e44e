"""The tables as they were when Alembic came to them; of a database made before, what it lacks.

Kept as it is for good, whatever becomes of `hpo.store.tables`: later revisions build on it.
"""

from __future__ import annotations

import sqlalchemy as sql
from alembic import op

__all__ = ["upgrade"]

revision = "0001"
down_revision = None

metadata = sql.MetaData()

sql.Table(
    "hpo_study",
    metadata,
    sql.Column("id", sql.Integer, primary_key=True),
    sql.Column("name", sql.String(64), nullable=False, unique=True),
    sql.Column("uid", sql.String(32), nullable=False),
    sql.Column("text", sql.Text, nullable=False),
    sql.Column("folder", sql.Text),
    sql.Column("canonical", sql.Text, nullable=False),
    sql.Column("hash", sql.String(64), nullable=False),
    sql.Column("created", sql.Float, nullable=False),
    sql.Column("seconds", sql.Float, nullable=False, default=0.0),
    sql.Column("stop", sql.Boolean, nullable=False, default=False),
    sql.Column("outcome", sql.Text),
    sql.Column("experiment_id", sql.String(64)),
    sql.Column("run_id", sql.String(64)),
    sql.Column("mlflow", sql.Text),
    sql.Column("home", sql.Text),
    sql.Column("owner", sql.String(32)),
    sql.Column("host", sql.String(255)),
    sql.Column("pid", sql.Integer),
    sql.Column("process", sql.String(80)),
    sql.Column("owned_since", sql.Float),
    sql.Column("expires", sql.Float),
    sqlite_autoincrement=True,
)

sql.Table(
    "hpo_trial",
    metadata,
    sql.Column("study", sql.ForeignKey("hpo_study.id", ondelete="CASCADE"), primary_key=True),
    sql.Column("number", sql.Integer, primary_key=True),
    sql.Column("seed", sql.BigInteger, nullable=False),
    sql.Column("attempt", sql.Integer, nullable=False),
    sql.Column("started", sql.Float, nullable=False),
    sql.Column("ended", sql.Float),
    sql.Column("seconds", sql.Float, nullable=False, default=0.0),
    sql.Column("gpu", sql.Float, nullable=False, default=0.0),
    sql.Column("gpu_seconds", sql.Float),
    sql.Column("epoch", sql.Integer, nullable=False, default=0),
    sql.Column("best_epoch", sql.Integer),
    sql.Column("best_value", sql.Float),
    sql.Column("facts", sql.Text),
    sql.Column("checkpoint", sql.Text),
    sql.Column("sha256", sql.String(64)),
    sql.Column("checkpoint_epoch", sql.Integer),
    sql.Column("error", sql.Text),
    sql.Column("traceback", sql.Text),
    sql.Column("run_id", sql.String(64)),
)

sql.Table(
    "hpo_attempt",
    metadata,
    sql.Column("study", sql.ForeignKey("hpo_study.id", ondelete="CASCADE"), primary_key=True),
    sql.Column("number", sql.Integer, primary_key=True),
    sql.Column("attempt", sql.Integer, primary_key=True),
    sql.Column("from_epoch", sql.Integer, nullable=False),
    sql.Column("started", sql.Float, nullable=False),
    sql.Column("ended", sql.Float),
    sql.Column("outcome", sql.Text),
)

sql.Table(
    "hpo_epoch",
    metadata,
    sql.Column("study", sql.ForeignKey("hpo_study.id", ondelete="CASCADE"), primary_key=True),
    sql.Column("number", sql.Integer, primary_key=True),
    sql.Column("epoch", sql.Integer, primary_key=True),
    sql.Column("attempt", sql.Integer, nullable=False),
    sql.Column("time", sql.Float, nullable=False),
    sql.Column("metrics", sql.Text, nullable=False),
)

sql.Table(
    "hpo_packing",
    metadata,
    sql.Column("id", sql.Integer, primary_key=True),
    sql.Column("study", sql.ForeignKey("hpo_study.id", ondelete="CASCADE"), nullable=False, index=True),
    sql.Column("time", sql.Float, nullable=False),
    sql.Column("card", sql.String(255), nullable=False),
    sql.Column("asked", sql.String(32), nullable=False),
    sql.Column("per_card", sql.Integer, nullable=False),
    sql.Column("reason", sql.Text, nullable=False),
    sql.Column("measured", sql.Text, nullable=False),
)

sql.Table(
    "hpo_history",
    metadata,
    sql.Column("id", sql.Integer, primary_key=True),
    sql.Column("study", sql.ForeignKey("hpo_study.id", ondelete="CASCADE"), nullable=False, index=True),
    sql.Column("time", sql.Float, nullable=False),
    sql.Column("who", sql.String(255), nullable=False),
    sql.Column("what", sql.String(32), nullable=False),
    sql.Column("changes", sql.Text, nullable=False),
    sql.Column("points", sql.Text, nullable=False),
)

sql.Table(
    "hpo_promotion",
    metadata,
    sql.Column("id", sql.Integer, primary_key=True),
    sql.Column("study", sql.ForeignKey("hpo_study.id", ondelete="CASCADE"), nullable=False, index=True),
    sql.Column("trial", sql.Integer, nullable=False),
    sql.Column("runs", sql.String(80), nullable=False),
    sql.Column("run", sql.Integer, nullable=False),
    sql.Column("sha256", sql.String(64), nullable=False),
    sql.Column("model", sql.String(80), nullable=False),
    sql.Column("alias", sql.String(255), nullable=False),
    sql.Column("outcome", sql.String(16)),
    sql.Column("began", sql.Float, nullable=False),
    sql.Column("ended", sql.Float),
    sql.Column("data", sql.String(64)),
    sql.Column("scores", sql.Text),
    sql.Column("checks", sql.Text),
    sql.Column("version", sql.Integer),
    sql.Column("digest", sql.String(64)),
    sql.Column("previous", sql.Integer),
    sqlite_autoincrement=True,
)

sql.Table(
    "hpo_outbox",
    metadata,
    sql.Column("id", sql.Integer, primary_key=True),
    sql.Column("study", sql.ForeignKey("hpo_study.id", ondelete="CASCADE"), nullable=False, index=True),
    sql.Column("number", sql.Integer),
    sql.Column("kind", sql.String(16), nullable=False),
    sql.Column("payload", sql.Text, nullable=False),
    sqlite_autoincrement=True,
)


def upgrade() -> None:
    """Make what is missing: all of it, or tables and columns that came after the version that made the database."""
    connection = op.get_bind()
    there = sql.inspect(connection)
    before = set(there.get_table_names())
    metadata.create_all(connection)
    for table in metadata.sorted_tables:
        known = {each["name"] for each in there.get_columns(table.name)} if table.name in before else None
        for column in table.columns:
            if known is not None and column.name not in known:  # rows that are there have no value for it
                op.add_column(table.name, sql.Column(column.name, column.type))
