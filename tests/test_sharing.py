"""Trials that share cards, on a real Ray cluster whose two cards are declared and not there."""

import json
from pathlib import Path
from typing import Any

import pytest
from audit import disagreements
from mlflow import MlflowClient

import hpo
from hpo import packing, summary
from hpo.packing import Measured

pytestmark = pytest.mark.usefixtures("ray_cluster")


def digits(name: str, **sections: Any) -> dict[str, Any]:
    return {
        "name": name,
        "metric": "val/accuracy",
        "sampler": "grid",
        "parameters": {"lr": {"values": [0.02, 0.05, 0.1, 0.2]}},
        "trainer": {"model": "lightweight_cnn_gap", "dataset": {"name": "digits", "limit": 200}, "epochs": 3},
        **sections,
    }


def greedy(name: str, marks: Path, room: int, gpu: float) -> dict[str, Any]:
    marks.mkdir()
    trainer = {"import": "synthetic:greedy", "marks": str(marks), "room": room}
    return digits(name, trainer=trainer, resources={"gpu": gpu, "cpu": 0.5})


def test_auto_measures_with_the_first_trial_and_records_what_it_chose(
    home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(packing, "PAYS_FROM", 0.0)
    monkeypatch.setattr("hpo.probe.SECONDS", 0.2)
    study = hpo.run(digits("auto"), home=home, progress=True)

    (row,) = study.ledger.packings(study.id)
    levels = [Measured(**each) for each in json.loads(row["measured"])]
    assert [each.copies for each in levels] == [1, 2], "four CPUs and two cards leave two to a card"
    best = max(each.pictures_per_second for each in levels)
    chosen = next(each for each in levels if packing.GAIN * each.pictures_per_second >= best)
    assert row["per_card"] == chosen.copies
    assert row["card"] == "GPU"
    assert study.counts() == {"COMPLETE": 4}
    assert all(sorted(trial.intermediate_values) == [1, 2, 3] for trial in study.frozen_trials())
    assert disagreements(study) == []

    said = capfd.readouterr().err
    assert "measuring how many trials should share a card" in said
    assert f"{chosen.copies} to a card: pictures/s in sum were " in said
    run = MlflowClient(study.settings.mlflow).get_run(str(hpo.load("auto", home=home).row["run_id"]))
    assert run.data.tags["hpo.trials_per_card"] == str(chosen.copies)
    assert run.data.tags["hpo.packing"] == row["reason"]

    summary.status("auto", study.settings, as_json=False)
    assert f"trials per card     {chosen.copies}: pictures/s in sum were" in capfd.readouterr().out

    more = hpo.load("auto", home=home, overrides=["budget.trials=4"]).resume()
    assert len(more.ledger.packings(study.id)) == 1, "what is on record is not measured again"


def test_a_short_search_is_not_measured(home: Path) -> None:
    study = hpo.run(digits("short"), home=home)
    assert study.ledger.packings(study.id) == []
    assert {row["gpu"] for row in study.ledger.trials(study.id)} == {1.0}


def test_memory_that_runs_out_on_a_shared_card_lowers_the_packing_and_fails_nobody(home: Path) -> None:
    study = hpo.run(greedy("greedy", home.parent / "marks", room=1, gpu=0.25), home=home)
    assert study.counts() == {"COMPLETE": 4}
    rows = study.ledger.packings(study.id)
    assert [row["per_card"] for row in rows] == [2, 1]
    assert "ran out of memory beside 3 others on its card" in rows[0]["reason"]
    assert all(sorted(trial.intermediate_values) == [1, 2, 3] for trial in study.frozen_trials())
    assert {row["error"] for row in study.ledger.trials(study.id)} == {None}
    assert disagreements(study) == []


def test_memory_that_runs_out_on_a_card_of_its_own_fails_the_trial(home: Path) -> None:
    with pytest.raises(hpo.errors.NoUsableTrial):
        hpo.run(greedy("lone", home.parent / "marks", room=0, gpu=1), home=home)
    study = hpo.load("lone", home=home)
    assert study.counts() == {"FAIL": 4}
    assert study.ledger.packings(study.id) == []
    assert disagreements(study) == []
