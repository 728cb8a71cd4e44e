from __future__ import annotations

import math

import pytest
import torch

from trainers.checkpoint import save
from trainers.config import METRICS, paths
from trainers.models.densenet import DenseLayer


def changed(tree, path, value):
    """Return a copy of a tree of two levels with the value at a dotted path."""
    section, _, leaf = path.rpartition(".")
    return tree | ({section: tree.get(section, {}) | {leaf: value}} if section else {leaf: value})


STEP = {"lr_schedule": {"name": "step", "step_epochs": 1}}
PLATEAU = {"lr_schedule": {"name": "plateau", "patience_epochs": 0}, "lr": 1.0, "epochs": 4}
FOCAL = {"loss": {"name": "focal"}}
DENSE = {"model": "densenet_bc", "depth": 10, "growth": 2, "max_batches": 1}
FOLDER = {"dataset": {"name": "imagefolder", "image_size": 8}}
STOP = {"early_stopping": {"patience": 1}, "epochs": 4, "lr": 1.0}
TRANSFER = {"transfer": {"weights": "one.pt"}, "epochs": 3}
SEARCHED = {
    "model": ("lightweight_cnn", "linear", {}),
    "depth": (10, 16, DENSE),
    "growth": (2, 3, DENSE),
    "width": (4, 6, {}),
    "transfer.weights": ("one.pt", "other.pt", TRANSFER),
    "transfer.freeze_epochs": (0, 2, TRANSFER),
    "transfer.unfreeze_every": (1, 2, TRANSFER | {"transfer": {"weights": "one.pt", "freeze_epochs": 1}}),
    "epochs": (2, 3, {}),
    "max_batches": (2, 3, {}),
    "batch_size": (16, 32, {}),
    "optimizer": ("adam", "adamw", {"weight_decay": 0.1}),
    "lr": (0.1, 0.11, {}),
    "reference_batch": (32, 64, {}),
    "momentum": (0.8, 0.9, {}),
    "nesterov": (True, False, {}),
    "weight_decay": (0.0, 1e-3, {}),
    "decay_norms": (True, False, {"weight_decay": 0.1}),
    "dropout": (0.0, 0.1, {}),
    "loss.name": ("cross_entropy", "focal", {}),
    "loss.gamma": (1.0, 2.0, FOCAL),
    "loss.alpha": (1.0, 0.5, FOCAL),
    "loss.class_weights": ("none", "balanced", {"dataset": {"name": "digits", "limit": 199}}),
    "label_smoothing": (0.0, 0.1, {}),
    "augment.level": ("light", "standard", {}),
    "augment.crop": (True, False, {"augment": {"level": "none"}}),
    "augment.flip": (True, False, {"augment": {"level": "none"}}),
    "augment.cutout": (True, False, {"augment": {"level": "none"}}),
    "augment.mixup": (0.0, 0.4, {}),
    "augment.cutmix": (0.0, 1.0, {}),
    "ema": (0.1, 0.9, {}),
    "grad_clip": (None, 0.1, {}),
    "early_stopping.patience": (1, 2, STOP),
    "early_stopping.min_delta": (0.0, 0.9, {"early_stopping": {"patience": 1}, "epochs": 4}),
    "early_stopping.monitor": (
        "val/accuracy",
        "val/loss",
        {"early_stopping": {"patience": 1, "min_delta": 0.1}, "epochs": 4, "lr": 0.02},
    ),
    "precision": ("fp32", "bf16", {}),
    "dataset.name": ("digits", "imagefolder", {"dataset": {"image_size": 8}}),
    "dataset.root": ("one", "other", FOLDER),
    "dataset.val_fraction": (0.1, 0.2, {}),
    "dataset.image_size": (8, 12, {}),
    "dataset.limit": (100, 150, {}),
    "dataset.statistics": ("pixel", "imagenet", FOLDER),
    "dataset.seed": (0, 1, {}),
    "lr_schedule.name": ("cosine", "constant", {}),
    "lr_schedule.step_epochs": (1, 2, STEP),
    "lr_schedule.gamma": (0.1, 0.5, STEP),
    "lr_schedule.milestones": ((0.5,), (0.9,), {"lr_schedule": {"name": "multistep"}}),
    "lr_schedule.warmup_epochs": (0.5, 1.0, {"lr_schedule": {"name": "onecycle"}}),
    "lr_schedule.final_lr_fraction": (0.0, 0.5, {"lr_schedule": {"name": "cosine"}}),
    "lr_schedule.patience_epochs": (0, 3, PLATEAU),
}


@pytest.fixture
def weight_files(trainer, tmp_path):
    """State files of two trainings of the tiny network, by name."""
    for seed, name in enumerate(("one.pt", "other.pt")):
        save(trainer(seed=seed, epochs=1).state_dict(), tmp_path / name)
    return tmp_path


def test_every_searchable_path_is_tried_below():
    assert set(SEARCHED) == set(paths())


