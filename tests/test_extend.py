"""A study that goes on over more values and wider ranges, over SQLite and PostgreSQL."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient
from optuna.distributions import CategoricalDistribution
from optuna.search_space import intersection_search_space
from study_samples import TREE, open_study, run_all

import hpo
from hpo import settings, spec
from hpo.audit.agreement import audit
from hpo.commands import summary
from hpo.editing.extension import extend, preview
from hpo.errors import SpecError, StudyOwned, Unavailable
from hpo.search.searcher import Searcher
from hpo.settings import Settings
from hpo.store.lease import Lease
from hpo.study import Study

NARROW = {
    "lr": {"min": 0.0, "max": 0.4, "step": 0.2},
    "weight_decay": {"values": [0.0, 0.5]},
    "epochs": {"min": 2, "max": 4},
}
WIDE = {
    "lr": {"min": -0.2, "max": 0.6, "step": 0.2},
    "weight_decay": {"values": [0.5, 0.25, 0.0]},  # in another order too: choices are kept by their places
    "epochs": {"min": 1, "max": 8},
}


def space(**sections: Any) -> Any:
    return spec.from_mapping({**TREE, "trainer": {"import": "synthetic:Resumable"}, "parameters": WIDE, **sections})


def begun(home: Path, storage: str | None, **sections: Any) -> Study:
    study = open_study(home, storage, trainer={"import": "synthetic:Resumable"}, parameters=NARROW, **sections)
    run_all(study)
    return study


def points(study: Study) -> list[dict[str, Any]]:
    return [trial.params for trial in study.afresh().frozen_trials()]


def distributions(study: Study) -> list[Any]:
    return [trial.distributions for trial in study.frozen_trials()]


def test_a_grid_gets_the_new_cells_and_keeps_those_it_has(home: Path, storage: str) -> None:
    small, large = ({name: side[name] for name in ("lr", "weight_decay")} for side in (NARROW, WIDE))
    study = open_study(home, storage, sampler="grid", parameters=small, budget={})
    run_all(study)
    before = points(study)
    assert len(before) == 6
    wider = space(sampler="grid", parameters=large, budget={}, trainer=TREE["trainer"])
    assert extend("study", wider, study.settings)
    study = Study.open(wider, study.settings)
    assert points(study) == before, "a parameter of a finished trial is another one now"
    run_all(study)
    after = points(study)
    assert after[: len(before)] == before
    assert len(after) == len(wider.grid()) == 15
    assert all(point in after for point in wider.grid())
    assert audit(study).silent is None


@pytest.mark.parametrize("kind", [{"type": "tpe", "startup_trials": 2}, "random"])
def test_a_search_goes_on_over_all_of_the_wider_space(home: Path, storage: str, kind: Any) -> None:
    study = begun(home, storage, sampler=kind)
    before = points(study)
    wider = space(sampler=kind, budget={"trials": 20})
    extend("study", wider, study.settings)
    study = Study.open(wider, study.settings)
    run_all(study)
    new = points(study)[4:]
    assert points(study)[:4] == before
    assert any(point["weight_decay"] == 0.25 for point in new)
    assert any(point["epochs"] > 4 for point in new)
    # one distribution for all of them: with two, TPE does not search the parameter together with the others
    assert set(intersection_search_space(study.frozen_trials(), include_pruned=True)) == set(WIDE)
    assert isinstance(distributions(study)[0]["weight_decay"], CategoricalDistribution)
    assert distributions(study)[0] == distributions(study)[-1]


def test_a_trial_that_waits_to_go_on_is_extended_too(home: Path) -> None:
    study = open_study(home, None, trainer={"import": "synthetic:Resumable"}, parameters=NARROW)
    trial = Searcher(study).next()
    assert trial is not None
    study.ledger.start_trial(study.id, 0, seed=0, gpu=0, record={})
    extend("study", space(), study.settings)  # also puts back what a dead driver left
    study = Study.open(space(), study.settings)
    assert study.counts() == {"WAITING": 1}
    run_all(study)
    assert points(study)[0] == trial.params
    assert study.counts() == {"COMPLETE": 4}


def test_conditions_do_not_keep_tpe_from_the_new_part(home: Path) -> None:
    def parameters(top: float) -> dict[str, Any]:
        return {"journal": {"values": [None, "x"]}, "lr": {"min": 0.0, "max": top, "when": {"journal": [None]}}}

    options: dict[str, Any] = {"sampler": {"type": "tpe", "startup_trials": 3}, "trainer": TREE["trainer"]}
    study = open_study(home, parameters=parameters(0.1), budget={"trials": 6}, **options)
    run_all(study)
    wider = space(parameters=parameters(1.0), budget={"trials": 16}, **options)
    extend("study", wider, study.settings)
    study = Study.open(wider, study.settings)
    assert any(point.get("lr", 0.0) > 0.1 for point in run_all(study))


@pytest.mark.parametrize(
    ("change", "reasons"),
    [
        (
            {"parameters": {**WIDE, "lr": {"min": 0.2, "max": 0.4, "step": 0.2}}},
            ["parameters.lr.min: 0.0 -> 0.2"],
        ),
        ({"parameters": {**WIDE, "lr": {"min": -0.1, "max": 0.5, "step": 0.2}}}, ["no number of steps of 0.2"]),
        ({"parameters": {**WIDE, "lr": {"min": 0.0, "max": 0.4, "step": 0.1}}}, [".step: 0.2 -> 0.1 may not"]),
        ({"parameters": {**WIDE, "lr": {"min": 1e-9, "max": 1.0, "log": True}}}, [".log: may not", ".min", ".step"]),
        ({"parameters": {**WIDE, "lr": {"values": [0.0, 0.2, 0.4]}}}, ["range of floats cannot become a list"]),
        ({"parameters": {**WIDE, "epochs": {"min": 1.5, "max": 8.0}}}, ["whole numbers cannot become a range of"]),
        ({"parameters": {**WIDE, "weight_decay": {"values": [0.5, 1]}}}, [".values: 0 is missing"]),
        ({"parameters": {**WIDE, "sleep": {"values": [0, 1]}}}, ["parameters.sleep: is new"]),
        ({"parameters": {key: WIDE[key] for key in ("lr", "epochs")}}, ["parameters.weight_decay: is missing"]),
        (
            {"parameters": {**WIDE, "lr": {**WIDE["lr"], "when": {"weight_decay": 0.5}}}},
            ["parameters.lr.when: may not change"],
        ),
        (
            {
                "metric": "val/loss",
                "trainer": {"import": "synthetic:Resumable", "ballast": 1},
                "sampler": "grid",
                "pruner": "asha",
            },
            [
                'metric.name: "val/accuracy" -> "val/loss"',
                "metric.goal",
                "trainer.ballast",
                "sampler.type",
                "pruner.type",
            ],
        ),
    ],
    ids=["min", "lattice", "step", "log", "choice", "float", "value", "new", "gone", "when", "all else"],
)
def test_what_would_change_the_meaning_is_refused_with_reasons(home: Path, change: Any, reasons: list[str]) -> None:
    study = open_study(home, trainer={"import": "synthetic:Resumable"}, parameters=NARROW)
    row = dict(study.row)
    with pytest.raises(SpecError, match="cannot be extended like this") as caught:
        extend("study", space(**change), study.settings)
    assert [reason for reason in reasons if reason not in str(caught.value)] == []
    assert dict(study.afresh().row) == row
    assert study.ledger.history(study.id) == []


def test_the_history_says_what_was_changed_and_the_same_again_changes_nothing(
    home: Path, storage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    study = begun(home, storage)
    told = extend("study", space(budget={"trials": 9}), study.settings)
    assert "parameters.lr.max: 0.4 -> 0.6" in told
    assert "budget.trials: 4 -> 9" in told
    assert extend("study", space(), study.settings) == []
    summary.status("study", study.settings, as_json=True)
    (entry,) = json.loads(capsys.readouterr().out)["history"]
    assert (entry["what"], entry["changes"]) == ("extended", list(told))
    assert "@" in entry["who"]
    summary.status("study", study.settings, as_json=False)
    assert "parameters.lr.max: 0.4 -> 0.6; " in " ".join(capsys.readouterr().out.split())
    records = [json.loads(row["payload"]) for row in study.ledger.pending(study.id, 999) if row["number"] is None]
    assert any("lr.max: 0.4 -> 0.6" in record.get("tags", {}).get("hpo.history", "") for record in records)
    assert study.afresh().spec.parameters == space().parameters
    wider = space(budget={"trials": 9})
    study = Study.open(wider, study.settings)
    assert study.optuna.user_attrs["space"] == wider.text


def test_an_extension_is_done_as_a_whole_or_not_at_all(
    home: Path, storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = begun(home, storage)
    row, old = dict(study.row), distributions(study)

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("hpo.store.history.write_in", killed)  # after Optuna's tables, before ours
        with pytest.raises(KeyboardInterrupt):
            extend("study", space(), study.settings)
    again = study.afresh()
    assert distributions(again) == old
    assert again.row["hash"] == row["hash"]
    assert extend("study", space(), study.settings)


def test_a_driver_keeps_its_study_and_one_that_was_late_begins_anew(home: Path) -> None:
    study = begun(home, None)
    with Lease(study), pytest.raises(StudyOwned):
        extend("study", space(), study.settings)
    extend("study", space(), study.settings)
    with pytest.raises(Unavailable, match="was extended by another command"):
        study.begin()


@pytest.mark.parametrize(("sizes", "kept"), [([50, 100], 1), ([100, 200], 0)])
def test_how_many_share_a_card_is_found_anew_for_larger_batches(home: Path, sizes: list[int], kept: int) -> None:
    def batches(*sizes: int) -> dict[str, Any]:
        trainer = {"model": "linear", "dataset": "digits", "epochs": 1}
        return {"parameters": {"batch_size": {"values": list(sizes)}}, "trainer": trainer}

    study = open_study(home, **batches(100))
    study.ledger.add_packing(study.id, card="H100", asked="auto", per_card=4, reason="measured", measured=[])
    assert extend("study", space(**batches(*sizes)), study.settings)
    assert len(study.ledger.packings(study.id)) == kept


def test_a_file_of_another_name_is_told_how_to_go_on(home: Path) -> None:
    study = open_study(home, trainer={"import": "synthetic:Resumable"}, parameters=NARROW)
    with pytest.raises(SpecError, match=r"the file's name is 'more'.*--set name=study"):
        extend("study", space(name="more"), study.settings)
    with pytest.raises(SpecError, match="no study 'more'"):
        extend("more", space(name="more"), study.settings)


def test_a_preview_writes_nothing(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = open_study(home, sampler="grid", trainer={"import": "synthetic:Resumable"}, parameters=NARROW, budget={})
    preview("study", space(sampler="grid", budget={}), study.settings, as_json=False)
    out = capsys.readouterr().out
    assert "parameters.lr.max: 0.4 -> 0.6" in out
    assert "18 so far, then 120" in out
    assert study.afresh().row["hash"] == study.row["hash"]


@pytest.mark.slow
def test_a_changed_file_runs_its_new_cells_alone(ray_cluster: str, home: Path, tmp_path: Path) -> None:
    path, journal = tmp_path / "grid.yaml", tmp_path / "journal"

    def write(rates: list[float]) -> Path:
        trainer = {"import": "synthetic:Resumable", "epochs": 2, "journal": str(journal)}
        tree = {**TREE, "sampler": "grid", "parameters": {"lr": {"values": rates}}, "trainer": trainer, "budget": {}}
        path.write_text(yaml.safe_dump(tree))
        return path

    hpo.run(write([0.1, 0.2]), home=home, progress=False)
    with pytest.raises(SpecError, match=r"`hpo run --space FILE --extend study` adds values"):
        hpo.run(write([0.1, 0.2, 0.3]), home=home, progress=False)
    study = hpo.run(path, home=home, progress=False, extend="study")
    assert [row["lr"] for row in study.rows()] == [0.1, 0.2, 0.3]
    assert len(journal.read_text().splitlines()) == 6, "a finished cell was run again"
    assert audit(study).agrees, audit(study)
    run = MlflowClient(study.settings.mlflow).get_run(study.afresh().row["run_id"])
    assert "parameters.lr.values: [0.1, 0.2] -> [0.1, 0.2, 0.3]" in run.data.tags["hpo.history"]
    where: Settings = settings.resolve(home=home)
    assert hpo.run(path, home=home, progress=False, extend="study").counts() == {"COMPLETE": 3}
    assert len(study.ledger.history(Study.load("study", where).id)) == 1
