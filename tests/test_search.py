"""Whole searches on a real Ray cluster, real SQL and real MLflow, in this process."""

import json
from pathlib import Path
from typing import Any

import pytest
import synthetic
from audit import disagreements, mlflow_runs
from mlflow import MlflowClient

import hpo
from hpo.errors import NoUsableTrial

pytestmark = pytest.mark.usefixtures("ray_cluster")

GRID = {"lr": {"values": [0.01, 0.05, 0.1]}, "weight_decay": {"values": [1e-4, 1e-3, 1e-2]}}


def space(name: str, **sections: Any) -> dict[str, Any]:
    return {"name": name, "metric": "val/accuracy", **sections}


def own(trainer: str, **options: Any) -> dict[str, Any]:
    return {"import": f"synthetic:{trainer}", **options}


def test_grid_is_run_exactly_and_the_three_records_agree(home: Path, storage: str) -> None:
    journal = home.parent / "journal"
    trainer = own("Resumable", epochs=3, journal=str(journal))
    study = hpo.run(space("grid", sampler="grid", parameters=GRID, trainer=trainer), home=home, storage=storage)

    table = study.trials
    assert list(table.state) == ["COMPLETE"] * 9
    assert {(row.lr, row.weight_decay) for row in table.itertuples()} == {
        (lr, decay) for lr in GRID["lr"]["values"] for decay in GRID["weight_decay"]["values"]
    }
    assert study.best_trial.params == {"lr": 0.1, "weight_decay": 1e-4}
    assert len(synthetic.read(journal)) == 27
    assert disagreements(study) == []

    again = hpo.run(space("grid", sampler="grid", parameters=GRID, trainer=trainer), home=home, storage=storage)
    assert len(again.trials) == 9
    assert len(synthetic.read(journal)) == 27, "a finished cell was run again"
    assert disagreements(again) == []


def test_weak_trial_is_pruned_early_with_its_whole_curve_and_a_good_one_is_not(home: Path) -> None:
    planted = {"lr": {"values": [0.1, 0.9]}}
    asha = {"type": "asha", "min_epochs": 2, "reduction": 2}
    study = hpo.run(
        space("prune", sampler="grid", parameters=planted, trainer=own("curve", epochs=6), pruner=asha),
        home=home,
        concurrency=1,
    )
    good, bad = study.frozen_trials()
    assert (good.state.name, sorted(good.intermediate_values)) == ("COMPLETE", [1, 2, 3, 4, 5, 6])
    assert (bad.state.name, sorted(bad.intermediate_values)) == ("PRUNED", [1, 2])
    assert disagreements(study) == []


def test_failures_are_results_and_the_study_goes_on(home: Path) -> None:
    kinds = ["raises", "nan", "infinite loss", "text", "other metric", "ends", "fine"]
    parameters = {"kind": {"values": kinds}}
    study = hpo.run(space("faults", sampler="grid", parameters=parameters, trainer=own("faulty")), home=home)

    table = study.trials.set_index("kind")
    assert dict(table.state) == {kind: "COMPLETE" if kind in ("fine", "ends") else "FAIL" for kind in kinds}
    assert study.best_trial.params == {"kind": "fine"}
    assert table.error["raises"] == "ValueError: the data has a hole"
    assert table.error["nan"] == "val/accuracy was nan at epoch 2"
    assert table.error["infinite loss"] == "train/loss was inf at epoch 2"
    assert "every metric must be a number" in table.error["text"]
    assert "does not report the metric 'val/accuracy'; it reports accuracy" in table.error["other metric"]
    row = study.ledger.trial(study.id, int(table.number["raises"]))
    assert row is not None
    assert "the data has a hole" in row["traceback"]
    assert "synthetic.py" in row["traceback"]
    assert study.optuna.trials[int(table.number["nan"])].user_attrs["reason"] == "val/accuracy was nan at epoch 2"
    assert disagreements(study) == []


def test_budget_of_failures_ends_the_study(home: Path) -> None:
    wrong = space(
        "hopeless",
        sampler="random",
        parameters={"kind": {"values": ["raises", "nan"]}},
        trainer=own("faulty"),
        budget={"trials": 50, "failures": 3},
    )
    with pytest.raises(NoUsableTrial, match=r"trials failed"):
        hpo.run(wrong, home=home, concurrency=1)
    study = hpo.load("hopeless", home=home)
    assert study.counts()["FAIL"] in (3, 4)
    assert disagreements(study) == []


@pytest.mark.parametrize("sampler", [pytest.param("random", marks=pytest.mark.long), "tpe"])
def test_same_seed_same_trials(home: Path, sampler: str) -> None:
    def params(name: str, seed: int) -> list[float]:
        parameters = {"lr": {"min": 1e-3, "max": 1.0, "log": True}}
        trainer = own("curve", epochs=1)
        kind = {"type": sampler, "seed": seed, **({"startup_trials": 3} if sampler == "tpe" else {})}
        tree = space(name, sampler=kind, parameters=parameters, trainer=trainer, budget={"trials": 6})
        return [trial.params["lr"] for trial in hpo.run(tree, home=home, concurrency=1).frozen_trials()]

    first = params("one", 7)
    assert len(set(first)) == 6
    assert params("two", 7) == first
    assert params("three", 8) != first


