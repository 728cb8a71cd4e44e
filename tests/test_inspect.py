"""Looking into a trained network: what is seen is there, and nothing is changed by looking."""

import copy
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from study_samples import open_study, train
from typer.testing import CliRunner

from hpo.cli import app
from hpo.errors import SpecError
from hpo.model.inspection import Subject, inspect
from hpo.model.inspection_page import drawn_page
from hpo.settings import resolve
from trainers import views
from trainers.checkpoint import save
from trainers.config import TrainConfig
from trainers.models import build
from trainers.predict import Member
from trainers.train import Trainer

MODELS = {
    "linear": (0, False),
    "lightweight_cnn": (2, True),
    "lightweight_cnn_separable": (2, True),
    "custom_cnn": (4, True),
    "resnet18": (5, True),
    "mobilenet_v3_small": (5, True),
    "densenet_bc": (4, True),
}
"""Stages with maps at 32 px, and whether there are filters."""


def network(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    return build(name, input_shape=(3, 32, 32), classes=4, dropout=0.2, depth=10)


@pytest.mark.parametrize("name", MODELS)
def test_every_kind_of_network_is_seen_and_left_as_it_was(name: str) -> None:
    model = network(name).train()
    before = copy.deepcopy(model.state_dict())
    images = torch.rand(2, 3, 32, 32)
    stages, has_filters = MODELS[name]
    seen = views.activations(model, images)
    assert len(seen) == stages
    assert (views.filters(model) is not None) == has_filters
    for each in seen:
        assert each.mean_map.shape == (2, each.height, each.width)
        assert 0 <= each.silent <= 1
    assert views.saliency(model, images).shape == (2, 32, 32)
    assert all(torch.equal(after, before[key]) for key, after in model.state_dict().items())
    assert all(each.training for each in model.modules())
    assert all(each.grad is None and each.requires_grad for each in model.parameters())
    assert not any(each._forward_hooks for each in model.modules())


def test_saliency_is_the_gradient_of_the_predicted_class() -> None:
    model = network("linear").eval()
    images = torch.rand(3, 3, 32, 32)
    best = model(images).argmax(dim=1)
    expected = model[1].weight[best].reshape(3, 3, 32, 32).abs().amax(dim=1)
    torch.testing.assert_close(views.saliency(model, images), expected)


def test_mistakes_and_confidence_are_those_of_the_probabilities() -> None:
    probabilities = torch.tensor([[0.95, 0.05], [0.35, 0.65], [0.8, 0.2], [0.45, 0.55]])
    labels = torch.tensor([0, 0, 1, 1])
    assert views.mistakes(probabilities, labels, 5) == [2, 1]
    found = views.confidence(probabilities, labels)
    assert (found.accuracy, found.mean) == (0.5, pytest.approx(0.7375))
    assert (found.of_right, found.of_wrong) == (pytest.approx(0.75), pytest.approx(0.725))
    assert [count for *_, count in found.bins] == [1, 1, 1, 1]
    assert views.chosen(torch.tensor([1, 1, 0, 1, 0, 2]), 5, 3) == [2, 0, 5, 4, 1]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    section = {"model": "lightweight_cnn", "dataset": {"name": "digits", "limit": 400}, "epochs": 2, "lr": 0.05}
    config = TrainConfig.model_validate({**section, "dropout": 0.2, "batch_size": 32})
    training = Trainer(config, seed=3, data_folder=tmp_path_factory.mktemp("data"), device="cpu")
    list(training.fit())
    path = tmp_path_factory.mktemp("state") / "epoch-0002.pt"
    save(training.state_dict(), path)
    return path


def test_the_page_and_the_numbers_of_a_checkpoint(checkpoint: Path, home: Path) -> None:
    words = [
        "inspect",
        "--checkpoint",
        str(checkpoint),
        "--home",
        str(home),
        "--epochs",
        "2",
        "--pictures",
        "3",
        "--json",
    ]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert "training the first 2 epochs again" in done.stderr
    assert [each["true"] for each in found["pictures"]] == ["0", "1", "2"]
    assert [each["epoch"] for each in found["epochs"]] == [0, 1, 2]
    assert found["retrained_differs_by"] == 0, "the same seed gives the same epochs"
    member = Member.load(checkpoint, device=torch.device("cpu"))
    assert found["wrong"] == round((1 - found["confidence"]["accuracy"]) * found["validation_pictures"])
    surest = found["mistakes"][0]
    assert all(each["probability"] <= surest["probability"] for each in found["mistakes"])
    assert surest["true"] != surest["predicted"]
    page = Path(found["page"]).read_text()
    assert page.count("data:image/png;base64,") > 3 * 3
    for said in ("vanilla saliency", "Most confident mistakes", "probabilities are those of the checkpoint"):
        assert said in page
    assert "<script" not in page
    assert 'src="http' not in page
    assert member.classes == tuple(found["classes"])
    assert not (home / "test-openings.jsonl").exists()


def test_the_random_numbers_of_others_are_left_alone(checkpoint: Path, home: Path) -> None:
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    subject = Subject(source=_source(checkpoint))
    inspect(subject, pictures=2, epochs=1, device="cpu", settings=resolve(home=home))
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before[:2]
    assert torch.equal(torch.get_rng_state(), before[2])


def test_a_linear_network_says_what_it_does_not_have(home: Path, tmp_path: Path) -> None:
    section = {"model": "linear", "dataset": {"name": "digits", "limit": 200}, "epochs": 1}
    training = Trainer(TrainConfig.model_validate(section), seed=0, data_folder=tmp_path, device="cpu")
    list(training.fit())
    save(training.state_dict(), tmp_path / "state.pt")
    subject = Subject(source=_source(tmp_path / "state.pt"))
    found = inspect(subject, pictures=2, epochs=0, device="cpu", settings=resolve(home=home))
    page = drawn_page(found).render()
    for said in (
        "no convolution",
        "no stages with maps",
        "keeps the last epoch alone",
    ):
        assert said in page


def test_the_winner_of_a_study_is_taken_with_what_is_on_record(home: Path) -> None:
    trainer = {"model": "lightweight_cnn_gap", "dataset": {"name": "digits", "limit": 200}, "epochs": 2}
    study = open_study(home, sampler="grid", parameters={"lr": {"values": [0.01, 0.1]}}, trainer=trainer, budget={})
    train(study, 2)
    words = ["inspect", "--study", "study", "--home", str(home), "--epochs", "1", "--json"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["study"], found["trial"]) == ("study", study.best_trial.number)
    assert "by its record" in done.stderr
    assert "val/accuracy of each epoch is the one on record" in Path(found["page"]).read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "give --checkpoint FILE, or --study NAME"),
        (["--checkpoint", "a.pt", "--trial", "1"], "give --study NAME too"),
        (["--checkpoint", "a.pt"], "there is no checkpoint a.pt"),
    ],
)
def test_what_is_missing_is_said(words: list[str], said: str, home: Path) -> None:
    done = CliRunner().invoke(app, ["inspect", *words, "--home", str(home)])
    assert isinstance(done.exception, SpecError)
    assert said in str(done.exception)


def test_more_epochs_than_there_were_and_trainers_of_ones_own_are_refused(checkpoint: Path, home: Path) -> None:
    with pytest.raises(SpecError, match="was trained for 2 epochs"):
        inspect(Subject(source=_source(checkpoint)), pictures=1, epochs=3, device="cpu", settings=resolve(home=home))
    open_study(home)
    done = CliRunner().invoke(app, ["inspect", "--study", "study", "--home", str(home)])
    assert "only networks of the built-in trainer are inspected" in str(done.exception)


def _source(path: Path) -> Any:
    from hpo.model.export import of_file

    return of_file(path)
