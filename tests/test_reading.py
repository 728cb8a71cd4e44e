"""Looking changes nothing, in databases of others and of earlier versions too; what is said of what is half there."""

import hashlib
import json
import sqlite3
from pathlib import Path

import optuna
import psycopg
import pytest
import sqlalchemy as sql
from damage import COMPLETE
from earlier import without_revisions
from servers import Postgres
from study_samples import open_study
from typed import typed

from hpo import settings
from hpo.audit.agreement import examine
from hpo.errors import SpecError
from hpo.study import Study


def contents(folder: Path) -> dict[str, str]:
    """Hashes of all files below a folder."""
    return {
        str(path.relative_to(folder)): hashlib.md5(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


LOOKS = (["doctor"], ["doctor", "--fix", "--dry-run"], ["doctor", "study"])


@pytest.mark.long
@pytest.mark.slow
def test_a_doctor_that_only_looks_writes_nothing(settled: Study) -> None:
    settled.ledger.update_trial(settled.id, COMPLETE, epoch=9)
    home = settled.settings.home
    settled.ledger.engine.dispose()
    settled.storage.remove_session()
    settled.storage._backend.engine.dispose()  # type: ignore[attr-defined] # else a WAL of this process stays
    before = contents(home)
    for command in LOOKS:
        done = typed(*command, home=home)
        assert (done.returncode, "tally" in done.stdout or "epochs say" in done.stdout) == (3, True), done.stdout
        assert contents(home) == before


@pytest.mark.long
def test_a_database_without_our_tables_stays_as_it_is(home: Path) -> None:
    home.mkdir()
    connection = sqlite3.connect(home / "studies.db")
    connection.execute("CREATE TABLE others (x)")
    connection.close()
    before = contents(home)
    for command, code in zip(LOOKS, (0, 0, 2), strict=True):
        done = typed(*command, home=home)
        assert done.returncode == code, done.stderr
        assert contents(home) == before


@pytest.mark.slow
def test_a_database_of_an_earlier_version_is_looked_at_as_it_is(settled: Study) -> None:
    home = settled.settings.home
    with settled.ledger.begin() as connection:
        for column in ("hpo_trial DROP COLUMN gpu_seconds", "hpo_study DROP COLUMN home"):
            connection.execute(sql.text(f"ALTER TABLE {column}"))
        connection.execute(sql.text("DROP TABLE hpo_packing"))
        without_revisions(connection)
    settled.ledger.engine.dispose()
    settled.storage.remove_session()
    settled.storage._backend.engine.dispose()  # type: ignore[attr-defined]
    before = contents(home)
    for command in LOOKS:
        done = typed(*command, home=home)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "of an earlier version: the next run adds" in done.stdout
        for name in ("hpo_trial.gpu_seconds", "hpo_study.home", "hpo_packing"):
            assert name in done.stdout
        assert contents(home) == before


def test_looking_is_held_to_it_by_the_database(home: Path, storage: str) -> None:
    name = open_study(home, storage).name
    study = Study.load(name, settings.resolve(home=home, storage=storage), reading=True)
    with pytest.raises(sql.exc.DBAPIError, match=r"readonly|read-only"):
        study.ledger.update_study(study.id, stop=True)
    assert study.counts() == {}


def test_a_study_that_was_deleted_in_part_is_said_by_all_and_can_be_deleted(settled: Study) -> None:
    home = settled.settings.home
    optuna.delete_study(study_name="study", storage=settled.storage)
    [finding] = examine("study", settled.settings).findings
    assert "hpo delete study --yes" in finding.what.replace(str(home), "").replace(" --home ", "")
    with pytest.raises(SpecError, match="delete study --yes"):
        Study.open(settled.spec, settled.settings)
    open_study(home, name="other")
    done = typed("status", "--json", home=home)
    assert done.returncode == 0, done.stderr
    states = {each["study"]: each["state"] for each in json.loads(done.stdout)}
    assert "delete study --yes" in states["study"]
    assert typed("status", "study", home=home).returncode == 2
    done = typed("delete", "study", "--yes", home=home)
    assert done.returncode == 0, done.stderr
    assert typed("doctor", home=home).returncode == 0


COMMANDS = [["status"], ["status", "study"], ["trials", "study"], ["doctor"]]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_database_with_a_damaged_page_ends_with_4(settled: Study, command: list[str]) -> None:
    file = settled.settings.home / "studies.db"
    with settled.ledger.begin() as connection:
        connection.execute(sql.text("PRAGMA wal_checkpoint(TRUNCATE)"))
        query = "SELECT rootpage FROM sqlite_master WHERE name = 'trials'"
        page = connection.execute(sql.text(query)).scalar_one()
    settled.ledger.engine.dispose()
    settled.storage._backend.engine.dispose()  # type: ignore[attr-defined]
    with file.open("r+b") as opened:
        opened.seek(4096 * (page - 1))
        opened.write(b"\xff" * 4096)
    done = typed(*command, home=settled.settings.home)
    assert (done.returncode, "malformed" in done.stdout + done.stderr) == (4, True), done.stdout + done.stderr


def test_a_database_that_cannot_be_written_to_ends_with_4(home: Path, postgresql: Postgres) -> None:
    url = postgresql.database()
    with psycopg.connect(url, autocommit=True) as connection:
        name = url.rsplit("/", 1)[-1]
        connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    done = typed("status", "study", home=home, OPTUNA_STORAGE=url)
    assert (done.returncode, "read-only" in done.stderr) == (4, True), done.stderr
    assert typed("doctor", home=home, OPTUNA_STORAGE=url).returncode == 0
    open_study(home)
    (home / "studies.db.lock").unlink(missing_ok=True)
    (home / "studies.db.lock").mkdir()  # as in a folder that is not to be written to, which root always is
    done = typed("status", "study", home=home)
    assert (done.returncode, "cannot be written to" in done.stderr) == (4, True), done.stderr


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_damaged_database_ends_with_4(settled: Study, command: list[str]) -> None:
    file = settled.settings.home / "studies.db"
    settled.ledger.engine.dispose()
    settled.storage._backend.engine.dispose()  # type: ignore[attr-defined]
    content = bytearray(file.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    for beside in file.parent.glob("studies.db-*"):
        beside.unlink()
    file.write_bytes(content)
    done = typed(*command, home=settled.settings.home)
    assert done.returncode == 4, done.stdout + done.stderr
    assert "malformed" in done.stdout + done.stderr
    assert "fault of hpo" not in done.stderr
