"""What is printed cannot steer a terminal, and what is exported cannot be a formula."""

import csv
import io
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from hpo import cli, settings, spec
from hpo.audit import doctor
from hpo.commands import listing, summary
from hpo.commands.data import _print_counts, _print_skipped
from hpo.commands.plan import plan
from hpo.errors import StudyOwned
from hpo.search.progress import Progress
from hpo.search.running import Event
from hpo.search.scheduler import Scheduler
from hpo.search.searcher import Searcher
from hpo.store import records
from hpo.store.lease import Lease
from hpo.study import Study
from hpo.wording import csv_cell, plain
from hpo.workers.trial import Report

STEERS = "\x1b[31mred\x1b]0;title\x07\x9b2J\u202etxt [bold]"
WRITTEN = r"\x1b[31mred\x1b]0;title\x07\x9b2J\u202etxt [bold]"


def harmless(text: str) -> bool:
    return all(char.isprintable() or char in "\n\t" for char in text)


@pytest.fixture
def study(home: Path) -> Study:
    """Two trials: one FAIL with an error that steers terminals, one COMPLETE; a choice that looks like a formula."""
    tree = {
        "name": "study",
        "metric": "val/accuracy",
        "sampler": "grid",
        "parameters": {"kind": {"values": ["=cmd()", "-0.5"]}},
        "trainer": {"import": "synthetic:faulty", "epochs": 3},
    }
    study = Study.open(spec.from_mapping(tree), settings.resolve(home=home))
    scheduler, searcher = Scheduler(study, lambda event: None), Searcher(study)
    for number, error in enumerate([f"=ValueError: {STEERS}", None]):
        trial = searcher.next()
        assert trial is not None
        scheduler.start(trial, cpu=1, gpu=0)
        metrics = {} if error else {"val/accuracy": -0.5}
        scheduler.report(Report(number=number, attempt=1, epoch=1, metrics=metrics, last=not error, error=error))
    return study


def test_control_characters_are_written_out() -> None:
    assert plain(STEERS) == WRITTEN
    assert plain("two\nlines\tand ünïcode") == "two\nlines\tand ünïcode"
    assert plain("back\rto\x08\x00 the\x7f start") == r"back\rto\x08\x00 the\x7f start"


def test_tables_of_trials_and_studies_are_harmless(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    summary.trials(study, as_json=False)
    summary.trials(study, as_json=True)
    study.ledger.update_study(study.id, outcome=STEERS)
    summary.status("study", study.settings, as_json=False)
    listing.show(study.settings, as_json=False)
    summary.closing(study, as_json=False)
    out = capsys.readouterr().out
    assert harmless(out)
    assert WRITTEN in out


def test_the_doctor_is_harmless(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    study.ledger.update_trial(study.id, 0, error=STEERS)
    study.ledger.update_study(study.id, mlflow=f"postgresql://me:***@{STEERS}/runs")
    doctor.doctor(None, study.settings, fix=False, dry_run=False, as_json=False)
    out = capsys.readouterr().out
    assert harmless(out)
    assert out.count(WRITTEN) >= 2, "the reason of a failure, and where MLflow is"


def test_the_holder_of_a_study_is_harmless(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    held = {"owner": "x", "host": STEERS, "pid": 1, "owned_since": 1.0, "expires": time.time() + 60}
    study.ledger.update_study(study.id, **held)
    cli.stop(study.name, home=study.settings.home)
    summary.status("study", study.settings, as_json=False)
    doctor.doctor(None, study.settings, fix=False, dry_run=False, as_json=False)
    with pytest.raises(StudyOwned) as caught, Lease(study):
        pass
    out = capsys.readouterr().out + str(caught.value)
    assert harmless(out)
    assert out.count(WRITTEN) == 4


def test_the_best_trial_is_harmless(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    study.ledger.update_trial(study.id, 1, checkpoint=f"{STEERS}.pt")
    summary.best(study, as_json=False)
    study.ledger.update_study(study.id, mlflow=f"http://{STEERS}")
    summary.closing(Study.load("study", study.settings), as_json=False)
    out = capsys.readouterr().out
    assert harmless(out)
    assert out.count(WRITTEN) == 4, "the checkpoint twice, MLflow, and MLflow in the command to type"


def test_progress_is_harmless(study: Study) -> None:
    for terminal in (False, True):
        screen = io.StringIO()
        console = Console(file=screen, force_terminal=terminal, color_system=None, width=500)
        progress = Progress(console)
        progress._study = study
        about = {"params": {"kind": STEERS}, "epoch": 1, "value": 0.5}
        progress.show(Event(kind="warning", number=0, state="RUNNING", error=STEERS, **about))
        progress.show(Event(kind="end", number=0, state="FAIL", error=STEERS, **about))
        progress.show(Event(kind="end", number=1, state="COMPLETE", best=True, **about))
        progress.show(Event(kind="start", number=2, state="RUNNING", **about))
        console.print(progress.picture())
        assert harmless(screen.getvalue())
        assert screen.getvalue().count(WRITTEN) == 5


def test_names_of_classes_and_files_are_harmless(capsys: pytest.CaptureFixture[str]) -> None:
    _print_counts({"train": {STEERS: 3}}, as_json=False)
    _print_skipped((STEERS,))
    out = capsys.readouterr().out
    assert harmless(out)
    assert out.count(WRITTEN) == 2


def test_a_plan_shows_choices_as_they_are(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree = {
        "name": "study",
        "metric": "val/accuracy",
        "sampler": "grid",
        "parameters": {"kind": {"values": ["[bold]", "[/nothing]"]}},
        "trainer": {"import": "synthetic:faulty"},
    }
    plan(spec.from_mapping(tree), settings.resolve(home=home), concurrency=None, as_json=False)
    assert "[bold], [/nothing]" in capsys.readouterr().out


def test_an_error_of_a_command_is_harmless(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(yaml.safe_dump({"name": "x"}))
    for words in (
        ["status", STEERS],
        ["run", "--space", f"{STEERS}.yaml"],
        ["run", "--space", "x.yaml", "--set", STEERS],
    ):
        command = [sys.executable, "-m", "hpo", *words]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False)
        assert done.returncode == 2
        assert harmless(done.stderr + done.stdout)


def test_no_cell_of_the_table_is_a_formula(study: Study) -> None:
    rows = list(csv.DictReader(io.StringIO(records.table(study)["csv"])))
    assert rows[0]["kind"] == "'=cmd()"
    assert rows[0]["error"].startswith("'=ValueError: ")
    assert (rows[1]["kind"], rows[1]["value"]) == ("-0.5", "-0.5")
    assert float(rows[1]["value"]) == study.trials.value[1]
    cells = [cell for row in rows for cell in (*row, *row.values())]
    assert [cell for cell in cells if cell[:1] in ("=", "+", "@", "\t", "\r")] == []


@pytest.mark.parametrize("text", ["=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "-", "=", "-cmd|' /C calc'!A0"])
def test_what_begins_like_a_formula_gets_an_apostrophe(text: str) -> None:
    assert csv_cell(text) == f"'{text}"


@pytest.mark.parametrize("value", [-0.5, "-0.5", "+3", "-1e-3", "-inf", 5, None, True, "a=b", "", "relu"])
def test_numbers_and_plain_words_stay_as_they_are(value: object) -> None:
    assert csv_cell(value) is value