@pytest.mark.parametrize("path", SEARCHED)
def test_a_searched_value_reaches_the_training(trainer, weights, picture_folder, weight_files, path):
    one, other, base = SEARCHED[path]
    base = {"dataset": {"name": "digits"}, "augment": {"level": "none"}} | base
    if path.startswith("transfer."):
        base = base | {"transfer": {**base["transfer"], "weights": str(weight_files / "one.pt")}}
    if path == "transfer.weights":
        one, other = str(weight_files / one), str(weight_files / other)
    if path.startswith("dataset."):
        roots = {name: str(picture_folder("train", shift=shift)) for shift, name in enumerate(("one", "other"))}
        base = base | {"dataset": {"root": roots["one"]} | base["dataset"]}
        one, other = roots.get(one, one), roots.get(other, other)

    def outcome(value):
        training = trainer(**changed(base, path, value))
        last = list(training.fit())[-1]
        return weights(training).tolist(), last["val/loss"]

    assert outcome(one) != outcome(other)
    assert outcome(one) == outcome(one)


def test_the_seed_reaches_the_training(trainer, weights):
    one, other, again = (trainer(seed=seed) for seed in (0, 1, 0))
    for training in (one, other, again):
        list(training.fit())
    assert torch.equal(weights(one), weights(again))
    assert not torch.equal(weights(one), weights(other))


def test_digits_are_learnt(trainer):
    training = trainer(dataset="digits", epochs=3, max_batches=None, batch_size=64)
    epochs = list(training.fit())
    assert [set(epoch) for epoch in epochs] == [set(METRICS)] * 3
    assert epochs[-1]["val/accuracy"] > 0.9, "chance is 0.1"
    assert epochs[-1]["train/loss"] < epochs[0]["train/loss"]
    assert epochs[0]["images_per_second"] > 0
    assert training.epoch == 3


def test_folders_are_learnt(trainer, picture_folder):
    root = picture_folder("train", "val")
    dataset = {"name": "imagefolder", "root": root, "image_size": 12}
    epochs = list(trainer(dataset=dataset, batch_size=4, epochs=5, max_batches=None, augment="light").fit())
    assert epochs[-1]["val/accuracy"] == 1.0


@pytest.mark.parametrize("batch_size", [7, 64])
def test_numbers_are_averages_over_pictures(trainer, batch_size):
    training = trainer(model="linear", lr=1e-12, weight_decay=0, batch_size=batch_size, epochs=1, max_batches=None)
    found = next(training.fit())
    for part in ("train", "val"):
        images, labels = getattr(training.split, f"{part}_images"), getattr(training.split, f"{part}_labels")
        inputs = (images.float() / 255 - training.split.mean[0]) / training.split.std[0]
        logits = training.model(inputs)
        loss = torch.nn.functional.cross_entropy(logits, labels).item()
        assert found[f"{part}/loss"] == pytest.approx(loss, rel=1e-5)
        assert found[f"{part}/accuracy"] == pytest.approx((logits.argmax(1) == labels).float().mean().item())


def test_validation_neither_drops_nor_mixes_pictures(trainer):
    training = trainer(dropout=0.5)
    found = list(training.fit())[-1]
    inputs = (training.split.val_images.float() / 255 - training.split.mean[0]) / training.split.std[0]
    with torch.no_grad():
        logits = torch.cat([training.model.eval()(picture[None]) for picture in inputs])
    loss = torch.nn.functional.cross_entropy(logits, training.split.val_labels).item()
    assert found["val/loss"] == pytest.approx(loss, rel=1e-5)


def test_the_last_lr_is_reported(trainer):
    found = [epoch["lr"] for epoch in trainer(lr=0.5, lr_schedule=STEP["lr_schedule"]).fit()]
    assert found == pytest.approx([0.5, 0.05])


def test_a_loss_that_is_not_finite_ends_the_training(trainer):
    training = trainer(lr=1e30, epochs=4)
    epochs = list(training.fit())
    assert 1 <= len(epochs) < 4
    assert all(math.isnan(epochs[-1][key]) for key in METRICS if "/" in key)
    assert training.diverged
    resumed = trainer(lr=1e30, epochs=4)
    resumed.load_state_dict(training.state_dict())
    assert list(resumed.fit()) == []


def test_the_configured_dropout_is_the_networks(trainer):
    model = trainer(model="densenet_bc", depth=16, dropout=0.2).model
    assert [layer.dropout.p for layer in model.modules() if isinstance(layer, DenseLayer)] == [0.2] * 6


def test_facts_for_a_tracker(trainer):
    facts = trainer().facts()
    assert facts["parameters_count"] == 2790
    assert (facts["train_size"], facts["val_size"], facts["classes"], facts["device"]) == (200, 144, 10, "cpu")
    assert facts["torch_version"] == torch.__version__
    assert all(isinstance(value, str | int | float) for value in facts.values())
