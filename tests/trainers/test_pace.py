"""The speed of a training, measured without finishing it."""

import time
from pathlib import Path

import torch

from trainers import TrainConfig, Trainer
from trainers.pace import Pace


def test_it_counts_the_pictures_of_a_training_without_end(tmp_path: Path) -> None:
    config = TrainConfig(
        model="linear", dataset={"name": "digits", "limit": 100}, batch_size=32, epochs=1, max_batches=2
    )
    trainer = Trainer(config, seed=0, data_folder=tmp_path, device="cpu")
    before = [each.clone() for each in trainer.model.parameters()]
    rate = Pace(trainer).pictures_per_second(0.3)
    assert any(not torch.equal(*pair) for pair in zip(before, trainer.model.parameters(), strict=True)), "it trains"

    began, seen = time.perf_counter(), 0
    while time.perf_counter() - began < 0.3:
        seen += sum(len(labels) for _, _, labels in trainer.steps())
    assert 0.2 < rate / (seen / 0.3) < 5


def test_memory_grows_with_what_is_held(tmp_path: Path) -> None:
    config = TrainConfig(model="linear", dataset={"name": "digits", "limit": 100}, batch_size=32)
    pace = Pace(Trainer(config, seed=0, data_folder=tmp_path, device="cpu"))
    before = pace.memory_mb()
    held = torch.ones(int(2 * before), 2**18)  # MiB
    assert pace.memory_mb() >= before + 0.8 * len(held), "some of what was there may be given back meanwhile"
