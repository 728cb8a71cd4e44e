"""The checks before a search: of stores and budgets, what stops it, what stays on record."""

import contextlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml
from PIL import Image
from study_samples import open_study, run
from typer.testing import CliRunner

import hpo
from hpo import settings, spec, start
from hpo.cli import app
from hpo.cluster.placement import Placement
from hpo.errors import CheckFailed, SpecError
from hpo.model import lr_find
from hpo.preflight import here, stores
from hpo.preflight.battery import Measured, Task, carry_out
from hpo.preflight.beside import Beside
from hpo.preflight.checks import Checks
from hpo.preflight.names import NAMES, left_out
from hpo.preflight.outlook import Outlook, expected_epochs, judged, outlook
from hpo.preflight.points import corners
from hpo.preflight.work import task_of
from hpo.space.middle import middle
from hpo.store import history
from trainers.checks.finding import Finding
from trainers.folders import private

DIGITS: dict[str, Any] = {
    "name": "digits",
    "metric": "val/accuracy",
    "sampler": "random",
    "parameters": {"lr": {"min": 0.01, "max": 1.0, "log": True}, "batch_size": {"values": [32, 64, 128]}},
    "trainer": {"model": "lightweight_cnn_gap", "dataset": {"name": "digits", "limit": 400}, "epochs": 2},
    "budget": {"trials": 2},
    "resources": {"gpu": 0},
}


def space(**sections: Any) -> spec.SearchSpec:
    return spec.from_mapping({**DIGITS, **sections})


def written(folder: Path, **sections: Any) -> str:
    path = folder / "space.yaml"
    path.write_text(yaml.safe_dump({**DIGITS, **sections}))
    return str(path)


def verdict(epoch_seconds: float, *, slots: int = 2, gpu: float = 0.0, **sections: Any) -> Finding:
    tree = space(**sections)
    found = outlook(tree, epoch_seconds=epoch_seconds, epochs=tree.trainer["epochs"], slots=slots, gpu=gpu)
    return judged(found, tree, measured=True)


def test_the_middle_and_the_corners_of_a_space() -> None:
    assert middle(space()) == {"lr": pytest.approx(0.1), "batch_size": 64}
    assert [each["batch_size"] for each in corners(space())] == [128, 64, 32], "the largest is not the one left out"
    conditional = {
        "optimizer": {"values": ["adam", "sgd"]},
        "momentum": {"min": 0.8, "max": 0.9, "when": {"optimizer": "sgd"}},
    }
    assert middle(space(parameters=conditional)) == {"optimizer": "adam"}


def test_what_cannot_end_in_its_budget_is_refused_and_what_will_be_cut_short_is_warned_of() -> None:
    assert verdict(60, budget={"trials": 10}).verdict == "pass"
    late = verdict(600, budget={"trials": 10, "time": "10m"})
    assert (late.verdict, "not even one trial" in late.said) == ("fail", True)
    assert "budget.time of 30 min" in str(late.do)
    assert verdict(60, budget={"trials": 100, "time": "1h"}).verdict == "warn"
    assert "after about 59 of 100 trials" in verdict(60, budget={"trials": 100, "time": "1h"}).said
    grid = {"sampler": "grid", "parameters": {"lr": {"values": [0.01, 0.02, 0.03, 0.04, 0.05, 0.06]}}}
    cut = verdict(60, slots=1, budget={"time": "4m"}, **grid)
    assert (cut.verdict, "about 1 of 6 grid points" in cut.said) == ("fail", True)
    assert verdict(60, slots=1, budget={"time": "10m"}, **grid).verdict == "warn", "the forecast may be wrong by half"
    assert verdict(60, budget={"trials": 10, "epoch_time": 30}).verdict == "fail"
    hours = verdict(3600, gpu=0.5, budget={"trials": 4, "gpu_hours": 3, "cost": 10, "price_per_gpu_hour": 2})
    assert (hours.verdict, hours.details["gpu_hours"], hours.details["cost"]) == ("warn", 4.0, 8.0)
    assert verdict(7200, gpu=1.0, budget={"trials": 4, "gpu_hours": 2}).verdict == "fail"


