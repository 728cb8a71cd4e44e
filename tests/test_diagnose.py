"""Curves that were planted, what is said of them, and that the change which is proposed can be made."""

import json
import math
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from study_samples import FACTS, confirmed, open_study, report, run, scheduler_of
from typer.testing import CliRunner

from hpo import settings, spec
from hpo.cli import app
from hpo.errors import NoUsableTrial
from hpo.report.advice import Edit, advise
from hpo.report.diagnosis import Curve, diagnose
from hpo.report.opinion import form
from hpo.report.proposal import propose
from hpo.search.searcher import Searcher
from hpo.space.rewriting import rewritten
from hpo.study import Study

NAN = math.nan
RISING = [1 - 0.5**epoch for epoch in range(1, 11)]


def curve(objective: list[float], **more: Any) -> Curve:
    metrics = {name.replace("_", "/"): values for name, values in more.items() if "_" in name}
    rest = {name: value for name, value in more.items() if "_" not in name}
    return Curve(objective=objective, sign=1.0, metrics=metrics, **rest)


@pytest.mark.parametrize(
    ("planted", "verdict"),
    [
        (curve([*RISING[:2], NAN], train_loss=[1.0, 0.5, NAN]), "diverged"),
        (curve([], state="FAIL", error="train/loss was nan at epoch 1"), "diverged"),
        (curve([0.1] * 5, train_loss=[2.3, 1.9, 2.2, 9.0, 40.0]), "diverged"),
        (curve(RISING[:2], state="FAIL", error="ValueError: the data of banana has a hole"), "failed"),
        (curve(RISING[:2], state="PRUNED", planned=10), "pruned"),
        (
            curve(RISING, train_accuracy=[each * 1.0 for each in RISING], val_accuracy=[each * 0.8 for each in RISING]),
            "overfit",
        ),
        (
            curve(
                RISING,
                train_loss=[2 / e for e in range(1, 11)],
                val_loss=[1, 0.8, 0.7, 0.7, 0.8, 0.9, 1, 1.1, 1.2, 1.3],
            ),
            "overfit",
        ),
        (curve([0.1 * epoch for epoch in range(1, 11)]), "slow"),
        (curve(RISING[:4]), "slow"),
        (
            curve([0.1, 0.2, 0.3, *[0.3] * 7], train_accuracy=[0.3] * 10, val_accuracy=[0.3] * 10, classes=10),
            "underfit",
        ),
        (curve([0.2, 0.3, *[0.3] * 8], train_loss=[2.2] * 10, val_loss=[2.2] * 10, classes=10), "underfit"),
        (curve([0.1, 0.5, 0.9, 0.5, 0.8, 0.4, 0.8, 0.5, 0.9, 0.6]), "noisy"),
        (curve([0.1, 0.5, 0.9, *[0.9] * 7]), "plateaued"),
        (curve([0.1, 0.5, 0.9, 0.7, 0.75, 0.8]), "plateaued"),  # that it comes back is no gain
        (curve([0.1, 0.5, 0.9]), "short"),
        (curve([0.1, 0.5, 0.6, 0.7, 0.8, 0.85, 0.88, 0.9, 0.91, 0.91]), "healthy"),
        (
            curve([0.1, 0.5, 0.6, 0.7, 0.8, 0.85, 0.88, 0.9, 0.91, 0.91], val_loss=[2.0, None, 1.0, *[None] * 7]),
            "healthy",  # a loss that is not reported at every epoch
        ),
        (curve(RISING[:3], state="WAITING"), "unfinished"),
    ],
)
def test_each_verdict_is_found_where_it_was_planted(planted: Curve, verdict: str) -> None:
    assert diagnose(planted)[0].verdict == verdict


def test_a_minimised_objective_improves_downwards() -> None:
    falling = Curve(objective=[1 - 0.09 * epoch for epoch in range(10)], sign=-1.0)
    assert diagnose(falling)[0].verdict == "slow"
    assert diagnose(replace(falling, sign=1.0))[0].verdict != "slow"


FILE = """\
# the first search
name: plates   # of the canteen
metric: val/accuracy
sampler: {type: random, seed: 1}
pruner: none
parameters:
  lr: {min: 1e-3, max: 1.0, log: true}  # wide
  batch_size: [32, 64]
  dropout:
    min: 0.0
    max: 0.4
trainer:
  model: lightweight_cnn
  dataset: digits
  epochs: 10  # short
  augment: light
budget: 8
"""


def searched(folder: Path, trials: list[tuple[dict[str, Any], dict[str, list[float]]]], text: str = FILE) -> Study:
    """A study of a file, whose trials have these parameters and curves; one that ends with NaN fails."""
    folder.mkdir(exist_ok=True)
    (folder / "plates.yaml").write_text(text)
    study = Study.open(spec.load(folder / "plates.yaml"), settings.resolve(home=folder / "home"))
    for params, _ in trials:
        study.optuna.enqueue_trial(params)
    scheduler, searcher = scheduler_of(study), Searcher(study)
    for _, metrics in trials:
        trial = searcher.next()
        assert trial is not None
        scheduler.start(trial, cpu=1, gpu=0)
        count = len(metrics["val/accuracy"])
        for epoch in range(1, count + 1):
            now = {name: values[epoch - 1] for name, values in metrics.items()}
            told = report(trial.number, epoch, 0.0, last=epoch == count, facts={**FACTS, "classes": 10})
            if not scheduler.report(replace(told, metrics=now)):
                break
    return study


