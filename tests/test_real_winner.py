"""The whole way of a winner on real pictures: searched, confirmed, promoted, asked, reproduced, exported."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from mlflow import pyfunc
from pictures import jpegs, need
from study_samples import open_study, train

from hpo.model import export
from hpo.promotion.promote import Wish, promote
from hpo.space.sections import Winner
from hpo.winner import confirmation
from hpo.winner.candidate import candidate
from hpo.winner.reproduce import reproduce
from trainers.predict import Predictor


@pytest.fixture
def cifar(tmp_path: Path) -> Path:
    """Forty training, ten validation and twenty test pictures of each class."""
    with np.load(need("cifar10_packed.npz")) as packed:
        images, labels = jpegs(packed, 50)
        test_images, test_labels = jpegs(packed, 20, test=True)
    held = np.arange(len(labels)) % 50 >= 40
    arrays = {"test_images": test_images, "test_labels": test_labels}
    for part, chosen in (("train", ~held), ("val", held)):
        arrays |= {f"{part}_images": images[chosen], f"{part}_labels": labels[chosen]}
    np.savez(tmp_path / "cifar.npz", **arrays)
    return tmp_path / "cifar.npz"


@pytest.mark.slow
def test_from_a_search_to_a_promoted_model(
    cifar: Path, home: Path, empty_mlflow: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.mkdir()
    shutil.copy(empty_mlflow, home / "mlflow.db")
    trainer = {
        "model": "lightweight_cnn",
        "dataset": {"name": "npz", "root": str(cifar)},
        "epochs": 5,
        "batch_size": 16,
    }
    study = open_study(
        home, name="cifar", sampler="grid", parameters={"lr": {"values": [1e-5, 0.003]}}, trainer=trainer, budget={}
    )
    study.ledger.post(study.id, None, "start", {})
    train(study, 2)
    train(confirmation.prepare(study, Winner(top=2, seeds=2)), 4)
    study = study.afresh()
    winner = candidate(study)
    assert (winner.trial, winner.runs.name, len(winner.fresh)) == (1, "cifar.confirm", 2)

    found = promote(study, Wish(), lambda text: None)
    assert (found.outcome, found.trial, found.version) == ("promoted", 1, 1)
    assert found.test is not None
    assert found.test["interval"][0] > 0.12, "chance is 0.1"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", study.settings.mlflow)
    with np.load(cifar) as arrays:
        pictures, labels = arrays["test_images"].transpose(0, 3, 1, 2), arrays["test_labels"]
    said = pyfunc.load_model("models:/cifar@champion").predict(np.ascontiguousarray(pictures))
    direct = Predictor.load([winner.checkpoint]).probabilities(torch.from_numpy(pictures.copy())).numpy()
    assert np.array_equal(said, direct)
    assert (said.argmax(1) == labels).mean() == pytest.approx(found.test["accuracy"])

    assert reproduce(study, 1, lambda *_: None).verdict == "identical"
    done = export.export(export.of_study(study, None), ["onnx", "int8"], folder=None, settings=study.settings)
    assert done["onnx"]["compared_on"] == "val"
    assert done["int8"]["int8"]["bytes"] < 0.4 * done["int8"]["float32"]["bytes"]
    assert abs(done["int8"]["accuracy_change"]) < 0.1
