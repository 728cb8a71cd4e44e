"""The checks before a search: of stores and budgets, what stops it, what stays on record."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

import hpo
from hpo import settings, spec
from hpo.cli import app
from hpo.errors import CheckFailed, SpecError
from hpo.model import lr_find
from hpo.preflight import stores
from hpo.preflight.names import NAMES, left_out
from hpo.preflight.outlook import Outlook, expected_epochs, judged, outlook
from hpo.preflight.points import corners
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
    assert {each["batch_size"] for each in corners(space())} == {32, 64, 128}
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
    assert "after about 60 of 100 trials" in verdict(60, budget={"trials": 100, "time": "1h"}).said
    grid = {"sampler": "grid", "parameters": {"lr": {"values": [0.01, 0.02, 0.03, 0.04, 0.05, 0.06]}}}
    cut = verdict(60, slots=1, budget={"time": "4m"}, **grid)
    assert (cut.verdict, "about 2 of 6 grid points" in cut.said) == ("fail", True)
    assert verdict(60, slots=1, budget={"time": "10m"}, **grid).verdict == "warn", "the forecast may be wrong by half"
    assert verdict(60, budget={"trials": 10, "epoch_time": 30}).verdict == "fail"
    hours = verdict(3600, gpu=0.5, budget={"trials": 4, "gpu_hours": 3, "cost": 10, "price_per_gpu_hour": 2})
    assert (hours.verdict, hours.details["gpu_hours"], hours.details["cost"]) == ("warn", 4.0, 8.0)
    assert verdict(7200, gpu=1.0, budget={"trials": 4, "gpu_hours": 2}).verdict == "fail"


def test_early_stopping_saves_what_it_is_meant_to() -> None:
    nine, pruner = {**DIGITS["trainer"], "epochs": 9}, {"min_epochs": 1, "reduction": 3}
    asha = space(pruner={"type": "asha", **pruner}, trainer=nine)
    assert expected_epochs(asha, 9) == pytest.approx(1 + 2 / 3 + 6 / 9)
    hyper = space(
        pruner={"type": "hyperband", "min_epochs": 1, "reduction": 3}, trainer={**DIGITS["trainer"], "epochs": 9}
    )
    assert expected_epochs(hyper, 9) == pytest.approx((1 + 2 / 3 + 6 / 9 + 3 + 2 + 9) / 3)
    assert expected_epochs(space(), 2) == 2
    found = outlook(asha, epoch_seconds=10, epochs=9, slots=1, gpu=0.0)
    assert isinstance(found, Outlook)
    assert (found.search_seconds, found.longest_seconds) == (pytest.approx(2 * 23.33, abs=0.1), 180)


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
    path = written(tmp_path)
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