def test_the_start_counts_against_the_time_and_not_against_the_hours_of_a_card() -> None:
    brief = verdict(0.15, budget={"trials": 4, "time": "10s"})
    assert (brief.verdict, "about 15 s to start, and it takes 0.4 s" in brief.said) == ("fail", True)
    assert "trials an hour" not in brief.said
    assert verdict(5, budget={"trials": 10, "time": "40s"}).verdict == "warn"
    enough = verdict(5, budget={"trials": 10, "time": "70s"})
    assert (enough.verdict, "10 trials in about 50 s of training and about 15 s to start" in enough.said) == (
        "pass",
        True,
    )
    assert "713 trials an hour" in enough.said
    assert verdict(5, gpu=1.0, budget={"trials": 1, "gpu_hours": 0.003}).verdict == "pass"


def test_a_home_that_cannot_be_made_is_told_with_all_else(tmp_path: Path) -> None:
    (tmp_path / "afile").write_text("")
    own = written(tmp_path, trainer={**DIGITS["trainer"], "epochs": 1})
    words = ["check", "--space", own, "--home", str(tmp_path / "afile")]
    for name in NAMES:
        words += ["--skip-check", name] if name not in ("checkpoints", "trainer", "forecast") else []
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 3, done.output
    assert "afile: Not a directory" in done.stdout
    assert "1 failed" in done.stdout
    assert "page of pictures and labels could not be written" in done.stdout
    assert all(line == line.rstrip() for line in done.stdout.splitlines())
    started = ray.is_initialized()  # a test before this one may have left its cluster
    for home in (tmp_path / "afile", tmp_path / "afile" / "below", Path("/proc/x")):
        with pytest.raises(SpecError, match=f"home '{home}' cannot be made"):
            hpo.run(space(), home=home, progress=False)
    assert ray.is_initialized() == started


@pytest.mark.parametrize("said", ["dataset", "weights"])
def test_a_path_that_is_given_and_not_there_fails(said: str, home: Path) -> None:
    here = {"name": "imagefolder", "root": "nowhere"} if said == "dataset" else DIGITS["trainer"]["dataset"]
    transfer = {"transfer": {"weights": "nowhere.pt"}} if said == "weights" else {}
    tree = space(trainer={**DIGITS["trainer"], "dataset": here, **transfer})
    found = task_of(tree, home, Placement(cpu=1, gpu=0, slots=1), skip=frozenset(), fetch=False)
    assert isinstance(found, Finding)
    assert (found.verdict, "nowhere" in found.said) == ("fail", True)


