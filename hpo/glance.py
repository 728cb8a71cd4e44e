"""What SQL says of a study, read without changing anything: no database is created, no table made or altered."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sql
from sqlalchemy.engine import Engine, RowMapping

from hpo import database, spec
from hpo.errors import SpecError, Unavailable
from hpo.masking import masked, redacted
from hpo.settings import Settings, driver_url
from hpo.spec import SearchSpec

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from hpo.study import Study

__all__ = ["Glance", "glance", "names"]

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Glance:
    """A study and its trials at one moment. Rows of an earlier version may lack columns."""

    study: Row  # of hpo_study
    rows: Mapping[int, Row]  # of hpo_trial, by the trial's number
    states: Mapping[int, str]  # of all trials, in Optuna's words
    values: Mapping[int, float]  # of those that are COMPLETE
    packing: Row | None = None  # how trials shared cards last

    @classmethod
    def of(cls, study: Study) -> Glance:
        """The same of a study that is open."""
        rows, packings = map(_plain, (study.ledger.trials(study.id), study.ledger.packings(study.id)))
        return _glance(dict(study.row), rows, study.frozen_trials(), packings)

    @property
    def folder_name(self) -> str:
        """Of its checkpoints, as `Study.folder_name`."""
        return f"{self.study['id']}-{self.study['uid'][:8]}"

    @property
    def gpu_seconds(self) -> float:
        """Training time of all trials by the share of a card that each held, as `Ledger.gpu_seconds`."""
        held = [(row.get("gpu_seconds"), row["seconds"] * row["gpu"]) for row in self.rows.values()]
        return float(sum(product if exact is None else exact for exact, product in held))

    def is_over(self, space: SearchSpec) -> bool:
        """Whether it is a study over this space, whatever its budget."""
        return bool(self.study["hash"] == space.hash())

    def difference(self, space: SearchSpec) -> str:
        """What to say of another space under its name."""
        from hpo.study import difference

        return difference(space, json.loads(self.study["canonical"]))

    def reopened(self, settings: Settings, overrides: Sequence[str]) -> tuple[SearchSpec, Settings]:
        """Its space with another budget or other resources, and where it is stored, as `Study.load` finds them.

        Raises:
            SpecError: an override would change the space.
        """
        row = self.study
        folder = Path(row["folder"]) if row.get("folder") else None
        space = spec.from_mapping(json.loads(row["canonical"]), overrides=overrides, folder=folder, trusted=True)
        if not self.is_over(space):
            raise SpecError(self.difference(space))
        mlflow = settings.mlflow_at(row.get("mlflow")) or space.mlflow
        return space, settings.filled(mlflow=mlflow, ray=space.ray, insecure_cluster=space.insecure_cluster)


def glance(name: str, settings: Settings) -> Glance | None:
    """What is on record of the study of that name; None where there is none.

    Raises:
        Unavailable: the database does not answer, or is none of ours.
    """
    with _reading(settings) as engine:
        found = _rows(engine, "hpo_study", "name", name)
        if not found:
            return None
        [study] = found
        rows, packings = (_rows(engine, table, "study", study["id"]) for table in ("hpo_trial", "hpo_packing"))
        return _glance(study, rows, _trials(engine, settings, name), packings)


def names(settings: Settings) -> list[str]:
    """All studies; raises Unavailable as `glance` does."""
    with _reading(settings) as engine:
        return [row["name"] for row in _rows(engine, "hpo_study")]


def _glance(study: Row, rows: Sequence[Row], trials: Sequence[FrozenTrial], packings: Sequence[Row]) -> Glance:
    return Glance(
        study=study,
        rows={row["number"]: row for row in rows},
        states={trial.number: trial.state.name for trial in trials},
        values={trial.number: trial.values[0] for trial in trials if trial.state.name == "COMPLETE"},
        packing=max(packings, key=lambda row: int(row["id"]), default=None),
    )


class _Reader(sqlite3.Connection):
    """A connection that refuses to write. One that may not write at all would leave files beside the database."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.execute("PRAGMA query_only=ON").close()


def _options(url: str) -> dict[str, Any]:
    """Arguments for an engine that the database lets read alone."""
    options = database.engine_options(url)
    only: dict[str, Any] = (
        {"factory": _Reader} if url.startswith("sqlite") else {"options": "-c default_transaction_read_only=on"}
    )
    return options | {"connect_args": options["connect_args"] | only}


@contextmanager
def _reading(settings: Settings) -> Iterator[Engine | None]:
    """A connection pool; None where the database is a file that does not exist."""
    if settings.storage_file is not None and not settings.storage_file.exists():
        yield None
        return
    engine = None
    try:
        engine = sql.create_engine(driver_url(settings.storage), **_options(settings.storage))
        yield engine
    except (sql.exc.SQLAlchemyError, ValueError) as error:
        said = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        raise Unavailable(f"the database {masked(settings.storage)} cannot be read: {redacted(said)}") from error
    finally:
        if engine is not None:
            engine.dispose()


def _rows(engine: Engine | None, table: str, column: str = "1", value: object = 1) -> Sequence[Row]:
    """Rows of one of our tables, with the columns that it has; none where the table is not there yet."""
    if engine is None or not sql.inspect(engine).has_table(table):
        return []
    with engine.connect() as connection:
        query = sql.text(f"SELECT * FROM {table} WHERE {column} = :value ORDER BY 1")
        return _plain(connection.execute(query, {"value": value}).mappings().all())


def _plain(rows: Sequence[RowMapping]) -> Sequence[Row]:
    return [dict(row) for row in rows]


def _trials(engine: Engine | None, settings: Settings, name: str) -> Sequence[FrozenTrial]:
    """Optuna's, by its own reader, told to make and check nothing."""
    if engine is None or not sql.inspect(engine).has_table("trials"):
        return []
    from optuna.exceptions import StorageInternalError
    from optuna.storages import RDBStorage

    storage = None
    try:
        storage = RDBStorage(
            driver_url(settings.storage),
            engine_kwargs=_options(settings.storage),
            skip_compatibility_check=True,
            skip_table_creation=True,
        )
        return storage.get_all_trials(storage.get_study_id_from_name(name), deepcopy=False)
    except KeyError:  # a driver was killed before Optuna had it
        return []
    except StorageInternalError as error:
        raise error.__cause__ or error from None
    finally:
        if storage is not None:
            storage.remove_session()
            storage.engine.dispose()
