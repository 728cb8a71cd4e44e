"""What a report says of studies of every kind; nothing in them can break out of the page."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from damage import Damage, send
from mlflow.artifacts import load_text
from study_samples import FACTS, confirmed, open_study, report, run, scheduler_of
from typer.testing import CliRunner

from hpo import settings, spec
from hpo.cli import app
from hpo.commands.summary import closing
from hpo.errors import SpecError
from hpo.report import plots, publish, rows
from hpo.report.report import report as make
from hpo.report.rows import Attempt
from hpo.report.timeline import timeline
from hpo.search.searcher import Searcher
from hpo.space.sections import Metric
from hpo.store.lease import Lease
from hpo.study import Study

NASTY = "</script><script>alert(1)</script><!--"
MIXED: dict[str, Any] = {
    "lr": {"min": 1e-4, "max": 1.0, "log": True},
    "optimizer": {"values": ["sgd", "adam", NASTY, None, True]},
    "momentum": {"min": 0.0, "max": 0.9, "when": {"optimizer": "sgd"}},
    "width": {"min": 8, "max": 64},
    "one": {"values": [1]},
}


class Page(HTMLParser):
    """A page as a browser reads it: its text, and its scripts by type."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.words = ""
        self.scripts: list[str] = []
        self._within: str | None = None
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "script":
            self._within = dict(attrs).get("type") or "code"
            self.scripts.append(self._within)

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self._within = None

    def handle_data(self, data: str) -> None:
        if self._within is None:
            self.words += data
        elif self._within == "application/json":
            json.loads(data)

    def says(self, *texts: str) -> None:
        shown = " ".join(self.words.split())
        for text in texts:
            assert text in shown, text


def made(study: Study, folder: Path) -> Page:
    make(study, folder / "page.html", lambda _: None)
    return Page(folder / "page.html")


def mixed(home: Path, storage: str | None = None, trials: int = 30) -> Study:
    """COMPLETE, PRUNED and FAILed trials over parameters of every kind."""
    tree = {
        "name": "mixed",
        "metric": {"name": "val/loss", "goal": "minimize"},
        "sampler": {"type": "random", "seed": 3},
        "parameters": MIXED,
        "trainer": {"import": "synthetic:Resumable", "epochs": 4},
        "budget": {"trials": trials},
    }
    study = Study.open(spec.from_mapping(tree, trusted=True), settings.resolve(home=home, storage=storage))
    scheduler, searcher = scheduler_of(study), Searcher(study)
    while (trial := searcher.next()) is not None:
        assert scheduler.start(trial, cpu=1, gpu=0) is not None
        if trial.number % 7 == 3:
            scheduler.fail(trial.number, f"ValueError: {NASTY}")
            continue
        value = 1e30 if trial.number == 1 else trial.params["lr"] + trial.number / 100
        told = report(trial.number, 1, value, last=True, facts=FACTS)
        scheduler.report(type(told)(**{**vars(told), "metrics": {"val/loss": value}}))
    return study


def test_every_kind_of_study_has_a_report_that_nothing_breaks_out_of(storage: str, tmp_path: Path) -> None:
    study = mixed(tmp_path / "home", storage)
    page = made(study, tmp_path)
    assert page.scripts.count("code") == 2, "plotly and our own"
    assert page.scripts.count("application/json") >= 8
    page.says("minimize val/loss by random search", NASTY, "Share in what tells the best", "hpo confirm mixed")
    page.says("what a trainer of your own has saved")
    text = (tmp_path / "page.html").read_text()
    assert "http-equiv" not in text
    assert not re.search(r"<(link|script|img)[^>]+(src|href)=\"(?!data:)", text), "nothing is fetched"


def test_a_study_without_trials_one_that_runs_and_one_with_a_single_trial(tmp_path: Path) -> None:
    study = open_study(tmp_path / "home", budget={"trials": 1})
    made(study, tmp_path).says("No trial is complete yet", "No trial has begun yet", "There are no trials yet")
    with Lease(study):
        scheduler, trial = scheduler_of(study), Searcher(study).next()
        assert trial is not None
        scheduler.start(trial, cpu=1, gpu=0)
        scheduler.report(report(0, 1, 0.5, facts=FACTS))
        made(study.afresh(), tmp_path).says("The search runs", "running1100%1")
        for epoch in (2, 3, 4):
            scheduler.report(report(0, epoch, 0.6, last=epoch == 4))
    made(study.afresh(), tmp_path).says("best trial0, val/accuracy 0.6, not confirmed", "1 trial is complete")


def test_trials_that_wait_for_a_promotion_are_called_paused(tmp_path: Path) -> None:
    pruner = {"type": "asha", "mode": "promote", "min_epochs": 1}
    trainer = {"import": "synthetic:Resumable", "epochs": 3}
    study = open_study(tmp_path / "home", sampler="random", trainer=trainer, pruner=pruner, budget={"trials": 2})
    scheduler, searcher = scheduler_of(study), Searcher(study)
    while (trial := searcher.next()) is not None:
        scheduler.start(trial, cpu=1, gpu=0)
        scheduler.report(report(trial.number, 1, 0.5))
    assert [each.state for each in rows.read(study)] == ["PAUSED", "PAUSED"]
    page = made(study, tmp_path)
    page.says("2 paused", "paused2100%", "0paused0.5")
    assert "waiting" not in page.words


