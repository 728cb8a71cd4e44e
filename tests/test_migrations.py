"""Our tables by Alembic: what the revisions make is what the code says, databases of every version get there whole."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sql
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from earlier import create_first, without_revisions
from sqlalchemy.engine import Engine
from study_samples import open_study

from hpo import settings
from hpo.errors import Unavailable
from hpo.store import database, schema
from hpo.store.ledger import Ledger
from hpo.store.migrations import REVISIONS, VERSION_TABLE
from hpo.store.tables import metadata
from hpo.study import Study

ROW = {"name": "old", "uid": "a" * 32, "text": "name: old", "canonical": "{}", "hash": "b", "created": 1.5}
ROW |= {"seconds": 2.5, "stop": False}


def differences(engine: Engine) -> list[object]:
    """What `alembic revision --autogenerate` would write down."""
    with engine.connect() as connection:
        options = {"version_table": VERSION_TABLE, "include_object": schema.is_ours, "compare_type": True}
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))


def columns(engine: Engine) -> set[str]:
    return {each["name"] for each in sql.inspect(engine).get_columns("hpo_study")}


@pytest.fixture
def first(storage: str) -> Iterator[Engine]:
    """A database of the last version without revisions, with a study, an epoch and a record in it."""
    database.prepare(storage)
    engine = database.open_engine(storage)
    create_first(engine)
    old = sql.MetaData()
    old.reflect(engine)
    with engine.begin() as connection:
        connection.execute(sql.insert(old.tables["hpo_study"]).values(**ROW))
        epoch = {"study": 1, "number": 0, "epoch": 1, "attempt": 1, "time": 3.5, "metrics": '{"val/loss": NaN}'}
        connection.execute(sql.insert(old.tables["hpo_epoch"]).values(**epoch))
        record = {"study": 1, "kind": "tags", "payload": "{}"}
        connection.execute(sql.insert(old.tables["hpo_outbox"]).values(**record))
    yield engine
    engine.dispose()


def test_the_revisions_are_those_that_the_code_knows() -> None:
    scripts = ScriptDirectory(str(schema.HERE))
    assert scripts.get_current_head() == REVISIONS[-1]
    assert tuple(each.revision for each in scripts.walk_revisions())[::-1] == REVISIONS


def test_what_the_revisions_make_is_what_the_code_says(home: Path, storage: str) -> None:
    ledger = open_study(home, storage).ledger  # with Optuna's tables beside
    engine = ledger.engine
    assert differences(engine) == []
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE hpo_study DROP COLUMN run_by")
    assert len(differences(engine)) == 1


def test_a_database_without_revisions_gets_them_and_keeps_its_rows(first: Engine, storage: str) -> None:
    ledger = Ledger.open(storage)
    assert differences(first) == []
    [row] = ledger.studies()
    assert {key: row[key] for key in ROW} == ROW
    assert row["created_by"] is None
    assert [each["time"] for each in ledger.epochs(1)] == [3.5]
    assert ledger.pending_count(1) == 1
    ledger.add_study(name="new", uid="c" * 32, text="", canonical="{}", hash="d")
    assert [each["id"] for each in ledger.studies()] == [1, 2]


def test_the_columns_and_tables_that_an_older_one_lacks_are_made(home: Path, storage: str) -> None:
    ledger = open_study(home, storage).ledger
    engine = ledger.engine
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE hpo_promotion")
        connection.exec_driver_sql("ALTER TABLE hpo_trial DROP COLUMN gpu_seconds")
        without_revisions(connection)
        optuna = connection.exec_driver_sql("SELECT version_num FROM alembic_version").all()
    study = Study.load("study", settings.resolve(home=home, storage=storage))
    assert differences(engine) == []
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT version_num FROM alembic_version").all() == optuna
    assert study.rows() == []


def test_an_upgrade_is_done_as_a_whole_or_not_at_all(first: Engine, storage: str) -> None:
    with first.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE hpo_study ADD COLUMN run_by VARCHAR(255)")  # 0002 will fail on it
    before = columns(first)
    with pytest.raises(Unavailable, match="run_by"):
        Ledger.open(storage)
    assert columns(first) == before
    assert not sql.inspect(first).has_table(VERSION_TABLE)
    with first.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE hpo_study DROP COLUMN run_by")
    assert Ledger.open(storage).study("old")


def test_many_that_open_an_older_one_at_once_upgrade_it_once(first: Engine, storage: str) -> None:
    program = f"from hpo.store.ledger import Ledger; print(len(Ledger.open({storage!r}).studies()))"
    started = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for process in started:
        assert process.communicate(timeout=60) == ("1\n", "")
    assert differences(first) == []


def test_a_newer_one_is_left_alone_with_the_way_out(home: Path, storage: str) -> None:
    ledger = open_study(home, storage).ledger
    with ledger.begin() as connection:
        connection.exec_driver_sql(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    for reading in (True, False):
        with pytest.raises(Unavailable, match=r"at revision 9999.*update hpo here"):
            Study.load("study", settings.resolve(home=home, storage=storage), reading=reading)
    with ledger.begin() as connection:
        assert connection.exec_driver_sql(f"SELECT version_num FROM {VERSION_TABLE}").scalar() == "9999"


def test_one_that_is_up_to_date_opens_without_alembic_and_without_a_lock(home: Path) -> None:
    study = open_study(home)
    (home / "studies.db.lock").unlink()
    program = f"""
import sys
from hpo.store.ledger import Ledger
assert Ledger.open({study.settings.storage!r}).study("study")
assert "alembic" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
    assert not (home / "studies.db.lock").exists()


def test_tables_of_an_older_optuna_are_said_with_its_command(home: Path) -> None:
    ledger = open_study(home).ledger
    with ledger.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'v3.0.0.d'")
    with pytest.raises(Unavailable, match=r"execute `\$ optuna storage upgrade .*Take a backup first"):
        Study.load("study", settings.resolve(home=home))