def point(lr: float, **more: Any) -> dict[str, Any]:
    return {"lr": lr, "batch_size": 32, "dropout": 0.1, **more}


def typed(study: Study, *words: str) -> str:
    done = CliRunner().invoke(app, ["diagnose", study.name, "--home", str(study.settings.home), *words])
    assert done.exit_code == 0, done.output or done.exception
    return done.stdout


def patched(study: Study, folder: Path) -> str:
    """The file after `patch` has taken the printed diff."""
    if shutil.which("patch") is None:
        pytest.skip("no patch here")
    diff = typed(study, "--diff")
    subprocess.run(["patch", "-p0", "--fuzz=0"], input=diff, text=True, cwd=folder, check=True, capture_output=True)
    return (folder / "plates.yaml").read_text()


def test_a_rate_that_diverged_ends_the_range_below_it(tmp_path: Path) -> None:
    good = {"val/accuracy": [0.1, 0.5, 0.6, 0.7, 0.8, 0.85, 0.88, 0.9, 0.91, 0.91]}
    lost = {"val/accuracy": [0.1, NAN], "train/loss": [2.0, NAN]}
    study = searched(tmp_path / "a", [(point(0.04), good), (point(0.9), lost), (point(0.4), lost)])
    found = json.loads(typed(study, "--json"))
    assert (found["verdict"], found["verdicts"]) == ("healthy", {"diverged": 2, "healthy": 1})
    assert [(each["path"], each["value"]) for each in found["edits"]] == [("parameters.lr.max", 0.12)]
    assert "diverged" in found["edits"][0]["why"]
    after = patched(study, tmp_path / "a")
    assert after == FILE.replace("max: 1.0", "max: 0.12").replace("name: plates ", "name: plates-2 ")
    changed = spec.load(tmp_path / "a" / "plates.yaml")
    assert (changed.name, changed.parameters["lr"].max) == ("plates-2", 0.12)
    assert found["target"] == str(tmp_path / "a" / "plates-2.yaml")
    assert f"run --space {found['target']} --home" in found["command"]
    assert found["how"] == "new"


def test_a_range_that_diverged_as_a_whole_is_put_below_itself(tmp_path: Path) -> None:
    study = searched(tmp_path / "a", [(point(0.001), {"val/accuracy": [0.1, NAN], "train/loss": [2.0, NAN]})])
    opinion = form(study, None)
    assert opinion.proposal is not None
    assert {each.trail[-1]: each.value for each in opinion.proposal.edits} == {"min": 3.3e-6, "max": 3.3e-4}
    assert opinion.proposal.refused == ()
    without = replace(opinion.subject, params={"batch_size": 32})  # as where a condition keeps the rate out
    assert advise(study.spec, [without], without, of_study=True) == []


def test_what_holds_back_most_already_is_not_lowered(tmp_path: Path) -> None:
    apart = {"val/accuracy": [0.5] * 4, "train/accuracy": [0.9] * 4}
    study = searched(tmp_path / "a", [(point(0.1), apart)], FILE.replace("max: 0.4", "max: 0.8"))
    opinion = form(study, None)
    assert opinion.subject.verdict == "overfit"
    assert [each.trail for each in advise(study.spec, [opinion.subject], opinion.subject, of_study=False)] == [
        ("trainer", "augment", "level")
    ]


def test_the_edge_of_a_range_is_widened_within_the_study(tmp_path: Path) -> None:
    good = [0.1, 0.5, 0.6, 0.7, 0.8, 0.85, 0.88, 0.9, 0.91, 0.91]
    trials = [
        (point(lr, batch_size=batch), {"val/accuracy": [each * lr for each in good]})
        for lr, batch in ((0.1, 32), (0.2, 32), (0.3, 32), (0.5, 64), (0.95, 64))
    ]
    study = searched(tmp_path / "a", trials)
    found = form(study, None).facts()
    assert {each["path"]: each["value"] for each in found["edits"]} == {
        "parameters.lr.max": 10.0,
        "parameters.batch_size.values": [32, 64, 128],
    }
    assert found["how"] == "extend"
    assert "--extend plates" in found["command"]
    after = patched(study, tmp_path / "a")
    assert "batch_size: [32, 64, 128]\n" in after
    assert "name: plates   # of the canteen" in after
    from hpo.editing.extension import extend

    assert extend("plates", spec.load(tmp_path / "a" / "plates.yaml"), study.settings)


