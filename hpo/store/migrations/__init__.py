"""Alembic's scripts that make our tables, and bring those of an earlier version to what `hpo.store.tables` says.

`hpo.store.schema` runs them. A new column or table: into `hpo.store.tables`, then a file `versions/rNNNN_what.py`, then
its revision into `REVISIONS`; a test holds that the three agree. Only add what may be empty: drivers of the version
before may be at work meanwhile.
"""

from __future__ import annotations

__all__ = ["REVISIONS", "VERSION_TABLE"]

REVISIONS = ("0001", "0002")
"""All revisions, the oldest first. Known without importing Alembic."""

VERSION_TABLE = "hpo_alembic_version"
"""Of our own: `alembic_version` in the same database is Optuna's."""
