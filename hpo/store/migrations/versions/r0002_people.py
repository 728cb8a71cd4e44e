"""Who made a study, and who ran it last."""

from __future__ import annotations

import sqlalchemy as sql
from alembic import op

__all__ = ["upgrade"]

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the columns; nobody knows the people of studies that are there."""
    op.add_column("hpo_study", sql.Column("created_by", sql.String(255)))
    op.add_column("hpo_study", sql.Column("run_by", sql.String(255)))
