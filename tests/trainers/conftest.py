"""One tiny set-up for all: digits, at most 200 of them, a few batches an epoch, on one thread."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from trainers.config import TrainConfig
from trainers.train import Trainer

torch.set_num_threads(1)

TINY: dict[str, Any] = {
    "model": "lightweight_cnn",
    "dataset": {"name": "digits", "limit": 200},
    "epochs": 2,
    "max_batches": 3,
    "batch_size": 32,
    "augment": "none",
}


@pytest.fixture
def trainer(tmp_path: Path) -> Callable[..., Trainer]:
    """Build a trainer of the tiny set-up; keywords replace its fields, `seed` is the trial's."""

    def make(seed: int = 0, **changes: Any) -> Trainer:
        return Trainer(TrainConfig(**TINY | changes), seed=seed, data_folder=tmp_path, device="cpu")

    return make


@pytest.fixture
def weights() -> Callable[[Trainer], Tensor]:
    """Return all parameters and buffers of a trainer as one vector."""

    def flatten(trained: Trainer) -> Tensor:
        return torch.cat([value.double().flatten() for value in trained.model.state_dict().values()])

    return flatten


@pytest.fixture
def picture_folder(tmp_path: Path) -> Callable[..., Path]:
    """Write `root/<part>/<class>/<n>.png`: noise on a class's own colour, which is easy to learn."""

    def write(*parts: str, classes: tuple[str, ...] = ("blue", "red"), count: int = 10, shift: int = 0) -> Path:
        root = tmp_path / f"pictures{shift}"
        generator = np.random.default_rng(shift)
        for part in parts:
            for label, name in enumerate(classes):
                folder = root / part / name
                folder.mkdir(parents=True)
                for number in range(count):
                    pixels = generator.integers(0, 80, (14, 12, 3))
                    pixels[..., label % 3] += 120 + shift
                    Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
        return root

    return write