def test_each_trial_has_a_card_of_its_own_and_no_more_run_than_there_are(home: Path) -> None:
    journal, marks = home.parent / "journal", home.parent / "marks"
    marks.mkdir()
    trainer = own("meet", company=2, marks=str(marks), journal=str(journal))
    parameters = {"lr": {"values": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]}}
    resources = {"gpu": 1, "cpu": 1}
    study = hpo.run(
        space("cards", sampler="grid", parameters=parameters, trainer=trainer, resources=resources), home=home
    )
    trials = synthetic.read(journal)
    assert {trial["card"] for trial in trials} == {"0", "1"}
    for trial in trials:  # who trains on the same card at the moment this trial ends
        beside = [t for t in trials if t["began"] < trial["ended"] < t["ended"] and t["card"] == trial["card"]]
        assert beside == []
    assert len({trial["pid"] for trial in trials}) == 2, "the workers were not reused"
    assert study.counts() == {"COMPLETE": 6}
    assert disagreements(study) == []


def test_half_a_card_each_puts_two_trials_on_one(home: Path) -> None:
    journal, marks = home.parent / "journal", home.parent / "marks"
    marks.mkdir()
    trainer = own("meet", company=4, marks=str(marks), journal=str(journal))
    parameters = {"lr": {"values": [0.1, 0.2, 0.3, 0.4]}}
    hpo.run(
        space("shares", sampler="grid", parameters=parameters, trainer=trainer, resources={"gpu": 0.5, "cpu": 1}),
        home=home,
    )
    assert sorted(line["card"] for line in synthetic.read(journal)) == ["0", "0", "1", "1"]


def test_a_killed_worker_costs_at_most_an_epoch(home: Path) -> None:
    journal, marks = home.parent / "journal", home.parent / "marks"
    marks.mkdir()
    trainer = own("Mortal", epochs=5, marks=str(marks), journal=str(journal))
    study = hpo.run(
        space("mortal", sampler="grid", parameters={"lr": {"values": [0.1, 0.2]}}, trainer=trainer), home=home
    )
    assert study.counts() == {"COMPLETE": 2}
    assert set(study.trials.attempt) == {2}
    for lr in (0.1, 0.2):
        assert [line["epoch"] for line in synthetic.read(journal) if line["lr"] == lr] == [1, 2, 3, 3, 4, 5]
    assert disagreements(study) == []


def test_a_worker_that_dies_every_time_fails_its_trial_alone(home: Path) -> None:
    marks = home.parent / "marks"
    marks.mkdir()
    parameters = {"always": {"values": [False, True]}}
    trainer = own("Mortal", lr=0.1, epochs=4, marks=str(marks))
    study = hpo.run(space("deadly", sampler="grid", parameters=parameters, trainer=trainer), home=home)
    table = study.trials.set_index("always")
    assert dict(table.state) == {False: "COMPLETE", True: "FAIL"}
    assert table.error[True].startswith("its worker was lost 3 times")
    row = study.ledger.trial(study.id, int(table.number[True]))
    assert row is not None
    assert "died" in row["traceback"]
    assert disagreements(study) == []


@pytest.mark.slow
def test_a_process_that_dies_between_two_trials_fails_neither(home: Path) -> None:
    parameters = {"delay": {"values": [0.01, 0.02, 0.03, 0.05, 0.1, 0.2]}}
    marks = home.parent / "marks"
    marks.mkdir()
    tree = space("idle", sampler="grid", parameters=parameters, trainer=own("departing", marks=str(marks)))
    study = hpo.run(tree, home=home, concurrency=1)
    assert study.counts() == {"COMPLETE": 6}
    assert max(study.trials.attempt) > 1, "no process died before its next trial had ended"
    assert disagreements(study) == []


@pytest.mark.slow
def test_built_in_trainer_leaves_a_checkpoint_that_mlflow_gets_too(home: Path) -> None:
    parameters = {"lr": {"values": [0.05, 0.1]}}
    trainer = {"model": "lightweight_cnn_gap", "dataset": {"name": "digits", "limit": 200}, "epochs": 2}
    tree = space("digits", sampler="grid", parameters=parameters, trainer=trainer)
    study = hpo.run(tree, home=home, skip_checks=("all",))
    path = study.checkpoint(study.best_trial.number)
    assert path is not None

    from trainers import checkpoint

    row = study.ledger.trial(study.id, study.best_trial.number)
    assert row is not None
    assert checkpoint.load(path, row["sha256"])["epoch"] == 2
    assert [file.name for file in path.parent.iterdir()] == [path.name], "only the last epoch is kept"
    run = mlflow_runs(study)[study.best_trial.number]
    artifacts = {file.name: file for file in (home / "artifacts").rglob("*") if run["run_id"] in str(file)}
    assert {"config.yaml", path.name} <= set(artifacts)
    assert artifacts[path.name].read_bytes() == path.read_bytes()
    assert {"trials.csv", "space.yaml"} <= {file.name for file in (home / "artifacts").rglob("*")}
    parent = MlflowClient(study.settings.mlflow).get_run(str(hpo.load("digits", home=home).row["run_id"]))
    assert parent.data.metrics["best/val/accuracy"] == study.best_trial.value
    assert f"/runs/{run['run_id']}" in parent.data.tags["mlflow.note.content"]
    facts = json.loads(row["facts"])
    assert facts["dataset"] == "digits"
    assert study.ledger.packings(study.id) == [], "so short a search is not measured for sharing cards"
    assert disagreements(study) == []


