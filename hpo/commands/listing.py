"""`hpo list`: all studies, one line each."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from hpo.commands.options import Home, Json, Storage, opened
from hpo.wording import number, plain, words

if TYPE_CHECKING:
    from hpo.settings import Settings
    from hpo.store.overview import Overview

__all__ = ["list_studies", "show"]

COLUMNS = ("study", "owner", "state", "trials", "best", "started", "updated", "waiting_for_mlflow")


def list_studies(home: Home = None, storage: Storage = None, as_json: Json = False) -> None:
    """List all studies: whose they are, where they stand, the best value, when they began and last went on."""
    show(opened(home, storage), as_json=as_json)


def show(settings: Settings, *, as_json: bool) -> None:
    """Print all studies of the database; nothing is written to it."""
    from hpo.store.opening import open_ledger
    from hpo.store.overview import overview

    file = settings.storage_file
    none = as_json and file is not None and not file.exists()  # else it is said where studies are looked for
    found = [] if none else overview(open_ledger(settings, reading=True))
    lines = [_line(each, settings) for each in found]
    if as_json:
        stamped = [each | {key: _utc(each[key]) for key in ("started", "updated")} for each in lines]
        print(json.dumps(stamped, indent=2))
        return
    from rich.table import Table
    from rich.text import Text

    from hpo.tables import printed

    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in COLUMNS:
        table.add_column(column.replace("_", " "), overflow="fold")
    for line in lines:
        table.add_row(*(Text(_cell(column, line[column])) for column in COLUMNS))
    printed(table)


def _line(study: Overview, settings: Settings) -> dict[str, Any]:
    row = study.row
    return {
        "study": row["name"],
        "owner": study.owner,
        "state": _state(study, settings),
        "trials": study.counts or {},
        "best": study.best,
        "started": row["created"],
        "updated": study.updated,
        "waiting_for_mlflow": study.waiting,
        "created_by": row["created_by"],
    }


def _state(study: Overview, settings: Settings) -> str:
    from hpo.store.lease import state
    from hpo.store.opening import gone

    row = study.row
    if study.counts is None and study.begun:
        return gone(row["name"], settings)
    return state(row, settings)


def _cell(column: str, value: Any) -> str:
    if value is None:
        return ""
    if column in ("started", "updated"):
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(value))
    if isinstance(value, dict):
        return words(value)
    return number(value) if isinstance(value, float) else plain(str(value))


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
