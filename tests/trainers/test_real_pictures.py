"""Trainings on real pictures, which are not in this repository: `HPO_TEST_PICTURES` names the folder that has them.

It holds cifar10_packed.npz (arrays headers, header_off, blob, off, header_id, label, is_test, classes: JPEG
files whose common headers are stored once) and plates.tar.gz (train and val folders of clean and dirty plates).
"""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainers.config import TrainConfig
from trainers.train import Trainer

BESIDE = Path(__file__).parents[2].parent / "shared" / "data"
PICTURES = Path(os.environ.get("HPO_TEST_PICTURES", BESIDE))


def need(name: str) -> Path:
    path = PICTURES / name
    if not path.exists():
        pytest.skip(f"no {name} in {PICTURES}: set HPO_TEST_PICTURES to a folder that has it")
    return path


def jpegs(packed: np.lib.npyio.NpzFile, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The first `count` training pictures of each class."""
    headers, blob = packed["headers"].tobytes(), packed["blob"].tobytes()
    starts, offsets, which = packed["header_off"], packed["off"], packed["header_id"]
    labels = packed["label"]
    chosen = np.concatenate([np.flatnonzero((labels == label) & ~packed["is_test"])[:count] for label in range(10)])
    images = [
        Image.open(
            io.BytesIO(headers[starts[which[i]] : starts[which[i] + 1]] + blob[offsets[i] : offsets[i + 1]])
        ).convert("RGB")
        for i in chosen
    ]
    return np.stack([np.asarray(image) for image in images]), labels[chosen].astype(np.int64)


def test_a_small_densenet_learns_cifar(tmp_path):
    with np.load(need("cifar10_packed.npz")) as packed:
        images, labels = jpegs(packed, 140)
    train = np.arange(len(labels)) % 140 < 100
    parts = {"train": train, "val": ~train}
    arrays = {f"{part}_images": images[chosen] for part, chosen in parts.items()}
    arrays |= {f"{part}_labels": labels[chosen] for part, chosen in parts.items()}
    np.savez(tmp_path / "cifar.npz", **arrays)
    config = TrainConfig(
        model="densenet_bc",
        depth=10,
        growth=8,
        dataset={"name": "npz", "root": tmp_path / "cifar.npz"},
        epochs=3,
        batch_size=16,
        lr=0.05,
        lr_schedule={"name": "onecycle", "warmup_epochs": 1},
    )
    training = Trainer(config, seed=0, data_folder=tmp_path, device="cpu")
    list(training.fit())
    scores = training.validate()
    assert scores.count == 400
    assert scores.interval()[0] > 0.15, "chance is 0.1"


def test_forty_plates_are_learnt_by_heart_and_no_more(tmp_path):
    """So few pictures say little, and the interval has to say so."""
    with tarfile.open(need("plates.tar.gz")) as tar:
        tar.extractall(tmp_path, filter="data")
    config = TrainConfig(
        model="custom_cnn",
        dataset={"name": "imagefolder", "root": tmp_path / "plates", "image_size": 32},
        epochs=25,
        batch_size=8,
        lr=0.02,
        augment="none",
    )
    training = Trainer(config, seed=0, data_folder=tmp_path, device="cpu")
    assert list(training.fit())[-1]["train/accuracy"] > 0.9, "chance is 0.5"
    low, high = training.validate().interval()
    assert high - low > 0.4
