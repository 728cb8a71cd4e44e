"""Where a study is looked for, and what is said of one that is not there, not whole, or not here."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy.engine import RowMapping

from hpo import spec
from hpo.errors import SpecError
from hpo.masking import masked
from hpo.settings import Settings, person
from hpo.spec import SearchSpec
from hpo.store.ledger import Ledger

if TYPE_CHECKING:
    from hpo.store.history import Entry

__all__ = [
    "columns_of",
    "create",
    "difference",
    "elsewhere",
    "gone",
    "home_on_record",
    "missing",
    "named",
    "open_ledger",
    "unknown",
]

_NAMED = re.compile(r"([^:]+)(?::(\d+))?")
BESIDE = "{database}"  # on record for a home folder that the database lies in


def named(text: str) -> tuple[str, int | None] | None:
    """A study's name, and the number in `NAME:N` where there is one; None for a text of another form."""
    match = _NAMED.fullmatch(text)
    return None if match is None else (match[1], int(match[2]) if match[2] is not None else None)


def open_ledger(settings: Settings, *, reading: bool = False) -> Ledger:
    """Our tables, created when missing, unless for `reading`.

    Raises:
        SpecError: the database is a file that does not exist.
        Unavailable: the database does not answer.
    """
    if settings.storage_file is not None and not settings.storage_file.exists():
        raise SpecError(
            f"there are no studies yet: {masked(settings.storage)} does not exist. "
            "Start one with `hpo run --space FILE`, or say where they are with --storage, OPTUNA_STORAGE or HPO_HOME"
        )
    return Ledger.read(settings.storage) if reading else Ledger.open(settings.storage)


def create(ledger: Ledger, space: SearchSpec, settings: Settings, first: Entry | None) -> None:
    """Put a new study on record, with the `first` entry of its history; one that is there is left as it is."""
    ledger.add_study(
        first.row() if first is not None else None,
        name=space.name,
        uid=uuid.uuid4().hex,
        home=home_on_record(settings),
        created_by=person(),
        **columns_of(space),
    )


def columns_of(space: SearchSpec) -> dict[str, str | None]:
    """What a row of hpo_study says of its space."""
    return {
        "text": space.text,
        "folder": str(space.folder.absolute()) if space.folder else None,
        "canonical": json.dumps(space.canonical()),
        "hash": space.hash(),
    }


def home_on_record(settings: Settings) -> str:
    """The home folder as kept on record: the same after it has moved together with the database in it."""
    file = settings.storage_file
    return BESIDE if file is not None and file.absolute().parent == settings.home else str(settings.home)


def elsewhere(row: RowMapping, settings: Settings, folder: Path) -> str:
    """What is to be said of a study, by its row, whose folder of checkpoints is not below this home."""
    beside = settings.storage_file
    home = beside.absolute().parent if beside and row["home"] == BESIDE else row["home"]
    return (
        f"its checkpoints are under {home}/checkpoints, this is {settings.home}: run with HPO_HOME={home}, "
        f"or move {home}/checkpoints/{folder.name} to {folder} first"
    )


def missing(folder: Path, trials: int) -> str:
    """What is to be said of a folder that is not there and in which SQL names the checkpoints of so many trials."""
    count = f"{trials} trial{'s' if trials > 1 else ''}"
    return (
        f"{folder} is missing, with the checkpoints of {count}: is its disk there? "
        f"If they are gone for good: mkdir -p {folder}"
    )


def gone(name: str, settings: Settings) -> str:
    """What is to be said of a study whose trials our tables have, and Optuna has nothing."""
    finish = settings.command("delete", name, "--yes")
    return f"Optuna does not have it, as after a deletion that was killed: `{finish}` finishes it"


def unknown(name: str, settings: Settings, ledger: Ledger) -> SpecError:
    names = [row["name"] for row in ledger.studies()]
    there = f"there are: {', '.join(names)}" if names else "there are none"
    return SpecError(f"no study {name!r} in {masked(settings.storage)}; {there}")


def difference(space: SearchSpec, stored: Mapping[str, Any]) -> str:
    new = space.identity()
    lines = "\n".join(f"  {line}" for line in spec.changes({key: stored.get(key) for key in new}, new))
    return (
        f"study {space.name!r} exists over another space:\n{lines}\n"
        f"Give the file another `name`, or `hpo delete {space.name}` first; budget, resources, winner and gate may "
        f"change within a study, and `hpo run --space FILE --extend {space.name}` adds values and widens ranges"
    )
