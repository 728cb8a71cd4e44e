"""What comes of several goals: whole searches, and what commands and records say of a front."""

import json
from pathlib import Path

import pytest
from audit import disagreements
from front_samples import WIDTHS, opened, run, traded, typed
from mlflow import MlflowClient
from study_samples import train

import hpo
from hpo.cluster.usage import Usage
from hpo.commands.watch import _board
from hpo.errors import NoUsableTrial, SpecError
from hpo.promotion.promote import Wish, promote
from hpo.search.board import told
from hpo.space.sections import Winner
from hpo.store import records
from hpo.tracking.delivery import deliver
from hpo.tracking.note import note
from hpo.winner import confirmation
from hpo.winner.candidate import candidate
from trainers.folders import private, private_file


@pytest.mark.usefixtures("ray_cluster")
def test_of_a_whole_search_all_records_have_the_front(home: Path) -> None:
    study = hpo.run(traded(trainer={"import": "synthetic:Traded", "epochs": 1}, budget={"trials": 6}), home=home)
    assert study.counts() == {"COMPLETE": 6}
    assert disagreements(study) == []
    best = study.best_trials
    assert all(each.params["width"] <= 5 and study.checkpoint(each.number) for each in best)
    outcome = study.afresh().row["outcome"]
    assert outcome.startswith(f"finished, {len(best)} on the front: val/accuracy up to ")
    client = MlflowClient(study.settings.mlflow)
    experiment = client.get_experiment_by_name("traded")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    [parent] = [each for each in runs if "mlflow.parentRunId" not in each.data.tags]
    assert parent.data.tags["hpo.front"].count("trial ") == len(best)
    assert parent.data.metrics["best/val/accuracy"] == best[0].values[0]
    assert "on the front" in parent.data.tags["mlflow.note.content"]
    assert all({"val/accuracy", "latency_ms"} <= each.data.metrics.keys() for each in runs if each is not parent)


def test_what_commands_say_of_a_front(tmp_path: Path) -> None:
    home = tmp_path / "home"
    cells = {"lr": {"values": [0.1, 0.4]}, "width": {"values": WIDTHS}}
    study = opened(home, sampler="grid", parameters=cells, budget={}, baseline=True)
    run(study, 12)
    study = study.afresh()
    best = study.best_trials
    found = json.loads(typed("best", "traded", "--json", home=home))
    assert [each["number"] for each in found["front"]] == [each.number for each in best]
    assert [each["values"]["latency_ms"] for each in found["front"]] == [each.values[1] for each in best]
    assert len(found["left_out"]) == 2
    said = typed("best", "traded", home=home)
    assert f"front       {len(best)} trials of 12 complete" in said
    assert "left out    2 trials that missed a constraint" in said
    assert len(typed("best", "traded", "--checkpoint", home=home).splitlines()) == len(best)
    assert "value of latency_ms" in typed("trials", "traded", home=home)
    assert f"{len(best)} on the front" in typed("status", "traded", home=home)
    assert f"{len(best)} on the front: val/accuracy up to" in told(_board(study, Usage()))
    assert "value of latency_ms" in typed("report", "traded", "--csv", "-", home=home)
    assert "of the front, best in val/accuracy" in typed("diagnose", "traded", home=home)
    assert "maximize val/accuracy and minimize latency_ms" in typed("compare", "traded:0", "traded:1", home=home)
    assert "name a trial of its front, traded:" in typed("compare", "traded", "traded:1", home=home)
    with pytest.raises(SpecError, match=f"name one of its front:\n  --trial {best[0].number}: val/accuracy"):
        candidate(study)
    assert candidate(study, best[0].number).others == {"latency_ms": best[0].values[1]}
    with pytest.raises(SpecError, match="several goals, so that seeds choose no winner"):
        confirmation.prepare(study, Winner())
    page = tmp_path / "page.html"
    typed("report", "traded", "--out", str(page), home=home)
    for words in ("5 on the front: val/accuracy up to", "latency_ms (less is better)", "importances for latency_ms"):
        assert words in page.read_text()


def test_where_nothing_keeps_the_constraints_everything_says_so(tmp_path: Path) -> None:
    home = tmp_path / "home"
    study = opened(home, constraints=["parameters_count <= 500"], sampler="random", budget={"trials": 3})
    run(study, 3)
    study = study.afresh()
    said = note({**records.table(study), "best": []}, "1")
    assert said.startswith("No trial is complete and keeps the constraints: 3 complete.")
    assert "none" in records.front(study.front(), study.spec.metrics)["tags"]["hpo.front"]
    for words in (["best", "traded"], ["best", "traded", "--checkpoint"]):
        assert "misses parameters_count <= 500 by " in typed(*words, home=home)
    with pytest.raises(NoUsableTrial, match="the nearest, trial"):
        candidate(study)
    assert "front" not in json.loads(typed("status", "traded", "--json", home=home))
    page = tmp_path / "page.html"
    typed("report", "traded", "--out", str(page), home=home)
    assert "No complete trial keeps the constraints; the nearest, trial" in page.read_text()


@pytest.mark.slow
def test_a_front_travels_to_another_database(tmp_path: Path) -> None:
    study = opened(tmp_path / "home")
    run(study, 4)
    file = tmp_path / "study.hpo"
    typed("export-study", "traded", "--out", str(file), home=tmp_path / "home")
    typed("import-study", str(file), home=tmp_path / "other")
    there = hpo.load("traded", home=tmp_path / "other")
    assert there.front() == study.afresh().front()
    assert there.optuna.directions == study.optuna.directions


@pytest.mark.slow
def test_a_trial_of_the_front_is_promoted(home: Path, empty_mlflow: Path) -> None:
    private_file(private(home) / "mlflow.db").write_bytes(empty_mlflow.read_bytes())
    cells = {"model": {"values": ["linear", "lightweight_cnn_gap"]}}
    digits = {"dataset": {"name": "digits", "limit": 400}, "epochs": 2, "lr": 0.1}
    study = opened(home, sampler="grid", parameters=cells, trainer=digits, budget={})
    study.ledger.post(study.id, None, "start", {})
    train(study, 2)
    deliver(study)
    slow, fast = sorted(study.rows(), key=lambda row: -row["value of latency_ms"])
    assert (slow["model"], fast["model"]) == ("lightweight_cnn_gap", "linear")
    assert f"--trial {fast['number']}: val/accuracy" in typed("promote", "traded", home=home)
    wish = Wish(trial=fast["number"], waived={"quantised": "a test", "gap": "a test", "test": "a test"})
    found = promote(study, wish, lambda text: None)
    assert (found.outcome, found.trial) == ("promoted", fast["number"])