def test_what_a_worker_is_warned_of_is_on_record_and_seen_once(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    parameters = {"lr": {"values": [0.1, 0.2]}}
    study = hpo.run(
        space("worried", sampler="grid", parameters=parameters, trainer=own("worried")), home=home, progress=True
    )
    said = capfd.readouterr().err
    assert said.count("warns: the step runs slower") == 1, "once a run"
    assert "warns: lr 0.1 is odd" in said
    assert "warns: lr 0.2 is odd" in said
    for trial in study.frozen_trials():
        expected = ["the step runs slower", f"lr {trial.params['lr']} is odd"]
        assert trial.user_attrs["warnings"] == expected, "once a trial"
        run = MlflowClient(study.settings.mlflow).get_run(mlflow_runs(study)[trial.number]["run_id"])
        assert run.data.tags["hpo.warnings"] == "\n".join(expected)
    assert disagreements(study) == []


def test_checkpoints_of_the_best_few_are_kept(home: Path) -> None:
    values = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    study = hpo.run(
        space("few", sampler="grid", parameters={"lr": {"values": values}}, trainer=own("Resumable", epochs=2)),
        home=home,
    )
    kept = study.trials.set_index("lr").checkpoint.dropna()
    assert set(kept.index) == {0.1, 0.2, 0.3}
    assert all(Path(path).exists() for path in kept)
    assert sorted(folder.name for folder in study.folder.iterdir()) == ["000000", "000001", "000002"]


@pytest.mark.parametrize(
    ("budget", "more"), [({"time": 4}, "time=1h"), ({"cost": 1, "price_per_gpu_hour": 3600}, "cost=9")], ids=str
)
def test_a_budget_leaves_the_rest_in_the_queue_and_holds_after_a_restart(
    home: Path, budget: dict[str, Any], more: str
) -> None:
    tree = space(
        "short",
        sampler="random",
        parameters={"lr": {"min": 0.0, "max": 1.0}},
        trainer=own("Resumable", epochs=1000, sleep=0.05),
        budget={**budget, "trials": 4},
        resources={"gpu": 1},
    )
    with pytest.raises(NoUsableTrial):
        hpo.run(tree, home=home, concurrency=2)
    study = hpo.load("short", home=home, overrides=[f"budget.{more}"])
    assert study.counts() == {"WAITING": 2}
    reached = [len(trial.intermediate_values) for trial in study.frozen_trials()]
    assert 0 < max(reached) < 1000
    assert disagreements(study) == []
    with pytest.raises(NoUsableTrial, match=r"budget\.(time|cost) of .* spent, .*hpo resume short --set budget\.\1=N"):
        hpo.load("short", home=home).resume(concurrency=2)
    again = [len(trial.intermediate_values) for trial in hpo.load("short", home=home).frozen_trials()]
    assert again == reached, "it was spent already"
    assert [row["attempt"] for row in study.ledger.attempts(study.id)] == [1, 1]


@pytest.mark.long
@pytest.mark.slow
def test_checkpoints_stay_within_their_disk_budget(home: Path) -> None:
    parameters = {"lr": {"values": [0.1, 0.2, 0.3, 0.4]}}
    trainer = own("Resumable", epochs=2, ballast=400_000)
    tree = space("small", sampler="grid", parameters=parameters, trainer=trainer, budget={"disk": "1MB"})
    study = hpo.run(tree, home=home)
    kept = study.trials.set_index("lr").checkpoint.dropna()
    assert set(kept.index) == {0.1, 0.2}, "two of 0.4 MB fit"
    assert sum(path.stat().st_size for path in study.folder.rglob("epoch-*")) < 1e6
    alone = hpo.run({**tree, "name": "smaller", "budget": {"disk": "0.1MB"}}, home=home)
    assert set(alone.trials.set_index("lr").checkpoint.dropna().index) == {0.1}, "the best stays anyhow"
    lowered = hpo.load("small", home=home, overrides=["budget.disk=0.1MB"]).resume()
    assert [path.parent.name for path in lowered.folder.rglob("epoch-*")] == ["000000"], "though nothing is left to run"
    assert disagreements(lowered) == []


def test_a_goal_to_minimize(home: Path) -> None:
    metric = {"name": "val/loss", "goal": "minimize"}
    parameters = {"lr": {"values": [0.5, 0.1, 0.9]}}
    tree = {"name": "loss", "metric": metric, "sampler": "grid", "parameters": parameters, "trainer": own("curve")}
    assert hpo.run(tree, home=home).best_trial.params == {"lr": 0.1}
