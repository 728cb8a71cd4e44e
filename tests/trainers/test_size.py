"""The forecast of a checkpoint's size against the file that the real trainer writes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from trainers import checkpoint
from trainers.config import DatasetConfig, TrainConfig
from trainers.data import load
from trainers.size import pictures_of, state_bytes
from trainers.train import Trainer

AT_32 = {"name": "digits", "limit": 200, "image_size": 32}


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "lightweight_cnn_gap"},
        {"model": "lightweight_cnn", "optimizer": "adamw", "ema": 0.9},
        {"model": "lightweight_cnn", "width": 40, "momentum": 0.0},
        {"model": "linear", "optimizer": "adam"},
        {"model": "custom_cnn", "lr_schedule": "plateau", "early_stopping": {"patience": 1}, "epochs": 4},
        {"model": "densenet_bc", "depth": 22, "growth": 16, "optimizer": "adam", "ema": 0.9},
        {"model": "mobilenet_v3_small", "dataset": AT_32, "optimizer": "adamw", "batch_size": 4},
    ],
    ids=lambda changes: "-".join(str(value) for value in changes.values() if not isinstance(value, dict)),
)
def test_the_forecast_is_within_a_tenth_of_the_file(
    trainer: Callable[..., Trainer], tmp_path: Path, changes: dict[str, object]
) -> None:
    trained = trainer(**{"max_batches": 1, **changes})
    next(trained.fit())
    path = tmp_path / "state.pt"
    checkpoint.save(trained.state_dict(), path)
    assert state_bytes(trained.config) == pytest.approx(path.stat().st_size, rel=0.1)


def test_pictures_of_the_users_own_are_counted_without_reading_them(
    picture_folder: Callable[..., Path], tmp_path: Path
) -> None:
    root = picture_folder("train", classes=("blue", "green", "red"))
    for file in root.rglob("*.png"):
        file.write_bytes(b"")
    assert pictures_of(DatasetConfig(name="imagefolder", root=root)) == ((3, 224, 224), 3)
    assert pictures_of(DatasetConfig(name="imagefolder", root=root, image_size=32)) == ((3, 32, 32), 3)


@pytest.mark.parametrize("shape", [(8, 12, 10), (8, 12, 10, 3), (8, 3, 12, 10)], ids=str)
def test_arrays_have_the_shape_that_a_training_sees(shape: tuple[int, ...], tmp_path: Path) -> None:
    path = tmp_path / "own.npz"
    labels = np.arange(8) % 4
    np.savez_compressed(path, train_images=np.zeros(shape, np.uint8), train_labels=labels)
    config = DatasetConfig(name="npz", root=path, val_fraction=0.5)
    split = load(config, tmp_path, "cpu")
    assert pictures_of(config) == (tuple(split.train_images.shape[1:]), len(split.classes))


def test_what_cannot_be_told_is_an_error_that_says_why(tmp_path: Path) -> None:
    absent = {"name": "imagefolder", "root": tmp_path / "absent"}
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        state_bytes(TrainConfig(model="custom_cnn", dataset=absent))
    with pytest.raises(FileNotFoundError, match="is not a file"):
        state_bytes(TrainConfig(model="custom_cnn", dataset={"name": "npz", "root": tmp_path / "absent.npz"}))
    bad = tmp_path / "bad.npz"
    np.savez(bad, train_labels=np.arange(4))
    with pytest.raises(ValueError, match="train_images cannot be read"):
        pictures_of(DatasetConfig(name="npz", root=bad))
    np.savez(bad, train_images=np.zeros((4, 4, 4), np.uint8), train_labels=np.arange(4))
    with pytest.raises(ValueError, match="raise image_size"):
        state_bytes(TrainConfig(model="lightweight_cnn", dataset={"name": "npz", "root": bad}))