def test_an_unreadable_file_is_told_once(home: Path, tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    for name in ("a", "b"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(8):
            Image.new("RGB", (8, 8), (number, 9, 9)).save(tmp_path / "pictures" / name / f"{number}.png")
    (tmp_path / "pictures" / "a" / "broken.png").write_text("no picture")
    dataset = {"name": "imagefolder", "root": str(tmp_path / "pictures"), "image_size": 8, "val_fraction": 0.25}
    tree = space(trainer={**DIGITS["trainer"], "dataset": dataset})
    checked = here.check(
        tree, settings.resolve(home=home), skip=frozenset(NAMES) - {"files", "trainer"}, concurrency=None
    )
    assert {each.name: each.verdict for each in checked.findings if each.verdict != "skip"} == {
        "trainer": "pass",
        "files": "warn",
    }
    assert not [each for each in recwarn if "cannot be read" in str(each.message)]


def test_a_staged_search_ends_by_itself() -> None:
    staged = space(sampler="staged", budget={})
    found = outlook(staged, epoch_seconds=10, epochs=2, slots=1, gpu=0.0)
    assert (found.trials, found.search_seconds) == (5 + 3, pytest.approx(8 * 20.1))


def test_a_process_that_is_lost_fails_the_trainer_that_was_made(home: Path) -> None:
    """As when memory runs out in the middle of the checks."""
    told: list[Finding] = []
    checks = Checks(
        space=space(),
        settings=settings.resolve(home=home),
        placement=Placement(cpu=1, gpu=0, slots=1),
        concurrency=None,
        skip=frozenset(NAMES) - {"trainer"},
        say=told.append,
    )
    seen = [Finding(name="trainer", verdict=verdict, said=verdict) for verdict in ("pass", "fail", "skip")]
    assert [each.said for each in checks.run(seen, ask_mlflow=False).of("fail")] == ["fail"]
    assert [each.said for each in told[:2]] == ["pass", "fail"]


def test_the_process_beside_ends_with_its_findings_and_with_its_driver(home: Path) -> None:
    where, left = settings.resolve(home=home), frozenset({"labels", "overfit", "progress", "baseline"})
    whole = Beside(space(), where, concurrency=1, skip=left)
    with contextlib.closing(whole):
        found = list(whole)
    assert isinstance(found[-1], Measured)
    assert not [each for each in found if isinstance(each, Finding) and each.verdict == "fail"]
    begun = Beside(space(), where, concurrency=1, skip=left)
    with contextlib.closing(begun):
        assert begun._process.stdin is not None
        begun._process.stdin.close()  # as when the driver is killed
        assert begun._process.wait(timeout=30) == 1


def test_trials_without_a_card_are_looked_at_without_one(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    task = task_of(space(), home / "datasets", Placement(cpu=1, gpu=0, slots=1), skip=frozenset(), fetch=False)
    assert isinstance(task, Task)
    made = next(carry_out(task))
    assert isinstance(made, Finding)
    assert (made.verdict, made.said.rpartition(", on ")[2]) == ("pass", "cpu")


def test_early_stopping_saves_what_it_is_meant_to() -> None:
    nine, pruner = {**DIGITS["trainer"], "epochs": 9}, {"min_epochs": 1, "reduction": 3}
    asha = space(pruner={"type": "asha", **pruner}, trainer=nine)
    unasked = 2 / 9  # a third of those who are not among the best at the first rung
    assert expected_epochs(asha, 9) == pytest.approx(1 + (1 / 3 + unasked) * 2 + (1 / 9 + unasked / 3) * 6)
    for_good = space(pruner={"type": "asha", "mode": "stop", **pruner}, trainer=nine)
    assert expected_epochs(for_good, 9) == pytest.approx(1 + 2 / 3 + 6 / 9)
    hyper = space(
        pruner={"type": "hyperband", "min_epochs": 1, "reduction": 3}, trainer={**DIGITS["trainer"], "epochs": 9}
    )
    assert expected_epochs(hyper, 9) == pytest.approx((1 + 2 / 3 + 6 / 9 + 3 + 2 + 9) / 3)
    assert expected_epochs(space(), 2) == 2
    found = outlook(asha, epoch_seconds=10, epochs=9, slots=1, gpu=0.0)
    assert isinstance(found, Outlook)
    assert (found.search_seconds, found.longest_seconds) == (pytest.approx(2 * 32.32, abs=0.1), pytest.approx(2 * 90.1))


def test_stores_are_written_and_nothing_stays(storage: str, empty_mlflow: Path, home: Path) -> None:
    where = replace(settings.resolve(home=home, storage=storage), mlflow=f"sqlite:///{empty_mlflow}")
    if storage.startswith("sqlite"):
        private(home)
    before = sorted(home.parent.rglob("*"))
    assert [stores.studies(where).verdict, stores.checkpoints(where).verdict] == ["pass", "pass"]
    assert stores.tracking(where, ask=True).verdict == "pass"
    assert sorted(home.parent.rglob("*")) == before
    if where.storage_file is None:
        from sqlalchemy import inspect

        from hpo.store.database import open_engine

        engine = open_engine(storage)
        assert inspect(engine).get_table_names() == []
        engine.dispose()


def test_stores_that_are_away(home: Path, tmp_path: Path) -> None:
    away = settings.resolve(home=home, storage="postgresql://me:secret@127.0.0.1:1/db", mlflow="http://127.0.0.1:1")
    gone = stores.studies(away)
    assert gone.verdict == "fail"
    assert "secret" not in gone.said
    assert stores.tracking(away, ask=False).verdict == "warn", "a search goes on without MLflow"
    (tmp_path / "file").write_text("")
    assert stores.checkpoints(settings.resolve(home=tmp_path / "file" / "home")).verdict == "fail"


def test_names_of_checks() -> None:
    assert left_out(["all"]) == frozenset(NAMES)
    with pytest.raises(SpecError, match="did you mean `overfit`"):
        left_out(["overfitt"])


def test_check_tells_all_and_ends_with_3_where_something_fails(home: Path, tmp_path: Path) -> None:
    path = written(tmp_path, notify={"command": ["sh"]})
    done = CliRunner().invoke(app, ["check", "--space", path, "--home", str(home), "--json"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert {each["name"]: each["verdict"] for each in said["checks"]} == dict.fromkeys(NAMES, "pass")
    page = Path(said["page"]).read_text()
    assert page.count("<img") == 24
    assert {each.name for each in home.iterdir()} == {"checks"}, "no study, no database"
    tight = ["check", "--space", path, "--home", str(home), "--set", "budget.time=0.001s", "--skip-check", "labels"]
    done = CliRunner().invoke(app, tight)
    assert done.exit_code == 3, done.output
    assert "not even one trial can end within budget.time" in done.stdout
    assert "left out by --skip-check" in done.stdout
    unknown = {**DIGITS["trainer"], "dataset": {"name": "imagefolder"}}
    done = CliRunner().invoke(app, ["check", "--space", written(tmp_path, trainer=unknown), "--home", str(home)])
    assert done.exit_code == 0, done.output
    assert "add --set trainer.dataset.root=PATH" in done.stdout


def test_a_failure_stops_a_new_search_and_leaves_its_name_free(ray_cluster: str, home: Path) -> None:
    broken = space(budget={"trials": 2, "time": 0.001}).canonical()
    with pytest.raises(CheckFailed, match="check forecast failed: not even one trial") as caught:
        hpo.run(broken, home=home, progress=False)
    assert "--skip-check forecast" in str(caught.value)
    with pytest.raises(SpecError, match="no study"):
        hpo.load("digits", home=home)


def test_a_name_is_free_after_a_failure_on_a_server_too(ray_cluster: str, home: Path, storage: str) -> None:
    private(home)
    (home / "checkpoints").touch()  # no folder, so that nothing can be written there
    own = space(trainer={"import": "synthetic:curve"}, parameters={"lr": {"min": 0.0, "max": 1.0}}).canonical()
    with pytest.raises(CheckFailed, match="check checkpoints failed"):
        hpo.run(own, home=home, storage=storage, progress=False)
    with pytest.raises(SpecError, match="no study"):
        hpo.load("digits", home=home, storage=storage)


def test_a_study_that_another_driver_has_begun_is_not_removed(home: Path) -> None:
    study = run(open_study(home), [0.5])
    start._forget(study)
    assert hpo.load("study", home=home).counts() == {"COMPLETE": 1}


def test_what_was_left_out_is_on_record(ray_cluster: str, home: Path) -> None:
    own = {"trainer": {"import": "synthetic:curve"}, "parameters": {"lr": {"min": 0.0, "max": 1.0}}}
    study = hpo.run(space(**own).canonical(), home=home, progress=False, skip_checks=("disk", "mlflow"))
    (entry,) = history.facts(study)
    assert (entry["what"], entry["changes"]) == ("ran without checks", ["disk", "mlflow"])


def test_the_range_of_learning_rates(home: Path, tmp_path: Path) -> None:
    words = ["lr-find", "--space", written(tmp_path), "--home", str(home), "--steps", "60", "--json"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    found = spec.from_mapping({**DIGITS, "parameters": yaml.safe_load(f"{{{said['line']}}}")})
    assert found.parameters["lr"].model_dump()["min"] == pytest.approx(said["low"], rel=0.1)
    assert "<svg" in Path(said["page"]).read_text()
    own = space(trainer={"import": "synthetic:curve"}, parameters={"lr": {"min": 0.0, "max": 1.0}})
    with pytest.raises(SpecError, match="built-in trainer"):
        lr_find.find(own, [], settings.resolve(home=home), low=1e-5, high=1, steps=20, seed=0, say=print)