def test_overfitting_and_slowness_change_what_they_should(tmp_path: Path) -> None:
    slow = [0.07 * epoch for epoch in range(1, 11)]
    apart = {"val/accuracy": slow, "train/accuracy": [min(1.0, each + 0.25) for each in slow]}
    study = searched(tmp_path / "a", [(point(0.1), apart)])
    opinion = form(study, None)
    assert [each.verdict for each in opinion.subject.findings] == ["overfit", "slow"]
    assert {".".join(map(str, each.trail)): each.value for each in opinion.proposal.edits} == {
        "parameters.dropout.max": 0.6,
        "trainer.augment.level": "standard",
        "trainer.epochs": 20,
    }
    shown = typed(study)
    assert "another seed may look otherwise" in shown
    assert shown.index(f"--out {tmp_path / 'a' / 'plates-2.yaml'}") < shown.index(f"| patch -p0 -d {tmp_path / 'a'}  #")
    after = patched(study, tmp_path / "a")
    for line in ("    max: 0.6\n", "  augment: standard\n", "  epochs: 20  # short\n", "# the first search\n"):
        assert line in after
    typed(study, "--out", str(tmp_path / "better.yaml"))
    assert (tmp_path / "better.yaml").read_text() == after
    assert "not there any more" in typed(study)


def test_what_was_typed_over_the_file_is_typed_again(tmp_path: Path) -> None:
    (tmp_path / "plates.yaml").write_text(FILE)
    space = spec.load(tmp_path / "plates.yaml", ["trainer.epochs=12", "trainer.augment=none"])
    made = propose(space, space.text, [Edit(trail=("trainer", "epochs"), value=24, why="slow")], names=["plates"])
    assert (made.file, made.there, made.how) == ("plates.yaml", True, "new")
    assert "+  epochs: 24  # short\n" in made.diff
    assert made.command == ("run", "--space", str(tmp_path / "plates-2.yaml"), "--set", "trainer.augment.level=none")


def test_what_the_file_does_not_take_is_left_out_with_the_reason(tmp_path: Path) -> None:
    space = spec.parse(FILE, folder=tmp_path)
    wrong = [
        Edit(trail=("trainer", "epochs"), value=-1, why=""),
        Edit(trail=("trainer", "augment", "level"), value="light", why=""),
    ]
    made = propose(space, FILE, wrong, names=[])
    assert (made.edits, made.diff, made.command) == ((), "", ())
    assert ["epochs" in made.refused[0], "nothing" in made.refused[1]] == [True, True]


def test_the_winner_by_fresh_seeds_is_the_one_that_is_read(tmp_path: Path) -> None:
    study = run(open_study(tmp_path / "home"), [0.9, 0.8, 0.95])
    assert (form(study, None).subject.number, form(study, None).role) == (2, "the best of the search")
    confirmed(study, [0.85, 0.87], [0.89, 0.91])
    shown = typed(study)
    assert "trial       0 of study, the winner by fresh seeds: " in shown
    assert "the search's best is trial 2: " in shown
    assert json.loads(typed(study, "--json"))["best_of_the_search"] == 2
    assert [form(study, 2).role, form(study, 2).other, form(study, 1).role] == ["the best of the search", None, ""]


def test_a_study_without_a_curve_says_so(tmp_path: Path) -> None:
    study = searched(tmp_path / "a", [])
    with pytest.raises(NoUsableTrial, match="no curve"):
        form(study, None)


@pytest.mark.parametrize(
    ("text", "trail", "value", "after"),
    [
        ("a: {b: 1} # c\n", ("a", "b"), 2.5e-5, "a: {b: 2.5e-5} # c\n"),
        ("a: {b: 1,}\n", ("a", "c"), "x y", 'a: {b: 1, c: "x y",}\n'),
        ("a:\n  b: 1  # one\n  # two\nd: 1\n", ("a", "c"), True, "a:\n  b: 1  # one\n  c: true\n  # two\nd: 1\n"),
        ("a:\n  b:\n    c: [1]\nd: 1", ("a", "e"), None, "a:\n  b:\n    c: [1]\n  e: null\nd: 1"),
        ("a: 1", ("winner",), {"top": 3}, "a: 1\nwinner: {top: 3}"),
        ("winner: 3 # c\n", ("winner", "seeds"), 5, "winner: {top: 3, seeds: 5} # c\n"),
        ("trainer: {augment: light}\n", ("trainer", "augment", "level"), "heavy", "trainer: {augment: heavy}\n"),
        (
            "parameters:\n  b:\n    values:\n      - 1\n      - 2 # c\n  d: [1]\n",
            ("parameters", "b", "values"),
            [1, 2, 4],
            "parameters:\n  b:\n    values:\n      - 1\n      - 2 # c\n      - 4\n  d: [1]\n",
        ),
    ],
)
def test_a_value_is_changed_and_nothing_else(text: str, trail: tuple[str, ...], value: Any, after: str) -> None:
    assert rewritten(text, trail, value) == after


def test_an_alias_is_not_changed_where_others_would_change_too() -> None:
    with pytest.raises(ValueError, match="alias"):
        rewritten("a: &x {b: 1}\nc: *x\n", ("c", "b"), 2)
