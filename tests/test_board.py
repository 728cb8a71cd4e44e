"""The table that people watch: what it counts, what it forecasts, what it leaves out, and the same from elsewhere."""

import io
import math
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from study_samples import open_study, report, run_all, scheduler_of
from waiting import wait_until

from hpo.cluster.placement import Placement
from hpo.cluster.usage import Usage
from hpo.search.board import Board, Line, draw, forecast, spark, told
from hpo.search.progress import Progress
from hpo.search.running import Event
from hpo.search.searcher import Searcher
from hpo.store.lease import Lease


def line(number: int, epoch: int, **more: object) -> Line:
    values: dict[str, object] = {"params": {"lr": 0.1}, "curve": [0.5], "epochs": 4, "share_done": epoch / 4}
    return Line(number=number, epoch=epoch, **{**values, **more})  # type: ignore[arg-type]


def shown(board: Board, *, height: int | None = None, width: int = 120) -> str:
    screen = io.StringIO()
    Console(file=screen, width=width, color_system=None).print(draw(board, height=height))
    return screen.getvalue()


def test_a_small_curve_goes_from_its_lowest_to_its_highest_value() -> None:
    assert spark([0.0, 0.5, 1.0]) == "▁▅█"
    assert spark([3, 3]) == "▁▁"
    assert spark([0.0, math.nan, 1.0]) == "▁ █"
    assert spark([math.nan]) == " "
    assert spark(range(100), width=3) == "▁▅█"
    assert spark([-1e308, 1e308, math.nan]) == "▁▁ ", "farther apart than a float can say"


def test_the_forecast_counts_half_done_trials() -> None:
    # 2 ended and half of a third took 50 s: 20 s a trial; 3 are to come and half of one is left
    rate, left = forecast(ended=2, lines=[line(7, 2)], to_start=3, seconds=50, budget=None)
    assert rate == pytest.approx(3.0)
    assert left == pytest.approx(3.5 * 20)
    assert forecast(ended=2, lines=[line(7, 2)], to_start=3, seconds=50, budget=12.0)[1] == 12.0
    assert forecast(ended=2, lines=[], to_start=None, seconds=50, budget=None) == (pytest.approx(2.4), None)


def test_nothing_is_forecast_before_anything_was_done() -> None:
    assert forecast(ended=0, lines=[line(0, 0)], to_start=3, seconds=50, budget=None) == (None, None)
    resumed = line(0, 3, share_done=0.0)  # three epochs of an earlier run
    assert forecast(ended=0, lines=[resumed], to_start=3, seconds=50, budget=60.0) == (None, 60.0)


def test_the_board_says_where_the_search_stands() -> None:
    board = Board(
        study="study",
        metric="val/accuracy",
        counts={"RUNNING": 2, "COMPLETE": 6, "PRUNED": 1},
        total=12,
        lines=[line(8, 2, curve=[0.1, 0.9]), line(9, 1, epochs=None)],
        best=0.94,
        best_number=3,
        best_params={"lr": 0.1},
        per_minute=4.0,
        seconds_left=400.0,
        place="2 trials at a time, 1 CPU each",
        usage="CPU 93%",
    )
    text = shown(board)
    assert "2 running, 6 complete, 1 pruned of 12   4.0 trials/min   about 0:07:00 left" in text
    assert "best 0.94 trial 3  lr=0.1" in text
    assert "2 trials at a time, 1 CPU each   CPU 93%" in text
    assert "8      2/4    0.9           ▁█" in text
    assert "at work: 8 at epoch 2, 9 at epoch 1" in told(board)


def test_on_a_narrow_terminal_the_parameters_give_way() -> None:
    params = {"lr": 0.1563, "weight_decay": 2.004e-05, "dropout": 0.3, "batch_size": 32}
    lines = [line(4, 2, params=params, curve=[0.5] * 20)]
    text = shown(Board(study="study", metric="val/accuracy", counts={}, total=None, lines=lines), width=80)
    assert "4      2/4    0.5           ▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁  lr=0.1563 weight_decay=2.0" in text
    assert "…" in text


def test_trials_that_do_not_fit_the_terminal_are_counted() -> None:
    lines = [line(number, 1) for number in range(30)]
    board = Board(study="study", metric="loss", counts={"RUNNING": 30}, total=None, lines=lines)
    text = shown(board, height=17)
    assert text.count("lr=0.1") == 10
    assert "and 20 trials more at work" in text
    assert len(text.splitlines()) < 17


def test_a_trial_that_goes_on_keeps_its_curve(home: Path) -> None:
    study = open_study(home)
    scheduler, searcher = scheduler_of(study), Searcher(study)
    trial = searcher.next()
    assert trial is not None
    scheduler.start(trial, cpu=1, gpu=0)
    for epoch in (1, 2):
        scheduler.report(report(0, epoch, epoch / 10))
    scheduler.requeue(0, "Ctrl-C")
    events: list[Event] = []
    again, rest = scheduler_of(study, events), Searcher(study)
    console = Console(file=io.StringIO(), force_terminal=True, width=120, color_system=None)
    progress = Progress(console)
    progress.begin(study, Placement(cpu=1, gpu=0, slots=1))
    with progress:
        next_one = rest.next()
        assert next_one is not None
        again.start(next_one, cpu=1, gpu=0)
        again.report(report(0, 3, 0.3))
        for event in events:
            progress.show(event)
        progress.tick(to_start=rest.left, budget=None)
        console.print(progress.picture())
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "3/4    0.3           ▁▅█" in text
    assert "1 running of 4" in text


def test_cards_are_read_from_their_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its words are those of nvidia-smi on two cards, one of them a slice, which says less."""
    program = tmp_path / "nvidia-smi"
    said = "0, 80, 10240, 81559\\n1, 60, 30720, 81559\\n2, [N/A], [N/A], [N/A]\\n"
    program.write_text(f"#!/bin/sh\nprintf '{said}'\nexec sleep 60\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with Usage() as usage:
        wait_until(lambda: usage.read() == "2 GPUs 70% busy, 42.9 of 171.0 GB", 10)


def test_processors_are_shown_where_there_is_no_card(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with Usage() as usage:
        said = usage.read()
    assert said is not None
    assert said.startswith("CPU ")


def test_a_search_is_watched_from_elsewhere_until_it_ends(home: Path) -> None:
    study = open_study(home)
    with Lease(study) as lease:
        scheduler, searcher = scheduler_of(study), Searcher(study)
        trial = searcher.next()
        assert trial is not None
        scheduler.start(trial, cpu=1, gpu=0)
        scheduler.report(report(0, 1, 0.25))
        command = [sys.executable, "-m", "hpo", "status", "--watch", "--home", str(home)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watching:
            assert watching.stdout is not None
            assert "1 running of 4" in (first := watching.stdout.readline())
            assert "at work: 0 at epoch 1" in first
            scheduler.report(report(0, 4, 0.5, last=True))
            lease.outcome = "finished"
            run_all(study)
            lease.__exit__(None, None, None)
            rest = watching.stdout.read()
    assert watching.returncode == 0
    assert "study: finished; 4 complete" in rest


def test_watching_needs_to_know_which(home: Path) -> None:
    open_study(home)
    command = [sys.executable, "-m", "hpo", "status", "--watch", "--home", str(home)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "needs the name of a study" in done.stderr
