"""The sweep of the learning rate: what it suggests, where it ends, what it leaves."""

from pathlib import Path

import pytest
import torch

from trainers import TrainConfig, Trainer
from trainers.lr_finder import Point, suggest, sweep


def trainer_of() -> Trainer:
    tree = {"model": "lightweight_cnn_gap", "dataset": {"name": "digits", "limit": 400}, "epochs": 3, "lr": 0.03}
    return Trainer(TrainConfig.model_validate(tree), seed=0, data_folder=Path("nowhere"), device="cpu")


def curve(losses: list[float]) -> list[Point]:
    return [Point(step=step, lr=10.0**step, loss=loss, smoothed=loss) for step, loss in enumerate(losses)]


def test_a_sweep_rises_evenly_and_leaves_model_optimizer_and_generators_as_they_were() -> None:
    trainer, fresh = trainer_of(), trainer_of()
    torch.manual_seed(5)
    state = torch.get_rng_state()
    points = list(sweep(trainer, low=1e-5, high=1.0, steps=60))
    assert torch.equal(torch.get_rng_state(), state)
    assert (points[0].lr, points[59].lr) == (pytest.approx(1e-5), pytest.approx(1.0))
    assert points[1].lr / points[0].lr == pytest.approx(points[31].lr / points[30].lr)
    assert points[0].smoothed == pytest.approx(points[0].loss), "its start is corrected"
    assert all(torch.equal(each, fresh.model.state_dict()[name]) for name, each in trainer.model.state_dict().items())
    assert trainer.optimizer.state_dict() == fresh.optimizer.state_dict()
    assert [each["train/loss"] for each in trainer.fit()] == [each["train/loss"] for each in fresh.fit()]
    found = suggest(points)
    assert 1e-4 < found.low < found.steepest <= found.least
    assert found.low < found.high <= 1.0


def test_a_sweep_ends_where_the_loss_explodes() -> None:
    trainer = trainer_of()
    with torch.no_grad():
        list(trainer.model.parameters())[-2].mul_(30)
    points = list(sweep(trainer, low=1e-3, high=1e6, steps=200))
    assert len(points) < 200
    assert suggest(points).diverged == points[-1].lr


def test_the_range_runs_from_a_tenth_of_the_steepest_to_half_of_the_least() -> None:
    found = suggest(curve([2.0, 2.0, 1.9, 1.0, 0.5, 3.0]))
    assert (found.steepest, found.least, found.diverged) == (1e3, 1e4, 1e5)
    assert (found.low, found.high) == (100.0, 5000.0)
    with pytest.raises(ValueError, match="never fell"):
        suggest(curve([2.0, 2.0, 1.99, 2.1]))
    with pytest.raises(ValueError, match="not finite"):
        suggest(curve([float("nan")] * 5))
