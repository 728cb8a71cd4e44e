from __future__ import annotations

import pytest
from pydantic import ValidationError

from trainers.config import DatasetConfig, TrainConfig, expand, paths, unread_paths

LEAST = {"model": "densenet121", "dataset": "cifar10"}


def test_two_lines_are_enough():
    config = TrainConfig(**LEAST)
    assert config.dataset == DatasetConfig(name="cifar10")
    assert (config.epochs, config.optimizer, config.lr, config.lr_schedule.name) == (3, "sgd", 0.1, "cosine")


@pytest.mark.parametrize(("optimizer", "lr"), [("sgd", 0.1), ("adam", 1e-3), ("adamw", 1e-3)])
def test_the_default_lr_suits_the_optimizer(optimizer, lr):
    assert TrainConfig(**LEAST, optimizer=optimizer).lr == lr
    assert TrainConfig(**LEAST, optimizer=optimizer, lr=0.5).lr == 0.5


def test_shorthand_and_dump_come_back_equal():
    config = TrainConfig(**LEAST, lr_schedule="onecycle", dropout=0.2)
    assert TrainConfig.model_validate(config.model_dump(mode="json")) == config
    tree = {"lr_schedule": "step", "dataset": "digits"}
    assert expand(tree) == {"lr_schedule": {"name": "step"}, "dataset": {"name": "digits"}}
    assert tree["dataset"] == "digits", "the caller's tree was changed"


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"model": "densenet"}, ("model",)),
        ({"lr": 0}, ("lr",)),
        ({"lr": float("inf")}, ("lr",)),
        ({"lr": True}, ("lr",)),
        ({"nesterov": 0.5}, ("nesterov",)),
        ({"momentum": 1.0}, ("momentum",)),
        ({"dropout": -0.1}, ("dropout",)),
        ({"batch_size": 1}, ("batch_size",)),
        ({"learning_rate": 0.1}, ("learning_rate",)),
        ({"lr_schedule": {"name": "cosine", "gamma": 0.1}}, ("lr_schedule", "cosine", "gamma")),
        ({"lr_schedule": {"name": "multistep", "milestones": [0.5, 0.2]}}, ("lr_schedule", "multistep", "milestones")),
        ({"dataset": {"name": "digits", "val_fraction": 1.5}}, ("dataset", "val_fraction")),
    ],
)
def test_a_bad_value_is_refused_where_it_stands(change, where):
    with pytest.raises(ValidationError) as caught:
        TrainConfig(**LEAST | change)
    assert [error["loc"] for error in caught.value.errors()] == [where]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nesterov": True, "momentum": 0}, "nesterov needs a momentum above 0"),
        ({"lr_schedule": {"name": "onecycle", "warmup_epochs": 3}}, "must be less than epochs 3"),
        ({"dataset": "imagefolder"}, "imagefolder needs root"),
        ({"early_stopping": 2, "epochs": 3}, "patience 2 can never end 3 epochs early"),
        ({"early_stopping": {"monitor": "val/loss"}}, "patience 5 can never end 3 epochs early"),
    ],
)
def test_fields_that_disagree(change, message):
    with pytest.raises(ValidationError, match=message):
        TrainConfig(**LEAST | change)


def test_a_patience_that_can_end_a_training_is_none_to_refuse():
    assert TrainConfig(**LEAST | {"early_stopping": 2, "epochs": 4}).early_stopping.patience == 2


def test_configurations_are_immutable_and_hashable():
    config = TrainConfig(**LEAST)
    with pytest.raises(ValidationError, match="frozen"):
        config.lr = 0.2
    assert len({config, TrainConfig(**LEAST)}) == 1


def test_paths_are_described():
    assert {"lr", "dataset.val_fraction", "lr_schedule.name", "lr_schedule.warmup_epochs"} <= set(paths())
    assert not {"dataset", "lr_schedule", "dataset.download"} & set(paths())
    assert [path for path, field in paths().items() if not field.description and not path.endswith(".name")] == []


@pytest.mark.parametrize(
    ("change", "unread"),
    [
        ({"optimizer": "adamw", "momentum": 0.9, "nesterov": False}, {"momentum", "nesterov"}),
        ({"optimizer": "sgd", "momentum": 0.9, "nesterov": False, "dropout": 0.1}, set()),
        ({"model": "linear", "dropout": 0.1}, {"dropout"}),
        ({"dataset": {"name": "digits", "root": "here", "download": False}}, {"dataset.root", "dataset.download"}),
        ({"dataset": {"name": "imagefolder", "root": "here", "download": False}}, {"dataset.download"}),
        ({"dataset": {"name": "mnist", "root": "here", "download": False}}, set()),
        ({"lr_schedule": {"gamma": 0.1, "warmup_epochs": 1}}, {"lr_schedule.gamma"}),
        ({"lr_schedule": {"name": "step", "gamma": 0.1, "warmup_epochs": 1}}, {"lr_schedule.warmup_epochs"}),
        ({"lr_schedule": "constant", "optimizer": "adam"}, set()),
    ],
)
def test_what_a_configuration_does_not_read(change, unread):
    found = unread_paths(LEAST | change)
    assert set(found) == unread
    assert all(path.rpartition(".")[2] in reason for path, reason in found.items())


@pytest.mark.parametrize(
    ("limit", "unread"), [(None, {"dataset.val_fraction", "dataset.seed"}), (9, {"dataset.val_fraction"})]
)
def test_a_folder_with_its_own_validation_part_is_not_split(tmp_path, limit, unread):
    section = {"name": "imagefolder", "root": str(tmp_path), "val_fraction": 0.2, "seed": 1, "limit": limit}
    assert unread_paths(LEAST | {"dataset": section}) == {}
    (tmp_path / "val").mkdir()
    assert set(unread_paths(LEAST | {"dataset": section})) == unread
