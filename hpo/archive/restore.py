"""`hpo import-study`: a study out of a file into the database of here, from which it goes on.

First everything is read and checked, then Optuna's part is written under a mark, then in one transaction ours, in which
the checkpoints get their place. A kill before its end leaves nothing that a study could be taken for, and the next
import of that name removes it.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy as sql
from filelock import FileLock
from sqlalchemy.engine import Connection

from hpo.archive import rows
from hpo.archive.container import Reader, reading
from hpo.archive.part import OURS, Part, parts
from hpo.audit import rebuild
from hpo.errors import SpecError, Unavailable
from hpo.search.recovery import recover
from hpo.settings import Settings, person
from hpo.store import database, tables
from hpo.store.history import Entry
from hpo.store.lease import Lease
from hpo.store.ledger import Ledger
from hpo.store.opening import home_on_record
from hpo.store.storage import STORAGE_ERRORS, PatientStorage
from hpo.study import Study
from hpo.wording import size
from trainers.folders import private, replaced

__all__ = ["Imported", "restore"]

MARK = "hpo:import"
"""Attribute of Optuna's study: it came out of a file; where we have no study of the name it did not come whole."""
UNPACKING = ".import-"
BATCH = 1000
UNFIT = (sql.exc.IntegrityError, sql.exc.DataError, optuna.exceptions.DuplicatedStudyError, OverflowError)
"""What a database raises of values that are none of its own; SQLite's driver the last."""


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What has come into the database."""

    studies: tuple[Study, ...]
    checkpoints: int


def restore(path: Path, settings: Settings, name: str | None) -> Imported:
    """Put the study of a file, and what confirms its winner, into the database; `name` instead of its own.

    Its records wait for MLflow then, as those of a search do.

    Raises:
        SpecError: the file is damaged, hostile or of a newer hpo, or there is a study of the name.
        Unavailable: the database does not answer, or the disk has too little room.
    """
    with reading(path) as reader:
        found = parts(path, reader, name)
        settings.make_home()
        ledger, storage = Ledger.open(settings.storage), PatientStorage.open(settings.storage)
        try:
            with database.importing(settings.storage), _unpacked(reader, found, settings) as folder:
                _require_free(ledger, storage, found, path)
                _write(ledger, storage, found, folder, settings)
        finally:
            storage.close()
    studies = tuple(Study.load(each.name, settings) for each in found)
    for study in studies:
        _post(study)
    return Imported(studies=studies, checkpoints=sum(len(reader.checkpoints(each.index)) for each in found))


def _require_free(ledger: Ledger, storage: PatientStorage, found: Sequence[Part], path: Path) -> None:
    """Make sure that the names are free, of what a killed import left too."""
    for each in found:
        marked = _mark(storage, each.name)
        if ledger.study(each.name) is not None or marked is False:
            raise _taken(each.name, path)
        if marked:
            optuna.delete_study(study_name=each.name, storage=storage)


def _mark(storage: PatientStorage, name: str) -> bool | None:
    """Whether Optuna's study came out of a file; None where there is none."""
    try:
        return MARK in storage.get_study_system_attrs(storage.get_study_id_from_name(name))
    except KeyError:
        return None


def _taken(name: str, path: Path) -> SpecError:
    return SpecError(f"there is a study {name!r} already: `hpo import-study {path} --as OTHER` gives it another name")


@contextmanager
def _unpacked(reader: Reader, found: Sequence[Part], settings: Settings) -> Iterator[Path]:
    """Yield a folder that holds the checkpoints of each study in one named by its index, on the disk of their place.

    Raises:
        Unavailable: the disk has too little room.
    """
    need = sum(reader.size(each.index) for each in found)
    free = shutil.disk_usage(settings.home).free
    if need > free:
        raise Unavailable(f"the checkpoints take {size(need)}, and {settings.home} has {size(free)} left")
    with FileLock(settings.home / f"{UNPACKING}lock", mode=0o600):
        for old in private(settings.checkpoints).glob(f"{UNPACKING}*"):  # of an import that was killed
            shutil.rmtree(old)
        folder = Path(tempfile.mkdtemp(prefix=UNPACKING, dir=settings.checkpoints))  # mode 0700
        try:
            for part in found:
                for each in reader.checkpoints(part.index):
                    _unpack(reader, f"{part.index}/checkpoints/{each}", folder / str(part.index) / each)
            yield folder
        except OSError as error:
            raise Unavailable(f"{settings.checkpoints} cannot be written to: {error}") from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _unpack(reader: Reader, member: str, path: Path) -> None:
    with replaced(path) as beside, beside.open("wb") as file:
        reader.copy(member, file)


