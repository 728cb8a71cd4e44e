"""Trials that share cards, on a real Ray cluster whose two cards are declared and not there."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from audit import disagreements
from mlflow import MlflowClient

import hpo
from hpo import settings, spec
from hpo.cluster import packing
from hpo.cluster.packing import Measured
from hpo.cluster.probe import ProbeError, probe
from hpo.cluster.sharing import Sharing
from hpo.commands import summary
from hpo.search.scheduler import Scheduler
from hpo.search.searcher import Searcher
from hpo.study import Study
from hpo.workers.trial import Assignment, Report

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


def open_study(tree: dict[str, Any], home: Path) -> Study:
    return Study.open(spec.from_mapping(tree), settings.resolve(home=home))


def greedy(name: str, marks: Path, room: int, gpu: float) -> dict[str, Any]:
    marks.mkdir()
    trainer = {"import": "synthetic:greedy", "marks": str(marks), "room": room}
    return digits(name, trainer=trainer, resources={"gpu": gpu, "cpu": 0.5})


@pytest.mark.slow
def test_auto_measures_with_the_first_trial_and_records_what_it_chose(
    home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(packing, "PAYS_FROM", 0.0)
    monkeypatch.setattr("hpo.cluster.probe.SECONDS", 0.2)
    study = hpo.run(digits("auto"), home=home, progress=True, skip_checks=("all",))

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

    summary.status("auto", study.settings, as_json=True)
    told = json.loads(capfd.readouterr().out)
    assert (told["trials_per_card"], told["packing"]) == (chosen.copies, row["reason"])

    more = hpo.load("auto", home=home, overrides=["budget.trials=4"]).resume()
    assert len(more.ledger.packings(study.id)) == 1, "what is on record is not measured again"


def sharing_of(study: Study, card: str = "H100", concurrency: int | None = None) -> Sharing:
    """On a machine of two such cards."""
    return Sharing(study, {"CPU": 16.0, "GPU": 2.0, f"accelerator_type:{card}": 1.0}, concurrency)


def first_epoch(study: Study, seconds: float, **trainer: Any) -> tuple[Report, Assignment]:
    """The report of a first trial, and its assignment."""
    config = {"epochs": 30, "batch_size": 64, **trainer}
    assignment = Scheduler(study, lambda event: None).start(Searcher(study).next(), cpu=1, gpu=1)
    assert assignment is not None
    values = {"metrics": {"val/accuracy": 0.5}, "config": config, "facts": {}, "seconds": seconds}
    return Report(number=0, attempt=1, epoch=1, **values), assignment


LIMITS: dict[str, Any] = {"trials_left": 20, "seconds_left": None}


@pytest.mark.parametrize(
    ("limits", "seconds", "measures"),
    [
        (LIMITS, 5.0, True),
        (LIMITS, 0.5, False),
        ({**LIMITS, "trials_left": None}, 0.5, True),
        ({**LIMITS, "seconds_left": 60.0}, 5.0, False),
        ({**LIMITS, "trials_left": 0}, 500.0, False),  # nobody is left to share with
    ],
)
def test_the_first_epoch_says_whether_measuring_pays(
    home: Path, limits: dict[str, Any], seconds: float, measures: bool
) -> None:
    study = open_study(digits("long"), home)
    sharing = sharing_of(study)
    sharing.watch(*first_epoch(study, seconds), **limits)
    assert sharing.unsettled == measures


def test_memory_is_planned_for_the_largest_batch_that_is_searched(home: Path) -> None:
    batches = {"values": [64, 256], "when": {"lr": [0.02]}}
    study = open_study(digits("batches", parameters={"lr": {"values": [0.1, 0.02]}, "batch_size": batches}), home)
    sharing = sharing_of(study)
    sharing.watch(*first_epoch(study, 5.0), **LIMITS)
    assert sharing._candidate is not None
    assert sharing._candidate.growth == 4.0


def test_measuring_that_is_broken_off_decides_nothing(home: Path) -> None:
    study = open_study(digits("broken"), home)
    sharing = sharing_of(study)
    sharing.watch(*first_epoch(study, 5.0), **LIMITS)

    def stop() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        sharing.settle(stop)
    assert study.ledger.packings(study.id) == []
    assert sharing.placement.gpu == 1.0


def test_what_was_found_holds_for_the_same_cards_and_the_same_wish(home: Path) -> None:
    study = open_study(digits("recalled"), home)
    study.ledger.add_packing(study.id, card="H100", asked="auto", per_card=4, reason="measured", measured=[])
    assert sharing_of(study).placement.gpu == 0.25
    assert sharing_of(study).placement.slots == 8
    assert sharing_of(study, card="A100").placement.gpu == 1.0
    assert sharing_of(study, concurrency=4).placement.gpu == 0.5, "both cards are used"
    assert sharing_of(study, concurrency=2).placement.gpu == 1.0
    half = hpo.load("recalled", home=home, overrides=["resources.gpu=0.5"])
    assert sharing_of(half).placement.gpu == 0.5


def test_a_copy_that_cannot_be_built_says_why(home: Path) -> None:
    study = open_study(digits("wrong", trainer={**digits("wrong")["trainer"], "compile": "never"}), home)
    _, assignment = first_epoch(study, 5.0)
    broken = replace(assignment, trainer={**assignment.trainer, "dataset": {"name": "npz", "root": "nowhere.npz"}})
    with pytest.raises(ProbeError, match=r"FileNotFoundError: .*nowhere\.npz"):
        probe(broken, most=2, growth=1.0, on_tick=lambda: None)


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