def test_the_winner_is_the_confirmed_one_with_what_flattered_it(tmp_path: Path) -> None:
    study = confirmed(run(open_study(tmp_path / "home"), [0.9, 0.8, 0.95, None]), [0.85, 0.87], [0.89, 0.91])
    page = made(study, tmp_path)
    page.says("winnertrial 0, val/accuracy 0.9, mean of 2 fresh seeds, 95% interval", "ValueError: a hole")
    page.says(
        "The search saw 0.9, no better than it is",
        "Trial 0, the winner by fresh seeds: short. Read from one training",
        "The search's best is trial 2.",
        "hpo diagnose study",
        "what a trainer of your own has saved",
    )


def test_a_run_ends_with_where_to_look(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = run(open_study(tmp_path / "home"), [0.9])
    closing(study, as_json=False)
    said = capsys.readouterr().out
    lines = [line.split() for line in said.splitlines()]
    assert ["by luck" in said, "--set budget.trials=N" in said] == [False, True], "one number is the best of none"
    run(study, [0.8])
    closing(study, as_json=False)
    assert "the best of 2 numbers is too good by luck" in capsys.readouterr().out
    assert [line[-4:-2] for line in lines if {"ui", "report"} & set(line)] == [["ui", "study"], ["report", "study"]]


@pytest.mark.parametrize("sampler", [{"type": "staged", "points": 2}, "grid"])
def test_where_all_is_tried_no_more_trials_are_offered(
    sampler: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parameters = {"lr": {"values": [0.1, 0.2]}}
    study = open_study(tmp_path / "home", sampler=sampler, parameters=parameters, budget={})
    for left in (True, False):
        run(study, [0.5])
        closing(study, as_json=False)
        assert ("--set budget.trials=N" in capsys.readouterr().out) is left


def test_tables_for_programs_and_spreadsheets(tmp_path: Path) -> None:
    study = mixed(tmp_path / "home", trials=12)
    (tmp_path / "all.csv").write_text(rows.as_csv(study))
    table = pd.read_csv(tmp_path / "all.csv")
    assert list(table["number"]) == list(range(12))
    assert set(MIXED) <= set(table)
    told = json.loads(rows.as_json(study))
    assert [row["width"] for row in told] == [trial.params["width"] for trial in study.frozen_trials()]
    typed = CliRunner().invoke(app, ["report", "mixed", "--home", str(tmp_path / "home"), "--csv", "-"])
    assert typed.stdout == (tmp_path / "all.csv").read_text()
    words = ["report", "mixed", "--home", str(tmp_path / "home"), "--csv", "-", "--json"]
    typed = CliRunner().invoke(app, [*words, str(tmp_path / "all.json")])
    assert (typed.stdout, json.loads((tmp_path / "all.json").read_text())) == ((tmp_path / "all.csv").read_text(), told)
    with pytest.raises(SpecError, match="both go to -: give one"):
        CliRunner().invoke(app, [*words, "-"], standalone_mode=False, catch_exceptions=False)


def curved(number: int, *values: float) -> rows.Trial:
    curve = tuple(enumerate(values, start=1))
    known: dict[str, Any] = {"seconds": 1.0, "gpu_seconds": 0.0, "error": None, "origin": None, "run_id": None}
    return rows.Trial(number=number, state="COMPLETE", value=values[-1], params={}, curve=curve, **known)


def test_one_of_few_that_is_far_off_flattens_no_plot() -> None:
    values = [0.18, 0.2, 0.19, 7.46, 0.22]
    spread, note = plots.window(values)
    assert 0 < spread["range"][1] < 0.3
    assert note.startswith("1 value is far off")
    assert plots.window([-each for each in values])[0]["range"][0] > -0.3
    assert plots.window(values[:4]) == plots.window([0.18, 0.2, 0.19, 0.5, 0.22]) == ({}, "")
    trials = [curved(number, 2.3, 0.5, value) for number, value in enumerate(values)]
    assert plots.curves(trials, Metric(name="val/loss", goal="minimize"), 0).layout["yaxis"]["range"][1] < 2.5


def test_breaks_are_left_out_of_the_timeline() -> None:
    begun = [(0, 0.0, 100.0), (1, 10.0, 50.0), (2, 50.0, 90.0), (0, 90_000.0, 90_050.0)]
    runs = [Attempt(number=each, state="COMPLETE", began=at, ended=end, outcome="") for each, at, end in begun]
    found = timeline(runs)
    assert found is not None
    (bars,) = found.data
    assert bars["y"] == [1, 2, 2, 1]
    assert [each * 60 for each in bars["base"]] == pytest.approx([0, 10, 50, 100], rel=1e-3)
    assert [each["x0"] * 60 for each in found.layout["shapes"]] == pytest.approx([100], rel=1e-3)


def test_it_goes_to_mlflow_with_the_records_and_away_with_the_study(settled: Study) -> None:
    path = publish.place(settled)
    make(settled, path, lambda _: None, model=False)
    with Lease(settled) as lease:  # its driver's sender takes the record; none is started
        assert publish.publish(settled)
        lease.outcome = "interrupted"
    settled.ledger.post(settled.id, None, "report", {"file": "../../studies.db"})  # is refused
    send(settled)
    there = Damage(settled).client
    parent = there.get_run(Damage(settled).run_id(None))
    assert load_text(f"{parent.info.artifact_uri}/report.html") == path.read_text()
    assert settled.ledger.pending_count(settled.id) == 0
    done = CliRunner().invoke(app, ["delete", settled.name, "--yes", "--home", str(settled.settings.home)])
    assert done.exit_code == 0, done.output
    assert not path.exists()