def _write(ledger: Ledger, storage: PatientStorage, found: Sequence[Part], folder: Path, settings: Settings) -> None:
    """Write all studies, or none."""
    placed: list[Path] = []
    made: list[str] = []
    try:
        for part in found:
            _into_optuna(storage, part, made)
        with ledger.begin() as connection:
            for part in found:
                placed += _into_ours(connection, part, folder / str(part.index), settings)
    except BaseException as error:
        with suppress(*STORAGE_ERRORS):  # the first error is the one to tell; the next import finds the mark
            if not any(ledger.study(each.name) for each in found):  # the answer to a commit may be lost, and it be done
                for path in placed:
                    shutil.rmtree(path, ignore_errors=True)
                for name in made:
                    optuna.delete_study(study_name=name, storage=storage)
        if isinstance(error, UNFIT):
            raise SpecError(f"the study does not fit into the database: {getattr(error, 'orig', error)}") from error
        raise


def _into_optuna(storage: PatientStorage, part: Part, made: list[str]) -> None:
    study = optuna.create_study(
        study_name=part.name, storage=storage, directions=[each.goal for each in part.space.metrics]
    )
    made.append(part.name)
    number = storage.get_study_id_from_name(part.name)
    storage.set_study_system_attr(number, MARK, person())
    for key, value in part.attributes["system_attrs"].items():
        storage.set_study_system_attr(number, key, value)
    for key, value in part.attributes["user_attrs"].items():
        study.set_user_attr(key, part.row["text"] if key == "space" else value)
    for each in part.trials:
        storage.create_new_trial(number, each)


def _into_ours(connection: Connection, part: Part, folder: Path, settings: Settings) -> list[Path]:
    """Write our rows, and put the checkpoints into their place; returns it."""
    study, place = _number(connection, part, settings)
    for name in OURS:
        table = rows.table_of(name)
        found = [{**each, "study": study} for each in part.tables[name]]
        if name == "trial":
            found = [_placed(each, place) for each in found]
        for start in range(0, len(found), BATCH):
            connection.execute(sql.insert(table), found[start : start + BATCH])
    entry = Entry(what="imported", changes=[f"as study {part.name}, with {len(part.trials)} trials"])
    connection.execute(sql.insert(tables.history).values(study=study, **entry.row()))
    if not folder.is_dir():
        return []
    folder.rename(place)
    return [place]


def _number(connection: Connection, part: Part, settings: Settings) -> tuple[int, Path]:
    """The study's number, with which its folder is nobody's: the original may lie in the same home."""
    here = {"home": home_on_record(settings), "folder": _here(part.row["folder"])}
    while True:
        new = connection.execute(sql.insert(tables.studies).values({**part.row, **here}))
        assert new.inserted_primary_key is not None
        number = int(new.inserted_primary_key[0])
        place = settings.checkpoints / f"{number}-{part.row['uid'][:8]}"
        if not place.exists():
            return number, place
        connection.execute(sql.delete(tables.studies).where(tables.studies.c.id == number))  # it is not used again


def _here(folder: str | None) -> str | None:
    """Where the space file lay, if there is such a folder here."""
    return folder if folder is not None and Path(folder).is_dir() else None


def _placed(row: dict[str, Any], place: Path) -> dict[str, Any]:
    return row if row["checkpoint"] is None else {**row, "checkpoint": f"{place.name}/{row['checkpoint']}"}


def _post(study: Study) -> None:
    """Put what the study lacks in order, as its next driver would, and queue its records for MLflow, all of them."""
    with Lease(study, spends=False) as lease:
        recover(study)
        trials = {each.number: each for each in study.frozen_trials()}
        for row in study.ledger.trials(study.id):
            lease.renew()  # thousands of trials take minutes
            study.ledger.post_all(study.id, row["number"], rebuild.of_trial(study, trials[row["number"]], row))
        best = [("epoch", point) for point in rebuild.best_points(study)]
        study.ledger.post_all(study.id, None, [*best, *rebuild.of_study(study)])
