"""`hpo list`: the same as each study says of itself, in as many queries for many as for one."""

import json
from pathlib import Path

import pytest
import sqlalchemy as sql
from earlier import without_revisions
from study_samples import open_study, run
from typed import typed

from hpo.commands import listing
from hpo.store.lease import Lease
from hpo.store.ledger import Ledger
from hpo.store.overview import overview
from hpo.study import Study


def told(study: Study, capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, object]]:
    listing.show(study.settings, as_json=True)
    return {each["study"]: each for each in json.loads(capsys.readouterr().out)}


def test_each_line_is_what_the_study_says(home: Path, storage: str, capsys: pytest.CaptureFixture[str]) -> None:
    up = open_study(home, storage, name="up")
    down = open_study(home, storage, name="down", metric={"name": "val/loss", "goal": "minimize"})
    new = open_study(home, storage, name="new")
    for study in (up, down):
        with Lease(study) as lease:
            study.begin()
            run(study, [0.5, None, 0.25])
            lease.outcome = "finished"
    lines = told(up, capsys)
    for study in (up, down, new):
        assert lines[study.name]["trials"] == study.counts()
        assert lines[study.name]["waiting_for_mlflow"] == study.ledger.pending_count(study.id)
    assert (lines["up"]["best"], lines["down"]["best"], lines["new"]["best"]) == (0.5, 0.25, None)
    assert lines["up"]["owner"] == lines["up"]["created_by"] == up.row["created_by"]
    assert lines["up"]["state"] == "finished"
    assert str(lines["new"]["state"]).startswith("new: ")
    [ended] = [row["ended"] for row in up.ledger.trials(up.id) if row["number"] == 2]
    assert [each.updated for each in overview(up.ledger) if each.row["name"] == "up"] == [ended]
    with Lease(down):
        assert str(told(up, capsys)["down"]["state"]).startswith("running: process ")


def test_the_number_of_queries_is_the_same_for_many(home: Path, storage: str) -> None:
    ledger = open_study(home, storage).ledger
    seen: list[str] = []
    sql.event.listen(ledger.engine, "before_cursor_execute", lambda *given: seen.append(given[2]))
    overview(ledger)
    one = len(seen)
    for number in range(9):
        run(open_study(home, storage, name=f"study-{number}"), [0.5, 0.25])
    seen.clear()
    assert len(overview(ledger)) == 10
    assert len(seen) == one <= 7


def test_a_database_of_an_earlier_version_is_listed_and_not_changed(home: Path, storage: str) -> None:
    study = open_study(home, storage)
    with study.ledger.begin() as connection:
        without_revisions(connection)
    [line] = overview(Ledger.read(storage))
    assert (line.owner, line.counts) == (None, {})
    assert not sql.inspect(study.ledger.engine).has_table("hpo_alembic_version")


def test_as_typed(home: Path) -> None:
    run(open_study(home), [0.5])
    done = typed("list", home=home)
    assert (done.returncode, "COMPLETE" in done.stdout or "1 complete" in done.stdout) == (0, True), done.stderr
    assert typed("status", home=home).stdout == done.stdout
    empty = typed("list", home=home / "nowhere")
    assert (empty.returncode, "there are no studies yet" in empty.stderr) == (2, True)
    assert typed("list", "--json", home=home / "nowhere").stdout.strip() == "[]"
